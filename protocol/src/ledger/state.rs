//! What the entries add up to: contracts, runs, and the steps leased of every dataset.
//!
//! The state follows from the entries alone. Whoever replays the log comes to the same state, and nothing enters it that the rules of [`rules`](super::rules) refuse.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::checkpoint::Members;
use super::entry::{Entry, Event};
use super::refusal::Refusal;
use super::request::{DatasetProgress, DatasetSpending, RevokedBy, RunStatus, RunView};
use crate::{Contract, DatasetRef, Digest, Envelope, RunNumber, SequenceNumber, SignedContract};

/// The state machine of a ledger.
#[derive(Debug, Clone)]
pub struct LedgerState {
    pub(super) members: Members,
    /// The time of the newest entry: the ledger's clock never runs backwards.
    pub(super) time: DateTime<Utc>,
    size: u64,
    contracts: Vec<ContractState>,
    numbers: BTreeMap<Digest, SequenceNumber>,
}

/// An entry and its place, from which a receipt can be made again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// The place, from 0.
    pub index: u64,
    /// The entry.
    pub entry: Entry,
}

/// A contract and what became of it.
#[derive(Debug, Clone)]
pub struct ContractState {
    pub(super) number: SequenceNumber,
    pub(super) signed: SignedContract,
    pub(super) registered: Recorded,
    pub(super) revoked: Option<(Recorded, RevokedBy)>,
    /// Run 1 first.
    pub(super) runs: Vec<RunState>,
}

/// A run.
#[derive(Debug, Clone)]
pub(super) struct RunState {
    pub(super) opened: Recorded,
    /// The authorisations it was opened and taken up again with, by their payloads' digests.
    pub(super) authorisations: Vec<Digest>,
    pub(super) end: Option<RunEnd>,
    pub(super) datasets: BTreeMap<DatasetRef, Progress>,
    /// Settled checkpoints in the order in which each was first settled.
    pub(super) checkpoints: Vec<Digest>,
}

#[derive(Debug, Clone)]
pub(super) enum RunEnd {
    Closed(Recorded, Digest),
    Abandoned,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Progress {
    pub(super) leased: u64,
    pub(super) settled: u64,
}

/// An entry that contradicts those before it: the log it comes from was not written by a ledger.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// Against the rules.
    #[error("entry {index} contradicts the entries before it: {refusal}")]
    Refused {
        /// Its place.
        index: u64,
        /// Which rule it breaks.
        refusal: Refusal,
    },
    /// Earlier than the one before.
    #[error("entry {index} is older ({time}) than the entry before it ({previous})")]
    Time {
        /// Its place.
        index: u64,
        /// Its time.
        time: DateTime<Utc>,
        /// The time of the entry before.
        previous: DateTime<Utc>,
    },
}

impl LedgerState {
    /// The empty ledger that `members` keep.
    pub fn new(members: Members) -> Self {
        Self {
            members,
            time: DateTime::UNIX_EPOCH,
            size: 0,
            contracts: Vec::new(),
            numbers: BTreeMap::new(),
        }
    }

    /// Number of entries applied.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Who keeps the ledger.
    pub fn members(&self) -> &Members {
        &self.members
    }

    /// Takes the next entry, under the same rules by which it was admitted.
    ///
    /// # Errors
    ///
    /// Where the entry contradicts the state, which is unchanged then.
    pub fn apply(&mut self, entry: &Entry) -> Result<u64, ApplyError> {
        let index = self.size;
        if entry.time < self.time {
            return Err(ApplyError::Time {
                index,
                time: entry.time,
                previous: self.time,
            });
        }
        let refused = |refusal| ApplyError::Refused { index, refusal };
        let admitted = self.admit(entry).map_err(refused)?;
        let recorded = Recorded {
            index,
            entry: entry.clone(),
        };
        match (&entry.event, admitted) {
            (Event::ContractRegistered { number, .. }, Admitted::Contract(signed)) => {
                self.numbers.insert(signed.contract().digest(), *number);
                self.contracts.push(ContractState {
                    number: *number,
                    signed: *signed,
                    registered: recorded,
                    revoked: None,
                    runs: Vec::new(),
                });
            }
            (Event::Revocation { contract, by, .. }, Admitted::Revocation { reason }) => {
                let revoked = RevokedBy {
                    by: by.clone(),
                    at: entry.time,
                    reason,
                };
                if let Some(state) = self.contract_mut(*contract) {
                    state.revoked = Some((recorded, revoked));
                }
            }
            (Event::RunOpened { contract, run, .. }, Admitted::Run { authorisation }) => {
                if let Some(state) = self.contract_mut(*contract) {
                    state.open_run(*run, authorisation, recorded);
                }
            }
            (
                Event::Lease {
                    contract,
                    run,
                    dataset,
                    end_step,
                    ..
                },
                _,
            ) => {
                if let Some(run) = self.run_mut(*contract, *run) {
                    run.datasets.entry(dataset.clone()).or_default().leased = *end_step;
                }
            }
            (
                Event::Settlement {
                    contract,
                    run,
                    dataset,
                    served,
                    checkpoint,
                },
                _,
            ) => {
                if let Some(run) = self.run_mut(*contract, *run) {
                    run.datasets.entry(dataset.clone()).or_default().settled = *served;
                    // Several agents settle the same checkpoint, some of them late: only one that is new moves the newest.
                    if let Some(digest) = checkpoint
                        && !run.checkpoints.contains(digest)
                    {
                        run.checkpoints.push(*digest);
                    }
                }
            }
            (
                Event::RunClosed {
                    contract,
                    run,
                    receipt,
                },
                _,
            ) => {
                if let Some(run) = self.run_mut(*contract, *run) {
                    run.end = Some(RunEnd::Closed(recorded, *receipt));
                }
            }
            // `admit` gives each event its own kind of admission.
            (
                Event::ContractRegistered { .. }
                | Event::Revocation { .. }
                | Event::RunOpened { .. },
                _,
            ) => {}
        }
        self.size += 1;
        self.time = entry.time;
        Ok(index)
    }

