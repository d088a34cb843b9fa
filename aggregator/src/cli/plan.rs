//! `aggregator plan`: the price of a run before it is paid.

use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use chrono::Utc;
use clap::Args;
use serde::Serialize;
use tributary_accounting::Steps;
use tributary_console::{
    Align, ByteSize, Console, ErrorCode, Failure, FailureContext as _, HumanDuration, Table,
    peak_rss,
};
use tributary_protocol::ledger::ContractView;
use tributary_protocol::{Contract, Digest, SequenceNumber};

use super::files::{MaybeHomeArgs, MaybePassphraseArgs};
use super::keeper::Asking;
use super::period::Period;
use super::reference::{ContractReference, model_at_hand};
use crate::planning::{PlanError, RunPlan};
use crate::validation::{Finding, findings, warnings};
use tributary_console_collateral::CollateralArgs;

/// What `aggregator plan` takes.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  aggregator plan --contract 1 --home tdc
  aggregator plan --contract contract.dsse --model mnist.onnx --json
  aggregator plan --contract 1 --ledger 127.0.0.1:7001 --home tdc --passphrase-file tdc.pass

Spends nothing: the time comes from a few private steps on made-up examples.
With --ledger it also counts what earlier runs have spent.")]
pub(super) struct PlanArgs {
    /// The contract: its number, or its file.
    #[arg(long, value_name = "SEQ|FILE")]
    contract: ContractReference,
    #[command(flatten)]
    home: MaybeHomeArgs,
    #[command(flatten)]
    passphrase: MaybePassphraseArgs,
    /// The contract's model; the home's copy where left out.
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
    /// Threads that would train; one for each core where left out.
    #[arg(long, env = "TRIBUTARY_THREADS", value_name = "N")]
    threads: Option<NonZeroUsize>,
    /// Ask the agent that keeps the ledger, at this address, what is spent and whether the contract was revoked.
    #[arg(long, value_name = "ADDR")]
    ledger: Option<String>,
    /// How long to wait for it.
    #[arg(long, value_name = "SPAN", default_value = "60s")]
    wait: Period,
    #[command(flatten)]
    collateral: CollateralArgs,
}

#[derive(Debug, Serialize)]
struct Planned {
    contract: Option<SequenceNumber>,
    digest: Digest,
    #[serde(flatten)]
    plan: RunPlan,
    /// Bytes of memory that this process has used at most, the trial's trainer with it, and those that batches add.
    memory: Option<u64>,
    asked_ledger: bool,
    would_start: bool,
    refusals: Vec<Finding>,
    warnings: Vec<String>,
}

pub(super) fn plan(args: &PlanArgs, console: &Console) -> Result<(), Failure> {
    let home = args.home.open()?;
    let found = args.contract.find(home.as_ref())?;
    let contract = found.contract();
    let model = model_at_hand(contract, args.model.as_deref(), home.as_ref())?;
    let mut refusals = findings(&found.signed, &model, Utc::now());
    let mut plan = RunPlan::of(contract).map_err(plan_failure)?;
    let fits = model
        .graph()
        .filter(|graph| crate::model_fit::check(graph, contract).is_ok());
    if let Some(graph) = fits {
        console.note("measuring a few private steps of this model on this machine");
        plan = plan
            .measured(contract, graph, threads(args.threads))
            .map_err(plan_failure)?;
    }
    if let Some(address) = &args.ledger {
        let asking = Asking {
            home: home.as_ref(),
            passphrase: &args.passphrase,
            address,
            wait: args.wait,
            collateral: &args.collateral,
        };
        refusals.extend(refused_by_ledger(contract, &asking.ask(&found, console)?)?);
    }
    let memory = match &plan.time {
        Some(time) => Some(peak_rss()?.as_bytes().saturating_add(time.batch_memory)),
        None => None,
    };
    let planned = Planned {
        contract: found
            .registered
            .as_ref()
            .map(|registered| registered.number),
        digest: contract.digest(),
        plan,
        memory,
        asked_ledger: args.ledger.is_some(),
        would_start: refusals.is_empty(),
        refusals,
        warnings: warnings(contract),
    };
    for warning in &planned.warnings {
        console.warn(warning);
    }
    console.result(&planned, |out| planned.print(out))
}

pub(super) fn threads(asked: Option<NonZeroUsize>) -> NonZeroUsize {
    asked
        .or_else(|| std::thread::available_parallelism().ok())
        .unwrap_or(NonZeroUsize::MIN)
}

fn plan_failure(error: PlanError) -> Failure {
    Failure::from_error(ErrorCode::CONTRACT_INVALID, &error)
        .hint("write a new contract without what is named")
}

