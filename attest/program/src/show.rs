//! `attest show`: what evidence states about itself.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use tributary_attest::{Evidence, danger_read_unverified};
use tributary_console::{Console, Failure};

use crate::files::{malformed, read_limited};

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  attest show peer.evidence --json")]
pub(crate) struct ShowArgs {
    /// The evidence's file.
    file: PathBuf,
}

pub(crate) fn run(args: &ShowArgs, console: &Console) -> Result<(), Failure> {
    let bytes = read_limited(&args.file, Evidence::MAX_ENCODED)?;
    let evidence = Evidence::from_bytes(&bytes).map_err(|error| malformed(&args.file, error))?;
    let claims =
        danger_read_unverified(&evidence).map_err(|message| malformed(&args.file, message))?;
    let endorsements: Vec<usize> = evidence.endorsements().iter().map(Vec::len).collect();
    let data = json!({
        "verified": false,
        "report_bytes": evidence.report().len(),
        "endorsement_bytes": endorsements,
        "claims": claims,
    });
    console.result(&data, |out| {
        writeln!(
            out,
            "report of {} bytes, UNVERIFIED",
            evidence.report().len()
        )?;
        if let Some(fields) = data["claims"].as_object() {
            for (name, value) in fields {
                let value = value
                    .as_str()
                    .map_or_else(|| value.to_string(), str::to_owned);
                writeln!(out, "{name:<12} {value}")?;
            }
        }
        match claims.tee.warning() {
            Some(warning) => writeln!(out, "{warning}"),
            None => Ok(()),
        }
    })
}
