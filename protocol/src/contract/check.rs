//! What makes a contract one: each field's bounds, and how fields fit each other.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use tributary_accounting::{Delta, NoiseMultiplier, SamplingRate};

use super::batches::ENTITY_INDEX;
use super::check_training::check_training;
use super::document::{Dataset, Document, PartyRole, Unit};
use super::{CONTRACT_SIZE_LIMIT, Contract};
use crate::digest::Digest;
use crate::manifest::ColumnType;
use crate::party::PartyName;

/// The form that this program reads.
const VERSION: u32 = 1;

/// More than the tallest federation imagined, and few enough to check at once.
const PARTIES_LIMIT: usize = 1024;

/// A purpose is a paragraph that a person reads before signing.
const PURPOSE_LENGTH_LIMIT: usize = 4096;

/// The accountant is exact far beyond; the bound keeps products of steps and runs within 64 bits.
const STEPS_LIMIT: u64 = 10_000_000;

/// The same for runs.
const RUNS_LIMIT: u32 = 1000;

/// A sample is drawn with 32-bit indices.
const RECORDS_LIMIT: u64 = u32::MAX as u64;

/// Class numbers of a byte.
const BYTE_CLASSES: u32 = 256;

/// More records of one entity in a step than anybody has slices of an organ.
const ENTITY_ROWS_LIMIT: u32 = 65_536;

/// Shorter than this, attesting would take the time of training; longer than a day is not re-attestation.
const INTERVAL_SECONDS: std::ops::RangeInclusive<u32> = 10..=86_400;

/// Why a contract is refused.
#[derive(Debug, thiserror::Error)]
pub enum ContractError {
    /// Too long.
    #[error("expected a contract of at most {CONTRACT_SIZE_LIMIT} bytes, got {0}")]
    TooLarge(usize),
    /// Not the JSON of a contract; an unknown or missing field, too.
    #[error("expected a contract in version {VERSION} of its JSON form: {0}")]
    Json(#[source] serde_json::Error),
    /// A field whose value makes no sense.
    #[error("`{field}`: expected {expected}, got {got}")]
    Field {
        /// The path of the field.
        field: String,
        /// What it may be.
        expected: String,
        /// What it is.
        got: String,
    },
    /// An envelope that is not one, or holds something else.
    #[error(transparent)]
    Envelope(#[from] crate::dsse::EnvelopeError),
    /// Signatures are missing.
    #[error("expected a valid signature of every party, got none of {}", join(.missing))]
    Unsigned {
        /// The parties without a valid signature.
        missing: Vec<PartyName>,
    },
    /// Too early.
    #[error("expected a contract in force, got one that begins at {not_before} (it is {now})")]
    NotYetInForce {
        /// When it begins.
        not_before: DateTime<Utc>,
        /// Now.
        now: DateTime<Utc>,
    },
    /// Too late.
    #[error("expected a contract in force, got one that expired at {not_after} (it is {now})")]
    Expired {
        /// When it ended.
        not_after: DateTime<Utc>,
        /// Now.
        now: DateTime<Utc>,
    },
}

impl ContractError {
    /// A stable name for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooLarge(_) => "contract.too-large",
            Self::Json(_) => "contract.syntax",
            Self::Field { .. } => "contract.field",
            Self::Envelope(_) => "contract.envelope",
            Self::Unsigned { .. } => "contract.unsigned",
            Self::NotYetInForce { .. } => "contract.not-yet-in-force",
            Self::Expired { .. } => "contract.expired",
        }
    }

    /// How to mend it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::TooLarge(_) | Self::Envelope(_) => {
                "pass the file that `aggregator contract new` wrote"
            }
            Self::Json(_) => {
                "unknown fields are refused and none may be left out: compare it with schema/contract.v1.json"
            }
            Self::Field { .. } => {
                "correct the field in a new contract and have every party sign it"
            }
            Self::Unsigned { .. } => {
                "each of them runs `agent contract sign` (the consumer's is made by `aggregator contract new`)"
            }
            Self::NotYetInForce { .. } => "wait, or have a contract signed that begins earlier",
            Self::Expired { .. } => "have a new contract signed",
        }
    }
}