    /// A contract by its number.
    pub fn contract(&self, number: SequenceNumber) -> Option<&ContractState> {
        let index = usize::try_from(number.get() - 1).ok()?;
        self.contracts.get(index)
    }

    /// The number of the contract with this digest.
    pub fn number_of(&self, contract: &Digest) -> Option<SequenceNumber> {
        self.numbers.get(contract).copied()
    }

    /// How many contracts are registered.
    pub fn registered(&self) -> u64 {
        self.contracts.len() as u64
    }

    /// Steps of a dataset leased under a contract, over all its runs. All of them count as spent.
    pub fn leased(&self, contract: SequenceNumber, dataset: &DatasetRef) -> u64 {
        self.contract(contract)
            .map_or(0, |state| state.leased(dataset))
    }

    fn contract_mut(&mut self, number: SequenceNumber) -> Option<&mut ContractState> {
        let index = usize::try_from(number.get() - 1).ok()?;
        self.contracts.get_mut(index)
    }

    fn run_mut(&mut self, contract: SequenceNumber, run: RunNumber) -> Option<&mut RunState> {
        self.contract_mut(contract)?
            .runs
            .get_mut(run.get() as usize - 1)
    }
}

/// What the rules found out about an entry while they admitted it.
pub(super) enum Admitted {
    Contract(Box<SignedContract>),
    Run { authorisation: Digest },
    Revocation { reason: String },
    Other,
}

impl ContractState {
    /// Its number.
    pub fn number(&self) -> SequenceNumber {
        self.number
    }

    /// The contract.
    pub fn contract(&self) -> &Contract {
        self.signed.contract()
    }

    /// The contract with all signatures.
    pub fn envelope(&self) -> &Envelope {
        self.signed.envelope()
    }

    /// Who revoked it.
    pub fn revoked(&self) -> Option<&RevokedBy> {
        self.revoked.as_ref().map(|(_, revoked)| revoked)
    }

    /// How many runs were opened.
    pub fn runs_opened(&self) -> u32 {
        self.runs.len() as u32
    }

    /// The run that is open. There is at most one: the last.
    pub fn open_run_number(&self) -> Option<RunNumber> {
        let last = self.runs.last()?;
        if last.end.is_some() {
            return None;
        }
        RunNumber::new(self.runs_opened())
    }

    /// Steps of a dataset leased over all runs.
    pub fn leased(&self, dataset: &DatasetRef) -> u64 {
        self.runs
            .iter()
            .filter_map(|run| run.datasets.get(dataset))
            .map(|progress| progress.leased)
            .sum()
    }

    /// What was leased of every dataset, over all runs.
    pub fn spending(&self) -> Vec<DatasetSpending> {
        self.contract()
            .datasets()
            .map(|(dataset, _)| DatasetSpending {
                steps: self.leased(&dataset),
                dataset,
            })
            .collect()
    }

    /// A run, as screens and resuming aggregators see it.
    pub fn run(&self, number: RunNumber) -> Option<RunView> {
        let run = self.run_state(number)?;
        Some(RunView {
            contract: self.number,
            run: number,
            status: match &run.end {
                None => RunStatus::Open,
                Some(RunEnd::Closed(_, receipt)) => RunStatus::Closed { receipt: *receipt },
                Some(RunEnd::Abandoned) => RunStatus::Abandoned,
            },
            authorisation: run.authorisations.last().copied(),
            datasets: self
                .contract()
                .datasets()
                .map(|(dataset, _)| {
                    let progress = run.datasets.get(&dataset).copied().unwrap_or_default();
                    DatasetProgress {
                        leased: progress.leased,
                        settled: progress.settled,
                        leased_in_all_runs: self.leased(&dataset),
                        dataset,
                    }
                })
                .collect(),
            checkpoint: run.checkpoints.last().copied(),
        })
    }

    pub(super) fn run_state(&self, number: RunNumber) -> Option<&RunState> {
        self.runs.get(number.get() as usize - 1)
    }

    fn open_run(&mut self, number: RunNumber, authorisation: Digest, recorded: Recorded) {
        if let Some(run) = self.runs.get_mut(number.get() as usize - 1) {
            run.authorisations.push(authorisation);
            run.opened = recorded;
            return;
        }
        if let Some(last) = self.runs.last_mut()
            && last.end.is_none()
        {
            last.end = Some(RunEnd::Abandoned);
        }
        self.runs.push(RunState {
            opened: recorded,
            authorisations: vec![authorisation],
            end: None,
            datasets: BTreeMap::new(),
            checkpoints: Vec::new(),
        });
    }
}
