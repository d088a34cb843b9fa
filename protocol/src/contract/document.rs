//! The contract as it is written: JSON whose unknown fields are refused.
//!
//! A [`Document`] says nothing about its own sense; [`Contract::parse`](super::Contract::parse) makes the checked type of it, once.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tributary_accounting::{Accountant, Pld, Rdp};
use tributary_attest::Policy;

use super::clipping::Clipping;
use super::training::{Average, Loss, Optimiser, Schedule, is_default};
use crate::digest::Digest;
use crate::identity::PartyKey;
use crate::manifest::{Column, ColumnName};
use crate::party::{DatasetName, PartyName};
use crate::sealing_key::SealingKey;

/// A contract between training data providers and one training data consumer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// The version of this form: 1.
    pub version: u32,
    /// What the model is for, in words that every signer reads.
    pub purpose: String,
    /// Who signs: one consumer and at least one provider.
    pub parties: Vec<Party>,
    /// The consumer's key, for which alone the model is sealed.
    pub sealing_key: SealingKey,
    /// When runs may begin.
    pub validity: Validity,
    /// How many runs may be begun.
    pub runs: u32,
    /// Which data, and how much of its privacy.
    pub datasets: Vec<Dataset>,
    /// What is done with it.
    pub pipeline: Pipeline,
    /// How private the training is.
    pub privacy: Privacy,
    /// Which programs on which platforms may take part.
    pub attestation: Attestation,
    /// Who keeps the ledger.
    pub ledger: LedgerTerms,
    /// What leaves the aggregator besides the sealed model and the receipt.
    pub disclosure: Disclosure,
}

/// A signer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Party {
    /// The name, unique in the contract.
    pub name: PartyName,
    /// What the party does.
    pub role: PartyRole,
    /// The key with which it signs and proves itself.
    pub key: PartyKey,
}

/// What a party does under a contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PartyRole {
    /// Holds data and runs an agent.
    Provider,
    /// Gets the model and runs the aggregator.
    Consumer,
}

/// A span of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Validity {
    /// The first moment.
    pub not_before: DateTime<Utc>,
    /// The last moment.
    pub not_after: DateTime<Utc>,
}

/// A dataset and what may be done to its people's privacy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Dataset {
    /// The provider that holds it.
    pub owner: PartyName,
    /// Its name at the owner's.
    pub name: DatasetName,
    /// The digest of its signed manifest: exactly this data and no other.
    pub manifest: Digest,
    /// How many records the manifest counts.
    pub records: u64,
    /// How many entities they belong to, where the unit of privacy is an entity; else it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entities: Option<u64>,
    /// The columns that are streamed, with their types. Others never leave the vault, that which names entities neither.
    pub columns: Vec<Column>,
    /// The most epsilon that all runs together may spend on it, at the contract's delta.
    pub epsilon: f64,
}

/// From records to a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pipeline {
    /// How the datasets become one.
    pub combine: Combine,
    /// The column that feeds the model, and how it is scaled.
    pub input: Input,
    /// The column that says what the model should answer.
    pub label: Label,
    /// The model before training.
    pub model: Model,
    /// What training makes small.
    pub loss: Loss,
    /// How it makes it small.
    pub optimiser: Optimiser,
    /// How the learning rate changes; not at all where left out.
    #[serde(default, skip_serializing_if = "is_default")]
    pub schedule: Schedule,
    /// The average of the weights that is measured and sealed in place of the last ones; none where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub average: Option<Average>,
    /// Steps of one run.
    pub steps: u64,
}

/// How the datasets become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Combine {
    /// All records of all datasets, which have the same columns.
    Union,
}

/// The model's input: `(value / divisor - mean) / deviation`, with bounds declared here and never fitted on private data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// A column of bytes.
    pub column: ColumnName,
    /// Divides each byte.
    pub divisor: f32,
    /// Is taken off.
    pub mean: f32,
    /// Divides the rest.
    pub deviation: f32,
}

/// The label: a whole number below `classes`, or one for each pixel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Label {
    /// A column of class numbers; or of images of one channel, each byte of which is a class number.
    pub column: ColumnName,
    /// How many classes there are.
    pub classes: u32,
}

/// The model before training.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// The digest of its ONNX file.
    pub onnx: Digest,
}

/// The Poisson-subsampled Gaussian mechanism and its unit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Privacy {
    /// Whose presence is hidden.
    pub unit: Unit,
    /// Whether one person may be in several datasets.
    pub people: People,
    /// The probability with which each record, or entity, takes part in each step.
    pub sampling_rate: f64,
    /// The noise's standard deviation, in clipping norms: of all that a step releases together.
    pub noise_multiplier: f64,
    /// The longest gradient that one record, or entity, may contribute; where clipping is adaptive, the one that it begins with.
    pub clipping_norm: f64,
    /// How gradients are clipped to it; flat where left out.
    #[serde(default, skip_serializing_if = "is_default")]
    pub clipping: Clipping,
    /// The probability that epsilon does not bound.
    pub delta: f64,
    /// How steps are turned into epsilon, by agents' meters, the ledger and plans alike.
    pub accountant: AccountantName,
}

/// How steps are turned into epsilon. Both give upper bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AccountantName {
    /// By Rényi moments.
    Rdp,
    /// By the distribution of the privacy loss, within a thousandth of the exact epsilon.
    Pld,
}

impl AccountantName {
    /// The accountant.
    pub fn accountant(self) -> &'static dyn Accountant {
        match self {
            Self::Rdp => &Rdp,
            Self::Pld => &Pld,
        }
    }
}

/// Whose presence is hidden.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Unit {
    /// One record of one dataset, added or removed.
    Record,
    /// All records of one entity in one dataset, such as a patient's, added or removed together.
    Entity(Entity),
}

/// Who is an entity, and how much of one a step sees.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Entity {
    /// The column that names each record's entity. It stays in the vault.
    pub column: Column,
    /// The most records of an entity in a step, 1 to 65,536: where it has more, a random subset of so many.
    pub rows: u32,
}

/// Whether one person may be in several datasets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum People {
    /// Nobody is in two datasets: each dataset's epsilon stands for its people.
    Disjoint,
}

/// Which programs on which platforms may take part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Attestation {
    /// What agents demand of the aggregator.
    pub aggregator: Policy,
    /// What the aggregator, and other agents, demand of an agent.
    pub agents: Policy,
    /// Seconds after which a channel must be attested anew.
    pub interval_seconds: u32,
}

/// Who keeps the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LedgerTerms {
    /// The providers that keep it together. One, until the ledger is replicated.
    pub members: Vec<PartyName>,
}

/// What leaves the aggregator besides the sealed model and the receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Disclosure {
    /// The number of the step and the epsilon spent, while training runs. They depend on no record.
    pub progress: bool,
    /// Which measurements of the model.
    pub metrics: Metrics,
}

/// Which measurements of the model leave the aggregator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Metrics {
    /// None before the model is opened.
    None,
    /// Those on the consumer's own validation set, which the model after noise was not given.
    Validation,
}
