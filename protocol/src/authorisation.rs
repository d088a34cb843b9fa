//! The consumer's authorisation of one run: without it, anybody who can start a virtual machine could burn the budget.

use std::fmt;

use chrono::{DateTime, Utc};
use rand_core::{OsRng, TryRngCore as _};
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::dsse::{Envelope, EnvelopeError};
use crate::identity::{Identity, IdentityError, PartyKey};
use crate::numbers::RunNumber;

/// The DSSE payload type of an authorisation.
pub const AUTHORISATION_PAYLOAD_TYPE: &str = "application/vnd.tributary.authorisation+json";

/// The longest authorisation that is read, in bytes: one takes some 350.
pub const AUTHORISATION_SIZE_LIMIT: usize = 4 << 10;

/// Leave to start one run of one contract, until a time, for one runner, once.
///
/// Agents keep the [`digest`](Authorisation::digest) of those they have honoured and refuse it a second time.
///
/// ```
/// use chrono::{TimeDelta, Utc};
/// use tributary_protocol::{Authorisation, Digest, Identity, RunNumber};
/// let (consumer, aggregator) = (Identity::generate(), Identity::generate());
/// let (contract, now) = (Digest::of(b"a contract"), Utc::now());
/// let expires = now + TimeDelta::hours(1);
/// let envelope = Authorisation::issue(contract, RunNumber::FIRST, aggregator.public(), expires, &consumer)?;
/// let authorisation = Authorisation::verify(&envelope, &consumer.public(), now)?;
/// authorisation.expect(&contract, RunNumber::FIRST, &aggregator.public())?;
/// # Ok::<(), tributary_protocol::AuthorisationError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authorisation {
    raw: RawAuthorisation,
    digest: Digest,
}

/// What tells two authorisations of the same run apart.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AuthorisationId(#[serde(with = "hex::serde")] [u8; 16]);

/// Why an authorisation was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuthorisationError {
    /// The envelope is not one of an authorisation.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// Longer than [`AUTHORISATION_SIZE_LIMIT`].
    #[error("expected an authorisation of at most {AUTHORISATION_SIZE_LIMIT} bytes, got {0}")]
    TooLarge(usize),
    /// The consumer did not sign these bytes.
    #[error(
        "the authorisation is not signed by the consumer's contract key {0}: it was altered, or somebody else signed it; \
         ask the consumer to run `aggregator authorise`"
    )]
    Signature(PartyKey),
    /// Not the JSON of an authorisation.
    #[error("expected the JSON of an authorisation: contract, run, runner, expires and id")]
    Json(#[source] serde_json::Error),
    /// A version that this program does not know.
    #[error("expected an authorisation of version {FORMAT_VERSION}, got version {0}")]
    Version(u32),
    /// Its time is over.
    #[error(
        "the authorisation expired at {expires}, and now is {now}: ask the consumer to run `aggregator authorise` again"
    )]
    Expired {
        /// Until when it held.
        expires: DateTime<Utc>,
        /// When it was looked at.
        now: DateTime<Utc>,
    },
    /// It is leave for something else.
    #[error("the authorisation is for another {field}: expected {expected}, got {got}")]
    Mismatch {
        /// What differs.
        field: &'static str,
        /// What is about to start.
        expected: String,
        /// What the authorisation names.
        got: String,
    },
    /// No random bytes for the id.
    #[error(transparent)]
    Entropy(IdentityError),
}

impl Authorisation {
    /// Signs leave for `runner`, the contract key of the party that runs the aggregator, to start `run` of `contract`
    /// before `expires`.
    ///
    /// # Errors
    /// Where the operating system gives no random bytes for the id.
    pub fn issue(
        contract: Digest,
        run: RunNumber,
        runner: PartyKey,
        expires: DateTime<Utc>,
        consumer: &Identity,
    ) -> Result<Envelope, AuthorisationError> {
        let mut id = [0; 16];
        OsRng
            .try_fill_bytes(&mut id)
            .map_err(|_| AuthorisationError::Entropy(IdentityError::Entropy))?;
        let raw = RawAuthorisation {
            version: FORMAT_VERSION,
            contract,
            run,
            runner,
            expires,
            id: AuthorisationId(id),
        };
        let payload = serde_json::to_vec(&raw).map_err(AuthorisationError::Json)?;
        Ok(Envelope::sign(
            AUTHORISATION_PAYLOAD_TYPE,
            payload,
            consumer,
        ))
    }

