//! `aggregator contract merge`: the signatures of several copies in one.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use tributary_console::{Blame, Console, ErrorCode, Failure, FailureContext as _};
use tributary_durable::{Readers, replace};
use tributary_protocol::{Digest, PartyName};

use crate::cli::files::read_contract;

/// What `aggregator contract merge` takes.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  aggregator contract merge from-alice.dsse from-bob.dsse --out contract.dsse")]
pub(in crate::cli) struct MergeArgs {
    /// Copies of one contract, each with some signatures.
    #[arg(value_name = "FILE", required = true, num_args = 2..)]
    copies: Vec<PathBuf>,
    /// The file to write; it may be one of the copies.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Debug, Serialize)]
struct Merged {
    file: PathBuf,
    digest: Digest,
    missing: Vec<PartyName>,
}

pub(in crate::cli) fn merge(args: &MergeArgs, console: &Console) -> Result<(), Failure> {
    let (first, others) = match args.copies.split_first() {
        Some(split) => split,
        None => {
            return Err(Failure::new(
                ErrorCode::USAGE,
                "expected copies of a contract, got none",
            ));
        }
    };
    let mut signed = read_contract(first)?;
    for path in others {
        let copy = read_contract(path)?;
        if !signed.merge(&copy) {
            return Err(Failure::new(
                ErrorCode::CONTRACT_MISMATCH,
                format!(
                    "expected {} to be a copy of {}, {}, got {}; nothing was written",
                    path.display(),
                    first.display(),
                    signed.contract().digest(),
                    copy.contract().digest()
                ),
            )
            .hint("have every party sign the same file: a contract that is written again is another contract")
            .blame(Blame::Contract));
        }
    }
    replace(&args.out, &signed.envelope().to_json(), Readers::Anyone).or_fail(
        ErrorCode::IO,
        format_args!("cannot write {}", args.out.display()),
    )?;
    let merged = Merged {
        file: args.out.clone(),
        digest: signed.contract().digest(),
        missing: signed.missing(),
    };
    console.result(&merged, |out| {
        writeln!(out, "wrote {}: {}", merged.file.display(), merged.digest)?;
        if merged.missing.is_empty() {
            return writeln!(
                out,
                "every party has signed; next: aggregator contract register"
            );
        }
        let missing: Vec<&str> = merged.missing.iter().map(PartyName::as_str).collect();
        writeln!(out, "signatures are missing: {}", missing.join(", "))
    })
}
