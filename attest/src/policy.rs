//! What a party demands of another's evidence.

use std::{borrow::Cow, collections::BTreeSet, fmt, marker::PhantomData};

use chrono::TimeDelta;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, IntoDeserializer, value},
};

use crate::{
    claims::{ChipId, HostData, ProductId, SecurityVersion, SignerDigest, Tcb, Vmpl},
    fixed_bytes::fixed_bytes,
    measurement::Measurement,
    tee::Tee,
};

/// What evidence must show to be accepted; part of a contract.
///
/// Every criterion is stated: what does not matter says `"any"`, and nothing has a default, so that
/// a reader of the contract sees what is not looked at.
///
/// ```
/// # use tributary_attest::{Policy, SimulatedRoot, Measurement};
/// let root = SimulatedRoot::generate()?;
/// let policy = Policy::simulated(root.public_key(), [Measurement::of_bytes(b"a program")]);
/// policy.check()?;
/// let json = serde_json::to_string_pretty(&policy)?;
/// assert!(json.contains(r#""debug": "forbidden""#));
/// assert_eq!(serde_json::from_str::<Policy>(&json)?, policy);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// The kinds of TEE that are accepted.
    #[schemars(extend("minItems" = 1, "maxItems" = Self::MAX_ENTRIES, "uniqueItems" = true))]
    pub tees: Vec<Tee>,
    /// The roots whose simulated platforms are accepted: none unless `tees` names `simulated`, else at least one.
    #[schemars(extend("maxItems" = Self::MAX_ROOTS, "uniqueItems" = true))]
    pub simulated_roots: Vec<SimulatedRootKey>,
    /// The programs that are accepted.
    #[schemars(extend("minItems" = 1, "maxItems" = Self::MAX_ENTRIES, "uniqueItems" = true))]
    pub measurements: Criterion<Vec<Measurement>>,
    /// Digests of the keys that may have signed the launch.
    #[schemars(extend("minItems" = 1, "maxItems" = Self::MAX_ENTRIES, "uniqueItems" = true))]
    pub signers: Criterion<Vec<SignerDigest>>,
    /// The product that the program must be.
    pub product_id: Criterion<ProductId>,
    /// The oldest security version of the program that is accepted.
    pub minimum_svn: Criterion<SecurityVersion>,
    /// Whether a machine may run whose memory the host can read.
    pub debug: DebugRule,
    /// The oldest firmware that is accepted, part by part.
    pub minimum_tcb: Criterion<Tcb>,
    /// The privilege levels at which the report may have been asked for.
    #[schemars(extend("minItems" = 1, "maxItems" = Self::MAX_ENTRIES, "uniqueItems" = true))]
    pub vmpls: Criterion<Vec<Vmpl>>,
    /// What the host must have stated at launch.
    pub host_data: Criterion<HostData>,
    /// The chips that are accepted. Without it, evidence of the right program on a stolen machine passes.
    #[schemars(extend("minItems" = 1, "maxItems" = Self::MAX_ENTRIES, "uniqueItems" = true))]
    pub chip_ids: Criterion<Vec<ChipId>>,
    /// How old evidence may be, in seconds, where the TEE's report states its time.
    pub maximum_age_seconds: Criterion<EvidenceAge>,
}

impl Policy {
    /// The most entries that a list may have: a thousand agents with some chips each.
    pub const MAX_ENTRIES: usize = 4096;
    /// The most simulated roots: a federation makes one, and each costs an appraisal the time to check a key.
    pub const MAX_ROOTS: usize = 16;