    /// Reads an authorisation that `consumer` signed and that still holds `now`. What it is leave for must still be
    /// compared with what is about to start: [`Authorisation::expect`].
    ///
    /// # Errors
    /// Where it is altered, malformed, signed by somebody else or expired.
    pub fn verify(
        envelope: &Envelope,
        consumer: &PartyKey,
        now: DateTime<Utc>,
    ) -> Result<Self, AuthorisationError> {
        envelope.expect_type(AUTHORISATION_PAYLOAD_TYPE)?;
        let payload = envelope.payload();
        if payload.len() > AUTHORISATION_SIZE_LIMIT {
            return Err(AuthorisationError::TooLarge(payload.len()));
        }
        if !envelope.verified_by(consumer) {
            return Err(AuthorisationError::Signature(*consumer));
        }
        let raw: RawAuthorisation =
            serde_json::from_slice(payload).map_err(AuthorisationError::Json)?;
        if raw.version != FORMAT_VERSION {
            return Err(AuthorisationError::Version(raw.version));
        }
        if now >= raw.expires {
            let expires = raw.expires;
            return Err(AuthorisationError::Expired { expires, now });
        }
        let digest = envelope.payload_digest();
        Ok(Self { raw, digest })
    }

    /// Refuses to be used for anything but this contract, run and runner.
    ///
    /// # Errors
    /// [`AuthorisationError::Mismatch`] with the first field that differs.
    pub fn expect(
        &self,
        contract: &Digest,
        run: RunNumber,
        runner: &PartyKey,
    ) -> Result<(), AuthorisationError> {
        same("contract", contract, &self.raw.contract)?;
        same("run", &run, &self.raw.run)?;
        same("runner", runner, &self.raw.runner)
    }

    /// The contract that it is for.
    pub fn contract(&self) -> Digest {
        self.raw.contract
    }

    /// The run that it is for.
    pub fn run(&self) -> RunNumber {
        self.raw.run
    }

    /// The contract key of the party that may run it.
    pub fn runner(&self) -> PartyKey {
        self.raw.runner
    }

    /// The moment from which it no longer holds.
    pub fn expires(&self) -> DateTime<Utc> {
        self.raw.expires
    }

    /// What tells it from another of the same run.
    pub fn id(&self) -> AuthorisationId {
        self.raw.id
    }

