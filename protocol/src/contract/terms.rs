//! What the handshake needs of a contract.

use super::{Contract, PartyRole};
use crate::handshake::Terms;
use crate::party::Role;

impl Contract {
    /// The terms on which peers may connect under this contract.
    pub fn terms(&self) -> Terms {
        let attestation = &self.document.attestation;
        Terms {
            contract: self.digest,
            parties: self
                .parties()
                .map(|(name, role, key)| {
                    let role = match role {
                        PartyRole::Provider => Role::Provider,
                        PartyRole::Consumer => Role::Consumer,
                    };
                    (name.clone(), (role, *key))
                })
                .collect(),
            provider_policy: attestation.agents.clone(),
            aggregator_policy: attestation.aggregator.clone(),
            attestation_interval: self.attestation_interval(),
            not_before: self.document.validity.not_before,
            not_after: self.document.validity.not_after,
            revoked: None,
        }
    }
}
