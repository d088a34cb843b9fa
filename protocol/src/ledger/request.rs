//! What may be asked of a ledger, and the one interface that every ledger has, embedded, remote or replicated.

use std::future::Future;
use std::pin::Pin;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::checkpoint::SignedCheckpoint;
use super::receipt::LedgerReceipt;
use super::refusal::{ExitFamily, Refusal};
use crate::{
    DatasetRef, Digest, ENVELOPE_SIZE_LIMIT, Envelope, PartyName, Role, RunNumber, SequenceNumber,
};

/// The largest envelope and the fields around it.
pub const REQUEST_SIZE_LIMIT: usize = ENVELOPE_SIZE_LIMIT + 4096;

/// The largest contract as JSON and again as a leaf in base64, with its proof.
pub const RESPONSE_SIZE_LIMIT: usize = 3 * ENVELOPE_SIZE_LIMIT;

/// A future on the heap, so that ledgers of different kinds stand behind one `dyn` interface.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A ledger, as the parties use it.
///
/// `peer` is whom the ledger takes the request to be from: the party that the attested channel proved, never what a message claims.
pub trait Ledger: Send + Sync {
    /// Reads, or checks and records; a recorded request is on disk when the answer comes.
    fn submit<'a>(
        &'a self,
        peer: &'a Requester,
        request: Request,
    ) -> BoxFuture<'a, Result<Response, LedgerError>>;
}

/// A proved peer: its party, and the role of its program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requester {
    /// The party whose key signed the handshake.
    pub party: PartyName,
    /// What the program does for the party.
    pub role: Role,
}

/// What may be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Register a contract that every party signed.
    Register {
        /// The contract in its envelope.
        envelope: Envelope,
    },
    /// Show a contract and what became of it.
    Show {
        /// Its number.
        number: SequenceNumber,
    },
    /// Begin a run, or take up the open one again.
    OpenRun {
        /// The contract.
        contract: SequenceNumber,
        /// The run: the next unused number, or the open one's.
        run: RunNumber,
        /// The consumer's authorisation.
        authorisation: Envelope,
    },
    /// Lease steps of one dataset before serving them.
    Lease {
        /// The contract.
        contract: SequenceNumber,
        /// The run.
        run: RunNumber,
        /// The dataset, of the asking party.
        dataset: DatasetRef,
        /// The first step: where the last lease of this run ended.
        first_step: u64,
        /// The step after the last.
        end_step: u64,
    },
    /// State which steps were served.
    Settle {
        /// The contract.
        contract: SequenceNumber,
        /// The run.
        run: RunNumber,
        /// The dataset, of the asking party.
        dataset: DatasetRef,
        /// The step after the last that was served.
        served: u64,
        /// SHA-256 of the training checkpoint that holds the state after these steps.
        checkpoint: Option<Digest>,
    },
    /// End a run.
    CloseRun {
        /// The contract.
        contract: SequenceNumber,
        /// The run.
        run: RunNumber,
        /// SHA-256 of the receipt's payload.
        receipt: Digest,
    },
    /// Show a run.
    RunState {
        /// The contract.
        contract: SequenceNumber,
        /// The run.
        run: RunNumber,
    },
    /// Take a signature back.
    Revoke {
        /// The contract.
        contract: SequenceNumber,
        /// The signed statement; see [`Revocation`](super::Revocation).
        statement: Envelope,
    },
    /// The newest checkpoint of the ledger.
    Checkpoint,
    /// Proof that the ledger only grew between two sizes.
    Consistency {
        /// The earlier size.
        older: u64,
        /// The later size, at most the present one.
        newer: u64,
    },
}

