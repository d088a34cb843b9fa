//! `agent budget`: what is spent of each dataset's privacy, what is left, and the officer's own limit.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde::Serialize;
use tributary_accounting::{AccountingError, Delta, Epsilon, Steps};
use tributary_console::{Align, Console, Failure, Table};
use tributary_protocol::{Contract, DatasetName, DatasetRef, Digest, RunNumber};

use super::folder::{UnlockArgs, Unlocked, unlock};
use crate::failures::vault_failure;
use crate::meter::{DatasetReport, Meter, MeterError, OfficerLimit, RunReport};

/// What `agent budget` takes.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "Examples:
  agent budget --home alice --passphrase-file alice.pass
  agent budget digits --home alice --passphrase-file alice.pass --json
  agent budget set digits --epsilon 6 --delta 1e-5 --home alice --passphrase-file alice.pass"
)]
pub(super) struct BudgetArgs {
    #[command(subcommand)]
    set: Option<BudgetCommand>,
    /// The dataset [default: all of them].
    dataset: Option<DatasetName>,
    /// The agent's folder, made by `agent init`.
    #[arg(long, env = "TRIBUTARY_HOME", value_name = "DIR", required = true)]
    home: Option<PathBuf>,
    /// A file whose first line opens the private key and the vault.
    #[arg(
        long,
        env = "TRIBUTARY_PASSPHRASE_FILE",
        value_name = "FILE",
        required = true
    )]
    passphrase_file: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum BudgetCommand {
    /// Set the most that all contracts together may spend of a dataset; the agent refuses the step beyond.
    Set(SetArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "Example:
  agent budget set digits --epsilon 6 --delta 1e-5 --home alice --passphrase-file alice.pass

A limit below what is spent already stops everything.")]
struct SetArgs {
    /// The dataset.
    dataset: DatasetName,
    /// The most epsilon that may be spent, over all contracts.
    #[arg(long, value_name = "E", value_parser = epsilon)]
    epsilon: Epsilon,
    /// The delta at which it is computed.
    #[arg(long, value_name = "D", value_parser = delta)]
    delta: Delta,
    #[command(flatten)]
    unlock: UnlockArgs,
}

pub(super) fn run(args: &BudgetArgs, console: &Console) -> Result<(), Failure> {
    match (&args.set, &args.home, &args.passphrase_file) {
        (Some(BudgetCommand::Set(args)), _, _) => set(args, console),
        (None, Some(home), Some(passphrase)) => {
            let unlocked = unlock(home, passphrase, console)?;
            show(&unlocked, args.dataset.as_ref(), console)
        }
        (None, _, _) => unreachable!("clap requires both where there is no subcommand"),
    }
}

/// What a contract may add to what is spent already.
#[derive(Debug, Serialize)]
pub(super) struct Forecast {
    /// Spent by all contracts so far, at the officer's delta.
    spent: Epsilon,
    /// The officer's own limit, where there is one.
    limit: Option<OfficerLimit>,
    /// The most that this contract spends, at its own delta.
    contract_limit: Epsilon,
    /// Why the officer's limit leaves no room for all that the contract pays for; `None` where it does.
    pub(super) exceeds: Option<String>,
}

/// Compares what a contract may spend of a dataset with what the officer allows.
pub(super) fn forecast(
    unlocked: &Unlocked,
    contract: &Contract,
    id: &DatasetRef,
) -> Result<Forecast, Failure> {
    let meter = unlocked.meter()?;
    let report = meter
        .report()?
        .into_iter()
        .find(|report| report.dataset == id.name);
    let epsilon = contract
        .dataset(id)
        .map_or(f64::INFINITY, |named| named.epsilon);
    Ok(Forecast {
        spent: report.as_ref().map_or(Epsilon::ZERO, |report| report.spent),
        limit: report.and_then(|report| report.limit),
        contract_limit: Epsilon::new(epsilon)
            .map_err(AccountingError::from)
            .map_err(MeterError::from)?,
        exceeds: beyond_officer(&meter, contract, id)?,
    })
}

/// The meter asks both limits and names the first that stops: what the contract's own limit stops was never promised.
fn beyond_officer(
    meter: &Meter,
    contract: &Contract,
    id: &DatasetRef,
) -> Result<Option<String>, Failure> {
    let room = |steps: Steps| meter.expect_room(contract, id, RunNumber::FIRST, steps);
    let outcome = match room(contract.most_steps()) {
        Err(MeterError::Contract { fit, .. }) => room(Steps::new(fit.get().saturating_add(1))),
        outcome => outcome,
    };
    match outcome {
        Ok(()) | Err(MeterError::Contract { .. }) => Ok(None),
        Err(error @ (MeterError::Officer { .. } | MeterError::Units { .. })) => {
            Ok(Some(error.to_string()))
        }
        Err(error) => Err(error.into()),
    }
}

impl fmt::Display for Forecast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            spent,
            contract_limit,
            ..
        } = self;
        match self.limit {
            Some(limit) => write!(
                f,
                "epsilon {spent} is spent of your limit of {} (delta {}); this contract spends at most {contract_limit}",
                limit.epsilon, limit.delta
            ),
            None => write!(
                f,
                "epsilon {spent} is spent, this contract spends at most {contract_limit}; you have no limit of your own (`agent budget set`)"
            ),
        }
    }
}

/// A dataset of the vault and what is spent of it.
#[derive(Debug, Serialize)]
struct Budget {
    #[serde(flatten)]
    report: DatasetReport,
    /// Contracts that were signed here and have spent nothing yet: what each may spend.
    signed: BTreeMap<Digest, Epsilon>,
}