    /// The policy of a federation that runs on simulated platforms of one root: these programs, no
    /// debugging, the highest privilege level, evidence of at most five minutes; the rest any.
    ///
    /// It is a starting point: the fields are public.
    pub fn simulated(
        root: SimulatedRootKey,
        measurements: impl IntoIterator<Item = Measurement>,
    ) -> Self {
        Self {
            tees: vec![Tee::Simulated],
            simulated_roots: vec![root],
            measurements: Criterion::Stated(measurements.into_iter().collect()),
            signers: Criterion::Any,
            product_id: Criterion::Any,
            minimum_svn: Criterion::Any,
            debug: DebugRule::Forbidden,
            minimum_tcb: Criterion::Any,
            vmpls: Criterion::Stated(vec![Vmpl::MOST_PRIVILEGED]),
            host_data: Criterion::Any,
            chip_ids: Criterion::Any,
            maximum_age_seconds: Criterion::Stated(EvidenceAge(300)),
        }
    }

    /// Whether the policy makes sense and this build can enforce all of it.
    ///
    /// The appraisal calls it too, so that a policy nobody checked accepts nothing.
    ///
    /// # Errors
    /// [`PolicyError`] for an empty list, an entry listed twice, a TEE whose verifier is not built,
    /// roots without `simulated` or the reverse, and a root that is no usable Ed25519 key.
    pub fn check(&self) -> Result<(), PolicyError> {
        check_list("tees", &self.tees)?;
        if let Some(&tee) = self.tees.iter().find(|tee| !tee.is_built()) {
            return Err(PolicyError::NotBuilt { tee });
        }
        if self.tees.contains(&Tee::Simulated) {
            check_list("simulated_roots", &self.simulated_roots)?;
        } else if !self.simulated_roots.is_empty() {
            return Err(PolicyError::RootsWithoutSimulated);
        }
        if self.simulated_roots.len() > Self::MAX_ROOTS {
            return Err(PolicyError::TooManyEntries {
                field: "simulated_roots",
                max: Self::MAX_ROOTS,
                got: self.simulated_roots.len(),
            });
        }
        for root in &self.simulated_roots {
            root.verifying_key()
                .ok_or(PolicyError::UnusableRoot { root: *root })?;
        }
        check_stated("measurements", &self.measurements)?;
        check_stated("signers", &self.signers)?;
        check_stated("vmpls", &self.vmpls)?;
        check_stated("chip_ids", &self.chip_ids)
    }
}

/// One demand: stated, or the word `"any"`.
///
/// ```
/// # use tributary_attest::{Criterion, SecurityVersion};
/// let any: Criterion<SecurityVersion> = serde_json::from_str("\"any\"")?;
/// let three: Criterion<SecurityVersion> = serde_json::from_str("3")?;
/// assert_eq!((any, three), (Criterion::Any, Criterion::Stated(SecurityVersion(3))));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Criterion<T> {
    /// Not looked at.
    Any,
    /// Must hold.
    Stated(T),
}

impl<T> Criterion<T> {
    /// What is stated, if anything.
    pub fn stated(&self) -> Option<&T> {
        match self {
            Self::Any => None,
            Self::Stated(value) => Some(value),
        }
    }
}

/// Whether a machine may be open to the host's debugger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DebugRule {
    /// Machines under debugging are refused.
    Forbidden,
    /// Machines under debugging are accepted: the host reads all that they hold.
    Allowed,
}

/// An age in seconds.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
pub struct EvidenceAge(pub u32);

impl fmt::Display for EvidenceAge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} s", self.0)
    }
}

fixed_bytes!(
    /// The public Ed25519 key of a federation's root for simulated platforms.
    SimulatedRootKey,
    32,
    "a simulated root"
);

impl SimulatedRootKey {
    /// The key in a form that verifies, unless it is no point of the curve, one of small order, or spelt in
    /// another than the canonical way (RFC 8032, section 5.1.3), which the library lets through.
    pub(crate) fn verifying_key(&self) -> Option<ed25519_dalek::VerifyingKey> {
        ed25519_dalek::VerifyingKey::from_bytes(self.as_bytes())
            .ok()
            .filter(|key| !key.is_weak())
            .filter(|key| key.to_edwards().compress().as_bytes() == self.as_bytes())
    }
}

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
    /// A TEE that this build cannot appraise.
    #[error(
        "`tees` names {tee}, whose verifier is not built into this version: name simulated only, or use a version that verifies {tee}"
    )]
    NotBuilt {
        /// The kind of TEE.
        tee: Tee,
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
}

