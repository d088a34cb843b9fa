//! What the meter remembers, and the file it keeps it in: a header, a tag, and the state in postcard, whose floating-point
//! numbers come back bit by bit.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use serde::{Deserialize, Serialize};
use tributary_accounting::{
    AccountingError, Delta, Epsilon, NoiseMultiplier, Phase, SamplingRate, Steps,
};
use tributary_protocol::{
    AccountantName, ColumnName, Contract, DatasetName, DatasetRef, Digest, RunNumber, Unit,
};

use super::refusal::MeterError;
use crate::vault::StateKey;

/// A contract with a hundred runs takes under a kilobyte; a file longer than this is another file.
const FILE_SIZE_LIMIT: u64 = 64 << 20;

const HEADER: &[u8; 16] = b"tributary-meter3";
const TAG_LENGTH: usize = 32;

/// What a contract allows and costs one dataset.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Terms {
    /// The contract.
    pub(super) contract: Digest,
    /// The dataset, of this agent.
    pub(super) dataset: DatasetName,
    /// The column that names entities, where they are the unit of privacy; else records are.
    pub(super) entity: Option<ColumnName>,
    /// The probability with which a record, or entity, takes part in a step.
    pub(super) sampling_rate: SamplingRate,
    /// The noise's standard deviation, in clipping norms.
    pub(super) noise_multiplier: NoiseMultiplier,
    /// How steps are turned into epsilon.
    pub(super) accountant: AccountantName,
    /// The most epsilon that all runs may spend.
    pub(super) limit: Epsilon,
    /// The contract's delta.
    pub(super) delta: Delta,
    /// The share of delta that is left to the accountant: see [`tributary_accounting::Capacity`].
    pub(super) noise_delta: Delta,
    /// The share of delta that each step may cost by overflow.
    pub(super) overflow_per_step: f64,
}

/// The officer's limit for a dataset, over all contracts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OfficerLimit {
    /// The most that may be spent.
    pub epsilon: Epsilon,
    /// The delta at which it is computed.
    pub delta: Delta,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) datasets: BTreeMap<DatasetName, DatasetState>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct DatasetState {
    pub(super) limit: Option<OfficerLimit>,
    pub(super) accounts: BTreeMap<Digest, Account>,
}

/// What one contract spends on one dataset.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Account {
    pub(super) rules: Rules,
    /// Steps spent, over all runs. More than the runs' together where the ledger remembers runs that this meter does not.
    pub(super) spent: u64,
    pub(super) runs: BTreeMap<RunNumber, Run>,
}

/// [`Terms`] without what the account stands under.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Rules {
    pub(super) entity: Option<ColumnName>,
    pub(super) sampling_rate: SamplingRate,
    pub(super) noise_multiplier: NoiseMultiplier,
    pub(super) accountant: AccountantName,
    pub(super) limit: Epsilon,
    pub(super) delta: Delta,
    pub(super) noise_delta: Delta,
    pub(super) overflow_per_step: f64,
}

/// Steps of a run. Where a reservation was repeated, after a crash, more are spent than the run has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Run {
    pub(super) spent: u64,
    /// Those known to be trained on.
    pub(super) settled: u64,
}

impl Terms {
    pub(super) fn of(contract: &Contract, dataset: &DatasetRef) -> Result<Self, MeterError> {
        let part = contract
            .dataset(dataset)
            .ok_or_else(|| MeterError::OtherDataset(dataset.clone()))?;
        let capacity = contract.capacity(part)?;
        let steps = contract.most_steps().get().max(1) as f64;
        Ok(Self {
            contract: contract.digest(),
            dataset: dataset.name.clone(),
            entity: match &contract.document().privacy.unit {
                Unit::Record => None,
                Unit::Entity(entity) => Some(entity.column.name.clone()),
            },
            sampling_rate: contract.sampling_rate(),
            noise_multiplier: contract.noise_multiplier(),
            accountant: contract.accountant(),
            limit: Epsilon::new(part.epsilon).map_err(AccountingError::from)?,
            delta: contract.delta(),
            noise_delta: capacity.remaining_delta,
            overflow_per_step: capacity.overflow_delta / steps,
        })
    }

