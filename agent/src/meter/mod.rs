//! The budget meter: how much of the privacy of each dataset is spent, and whether the next steps still fit.
//!
//! Steps are reserved before they are served and count as spent from then on: a crash, at any moment, leaves the meter at or
//! above the truth, and nothing is ever given back. The meter computes epsilon itself, over all runs of a contract against
//! the contract's limit, and over all contracts against the officer's own.
//!
//! Its file is replaced whole, synced, and carries a tag under a key of the agent, so that an altered one is refused. A whole
//! older file cannot be told from a newer one here: against a restored disk there is the ledger, and
//! [`Meter::reconcile`], which takes the larger of both memories.

mod refusal;
mod report;
mod state;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use tributary_accounting::{AccountingError, Epsilon, Steps};
use tributary_durable::Readers;
use tributary_protocol::{Contract, DatasetName, DatasetRef, Digest, RunNumber};

pub use refusal::MeterError;
pub use report::{ContractReport, DatasetReport, RunReport};
pub use state::OfficerLimit;

use crate::vault::StateKey;
use state::{DatasetState, State, Terms};

const FILE: &str = "meter";
const LOCK_FILE: &str = "meter.lock";

/// The budget meter of an agent, in a folder of its own. Several processes may have it open: every call locks the folder,
/// reads the file, and writes it where something changed. All calls block.
///
/// ```
/// use tributary_accounting::{Delta, Epsilon};
/// use tributary_agent::{Meter, OfficerLimit, StateKey};
/// let folder = tempfile::tempdir()?;
/// let meter = Meter::create(folder.path(), StateKey::from_bytes([7; 32]))?;
/// let limit = OfficerLimit { epsilon: Epsilon::new(3.0)?, delta: Delta::new(1e-5)? };
/// meter.set_limit(&"digits".parse()?, Some(limit))?;
/// assert_eq!(meter.report()?[0].limit, Some(limit));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Meter {
    folder: PathBuf,
    key: StateKey,
}

/// Steps of a run that an aggregator asks for.
#[derive(Debug, Clone)]
pub struct LeaseRequest {
    /// The contract.
    pub contract: Contract,
    /// The dataset, of this agent.
    pub dataset: DatasetRef,
    /// The run.
    pub run: RunNumber,
    /// The first step, counted from 0. All before it were leased, and are spent whether this meter saw it or not.
    pub first_step: u64,
    /// How many.
    pub count: u64,
}