fn show(unlocked: &Unlocked, only: Option<&DatasetName>, console: &Console) -> Result<(), Failure> {
    let budgets = budgets(unlocked, only)?;
    console.result(&budgets, |out| {
        if budgets.is_empty() {
            return writeln!(out, "no datasets yet: nothing to spend");
        }
        for budget in &budgets {
            print(budget, out)?;
        }
        Ok(())
    })
}

fn budgets(unlocked: &Unlocked, only: Option<&DatasetName>) -> Result<Vec<Budget>, Failure> {
    let mut reports: BTreeMap<DatasetName, DatasetReport> = unlocked
        .meter()?
        .report()?
        .into_iter()
        .map(|report| (report.dataset.clone(), report))
        .collect();
    for dataset in unlocked.vault.list().map_err(vault_failure)? {
        let dataset = dataset.manifest.dataset().clone();
        reports.entry(dataset.clone()).or_insert(DatasetReport {
            dataset,
            limit: None,
            spent: Epsilon::ZERO,
            delta: None,
            contracts: Vec::new(),
        });
    }
    if let Some(only) = only {
        if !reports.contains_key(only) {
            // The vault says which datasets there are.
            unlocked.vault.show(only).map_err(vault_failure)?;
        }
        reports.retain(|name, _| name == only);
    }
    let book = unlocked.home.contracts();
    let party = unlocked.home.party().party();
    let mut budgets: Vec<Budget> = reports
        .into_values()
        .map(|report| Budget {
            report,
            signed: BTreeMap::new(),
        })
        .collect();
    for digest in book.digests()? {
        let (Some(signed), None) = (book.signed(&digest)?, book.refusal(&digest)?) else {
            continue;
        };
        for (id, dataset) in signed.contract().datasets() {
            let budget = budgets
                .iter_mut()
                .find(|budget| id.owner == *party && budget.report.dataset == id.name);
            if let Some(budget) = budget
                && !budget
                    .report
                    .contracts
                    .iter()
                    .any(|account| account.contract == digest)
                && let Ok(epsilon) = Epsilon::new(dataset.epsilon)
            {
                budget.signed.insert(digest, epsilon);
            }
        }
    }
    Ok(budgets)
}

fn print(budget: &Budget, out: &mut dyn Write) -> io::Result<()> {
    let report = &budget.report;
    write!(out, "{}: epsilon {} spent", report.dataset, report.spent)?;
    match (report.limit, report.delta) {
        (Some(limit), _) => writeln!(
            out,
            " of your limit of {} (delta {})",
            limit.epsilon, limit.delta
        )?,
        (None, Some(delta)) => writeln!(out, " (delta {delta}); no limit of your own")?,
        (None, None) => writeln!(out, "; no limit of your own")?,
    }
    if report.contracts.is_empty() && budget.signed.is_empty() {
        return Ok(());
    }
    let mut table = Table::new([
        ("  contract", Align::Left),
        ("spent", Align::Right),
        ("trained on", Align::Right),
        ("limit", Align::Right),
        ("delta", Align::Right),
        ("steps", Align::Right),
        ("leased", Align::Right),
        ("left", Align::Right),
    ]);
    for contract in &report.contracts {
        let sum = |steps: fn(&RunReport) -> Steps| {
            contract
                .runs
                .iter()
                .map(|run| steps(run).get())
                .sum::<u64>()
                .to_string()
        };
        table.row([
            format!("  {}", contract.contract.short()),
            contract.spent.to_string(),
            contract.settled.to_string(),
            contract.limit.to_string(),
            contract.delta.to_string(),
            sum(|run| run.settled),
            sum(|run| run.leased),
            contract.remaining.to_string(),
        ]);
    }
    for (contract, limit) in &budget.signed {
        table.row([
            format!("  {}", contract.short()),
            Epsilon::ZERO.to_string(),
            Epsilon::ZERO.to_string(),
            limit.to_string(),
        ]);
    }
    write!(out, "{table}")
}

fn set(args: &SetArgs, console: &Console) -> Result<(), Failure> {
    let unlocked = args.unlock.open(console)?;
    // A limit on a misspelt name would limit nothing.
    unlocked.vault.show(&args.dataset).map_err(vault_failure)?;
    let limit = OfficerLimit {
        epsilon: args.epsilon,
        delta: args.delta,
    };
    unlocked.meter()?.set_limit(&args.dataset, Some(limit))?;
    let budgets = budgets(&unlocked, Some(&args.dataset))?;
    for budget in &budgets {
        if budget.report.spent >= args.epsilon {
            console.warn(format!(
                "{}: epsilon {} is spent already: nothing more is served",
                args.dataset, budget.report.spent
            ));
        }
    }
    console.result(&budgets, |out| {
        budgets.iter().try_for_each(|budget| print(budget, out))
    })
}

fn epsilon(text: &str) -> Result<Epsilon, String> {
    let number: f64 = text
        .parse()
        .map_err(|_| format!("expected a number, got `{text}`"))?;
    if !number.is_finite() || number <= 0.0 {
        return Err(format!("expected a number above 0, got {number}"));
    }
    Epsilon::new(number).map_err(|error| error.to_string())
}

fn delta(text: &str) -> Result<Delta, String> {
    let number: f64 = text
        .parse()
        .map_err(|_| format!("expected a number, got `{text}`"))?;
    Delta::new(number).map_err(|error| error.to_string())
}
