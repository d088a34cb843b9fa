//! Steps that are taken to see what a step costs: on made-up examples, with a trainer that is thrown away.

use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use serde::Serialize;
use tributary_console::{ByteSize, peak_rss, restart_peak_rss};
use tributary_trainer::{
    Examples, Graph, LossConfig, OptimiserConfig, PrivacyError, PrivacySettings, SetupError,
    TrainError, Trainer,
};

/// Steps that are timed, after one that warms up; fewer where they take long. The median of them counts.
const STEPS: usize = 9;

/// No further step is begun after this time, so that large networks are told about within a minute or so.
const LONG: Duration = Duration::from_secs(5);

/// Made-up inputs and targets of a step may take so many bytes.
const EXAMPLES_LIMIT: u64 = 2 << 30;

/// What a step of a network costs on this machine.
#[derive(Debug, Clone, Serialize)]
pub struct MeasuredStep {
    /// Examples of the step.
    pub batch: usize,
    /// Threads that trained.
    pub threads: usize,
    /// With clipping and noise.
    pub private: StepCost,
    /// Without either: the same network, loss and optimiser.
    pub plain: StepCost,
}

/// Time and memory of a step.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct StepCost {
    /// Median seconds of a step.
    pub seconds: f64,
    /// Seconds of the fastest.
    pub fastest_seconds: f64,
    /// Steps that were timed.
    pub steps: usize,
    /// Bytes that this process held resident at most while it stepped: the file, weights, optimiser, examples, sums and all
    /// intermediate results, and the program itself. None where the system does not tell.
    pub memory: Option<u64>,
}

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrialError {
    /// The examples do not fit.
    #[error(
        "expected examples of at most {limit} in all, {batch} of this network take {got}", limit = ByteSize::bytes(EXAMPLES_LIMIT)
    )]
    TooMany {
        /// Examples.
        batch: usize,
        /// What they take.
        got: ByteSize,
    },
    /// The trainer refuses the network.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// A setting of privacy is refused.
    #[error(transparent)]
    Privacy(#[from] PrivacyError),
    /// A step failed.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// Not all of a made-up step was computed.
    #[error(
        "{poisoned} of {batch} made-up examples gave no finite gradient, so that their step tells nothing"
    )]
    Poisoned {
        /// Examples without one.
        poisoned: usize,
        /// All.
        batch: usize,
    },
}

/// Takes a few steps of `batch` made-up examples of the network's shape, with and without privacy, by gradient descent with
/// momentum.
///
/// # Errors
/// Where the trainer refuses the network, or the examples would take too much memory.
pub fn measure_step(
    graph: &Graph,
    batch: NonZeroUsize,
    threads: NonZeroUsize,
) -> Result<MeasuredStep, TrialError> {
    let examples = MadeUp::new(graph, batch.get())?;
    let update = OptimiserConfig::Sgd {
        // So small that no network diverges.
        learning_rate: 1e-6,
        momentum: 0.9,
    };
    let loss = examples.loss();
    // Without privacy first: it holds less, so that what the allocator keeps of it does not swell the other's peak.
    let plain = {
        let from_here = restart_peak_rss().is_ok();
        let (graph, loss) = (graph.clone(), loss.clone());
        let trainer = Trainer::danger_without_privacy(graph, loss, update, threads)?;
        examples.cost(trainer, from_here)?
    };
    let private = {
        let from_here = restart_peak_rss().is_ok();
        let privacy = PrivacySettings::new(1.0, 1.0, batch.get() as f64)?;
        let trainer = Trainer::new(graph.clone(), loss, update, privacy, threads)?;
        examples.cost(trainer, from_here)?
    };
    Ok(MeasuredStep {
        batch: batch.get(),
        threads: threads.get(),
        private,
        plain,
    })
}

/// The times of a few steps, ascending, after one that warms up.
pub(crate) fn step_times(
    trainer: &mut Trainer,
    examples: &Examples<'_>,
    most: usize,
) -> Result<Vec<Duration>, TrainError> {
    let begun = Instant::now();
    trainer.step(examples)?;
    let mut times = Vec::new();
    while times.is_empty() || (times.len() < most && begun.elapsed() < LONG) {
        let start = Instant::now();
        trainer.step(examples)?;
        times.push(start.elapsed());
    }
    times.sort_unstable();
    Ok(times)
}

