//! `agent contract`: reading, signing and refusing.

mod consent;
mod view;
mod words;

use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use serde::Serialize;
use tributary_console::{Align, Blame, Console, ErrorCode, Failure, Table};
use tributary_durable::{Readers, replace};
use tributary_protocol::{Digest, ENVELOPE_SIZE_LIMIT, PartyName, SignedContract};

use self::view::{View, You};
use super::folder::{HomeArgs, UnlockArgs, open_home, read_limited, unlock};
use crate::contracts::ContractBook;
use crate::failures::contract_failure;

/// What `agent contract` takes.
#[derive(Debug, Subcommand)]
pub(super) enum ContractCommand {
    /// Say what a contract allows: who gets what, for how much epsilon, until when, and what leaves.
    Show(ShowArgs),
    /// Sign a contract, where it names this party, its data as it is in the vault, and no more epsilon than allowed.
    Sign(SignArgs),
    /// Refuse a contract for good: nothing is served under it, even where it was signed before.
    Refuse(RefuseArgs),
    /// List the contracts that were signed or refused here.
    #[command(after_help = "Example:\n  agent contract list --home alice")]
    List(HomeArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  agent contract show contract.dsse
  agent contract show contract.dsse --home alice --passphrase-file alice.pass

With --home it says what concerns this party; with --passphrase-file, too, it compares the contract with the vault and with what is left of the budget.")]
pub(super) struct ShowArgs {
    /// The contract.
    file: PathBuf,
    /// The agent's folder, made by `agent init`.
    #[arg(long, env = "TRIBUTARY_HOME", value_name = "DIR")]
    home: Option<PathBuf>,
    /// A file whose first line opens the vault.
    #[arg(
        long,
        env = "TRIBUTARY_PASSPHRASE_FILE",
        value_name = "FILE",
        requires = "home"
    )]
    passphrase_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  agent contract sign contract.dsse --home alice --passphrase-file alice.pass
  agent contract sign contract.dsse --out signed-by-alice.dsse --home alice --passphrase-file alice.pass")]
pub(super) struct SignArgs {
    /// The contract; the signature is added to it.
    file: PathBuf,
    /// Write the signed contract here and leave FILE as it is.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    unlock: UnlockArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:
  agent contract refuse contract.dsse --reason \"the purpose is not covered by our patients' consent\" --home alice")]
pub(super) struct RefuseArgs {
    /// The contract.
    file: PathBuf,
    /// Why, for whoever asks later.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    home: HomeArgs,
}

pub(super) fn run(command: &ContractCommand, console: &Console) -> Result<(), Failure> {
    match command {
        ContractCommand::Show(args) => show(args, console),
        ContractCommand::Sign(args) => sign(args, console),
        ContractCommand::Refuse(args) => refuse(args, console),
        ContractCommand::List(home) => list(home, console),
    }
}

fn show(args: &ShowArgs, console: &Console) -> Result<(), Failure> {
    let signed = read(&args.file)?;
    let you = match (&args.home, &args.passphrase_file) {
        (None, _) => None,
        (Some(home), None) => Some(You::without_vault(&open_home(home)?, &signed)?),
        (Some(home), Some(passphrase)) => Some(You::with_vault(
            &unlock(home, passphrase, console)?,
            &signed,
        )?),
    };
    let view = View::of(&signed, you, Utc::now())?;
    console.result(&view, |out| words::write(&view, out))
}

fn sign(args: &SignArgs, console: &Console) -> Result<(), Failure> {
    let signed = read(&args.file)?;
    let unlocked = args.unlock.open(console)?;
    let warnings = consent::check(&signed, &unlocked, Utc::now())?;
    for warning in &warnings {
        console.warn(warning);
    }
    let signed = unlocked
        .home
        .contracts()
        .sign(signed, &unlocked.identity()?)?;
    let out = args.out.as_ref().unwrap_or(&args.file);
    replace(out, &signed.envelope().to_json(), Readers::Anyone)?;

    #[derive(Serialize)]
    struct Signed<'a> {
        contract: Digest,
        file: &'a Path,
        missing: Vec<PartyName>,
        warnings: Vec<String>,
    }
    let signed = Signed {
        contract: signed.contract().digest(),
        file: out,
        missing: signed.missing(),
        warnings,
    };
    console.result(&signed, |out| {
        writeln!(
            out,
            "signed {} into {}",
            signed.contract,
            signed.file.display()
        )?;
        match signed.missing.as_slice() {
            [] => writeln!(out, "every party has signed: the consumer can register it"),
            missing => writeln!(out, "signatures still missing: {}", words::join(missing)),
        }
    })
}

