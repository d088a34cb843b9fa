//! Signed contracts: a contract and the envelope that holds its signatures.

use chrono::{DateTime, Utc};

use super::{CONTRACT_TYPE, Contract, ContractError, Document};
use crate::dsse::Envelope;
use crate::identity::Identity;
use crate::party::PartyName;

/// A contract in its envelope, with the signatures collected so far.
#[derive(Debug, Clone)]
pub struct SignedContract {
    envelope: Envelope,
    contract: Contract,
}

impl SignedContract {
    /// Writes a contract and signs it for the first party.
    ///
    /// # Errors
    ///
    /// Where the document makes no sense, as [`Contract::parse`] says.
    pub fn write(document: &Document, identity: &Identity) -> Result<Self, ContractError> {
        let payload = serde_json::to_vec_pretty(document).map_err(ContractError::Json)?;
        let contract = Contract::parse(&payload)?;
        let envelope = Envelope::sign(CONTRACT_TYPE, payload, identity);
        Ok(Self { envelope, contract })
    }

    /// Reads an envelope in JSON and the contract in it. Signatures may still be missing.
    pub fn from_json(bytes: &[u8]) -> Result<Self, ContractError> {
        Self::from_envelope(Envelope::from_json(bytes)?)
    }

    /// The same for an envelope that was read already.
    pub fn from_envelope(envelope: Envelope) -> Result<Self, ContractError> {
        envelope.expect_type(CONTRACT_TYPE)?;
        let contract = Contract::parse(envelope.payload())?;
        Ok(Self { envelope, contract })
    }

    /// The contract.
    pub fn contract(&self) -> &Contract {
        &self.contract
    }

    /// The envelope.
    pub fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// Signs, too.
    pub fn sign(&mut self, identity: &Identity) {
        self.envelope.add_signature(identity);
    }

    /// Takes over the signatures of another copy; false where it is of another contract.
    pub fn merge(&mut self, other: &Self) -> bool {
        self.envelope.merge(&other.envelope)
    }

    /// The parties that have not signed.
    pub fn missing(&self) -> Vec<PartyName> {
        self.contract
            .parties()
            .filter(|(_, _, key)| !self.envelope.verified_by(key))
            .map(|(name, _, _)| name.clone())
            .collect()
    }

    /// Refuses a contract that some party has not signed, or that is not in force.
    pub fn check(&self, now: DateTime<Utc>) -> Result<(), ContractError> {
        let missing = self.missing();
        if !missing.is_empty() {
            return Err(ContractError::Unsigned { missing });
        }
        self.contract.in_force(now)
    }
}
