use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use super::*;
use crate::average::AverageConfig;
use crate::models;
use crate::optimiser::{OptimiserConfig, WeightDecay};
use crate::schedule::{ScheduleConfig, ScheduleShape};

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

fn trainer(optimiser: impl Into<UpdateConfig>, count: usize, seed: u64) -> Trainer {
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
        let report = trainer.step(&Examples::labelled(&inputs, &labels)).unwrap();
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
    let averaged = UpdateConfig {
        weight_decay: WeightDecay::Decoupled(0.01),
        schedule: ScheduleConfig {
            warm_up: None,
            shape: ScheduleShape::Cosine { steps: 4, end: 0.0 },
        },
        average: Some(AverageConfig { decay: 0.9 }),
        optimiser: SGD,
    };
    for optimiser in [SGD.into(), ADAM.into(), averaged] {
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
    let averaged = UpdateConfig {
        average: Some(AverageConfig { decay: 0.9 }),
        ..SGD.into()
    };
    let state = trainer(averaged, 1, 1).state();
    let resume_with = |graph, loss, update: UpdateConfig, state| {
        Trainer::resume(graph, loss, update, privacy(), threads(1), state).is_ok()
    };
    let resume =
        |update: UpdateConfig, state| resume_with(graph(), LossConfig::CrossEntropy, update, state);
    assert!(resume(averaged, state.clone()));
    let other = Graph::from_onnx(&models::mnist_cnn(2)).unwrap();
    let loss = LossConfig::CrossEntropy;
    assert!(!resume_with(other, loss, averaged, state.clone()));
    let loss = LossConfig::Mse;
    assert!(!resume_with(graph(), loss, averaged, state.clone()));
    let mut others = [averaged; 5];
    others[0].optimiser = ADAM;
    others[1].average = None;
    others[2].average = Some(AverageConfig { decay: 0.8 });
    others[3].weight_decay = WeightDecay::Gradient(0.1);
    others[4].schedule.shape = ScheduleShape::Cosine { steps: 9, end: 0.0 };
    for other in others {
        assert!(!resume(other, state.clone()), "{other:?}");
    }
    let fewer = TrainerState {
        weights: vec![0.0; 3],
        ..state.clone()
    };
    assert!(!resume(averaged, fewer));
    let mut broken = state;
    broken.weights[5] = f32::NAN;
    assert!(!resume(averaged, broken));
}

#[test]
fn the_average_is_what_is_evaluated_and_exported() {
    let averaged = UpdateConfig {
        average: Some(AverageConfig { decay: 0.5 }),
        ..SGD.into()
    };
    let (mut plain, mut average) = (trainer(SGD, 1, 7), trainer(averaged, 1, 7));
    run(&mut plain, 0..2);
    let first = plain.weights.clone();
    run(&mut plain, 2..3);
    run(&mut average, 0..3);
    assert_eq!(plain.weights, average.weights);
    let exported = average.parameters().unwrap().to_flat(&graph()).unwrap();
    assert_ne!(exported, average.weights);
    assert_ne!(exported, first);
    let (inputs, labels) = batch(1, 5);
    let examples = Examples::labelled(&inputs, &labels);
    let own = average.evaluate(&examples).unwrap();
    let given = crate::evaluate::evaluate_flat(
        &graph(),
        &exported,
        &LossConfig::CrossEntropy,
        &examples,
        threads(1),
    );
    assert_eq!(own, given.unwrap());
    assert_ne!(own, plain.evaluate(&examples).unwrap());
}

#[test]
fn values_train_as_labels_do() {
    let (inputs, labels) = batch(3, 20);
    let mut one_hot = vec![0.0; 200];
    for (row, &label) in one_hot.chunks_exact_mut(10).zip(&labels) {
        row[label as usize] = 1.0;
    }
    let (mut labelled, mut valued) = (trainer(SGD, 2, 1), trainer(SGD, 2, 1));
    labelled
        .step(&Examples::labelled(&inputs, &labels))
        .unwrap();
    valued.step(&Examples::valued(&inputs, &one_hot)).unwrap();
    assert_eq!(labelled.weights, valued.weights);
    one_hot[15] = f32::NAN;
    let report = valued.step(&Examples::valued(&inputs, &one_hot)).unwrap();
    assert_eq!((report.examples, report.poisoned), (20, 1));
    let short = valued.step(&Examples::valued(&inputs, &one_hot[1..]));
    assert!(matches!(short, Err(TrainError::Examples(_))));
}

#[test]
fn an_empty_batch_is_a_step_of_noise() {
    let mut trainer = trainer(SGD, 2, 1);
    let before = trainer.state();
    let report = trainer.step(&Examples::labelled(&[], &[])).unwrap();
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
        trainer.sum_gradients(&Examples::labelled(inputs, labels));
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
    assert!(trainer.step(&Examples::labelled(&[0.0; 784], &[])).is_err());
    assert!(
        trainer
            .step(&Examples::labelled(&[0.0; 783], &[0]))
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
    let result = trainer.step(&Examples::labelled(&[], &[]));
    assert!(matches!(result, Err(TrainError::Diverged { step: 1 })));
}

#[test]
fn steps_along_the_gradient_make_the_loss_smaller() {
    let (inputs, labels) = batch(3, 50);
    let examples = Examples::labelled(&inputs, &labels);
    let gentle = OptimiserConfig::Sgd {
        learning_rate: 0.05,
        momentum: 0.5,
    };
    let plain = |count| {
        Trainer::danger_without_privacy(graph(), LossConfig::CrossEntropy, gentle, threads(count))
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
    let report = trainer.step(&Examples::labelled(&inputs, &labels)).unwrap();
    assert_eq!((report.examples, report.poisoned), (4, 1));
}