fn join(names: &[PartyName]) -> String {
    let names: Vec<&str> = names.iter().map(PartyName::as_str).collect();
    names.join(", ")
}

pub(super) fn parse(payload: &[u8]) -> Result<Contract, ContractError> {
    if payload.len() > CONTRACT_SIZE_LIMIT {
        return Err(ContractError::TooLarge(payload.len()));
    }
    let document: Document = serde_json::from_slice(payload).map_err(ContractError::Json)?;
    expect(
        document.version == VERSION,
        "version",
        "1",
        document.version,
    )?;
    let purpose = document.purpose.trim();
    expect(
        !purpose.is_empty() && purpose.len() <= PURPOSE_LENGTH_LIMIT,
        "purpose",
        "1 to 4096 bytes of text",
        format_args!("{} bytes", purpose.len()),
    )?;
    let parties = check_parties(&document)?;
    check_times(&document)?;
    check_datasets(&document, &parties)?;
    check_pipeline(&document)?;
    check_unit(&document)?;
    let (sampling_rate, noise_multiplier, delta) = check_privacy(&document)?;
    let gradient_noise = check_clipping(&document, noise_multiplier)?;
    check_attestation(&document)?;
    check_ledger(&document, &parties)?;
    Ok(Contract {
        digest: Digest::of(payload),
        sampling_rate,
        noise_multiplier,
        gradient_noise,
        delta,
        parties,
        document,
    })
}

type Parties = BTreeMap<PartyName, (PartyRole, crate::identity::PartyKey)>;

fn check_parties(document: &Document) -> Result<Parties, ContractError> {
    let count = document.parties.len();
    expect(
        (2..=PARTIES_LIMIT).contains(&count),
        "parties",
        "2 to 1024 parties",
        count,
    )?;
    let mut parties = Parties::new();
    let mut keys = BTreeSet::new();
    for (index, party) in document.parties.iter().enumerate() {
        let known = parties.insert(party.name.clone(), (party.role, party.key));
        expect(
            known.is_none(),
            format_args!("parties[{index}].name"),
            "a name of its own for every party",
            &party.name,
        )?;
        expect(
            keys.insert(party.key),
            format_args!("parties[{index}].key"),
            "a key of its own for every party",
            party.key,
        )?;
    }
    let consumers = document
        .parties
        .iter()
        .filter(|party| party.role == PartyRole::Consumer)
        .count();
    expect(
        consumers == 1,
        "parties",
        "one party with the role `consumer`",
        consumers,
    )?;
    Ok(parties)
}

fn check_times(document: &Document) -> Result<(), ContractError> {
    let validity = document.validity;
    expect(
        validity.not_before < validity.not_after,
        "validity.not_after",
        "a time after `not_before`",
        validity.not_after,
    )?;
    expect(
        (1..=RUNS_LIMIT).contains(&document.runs),
        "runs",
        "1 to 1000",
        document.runs,
    )
}

fn check_datasets(document: &Document, parties: &Parties) -> Result<(), ContractError> {
    let first = document.datasets.first();
    expect(first.is_some(), "datasets", "at least one dataset", 0)?;
    expect(
        document.datasets.len() <= PARTIES_LIMIT,
        "datasets",
        "at most 1024 datasets",
        document.datasets.len(),
    )?;
    let mut seen = BTreeSet::new();
    for (index, dataset) in document.datasets.iter().enumerate() {
        let at = |field: &str| format!("datasets[{index}].{field}");
        expect(
            parties
                .get(&dataset.owner)
                .is_some_and(|(role, _)| *role == PartyRole::Provider),
            at("owner"),
            "the name of a party with the role `provider`",
            &dataset.owner,
        )?;
        expect(
            seen.insert((&dataset.owner, &dataset.name)),
            at("name"),
            "each dataset once",
            &dataset.name,
        )?;
        expect(
            (1..=RECORDS_LIMIT).contains(&dataset.records),
            at("records"),
            "1 to 4294967295",
            dataset.records,
        )?;
        expect(
            dataset.epsilon.is_finite() && dataset.epsilon > 0.0,
            at("epsilon"),
            "a number above 0",
            dataset.epsilon,
        )?;
        // A union joins rows, so all must have the same columns; and only those that the pipeline reads leave a vault.
        let pipeline = &document.pipeline;
        let names: Vec<&str> = dataset
            .columns
            .iter()
            .map(|column| column.name.as_str())
            .collect();
        expect(
            names
                == [
                    pipeline.input.column.as_str(),
                    pipeline.label.column.as_str(),
                ],
            at("columns"),
            format_args!(
                "the columns that the pipeline reads, `{}` and `{}`, in this order",
                pipeline.input.column, pipeline.label.column
            ),
            format_args!("{names:?}"),
        )?;
        expect(
            first.is_some_and(|first| first.columns == dataset.columns),
            at("columns"),
            "the same columns as the first dataset, for a union",
            format_args!("{names:?}"),
        )?;
    }
    for (name, (role, _)) in parties {
        let owns = document
            .datasets
            .iter()
            .any(|dataset| &dataset.owner == name);
        expect(
            *role == PartyRole::Consumer || owns,
            "datasets",
            format_args!("a dataset of every provider, {name} too"),
            "none",
        )?;
    }
    Ok(())
}