impl Meter {
    /// A meter at zero, in a folder that is made where it is missing.
    ///
    /// # Errors
    ///
    /// [`MeterError::Exists`]: a meter is never set back.
    pub fn create(folder: &Path, key: StateKey) -> Result<Self, MeterError> {
        tributary_durable::create_private_folder(folder)?;
        let meter = Self {
            folder: folder.to_owned(),
            key,
        };
        let _lock = meter.lock()?;
        let path = meter.folder.join(FILE);
        let bytes = State::default().seal(&meter.key)?;
        match tributary_durable::create(&path, &bytes, Readers::Owner) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                return Err(MeterError::Exists { path });
            }
            Err(error) => return Err(error.into()),
        }
        Ok(meter)
    }

    /// Opens a meter.
    ///
    /// # Errors
    ///
    /// [`MeterError::Missing`] and [`MeterError::Damaged`]; nothing is served then.
    pub fn open(folder: &Path, key: StateKey) -> Result<Self, MeterError> {
        let meter = Self {
            folder: folder.to_owned(),
            key,
        };
        meter.read(|_| Ok(()))?;
        Ok(meter)
    }

    /// Reserves steps of a run: as many of those asked for as fit into both limits, at least one. They are spent when the
    /// call returns.
    ///
    /// # Errors
    ///
    /// [`MeterError::Contract`] or [`MeterError::Officer`] where not one fits. Nothing is spent then.
    pub fn reserve(&self, request: &LeaseRequest) -> Result<u64, MeterError> {
        let terms = Terms::of(&request.contract, &request.dataset)?;
        self.reserve_under(&terms, request.run, request.first_step, request.count)
    }

    /// Refuses a run of `steps` steps that could not be finished.
    ///
    /// # Errors
    ///
    /// [`MeterError::Contract`] or [`MeterError::Officer`].
    pub fn expect_room(
        &self,
        contract: &Contract,
        dataset: &DatasetRef,
        run: RunNumber,
        steps: Steps,
    ) -> Result<(), MeterError> {
        self.expect_room_under(&Terms::of(contract, dataset)?, run, steps)
    }

    /// Takes over what the ledger remembers where it is more than the meter does: an older disk was restored, or the meter was
    /// made anew.
    ///
    /// # Errors
    ///
    /// Those of the file, and [`MeterError::Terms`].
    pub fn reconcile(
        &self,
        contract: &Contract,
        dataset: &DatasetRef,
        run: RunNumber,
        leased: u64,
        leased_in_all_runs: u64,
    ) -> Result<(), MeterError> {
        let terms = Terms::of(contract, dataset)?;
        self.reconcile_under(&terms, run, leased, leased_in_all_runs)
    }

    /// Remembers that the steps before `through` were trained on; never more than are spent. It changes what a report says and
    /// not what is spent.
    ///
    /// # Errors
    ///
    /// Those of the file.
    pub fn settle(
        &self,
        dataset: &DatasetName,
        contract: &Digest,
        run: RunNumber,
        through: u64,
    ) -> Result<(), MeterError> {
        self.change(|state| {
            let account = state
                .datasets
                .get_mut(dataset)
                .and_then(|dataset| dataset.accounts.get_mut(contract));
            if let Some(account) = account {
                account.settle(run, through);
            }
            Ok(())
        })
    }

    /// The officer's own limit for a dataset, over all contracts; `None` leaves the contracts' limits alone. One below what is
    /// spent already stops everything.
    ///
    /// # Errors
    ///
    /// Those of the file.
    pub fn set_limit(
        &self,
        dataset: &DatasetName,
        limit: Option<OfficerLimit>,
    ) -> Result<(), MeterError> {
        self.change(|state| {
            state.dataset_mut(dataset).limit = limit;
            Ok(())
        })
    }

    /// What is spent, leased and left, for every dataset with a contract or a limit.
    ///
    /// # Errors
    ///
    /// Those of the file and of the accountant.
    pub fn report(&self) -> Result<Vec<DatasetReport>, MeterError> {
        self.read(|state| {
            let datasets = state.datasets.iter();
            datasets
                .map(|(name, dataset)| report::of(name, dataset))
                .collect()
        })
    }

    fn reserve_under(
        &self,
        terms: &Terms,
        run: RunNumber,
        first_step: u64,
        count: u64,
    ) -> Result<u64, MeterError> {
        if count == 0 || first_step.checked_add(count).is_none() {
            return Err(MeterError::Count { first_step, count });
        }
        self.change(|state| {
            let dataset = state.dataset_mut(&terms.dataset);
            let before = dataset.account_mut(terms)?.spent_with(run, first_step, 0);
            let fit = dataset.affordable(terms, before, Steps::new(count))?.get();
            if fit == 0 {
                return Err(dataset.refusal(terms, before, Steps::new(1))?);
            }
            dataset.account_mut(terms)?.spend(run, first_step, fit);
            Ok(fit)
        })
    }

    fn expect_room_under(
        &self,
        terms: &Terms,
        run: RunNumber,
        steps: Steps,
    ) -> Result<(), MeterError> {
        self.read(|state| {
            let mut dataset = state.dataset(&terms.dataset);
            let before = dataset.account_mut(terms)?.spent_with(run, 0, 0);
            if dataset.affordable(terms, before, steps)? < steps {
                return Err(dataset.refusal(terms, before, steps)?);
            }
            Ok(())
        })
    }

    fn reconcile_under(
        &self,
        terms: &Terms,
        run: RunNumber,
        leased: u64,
        leased_in_all_runs: u64,
    ) -> Result<(), MeterError> {
        self.change(|state| {
            let account = state.dataset_mut(&terms.dataset).account_mut(terms)?;
            account.raise(run, leased, leased_in_all_runs);
            Ok(())
        })
    }

    fn read<T>(&self, look: impl FnOnce(&State) -> Result<T, MeterError>) -> Result<T, MeterError> {
        let _lock = self.lock()?;
        look(&self.load()?)
    }

    /// Writes the state after `act`, unless nothing changed or it failed.
    fn change<T>(
        &self,
        act: impl FnOnce(&mut State) -> Result<T, MeterError>,
    ) -> Result<T, MeterError> {
        let _lock = self.lock()?;
        let before = self.load()?;
        let mut state = before.clone();
        let outcome = act(&mut state)?;
        if state != before {
            let bytes = state.seal(&self.key)?;
            tributary_durable::replace(&self.folder.join(FILE), &bytes, Readers::Owner)?;
        }
        Ok(outcome)
    }

    fn load(&self) -> Result<State, MeterError> {
        State::read(&self.folder.join(FILE), &self.key)
    }

    fn lock(&self) -> Result<File, MeterError> {
        let mut options = File::options();
        options.create(true).truncate(false).write(true);
        let file = match options.open(self.folder.join(LOCK_FILE)) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(MeterError::Missing {
                    path: self.folder.join(FILE),
                });
            }
            Err(error) => return Err(error.into()),
        };
        rustix::fs::flock(&file, FlockOperation::LockExclusive).map_err(std::io::Error::from)?;
        Ok(file)
    }
}

