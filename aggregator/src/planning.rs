//! What a run would cost in privacy, bytes, time and memory, before anything is spent.

use std::num::NonZeroUsize;
use std::time::Duration;

use serde::Serialize;
use tributary_accounting::{AccountingError, largest_steps};
use tributary_protocol::{Contract, FormatError, PartyName};
use tributary_trainer::{Graph, SetupError, TrainError, Trainer};

use crate::targets::TargetForm;
use crate::terms;
use crate::trial::step_times;

/// Trial steps are given at most this many examples; larger ones are extrapolated, since time grows with examples.
const TRIAL_EXAMPLES: usize = 1024;

/// Trial steps, after one that warms up. The median of them counts.
const TRIAL_STEPS: usize = 3;

/// Batches of each dataset that an aggregator holds at a time: those that travel ahead, and the one in training.
const BATCHES_HELD: u64 = 4;

/// The cost of one run.
#[derive(Debug, Clone, Serialize)]
pub struct RunPlan {
    /// Steps of one run.
    pub steps: u64,
    /// Runs that the contract allows.
    pub runs: u32,
    /// The probability that epsilon does not bound.
    pub delta: f64,
    /// Records in an average batch of all datasets together; of entities, at most.
    pub expected_batch: f64,
    /// What each dataset gives and pays.
    pub datasets: Vec<DatasetCost>,
    /// Bytes of batches that one run streams.
    pub bytes: u64,
    /// How long it takes, where that was measured.
    pub time: Option<TimeEstimate>,
}

/// What one dataset gives and pays in one run.
#[derive(Debug, Clone, Serialize)]
pub struct DatasetCost {
    /// The provider.
    pub owner: PartyName,
    /// The dataset.
    pub name: String,
    /// Its records.
    pub records: u64,
    /// Epsilon of one run.
    pub epsilon: f64,
    /// Epsilon of all runs that the contract allows.
    pub epsilon_of_all_runs: f64,
    /// The most that may be spent.
    pub limit: f64,
    /// Runs that keep within the limit.
    pub runs_within_limit: u64,
    /// Records in an average batch; of entities, at most.
    pub expected_batch: f64,
    /// Rows of every batch on the wire, present or padding.
    pub rows: u64,
    /// Bytes of every batch on the wire.
    pub batch_bytes: u64,
    /// Bytes of one run.
    pub bytes: u64,
}

/// How long a run takes, from a few private steps on this machine.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct TimeEstimate {
    /// Median seconds of a step.
    pub step_seconds: f64,
    /// Seconds of one run.
    pub seconds: f64,
    /// Threads that trained.
    pub threads: usize,
    /// Bytes of batches that are held at a time.
    pub batch_memory: u64,
}

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// Epsilon or the batches' rows cannot be computed.
    #[error(transparent)]
    Accounting(#[from] AccountingError),
    /// The batches cannot travel.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The trainer refuses the contract's settings.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// A setting of privacy is refused.
    #[error(transparent)]
    Privacy(#[from] tributary_trainer::PrivacyError),
    /// A trial step failed.
    #[error(transparent)]
    Train(#[from] TrainError),
}

impl RunPlan {
    /// What follows from the contract alone.
    ///
    /// # Errors
    /// Where the contract's arithmetic has no answer, or its batches cannot travel.
    pub fn of(contract: &Contract) -> Result<Self, PlanError> {
        let steps = contract.steps().get();
        let mut datasets = Vec::new();
        for plan in contract.plan()?.datasets {
            let Some(dataset) = contract.dataset(&plan.dataset) else {
                unreachable!("a plan has the contract's datasets");
            };
            let batch_bytes = contract.batch_format(dataset)?.frame_len() as u64;
            let within = largest_steps(
                contract.accountant().accountant(),
                &[],
                contract.sampling_rate(),
                contract.noise_multiplier(),
                plan.limit,
                plan.capacity.remaining_delta,
                contract.most_steps(),
            )?;
            datasets.push(DatasetCost {
                owner: plan.dataset.owner,
                name: plan.dataset.name.as_str().to_owned(),
                records: dataset.records,
                epsilon: plan.run.get(),
                epsilon_of_all_runs: plan.all_runs.get(),
                limit: plan.limit.get(),
                runs_within_limit: within.get() / steps.max(1),
                expected_batch: contract.expected_rows(dataset),
                rows: plan.rows,
                batch_bytes,
                bytes: batch_bytes.saturating_mul(steps),
            });
        }
        Ok(Self {
            steps,
            runs: contract.runs(),
            delta: contract.delta().get(),
            expected_batch: contract
                .datasets()
                .map(|(_, dataset)| contract.expected_rows(dataset))
                .sum(),
            bytes: datasets
                .iter()
                .fold(0, |sum, dataset| dataset.bytes.saturating_add(sum)),
            datasets,
            time: None,
        })
    }

    /// Takes a few private steps on made-up examples and adds how long a run would take on this machine.
    ///
    /// The weights of the trial are thrown away; no record is touched and nothing is spent.
    ///
    /// # Errors
    /// Where the trainer refuses the contract's settings.
    pub fn measured(
        mut self,
        contract: &Contract,
        graph: &Graph,
        threads: NonZeroUsize,
    ) -> Result<Self, PlanError> {
        let whole = self.expected_batch.ceil().max(1.0);
        let count = (whole as usize).clamp(1, TRIAL_EXAMPLES);
        let step = median_step(contract, graph, count, threads)?.as_secs_f64()
            * (whole / count as f64).max(1.0);
        self.time = Some(TimeEstimate {
            step_seconds: step,
            seconds: step * self.steps as f64,
            threads: threads.get(),
            batch_memory: self.datasets.iter().fold(0, |sum, dataset| {
                dataset
                    .batch_bytes
                    .saturating_mul(BATCHES_HELD)
                    .saturating_add(sum)
            }),
        });
        Ok(self)
    }
}

fn median_step(
    contract: &Contract,
    graph: &Graph,
    count: usize,
    threads: NonZeroUsize,
) -> Result<Duration, PlanError> {
    let (loss, update, privacy) = (
        terms::loss(contract),
        terms::update(contract),
        terms::privacy(contract)?,
    );
    let mut trainer = Trainer::new(graph.clone(), loss, update, privacy, threads)?;
    let inputs: Vec<f32> = (0..count * graph.input_shape().elements())
        .map(|index| (index % 251) as f32 / 125.0 - 1.0)
        .collect();
    let form = TargetForm::of(contract, graph.output_shape());
    let mut targets = form.empty();
    match form {
        TargetForm::Classes => {
            let classes = contract.document().pipeline.label.classes;
            targets.push_classes((0..count as u32).map(|index| index % classes));
        }
        TargetForm::Masks { pixels, .. } => {
            let masks: Vec<u8> = (0..count * pixels).map(|index| (index % 2) as u8).collect();
            targets.push_masks(&masks);
        }
    }
    let examples = targets.with(&inputs, None);
    let times = step_times(&mut trainer, &examples, TRIAL_STEPS)?;
    Ok(times[times.len() / 2])
}
