//! `aggregator contract register`: the ledger gives the contract its number.

use std::path::PathBuf;

use chrono::Utc;
use clap::Args;
use serde::Serialize;
use tributary_console::{Console, Failure};
use tributary_protocol::{Digest, PartyName, SequenceNumber};

use crate::cli::files::{UnlockArgs, read_contract};
use crate::cli::keeper::{Dial, Keeper, block_on};
use crate::cli::period::Period;
use crate::failures::{contract_failure, contract_file_failure};
use crate::home::RegisteredContract;
use tributary_console_collateral::CollateralArgs;

/// What `aggregator contract register` takes.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  aggregator contract register --contract contract.dsse --ledger 127.0.0.1:7001 \\
      --home tdc --passphrase-file tdc.pass
  aggregator contract register --contract contract.dsse \\
      --ledger agent.hospital-a.example:7443 --wait 10m --json")]
pub(in crate::cli) struct RegisterArgs {
    #[command(flatten)]
    unlock: UnlockArgs,
    /// The contract, signed by every party.
    #[arg(long, value_name = "FILE")]
    contract: PathBuf,
    /// Where the agent listens that keeps the contract's ledger.
    #[arg(long, env = "TRIBUTARY_LEDGER", value_name = "ADDR")]
    ledger: String,
    /// How long to wait for it.
    #[arg(long, value_name = "SPAN", default_value = "60s")]
    wait: Period,
    #[command(flatten)]
    collateral: CollateralArgs,
}

#[derive(Debug, Serialize)]
struct Registered {
    number: SequenceNumber,
    digest: Digest,
    ledger: PartyName,
    /// The place of the registration in the ledger.
    index: u64,
    /// Entries that the ledger's newest head covers.
    ledger_size: u64,
}

pub(in crate::cli) fn register(args: &RegisterArgs, console: &Console) -> Result<(), Failure> {
    let (home, identity) = args.unlock.open(console)?;
    let signed = read_contract(&args.contract)?;
    signed.check(Utc::now()).map_err(contract_failure)?;
    let contract = signed.contract().clone();
    let (number, receipt) = block_on(async {
        let dial = Dial {
            contract: &contract,
            identity,
            address: &args.ledger,
            wait: args.wait.0,
            collateral: &args.collateral,
        };
        let keeper = Keeper::connect(dial, console).await?;
        let registered = keeper.register(signed.envelope().clone()).await?;
        keeper.close().await;
        Ok(registered)
    })?;
    let registered = RegisteredContract {
        number,
        signed,
        receipt,
    };
    // The same offline check that everybody makes who reads the receipt later.
    let proven = registered.verify().map_err(contract_file_failure)?;
    home.keep_contract(&registered)?;
    let told = Registered {
        number,
        digest: contract.digest(),
        ledger: contract.document().ledger.members[0].clone(),
        index: proven.index,
        ledger_size: proven.checkpoint.size,
    };
    console.result(&told, |out| {
        writeln!(
            out,
            "contract {number} is {}\nentry {} of the ledger of {}, whose receipt verified and is kept in {}",
            told.digest,
            told.index,
            told.ledger,
            home.folder().display()
        )?;
        writeln!(out, "next: aggregator plan --contract {number}")
    })
}