fn refuse(args: &RefuseArgs, console: &Console) -> Result<(), Failure> {
    let signed = read(&args.file)?;
    let book = args.home.open()?.contracts();
    let digest = signed.contract().digest();
    let was_signed = book.digests()?.contains(&digest);
    book.refuse(signed.contract(), &args.reason)?;

    #[derive(Serialize)]
    struct Refused<'a> {
        contract: Digest,
        reason: &'a str,
        was_signed: bool,
    }
    let refused = Refused {
        contract: digest,
        reason: args.reason.trim(),
        was_signed,
    };
    console.result(&refused, |out| {
        writeln!(out, "refused {digest}: nothing is served under it here")?;
        if was_signed {
            writeln!(
                out,
                "it was signed before: tell the consumer, whose copy still has the signature"
            )?;
        }
        Ok(())
    })
}

/// A contract of the book.
#[derive(Debug, Serialize)]
struct Listed {
    contract: Digest,
    state: State,
    /// The officer's reason, where it was refused.
    reason: Option<String>,
    /// From the copy that was signed here; absent where it was refused unsigned.
    consumer: Option<PartyName>,
    purpose: Option<String>,
    not_after: Option<DateTime<Utc>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    Signed,
    Expired,
    Refused,
}

impl State {
    fn as_str(self) -> &'static str {
        match self {
            Self::Signed => "signed",
            Self::Expired => "expired",
            Self::Refused => "refused",
        }
    }
}

fn list(home: &HomeArgs, console: &Console) -> Result<(), Failure> {
    let book = home.open()?.contracts();
    let now = Utc::now();
    let mut digests = book.digests()?;
    digests.extend(book.refused()?);
    digests.sort_unstable();
    digests.dedup();
    let listed: Vec<Listed> = digests
        .iter()
        .map(|digest| listed(&book, digest, now))
        .collect::<Result<_, Failure>>()?;
    console.result(&listed, |out| {
        if listed.is_empty() {
            return writeln!(out, "no contract was signed or refused here");
        }
        let mut table = Table::new([
            ("contract", Align::Left),
            ("state", Align::Left),
            ("consumer", Align::Left),
            ("until", Align::Left),
            ("purpose, or reason of the refusal", Align::Left),
        ]);
        for contract in &listed {
            let until = contract.not_after.map(words::day).unwrap_or_default();
            let why = contract.reason.as_ref().or(contract.purpose.as_ref());
            table.row([
                contract.contract.short(),
                contract.state.as_str().to_owned(),
                contract
                    .consumer
                    .as_ref()
                    .map(ToString::to_string)
                    .unwrap_or_default(),
                until,
                words::first_line(why.map_or("", String::as_str)),
            ]);
        }
        write!(out, "{table}")
    })
}

fn listed(book: &ContractBook, digest: &Digest, now: DateTime<Utc>) -> Result<Listed, Failure> {
    let reason = book.refusal(digest)?;
    let signed = book.signed(digest)?;
    let contract = signed.as_ref().map(SignedContract::contract);
    let state = match (&reason, contract) {
        (Some(_), _) | (None, None) => State::Refused,
        (None, Some(contract)) if contract.document().validity.not_after < now => State::Expired,
        (None, Some(_)) => State::Signed,
    };
    Ok(Listed {
        contract: *digest,
        state,
        reason,
        consumer: contract.map(|contract| contract.consumer().0.clone()),
        purpose: contract.map(|contract| contract.document().purpose.clone()),
        not_after: contract.map(|contract| contract.document().validity.not_after),
    })
}

/// Reads a contract's file. Who signed it is another matter.
fn read(file: &Path) -> Result<SignedContract, Failure> {
    let bytes = read_limited(file, ENVELOPE_SIZE_LIMIT)?;
    SignedContract::from_json(&bytes).map_err(|error| {
        let failure = contract_failure(error);
        let message = format!("{}: {}", file.display(), failure.message());
        let hint = failure.hint_text().unwrap_or_default().to_owned();
        Failure::new(failure.code(), message)
            .hint(hint)
            .blame(Blame::Contract)
    })
}

/// A refusal to sign: what the contract says, against what holds here.
fn mismatch(what: &str, expected: impl std::fmt::Display, got: impl std::fmt::Display) -> Failure {
    Failure::new(
        ErrorCode::CONTRACT_MISMATCH,
        format!("{what}: expected {expected}, the contract says {got}; nothing was signed"),
    )
    .blame(Blame::Contract)
}
