//! Training by DP-SGD (Abadi et al. 2016, algorithm 1), each thread taking tiles of examples as it is free.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::engine::Engine;
use crate::evaluate::{EvaluateError, Metrics, evaluate_flat};
use crate::examples::{Examples, ExamplesError};
use crate::graph::{Graph, ModelDigest};
use crate::grid::{Grid, GridError};
use crate::kernels::SumLanes;
use crate::lanes::Isa;
use crate::loss::{Loss, LossConfig, LossError};
use crate::noise::{NoiseError, NoiseSource, SigmaInt};
use crate::optimiser::{Optimiser, OptimiserConfig, OptimiserError};
use crate::parameters::{Parameters, ParametersError};
use crate::privacy::PrivacySettings;

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
/// let report = trainer.step(&Examples { inputs: &vec![0.5; 2 * 784], labels: &[3, 8] })?;
/// assert_eq!((report.step, report.examples, report.poisoned), (1, 2, 0));
/// let weights = trainer.parameters()?.to_safetensors()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Trainer {
    graph: Graph,
    loss_config: LossConfig,
    loss: Box<dyn Loss>,
    optimiser_config: OptimiserConfig,
    optimiser: Box<dyn Optimiser>,
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
        "the saved state does not continue this run: {0}; resume with the model and the optimiser that it was saved with"
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

/// All that is needed to go on later: never the state of a random generator, so no noise can be drawn twice.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainerState {
    model: ModelDigest,
    optimiser: OptimiserConfig,
    step: u64,
    weights: Vec<f32>,
    moments: Vec<Vec<f32>>,
}

impl TrainerState {
    /// Steps taken.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// The model that it belongs to.
    pub fn model(&self) -> ModelDigest {
        self.model
    }
}

impl fmt::Debug for TrainerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrainerState")
            .field("model", &self.model)
            .field("step", &self.step)
            .finish_non_exhaustive()
    }
}

impl Trainer {
    /// A trainer at its first step, from the weights in the graph's file.
    ///
    /// # Errors
    /// Where the settings are out of range or do not fit the graph.
    pub fn new(
        graph: Graph,
        loss: LossConfig,
        optimiser: OptimiserConfig,
        privacy: PrivacySettings,
        threads: NonZeroUsize,
    ) -> Result<Self, SetupError> {
        let noise = NoiseSource::from_system();
        let mechanism = Mechanism::private(&graph, privacy, noise)?;
        Self::with_mechanism(graph, loss, optimiser, mechanism, threads)
    }

    /// A trainer that goes on where another stopped.
    ///
    /// # Errors
    /// As [`Trainer::new`], and where the state is of another model or optimiser.
    pub fn resume(
        graph: Graph,
        loss: LossConfig,
        optimiser: OptimiserConfig,
        privacy: PrivacySettings,
        threads: NonZeroUsize,
        state: TrainerState,
    ) -> Result<Self, SetupError> {
        let mut trainer = Self::new(graph, loss, optimiser, privacy, threads)?;
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
        optimiser: OptimiserConfig,
        threads: NonZeroUsize,
    ) -> Result<Self, SetupError> {
        Self::with_mechanism(graph, loss, optimiser, Mechanism::None, threads)
    }

    /// A trainer whose noise can be repeated.
    #[cfg(test)]
    pub(crate) fn with_noise(
        graph: Graph,
        optimiser: OptimiserConfig,
        privacy: PrivacySettings,
        threads: NonZeroUsize,
        noise: NoiseSource,
    ) -> Result<Self, SetupError> {
        let mechanism = Mechanism::private(&graph, privacy, noise)?;
        Self::with_mechanism(
            graph,
            LossConfig::CrossEntropy,
            optimiser,
            mechanism,
            threads,
        )
    }

