//! What a contract costs each dataset: the same arithmetic for the agent that meters and the consumer who plans.

use tributary_accounting::{AccountingError, Capacity, Delta, Epsilon, Phase, Steps};

use super::{Contract, Dataset, DatasetRef, Entity, Unit};

/// The cost of one run to every dataset.
#[derive(Debug, Clone)]
pub struct Plan {
    /// One for each dataset, in the contract's order.
    pub datasets: Vec<DatasetPlan>,
}

/// The cost of one run to one dataset.
#[derive(Debug, Clone)]
pub struct DatasetPlan {
    /// Which.
    pub dataset: DatasetRef,
    /// Units of privacy in every batch, present or padding: records, or entities.
    pub capacity: Capacity,
    /// Rows in every batch, present or padding.
    pub rows: u64,
    /// The most that may be spent, over all runs.
    pub limit: Epsilon,
    /// What one run spends, at the delta that overflow leaves.
    pub run: Epsilon,
    /// What all runs together would spend.
    pub all_runs: Epsilon,
}

impl Contract {
    /// What each dataset pays.
    pub fn plan(&self) -> Result<Plan, AccountingError> {
        let datasets = self
            .datasets()
            .map(|(id, dataset)| {
                let capacity = self.capacity(dataset)?;
                let delta = capacity.remaining_delta;
                Ok(DatasetPlan {
                    dataset: id,
                    rows: self.rows(dataset, &capacity),
                    capacity,
                    limit: Epsilon::new(dataset.epsilon)?,
                    run: self.epsilon_after(self.steps(), delta)?,
                    all_runs: self.epsilon_after(self.most_steps(), delta)?,
                })
            })
            .collect::<Result<_, AccountingError>>()?;
        Ok(Plan { datasets })
    }

    /// How many units of privacy a dataset has: records, or entities.
    pub fn units(&self, dataset: &Dataset) -> u64 {
        dataset.entities.unwrap_or(dataset.records)
    }

    /// The units of privacy in every batch of a dataset, and the delta that their limit costs.
    ///
    /// The share of delta covers every step of every run that the contract allows. What is sampled are units, so the
    /// overflow is one of units, whatever the records of each.
    pub fn capacity(&self, dataset: &Dataset) -> Result<Capacity, AccountingError> {
        Capacity::derive(
            self.units(dataset),
            self.sampling_rate,
            self.most_steps(),
            self.delta,
        )
    }

    /// The rows of every batch of a dataset: as many as its units may have.
    pub(super) fn rows(&self, dataset: &Dataset, capacity: &Capacity) -> u64 {
        match self.entity() {
            None => capacity.rows,
            Some(entity) => capacity
                .rows
                .saturating_mul(entity.rows.into())
                .min(dataset.records),
        }
    }

    /// Who is the unit of privacy, where it is not a record.
    pub fn entity(&self) -> Option<&Entity> {
        match &self.document.privacy.unit {
            Unit::Record => None,
            Unit::Entity(entity) => Some(entity),
        }
    }

    /// Epsilon after `steps` steps, over all runs, at `delta`.
    pub fn epsilon_after(&self, steps: Steps, delta: Delta) -> Result<Epsilon, AccountingError> {
        let accountant = self.accountant().accountant();
        accountant.epsilon(&[self.phase(steps)], delta)
    }

    /// `steps` steps under this contract, as accountants take them.
    pub fn phase(&self, steps: Steps) -> Phase {
        Phase {
            sampling_rate: self.sampling_rate,
            noise_multiplier: self.noise_multiplier,
            steps,
        }
    }

    /// The steps of all runs.
    pub fn most_steps(&self) -> Steps {
        Steps::new(self.document.pipeline.steps * u64::from(self.document.runs))
    }

    /// The number of units in an average batch of all datasets together, by which sums are divided.
    pub fn expected_batch_size(&self) -> f64 {
        let datasets = self.document.datasets.iter();
        let units: u64 = datasets.map(|dataset| self.units(dataset)).sum();
        self.sampling_rate.get() * units as f64
    }

    /// The number of records in an average batch of a dataset, at most: entities may have fewer than they may send.
    pub fn expected_rows(&self, dataset: &Dataset) -> f64 {
        let most = match self.entity() {
            None => dataset.records,
            Some(entity) => self
                .units(dataset)
                .saturating_mul(entity.rows.into())
                .min(dataset.records),
        };
        self.sampling_rate.get() * most as f64
    }
}
