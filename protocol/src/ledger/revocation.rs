//! Revocations: signed statements by which a party takes back its signature under a contract.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Digest, Envelope, EnvelopeError, Identity, PartyKey, PartyName};

/// The media type of a revocation's payload in its envelope.
pub const REVOCATION_PAYLOAD_TYPE: &str = "application/vnd.tributary.revocation+json";

/// A reason is a paragraph that the other parties read.
pub const REASON_LENGTH_LIMIT: usize = 2000;

const FORMAT_VERSION: u32 = 1;

/// A party's statement that it no longer agrees to a contract.
///
/// ```
/// use tributary_protocol::{Digest, Identity, ledger::Revocation};
/// let identity = Identity::generate();
/// let contract = Digest::of(b"contract");
/// let envelope = Revocation::sign(contract, &"hospital-a".parse()?, "consent withdrawn", &identity)?;
/// let read = Revocation::verify(&envelope, contract, &"hospital-a".parse()?, &identity.public())?;
/// assert_eq!(read.reason(), "consent withdrawn");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocation(RawRevocation);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RawRevocation {
    version: u32,
    contract: Digest,
    party: PartyName,
    reason: String,
}

/// An envelope that revokes nothing.
#[derive(Debug, thiserror::Error)]
pub enum RevocationError {
    /// Another envelope.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// Not the JSON of a revocation.
    #[error("expected a revocation in version {FORMAT_VERSION} of its JSON form: {0}")]
    Json(#[source] serde_json::Error),
    /// The party did not sign it.
    #[error("expected the signature of {0}, got none that verifies")]
    Signature(PartyKey),
    /// A version, contract, party or reason other than expected.
    #[error("`{field}`: expected {expected}, got {got}")]
    Field {
        /// The field.
        field: &'static str,
        /// What it should be.
        expected: String,
        /// What it is.
        got: String,
    },
}

impl Revocation {
    /// States and signs a revocation.
    pub fn sign(
        contract: Digest,
        party: &PartyName,
        reason: &str,
        identity: &Identity,
    ) -> Result<Envelope, RevocationError> {
        let raw = RawRevocation {
            version: FORMAT_VERSION,
            contract,
            party: party.clone(),
            reason: reason.to_owned(),
        };
        raw.check(contract, party)?;
        let payload = serde_json::to_vec(&raw).map_err(RevocationError::Json)?;
        Ok(Envelope::sign(REVOCATION_PAYLOAD_TYPE, payload, identity))
    }

    /// Reads a statement that must be of `party`, under its `key`, about `contract`.
    pub fn verify(
        envelope: &Envelope,
        contract: Digest,
        party: &PartyName,
        key: &PartyKey,
    ) -> Result<Self, RevocationError> {
        envelope.expect_type(REVOCATION_PAYLOAD_TYPE)?;
        if !envelope.verified_by(key) {
            return Err(RevocationError::Signature(*key));
        }
        let raw: RawRevocation =
            serde_json::from_slice(envelope.payload()).map_err(RevocationError::Json)?;
        raw.check(contract, party)?;
        Ok(Self(raw))
    }

    /// The reason that the party gave.
    pub fn reason(&self) -> &str {
        &self.0.reason
    }
}

impl RawRevocation {
    fn check(&self, contract: Digest, party: &PartyName) -> Result<(), RevocationError> {
        let refuse = |field, expected: String, got: String| {
            Err(RevocationError::Field {
                field,
                expected,
                got,
            })
        };
        if self.version != FORMAT_VERSION {
            return refuse(
                "version",
                FORMAT_VERSION.to_string(),
                self.version.to_string(),
            );
        }
        if self.contract != contract {
            return refuse("contract", contract.to_string(), self.contract.to_string());
        }
        if self.party != *party {
            return refuse("party", party.to_string(), self.party.to_string());
        }
        let length = self.reason.len();
        if self.reason.trim().is_empty() || length > REASON_LENGTH_LIMIT {
            let expected = format!("1 to {REASON_LENGTH_LIMIT} bytes of text");
            return refuse("reason", expected, format!("{length} bytes"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_of_another_party_key_contract_or_type_is_refused() {
        let identity = Identity::generate();
        let (contract, party) = (Digest::of(b"c"), "a".parse::<PartyName>().unwrap());
        let good = Revocation::sign(contract, &party, "why", &identity).unwrap();
        let key = identity.public();
        assert!(Revocation::verify(&good, contract, &party, &key).is_ok());
        assert!(matches!(
            Revocation::verify(&good, contract, &party, &Identity::generate().public()),
            Err(RevocationError::Signature(_))
        ));
        assert!(matches!(
            Revocation::verify(&good, Digest::of(b"d"), &party, &key),
            Err(RevocationError::Field {
                field: "contract",
                ..
            })
        ));
        assert!(matches!(
            Revocation::verify(&good, contract, &"b".parse().unwrap(), &key),
            Err(RevocationError::Field { field: "party", .. })
        ));
        let other = Envelope::sign("text/plain", good.payload().to_vec(), &identity);
        assert!(matches!(
            Revocation::verify(&other, contract, &party, &key),
            Err(RevocationError::Envelope(_))
        ));
        let mut value: serde_json::Value = serde_json::from_slice(good.payload()).unwrap();
        value["extra"] = 1.into();
        let extra = Envelope::sign(
            REVOCATION_PAYLOAD_TYPE,
            value.to_string().into_bytes(),
            &identity,
        );
        assert!(matches!(
            Revocation::verify(&extra, contract, &party, &key),
            Err(RevocationError::Json(_))
        ));
    }

    #[test]
    fn a_revocation_without_a_reason_or_with_a_book_is_refused() {
        let identity = Identity::generate();
        for reason in ["", " \n", &"x".repeat(REASON_LENGTH_LIMIT + 1)] {
            let sign = Revocation::sign(Digest::of(b"c"), &"a".parse().unwrap(), reason, &identity);
            assert!(matches!(
                sign,
                Err(RevocationError::Field {
                    field: "reason",
                    ..
                })
            ));
        }
    }
}