    fn with_mechanism(
        graph: Graph,
        loss_config: LossConfig,
        optimiser_config: OptimiserConfig,
        mechanism: Mechanism,
        threads: NonZeroUsize,
    ) -> Result<Self, SetupError> {
        let loss = loss_config.build(graph.output_shape())?;
        let optimiser = optimiser_config.build(graph.parameter_count())?;
        let isa = Isa::best();
        let workers = (0..threads.get())
            .map(|_| Worker::new(&graph, isa, &mechanism))
            .collect();
        let weights = graph.initial_weights().to_vec();
        let gradient = vec![0.0; weights.len()];
        Ok(Self {
            graph,
            loss_config,
            loss,
            optimiser_config,
            optimiser,
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
        examples.check(&self.graph)?;
        if examples.len() as u64 > Grid::MAX_EXAMPLES {
            return Err(TrainError::TooMany(examples.len()));
        }
        self.sum_gradients(examples);
        let poisoned = self.workers.iter().map(|worker| worker.poisoned).sum();
        self.mechanism.mean(
            &mut self.workers,
            examples.len(),
            self.threads,
            &mut self.gradient,
        )?;
        self.step += 1;
        self.optimiser
            .step(self.step, &mut self.weights, &self.gradient);
        if !self.weights.iter().all(|weight| weight.is_finite()) {
            return Err(TrainError::Diverged { step: self.step });
        }
        Ok(StepReport {
            step: self.step,
            examples: examples.len(),
            poisoned,
        })
    }

    /// The weights as they stand.
    ///
    /// # Errors
    /// Where candle cannot hold them.
    pub fn parameters(&self) -> Result<Parameters, ParametersError> {
        Parameters::from_flat(&self.graph, &self.weights)
    }

    /// Metrics of the weights as they stand.
    ///
    /// # Errors
    /// As [`crate::evaluate`].
    pub fn evaluate(&self, examples: &Examples<'_>) -> Result<Metrics, EvaluateError> {
        evaluate_flat(
            &self.graph,
            &self.weights,
            self.loss_config,
            examples,
            self.threads,
        )
    }

    /// What to save in order to go on later.
    pub fn state(&self) -> TrainerState {
        TrainerState {
            model: self.graph.digest(),
            optimiser: self.optimiser_config,
            step: self.step,
            weights: self.weights.clone(),
            moments: self
                .optimiser
                .moments()
                .into_iter()
                .map(<[f32]>::to_vec)
                .collect(),
        }
    }

    fn restore(&mut self, state: TrainerState) -> Result<(), SetupError> {
        if state.model != self.graph.digest() {
            return Err(SetupError::State("it is of another model"));
        }
        if state.optimiser != self.optimiser_config {
            return Err(SetupError::State("its optimiser has other settings"));
        }
        let lengths = |moments: &[&[f32]]| {
            moments
                .iter()
                .map(|moment| moment.len())
                .collect::<Vec<_>>()
        };
        let moments: Vec<&[f32]> = state.moments.iter().map(Vec::as_slice).collect();
        if state.weights.len() != self.weights.len()
            || lengths(&moments) != lengths(&self.optimiser.moments())
        {
            return Err(SetupError::State("it has another number of weights"));
        }
        if !state
            .weights
            .iter()
            .chain(state.moments.iter().flatten())
            .all(|value| value.is_finite())
        {
            return Err(SetupError::State("it holds numbers that are not finite"));
        }
        for (target, moment) in self.optimiser.moments_mut().into_iter().zip(moments) {
            target.copy_from_slice(moment);
        }
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
                examples.tile(next.fetch_add(1, Ordering::Relaxed), worker.engine.width())
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
            .field("optimiser", &self.optimiser_config)
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

/// One thread's buffers and sums.
struct Worker {
    engine: Engine,
    /// Clipped gradients in grid units; empty without privacy.
    sums: Vec<i64>,
    /// Gradients as they are; empty with privacy.
    plain_sums: Vec<f32>,
    poisoned: usize,
    /// One example's outputs and their gradient.
    outputs: Vec<f32>,
    output_gradient: Vec<f32>,
}

impl Worker {
    fn new(graph: &Graph, isa: Isa, mechanism: &Mechanism) -> Self {
        let (classes, parameters) = (graph.output_shape().elements(), graph.parameter_count());
        let (private, plain) = match mechanism {
            Mechanism::Private { .. } => (parameters, 0),
            Mechanism::None => (0, parameters),
        };
        Self {
            engine: Engine::for_training(graph, isa),
            sums: vec![0; private],
            plain_sums: vec![0.0; plain],
            poisoned: 0,
            outputs: vec![0.0; classes],
            output_gradient: vec![0.0; classes],
        }
    }

    fn clear(&mut self) {
        self.sums.fill(0);
        self.plain_sums.fill(0.0);
        self.poisoned = 0;
    }

    /// Adds the gradients of a tile of examples.
    fn add(
        &mut self,
        graph: &Graph,
        weights: &[f32],
        loss: &dyn Loss,
        grid: Option<Grid>,
        tile: &Examples<'_>,
    ) {
        let width = self.engine.width();
        let isa = self.engine.isa();
        let mut sound = vec![false; width];
        self.engine.forward(graph, weights, tile.inputs);
        let inputs = tile.inputs.chunks_exact(graph.input_shape().elements());
        for (lane, (input, &label)) in inputs.zip(tile.labels).enumerate() {
            self.engine.output(graph, lane, &mut self.outputs);
            let value = loss.evaluate(&self.outputs, label, &mut self.output_gradient);
            // An infinite input could be squashed by tanh into a finite loss.
            sound[lane] =
                value.is_some_and(f32::is_finite) && input.iter().all(|value| value.is_finite());
            if !sound[lane] {
                self.output_gradient.fill(0.0);
            }
            self.engine
                .set_output_gradient(graph, lane, &self.output_gradient);
        }
        // Lanes behind the last example keep an old gradient, which nothing reads.
        let gradients = self.engine.backward(graph, weights);
        self.poisoned += sound
            .iter()
            .take(tile.len())
            .filter(|sound| !**sound)
            .count();
        match grid {
            Some(grid) => {
                self.poisoned += grid.accumulate_tile(isa, gradients, &sound, &mut self.sums)
            }
            None => isa.run(SumLanes {
                tile: gradients,
                sound: &sound,
                sums: &mut self.plain_sums,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::{RngCore, SeedableRng};

    use super::*;
    use crate::models;

    const SGD: OptimiserConfig = OptimiserConfig::Sgd {
        learning_rate: 0.5,
        momentum: 0.9,
    };
    const ADAM: OptimiserConfig = OptimiserConfig::Adam {
        learning_rate: 0.01,
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-8,
    };

    fn graph() -> Graph {
        Graph::from_onnx(&models::mnist_cnn(1)).unwrap()
    }

    fn privacy() -> PrivacySettings {
        PrivacySettings::new(1.0, 1.0, 32.0).unwrap()
    }

    fn threads(count: usize) -> NonZeroUsize {
        NonZeroUsize::new(count).unwrap()
    }

    fn noise(seed: u64) -> NoiseSource {
        NoiseSource::insecure_with_keys_from(ChaCha20Rng::seed_from_u64(seed))
    }

    fn trainer(optimiser: OptimiserConfig, count: usize, seed: u64) -> Trainer {
        Trainer::with_noise(graph(), optimiser, privacy(), threads(count), noise(seed)).unwrap()
    }

    /// Inputs and labels of `count` examples.
    fn batch(seed: u64, count: usize) -> (Vec<f32>, Vec<u32>) {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let inputs = (0..count * 784)
            .map(|_| rng.next_u32() as f32 / u32::MAX as f32)
            .collect();
        let labels = (0..count).map(|_| rng.next_u32() % 10).collect();
        (inputs, labels)
    }

    fn run(trainer: &mut Trainer, seeds: std::ops::Range<u64>) {
        for seed in seeds {
            let (inputs, labels) = batch(seed, 37);
            let report = trainer
                .step(&Examples {
                    inputs: &inputs,
                    labels: &labels,
                })
                .unwrap();
            assert_eq!(
                (report.step, report.examples, report.poisoned),
                (seed + 1, 37, 0)
            );
        }
    }

    #[test]
    fn a_run_is_the_same_to_the_bit_on_any_number_of_threads() {
        let mut one = trainer(SGD, 1, 7);
        run(&mut one, 0..3);
        for count in [2, 3, 5] {
            let mut several = trainer(SGD, count, 7);
            run(&mut several, 0..3);
            assert!(one.state() == several.state(), "{count} threads");
        }
        let mut other = trainer(SGD, 1, 8);
        run(&mut other, 0..3);
        assert!(one.state() != other.state());
    }

    #[test]
    fn a_resumed_run_goes_on_from_weights_moments_and_step() {
        for optimiser in [SGD, ADAM] {
            let mut first = trainer(optimiser, 2, 7);
            run(&mut first, 0..2);
            let saved = serde_json::to_vec(&first.state()).unwrap();
            let state: TrainerState = serde_json::from_slice(&saved).unwrap();
            assert!(state == first.state());
            let mut second = trainer(optimiser, 2, 9);
            second.restore(state).unwrap();
            // The same noise for both from here.
            for trainer in [&mut first, &mut second] {
                trainer.mechanism = Mechanism::private(&graph(), privacy(), noise(11)).unwrap();
                run(trainer, 2..4);
            }
            assert!(first.state() == second.state());
        }
    }

    #[test]
    fn a_state_of_another_run_is_refused() {
        let state = trainer(SGD, 1, 1).state();
        let resume = |graph, optimiser, state| {
            Trainer::resume(
                graph,
                LossConfig::CrossEntropy,
                optimiser,
                privacy(),
                threads(1),
                state,
            )
            .is_ok()
        };
        assert!(resume(graph(), SGD, state.clone()));
        assert!(!resume(
            Graph::from_onnx(&models::mnist_cnn(2)).unwrap(),
            SGD,
            state.clone()
        ));
        assert!(!resume(graph(), ADAM, state.clone()));
        assert!(!resume(
            graph(),
            SGD,
            TrainerState {
                weights: vec![0.0; 3],
                ..state.clone()
            }
        ));
        assert!(!resume(
            graph(),
            SGD,
            TrainerState {
                moments: vec![],
                ..state.clone()
            }
        ));
        let mut broken = state;
        broken.weights[5] = f32::NAN;
        assert!(!resume(graph(), SGD, broken));
    }

    #[test]
    fn an_empty_batch_is_a_step_of_noise() {
        let mut trainer = trainer(SGD, 2, 1);
        let before = trainer.state();
        let report = trainer
            .step(&Examples {
                inputs: &[],
                labels: &[],
            })
            .unwrap();
        assert_eq!(
            report,
            StepReport {
                step: 1,
                examples: 0,
                poisoned: 0
            }
        );
        let moved = before
            .weights
            .iter()
            .zip(&trainer.weights)
            .filter(|(old, new)| old != new)
            .count();
        assert!(moved > before.weights.len() * 9 / 10);
    }

    #[test]
    fn a_poisoned_example_counts_and_contributes_nothing() {
        let (inputs, labels) = batch(3, 20);
        let sums = |inputs: &[f32], labels: &[u32]| {
            let mut trainer = trainer(SGD, 1, 1);
            trainer.sum_gradients(&Examples { inputs, labels });
            (trainer.workers[0].sums.clone(), trainer.workers[0].poisoned)
        };
        let (mut rest, mut rest_labels) = (inputs.clone(), labels.clone());
        rest.drain(4 * 784..5 * 784);
        rest_labels.remove(4);
        let without = sums(&rest, &rest_labels);
        assert_eq!(without.1, 0);
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut inputs = inputs.clone();
            inputs[4 * 784..5 * 784].fill(value);
            assert!(sums(&inputs, &labels) == (without.0.clone(), 1), "{value}");
        }
        let mut labels = labels;
        labels[4] = 10;
        assert!(sums(&inputs, &labels) == (without.0, 1));
    }

    #[test]
    fn examples_that_do_not_fit_are_refused_and_change_nothing() {
        let mut trainer = trainer(SGD, 1, 1);
        let before = trainer.state();
        assert!(
            trainer
                .step(&Examples {
                    inputs: &[0.0; 784],
                    labels: &[]
                })
                .is_err()
        );
        assert!(
            trainer
                .step(&Examples {
                    inputs: &[0.0; 783],
                    labels: &[0]
                })
                .is_err()
        );
        assert!(before == trainer.state());
    }

    #[test]
    fn weights_that_run_away_are_an_error() {
        let optimiser = OptimiserConfig::Sgd {
            learning_rate: 1e38,
            momentum: 0.0,
        };
        let privacy = PrivacySettings::new(1.0, 1.0, 1e-3).unwrap();
        let mut trainer =
            Trainer::with_noise(graph(), optimiser, privacy, threads(1), noise(1)).unwrap();
        let result = trainer.step(&Examples {
            inputs: &[],
            labels: &[],
        });
        assert!(matches!(result, Err(TrainError::Diverged { step: 1 })));
    }

    #[test]
    fn steps_along_the_gradient_make_the_loss_smaller() {
        let (inputs, labels) = batch(3, 50);
        let examples = Examples {
            inputs: &inputs,
            labels: &labels,
        };
        let gentle = OptimiserConfig::Sgd {
            learning_rate: 0.05,
            momentum: 0.5,
        };
        let plain = |count| {
            Trainer::danger_without_privacy(
                graph(),
                LossConfig::CrossEntropy,
                gentle,
                threads(count),
            )
            .unwrap()
        };
        let privacy = PrivacySettings::new(1.0, 1e-3, 50.0).unwrap();
        let private = Trainer::with_noise(graph(), gentle, privacy, threads(2), noise(1)).unwrap();
        for mut trainer in [plain(1), plain(2), private] {
            let before = trainer.evaluate(&examples).unwrap().loss;
            for _ in 0..30 {
                trainer.step(&examples).unwrap();
            }
            let after = trainer.evaluate(&examples).unwrap().loss;
            assert!(after < before - 0.05, "from {before} to {after}");
        }
    }

    #[test]
    fn without_privacy_a_poisoned_example_counts_as_a_gradient_of_zero() {
        let (mut inputs, labels) = batch(3, 4);
        inputs[784] = f32::NAN;
        let mut trainer =
            Trainer::danger_without_privacy(graph(), LossConfig::CrossEntropy, SGD, threads(1))
                .unwrap();
        let report = trainer
            .step(&Examples {
                inputs: &inputs,
                labels: &labels,
            })
            .unwrap();
        assert_eq!((report.examples, report.poisoned), (4, 1));
    }
}
