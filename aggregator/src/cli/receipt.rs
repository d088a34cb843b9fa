//! `aggregator receipt`: what a run says of itself, checked offline.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use serde::Serialize;
use tributary_attest::Verdict;
use tributary_console::{Align, Blame, Console, ErrorCode, Failure, FailureContext as _, Table};
use tributary_protocol::ledger::LedgerReceipt;
use tributary_protocol::{
    Digest, ENVELOPE_SIZE_LIMIT, Envelope, NoiseKey, PartyKey, ReceiptDataset, ReceiptError,
    RunNumber, SequenceNumber, SignedContract,
};

use super::files::{MaybeHomeArgs, read_limited};
use super::reference::ContractReference;
use crate::failures::{attestation_code, contract_file_failure};
use crate::home::ConsumerHome;
use crate::receipts::{CheckedReceipt, ReceiptRefusal, check_receipt, claimed_contract};
use tributary_console_collateral::CollateralArgs;

/// The largest proof of the ledger: a contract's envelope, in base64.
const LEDGER_RECEIPT_SIZE_LIMIT: usize = 3 * ENVELOPE_SIZE_LIMIT;

/// What `aggregator receipt` takes.
#[derive(Debug, Subcommand)]
pub(super) enum ReceiptCommand {
    /// Check a receipt offline: signatures, the aggregator's evidence, epsilon, the ledger's proof.
    Verify(VerifyArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  aggregator receipt verify receipt.dsse --contract contract.dsse
  aggregator receipt verify runs/1-1/receipt.dsse --home tdc --json")]
pub(super) struct VerifyArgs {
    /// The receipt.
    file: PathBuf,
    /// The contract: its file, or its number in the home. Looked for in the home where left out.
    #[arg(long, value_name = "FILE|SEQ")]
    contract: Option<ContractReference>,
    #[command(flatten)]
    home: MaybeHomeArgs,
    /// A further proof of the ledger, for receipts that came without; several for several.
    #[arg(long, value_name = "FILE")]
    ledger_receipt: Vec<PathBuf>,
    #[command(flatten)]
    collateral: CollateralArgs,
}

#[derive(Debug, Serialize)]
pub(super) struct Verified {
    receipt: Digest,
    contract: Digest,
    number: SequenceNumber,
    run: RunNumber,
    issued: DateTime<Utc>,
    code: Verdict,
    datasets: Vec<ReceiptDataset>,
    model: Vec<ModelPart>,
    noise_key: NoiseKey,
    signing_key: PartyKey,
    ledger: OnLedger,
}

#[derive(Debug, Serialize)]
struct ModelPart {
    file: &'static str,
    digest: Digest,
}

#[derive(Debug, Serialize)]
struct OnLedger {
    origin: String,
    index: u64,
    size: u64,
    cosigners: Vec<String>,
    proofs: usize,
}

pub(super) fn run(command: &ReceiptCommand, console: &Console) -> Result<(), Failure> {
    match command {
        ReceiptCommand::Verify(args) => verify(args, console),
    }
}

fn verify(args: &VerifyArgs, console: &Console) -> Result<(), Failure> {
    let home = args.home.open()?;
    let envelope = read_receipt(&args.file)?;
    let signed = match &args.contract {
        Some(reference) => reference.find(home.as_ref())?.signed,
        None => contract_of(&envelope, home.as_ref(), &args.file)?,
    };
    let further = args
        .ledger_receipt
        .iter()
        .map(|path| read_ledger_receipt(path))
        .collect::<Result<Vec<_>, _>>()?;
    let checked = check(&envelope, &signed, &further, &args.collateral)?;
    let verified = Verified::from(checked);
    if let Some(warning) = verified.code.tee.warning() {
        console.warn(warning);
    }
    console.result(&verified, |out| verified.print(out))
}

pub(super) fn read_receipt(path: &Path) -> Result<Envelope, Failure> {
    Envelope::from_json(&read_limited(path, ENVELOPE_SIZE_LIMIT)?)
        .or_fail(ErrorCode::RECEIPT_REFUSED, path.display())
        .map_err(|failure| failure.hint("copy the receipt again from the aggregator"))
}

pub(super) fn check(
    envelope: &Envelope,
    signed: &SignedContract,
    further: &[LedgerReceipt],
    collateral: &CollateralArgs,
) -> Result<CheckedReceipt, Failure> {
    let collateral = collateral.load()?;
    check_receipt(envelope, signed, further, &collateral, Utc::now()).map_err(failure)
}

/// The contract that the receipt claims to be of, from the home.
pub(super) fn contract_of(
    envelope: &Envelope,
    home: Option<&ConsumerHome>,
    file: &Path,
) -> Result<SignedContract, Failure> {
    let claimed = claimed_contract(envelope).ok_or_else(|| {
        Failure::new(
            ErrorCode::RECEIPT_REFUSED,
            format!(
                "expected the receipt of a run in {}, got something else",
                file.display()
            ),
        )
        .hint("pass the receipt.dsse that a run left")
    })?;
    let unknown = |searched: &str| {
        Failure::new(
            ErrorCode::CONTRACT_UNKNOWN,
            format!("expected the contract {claimed}, which the receipt names, {searched}"),
        )
        .hint("pass the contract with --contract FILE")
        .blame(Blame::Configuration)
    };
    let home = home.ok_or_else(|| unknown("as --contract or in a --home"))?;
    for number in home.contract_numbers()? {
        let registered = home.contract(number).map_err(contract_file_failure)?;
        if registered.signed.contract().digest() == claimed {
            return Ok(registered.signed);
        }
    }
    Err(unknown(&format!("in {}", home.folder().display())))
}

/// A proof of the ledger as JSON, or as homes keep it.
fn read_ledger_receipt(path: &Path) -> Result<LedgerReceipt, Failure> {
    let bytes = read_limited(path, LEDGER_RECEIPT_SIZE_LIMIT)?;
    let read = match serde_json::from_slice(&bytes) {
        Ok(receipt) => Some(receipt),
        Err(_) => postcard::from_bytes(&bytes).ok(),
    };
    read.ok_or_else(|| {
        Failure::new(
            ErrorCode::LEDGER_PROOF_REFUSED,
            format!(
                "expected a receipt of the ledger in {}, got something else",
                path.display()
            ),
        )
        .hint("pass contracts/N/receipt of a home that registered the contract")
    })
}

fn failure(error: ReceiptRefusal) -> Failure {
    let code = match &error {
        ReceiptRefusal::Unsigned(_) => ErrorCode::CONTRACT_UNSIGNED,
        ReceiptRefusal::Receipt(ReceiptError::Attestation(refusal)) => attestation_code(refusal),
        ReceiptRefusal::Receipt(_) => ErrorCode::RECEIPT_REFUSED,
        ReceiptRefusal::Ledger { .. } | ReceiptRefusal::NotRegistered { .. } => {
            ErrorCode::LEDGER_PROOF_REFUSED
        }
    };
    let hint = match &error {
        ReceiptRefusal::Unsigned(_) => {
            "verify it against the contract as it was registered, with all signatures"
        }
        ReceiptRefusal::Receipt(_) => {
            "do not trust the model that came with it; ask the aggregator for the receipt again"
        }
        ReceiptRefusal::Ledger { .. } => "ask the party that keeps the ledger for the proof again",
        ReceiptRefusal::NotRegistered { .. } => {
            "pass the registration's proof with --ledger-receipt"
        }
    };
    Failure::from_error(code, &error).hint(hint)
}

impl From<CheckedReceipt> for Verified {
    fn from(checked: CheckedReceipt) -> Self {
        let CheckedReceipt {
            receipt,
            registration,
            ledger_proofs,
        } = checked;
        Self {
            receipt: receipt.digest,
            contract: receipt.contract,
            number: receipt.number,
            run: receipt.run,
            issued: receipt.issued,
            code: receipt.verdict,
            datasets: receipt.datasets,
            model: receipt
                .model
                .iter()
                .map(|(file, digest)| ModelPart {
                    file: file.name(),
                    digest: *digest,
                })
                .collect(),
            noise_key: receipt.noise_key,
            signing_key: receipt.signing_key,
            ledger: OnLedger {
                origin: registration.checkpoint.origin.to_string(),
                index: registration.index,
                size: registration.checkpoint.size,
                cosigners: registration
                    .cosigners
                    .keys()
                    .map(ToString::to_string)
                    .collect(),
                proofs: ledger_proofs,
            },
        }
    }
}

impl Verified {
    pub(super) fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(
            out,
            "the receipt holds: contract {}, run {}, made {}",
            self.number,
            self.run,
            self.issued.format("%Y-%m-%d %H:%M:%S UTC")
        )?;
        writeln!(out, "contract: {}, signed by every party", self.contract)?;
        writeln!(
            out,
            "ledger: entry {} of {}, cosigned by {}",
            self.ledger.index,
            self.ledger.size,
            self.ledger.cosigners.join(", ")
        )?;
        writeln!(out, "code: {}\n", self.code)?;
        let mut table = Table::new([
            ("dataset", Align::Left),
            ("manifest", Align::Left),
            ("steps", Align::Right),
            ("spent in all", Align::Right),
            ("epsilon", Align::Right),
            ("delta", Align::Right),
        ]);
        for dataset in &self.datasets {
            table.row([
                format!("{}/{}", dataset.owner, dataset.name),
                dataset.manifest.to_string(),
                dataset.steps.to_string(),
                dataset.spent_steps.to_string(),
                format!("{:.3}", dataset.epsilon),
                format!("{:e}", dataset.delta),
            ]);
        }
        writeln!(out, "{table}")?;
        for part in &self.model {
            writeln!(out, "{}: {}", part.file, part.digest)?;
        }
        Ok(())
    }
}