    /// SHA-256 of the signed payload: under this name it is marked as used.
    pub fn digest(&self) -> Digest {
        self.digest
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAuthorisation {
    version: u32,
    contract: Digest,
    run: RunNumber,
    runner: PartyKey,
    expires: DateTime<Utc>,
    id: AuthorisationId,
}

fn same<T: PartialEq + fmt::Display>(
    field: &'static str,
    expected: &T,
    got: &T,
) -> Result<(), AuthorisationError> {
    if expected == got {
        return Ok(());
    }
    let (expected, got) = (expected.to_string(), got.to_string());
    Err(AuthorisationError::Mismatch {
        field,
        expected,
        got,
    })
}

impl fmt::Display for AuthorisationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for AuthorisationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

const FORMAT_VERSION: u32 = 1;

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeDelta;
    use proptest::prelude::*;

    fn now() -> DateTime<Utc> {
        "2026-11-20T12:00:00Z".parse().unwrap()
    }

    fn signed(consumer: &Identity, change: impl FnOnce(&mut serde_json::Value)) -> Envelope {
        let good = issue(consumer);
        let mut value = serde_json::from_slice(good.payload()).unwrap();
        change(&mut value);
        let payload = serde_json::to_vec(&value).unwrap();
        Envelope::sign(AUTHORISATION_PAYLOAD_TYPE, payload, consumer)
    }

    fn issue(consumer: &Identity) -> Envelope {
        let runner = consumer.public();
        let expires = now() + TimeDelta::minutes(5);
        Authorisation::issue(
            Digest::of(b"c"),
            RunNumber::FIRST,
            runner,
            expires,
            consumer,
        )
        .unwrap()
    }

    #[test]
    fn it_is_leave_for_its_contract_run_and_runner_only() {
        let consumer = Identity::generate();
        let key = consumer.public();
        let leave = Authorisation::verify(&issue(&consumer), &key, now()).unwrap();
        let (contract, run) = (Digest::of(b"c"), RunNumber::FIRST);
        leave.expect(&contract, run, &key).unwrap();
        let other = Identity::generate().public();
        for (outcome, field) in [
            (leave.expect(&Digest::of(b"d"), run, &key), "contract"),
            (leave.expect(&contract, run.next(), &key), "run"),
            (leave.expect(&contract, run, &other), "runner"),
        ] {
            let message = outcome.unwrap_err().to_string();
            assert!(
                message.contains(&format!("another {field}: expected")),
                "{message}"
            );
        }
    }

    #[test]
    fn it_ends_at_the_moment_it_names() {
        let consumer = Identity::generate();
        let envelope = issue(&consumer);
        let end = now() + TimeDelta::minutes(5);
        let before = end - TimeDelta::nanoseconds(1);
        assert!(Authorisation::verify(&envelope, &consumer.public(), before).is_ok());
        assert!(matches!(
            Authorisation::verify(&envelope, &consumer.public(), end),
            Err(AuthorisationError::Expired { .. })
        ));
    }

    #[test]
    fn another_signer_and_an_unsigned_one_are_refused() {
        let (consumer, mallory) = (Identity::generate(), Identity::generate());
        let payload = issue(&consumer).payload().to_vec();
        for envelope in [
            issue(&mallory),
            Envelope::unsigned(AUTHORISATION_PAYLOAD_TYPE, payload),
        ] {
            assert!(matches!(
                Authorisation::verify(&envelope, &consumer.public(), now()),
                Err(AuthorisationError::Signature(key)) if key == consumer.public()
            ));
        }
    }

    #[test]
    fn a_document_of_another_type_that_the_consumer_signed_is_refused() {
        let consumer = Identity::generate();
        let payload = issue(&consumer).payload().to_vec();
        let envelope = Envelope::sign("application/json", payload, &consumer);
        assert!(matches!(
            Authorisation::verify(&envelope, &consumer.public(), now()),
            Err(AuthorisationError::Envelope(_))
        ));
    }

    #[test]
    fn unknown_missing_and_wrong_fields_are_refused_though_signed() {
        let consumer = Identity::generate();
        let check = |change: fn(&mut serde_json::Value)| {
            Authorisation::verify(&signed(&consumer, change), &consumer.public(), now())
                .unwrap_err()
        };
        for error in [
            check(|value| value["extra"] = 1.into()),
            check(|value| drop(value.as_object_mut().unwrap().remove("id"))),
            check(|value| value["run"] = 0.into()),
            check(|value| value["runner"] = "ed25519:00".into()),
            check(|value| *value = serde_json::Value::Null),
        ] {
            assert!(matches!(error, AuthorisationError::Json(_)), "{error}");
        }
        let error = check(|value| value["version"] = 2.into());
        assert!(matches!(error, AuthorisationError::Version(2)));
        let error = check(|value| value["extra"] = "x".repeat(AUTHORISATION_SIZE_LIMIT).into());
        assert!(matches!(error, AuthorisationError::TooLarge(_)));
    }

    #[test]
    fn two_authorisations_of_one_run_have_two_digests() {
        let consumer = Identity::generate();
        assert_ne!(
            issue(&consumer).payload_digest(),
            issue(&consumer).payload_digest()
        );
        let envelope = issue(&consumer);
        let leave = Authorisation::verify(&envelope, &consumer.public(), now()).unwrap();
        assert_eq!(leave.digest(), envelope.payload_digest());
    }

    proptest! {
        #[test]
        fn any_signed_bytes_are_read_or_refused_without_panic(payload in proptest::collection::vec(any::<u8>(), 0..512)) {
            let consumer = Identity::generate();
            let envelope = Envelope::sign(AUTHORISATION_PAYLOAD_TYPE, payload, &consumer);
            prop_assert!(Authorisation::verify(&envelope, &consumer.public(), now()).is_err());
        }
    }
}
