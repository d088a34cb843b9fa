//! DSSE envelopes (secure-systems-lab/dsse, protocol version 1.0.2): several Ed25519 signatures over one payload of bytes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::identity::{Identity, PartyKey};

/// A contract of a thousand parties fits; nobody is made to hold more before the first check.
pub const ENVELOPE_SIZE_LIMIT: usize = 4 << 20;

/// More signatures than any contract has parties.
const SIGNATURES_LIMIT: usize = 4096;

/// A payload with its type and the signatures over both.
///
/// The bytes of the payload are what is signed, hashed and parsed, so no canonical form of JSON is needed.
///
/// ```
/// use tributary_protocol::{Envelope, Identity};
/// let alice = Identity::generate();
/// let envelope = Envelope::sign("text/plain", b"hello".to_vec(), &alice);
/// let read = Envelope::from_json(&envelope.to_json()).unwrap();
/// assert!(read.verified_by(&alice.public()));
/// assert!(!read.verified_by(&Identity::generate().public()));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    payload_type: String,
    payload: Vec<u8>,
    signatures: Vec<Signature>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Signature {
    key_id: String,
    bytes: Vec<u8>,
}

/// Bytes that are not a DSSE envelope.
#[derive(Debug, thiserror::Error)]
pub enum EnvelopeError {
    /// Longer than [`ENVELOPE_SIZE_LIMIT`].
    #[error("expected an envelope of at most {ENVELOPE_SIZE_LIMIT} bytes, got {0}")]
    TooLarge(usize),
    /// More than [`SIGNATURES_LIMIT`] signatures.
    #[error("expected at most {SIGNATURES_LIMIT} signatures, got {0}")]
    TooManySignatures(usize),
    /// Not the JSON of an envelope.
    #[error("expected a DSSE envelope in JSON ({{payloadType, payload, signatures}})")]
    Json(#[source] serde_json::Error),
    /// A field that is not base64.
    #[error("expected standard base64 in the envelope's `{0}`")]
    Base64(&'static str),
    /// A payload of another type than asked for.
    #[error("expected a payload of type `{expected}`, got `{got}`")]
    PayloadType {
        /// The type that was asked for.
        expected: &'static str,
        /// The type the envelope states.
        got: String,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEnvelope {
    #[serde(rename = "payloadType")]
    payload_type: String,
    payload: String,
    signatures: Vec<RawSignature>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSignature {
    #[serde(default)]
    keyid: String,
    sig: String,
}

impl Envelope {
    /// An envelope without signatures, to be signed by several parties in turn.
    pub fn unsigned(payload_type: &str, payload: Vec<u8>) -> Self {
        Self {
            payload_type: payload_type.to_owned(),
            payload,
            signatures: Vec::new(),
        }
    }

    /// An envelope signed by one identity.
    pub fn sign(payload_type: &str, payload: Vec<u8>, identity: &Identity) -> Self {
        let mut envelope = Self::unsigned(payload_type, payload);
        envelope.add_signature(identity);
        envelope
    }

    /// Adds the signature of `identity`; one that is there already is replaced.
    pub fn add_signature(&mut self, identity: &Identity) {
        let key_id = identity.public().to_string();
        self.signatures.retain(|s| s.key_id != key_id);
        let bytes = identity.sign(&self.signed_bytes()).to_vec();
        self.signatures.push(Signature { key_id, bytes });
    }

    /// Takes over the signatures of another envelope over the same payload; false, and nothing changed, where the payloads differ.
    pub fn merge(&mut self, other: &Self) -> bool {
        if self.payload != other.payload || self.payload_type != other.payload_type {
            return false;
        }
        for signature in &other.signatures {
            if !self.signatures.contains(signature) {
                self.signatures.push(signature.clone());
            }
        }
        true
    }

    /// True where a valid signature of `key` is among the signatures.
    ///
    /// The key id is a hint for people and not trusted: every signature is tried.
    pub fn verified_by(&self, key: &PartyKey) -> bool {
        let message = self.signed_bytes();
        self.signatures.iter().any(|signature| {
            <&[u8; 64]>::try_from(signature.bytes.as_slice())
                .is_ok_and(|bytes| key.verify(&message, bytes).is_ok())
        })
    }

    /// The media type of the payload.
    pub fn payload_type(&self) -> &str {
        &self.payload_type
    }

    /// Refuses a payload of another type.
    pub fn expect_type(&self, expected: &'static str) -> Result<(), EnvelopeError> {
        if self.payload_type == expected {
            Ok(())
        } else {
            Err(EnvelopeError::PayloadType {
                expected,
                got: self.payload_type.chars().take(120).collect(),
            })
        }
    }

    /// The payload. Nothing about it is true until a signature was verified.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// SHA-256 of the payload, by which other documents name this one.
    pub fn payload_digest(&self) -> Digest {
        Digest::of(&self.payload)
    }

    /// The key ids that the signatures state, for people.
    pub fn key_ids(&self) -> impl Iterator<Item = &str> {
        self.signatures.iter().map(|s| s.key_id.as_str())
    }

    /// Reads the JSON form.
    pub fn from_json(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        if bytes.len() > ENVELOPE_SIZE_LIMIT {
            return Err(EnvelopeError::TooLarge(bytes.len()));
        }
        let raw: RawEnvelope = serde_json::from_slice(bytes).map_err(EnvelopeError::Json)?;
        if raw.signatures.len() > SIGNATURES_LIMIT {
            return Err(EnvelopeError::TooManySignatures(raw.signatures.len()));
        }
        let decode = |text: &str, field| {
            BASE64
                .decode(text)
                .map_err(|_| EnvelopeError::Base64(field))
        };
        Ok(Self {
            payload: decode(&raw.payload, "payload")?,
            payload_type: raw.payload_type,
            signatures: raw
                .signatures
                .into_iter()
                .map(|s| {
                    Ok(Signature {
                        bytes: decode(&s.sig, "sig")?,
                        key_id: s.keyid,
                    })
                })
                .collect::<Result<_, EnvelopeError>>()?,
        })
    }

    /// The JSON form, indented, with a newline at its end.
    pub fn to_json(&self) -> Vec<u8> {
        let raw = RawEnvelope {
            payload_type: self.payload_type.clone(),
            payload: BASE64.encode(&self.payload),
            signatures: self
                .signatures
                .iter()
                .map(|s| RawSignature {
                    keyid: s.key_id.clone(),
                    sig: BASE64.encode(&s.bytes),
                })
                .collect(),
        };
        let mut json = serde_json::to_vec_pretty(&raw).unwrap_or_default();
        json.push(b'\n');
        json
    }

    /// PAE(type, body) of the DSSE protocol: `DSSEv1 len(type) type len(body) body`.
    fn signed_bytes(&self) -> Vec<u8> {
        let mut bytes = format!(
            "DSSEv1 {} {} {} ",
            self.payload_type.len(),
            self.payload_type,
            self.payload.len()
        )
        .into_bytes();
        bytes.extend_from_slice(&self.payload);
        bytes
    }
}

impl Serialize for Envelope {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serde_bytes::serialize(&self.to_json(), serializer)
    }
}

impl<'de> Deserialize<'de> for Envelope {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes: Vec<u8> = serde_bytes::deserialize(deserializer)?;
        Self::from_json(&bytes).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_pre_authentication_encoding_is_that_of_the_specification() {
        // The example of protocol.md of secure-systems-lab/dsse.
        let envelope = Envelope::unsigned("http://example.com/HelloWorld", b"hello world".to_vec());
        assert_eq!(
            envelope.signed_bytes(),
            b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
        );
    }

    #[test]
    fn every_altered_byte_of_payload_and_type_is_noticed() {
        let identity = Identity::generate();
        let good = Envelope::sign("text/plain", b"payload".to_vec(), &identity);
        assert!(good.verified_by(&identity.public()));
        for position in 0..good.payload.len() {
            let mut bad = good.clone();
            bad.payload[position] ^= 1;
            assert!(!bad.verified_by(&identity.public()));
        }
        let mut bad = good.clone();
        bad.payload_type = "text/plein".into();
        assert!(!bad.verified_by(&identity.public()));
        for position in 0..64 {
            let mut bad = good.clone();
            bad.signatures[0].bytes[position] ^= 1;
            assert!(!bad.verified_by(&identity.public()));
        }
    }

    #[test]
    fn signatures_of_one_payload_merge_and_of_another_do_not() {
        let (alice, bob) = (Identity::generate(), Identity::generate());
        let mut by_alice = Envelope::sign("t", b"x".to_vec(), &alice);
        let by_bob = Envelope::sign("t", b"x".to_vec(), &bob);
        assert!(by_alice.merge(&by_bob));
        assert!(by_alice.verified_by(&alice.public()) && by_alice.verified_by(&bob.public()));
        assert!(!by_alice.merge(&Envelope::sign("t", b"y".to_vec(), &bob)));
    }

    #[test]
    fn unknown_fields_and_oversize_are_refused() {
        let identity = Identity::generate();
        let good = Envelope::sign("t", b"x".to_vec(), &identity).to_json();
        let mut value: serde_json::Value = serde_json::from_slice(&good).unwrap();
        value["extra"] = 1.into();
        assert!(Envelope::from_json(value.to_string().as_bytes()).is_err());
        assert!(matches!(
            Envelope::from_json(&vec![b' '; ENVELOPE_SIZE_LIMIT + 1]),
            Err(EnvelopeError::TooLarge(_))
        ));
    }

    proptest! {
        #[test]
        fn json_returns_what_went_in(payload: Vec<u8>, payload_type: String) {
            let identity = Identity::generate();
            let envelope = Envelope::sign(&payload_type, payload, &identity);
            let read = Envelope::from_json(&envelope.to_json()).unwrap();
            prop_assert!(read.verified_by(&identity.public()));
            prop_assert_eq!(read, envelope);
        }

        #[test]
        fn random_bytes_never_panic(bytes: Vec<u8>) {
            let _ = Envelope::from_json(&bytes);
        }
    }
}