/// Examples of zeros and ones: in every network's range, numbers of tokens included.
struct MadeUp {
    inputs: Vec<f32>,
    targets: MadeUpTargets,
    batch: usize,
}

enum MadeUpTargets {
    Labels(Vec<u32>),
    Values(Vec<f32>),
}

impl MadeUp {
    fn new(graph: &Graph, batch: usize) -> Result<Self, TrialError> {
        let (input, output) = (graph.input_shape(), graph.output_shape());
        let labelled = output.dims().len() == 1 && output.elements() > 1;
        let numbers = input.elements() + if labelled { 1 } else { output.elements() };
        let bytes = (batch as u64).saturating_mul(4 * numbers as u64);
        if bytes > EXAMPLES_LIMIT {
            return Err(TrialError::TooMany {
                batch,
                got: ByteSize::bytes(bytes),
            });
        }
        let mut bits = 0x9e37_79b9_u32;
        // Marsaglia's xorshift: unlike a stripe, it gives no layer a pattern that is easier than others.
        let mut bit = || {
            bits ^= bits << 13;
            bits ^= bits >> 17;
            bits ^= bits << 5;
            (bits >> 16 & 1) as f32
        };
        let inputs = (0..batch * input.elements()).map(|_| bit()).collect();
        let targets = if labelled {
            let classes = output.elements() as u32;
            MadeUpTargets::Labels((0..batch as u32).map(|index| index % classes).collect())
        } else {
            MadeUpTargets::Values((0..batch * output.elements()).map(|_| bit()).collect())
        };
        Ok(Self {
            inputs,
            targets,
            batch,
        })
    }

    fn loss(&self) -> LossConfig {
        match self.targets {
            MadeUpTargets::Labels(_) => LossConfig::CrossEntropy,
            MadeUpTargets::Values(_) => LossConfig::BceWithLogits {
                positive_weight: 1.0,
            },
        }
    }

    /// `from_here` says whether the peak of memory counts from when the trainer was made, which is told only then.
    fn cost(&self, mut trainer: Trainer, from_here: bool) -> Result<StepCost, TrialError> {
        let examples = match &self.targets {
            MadeUpTargets::Labels(labels) => Examples::labelled(&self.inputs, labels),
            MadeUpTargets::Values(values) => Examples::valued(&self.inputs, values),
        };
        let poisoned = trainer.step(&examples)?.poisoned;
        if poisoned > 0 {
            return Err(TrialError::Poisoned {
                poisoned,
                batch: self.batch,
            });
        }
        let times = step_times(&mut trainer, &examples, STEPS)?;
        Ok(StepCost {
            seconds: times[times.len() / 2].as_secs_f64(),
            fastest_seconds: times[0].as_secs_f64(),
            steps: times.len(),
            memory: (peak_rss().ok().filter(|_| from_here)).map(ByteSize::as_bytes),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tributary_trainer::models;

    #[test]
    fn labelled_and_dense_networks_are_measured_with_and_without_privacy() {
        for model in [models::mnist_cnn(1), models::unet(1)] {
            let graph = Graph::from_onnx(&model).unwrap();
            let batch = NonZeroUsize::new(2).unwrap();
            let measured = measure_step(&graph, batch, NonZeroUsize::MIN).unwrap();
            assert_eq!((measured.batch, measured.threads), (2, 1));
            for cost in [measured.private, measured.plain] {
                assert!(cost.seconds > 0.0 && cost.fastest_seconds <= cost.seconds);
                assert!((1..=STEPS).contains(&cost.steps));
                // Weights, a gradient, sums and momentum at least.
                assert!(cost.memory.unwrap() > 12 * graph.parameter_count() as u64);
            }
        }
    }

    #[test]
    fn a_batch_that_would_take_all_memory_is_refused() {
        let graph = Graph::from_onnx(&models::mnist_cnn(1)).unwrap();
        let batch = NonZeroUsize::new(1 << 40).unwrap();
        let refused = measure_step(&graph, batch, NonZeroUsize::MIN).unwrap_err();
        assert!(matches!(refused, TrialError::TooMany { .. }), "{refused}");
    }
}