fn check_stated<T: Ord + fmt::Display>(
    field: &'static str,
    criterion: &Criterion<Vec<T>>,
) -> Result<(), PolicyError> {
    criterion
        .stated()
        .map_or(Ok(()), |list| check_list(field, list))
}

fn check_list<T: Ord + fmt::Display>(field: &'static str, list: &[T]) -> Result<(), PolicyError> {
    if list.is_empty() {
        return Err(PolicyError::EmptyList { field });
    }
    if list.len() > Policy::MAX_ENTRIES {
        return Err(PolicyError::TooManyEntries {
            field,
            max: Policy::MAX_ENTRIES,
            got: list.len(),
        });
    }
    let mut seen = BTreeSet::new();
    match list.iter().find(|entry| !seen.insert(*entry)) {
        None => Ok(()),
        Some(entry) => Err(PolicyError::ListedTwice {
            field,
            entry: entry.to_string(),
        }),
    }
}

impl<T: Serialize> Serialize for Criterion<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Any => serializer.serialize_str(ANY),
            Self::Stated(value) => value.serialize(serializer),
        }
    }
}

/// By hand, since serde's untagged enums would hide the inner value's error message.
impl<'de, T: Deserialize<'de>> Deserialize<'de> for Criterion<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(CriterionVisitor(PhantomData))
    }
}

struct CriterionVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> de::Visitor<'de> for CriterionVisitor<T> {
    type Value = Criterion<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the word \"any\" or a criterion")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        if text == ANY {
            return Ok(Criterion::Any);
        }
        T::deserialize(text.into_deserializer()).map(Criterion::Stated)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
        T::deserialize(number.into_deserializer()).map(Criterion::Stated)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Self::Value, E> {
        T::deserialize(number.into_deserializer()).map(Criterion::Stated)
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
        T::deserialize(value::SeqAccessDeserializer::new(seq)).map(Criterion::Stated)
    }

    fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        T::deserialize(value::MapAccessDeserializer::new(map)).map(Criterion::Stated)
    }
}

impl<T: JsonSchema> JsonSchema for Criterion<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("AnyOr{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [{ "const": ANY }, generator.subschema_for::<T>()],
        })
    }
}

const ANY: &str = "any";