fn check_pipeline(document: &Document) -> Result<(), ContractError> {
    let pipeline = &document.pipeline;
    let input = &pipeline.input;
    expect(
        input.divisor.is_finite() && input.divisor > 0.0,
        "pipeline.input.divisor",
        "a number above 0",
        input.divisor,
    )?;
    expect(
        input.mean.is_finite(),
        "pipeline.input.mean",
        "a number",
        input.mean,
    )?;
    expect(
        input.deviation.is_finite() && input.deviation > 0.0,
        "pipeline.input.deviation",
        "a number above 0",
        input.deviation,
    )?;
    let classes = pipeline.label.classes;
    expect(
        (2..=65_536).contains(&classes),
        "pipeline.label.classes",
        "2 to 65536",
        classes,
    )?;
    if let Some(dataset) = document.datasets.first() {
        let [input_column, label_column] = dataset.columns.as_slice() else {
            unreachable!("the number of columns was checked");
        };
        expect(
            matches!(
                input_column.kind,
                ColumnType::ImageU8 { .. } | ColumnType::U8Bytes { .. }
            ),
            "pipeline.input.column",
            "a column of images or bytes",
            input_column.kind,
        )?;
        match label_column.kind {
            ColumnType::ImageU8 { channels, .. } => {
                expect(
                    channels == 1,
                    "pipeline.label.column",
                    "images of one channel, whose bytes are class numbers",
                    label_column.kind,
                )?;
                expect(
                    classes <= BYTE_CLASSES,
                    "pipeline.label.classes",
                    "2 to 256, of which a byte can be one",
                    classes,
                )?;
            }
            kind => expect(
                kind == ColumnType::Label { classes },
                "pipeline.label.classes",
                format_args!("the classes of the column, {kind}"),
                classes,
            )?,
        }
    }
    expect(
        (1..=STEPS_LIMIT).contains(&pipeline.steps),
        "pipeline.steps",
        "1 to 10000000",
        pipeline.steps,
    )?;
    check_training(pipeline)
}

fn check_unit(document: &Document) -> Result<(), ContractError> {
    for (index, dataset) in document.datasets.iter().enumerate() {
        check_entities(&document.privacy.unit, dataset, index)?;
    }
    let Unit::Entity(entity) = &document.privacy.unit else {
        return Ok(());
    };
    expect(
        (1..=ENTITY_ROWS_LIMIT).contains(&entity.rows),
        "privacy.unit.entity.rows",
        "1 to 65536",
        entity.rows,
    )?;
    let column = &entity.column;
    expect(
        !matches!(
            column.kind,
            ColumnType::ImageU8 { .. } | ColumnType::F32 | ColumnType::F64
        ),
        "privacy.unit.entity.column",
        "a column of text, bytes, whole numbers or classes",
        column.kind,
    )?;
    let pipeline = &document.pipeline;
    for (field, streamed) in [
        ("pipeline.input.column", &pipeline.input.column),
        ("pipeline.label.column", &pipeline.label.column),
    ] {
        expect(
            *streamed != column.name,
            "privacy.unit.entity.column",
            format_args!(
                "a column that is not streamed, since identities stay in the vault; `{streamed}` is {field}"
            ),
            &column.name,
        )?;
        expect(
            streamed.as_str() != ENTITY_INDEX,
            field,
            format_args!(
                "another name than `{ENTITY_INDEX}`, under which batches number their entities"
            ),
            streamed,
        )?;
    }
    Ok(())
}

