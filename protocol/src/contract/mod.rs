//! Contracts: from bytes to a checked type, and what follows from one.

mod arithmetic;
mod batches;
mod check;
mod check_training;
mod clipping;
mod document;
mod signing;
mod terms;
#[cfg(test)]
pub(crate) mod tests;
mod training;
#[cfg(test)]
mod training_tests;

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tributary_accounting::{Delta, NoiseMultiplier, SamplingRate, Steps};

pub use arithmetic::{DatasetPlan, Plan};
pub use batches::{ENTITY_INDEX, EntityIndexError, EntityRule, FormatError};
pub use check::ContractError;
pub use clipping::{AdaptiveClipping, Clipping};
pub use document::{
    AccountantName, Attestation, Combine, Dataset, Disclosure, Document, Entity, Input, Label,
    LedgerTerms, Metrics, Model, Party, PartyRole, People, Pipeline, Privacy, Unit, Validity,
};
pub use signing::SignedContract;
pub use training::{Average, Course, Loss, Optimiser, Schedule, WarmUp, WeightedLoss};

use crate::digest::Digest;
use crate::identity::PartyKey;
use crate::party::{DatasetName, PartyName};

/// The media type of a contract's payload in its envelope.
pub const CONTRACT_TYPE: &str = "application/vnd.tributary.contract+json";

/// A contract of a thousand datasets takes less.
pub const CONTRACT_SIZE_LIMIT: usize = 1 << 20;

/// Names one dataset of a contract.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub struct DatasetRef {
    /// The provider that holds it.
    pub owner: PartyName,
    /// Its name at the owner's.
    pub name: DatasetName,
}

impl std::fmt::Display for DatasetRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.owner, self.name)
    }
}

/// A contract that makes sense: every field was checked, once, when it was parsed.
///
/// That it is signed is another matter: see [`SignedContract`].
#[derive(Debug, Clone)]
pub struct Contract {
    digest: Digest,
    document: Document,
    sampling_rate: SamplingRate,
    noise_multiplier: NoiseMultiplier,
    gradient_noise: NoiseMultiplier,
    delta: Delta,
    parties: BTreeMap<PartyName, (PartyRole, PartyKey)>,
}

impl Contract {
    /// Parses and checks the payload of a contract's envelope.
    pub fn parse(payload: &[u8]) -> Result<Self, ContractError> {
        check::parse(payload)
    }

    /// SHA-256 of the payload. All that follows is bound to it.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The contract as it was written.
    pub fn document(&self) -> &Document {
        &self.document
    }

    /// Name, role and key of every party, in the order of names.
    pub fn parties(&self) -> impl Iterator<Item = (&PartyName, PartyRole, &PartyKey)> {
        self.parties
            .iter()
            .map(|(name, (role, key))| (name, *role, key))
    }

    /// The key of a party.
    pub fn key_of(&self, name: &PartyName) -> Option<&PartyKey> {
        self.parties.get(name).map(|(_, key)| key)
    }

    /// The consumer's name and key.
    pub fn consumer(&self) -> (&PartyName, &PartyKey) {
        match self
            .parties()
            .find(|(_, role, _)| *role == PartyRole::Consumer)
        {
            Some((name, _, key)) => (name, key),
            None => unreachable!("a contract without a consumer is not parsed"),
        }
    }

    /// The providers' names, in order.
    pub fn providers(&self) -> impl Iterator<Item = &PartyName> {
        self.parties()
            .filter(|(_, role, _)| *role == PartyRole::Provider)
            .map(|(name, _, _)| name)
    }

    /// All datasets.
    pub fn datasets(&self) -> impl Iterator<Item = (DatasetRef, &Dataset)> {
        self.document.datasets.iter().map(|dataset| {
            let id = DatasetRef {
                owner: dataset.owner.clone(),
                name: dataset.name.clone(),
            };
            (id, dataset)
        })
    }

    /// One dataset.
    pub fn dataset(&self, id: &DatasetRef) -> Option<&Dataset> {
        self.document
            .datasets
            .iter()
            .find(|dataset| dataset.owner == id.owner && dataset.name == id.name)
    }

    /// The probability with which each record, or entity, takes part in a step.
    pub fn sampling_rate(&self) -> SamplingRate {
        self.sampling_rate
    }

    /// The noise's standard deviation, in clipping norms: of all that a step releases together, which is what accountants
    /// count.
    pub fn noise_multiplier(&self) -> NoiseMultiplier {
        self.noise_multiplier
    }

    /// The standard deviation of the noise on gradients, in clipping norms: [`Self::noise_multiplier`], or more where
    /// clipping is adaptive and counts gradients besides.
    pub fn gradient_noise(&self) -> NoiseMultiplier {
        self.gradient_noise
    }

    /// How steps are turned into epsilon.
    pub fn accountant(&self) -> AccountantName {
        self.document.privacy.accountant
    }

    /// The probability that epsilon does not bound.
    pub fn delta(&self) -> Delta {
        self.delta
    }

    /// Steps of one run.
    pub fn steps(&self) -> Steps {
        Steps::new(self.document.pipeline.steps)
    }

    /// How many runs may be begun.
    pub fn runs(&self) -> u32 {
        self.document.runs
    }

    /// After how long a channel must be attested anew.
    pub fn attestation_interval(&self) -> Duration {
        Duration::from_secs(self.document.attestation.interval_seconds.into())
    }

    /// Refuses a contract that is not yet, or no longer, in force.
    pub fn in_force(&self, now: DateTime<Utc>) -> Result<(), ContractError> {
        let Validity {
            not_before,
            not_after,
        } = self.document.validity;
        if now < not_before {
            Err(ContractError::NotYetInForce { not_before, now })
        } else if now > not_after {
            Err(ContractError::Expired { not_after, now })
        } else {
            Ok(())
        }
    }
}
