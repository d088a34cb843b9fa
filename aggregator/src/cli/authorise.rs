//! `aggregator authorise`: leave for one run, for a machine that does not hold the consumer's key.

use std::path::{Path, PathBuf};

use chrono::{DateTime, SubsecRound as _, Utc};
use clap::Args;
use serde::{Deserialize, Serialize};
use tributary_console::{Blame, Console, ErrorCode, Failure, FailureContext as _};
use tributary_protocol::{Authorisation, Digest, PartyKey, RunNumber};

use super::files::{UnlockArgs, read_limited, write_new};
use super::period::Period;
use super::reference::ContractReference;

/// A key and a name take some 150 bytes.
const RUNNER_SIZE_LIMIT: usize = 4096;

/// What `aggregator authorise` takes.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  aggregator authorise --contract 1 --run 1 --runner runner/party.json --out run-1.dsse
  aggregator authorise --contract 1 --run 2 --runner ed25519:3b6a27bc… --expires 2h \\
      --out run-2.dsse --home tdc --passphrase-file tdc.pass

The runner then calls `aggregator train --authorisation FILE`. Each authorisation starts its run once.")]
pub(super) struct AuthoriseArgs {
    #[command(flatten)]
    unlock: UnlockArgs,
    /// The contract: its number, or its file.
    #[arg(long, value_name = "SEQ|FILE")]
    contract: ContractReference,
    /// The run.
    #[arg(long, value_name = "N")]
    run: RunNumber,
    /// Who may start it: a public key, or the party.json of the runner's home.
    #[arg(long, value_name = "KEY|FILE")]
    runner: String,
    /// For how long it may be started.
    #[arg(long, value_name = "SPAN", default_value = "24h")]
    expires: Period,
    /// The file to write.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Debug, Serialize)]
struct Authorised {
    file: PathBuf,
    contract: Digest,
    run: RunNumber,
    runner: PartyKey,
    expires: DateTime<Utc>,
    authorisation: Digest,
}

pub(super) fn authorise(args: &AuthoriseArgs, console: &Console) -> Result<(), Failure> {
    let (home, identity) = args.unlock.open(console)?;
    let found = args.contract.find(Some(&home))?;
    let contract = found.contract();
    let (name, key) = contract.consumer();
    if identity.public() != *key {
        return Err(Failure::new(
            ErrorCode::AUTHORISATION_REFUSED,
            format!(
                "expected the key of the consumer {name}, {key}, this home holds {}",
                identity.public()
            ),
        )
        .hint("run it in the home that wrote the contract: nobody else can authorise its runs")
        .blame(Blame::Configuration));
    }
    if args.run.get() > contract.runs() {
        return Err(Failure::new(
            ErrorCode::CONTRACT_USED_UP,
            format!(
                "expected a run from 1 to {}, which the contract allows, got {}",
                contract.runs(),
                args.run
            ),
        )
        .hint("agree on a new contract for more runs")
        .blame(Blame::Contract));
    }
    let runner = runner(&args.runner)?;
    let expires = Utc::now().trunc_subsecs(0) + args.expires.0;
    let envelope = Authorisation::issue(contract.digest(), args.run, runner, expires, &identity)
        .or_fail(ErrorCode::INTERNAL, "the authorisation")?;
    write_new(&args.out, &envelope.to_json())?;
    let authorised = Authorised {
        file: args.out.clone(),
        contract: contract.digest(),
        run: args.run,
        runner,
        expires,
        authorisation: envelope.payload_digest(),
    };
    console.result(&authorised, |out| {
        writeln!(
            out,
            "wrote {}: {} may start run {} once, until {}",
            authorised.file.display(),
            authorised.runner,
            authorised.run,
            authorised.expires.format("%Y-%m-%d %H:%M UTC")
        )
    })
}

/// The runner's key: as text, or in the file of a party.
fn runner(text: &str) -> Result<PartyKey, Failure> {
    if let Ok(key) = text.parse() {
        return Ok(key);
    }
    let refuse = |reason: String| {
        Failure::new(
            ErrorCode::USAGE,
            format!("expected as --runner a public key such as ed25519:…, or the party.json of a home: {reason}"),
        )
        .blame(Blame::Configuration)
    };
    if text.starts_with("ed25519:") {
        return Err(refuse(format!("`{text}` is not the key of anybody")));
    }
    // A party's file has a name besides, which may be anything.
    #[derive(Deserialize)]
    struct Party {
        key: PartyKey,
    }
    let path = Path::new(text);
    let path = if path.is_dir() {
        path.join("party.json")
    } else {
        path.to_owned()
    };
    let bytes = read_limited(&path, RUNNER_SIZE_LIMIT)?;
    if let Ok(key) = String::from_utf8_lossy(&bytes).trim().parse() {
        return Ok(key);
    }
    serde_json::from_slice::<Party>(&bytes)
        .map(|party| party.key)
        .map_err(|error| refuse(format!("{}: {error}", path.display())))
}
