//! The public half of the consumer's sealing key, as contracts name it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The length of an encapsulation key of ML-KEM-768 (FIPS 203, table 3).
pub const ML_KEM_768_KEY_LENGTH: usize = 1184;

/// To whom models are sealed: an X25519 key for Noise and an ML-KEM-768 key for its pre-shared secret.
///
/// Both are needed to open: what is stored today stays closed to whoever breaks only one of them.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RawSealingKey", into = "RawSealingKey")]
pub struct SealingKey {
    /// The X25519 public key (RFC 7748).
    pub x25519: [u8; 32],
    /// The ML-KEM-768 encapsulation key (FIPS 203).
    pub ml_kem_768: Box<[u8; ML_KEM_768_KEY_LENGTH]>,
}

/// A sealing key in JSON: both halves in standard base64.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "SealingKey")]
struct RawSealingKey {
    /// The X25519 public key, 32 bytes in base64.
    x25519: String,
    /// The ML-KEM-768 encapsulation key, 1184 bytes in base64.
    ml_kem_768: String,
}

impl TryFrom<RawSealingKey> for SealingKey {
    type Error = String;

    fn try_from(raw: RawSealingKey) -> Result<Self, String> {
        fn decode<const N: usize>(text: &str, field: &str) -> Result<[u8; N], String> {
            BASE64
                .decode(text)
                .ok()
                .and_then(|bytes| bytes.try_into().ok())
                .ok_or_else(|| format!("`{field}`: expected {N} bytes in standard base64"))
        }
        Ok(Self {
            x25519: decode(&raw.x25519, "x25519")?,
            ml_kem_768: Box::new(decode(&raw.ml_kem_768, "ml_kem_768")?),
        })
    }
}

impl From<SealingKey> for RawSealingKey {
    fn from(key: SealingKey) -> Self {
        Self {
            x25519: BASE64.encode(key.x25519),
            ml_kem_768: BASE64.encode(key.ml_kem_768.as_slice()),
        }
    }
}

impl std::fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SealingKey({}…)", hex::encode(&self.x25519[..4]))
    }
}

impl JsonSchema for SealingKey {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        RawSealingKey::schema_name()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        RawSealingKey::json_schema(generator)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_another_length_is_refused() {
        let good = serde_json::to_value(SealingKey {
            x25519: [7; 32],
            ml_kem_768: Box::new([9; ML_KEM_768_KEY_LENGTH]),
        })
        .unwrap();
        assert!(serde_json::from_value::<SealingKey>(good.clone()).is_ok());
        for field in ["x25519", "ml_kem_768"] {
            let mut bad = good.clone();
            bad[field] = "AAAA".into();
            assert!(serde_json::from_value::<SealingKey>(bad).is_err());
        }
    }
}
