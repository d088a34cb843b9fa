//! What a data officer reads about the budget.

use serde::Serialize;
use tributary_accounting::{Delta, Epsilon, Steps};
use tributary_protocol::{DatasetName, Digest, RunNumber};

use super::refusal::MeterError;
use super::state::{Account, DatasetState, OfficerLimit, composed_epsilon};

/// More steps than any run takes: beyond it a report says so many and no more.
const REMAINING_STEPS_LIMIT: u64 = 1 << 32;

/// What is spent of a dataset.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DatasetReport {
    /// The dataset.
    pub dataset: DatasetName,
    /// The officer's limit, where one is set.
    pub limit: Option<OfficerLimit>,
    /// Spent by all contracts together, at `delta`.
    pub spent: Epsilon,
    /// The officer's delta, else the smallest of the contracts'; `None` where there is neither.
    pub delta: Option<Delta>,
    /// Each contract's part.
    pub contracts: Vec<ContractReport>,
}

/// What one contract spends of a dataset.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ContractReport {
    /// The contract.
    pub contract: Digest,
    /// Its limit.
    pub limit: Epsilon,
    /// Its delta.
    pub delta: Delta,
    /// Spent: by steps trained on, and by steps leased and not settled.
    pub spent: Epsilon,
    /// How many steps that are, over all runs.
    pub steps: Steps,
    /// What the steps that are known to be trained on spend by themselves.
    pub settled: Epsilon,
    /// More steps that fit into this limit and the officer's.
    pub remaining: Steps,
    /// Each run's part.
    pub runs: Vec<RunReport>,
}

/// Steps of one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct RunReport {
    /// The run.
    pub run: RunNumber,
    /// Steps known to be trained on.
    pub settled: Steps,
    /// Steps leased besides: spent as well, whatever became of them.
    pub leased: Steps,
}

pub(super) fn of(name: &DatasetName, dataset: &DatasetState) -> Result<DatasetReport, MeterError> {
    let deltas = dataset.accounts.values().map(|account| account.rules.delta);
    let smallest = deltas.reduce(|a, b| if b < a { b } else { a });
    let delta = dataset.limit.map(|limit| limit.delta).or(smallest);
    let spent = match delta {
        Some(delta) => {
            let accounts = dataset.accounts.values();
            composed_epsilon(accounts.map(|a| (&a.rules, a.spent)), delta)?
        }
        None => Epsilon::ZERO,
    };
    let contracts = dataset
        .accounts
        .iter()
        .map(|(contract, account)| of_contract(name, *contract, account, dataset))
        .collect::<Result<_, _>>()?;
    Ok(DatasetReport {
        dataset: name.clone(),
        limit: dataset.limit,
        spent,
        delta,
        contracts,
    })
}

fn of_contract(
    name: &DatasetName,
    contract: Digest,
    account: &Account,
    dataset: &DatasetState,
) -> Result<ContractReport, MeterError> {
    let settled = account.runs.values().map(|run| run.settled);
    let terms = account.terms(contract, name);
    Ok(ContractReport {
        contract,
        limit: terms.limit,
        delta: terms.delta,
        spent: terms.epsilon(account.spent)?,
        steps: Steps::new(account.spent),
        settled: terms.epsilon(settled.fold(0, u64::saturating_add))?,
        remaining: dataset.affordable(&terms, account.spent, Steps::new(REMAINING_STEPS_LIMIT))?,
        runs: account
            .runs
            .iter()
            .map(|(run, steps)| RunReport {
                run: *run,
                settled: Steps::new(steps.settled),
                leased: Steps::new(steps.spent - steps.settled),
            })
            .collect(),
    })
}
