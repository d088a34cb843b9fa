//! `aggregator contract validate`: everything that would refuse a contract, all at once.

use std::path::PathBuf;

use chrono::Utc;
use clap::Args;
use serde::Serialize;
use tributary_console::{Blame, Console, ErrorCode, Failure, FailureContext as _};
use tributary_protocol::Digest;

use crate::cli::files::MaybeHomeArgs;
use crate::cli::reference::{ContractReference, model_at_hand};
use crate::validation::{Finding, findings, warnings};

/// What `aggregator contract validate` takes.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  aggregator contract validate contract.dsse --home tdc
  aggregator contract validate contract.dsse --model mnist.onnx --json

Exits with 11 where anything would refuse the contract; --json then lists the reasons in `error.details`.")]
pub(in crate::cli) struct ValidateArgs {
    /// The contract: its file, or its number.
    #[arg(value_name = "FILE|SEQ")]
    contract: ContractReference,
    #[command(flatten)]
    home: MaybeHomeArgs,
    /// The contract's model; the home's copy where left out.
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
}

#[derive(Debug, Serialize)]
struct Valid {
    digest: Digest,
    valid: bool,
    warnings: Vec<String>,
}

pub(in crate::cli) fn validate(args: &ValidateArgs, console: &Console) -> Result<(), Failure> {
    let home = args.home.open()?;
    let found = args.contract.find(home.as_ref())?;
    let model = model_at_hand(found.contract(), args.model.as_deref(), home.as_ref())?;
    let warnings = warnings(found.contract());
    for warning in &warnings {
        console.warn(warning);
    }
    refuse(
        &findings(&found.signed, &model, Utc::now()),
        "the contract would be refused",
    )?;
    let valid = Valid {
        digest: found.contract().digest(),
        valid: true,
        warnings,
    };
    console.result(&valid, |out| {
        writeln!(
            out,
            "{}: signed by all, in force, and nothing would refuse it",
            valid.digest
        )
    })
}

/// Fails where there are findings, with all of them.
pub(super) fn refuse(findings: &[Finding], what: &str) -> Result<(), Failure> {
    let Some(first) = findings.first() else {
        return Ok(());
    };
    let (mut message, hint) = match findings {
        [only] => (format!("{what}: {}", only.message), only.hint.clone()),
        several => (
            format!("{what}, for {} reasons", several.len()),
            "mend all of them, then validate again".to_owned(),
        ),
    };
    if findings.len() > 1 {
        for finding in findings {
            message.push_str(&format!(
                "\n  {}: {}\n    to mend it: {}",
                finding.code, finding.message, finding.hint
            ));
        }
    }
    let details = serde_json::to_value(findings).or_fail(ErrorCode::INTERNAL, &first.message)?;
    Err(Failure::new(ErrorCode::CONTRACT_UNFIT, message)
        .hint(hint)
        .blame(Blame::Contract)
        .details(details))
}
