//! The receipt of a run: what was trained, by which code, on which data, at what cost in privacy; verified offline.
//!
//! `receipt.dsse` is an in-toto Statement (version 1) in DSSE. It is signed by a key that lives as long as the aggregator's
//! process; evidence of the aggregator's platform binds that key, and every word of the statement, to the measured code.
//! The evidence is part of the statement too, as its last field, so its report data is over the statement *with that field
//! left empty*:
//!
//! ```text
//! report data = SHA-512( len ‖ "tributary receipt v1" ‖ len ‖ SHA-256(payload with "evidence":"") )
//! ```

use std::collections::BTreeMap;
use std::fmt::Display;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha512};
use tributary_accounting::{AccountingError, Steps};
use tributary_attest::{
    AttestError, Attester, Collateral, DatedReportData, Evidence, EvidenceError, Measurement,
    Refusal, ReportData, Tee, Verdict, appraise_dated,
};

use crate::contract::{Contract, Dataset, DatasetRef};
use crate::derivation::put_prefixed;
use crate::digest::Digest;
use crate::dsse::{Envelope, EnvelopeError};
use crate::identity::{Identity, PartyKey};
use crate::noise_key::NoiseKey;
use crate::numbers::{RunNumber, SequenceNumber};
use crate::party::{DatasetName, PartyName};
use crate::sealed::{ModelArchive, ModelFile};

/// The DSSE payload type of in-toto statements.
pub const RECEIPT_PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

/// The type of the statement's predicate.
pub const RECEIPT_PREDICATE_TYPE: &str = "https://github.com/tributary/tributary/receipt/v1";

/// The longest statement, in bytes: with the ledger's proof of a large contract, in base64, in an envelope within its limit.
pub const RECEIPT_SIZE_LIMIT: usize = 2 << 20;

/// The most entries of the ledger that a receipt proves.
pub const RECEIPT_LEDGER_LIMIT: usize = 64;

/// What an aggregator states at the end of a run; privacy is computed from the contract and not stated by the caller.
#[derive(Debug, Clone)]
pub struct RunSummary<'a> {
    /// The contract's number on the ledger.
    pub number: SequenceNumber,
    /// The run.
    pub run: RunNumber,
    /// What was used of each of the contract's datasets.
    pub datasets: BTreeMap<DatasetRef, DatasetUse>,
    /// What was trained.
    pub model: &'a ModelArchive,
    /// The key that seals the model.
    pub noise_key: NoiseKey,
    /// Receipts of the ledger in their JSON, for its own verification.
    pub ledger: Vec<Vec<u8>>,
}

/// What was used of a dataset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DatasetUse {
    /// Steps of this run.
    pub steps: u64,
    /// Steps spent by all runs up to this one, as the ledger counts: what was leased and lost in a crash is among them.
    pub spent_steps: u64,
}

/// A receipt that verified.
///
/// ```
/// # use chrono::{DateTime, Utc};
/// # use tributary_attest::Collateral;
/// # use tributary_protocol::{
/// #     Contract, Envelope, ModelArchive, OpenError, Receipt, SealedFor, SealingSecret, open_model,
/// # };
/// fn unseal(
///     receipt: &[u8],
///     sealed: &[u8],
///     contract: &Contract,
///     collateral: &Collateral,
///     secret: &SealingSecret,
///     now: DateTime<Utc>,
/// ) -> Result<ModelArchive, Box<dyn std::error::Error>> {
///     let receipt = Receipt::verify(&Envelope::from_json(receipt)?, contract, collateral, now)?;
///     let purpose = SealedFor { contract: receipt.contract, run: receipt.run };
///     let model = open_model(sealed, secret, &receipt.noise_key, &purpose)?;
///     receipt.expect_model(&model)?;
///     Ok(model)
/// }
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Receipt {
    /// The contract.
    pub contract: Digest,
    /// Its number on the ledger.
    pub number: SequenceNumber,
    /// The run.
    pub run: RunNumber,
    /// When the aggregator made it.
    pub issued: DateTime<Utc>,
    /// What the evidence showed, under the contract's policy for aggregators.
    pub verdict: Verdict,
    /// What each dataset gave and paid.
    pub datasets: Vec<ReceiptDataset>,
    /// The digests of the model's files.
    pub model: [(ModelFile, Digest); 3],
    /// The key that sealed the model: open it with this as its sender.
    pub noise_key: NoiseKey,
    /// The key that signed the receipt, attested with it.
    pub signing_key: PartyKey,
    /// Receipts of the ledger as they came: they are verified by the ledger's own means.
    pub ledger: Vec<Vec<u8>>,
    /// SHA-256 of the signed statement.
    pub digest: Digest,
}

