//! What a single demand looks like.

use std::{borrow::Cow, fmt, marker::PhantomData};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, IntoDeserializer, value},
};

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

/// What a bit of a report must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BitRule {
    /// It must be set.
    Required,
    /// It must not be set.
    Forbidden,
}

/// How the criteria for the measurement and for the launch's signer go together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CodeRule {
    /// The program meets both criteria.
    MeasurementAndSigner,
    /// One of the two is enough; both are stated.
    MeasurementOrSigner,
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
