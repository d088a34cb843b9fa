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
        trainer.accumulate(&Examples { inputs, labels }).unwrap();
        let sums = &trainer.workers[0].sums;
        (sums.private.clone(), sums.tally.poisoned)
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
    let report = trainer
        .step(&Examples {
            inputs: &inputs,
            labels: &labels,
        })
        .unwrap();
    assert_eq!((report.examples, report.poisoned), (4, 1));
}
