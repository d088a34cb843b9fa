//! Training by DP-SGD (Abadi et al. 2016, algorithm 1), each thread taking tiles of examples as it is free.

use std::collections::HashSet;
use std::fmt;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use thiserror::Error;

use crate::evaluate::{EvaluateError, evaluate_flat};
use crate::examples::{Examples, ExamplesError};
use crate::graph::{Graph, GraphError};
use crate::grid::{Grid, GridError};
use crate::group::{GradientPlan, GradientPlanError, Job, Packed};
use crate::loss::{Loss, LossConfig, LossError};
use crate::mechanism::{Mechanism, MechanismError};
use crate::metrics::Metrics;
use crate::noise::{NoiseError, NoiseSource};
use crate::optimiser::OptimiserError;
use crate::parameters::{Parameters, ParametersError};
use crate::privacy::{PrivacyError, PrivacySettings};
use crate::state::TrainerState;
use crate::update::{Update, UpdateConfig};
use crate::worker::{Worker, cut};

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
    packed: Packed,
    weights: Vec<f32>,
    gradient: Vec<f32>,
    step: u64,
    /// Parts of a step that is not finished.
    pending: Option<Pending>,
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
    /// The privacy settings.
    #[error(transparent)]
    Privacy(#[from] PrivacyError),
    /// A graph whose examples would influence one another's gradients.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The plan for per-example gradients.
    #[error(transparent)]
    Gradients(#[from] GradientPlanError),
    /// A state of another run.
    #[error(
        "the saved state does not continue this run: {0}; resume with the model, the loss, the optimiser and the clipping that it was saved with"
    )]
    State(&'static str),
}