/// What comes back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(clippy::large_enum_variant)]
pub enum Response {
    /// To [`Request::Register`].
    Registered {
        /// The contract's number; the same for the same contract.
        number: SequenceNumber,
        /// Proof of the registration.
        receipt: LedgerReceipt,
    },
    /// To [`Request::Show`].
    Contract(ContractView),
    /// To [`Request::OpenRun`].
    RunOpened {
        /// True where the run had been opened before.
        resumed: bool,
        /// Proof of the opening.
        receipt: LedgerReceipt,
        /// Where the run stands.
        run: RunView,
    },
    /// To [`Request::Lease`]: the steps may be served.
    Leased {
        /// Proof of the lease.
        receipt: LedgerReceipt,
    },
    /// To [`Request::Settle`].
    Settled {
        /// Proof of the settlement.
        receipt: LedgerReceipt,
    },
    /// To [`Request::CloseRun`].
    RunClosed {
        /// Proof of the closing.
        receipt: LedgerReceipt,
    },
    /// To [`Request::RunState`].
    Run(RunView),
    /// To [`Request::Revoke`].
    Revoked {
        /// Proof of the revocation.
        receipt: LedgerReceipt,
    },
    /// To [`Request::Checkpoint`].
    Checkpoint(SignedCheckpoint),
    /// To [`Request::Consistency`].
    Consistency {
        /// The proof of RFC 6962, section 2.1.2; see [`verify_consistency`](super::verify_consistency).
        proof: Vec<Digest>,
    },
}

/// A contract on the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContractView {
    /// Its number.
    pub number: SequenceNumber,
    /// The contract with all signatures.
    pub envelope: Envelope,
    /// Proof of the registration.
    pub receipt: LedgerReceipt,
    /// When it was registered.
    pub registered: DateTime<Utc>,
    /// Who took back the signature, if anybody did.
    pub revoked: Option<RevokedBy>,
    /// How many runs were opened so far: the next run has the number after this.
    pub runs_opened: u32,
    /// The run that is open.
    pub open_run: Option<RunNumber>,
    /// What was leased of each dataset, over all runs.
    pub leased: Vec<DatasetSpending>,
}

/// A revocation, as screens show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevokedBy {
    /// Who.
    pub by: PartyName,
    /// When.
    pub at: DateTime<Utc>,
    /// The reason that the party gave.
    pub reason: String,
}

/// Steps of one dataset that were leased, over all runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatasetSpending {
    /// Which.
    pub dataset: DatasetRef,
    /// Steps leased; all count as spent.
    pub steps: u64,
}

/// A run on the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunView {
    /// The contract.
    pub contract: SequenceNumber,
    /// The run.
    pub run: RunNumber,
    /// Whether it goes on.
    pub status: RunStatus,
    /// The authorisation it was last opened with, by its payload's digest.
    pub authorisation: Option<Digest>,
    /// Every dataset, in the contract's order.
    pub datasets: Vec<DatasetProgress>,
    /// The newest settled checkpoint: a resumed run starts from this one and no other.
    pub checkpoint: Option<Digest>,
}

/// Whether a run goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RunStatus {
    /// Steps may be leased.
    Open,
    /// It ended with a receipt.
    Closed {
        /// SHA-256 of the receipt's payload.
        receipt: Digest,
    },
    /// The next run was opened before it ended.
    Abandoned,
}

/// One dataset in one run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatasetProgress {
    /// Which.
    pub dataset: DatasetRef,
    /// The end of the last lease, where the next begins.
    pub leased: u64,
    /// The step after the last that was settled.
    pub settled: u64,
    /// Steps of this dataset leased over all runs of the contract.
    pub leased_in_all_runs: u64,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum LedgerError {
    /// The ledger says no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The ledger cannot say anything now. Nothing may be served on its silence.
    #[error("the ledger is unavailable: {reason}")]
    Unavailable {
        /// Why, and what to do.
        reason: String,
    },
    /// The ledger's answer contradicts what it signed or what was asked.
    #[error("the ledger's answer is not to be trusted: {reason}")]
    Untrusted {
        /// What is wrong with it.
        reason: String,
    },
}

impl LedgerError {
    /// A name for programs that no later version changes.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Refused(refusal) => refusal.code(),
            Self::Unavailable { .. } => "ledger.unavailable",
            Self::Untrusted { .. } => "ledger.untrusted",
        }
    }

    /// What a person can do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::Refused(refusal) => refusal.hint(),
            Self::Unavailable { .. } => {
                "see the log of the agent that keeps the ledger; start it again once the cause is mended".into()
            }
            Self::Untrusted { .. } => {
                "keep the answer as evidence, stop using this ledger and talk to the party that keeps it".into()
            }
        }
    }

    /// The exit code that a command ends with.
    pub const fn exit(&self) -> ExitFamily {
        match self {
            Self::Refused(refusal) => refusal.exit(),
            Self::Unavailable { .. } | Self::Untrusted { .. } => ExitFamily::Unavailable,
        }
    }
}
