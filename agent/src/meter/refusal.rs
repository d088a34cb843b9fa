//! Why the meter refuses.

use std::io;
use std::path::PathBuf;

use tributary_accounting::{AccountingError, Delta, Epsilon, Steps};
use tributary_protocol::{DatasetName, DatasetRef, Digest};

/// Why steps were not reserved, or the meter cannot be used. Nothing is spent where one is returned.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MeterError {
    /// The steps would exceed the contract's limit.
    #[error(
        "dataset `{dataset}`: {asked} more steps would bring contract {contract} from epsilon {spent} to {with}, its limit is {limit} at delta {delta}; {fit} more steps fit"
    )]
    Contract {
        /// The dataset.
        dataset: DatasetName,
        /// The contract.
        contract: Digest,
        /// Spent so far, over all its runs.
        spent: Epsilon,
        /// With the steps asked for.
        with: Epsilon,
        /// The limit.
        limit: Epsilon,
        /// The contract's delta.
        delta: Delta,
        /// The steps asked for.
        asked: Steps,
        /// How many would fit.
        fit: Steps,
    },
    /// The steps would exceed the officer's own limit.
    #[error(
        "dataset `{dataset}`: {asked} more steps would bring all its contracts from epsilon {spent} to {with}, the provider's limit is {limit} at delta {delta}; {fit} more steps fit"
    )]
    Officer {
        /// The dataset.
        dataset: DatasetName,
        /// Spent so far, over all contracts.
        spent: Epsilon,
        /// With the steps asked for.
        with: Epsilon,
        /// The limit.
        limit: Epsilon,
        /// The officer's delta.
        delta: Delta,
        /// The steps asked for.
        asked: Steps,
        /// How many would fit.
        fit: Steps,
    },
    /// The officer's limit cannot hold for contracts that protect different units.
    #[error(
        "dataset `{dataset}`: the provider's limit bounds one unit of privacy over all contracts, and contract {contract} protects another than those that have spent before (records, or the entities of a column); no epsilon bounds both"
    )]
    Units {
        /// The dataset.
        dataset: DatasetName,
        /// The contract.
        contract: Digest,
    },
    /// A reservation of nothing, or of more than can be counted.
    #[error(
        "expected at least one step, and steps that 64 bits count, got {count} from step {first_step}"
    )]
    Count {
        /// The first step asked for.
        first_step: u64,
        /// How many were asked for.
        count: u64,
    },
    /// The contract does not name the dataset.
    #[error("expected a dataset of the contract, got {0}")]
    OtherDataset(DatasetRef),
    /// The contract was metered under other terms before.
    #[error(
        "dataset `{dataset}`: contract {contract} was metered under other terms before; meter and contract do not belong together"
    )]
    Terms {
        /// The dataset.
        dataset: DatasetName,
        /// The contract.
        contract: Digest,
    },
    /// There is no meter.
    #[error(
        "there is no budget meter at {path}, so nobody knows what is spent",
        path = .path.display()
    )]
    Missing {
        /// Where it should be.
        path: PathBuf,
    },
    /// There is one already.
    #[error(
        "there is a budget meter at {path} already; it is never set back",
        path = .path.display()
    )]
    Exists {
        /// Where it is.
        path: PathBuf,
    },
    /// The file is not one that this agent wrote.
    #[error("the budget meter {path} is damaged or was altered: {reason}", path = .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: &'static str,
    },
    /// The disk failed.
    #[error("the budget meter cannot be read or written: {0}")]
    Storage(#[from] io::Error),
    /// The accountant has no answer.
    #[error(transparent)]
    Accounting(#[from] AccountingError),
}

impl MeterError {
    /// True where the budget is exhausted, and not the meter at fault.
    pub fn is_budget(&self) -> bool {
        matches!(
            self,
            Self::Contract { .. } | Self::Officer { .. } | Self::Units { .. }
        )
    }

    /// How to mend it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Contract { .. } => {
                "use the model of the last run, or agree on a new contract with a higher limit"
            }
            Self::Officer { .. } => {
                "ask the provider's data officer, who may raise the limit with `agent budget set`"
            }
            Self::Units { .. } => {
                "sign contracts of one unit of privacy for a dataset, or let the data officer decide without a limit over all of them"
            }
            Self::Count { .. } => "ask for the steps from the run's next step on",
            Self::OtherDataset(_) => "name a dataset of this agent that the contract lists",
            Self::Terms { .. } | Self::Missing { .. } | Self::Damaged { .. } => {
                "restore the agent's folder from its newest backup; the ledger knows what was leased since"
            }
            Self::Exists { .. } => "choose another folder",
            Self::Storage(_) => "make room on the agent's disk, or see why it fails",
            Self::Accounting(_) => "agree on a contract whose numbers the accountant can bound",
        }
    }
}