impl From<MechanismError> for SetupError {
    fn from(error: MechanismError) -> Self {
        match error {
            MechanismError::Grid(error) => error.into(),
            MechanismError::Noise(error) => error.into(),
            MechanismError::Privacy(error) => error.into(),
        }
    }
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
    /// Not one entity id for each example.
    #[error("{entities} entity ids for {examples} examples; expected one id for each example")]
    EntityCount {
        /// Ids given.
        entities: usize,
        /// Examples given.
        examples: usize,
    },
    /// An entity comes up again after another.
    #[error(
        "example {example} belongs to an entity that other examples have ended; sort the examples of a step by entity"
    )]
    EntityScattered {
        /// The example's number, from 0.
        example: usize,
    },
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
    /// As [`Trainer::new`], and where the state is of another model, loss, optimiser or clipping.
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
        if mechanism.clipper().is_some() {
            graph.check_private_training()?;
        }
        let loss = loss_config.build(graph.output_shape())?;
        let update = Update::new(update, graph.initial_weights(), graph.frozen())?;
        let workers = Worker::all(
            &graph,
            &GradientPlan::default(),
            mechanism.clipper().is_some(),
            threads.get(),
        )?;
        let packed = Packed::new(&graph);
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
            packed,
            weights,
            gradient,
            step: 0,
            pending: None,
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

    /// Chooses how per-example gradients are computed. The choice changes speed and memory, not what is learnt.
    ///
    /// # Errors
    /// Where the plan does not fit the graph.
    pub fn with_gradients(mut self, plan: &GradientPlan) -> Result<Self, SetupError> {
        let private = self.mechanism.clipper().is_some();
        self.workers = Worker::all(&self.graph, plan, private, self.threads.get())?;
        self.pending = None;
        Ok(self)
    }

    /// Takes one step. A batch without examples is still a step, of noise alone.
    ///
    /// # Errors
    /// Where the examples do not fit the graph, there is no randomness, or the weights are no longer finite.
    pub fn step(&mut self, examples: &Examples<'_>) -> Result<StepReport, TrainError> {
        self.pending = None;
        self.accumulate(examples)?;
        self.finish_step()
    }

    /// Takes one step whose unit of privacy is an entity: the gradients of all examples of an entity are summed, and the
    /// sum is clipped. There is one id for each example, and the examples of an entity follow one another.
    ///
    /// # Errors
    /// As [`Trainer::step`], and where the ids are not so.
    pub fn step_by_entity(
        &mut self,
        examples: &Examples<'_>,
        entities: &[u64],
    ) -> Result<StepReport, TrainError> {
        self.pending = None;
        self.accumulate_by_entity(examples, entities)?;
        self.finish_step()
    }

    /// Adds the clipped gradients of a part of a step's examples. A batch that does not fit memory comes in several such
    /// parts; [`Trainer::finish_step`] then adds the noise, once.
    ///
    /// # Errors
    /// Where the examples do not fit the graph; then nothing was added.
    pub fn accumulate(&mut self, examples: &Examples<'_>) -> Result<(), TrainError> {
        let count = examples.count(&self.graph)?;
        let entities: Vec<Range<usize>> = (0..count).map(|at| at..at + 1).collect();
        self.sum_gradients(examples, &entities)
    }

    /// As [`Trainer::accumulate`], by entity as [`Trainer::step_by_entity`]. An entity's examples must all be in one part.
    ///
    /// # Errors
    /// As [`Trainer::accumulate`], and where the ids are not so.
    pub fn accumulate_by_entity(
        &mut self,
        examples: &Examples<'_>,
        entities: &[u64],
    ) -> Result<(), TrainError> {
        let count = examples.count(&self.graph)?;
        if entities.len() != count {
            return Err(TrainError::EntityCount {
                entities: entities.len(),
                examples: count,
            });
        }
        let mut ranges: Vec<Range<usize>> = Vec::new();
        let mut seen = HashSet::new();
        for (index, id) in entities.iter().enumerate() {
            match ranges.last_mut() {
                Some(range) if entities[range.start] == *id => range.end = index + 1,
                _ => {
                    let earlier = self.pending.as_ref();
                    if !seen.insert(*id) || earlier.is_some_and(|step| step.entities.contains(id)) {
                        return Err(TrainError::EntityScattered { example: index });
                    }
                    ranges.push(index..index + 1);
                }
            }
        }
        self.sum_gradients(examples, &ranges)?;
        if let Some(pending) = &mut self.pending {
            pending.entities.extend(seen);
        }
        Ok(())
    }

    /// Ends a step whose examples came in parts: adds noise, once, and moves the weights. Without any part it is a step of
    /// noise alone.
    ///
    /// # Errors
    /// As [`Trainer::step`].
    pub fn finish_step(&mut self) -> Result<StepReport, TrainError> {
        let pending = self.pending.take().unwrap_or_default();
        if pending.examples == 0 {
            self.workers.iter_mut().for_each(Worker::clear);
        }
        let tallies = self.workers.iter().map(|worker| worker.sums.tally.poisoned);
        let poisoned = tallies.sum();
        self.mechanism.mean(
            self.workers.iter_mut().map(Worker::finish),
            pending.examples,
            self.threads,
            &mut self.gradient,
        )?;
        self.step += 1;
        self.update
            .step(self.step, &mut self.weights, &mut self.gradient);
        if !self.weights.iter().all(|weight| weight.is_finite()) {
            return Err(TrainError::Diverged { step: self.step });
        }
        Ok(StepReport {
            step: self.step,
            examples: pending.examples,
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
            clipping: self.mechanism.clipping(),
            clipping_norm: self.mechanism.adapted_norm(),
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
        if state.clipping != self.mechanism.clipping() {
            return Err(SetupError::State("its gradients were clipped otherwise"));
        }
        if !self.mechanism.restore_norm(state.clipping_norm) {
            return Err(SetupError::State("its clipping norm is none"));
        }
        self.weights = state.weights;
        self.step = state.step;
        Ok(())
    }

    /// Adds to each worker's sum of clipped gradients.
    fn sum_gradients(
        &mut self,
        examples: &Examples<'_>,
        entities: &[Range<usize>],
    ) -> Result<(), TrainError> {
        let before = self.pending.as_ref().map_or(0, |pending| pending.examples);
        let count = entities.last().map_or(0, |last| last.end);
        let total = before + count;
        if total as u64 > Grid::MAX_EXAMPLES {
            return Err(TrainError::TooMany(total));
        }
        if count == 0 {
            return Ok(());
        }
        let begins = self.pending.is_none();
        if begins && self.workers.first().is_some_and(Worker::reads_packed) {
            (self.packed).pack(&self.graph, &self.weights, self.threads.get());
        }
        self.pending.get_or_insert_default().examples = total;
        let clipper = self.mechanism.clipper();
        let job = Job {
            graph: &self.graph,
            weights: &self.weights,
            packed: &self.packed,
            loss: &*self.loss,
            clipper: clipper.as_ref(),
            examples,
        };
        let capacity = self.workers.first().map_or(1, Worker::capacity);
        let runs = cut(entities, capacity);
        let next = AtomicUsize::new(0);
        let work = |worker: &mut Worker| {
            if begins {
                worker.clear();
            }
            while let Some(run) = runs.get(next.fetch_add(1, Ordering::Relaxed)) {
                worker.add(&job, &entities[run.clone()]);
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
        Ok(())
    }
}

/// A step whose examples are coming in.
#[derive(Default)]
struct Pending {
    examples: usize,
    entities: HashSet<u64>,
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

#[cfg(test)]
mod tests;