/// What the ledger's state would refuse: nothing, where the next run may begin.
fn refused_by_ledger(contract: &Contract, view: &ContractView) -> Result<Vec<Finding>, Failure> {
    let mut found = Vec::new();
    if let Some(revoked) = &view.revoked {
        found.push(Finding::new(
            ErrorCode::REVOKED,
            format!(
                "{} revoked the contract at {}: {}",
                revoked.by, revoked.at, revoked.reason
            ),
            "agree on a new contract",
        ));
    }
    if view.runs_opened >= contract.runs() {
        found.push(Finding::new(
            ErrorCode::CONTRACT_USED_UP,
            format!("expected one of {} runs to be left, all were begun", contract.runs()),
            match view.open_run {
                Some(run) => format!("go on with run {run} by `aggregator train --resume`, or agree on a new contract"),
                None => "agree on a new contract".to_owned(),
            },
        ));
    }
    let plan = contract
        .plan()
        .or_fail(ErrorCode::CONTRACT_INVALID, "the plan")?;
    for dataset in plan.datasets {
        let spent = view
            .leased
            .iter()
            .find(|leased| leased.dataset == dataset.dataset);
        let spent = spent.map_or(0, |leased| leased.steps);
        let after = contract
            .epsilon_after(
                Steps::new(spent.saturating_add(contract.steps().get())),
                dataset.capacity.remaining_delta,
            )
            .or_fail(ErrorCode::CONTRACT_INVALID, "the plan")?;
        if spent > 0 && after > dataset.limit {
            found.push(Finding::new(
                ErrorCode::BUDGET_EXHAUSTED,
                format!(
                    "{}: expected at most epsilon {}; {spent} steps are spent, and a run of {} more would come to {:.3}",
                    dataset.dataset,
                    dataset.limit,
                    contract.steps().get(),
                    after.get()
                ),
                "agree on a new contract",
            ));
        }
    }
    Ok(found)
}

impl Planned {
    fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        let plan = &self.plan;
        match self.contract {
            Some(number) => writeln!(out, "contract {number}, {}", self.digest)?,
            None => writeln!(out, "contract {}", self.digest)?,
        }
        writeln!(
            out,
            "one run: {} steps of {:.0} records on average, epsilon at delta {:e}\n",
            plan.steps, plan.expected_batch, plan.delta
        )?;
        let mut table = Table::new([
            ("dataset", Align::Left),
            ("epsilon of a run", Align::Right),
            ("of all runs", Align::Right),
            ("at most", Align::Right),
            ("runs that fit", Align::Right),
            ("records a step", Align::Right),
            ("rows sent", Align::Right),
            ("bytes a step", Align::Right),
            ("bytes a run", Align::Right),
        ]);
        for dataset in &plan.datasets {
            table.row([
                format!("{}/{}", dataset.owner, dataset.name),
                format!("{:.3}", dataset.epsilon),
                format!("{:.3}", dataset.epsilon_of_all_runs),
                dataset.limit.to_string(),
                format!("{} of {}", dataset.runs_within_limit, plan.runs),
                format!("{:.1}", dataset.expected_batch),
                dataset.rows.to_string(),
                ByteSize::bytes(dataset.batch_bytes).to_string(),
                ByteSize::bytes(dataset.bytes).to_string(),
            ]);
        }
        writeln!(out, "{table}")?;
        writeln!(out, "streamed in a run: {}", ByteSize::bytes(plan.bytes))?;
        match &plan.time {
            Some(time) => writeln!(
                out,
                "time: about {}, from a private step of this model on this machine now ({} with {} threads); batches travel meanwhile",
                HumanDuration(Duration::from_secs_f64(time.seconds)),
                HumanDuration(Duration::from_secs_f64(time.step_seconds)),
                time.threads
            )?,
            None => writeln!(out, "time: not measured, since there is no model that fits")?,
        }
        if let Some(memory) = self.memory {
            writeln!(out, "memory: about {}", ByteSize::bytes(memory))?;
        }
        if !self.asked_ledger {
            writeln!(
                out,
                "what earlier runs have spent is not counted: --ledger ADDR asks"
            )?;
        }
        if self.refusals.is_empty() {
            return writeln!(out, "\nnothing would refuse this run; nothing was spent");
        }
        writeln!(out, "\nthis run would be refused; nothing was spent")?;
        for refusal in &self.refusals {
            writeln!(
                out,
                "  {}: {}\n    to mend it: {}",
                refusal.code, refusal.message, refusal.hint
            )?;
        }
        Ok(())
    }
}
