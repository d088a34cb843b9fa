//! Who this side is, and who the peer turned out to be.

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use chrono::{DateTime, Utc};
use tributary_attest::{Attester, Collateral};

use super::{
    keys::TlsKey,
    message::{AUTHORISATION_LIMIT, Credential},
    refusal::{Refusal, RefusalCode},
    terms::Terms,
};
use crate::{Authorisation, Digest, Envelope, Identity, NoiseKey, PartyKey, PartyName, Role};

/// Whether a provider takes connections of consumers, which prove their party and have no TEE.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ConsumerAccess {
    /// It does not.
    #[default]
    Refused,
    /// It does, for channels that carry requests and never records.
    Identified,
}

/// Judges an authorisation by which a consumer lets another key run an aggregator for it.
pub trait AuthorisationCheck: Send + Sync {
    /// The runner's key, where `envelope` authorises one for `contract`, is signed by `consumer` and holds at `now`.
    ///
    /// # Errors
    /// A message for people: what was expected, what came.
    fn runner(
        &self,
        envelope: &[u8],
        consumer: &PartyKey,
        contract: &Digest,
        now: DateTime<Utc>,
    ) -> Result<PartyKey, String>;
}

/// Takes no authorisation: aggregators must then prove themselves by the consumer's contract key.
#[derive(Debug, Clone, Copy, Default)]
pub struct RefuseAuthorisations;

impl AuthorisationCheck for RefuseAuthorisations {
    fn runner(
        &self,
        _: &[u8],
        _: &PartyKey,
        _: &Digest,
        _: DateTime<Utc>,
    ) -> Result<PartyKey, String> {
        Err("an authorisation, and this side takes none".to_owned())
    }
}

/// Takes authorisations that the consumer's contract key signed for the contract at hand.
///
/// That a run is started once, and which one, is for whoever serves it to check: see [`PeerIdentity::authorisation`].
#[derive(Debug, Clone, Copy, Default)]
pub struct SignedAuthorisations;

impl AuthorisationCheck for SignedAuthorisations {
    fn runner(
        &self,
        envelope: &[u8],
        consumer: &PartyKey,
        contract: &Digest,
        now: DateTime<Utc>,
    ) -> Result<PartyKey, String> {
        let envelope = Envelope::from_json(envelope).map_err(|error| error.to_string())?;
        let authorisation =
            Authorisation::verify(&envelope, consumer, now).map_err(|error| error.to_string())?;
        if authorisation.contract() != *contract {
            return Err(format!("one for the contract {}", authorisation.contract()));
        }
        Ok(authorisation.runner())
    }
}

/// This side: its role, its party, and what it proves them with. Checked once, when made.
#[derive(Clone)]
pub struct LocalParty {
    pub(super) role: Role,
    pub(super) party: PartyName,
    pub(super) identity: Arc<Identity>,
    pub(super) attester: Option<Arc<dyn Attester>>,
    pub(super) noise: Option<NoiseKey>,
    pub(super) authorisation: Option<Vec<u8>>,
    pub(super) consumers: ConsumerAccess,
    pub(super) collateral: Arc<RwLock<Arc<Collateral>>>,
}

impl LocalParty {
    /// A training data provider's agent: `identity` holds the party's contract key.
    pub fn provider(
        party: PartyName,
        identity: Arc<Identity>,
        attester: Arc<dyn Attester>,
        consumers: ConsumerAccess,
    ) -> Self {
        Self {
            role: Role::Provider,
            party,
            identity,
            attester: Some(attester),
            noise: None,
            authorisation: None,
            consumers,
            collateral: Arc::default(),
        }
    }

    /// An aggregator that holds its consumer's contract key.
    pub fn aggregator(
        party: PartyName,
        identity: Arc<Identity>,
        attester: Arc<dyn Attester>,
        noise: NoiseKey,
    ) -> Self {
        Self {
            role: Role::Aggregator,
            party,
            identity,
            attester: Some(attester),
            noise: Some(noise),
            authorisation: None,
            consumers: ConsumerAccess::Refused,
            collateral: Arc::default(),
        }
    }

    /// An aggregator whose key the consumer's envelope authorises for a run.
    ///
    /// # Errors
    /// [`LocalFault`] where the envelope is longer than a peer would read.
    pub fn authorised_aggregator(
        party: PartyName,
        runner: Arc<Identity>,
        authorisation: Vec<u8>,
        attester: Arc<dyn Attester>,
        noise: NoiseKey,
    ) -> Result<Self, LocalFault> {
        if authorisation.len() > AUTHORISATION_LIMIT {
            return Err(LocalFault(format!(
                "an authorisation of at most {AUTHORISATION_LIMIT} bytes, got {}",
                authorisation.len()
            )));
        }
        Ok(Self {
            authorisation: Some(authorisation),
            ..Self::aggregator(party, runner, attester, noise)
        })
    }

