//! Training by DP-SGD (Abadi et al. 2016, algorithm 1), each thread taking tiles of examples as it is free.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};

use thiserror::Error;

use crate::evaluate::{EvaluateError, evaluate_flat};
use crate::examples::{Examples, ExamplesError};
use crate::graph::Graph;
use crate::grid::{Grid, GridError};
use crate::lanes::Isa;
use crate::loss::{Loss, LossConfig, LossError};
use crate::metrics::Metrics;
use crate::noise::{NoiseError, NoiseSource, SigmaInt};
use crate::optimiser::OptimiserError;
use crate::parameters::{Parameters, ParametersError};
use crate::privacy::PrivacySettings;
use crate::state::TrainerState;
use crate::update::{Update, UpdateConfig};
use crate::worker::Worker;

/// Trains a graph, one private step at a time.
///
/// ```
/// use std::num::NonZeroUsize;
/// use tributary_trainer::{Examples, Graph, LossConfig, OptimiserConfig, PrivacySettings, Trainer, models};
///
/// let graph = Graph::from_onnx(&models::mnist_cnn(1))?;
/// let optimiser = OptimiserConfig::Sgd { learning_rate: 0.5, momentum: 0.9 };
/// let privacy = PrivacySettings::new(1.0, 1.1, 2.0)?;
/// let mut trainer = Trainer::new(graph, LossConfig::CrossEntropy, optimiser, privacy, NonZeroUsize::MIN)?;
/// let report = trainer.step(&Examples::labelled(&vec![0.5; 2 * 784], &[3, 8]))?;
/// assert_eq!((report.step, report.examples, report.poisoned), (1, 2, 0));
/// let weights = trainer.parameters()?.to_safetensors()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Trainer {
    graph: Graph,
    loss_config: LossConfig,
    loss: Box<dyn Loss>,
    update: Update,
    mechanism: Mechanism,
    threads: NonZeroUsize,
    workers: Vec<Worker>,
    weights: Vec<f32>,
    gradient: Vec<f32>,
    step: u64,
}

