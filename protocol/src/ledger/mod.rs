//! The ledger that providers keep together: contracts and their numbers, runs, leases of steps, revocations, and proof of each.
//!
//! A [`Request`] of a proved [`Requester`] is judged by [`LedgerState::check`] and becomes an [`Entry`];
//! the entry becomes a leaf of a [`MerkleTree`] (RFC 6962), whose head the members cosign as a [`Checkpoint`] (C2SP);
//! leaf, path and checkpoint are a [`LedgerReceipt`], which anybody verifies offline against the [`Members`].
//!
//! Nothing here touches a disk or a socket: a keeper of a ledger stores entries before it answers, and a
//! [`RemoteLedger`] asks one over a [`Transport`]. Both are a [`Ledger`].

mod book;
mod checkpoint;
mod entry;
mod note;
mod receipt;
mod refusal;
mod remote;
mod request;
mod revocation;
mod rules;
mod state;
#[cfg(test)]
mod tests;
mod tree;

pub use book::Book;
pub use checkpoint::{Checkpoint, CheckpointError, Members, Origin, SignedCheckpoint};
pub use entry::{ENTRY_SIZE_LIMIT, Entry, EntryError, Event};
pub use note::{
    NOTE_SIGNATURES_LIMIT, NOTE_SIZE_LIMIT, NoteError, NoteSignature, SignedNote, key_id,
};
pub use receipt::{LedgerReceipt, Proven, ReceiptError};
pub use refusal::{ExitFamily, Refusal};
pub use remote::{RemoteLedger, Transport, TransportError, answer};
pub use request::{
    BoxFuture, ContractView, DatasetProgress, DatasetSpending, Ledger, LedgerError,
    REQUEST_SIZE_LIMIT, RESPONSE_SIZE_LIMIT, Request, Requester, Response, RevokedBy, RunStatus,
    RunView,
};
pub use revocation::{REASON_LENGTH_LIMIT, REVOCATION_PAYLOAD_TYPE, Revocation, RevocationError};
pub use rules::{LeaseLimit, Verdict};
pub use state::{ApplyError, ContractState, LedgerState, Recorded};
pub use tree::{
    MerkleTree, PROOF_LENGTH_LIMIT, ProofError, leaf_hash, verify_consistency, verify_inclusion,
};