    /// A consumer's workstation, which has no TEE.
    pub fn consumer(party: PartyName, identity: Arc<Identity>) -> Self {
        Self {
            role: Role::Consumer,
            party,
            identity,
            attester: None,
            noise: None,
            authorisation: None,
            consumers: ConsumerAccess::Refused,
            collateral: Arc::default(),
        }
    }

    /// The same party, judging others' evidence with this collateral besides what is built in and comes along.
    #[must_use]
    pub fn with_collateral(self, collateral: Arc<Collateral>) -> Self {
        Self {
            collateral: Arc::new(RwLock::new(collateral)),
            ..self
        }
    }

    /// Judges others' evidence with this collateral from now on; all clones of this party do.
    pub(crate) fn replace_collateral(&self, collateral: Arc<Collateral>) {
        // A thread that panicked cannot have left half of a pointer behind.
        *self
            .collateral
            .write()
            .unwrap_or_else(PoisonError::into_inner) = collateral;
    }

    /// What evidence that comes now is judged by.
    pub(crate) fn collateral(&self) -> Arc<Collateral> {
        let held = self.collateral.read();
        Arc::clone(&held.unwrap_or_else(PoisonError::into_inner))
    }

    /// The role.
    pub fn role(&self) -> Role {
        self.role
    }

    /// The party.
    pub fn party(&self) -> &PartyName {
        &self.party
    }

    /// Refuses a contract that does not name this side as it is.
    pub(super) fn check_named_by(&self, terms: &Terms) -> Result<(), Refusal> {
        let refuse = |got: String| {
            Refusal::new(
                RefusalCode::NotAPartyHere,
                format_args!(
                    "{} as {} in {}",
                    self.party,
                    self.role.as_str(),
                    terms.contract
                ),
                got,
                "configure the side that refuses for a contract that it has signed",
            )
        };
        let key = terms.key_of(&self.party, self.role).map_err(|refusal| {
            refuse(format!(
                "a contract that does not name it so ({})",
                refusal.code
            ))
        })?;
        if self.authorisation.is_none() && key != self.identity.public() {
            return Err(refuse(format!("a contract that names its key as {key}")));
        }
        Ok(())
    }

    pub(super) fn credential(&self) -> Credential {
        match &self.authorisation {
            Some(envelope) => Credential::Authorisation(envelope.clone()),
            None => Credential::ContractKey(self.identity.public()),
        }
    }
}

impl fmt::Debug for LocalParty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LocalParty({} as {})", self.party, self.role.as_str())
    }
}

/// What is wrong with this side's own configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {0}")]
pub struct LocalFault(String);

/// Whom the handshake found at the other end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerIdentity {
    /// The contract under which it speaks.
    pub contract: Digest,
    /// Its role.
    pub role: Role,
    /// Its party.
    pub party: PartyName,
    /// The party's key in the contract.
    pub party_key: PartyKey,
    /// The key that signed this connection: the party's, or the one that [`Self::authorisation`] names.
    pub proof_key: PartyKey,
    /// The consumer's envelope, where an authorised runner proved itself.
    pub authorisation: Option<Vec<u8>>,
    /// Its TLS key.
    pub tls_key: TlsKey,
    /// An aggregator's Noise key; none from the others.
    pub noise_key: Option<NoiseKey>,
}

impl fmt::Display for PeerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.party, self.role.as_str())
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;
    use crate::RunNumber;

    #[test]
    fn an_authorisation_holds_for_its_signer_its_contract_and_its_time() {
        let (consumer, runner) = (Identity::generate(), Identity::generate());
        let (contract, now) = (Digest::of(b"contract"), Utc::now());
        let expires = now + TimeDelta::hours(1);
        let envelope = Authorisation::issue(
            contract,
            RunNumber::FIRST,
            runner.public(),
            expires,
            &consumer,
        )
        .unwrap()
        .to_json();
        let check = |envelope: &[u8], key: &Identity, contract, now| {
            SignedAuthorisations.runner(envelope, &key.public(), &contract, now)
        };
        assert_eq!(
            check(&envelope, &consumer, contract, now),
            Ok(runner.public())
        );
        assert!(check(&envelope, &runner, contract, now).is_err());
        assert!(check(&envelope, &consumer, Digest::of(b"other"), now).is_err());
        assert!(check(&envelope, &consumer, contract, expires).is_err());
        assert!(check(&envelope[1..], &consumer, contract, now).is_err());
        assert!(
            RefuseAuthorisations
                .runner(&envelope, &consumer.public(), &contract, now)
                .is_err()
        );
    }
}