    /// Epsilon after `steps` steps, over all runs.
    pub(super) fn epsilon(&self, steps: u64) -> Result<Epsilon, AccountingError> {
        self.rules().epsilon(steps)
    }

    fn rules(&self) -> Rules {
        Rules {
            entity: self.entity.clone(),
            sampling_rate: self.sampling_rate,
            noise_multiplier: self.noise_multiplier,
            accountant: self.accountant,
            limit: self.limit,
            delta: self.delta,
            noise_delta: self.noise_delta,
            overflow_per_step: self.overflow_per_step,
        }
    }
}

impl Rules {
    /// Within the steps that the contract plans, the accountant has the delta that it has in the plan; steps repeated after
    /// crashes overflow at their own cost.
    pub(super) fn epsilon(&self, steps: u64) -> Result<Epsilon, AccountingError> {
        if steps == 0 {
            return Ok(Epsilon::ZERO);
        }
        let left = self.delta.get() - self.overflow_per_step * steps as f64;
        match Delta::new(left.min(self.noise_delta.get())) {
            Ok(delta) => {
                let accountant = self.accountant.accountant();
                accountant.epsilon(&[self.phase(steps)], delta)
            }
            // Overflow alone has used up delta.
            Err(_) => Epsilon::new(f64::INFINITY).map_err(AccountingError::from),
        }
    }

    fn phase(&self, steps: u64) -> Phase {
        Phase {
            sampling_rate: self.sampling_rate,
            noise_multiplier: self.noise_multiplier,
            steps: Steps::new(steps),
        }
    }
}

/// Epsilon of several contracts on one dataset, each with its steps, at one delta that bears the overflow of all. By the
/// closer accountant as soon as one of the contracts names it: what any of them says is an upper bound.
///
/// Without bound where the units of privacy differ: an epsilon of records bounds nothing for a patient who has many, nor one
/// of patients anything for a record, which is exchanged and not removed when its patient's clipped sum changes.
pub(super) fn composed_epsilon<'a>(
    accounts: impl Iterator<Item = (&'a Rules, u64)>,
    delta: Delta,
) -> Result<Epsilon, AccountingError> {
    let mut phases = Vec::new();
    let mut left = delta.get();
    let mut name = AccountantName::Rdp;
    let mut unit = None;
    for (rules, steps) in accounts.filter(|(_, steps)| *steps > 0) {
        if *unit.get_or_insert(&rules.entity) != &rules.entity {
            return Epsilon::new(f64::INFINITY).map_err(AccountingError::from);
        }
        phases.push(rules.phase(steps));
        left -= rules.overflow_per_step * steps as f64;
        if rules.accountant == AccountantName::Pld {
            name = AccountantName::Pld;
        }
    }
    if phases.is_empty() {
        return Ok(Epsilon::ZERO);
    }
    match Delta::new(left) {
        Ok(delta) => name.accountant().epsilon(&phases, delta),
        Err(_) => Epsilon::new(f64::INFINITY).map_err(AccountingError::from),
    }
}

impl State {
    pub(super) fn dataset(&self, name: &DatasetName) -> DatasetState {
        self.datasets.get(name).cloned().unwrap_or_default()
    }

    pub(super) fn dataset_mut(&mut self, name: &DatasetName) -> &mut DatasetState {
        self.datasets.entry(name.clone()).or_default()
    }

    /// The bytes of the file.
    pub(super) fn seal(&self, key: &StateKey) -> Result<Vec<u8>, MeterError> {
        let body = postcard::to_allocvec(self).map_err(io::Error::other)?;
        let tag = key.tag(&[HEADER.as_slice(), &body].concat());
        Ok([HEADER.as_slice(), &tag, &body].concat())
    }