impl DatasetState {
    /// How many more steps fit into both limits after `before` steps of the contract, at most `at_most`.
    fn affordable(&self, terms: &Terms, before: u64, at_most: Steps) -> Result<Steps, MeterError> {
        let fits = |more: u64| -> Result<bool, AccountingError> {
            let steps = before.saturating_add(more);
            if terms.epsilon(steps)? > terms.limit {
                return Ok(false);
            }
            match self.limit {
                Some(limit) => Ok(self.total_epsilon(limit, terms, steps)? <= limit.epsilon),
                None => Ok(true),
            }
        };
        if fits(at_most.get())? {
            return Ok(at_most);
        }
        // Epsilon grows with the steps, so there is one border to find.
        let (mut most, mut too_many) = (0, at_most.get());
        while too_many - most > 1 {
            let middle = most + (too_many - most) / 2;
            if fits(middle)? {
                most = middle;
            } else {
                too_many = middle;
            }
        }
        Ok(Steps::new(most))
    }

    /// Says which limit `asked` more steps would exceed.
    fn refusal(&self, terms: &Terms, before: u64, asked: Steps) -> Result<MeterError, MeterError> {
        let after = before.saturating_add(asked.get());
        let fit = self.affordable(terms, before, asked)?;
        let dataset = terms.dataset.clone();
        let with = terms.epsilon(after)?;
        match self.limit {
            Some(_) if self.mixes_units(terms) => Ok(MeterError::Units {
                dataset,
                contract: terms.contract,
            }),
            Some(limit) if with <= terms.limit => Ok(MeterError::Officer {
                dataset,
                spent: self.total_epsilon(limit, terms, before)?,
                with: self.total_epsilon(limit, terms, after)?,
                limit: limit.epsilon,
                delta: limit.delta,
                asked,
                fit,
            }),
            _ => Ok(MeterError::Contract {
                dataset,
                contract: terms.contract,
                spent: terms.epsilon(before)?,
                with,
                limit: terms.limit,
                delta: terms.delta,
                asked,
                fit,
            }),
        }
    }

    /// Whether another contract has spent, and protects another unit.
    fn mixes_units(&self, terms: &Terms) -> bool {
        let mut others = self
            .accounts
            .iter()
            .filter(|(contract, account)| **contract != terms.contract && account.spent > 0);
        others.any(|(_, account)| account.rules.entity != terms.entity)
    }

    /// Epsilon of all contracts at the officer's delta, if this one had spent `steps`.
    fn total_epsilon(
        &self,
        limit: OfficerLimit,
        terms: &Terms,
        steps: u64,
    ) -> Result<Epsilon, AccountingError> {
        let accounts = self.accounts.iter().map(|(contract, account)| {
            let this = *contract == terms.contract;
            (&account.rules, if this { steps } else { account.spent })
        });
        state::composed_epsilon(accounts, limit.delta)
    }
}
