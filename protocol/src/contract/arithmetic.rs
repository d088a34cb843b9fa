//! What a contract costs each dataset: the same arithmetic for the agent that meters and the consumer who plans.

use tributary_accounting::{AccountingError, Capacity, Delta, Epsilon, Phase, Steps};

use super::{Contract, DatasetRef};

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
    /// Rows in every batch, present or padding.
    pub capacity: Capacity,
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
                let capacity = self.capacity(dataset.records)?;
                let delta = capacity.remaining_delta;
                Ok(DatasetPlan {
                    dataset: id,
                    capacity,
                    limit: Epsilon::new(dataset.epsilon)?,
                    run: self.epsilon_after(self.steps(), delta)?,
                    all_runs: self.epsilon_after(self.most_steps(), delta)?,
                })
            })
            .collect::<Result<_, AccountingError>>()?;
        Ok(Plan { datasets })
    }

    /// The rows of every batch of a dataset of `records` records, and the delta that their limit costs.
    ///
    /// The share of delta covers every step of every run that the contract allows.
    pub fn capacity(&self, records: u64) -> Result<Capacity, AccountingError> {
        Capacity::derive(records, self.sampling_rate, self.most_steps(), self.delta)
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

    /// The number of records in an average batch of all datasets together, by which sums are divided.
    pub fn expected_batch_size(&self) -> f64 {
        let records: u64 = self
            .document
            .datasets
            .iter()
            .map(|dataset| dataset.records)
            .sum();
        self.sampling_rate.get() * records as f64
    }
}
