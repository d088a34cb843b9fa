//! Why a policy is not usable.

use super::{Policy, root::SimulatedRootKey};
use crate::{
    claims::{SnpProduct, SnpTcb},
    tee::Tee,
};

/// Why a policy is not usable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// A list has no entry.
    #[error(
        "`{field}` is an empty list, which would refuse everything: name at least one entry, or state \"any\" where the field takes it"
    )]
    EmptyList {
        /// The field.
        field: &'static str,
    },
    /// A list is too long.
    #[error("`{field}` may have at most {max} entries, got {got}")]
    TooManyEntries {
        /// The field.
        field: &'static str,
        /// How many it may have.
        max: usize,
        /// How many it has.
        got: usize,
    },
    /// An entry is listed twice.
    #[error("`{field}` lists {entry} twice: remove one")]
    ListedTwice {
        /// The field.
        field: &'static str,
        /// The entry.
        entry: String,
    },
    /// An entry that stands for "nobody".
    #[error(
        "`{field}` lists zeros, which reports state where there is no such value: name the values that are accepted, or state \"any\""
    )]
    ListsZeros {
        /// The field.
        field: &'static str,
    },
    /// Roots that nothing would use.
    #[error(
        "`simulated_roots` has entries while `tees` does not name simulated: empty the list, or name simulated"
    )]
    RootsWithoutSimulated,
    /// A root that is no key.
    #[error(
        "`simulated_roots` names {root}, which is no usable Ed25519 public key: copy it from the federation's root.pub"
    )]
    UnusableRoot {
        /// The root.
        root: SimulatedRootKey,
    },
    /// One of two is enough, and one of the two is anything.
    #[error(
        "`code` is measurement-or-signer while `{field}` is \"any\", which would accept every program: list both, or state measurement-and-signer"
    )]
    EitherWithAny {
        /// The criterion that is not stated.
        field: &'static str,
    },
    /// A kind of TEE without its criteria.
    #[error(
        "`tees` names {tee}, and there is no section `{section}`: add it, with \"any\" for what does not matter"
    )]
    NoSection {
        /// The kind of TEE.
        tee: Tee,
        /// The section that is missing.
        section: &'static str,
    },
    /// Criteria for machines that are not accepted.
    #[error(
        "there is a section `{section}` while `tees` names neither {tee} nor simulated: remove the section, or name the kind"
    )]
    SectionWithoutTee {
        /// The section.
        section: &'static str,
        /// Its kind of TEE.
        tee: Tee,
    },
    /// A minimum for no generation of processors.
    #[error("`{field}` names no generation: state a minimum for at least one, or \"any\"")]
    NoFloor {
        /// The field.
        field: &'static str,
    },
    /// A minimum whose parts the generation's firmware does not have.
    #[error(
        "`{field}` states {floor} for {product}: on turin it must have fmc, on milan and genoa it must not"
    )]
    UnfitFloor {
        /// The field.
        field: &'static str,
        /// The generation.
        product: SnpProduct,
        /// What is stated for it.
        floor: SnpTcb,
    },
    /// A file that is too long.
    #[error("expected a policy of at most {} bytes, got {got}", Policy::MAX_JSON)]
    TooLarge {
        /// How many it has.
        got: usize,
    },
    /// Not the JSON of a policy; an unknown or missing field, too.
    #[error("expected a policy that states every criterion and no other field: {0}")]
    Json(String),
}
