//! What an aggregator asks of an agent over an attested channel, and what it is told.
//!
//! Requests and answers are postcard; batches follow on streams of their own (see [`BatchHeader`]).
//! The channel is bound to one contract, so no message repeats its digest.

use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::digest::Digest;
use crate::numbers::{RunNumber, SequenceNumber};
use crate::party::DatasetName;

/// More steps than one lease of any agent covers.
pub const LEASE_STEPS_LIMIT: u64 = 1024;

/// What an aggregator asks of an agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum AgentRequest {
    /// Takes part in a run, new or resumed. Answered by [`AgentResponse::Joined`].
    Join {
        /// The contract's number.
        contract: SequenceNumber,
        /// The run.
        run: RunNumber,
        /// The consumer's authorisation of the run, by the digest that the ledger recorded when the run was opened.
        authorisation: Digest,
    },
    /// Streams the batches of some steps. Answered by [`AgentResponse::Streaming`], and by one stream of batches.
    Stream {
        /// The run.
        run: RunNumber,
        /// Which dataset.
        dataset: DatasetName,
        /// The dataset's step to begin with: the one after the last that was leased.
        first_step: u64,
        /// How many steps, at most [`LEASE_STEPS_LIMIT`].
        count: u64,
    },
    /// Says that the steps before `through` were trained on. Answered by [`AgentResponse::Settled`].
    Settle {
        /// The run.
        run: RunNumber,
        /// Which dataset.
        dataset: DatasetName,
        /// The dataset's first step that was not trained on.
        through: u64,
        /// The digest of the sealed checkpoint that holds the state after these steps.
        checkpoint: Option<Digest>,
    },
    /// Asks the ledger that this agent keeps; [`crate::ledger::Request`] in postcard.
    Ledger(#[serde(with = "serde_bytes")] Vec<u8>),
}

/// What an agent tells an aggregator.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum AgentResponse {
    /// The agent takes part.
    Joined(Joined),
    /// The steps are leased; their batches come on a stream that begins with a [`BatchHeader`].
    Streaming {
        /// The dataset's step that the stream begins with.
        first_step: u64,
        /// How many steps it holds: fewer than asked for where the budget ends.
        count: u64,
    },
    /// The steps are settled.
    Settled,
    /// The ledger's answer; [`crate::ledger::Response`] in postcard.
    Ledger(#[serde(with = "serde_bytes")] Vec<u8>),
    /// The agent refuses.
    Refused(ServiceRefusal),
}

/// How an agent takes part in a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Joined {
    /// This agent's share of the run's checkpoint key. The same for every aggregator that resumes the run.
    pub share: KeyShare,
    /// Where each of its datasets stands.
    pub datasets: Vec<JoinedDataset>,
}

/// Where a dataset stands in a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JoinedDataset {
    /// Which.
    pub dataset: DatasetName,
    /// The next step that may be leased; all before it are spent.
    pub next_step: u64,
    /// Rows in every batch, as both sides derive them from the contract.
    pub capacity: u64,
}

/// A secret of 32 bytes that an agent gives only to an aggregator it has attested for the run.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub struct KeyShare([u8; 32]);

impl KeyShare {
    /// A share from its bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes, for the derivation of the checkpoint key.
    pub const fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl std::fmt::Debug for KeyShare {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyShare")
    }
}

/// The first frame of a stream of batches. Each further frame is one step's batch, all of one length.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchHeader {
    /// The run.
    pub run: RunNumber,
    /// Which dataset.
    pub dataset: DatasetName,
    /// The dataset's first step on this stream.
    pub first_step: u64,
    /// How many batches follow.
    pub count: u64,
}

/// Why an agent does not do what it is asked, in words for the people at the other end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct ServiceRefusal {
    /// Which rule.
    pub code: ServiceRefusalCode,
    /// What was expected and what came.
    pub message: String,
    /// How to mend it.
    pub hint: String,
}

/// The rules by which agents refuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ServiceRefusalCode {
    /// The request is not one, or not one of an aggregator.
    Request,
    /// The contract is not registered, expired, used up, or not signed by this agent's party.
    Contract,
    /// The provider's officer refused the contract, or it was revoked.
    Revoked,
    /// The run is not open on the ledger, or not authorised.
    Run,
    /// The step would exceed a limit of privacy.
    Budget,
    /// The ledger does not answer, so nothing may be spent.
    Ledger,
    /// The attestation of the channel is older than the contract allows.
    Attestation,
    /// The dataset is not what the contract names.
    Dataset,
    /// The agent's own disk or configuration fails.
    Internal,
    /// The agent, or the ledger, remembers another state of the run: joining it again gives the present one.
    Rejoin,
}

impl ServiceRefusalCode {
    /// A stable name for programs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Request => "agent.request",
            Self::Contract => "agent.contract",
            Self::Revoked => "agent.revoked",
            Self::Run => "agent.run",
            Self::Budget => "agent.budget",
            Self::Ledger => "agent.ledger",
            Self::Attestation => "agent.attestation",
            Self::Dataset => "agent.dataset",
            Self::Internal => "agent.internal",
            Self::Rejoin => "agent.rejoin",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_does_not_print() {
        assert_eq!(format!("{:?}", KeyShare::from_bytes([7; 32])), "KeyShare");
    }
}
