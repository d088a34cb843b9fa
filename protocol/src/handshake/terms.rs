//! What the handshake needs to know of a contract.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use tributary_attest::Policy;

use super::refusal::{Refusal, RefusalCode};
use crate::{Digest, PartyKey, PartyName, Role};

/// Finds the terms of a contract that a peer names.
///
/// `None` where this side has not taken part in such a contract: the peer is then refused.
pub trait TermsDirectory: Send + Sync {
    /// The terms of the contract of that digest, as they stand now.
    fn terms(&self, contract: &Digest) -> Option<Arc<Terms>>;
}

/// The part of a contract that decides who may connect and what they must prove.
#[derive(Debug, Clone)]
pub struct Terms {
    /// The contract's digest, to which everything is bound.
    pub contract: Digest,
    /// Each party's role and contract key. A consumer's party also stands for its aggregators.
    pub parties: BTreeMap<PartyName, (Role, PartyKey)>,
    /// What a provider's agent must prove.
    pub provider_policy: Policy,
    /// What an aggregator must prove.
    pub aggregator_policy: Policy,
    /// How old an attestation may be before the channel must attest anew.
    pub attestation_interval: Duration,
    /// The first moment at which records may flow.
    pub not_before: DateTime<Utc>,
    /// The first moment at which they no longer may.
    pub not_after: DateTime<Utc>,
    /// When it was revoked, if it was.
    pub revoked: Option<DateTime<Utc>>,
}

impl Terms {
    /// What evidence of a role is appraised against; a consumer has no evidence.
    pub fn policy_for(&self, role: Role) -> Option<&Policy> {
        match role {
            Role::Provider => Some(&self.provider_policy),
            Role::Aggregator => Some(&self.aggregator_policy),
            Role::Consumer => None,
        }
    }

    /// The contract key of a party that claims a role.
    pub(crate) fn key_of(&self, party: &PartyName, role: Role) -> Result<PartyKey, Refusal> {
        let Some((listed, key)) = self.parties.get(party) else {
            let known: Vec<&str> = self.parties.keys().map(PartyName::as_str).collect();
            return Err(Refusal::new(
                RefusalCode::UnknownParty,
                format!("a party of {}: {}", self.contract, known.join(", ")),
                party,
                "name the contract that the party has signed",
            ));
        };
        let fits = *listed == role || (*listed == Role::Consumer && role == Role::Aggregator);
        if fits {
            return Ok(*key);
        }
        Err(Refusal::new(
            RefusalCode::RoleMismatch,
            format!("{party} as {}", listed.as_str()),
            role.as_str(),
            "take the role that the contract gives the party",
        ))
    }

    /// Refuses an aggregator outside the contract's validity.
    ///
    /// Other pairs may still speak then: leases are settled and revocations recorded after the end.
    pub(crate) fn check_in_force(&self, now: DateTime<Utc>) -> Result<(), Refusal> {
        if let Some(revoked) = self.revoked {
            return Err(Refusal::new(
                RefusalCode::ContractRevoked,
                format!("a contract in force, not {}", self.contract),
                format!("one revoked at {revoked}"),
                "agree on a new contract",
            ));
        }
        if (self.not_before..self.not_after).contains(&now) {
            return Ok(());
        }
        Err(Refusal::new(
            RefusalCode::ContractNotInForce,
            format!("a time from {} until {}", self.not_before, self.not_after),
            now,
            "set the clock, or agree on a new contract",
        ))
    }
}
