//! The aggregator's Noise key: made anew by each process, attested with it, and the sender of what it seals.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::agreement::{PrivateKey, X25519};
use rand_core::{OsRng, TryRngCore as _};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

/// An X25519 public key (RFC 7748), written `x25519:` and 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NoiseKey([u8; 32]);

/// A text that is not an X25519 public key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected an X25519 public key, `x25519:` and 64 hexadecimal digits, got `{0}`")]
pub struct NoiseKeySyntax(pub String);

impl NoiseKey {
    /// A key from its 32 bytes; `None` for the all-zero key, which agrees on a secret known to all (RFC 7748, section 6.1).
    pub fn from_bytes(bytes: [u8; 32]) -> Option<Self> {
        (bytes != [0; 32]).then_some(Self(bytes))
    }

    /// The 32 bytes of RFC 7748.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// The private half: with it a program seals what only it can have sealed. It lives as long as the process.
///
/// ```
/// use tributary_protocol::NoiseStatic;
/// let key = NoiseStatic::generate();
/// assert!(key.public().to_string().starts_with("x25519:"));
/// assert_eq!(format!("{key:?}"), "NoiseStatic");
/// ```
pub struct NoiseStatic {
    secret: Zeroizing<[u8; 32]>,
    public: NoiseKey,
}

impl NoiseStatic {
    /// A new key from the operating system's randomness.
    ///
    /// # Panics
    ///
    /// Where the operating system gives no randomness: nothing can be sealed safely then.
    #[allow(clippy::expect_used)]
    pub fn generate() -> Self {
        let mut secret = Zeroizing::new([0; 32]);
        OsRng
            .try_fill_bytes(secret.as_mut_slice())
            .expect("the operating system gives random bytes");
        let public = NoiseKey(public_of(&secret));
        Self { secret, public }
    }

    /// The key that peers attest and receipts name.
    pub fn public(&self) -> NoiseKey {
        self.public
    }

    pub(crate) fn secret(&self) -> &[u8; 32] {
        &self.secret
    }
}

/// The public key that belongs to a private one.
pub(crate) fn public_of(secret: &[u8; 32]) -> [u8; 32] {
    let public = PrivateKey::from_private_key(&X25519, secret)
        .ok()
        .and_then(|key| key.compute_public_key().ok())
        .and_then(|key| <[u8; 32]>::try_from(key.as_ref()).ok());
    match public {
        Some(bytes) => bytes,
        None => unreachable!("every 32 bytes are a private key of X25519 and have a public key"),
    }
}

impl fmt::Debug for NoiseStatic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NoiseStatic")
    }
}

impl fmt::Display for NoiseKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "x25519:{}", hex::encode(self.0))
    }
}

impl fmt::Debug for NoiseKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for NoiseKey {
    type Err = NoiseKeySyntax;

    fn from_str(text: &str) -> Result<Self, NoiseKeySyntax> {
        let refuse = || NoiseKeySyntax(text.chars().take(80).collect());
        let digits = text.strip_prefix("x25519:").ok_or_else(refuse)?;
        let mut bytes = [0; 32];
        if digits.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(refuse());
        }
        hex::decode_to_slice(digits, &mut bytes).map_err(|_| refuse())?;
        Self::from_bytes(bytes).ok_or_else(refuse)
    }
}

impl Serialize for NoiseKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            self.0.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for NoiseKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let text = String::deserialize(deserializer)?;
            text.parse().map_err(serde::de::Error::custom)
        } else {
            let bytes = <[u8; 32]>::deserialize(deserializer)?;
            Self::from_bytes(bytes)
                .ok_or_else(|| serde::de::Error::custom(NoiseKeySyntax(hex::encode(bytes))))
        }
    }
}

impl JsonSchema for NoiseKey {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "NoiseKey".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "pattern": "^x25519:[0-9a-f]{64}$",
            "description": "X25519 public key: `x25519:` and 64 hexadecimal digits",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_public_key_is_that_of_rfc_7748() {
        // RFC 7748, section 6.1: Bob's keys.
        let mut secret = [0; 32];
        let private = "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb";
        hex::decode_to_slice(private, &mut secret).unwrap();
        assert_eq!(
            hex::encode(public_of(&secret)),
            "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"
        );
    }

    #[test]
    fn both_serialisations_return_what_went_in_and_other_spellings_are_refused() {
        let key = NoiseStatic::generate().public();
        let json = serde_json::to_string(&key).unwrap();
        assert_eq!(serde_json::from_str::<NoiseKey>(&json).unwrap(), key);
        let binary = postcard::to_allocvec(&key).unwrap();
        assert_eq!(postcard::from_bytes::<NoiseKey>(&binary).unwrap(), key);
        let zero = format!("x25519:{}", "0".repeat(64));
        for bad in [
            "",
            "x25519:",
            &zero,
            "ed25519:00",
            &key.to_string()[..70],
            &key.to_string().to_uppercase(),
        ] {
            assert!(bad.parse::<NoiseKey>().is_err(), "{bad}");
        }
    }
}