/// What a dataset gave and paid.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReceiptDataset {
    /// The provider that holds it.
    pub owner: PartyName,
    /// Its name at the owner's.
    pub name: DatasetName,
    /// The digest of its manifest.
    pub manifest: Digest,
    /// Steps of this run.
    pub steps: u64,
    /// Steps of all runs so far.
    pub spent_steps: u64,
    /// Epsilon after all of these, at `delta`.
    pub epsilon: f64,
    /// The contract's delta, of which padding's overflow takes its share.
    pub delta: f64,
}

/// Why a receipt was not issued, or was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiptError {
    /// The envelope is not one of a receipt.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// Longer than [`RECEIPT_SIZE_LIMIT`], or with more than [`RECEIPT_LEDGER_LIMIT`] receipts of the ledger.
    #[error(
        "expected a receipt of at most {RECEIPT_SIZE_LIMIT} bytes with at most {RECEIPT_LEDGER_LIMIT} receipts of the ledger, got {0}"
    )]
    TooLarge(String),
    /// Not the JSON of a receipt.
    #[error("expected an in-toto statement of a run of Tributary")]
    Json(#[source] serde_json::Error),
    /// The key that the receipt names did not sign it.
    #[error(
        "the receipt is not signed by the key {0} that it names: it was altered; ask the aggregator for it again"
    )]
    Signature(PartyKey),
    /// A field that does not fit the contract, or is not possible.
    #[error("the receipt's {field} is refused: expected {expected}, got {got}")]
    Field {
        /// Which.
        field: String,
        /// What the contract, or sense, demands.
        expected: String,
        /// What it states.
        got: String,
    },
    /// The evidence is not evidence.
    #[error("the receipt's evidence is refused: {0}")]
    Evidence(#[from] EvidenceError),
    /// The evidence does not show what the contract's policy demands, or was made for another statement.
    #[error(transparent)]
    Attestation(#[from] Refusal),
    /// The platform gives no evidence.
    #[error("the platform gives no evidence for the receipt")]
    Attest(#[from] AttestError),
    /// Epsilon cannot be computed.
    #[error(transparent)]
    Accounting(#[from] AccountingError),
}

impl Receipt {
    /// Makes the receipt of a run: computes what each dataset paid, has the platform vouch for the statement and for
    /// `signer`, and signs. Fails where the receipt would be refused by [`Receipt::verify`] for what it says of the data.
    ///
    /// # Errors
    /// Where the summary does not fit the contract or the platform gives no evidence.
    pub fn issue(
        summary: &RunSummary<'_>,
        contract: &Contract,
        attester: &dyn Attester,
        signer: &Identity,
        now: DateTime<Utc>,
    ) -> Result<Envelope, ReceiptError> {
        let mut predicate = RawPredicate {
            contract: contract.digest(),
            number: summary.number,
            run: summary.run,
            issued: now,
            code: RawCode {
                tee: attester.tee(),
                measurement: attester.measurement(),
            },
            datasets: paid(summary, contract)?,
            noise_key: summary.noise_key,
            signing_key: signer.public(),
            ledger: summary
                .ledger
                .iter()
                .map(|bytes| BASE64.encode(bytes))
                .collect(),
            evidence: String::new(),
        };
        check_terms(&predicate, contract, now)?;
        let subject: Vec<RawSubject> = summary.model.digests().map(RawSubject::from).into();
        let unattested = RawStatement::new(subject.clone(), &predicate).to_json()?;
        let evidence = attester.attest(&report_data(&Digest::of(&unattested)))?;
        predicate.evidence = BASE64.encode(evidence.to_bytes());
        let payload = RawStatement::new(subject, &predicate).to_json()?;
        check_size(payload.len(), predicate.ledger.len())?;
        Ok(Envelope::sign(RECEIPT_PAYLOAD_TYPE, payload, signer))
    }

    /// Verifies a receipt offline against a contract, whose own signatures are verified elsewhere.
    ///
    /// Evidence is appraised as of the moment that the receipt states: by then its platform's certificate had to be valid,
    /// and it had to be fresh. That the moment is true is the measured code's word, like all else in the statement.
    ///
    /// # Errors
    /// [`ReceiptError`], a distinct one for each reason.
    pub fn verify(
        envelope: &Envelope,
        contract: &Contract,
        collateral: &Collateral,
        now: DateTime<Utc>,
    ) -> Result<Self, ReceiptError> {
        envelope.expect_type(RECEIPT_PAYLOAD_TYPE)?;
        let payload = envelope.payload();
        check_size(payload.len(), 0)?;
        let statement: ReadStatement =
            serde_json::from_slice(payload).map_err(ReceiptError::Json)?;
        let predicate = &statement.predicate;
        check_size(payload.len(), predicate.ledger.len())?;
        if !envelope.verified_by(&predicate.signing_key) {
            return Err(ReceiptError::Signature(predicate.signing_key));
        }
        expect("_type", STATEMENT_TYPE, statement.kind.as_str())?;
        expect(
            "predicateType",
            RECEIPT_PREDICATE_TYPE,
            statement.predicate_type.as_str(),
        )?;
        let model = model_of(&statement.subject)?;
        check_terms(predicate, contract, now)?;

        let evidence = Evidence::from_bytes(&decode("evidence", &predicate.evidence)?)?;
        let unattested = without_evidence(payload, &predicate.evidence)?;
        // A receipt is judged as of its own moment, so that no bound on age can refuse it: what dates it is the word of the
        // code that is measured. (`docs/attestation.md` says so.)
        let expected = DatedReportData {
            report_data: report_data(&Digest::of(&unattested)),
            since: predicate.issued,
        };
        let verdict = appraise_dated(
            &contract.document().attestation.aggregator,
            &evidence,
            &expected,
            collateral,
            predicate.issued,
        )?;
        expect("code.tee", &verdict.tee, &predicate.code.tee)?;
        if let Some(measurement) = &predicate.code.measurement {
            expect("code.measurement", &verdict.measurement, measurement)?;
        }
        let ledger = predicate
            .ledger
            .iter()
            .map(|text| decode("ledger", text))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            contract: predicate.contract,
            number: predicate.number,
            run: predicate.run,
            issued: predicate.issued,
            verdict,
            datasets: predicate.datasets.clone(),
            model,
            noise_key: predicate.noise_key,
            signing_key: predicate.signing_key,
            ledger,
            digest: envelope.payload_digest(),
        })
    }

    /// Refuses a model that is not the one that the receipt names.
    ///
    /// # Errors
    /// [`ReceiptError::Field`] with the first file that differs.
    pub fn expect_model(&self, model: &ModelArchive) -> Result<(), ReceiptError> {
        for ((file, stated), (_, digest)) in self.model.iter().zip(model.digests()) {
            expect(file.name(), &digest, stated)?;
        }
        Ok(())
    }
}

/// What each of the contract's datasets paid, in the contract's order.
fn paid(
    summary: &RunSummary<'_>,
    contract: &Contract,
) -> Result<Vec<ReceiptDataset>, ReceiptError> {
    for dataset in summary.datasets.keys() {
        if contract.dataset(dataset).is_none() {
            return Err(field("datasets", "the contract's", dataset));
        }
    }
    contract
        .datasets()
        .map(|(id, dataset)| {
            let used = summary
                .datasets
                .get(&id)
                .ok_or_else(|| field("datasets", &id, "none of this name"))?;
            Ok(ReceiptDataset {
                owner: id.owner,
                name: id.name,
                manifest: dataset.manifest,
                steps: used.steps,
                spent_steps: used.spent_steps,
                epsilon: epsilon_after(contract, dataset, used.spent_steps)?,
                delta: contract.delta().get(),
            })
        })
        .collect()
}

/// As the agent's meter computes it: at the delta that padding's overflow leaves.
fn epsilon_after(
    contract: &Contract,
    dataset: &Dataset,
    steps: u64,
) -> Result<f64, AccountingError> {
    let delta = contract.capacity(dataset)?.remaining_delta;
    Ok(contract.epsilon_after(Steps::new(steps), delta)?.get())
}

/// All that follows from contract and clock.
fn check_terms(
    predicate: &RawPredicate,
    contract: &Contract,
    now: DateTime<Utc>,
) -> Result<(), ReceiptError> {
    expect("contract", &contract.digest(), &predicate.contract)?;
    if predicate.run.get() > contract.runs() {
        let most = format!("a run from 1 to {}", contract.runs());
        return Err(field("run", most, predicate.run));
    }
    let not_before = contract.document().validity.not_before;
    if predicate.issued < not_before || predicate.issued > now + CLOCK_SKEW {
        let span = format!("a time from {not_before} to {now}");
        return Err(field("issued", span, predicate.issued));
    }
    let named: Vec<String> = contract.datasets().map(|(id, _)| id.to_string()).collect();
    let stated: Vec<String> = predicate
        .datasets
        .iter()
        .map(|dataset| format!("{}/{}", dataset.owner, dataset.name))
        .collect();
    expect("datasets", &named.join(", "), &stated.join(", "))?;
    for ((id, terms), dataset) in contract.datasets().zip(&predicate.datasets) {
        check_dataset(&id, terms, dataset, contract)?;
    }
    Ok(())
}

fn check_dataset(
    id: &DatasetRef,
    terms: &Dataset,
    dataset: &ReceiptDataset,
    contract: &Contract,
) -> Result<(), ReceiptError> {
    let path = |name: &str| format!("datasets[{id}].{name}");
    expect(path("manifest"), &terms.manifest, &dataset.manifest)?;
    expect(path("delta"), &contract.delta().get(), &dataset.delta)?;
    let most = contract.steps().get();
    if dataset.steps > most {
        return Err(field(
            path("steps"),
            format!("at most {most}"),
            dataset.steps,
        ));
    }
    if dataset.spent_steps < dataset.steps {
        let least = format!("at least this run's {}", dataset.steps);
        return Err(field(path("spent_steps"), least, dataset.spent_steps));
    }
    // Upwards anything is honest: an accountant may state a bound that is not the tightest.
    let computed = epsilon_after(contract, terms, dataset.spent_steps)?;
    let least = computed * (1.0 - EPSILON_TOLERANCE);
    if !(least..=terms.epsilon).contains(&dataset.epsilon) {
        let range = format!(
            "from {computed}, which these steps cost, to {}, the contract's limit",
            terms.epsilon
        );
        return Err(field(path("epsilon"), range, dataset.epsilon));
    }
    Ok(())
}

/// The three files in the archive's order, each with one digest.
fn model_of(subject: &[RawSubject]) -> Result<[(ModelFile, Digest); 3], ReceiptError> {
    let names: Vec<&str> = subject.iter().map(|file| file.name.as_str()).collect();
    expect(
        "subject",
        &ModelFile::ALL.map(ModelFile::name).join(", "),
        &names.join(", "),
    )?;
    let mut model = ModelFile::ALL.map(|file| (file, Digest::from_bytes([0; 32])));
    for ((file, digest), subject) in model.iter_mut().zip(subject) {
        let text = format!("sha256:{}", subject.digest.sha256);
        *digest = text.parse().map_err(|_| {
            field(
                format!("subject {file}"),
                "64 hexadecimal digits",
                &subject.digest.sha256,
            )
        })?;
    }
    Ok(model)
}

/// The payload with the text of its evidence left out. The evidence must be the last field of the predicate and the
/// predicate that of the statement, so that there is one place to leave it out of.
fn without_evidence(payload: &[u8], evidence: &str) -> Result<Vec<u8>, ReceiptError> {
    let tail = format!("\"evidence\":\"{evidence}{STATEMENT_END}");
    match payload.strip_suffix(tail.as_bytes()) {
        Some(head) => Ok([head, b"\"evidence\":\"", STATEMENT_END.as_bytes()].concat()),
        None => Err(field(
            "evidence",
            "the last field of the statement",
            "another order",
        )),
    }
}

fn report_data(statement: &Digest) -> ReportData {
    let mut bytes = Vec::new();
    put_prefixed(&mut bytes, REPORT_LABEL.as_bytes());
    put_prefixed(&mut bytes, statement.as_bytes());
    ReportData::new(Sha512::digest(&bytes).into())
}

fn check_size(bytes: usize, ledger: usize) -> Result<(), ReceiptError> {
    if bytes > RECEIPT_SIZE_LIMIT {
        return Err(ReceiptError::TooLarge(format!("{bytes} bytes")));
    }
    if ledger > RECEIPT_LEDGER_LIMIT {
        return Err(ReceiptError::TooLarge(format!("{ledger} receipts")));
    }
    Ok(())
}

fn decode(name: &'static str, text: &str) -> Result<Vec<u8>, ReceiptError> {
    BASE64.decode(text).map_err(|_| {
        field(
            name,
            "standard base64",
            text.chars().take(40).collect::<String>(),
        )
    })
}

fn expect<T: PartialEq + Display + ?Sized>(
    name: impl Into<String>,
    expected: &T,
    got: &T,
) -> Result<(), ReceiptError> {
    if expected == got {
        Ok(())
    } else {
        Err(field(name, expected, got))
    }
}

fn field(name: impl Into<String>, expected: impl Display, got: impl Display) -> ReceiptError {
    ReceiptError::Field {
        field: name.into(),
        expected: expected.to_string(),
        got: got.to_string(),
    }
}

/// As it is written: what it points to is borrowed.
#[derive(Serialize)]
struct RawStatement<'a> {
    #[serde(rename = "_type")]
    kind: &'static str,
    subject: Vec<RawSubject>,
    #[serde(rename = "predicateType")]
    predicate_type: &'static str,
    predicate: &'a RawPredicate,
}