/// Why a trainer cannot be made.
#[derive(Debug, Error)]
pub enum SetupError {
    /// The optimiser's settings.
    #[error(transparent)]
    Optimiser(#[from] OptimiserError),
    /// The loss and the graph.
    #[error(transparent)]
    Loss(#[from] LossError),
    /// The clipping norm and the number of parameters.
    #[error(transparent)]
    Grid(#[from] GridError),
    /// The noise multiplier.
    #[error(transparent)]
    Noise(#[from] NoiseError),
    /// A state of another run.
    #[error(
        "the saved state does not continue this run: {0}; resume with the model, the loss and the optimiser that it was saved with"
    )]
    State(&'static str),
}

/// Why a step was not taken. Weights and optimiser are as before it, except after [`TrainError::Diverged`].
#[derive(Debug, Error)]
pub enum TrainError {
    /// Inputs and labels do not fit.
    #[error(transparent)]
    Examples(#[from] ExamplesError),
    /// More examples than the sums can hold.
    #[error("{0} examples in a step; at most {most} can be summed", most = Grid::MAX_EXAMPLES)]
    TooMany(usize),
    /// There was no noise to be had.
    #[error(transparent)]
    Noise(#[from] NoiseError),
    /// The weights are no longer finite.
    #[error("weights are not finite after step {step}; train again with a smaller learning rate")]
    Diverged {
        /// The step.
        step: u64,
    },
}

/// What one step did.
///
/// How many gradients were clipped is not in it: that is private.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepReport {
    /// The step's number, from 1.
    pub step: u64,
    /// Examples that were given. Private where the batch was sampled.
    pub examples: usize,
    /// Examples among them that contributed nothing, for a label out of range, or for an input, a loss or a gradient that
    /// is not a finite number. Private.
    pub poisoned: usize,
}

impl Trainer {
    /// A trainer at its first step, from the weights in the graph's file.
    ///
    /// # Errors
    /// Where the settings are out of range or do not fit the graph.
    pub fn new(
        graph: Graph,
        loss: LossConfig,
        update: impl Into<UpdateConfig>,
        privacy: PrivacySettings,
        threads: NonZeroUsize,
    ) -> Result<Self, SetupError> {
        let noise = NoiseSource::from_system();
        let mechanism = Mechanism::private(&graph, privacy, noise)?;
        Self::with_mechanism(graph, loss, update.into(), mechanism, threads)
    }

    /// A trainer that goes on where another stopped.
    ///
    /// # Errors
    /// As [`Trainer::new`], and where the state is of another model or optimiser.
    pub fn resume(
        graph: Graph,
        loss: LossConfig,
        update: impl Into<UpdateConfig>,
        privacy: PrivacySettings,
        threads: NonZeroUsize,
        state: TrainerState,
    ) -> Result<Self, SetupError> {
        let mut trainer = Self::new(graph, loss, update, privacy, threads)?;
        trainer.restore(state)?;
        Ok(trainer)
    }

    /// A trainer that neither clips nor adds noise, for comparison: the mean gradient of the batch as it is.
    ///
    /// **What it trains reveals its examples.**
    ///
    /// # Errors
    /// As [`Trainer::new`].
    pub fn danger_without_privacy(
        graph: Graph,
        loss: LossConfig,
        update: impl Into<UpdateConfig>,
        threads: NonZeroUsize,
    ) -> Result<Self, SetupError> {
        Self::with_mechanism(graph, loss, update.into(), Mechanism::None, threads)
    }

    /// A trainer whose noise can be repeated.
    #[cfg(test)]
    pub(crate) fn with_noise(
        graph: Graph,
        update: impl Into<UpdateConfig>,
        privacy: PrivacySettings,
        threads: NonZeroUsize,
        noise: NoiseSource,
    ) -> Result<Self, SetupError> {
        let mechanism = Mechanism::private(&graph, privacy, noise)?;
        Self::with_mechanism(
            graph,
            LossConfig::CrossEntropy,
            update.into(),
            mechanism,
            threads,
        )
    }

    fn with_mechanism(
        graph: Graph,
        loss_config: LossConfig,
        update: UpdateConfig,
        mechanism: Mechanism,
        threads: NonZeroUsize,
    ) -> Result<Self, SetupError> {
        let loss = loss_config.build(graph.output_shape())?;
        let update = Update::new(update, graph.initial_weights())?;
        let isa = Isa::best();
        let workers = (0..threads.get())
            .map(|_| Worker::new(&graph, isa, mechanism.grid()))
            .collect();
        let weights = graph.initial_weights().to_vec();
        let gradient = vec![0.0; weights.len()];
        Ok(Self {
            graph,
            loss_config,
            loss,
            update,
            mechanism,
            threads,
            workers,
            weights,
            gradient,
            step: 0,
        })
    }

    /// The graph that is trained.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Steps taken.
    pub fn steps(&self) -> u64 {
        self.step
    }

    /// Takes one step. A batch without examples is still a step, of noise alone.
    ///
    /// # Errors
    /// Where the examples do not fit the graph, there is no randomness, or the weights are no longer finite.
    pub fn step(&mut self, examples: &Examples<'_>) -> Result<StepReport, TrainError> {
        let count = examples.count(&self.graph)?;
        if count as u64 > Grid::MAX_EXAMPLES {
            return Err(TrainError::TooMany(count));
        }
        self.sum_gradients(examples);
        let poisoned = self.workers.iter().map(|worker| worker.poisoned).sum();
        self.mechanism
            .mean(&mut self.workers, count, self.threads, &mut self.gradient)?;
        self.step += 1;
        self.update
            .step(self.step, &mut self.weights, &mut self.gradient);
        if !self.weights.iter().all(|weight| weight.is_finite()) {
            return Err(TrainError::Diverged { step: self.step });
        }
        Ok(StepReport {
            step: self.step,
            examples: count,
            poisoned,
        })
    }

    /// The weights as they stand: their average, where one is kept.
    ///
    /// # Errors
    /// Where candle cannot hold them.
    pub fn parameters(&self) -> Result<Parameters, ParametersError> {
        Parameters::from_flat(&self.graph, self.update.best(&self.weights))
    }

    /// Metrics of the weights that [`Trainer::parameters`] gives.
    ///
    /// # Errors
    /// As [`crate::evaluate`].
    pub fn evaluate(&self, examples: &Examples<'_>) -> Result<Metrics, EvaluateError> {
        evaluate_flat(
            &self.graph,
            self.update.best(&self.weights),
            &self.loss_config,
            examples,
            self.threads,
        )
    }

    /// What to save in order to go on later.
    pub fn state(&self) -> TrainerState {
        TrainerState {
            model: self.graph.digest(),
            loss: self.loss_config.clone(),
            step: self.step,
            weights: self.weights.clone(),
            update: self.update.state(),
        }
    }

    fn restore(&mut self, state: TrainerState) -> Result<(), SetupError> {
        if state.model != self.graph.digest() {
            return Err(SetupError::State("it is of another model"));
        }
        if state.loss != self.loss_config {
            return Err(SetupError::State("it was trained by another loss"));
        }
        if state.weights.len() != self.weights.len() {
            return Err(SetupError::State("it has another number of weights"));
        }
        if !state.weights.iter().all(|weight| weight.is_finite()) {
            return Err(SetupError::State("it holds numbers that are not finite"));
        }
        self.update
            .restore(&state.update)
            .map_err(SetupError::State)?;
        self.weights = state.weights;
        self.step = state.step;
        Ok(())
    }

    /// Leaves each worker's sum of clipped gradients in it.
    fn sum_gradients(&mut self, examples: &Examples<'_>) {
        let (graph, weights, loss, grid) = (
            &self.graph,
            &self.weights,
            &*self.loss,
            self.mechanism.grid(),
        );
        let next = AtomicUsize::new(0);
        let work = |worker: &mut Worker| {
            worker.clear();
            while let Some(tile) =
                examples.tile(graph, next.fetch_add(1, Ordering::Relaxed), worker.width())
            {
                worker.add(graph, weights, loss, grid, &tile);
            }
        };
        std::thread::scope(|scope| {
            let mut workers = self.workers.iter_mut();
            let own = workers.next();
            for worker in workers {
                let work = &work;
                scope.spawn(move || work(worker));
            }
            own.map(work);
        });
    }
}

impl fmt::Debug for Trainer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trainer")
            .field("model", &self.graph.digest())
            .field("update", self.update.config())
            .field("threads", &self.threads)
            .field("step", &self.step)
            .finish_non_exhaustive()
    }
}

/// How a batch's gradients become one.
enum Mechanism {
    Private {
        settings: PrivacySettings,
        grid: Grid,
        sigma: SigmaInt,
        noise: NoiseSource,
    },
    None,
}

impl Mechanism {
    fn private(
        graph: &Graph,
        settings: PrivacySettings,
        noise: NoiseSource,
    ) -> Result<Self, SetupError> {
        let grid = Grid::new(settings.clipping_norm(), graph.parameter_count())?;
        let sigma = grid.sigma(settings.noise_multiplier())?;
        Ok(Self::Private {
            settings,
            grid,
            sigma,
            noise,
        })
    }

    /// What clips, where anything does.
    fn grid(&self) -> Option<Grid> {
        match self {
            Self::Private { grid, .. } => Some(*grid),
            Self::None => None,
        }
    }

    /// Merges the workers' sums into the gradient that the optimiser follows.
    fn mean(
        &mut self,
        workers: &mut [Worker],
        examples: usize,
        threads: NonZeroUsize,
        gradient: &mut [f32],
    ) -> Result<(), NoiseError> {
        let Some((first, rest)) = workers.split_first_mut() else {
            return Ok(());
        };
        match self {
            Self::Private {
                settings,
                grid,
                sigma,
                noise,
            } => {
                let sums = &mut first.sums;
                for worker in rest {
                    sums.iter_mut()
                        .zip(&worker.sums)
                        .for_each(|(sum, other)| *sum += other);
                }
                noise.add_with_threads(sums, *sigma, threads)?;
                grid.mean_to_f32(sums, settings.expected_batch_size(), gradient);
            }
            Self::None => {
                gradient.copy_from_slice(&first.plain_sums);
                for worker in rest {
                    gradient
                        .iter_mut()
                        .zip(&worker.plain_sums)
                        .for_each(|(sum, other)| *sum += other);
                }
                let share = 1.0 / examples.max(1) as f32;
                gradient.iter_mut().for_each(|value| *value *= share);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