fn check_entities(unit: &Unit, dataset: &Dataset, index: usize) -> Result<(), ContractError> {
    let field = format!("datasets[{index}].entities");
    match (unit, dataset.entities) {
        (Unit::Record, None) => Ok(()),
        (Unit::Record, Some(got)) => expect(
            false,
            field,
            "nothing, since the unit of privacy is a record",
            got,
        ),
        (Unit::Entity(_), None) => expect(
            false,
            field,
            "the number of its entities, since they are the unit of privacy",
            "none",
        ),
        (Unit::Entity(_), Some(got)) => expect(
            (1..=dataset.records).contains(&got),
            field,
            format_args!("1 to the {} records of the dataset", dataset.records),
            got,
        ),
    }
}

fn check_privacy(
    document: &Document,
) -> Result<(SamplingRate, NoiseMultiplier, Delta), ContractError> {
    let privacy = &document.privacy;
    let refuse = |field: &str, expected: &str, got: f64| ContractError::Field {
        field: format!("privacy.{field}"),
        expected: expected.to_owned(),
        got: got.to_string(),
    };
    let norm = privacy.clipping_norm;
    if !(norm.is_finite() && norm > 0.0 && (norm as f32).is_normal()) {
        return Err(refuse("clipping_norm", "a number above 0", norm));
    }
    Ok((
        SamplingRate::new(privacy.sampling_rate).map_err(|_| {
            refuse(
                "sampling_rate",
                "a probability above 0, at most 1",
                privacy.sampling_rate,
            )
        })?,
        NoiseMultiplier::new(privacy.noise_multiplier).map_err(|_| {
            refuse(
                "noise_multiplier",
                "a number above 0",
                privacy.noise_multiplier,
            )
        })?,
        Delta::new(privacy.delta)
            .map_err(|_| refuse("delta", "a probability above 0, below 1", privacy.delta))?,
    ))
}

fn check_clipping(
    document: &Document,
    noise_multiplier: NoiseMultiplier,
) -> Result<NoiseMultiplier, ContractError> {
    let clipping = document.privacy.clipping;
    clipping.check(noise_multiplier)?;
    clipping
        .gradient_noise(noise_multiplier)
        .map_err(|error| ContractError::Field {
            field: "privacy.clipping".to_owned(),
            expected: "a mode that leaves noise to the gradients".to_owned(),
            got: error.to_string(),
        })
}

fn check_attestation(document: &Document) -> Result<(), ContractError> {
    let attestation = &document.attestation;
    for (field, policy) in [
        ("attestation.aggregator", &attestation.aggregator),
        ("attestation.agents", &attestation.agents),
    ] {
        policy.check().map_err(|error| ContractError::Field {
            field: field.to_owned(),
            expected: "an appraisal policy that can be met".to_owned(),
            got: error.to_string(),
        })?;
    }
    expect(
        INTERVAL_SECONDS.contains(&attestation.interval_seconds),
        "attestation.interval_seconds",
        "10 to 86400",
        attestation.interval_seconds,
    )
}

fn check_ledger(document: &Document, parties: &Parties) -> Result<(), ContractError> {
    let members = &document.ledger.members;
    expect(
        members.len() == 1,
        "ledger.members",
        "one provider: a ledger that several agents replicate is not built yet",
        members.len(),
    )?;
    let member = &members[0];
    expect(
        parties
            .get(member)
            .is_some_and(|(role, _)| *role == PartyRole::Provider),
        "ledger.members[0]",
        "the name of a provider",
        member,
    )
}

pub(super) fn expect(
    holds: bool,
    field: impl std::fmt::Display,
    expected: impl std::fmt::Display,
    got: impl std::fmt::Display,
) -> Result<(), ContractError> {
    if holds {
        return Ok(());
    }
    Err(ContractError::Field {
        field: field.to_string(),
        expected: expected.to_string(),
        got: got.to_string(),
    })
}
