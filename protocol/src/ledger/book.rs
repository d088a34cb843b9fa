//! The ledger's content in memory: state and tree, from which answers and receipts are made.
//!
//! Whoever keeps a ledger appends entries durably first, then to its book, then cosigns the book's head.

use super::checkpoint::Members;
use super::checkpoint::{Checkpoint, SignedCheckpoint};
use super::entry::{Entry, Event};
use super::receipt::LedgerReceipt;
use super::refusal::Refusal;
use super::request::{ContractView, LedgerError, Request, Requester, Response};
use super::state::{ApplyError, LedgerState, Recorded};
use super::tree::{MerkleTree, leaf_hash};
use crate::SequenceNumber;

/// State and tree of the same entries.
#[derive(Debug, Clone)]
pub struct Book {
    state: LedgerState,
    tree: MerkleTree,
}

impl Book {
    /// The book of an empty ledger.
    pub fn new(members: Members) -> Self {
        Self {
            state: LedgerState::new(members),
            tree: MerkleTree::default(),
        }
    }

    /// What the entries add up to.
    pub fn state(&self) -> &LedgerState {
        &self.state
    }

    /// The tree over them.
    pub fn tree(&self) -> &MerkleTree {
        &self.tree
    }

    /// Appends an entry that is on disk already.
    ///
    /// # Errors
    ///
    /// Where the entry contradicts those before it. The book is unchanged then.
    pub fn append(&mut self, entry: &Entry) -> Result<Recorded, ApplyError> {
        let index = self.state.apply(entry)?;
        self.tree.push(leaf_hash(&entry.encode()));
        Ok(Recorded {
            index,
            entry: entry.clone(),
        })
    }

    /// The head to be cosigned.
    pub fn head(&self) -> Checkpoint {
        Checkpoint {
            origin: self.state.members().origin().clone(),
            size: self.tree.len(),
            root: self.tree.root(),
        }
    }

    /// A receipt for an entry under a cosigned head of this book.
    ///
    /// # Errors
    ///
    /// Where the head does not cover the entry.
    pub fn receipt(
        &self,
        recorded: &Recorded,
        head: &SignedCheckpoint,
    ) -> Result<LedgerReceipt, LedgerError> {
        let proof = self
            .tree
            .prove_inclusion(recorded.index, head.claimed().size)
            .map_err(|error| LedgerError::Unavailable {
                reason: error.to_string(),
            })?;
        Ok(LedgerReceipt::new(
            &recorded.entry,
            recorded.index,
            proof,
            head.clone(),
        ))
    }

    /// The answer to a request that `recorded` fulfils; `fresh` where it was recorded just now.
    pub fn confirm(
        &self,
        recorded: &Recorded,
        fresh: bool,
        head: &SignedCheckpoint,
    ) -> Result<Response, LedgerError> {
        let receipt = self.receipt(recorded, head)?;
        Ok(match &recorded.entry.event {
            Event::ContractRegistered { number, .. } => Response::Registered {
                number: *number,
                receipt,
            },
            Event::RunOpened { contract, run, .. } => {
                let state = self.state.known(*contract)?;
                let view = state.run(*run).ok_or(Refusal::UnknownRun {
                    contract: *contract,
                    run: *run,
                })?;
                let taken_up = state
                    .run_state(*run)
                    .is_some_and(|run| run.authorisations.len() > 1);
                Response::RunOpened {
                    resumed: !fresh || taken_up,
                    receipt,
                    run: view,
                }
            }
            Event::Lease { .. } => Response::Leased { receipt },
            Event::Settlement { .. } => Response::Settled { receipt },
            Event::RunClosed { .. } => Response::RunClosed { receipt },
            Event::Revocation { .. } => Response::Revoked { receipt },
        })
    }

    /// The answer to a request that changes nothing. `head` is the newest cosigned checkpoint.
    ///
    /// Contracts and runs are shown to their parties and to the ledger's members only.
    pub fn read(
        &self,
        peer: &Requester,
        request: &Request,
        head: &SignedCheckpoint,
    ) -> Result<Response, LedgerError> {
        match request {
            Request::Show { number } => {
                let state = self.state.known(*number)?;
                self.expect_reader(peer, *number)?;
                Ok(Response::Contract(ContractView {
                    number: *number,
                    envelope: state.envelope().clone(),
                    receipt: self.receipt(&state.registered, head)?,
                    registered: state.registered.entry.time,
                    revoked: state.revoked().cloned(),
                    runs_opened: state.runs_opened(),
                    open_run: state.open_run_number(),
                    leased: state.spending(),
                }))
            }
            Request::RunState { contract, run } => {
                let state = self.state.known(*contract)?;
                self.expect_reader(peer, *contract)?;
                let view = state.run(*run).ok_or(Refusal::UnknownRun {
                    contract: *contract,
                    run: *run,
                })?;
                Ok(Response::Run(view))
            }
            Request::Checkpoint => Ok(Response::Checkpoint(head.clone())),
            Request::Consistency { older, newer } => {
                let size = head.claimed().size;
                let refuse = |_| Refusal::FutureSize {
                    size,
                    older: *older,
                    newer: *newer,
                };
                let proof = self
                    .tree
                    .prove_consistency(*older, *newer)
                    .map_err(refuse)?;
                Ok(Response::Consistency { proof })
            }
            Request::Register { .. }
            | Request::OpenRun { .. }
            | Request::Lease { .. }
            | Request::Settle { .. }
            | Request::CloseRun { .. }
            | Request::Revoke { .. } => Err(LedgerError::Unavailable {
                reason: "a request that must be recorded was taken for a question".to_owned(),
            }),
        }
    }

    fn expect_reader(&self, peer: &Requester, number: SequenceNumber) -> Result<(), Refusal> {
        let contract = self.state.known(number)?.contract();
        let member = self.state.members().keys().contains_key(&peer.party);
        if member || contract.key_of(&peer.party).is_some() {
            Ok(())
        } else {
            Err(Refusal::NotAParty {
                contract: number,
                party: peer.party.clone(),
            })
        }
    }
}
