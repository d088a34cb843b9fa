//! `aggregator contract show`.

use std::io::{self, Write};

use chrono::{DateTime, Utc};
use clap::Args;
use serde::Serialize;
use tributary_console::{Console, Failure};
use tributary_protocol::ledger::ContractView;
use tributary_protocol::{PartyName, RunNumber};

use super::words::Words;
use crate::cli::files::{MaybeHomeArgs, MaybePassphraseArgs};
use crate::cli::keeper::Asking;
use crate::cli::period::Period;
use crate::cli::reference::ContractReference;
use tributary_console_collateral::CollateralArgs;

/// What `aggregator contract show` takes.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  aggregator contract show contract.dsse
  aggregator contract show 1 --home tdc
  aggregator contract show 1 --home tdc --passphrase-file tdc.pass --ledger 127.0.0.1:7001 --json")]
pub(in crate::cli) struct ShowArgs {
    /// The contract: its number, or its file.
    #[arg(value_name = "SEQ|FILE")]
    contract: ContractReference,
    #[command(flatten)]
    home: MaybeHomeArgs,
    #[command(flatten)]
    passphrase: MaybePassphraseArgs,
    /// Ask the agent that keeps the ledger, at this address, what became of the contract.
    #[arg(long, value_name = "ADDR")]
    ledger: Option<String>,
    /// How long to wait for it.
    #[arg(long, value_name = "SPAN", default_value = "60s")]
    wait: Period,
    #[command(flatten)]
    collateral: CollateralArgs,
}

#[derive(Debug, Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    words: Words<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ledger: Option<OnLedger>,
}

/// What the ledger knows of a contract.
#[derive(Debug, Serialize)]
struct OnLedger {
    registered: DateTime<Utc>,
    runs_opened: u32,
    open_run: Option<RunNumber>,
    revoked: Option<Revoked>,
    leased: Vec<Leased>,
}

#[derive(Debug, Serialize)]
struct Revoked {
    by: PartyName,
    at: DateTime<Utc>,
    reason: String,
}

#[derive(Debug, Serialize)]
struct Leased {
    dataset: String,
    steps: u64,
}

pub(in crate::cli) fn show(args: &ShowArgs, console: &Console) -> Result<(), Failure> {
    let home = args.home.open()?;
    let found = args.contract.find(home.as_ref())?;
    let number = found
        .registered
        .as_ref()
        .map(|registered| registered.number);
    let ledger = match &args.ledger {
        Some(address) => {
            let asking = Asking {
                home: home.as_ref(),
                passphrase: &args.passphrase,
                address,
                wait: args.wait,
                collateral: &args.collateral,
            };
            Some(OnLedger::from(asking.ask(&found, console)?))
        }
        None => None,
    };
    let shown = Shown {
        words: Words::of(&found.signed, number)?,
        ledger,
    };
    for warning in shown.words.warnings() {
        console.warn(warning);
    }
    console.result(&shown, |out| {
        shown.words.print(out)?;
        match &shown.ledger {
            Some(ledger) => ledger.print(out),
            None => Ok(()),
        }
    })
}

impl From<ContractView> for OnLedger {
    fn from(view: ContractView) -> Self {
        Self {
            registered: view.registered,
            runs_opened: view.runs_opened,
            open_run: view.open_run,
            revoked: view.revoked.map(|revoked| Revoked {
                by: revoked.by,
                at: revoked.at,
                reason: revoked.reason,
            }),
            leased: view
                .leased
                .into_iter()
                .map(|leased| Leased {
                    dataset: leased.dataset.to_string(),
                    steps: leased.steps,
                })
                .collect(),
        }
    }
}

impl OnLedger {
    fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(
            out,
            "\nregistered: {}",
            self.registered.format("%Y-%m-%d %H:%M UTC")
        )?;
        match self.open_run {
            Some(run) => writeln!(out, "runs: {} begun, run {run} is open", self.runs_opened)?,
            None => writeln!(out, "runs: {} begun, none is open", self.runs_opened)?,
        }
        for leased in &self.leased {
            writeln!(out, "spent: {} steps of {}", leased.steps, leased.dataset)?;
        }
        match &self.revoked {
            Some(revoked) => writeln!(
                out,
                "REVOKED by {} at {}: {}",
                revoked.by, revoked.at, revoked.reason
            ),
            None => Ok(()),
        }
    }
}