/// How far the peer's clock may be ahead of ours.
pub(crate) const MAX_CLOCK_SKEW: TimeDelta = TimeDelta::seconds(60);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SimulatedRoot;

    fn policy() -> Policy {
        let root = SimulatedRoot::from_seed(&[1; 32]).public_key();
        Policy::simulated(root, [Measurement::of_bytes(b"program")])
    }

    fn check(change: impl FnOnce(&mut Policy), expected: &str) {
        let mut policy = policy();
        change(&mut policy);
        let error = policy.check().unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn an_empty_list_is_refused_by_name() {
        policy().check().unwrap();
        check(|p| p.tees.clear(), "`tees` is an empty list");
        check(
            |p| p.simulated_roots.clear(),
            "`simulated_roots` is an empty list",
        );
        check(
            |p| p.measurements = Criterion::Stated(vec![]),
            "`measurements` is an empty list",
        );
        check(
            |p| p.signers = Criterion::Stated(vec![]),
            "`signers` is an empty list",
        );
        check(
            |p| p.vmpls = Criterion::Stated(vec![]),
            "`vmpls` is an empty list",
        );
        check(
            |p| p.chip_ids = Criterion::Stated(vec![]),
            "`chip_ids` is an empty list",
        );
    }

    #[test]
    fn an_entry_listed_twice_or_too_many_are_refused() {
        check(
            |p| p.tees.push(Tee::Simulated),
            "`tees` lists simulated twice",
        );
        check(
            |p| p.vmpls = Criterion::Stated(vec![Vmpl::MOST_PRIVILEGED; 2]),
            "`vmpls` lists 0 twice",
        );
        let many = vec![Measurement::of_bytes(b""); Policy::MAX_ENTRIES + 1];
        check(
            |p| p.measurements = Criterion::Stated(many),
            "at most 4096 entries, got 4097",
        );
        let roots = (0..=16).map(|i| SimulatedRoot::from_seed(&[i; 32]).public_key());
        let roots: Vec<_> = roots.collect();
        check(
            |p| p.simulated_roots = roots,
            "`simulated_roots` may have at most 16 entries, got 17",
        );
    }

    #[test]
    fn a_tee_without_verifier_is_refused() {
        check(
            |p| p.tees.push(Tee::SevSnp),
            "sev-snp, whose verifier is not built",
        );
        check(
            |p| p.tees = vec![Tee::Tdx],
            "tdx, whose verifier is not built",
        );
    }

    #[test]
    fn a_root_that_is_no_key_is_refused() {
        // The neutral element: with it as key, one signature fits every message.
        let mut neutral = [0; 32];
        neutral[0] = 1;
        for bytes in [neutral, [0xff; 32]] {
            let root = SimulatedRootKey::new(bytes);
            check(
                |p| p.simulated_roots = vec![root],
                "no usable Ed25519 public key",
            );
        }
    }

    #[test]
    fn every_field_must_be_stated_and_no_other() {
        let whole = serde_json::to_value(policy()).unwrap();
        let fields: Vec<String> = whole.as_object().unwrap().keys().cloned().collect();
        assert_eq!(fields.len(), 12);
        for field in fields {
            let mut part = whole.clone();
            part.as_object_mut().unwrap().remove(&field);
            let error = serde_json::from_value::<Policy>(part)
                .unwrap_err()
                .to_string();
            assert!(error.contains(&field), "{field}: {error}");
            let mut null = whole.clone();
            null[&field] = serde_json::Value::Null;
            assert!(serde_json::from_value::<Policy>(null).is_err(), "{field}");
        }
        let mut more = whole;
        more["migration"] = "any".into();
        let error = serde_json::from_value::<Policy>(more)
            .unwrap_err()
            .to_string();
        assert!(error.contains("unknown field `migration`"), "{error}");
    }

    #[test]
    fn debug_has_no_any() {
        let mut json = serde_json::to_value(policy()).unwrap();
        json["debug"] = "any".into();
        assert!(serde_json::from_value::<Policy>(json).is_err());
    }

    #[test]
    fn a_wrong_entry_keeps_its_own_message() {
        let mut json = serde_json::to_value(policy()).unwrap();
        json["measurements"] = serde_json::json!(["abcd"]);
        let error = serde_json::from_value::<Policy>(json.clone())
            .unwrap_err()
            .to_string();
        assert!(error.contains("a measurement must be 48 bytes"), "{error}");
        json["measurements"] = "abcd".into();
        assert!(serde_json::from_value::<Policy>(json).is_err());
    }

    #[test]
    fn every_criterion_reads_back_stated() {
        let mut policy = policy();
        policy.signers = Criterion::Stated(vec![SignerDigest::new([1; 48])]);
        policy.product_id = Criterion::Stated(ProductId::new([2; 16]));
        policy.minimum_svn = Criterion::Stated(SecurityVersion(3));
        policy.debug = DebugRule::Allowed;
        policy.minimum_tcb = Criterion::Stated(Tcb::from_array([1, 2, 3, 4]));
        policy.host_data = Criterion::Stated(HostData::new([4; 32]));
        policy.chip_ids = Criterion::Stated(vec![ChipId::new(&[5; 32]).unwrap()]);
        policy.maximum_age_seconds = Criterion::Any;
        let json = serde_json::to_string(&policy).unwrap();
        assert_eq!(serde_json::from_str::<Policy>(&json).unwrap(), policy);
    }
}
