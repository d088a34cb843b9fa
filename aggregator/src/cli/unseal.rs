//! `aggregator unseal`: the model, opened with the consumer's key.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use tributary_console::{Blame, Console, ErrorCode, Failure, FailureContext as _};
use tributary_durable::{Readers, create_private_folder, replace};
use tributary_protocol::{
    Digest, NoiseKey, OpenError, Receipt, RunNumber, SealedFor, SealingSecret, SequenceNumber,
    open_model,
};

use super::files::UnlockArgs;
use super::receipt::{check, contract_of, read_receipt};
use super::reference::ContractReference;
use crate::failures::home_failure;
use crate::home::ConsumerHome;
use tributary_console_collateral::CollateralArgs;

/// What `aggregator unseal` takes.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  aggregator unseal --contract 1 --run 1 --out model --home tdc --passphrase-file tdc.pass
  aggregator unseal model.sealed --receipt receipt.dsse --out model \\
      --home tdc --passphrase-file tdc.pass

The receipt is verified first, offline; the model opens only if the attested aggregator that it names has sealed it.")]
pub(super) struct UnsealArgs {
    #[command(flatten)]
    unlock: UnlockArgs,
    /// The sealed model; with --run, the one that the run left in the home.
    #[arg(
        value_name = "FILE",
        required_unless_present = "run",
        conflicts_with = "run"
    )]
    file: Option<PathBuf>,
    /// The receipt; the file receipt.dsse beside the model where left out.
    #[arg(long, value_name = "FILE")]
    receipt: Option<PathBuf>,
    /// The contract: its number, or its file. Found by the receipt where left out.
    #[arg(long, value_name = "SEQ|FILE")]
    contract: Option<ContractReference>,
    /// The run of the contract whose model to open.
    #[arg(long, value_name = "N", requires = "contract")]
    run: Option<RunNumber>,
    /// The folder to write model.onnx, model.safetensors and metrics.json into; made where it is not there.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    #[command(flatten)]
    collateral: CollateralArgs,
}

#[derive(Debug, Serialize)]
struct Opened {
    contract: Digest,
    number: SequenceNumber,
    run: RunNumber,
    sealed_by: NoiseKey,
    epsilon: std::collections::BTreeMap<String, f64>,
    files: Vec<PathBuf>,
}

pub(super) fn unseal(args: &UnsealArgs, console: &Console) -> Result<(), Failure> {
    let home = args.unlock.home.open()?;
    let sealed = args.sealed(&home)?;
    let receipt_path = args
        .receipt
        .clone()
        .unwrap_or_else(|| sealed.with_file_name("receipt.dsse"));
    let envelope = read_receipt(&receipt_path)?;
    let signed = match &args.contract {
        Some(reference) => reference.find(Some(&home))?.signed,
        None => contract_of(&envelope, Some(&home), &receipt_path)?,
    };
    let receipt = check(&envelope, &signed, &[], &args.collateral)?.receipt;
    if let Some(run) = args.run
        && receipt.run != run
    {
        return Err(Failure::new(
            ErrorCode::SEALED_WRONG_CONTRACT,
            format!(
                "expected the receipt of run {run} in {}, got that of run {}",
                receipt_path.display(),
                receipt.run
            ),
        )
        .hint("copy both files of the run again from the aggregator"));
    }
    let secret = home
        .sealing_secret(&args.unlock.passphrase(console)?)
        .map_err(home_failure)?;
    let files = open(&sealed, &receipt, &secret, &args.out)?;
    let opened = Opened {
        contract: receipt.contract,
        number: receipt.number,
        run: receipt.run,
        sealed_by: receipt.noise_key,
        epsilon: receipt
            .datasets
            .iter()
            .map(|dataset| {
                (
                    format!("{}/{}", dataset.owner, dataset.name),
                    dataset.epsilon,
                )
            })
            .collect(),
        files,
    };
    if let Some(warning) = receipt.verdict.tee.warning() {
        console.warn(warning);
    }
    console.result(&opened, |out| {
        writeln!(
            out,
            "opened the model of contract {}, run {}: its receipt verified, and the aggregator that it names sealed it",
            opened.number, opened.run
        )?;
        for file in &opened.files {
            writeln!(out, "wrote {}", file.display())?;
        }
        Ok(())
    })
}

/// Nothing is written before all of the model is authentic and is the one that the receipt names.
fn open(
    sealed: &Path,
    receipt: &Receipt,
    secret: &SealingSecret,
    out: &Path,
) -> Result<Vec<PathBuf>, Failure> {
    let file = File::open(sealed).or_fail(
        ErrorCode::IO,
        format_args!("cannot read {}", sealed.display()),
    )?;
    let purpose = SealedFor {
        contract: receipt.contract,
        run: receipt.run,
    };
    let model = open_model(BufReader::new(file), secret, &receipt.noise_key, &purpose)
        .map_err(open_failure)?;
    receipt.expect_model(&model).map_err(|error| {
        Failure::from_error(ErrorCode::RECEIPT_REFUSED, &error)
            .hint("receipt and model are of two runs: copy both again from the aggregator")
    })?;
    create_private_folder(out)
        .or_fail(ErrorCode::IO, format_args!("cannot make {}", out.display()))?;
    let mut files = Vec::new();
    for (file, bytes) in model.files() {
        let path = out.join(file.name());
        replace(&path, bytes, Readers::Owner).or_fail(
            ErrorCode::IO,
            format_args!("cannot write {}", path.display()),
        )?;
        files.push(path);
    }
    Ok(files)
}

fn open_failure(error: OpenError) -> Failure {
    let (code, hint) = match &error {
        OpenError::Kind | OpenError::Version(_) => (
            ErrorCode::SEALED_ALTERED,
            "pass the model.sealed that a run left, from the same version of Tributary",
        ),
        OpenError::Contract { .. } | OpenError::Run { .. } => (
            ErrorCode::SEALED_WRONG_CONTRACT,
            "pass the receipt that the same run left",
        ),
        OpenError::Recipient { .. } => (
            ErrorCode::SEALED_WRONG_KEY,
            "name the home whose sealing key the contract names with --home",
        ),
        OpenError::Sender { .. } => (
            ErrorCode::SEALED_WRONG_SENDER,
            "do not use it: ask the aggregator for model and receipt again",
        ),
        OpenError::Io(_) => (ErrorCode::IO, "check the file"),
        _ => (
            ErrorCode::SEALED_ALTERED,
            "copy the whole file again from the aggregator",
        ),
    };
    Failure::from_system_cause(&error)
        .unwrap_or_else(|| Failure::from_error(code, &error))
        .hint(hint)
        .blame(Blame::Peer)
}

impl UnsealArgs {
    /// Where the sealed model is.
    fn sealed(&self, home: &ConsumerHome) -> Result<PathBuf, Failure> {
        if let Some(file) = &self.file {
            return Ok(file.clone());
        }
        match (&self.contract, self.run) {
            (Some(ContractReference::Number(number)), Some(run)) => {
                Ok(home.run_path(*number, run).join("model.sealed"))
            }
            _ => Err(Failure::new(
                ErrorCode::USAGE,
                "expected the contract's number with --run: runs are kept by number",
            )
            .hint("pass --contract SEQ --run N, or the sealed model's file")
            .blame(Blame::Configuration)),
        }
    }
}