impl<'a> RawStatement<'a> {
    fn new(subject: Vec<RawSubject>, predicate: &'a RawPredicate) -> Self {
        let (kind, predicate_type) = (STATEMENT_TYPE, RECEIPT_PREDICATE_TYPE);
        Self {
            kind,
            subject,
            predicate_type,
            predicate,
        }
    }

    fn to_json(&self) -> Result<Vec<u8>, ReceiptError> {
        serde_json::to_vec(self).map_err(ReceiptError::Json)
    }
}

/// As it is read.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReadStatement {
    #[serde(rename = "_type")]
    kind: String,
    subject: Vec<RawSubject>,
    #[serde(rename = "predicateType")]
    predicate_type: String,
    predicate: RawPredicate,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSubject {
    name: String,
    digest: RawDigest,
}

/// in-toto writes digests as a map from algorithm to hexadecimal digits.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDigest {
    sha256: String,
}

impl From<(ModelFile, Digest)> for RawSubject {
    fn from((file, digest): (ModelFile, Digest)) -> Self {
        let sha256 = hex::encode(digest.as_bytes());
        Self {
            name: file.name().to_owned(),
            digest: RawDigest { sha256 },
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPredicate {
    contract: Digest,
    number: SequenceNumber,
    run: RunNumber,
    issued: DateTime<Utc>,
    code: RawCode,
    datasets: Vec<ReceiptDataset>,
    noise_key: NoiseKey,
    signing_key: PartyKey,
    ledger: Vec<String>,
    /// Stays the last field: see [`without_evidence`].
    evidence: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCode {
    tee: Tee,
    /// Absent where the platform tells a program's measurement only in evidence.
    measurement: Option<Measurement>,
}

const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
/// The end of the evidence's text, of the predicate and of the statement.
const STATEMENT_END: &str = "\"}}";
const REPORT_LABEL: &str = "tributary receipt v1";
/// As the appraisal allows for clocks that differ.
const CLOCK_SKEW: TimeDelta = TimeDelta::seconds(60);
/// JSON writes and reads epsilon in decimal, and two machines may differ in the last bits of a logarithm.
const EPSILON_TOLERANCE: f64 = 1e-9;

#[cfg(test)]
mod tests;