    /// Reads the file; refuses one that `key` did not seal.
    pub(super) fn read(path: &Path, key: &StateKey) -> Result<Self, MeterError> {
        let damaged = |reason| MeterError::Damaged {
            path: path.to_owned(),
            reason,
        };
        let mut bytes = Vec::new();
        match File::open(path) {
            Ok(file) => file.take(FILE_SIZE_LIMIT + 1).read_to_end(&mut bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(MeterError::Missing {
                    path: path.to_owned(),
                });
            }
            Err(error) => return Err(error.into()),
        };
        if bytes.len() as u64 > FILE_SIZE_LIMIT {
            return Err(damaged("it is too long"));
        }
        let (header, rest) = bytes
            .split_first_chunk::<{ HEADER.len() }>()
            .ok_or_else(|| damaged("it is too short"))?;
        let (tag, body) = rest
            .split_first_chunk::<TAG_LENGTH>()
            .ok_or_else(|| damaged("it is too short"))?;
        if header != HEADER {
            return Err(damaged("it does not begin as a meter does"));
        }
        if !key.verify(&[HEADER.as_slice(), body].concat(), tag) {
            return Err(damaged("its tag does not match its contents"));
        }
        postcard::from_bytes(body).map_err(|_| damaged("its contents are not a meter's"))
    }
}

impl DatasetState {
    /// The account of a contract, which begins with these terms and keeps them.
    pub(super) fn account_mut(&mut self, terms: &Terms) -> Result<&mut Account, MeterError> {
        let account = self
            .accounts
            .entry(terms.contract)
            .or_insert_with(|| Account {
                rules: terms.rules(),
                spent: 0,
                runs: BTreeMap::new(),
            });
        if account.rules == terms.rules() {
            Ok(account)
        } else {
            Err(MeterError::Terms {
                dataset: terms.dataset.clone(),
                contract: terms.contract,
            })
        }
    }
}

impl Account {
    pub(super) fn terms(&self, contract: Digest, dataset: &DatasetName) -> Terms {
        let rules = self.rules.clone();
        Terms {
            entity: rules.entity,
            contract,
            dataset: dataset.clone(),
            sampling_rate: rules.sampling_rate,
            noise_multiplier: rules.noise_multiplier,
            accountant: rules.accountant,
            limit: rules.limit,
            delta: rules.delta,
            noise_delta: rules.noise_delta,
            overflow_per_step: rules.overflow_per_step,
        }
    }

    /// Spends steps of a run. Those before `first_step` were leased, so they are spent as well, by whomever.
    pub(super) fn spend(&mut self, run: RunNumber, first_step: u64, count: u64) {
        let run = self.runs.entry(run).or_default();
        run.spent = run.spent.max(first_step).saturating_add(count);
        self.spent = self.spent.saturating_add(count).max(self.of_runs());
    }

    /// What [`Account::spend`] would make of the total.
    pub(super) fn spent_with(&self, run: RunNumber, first_step: u64, count: u64) -> u64 {
        let mut after = self.clone();
        after.spend(run, first_step, count);
        after.spent
    }

    /// Takes over what the ledger remembers, where it is more.
    pub(super) fn raise(&mut self, run: RunNumber, leased: u64, leased_in_all_runs: u64) {
        let run = self.runs.entry(run).or_default();
        run.spent = run.spent.max(leased);
        self.spent = self.spent.max(leased_in_all_runs).max(self.of_runs());
    }

    pub(super) fn settle(&mut self, run: RunNumber, through: u64) {
        if let Some(run) = self.runs.get_mut(&run) {
            run.settled = run.settled.max(through.min(run.spent));
        }
    }

    fn of_runs(&self) -> u64 {
        let runs = self.runs.values();
        runs.fold(0, |sum, run| run.spent.saturating_add(sum))
    }
}
