use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use super::*;
use crate::average::AverageConfig;
use crate::clipping::{AdaptiveClipping, Clipping};
use crate::group::{EngineChoice, LayerStrategy};
use crate::models;
use crate::models::builder::{Builder, int};
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
        trainer
            .accumulate(&Examples::labelled(inputs, labels))
            .unwrap();
        let sums = trainer.workers[0].finish();
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

fn plan(engine: EngineChoice) -> GradientPlan {
    GradientPlan {
        engine,
        group: NonZeroUsize::new(8),
        ..GradientPlan::default()
    }
}

fn trainer_with(engine: EngineChoice, count: usize, clipping: Clipping) -> Trainer {
    let privacy = privacy().with_clipping(clipping).unwrap();
    let trainer = Trainer::with_noise(graph(), SGD, privacy, threads(count), noise(7)).unwrap();
    trainer.with_gradients(&plan(engine)).unwrap()
}

const ENGINES: [EngineChoice; 2] = [EngineChoice::SampleParallel, EngineChoice::LayerByLayer];

/// The sums of a step's clipped gradients, before noise, and how many examples were poisoned.
fn sums_of(trainer: &mut Trainer) -> (Vec<i64>, usize) {
    let mut sums = vec![0; trainer.weights.len()];
    let mut poisoned = 0;
    for worker in &mut trainer.workers {
        let own = worker.finish();
        poisoned += own.tally.poisoned;
        sums.iter_mut()
            .zip(&own.private)
            .for_each(|(sum, own)| *sum += own);
    }
    trainer.pending = None;
    (sums, poisoned)
}

/// Norm of the difference, relative to the first's.
fn difference(one: &[i64], other: &[i64]) -> f64 {
    let norm = |values: &mut dyn Iterator<Item = f64>| {
        values.map(|value| value * value).sum::<f64>().sqrt()
    };
    let difference = norm(
        &mut one
            .iter()
            .zip(other)
            .map(|(one, other)| (one - other) as f64),
    );
    difference / norm(&mut one.iter().map(|&value| value as f64))
}

#[test]
fn either_engine_gives_the_same_bits_on_any_number_of_threads_and_nearly_the_other_s() {
    let (inputs, labels) = batch(3, 37);
    let examples = Examples::labelled(&inputs, &labels);
    for clipping in [
        Clipping::Flat,
        Clipping::PerLayer,
        Clipping::Automatic { stability: 0.01 },
        Clipping::Adaptive(AdaptiveClipping {
            quantile: 0.5,
            learning_rate: 0.2,
            count_noise: 2.0,
        }),
    ] {
        let sums = ENGINES.map(|engine| {
            let [one, several] = [1, 3].map(|count| {
                let mut trainer = trainer_with(engine, count, clipping);
                trainer.accumulate(&examples).unwrap();
                sums_of(&mut trainer)
            });
            assert!(one == several, "{engine:?} {clipping:?}");
            assert_eq!(one.1, 0);
            one.0
        });
        let error = difference(&sums[0], &sums[1]);
        assert!(error < 1e-5, "{clipping:?}: engines differ by {error}");
    }
}

#[test]
fn a_batch_in_parts_is_the_batch() {
    let (inputs, labels) = batch(3, 40);
    for engine in ENGINES {
        let mut whole = trainer_with(engine, 2, Clipping::Flat);
        let report = whole.step(&Examples::labelled(&inputs, &labels)).unwrap();
        let mut parts = trainer_with(engine, 2, Clipping::Flat);
        // Parts that are whole tiles and groups, so that each example has the neighbours that it had.
        for (inputs, labels) in inputs.chunks(16 * 784).zip(labels.chunks(16)) {
            parts
                .accumulate(&Examples::labelled(inputs, labels))
                .unwrap();
        }
        assert_eq!(parts.finish_step().unwrap(), report);
        assert!(whole.state() == parts.state(), "{engine:?}");
        // A step that was begun is not mixed with the next.
        parts
            .accumulate(&Examples::labelled(&inputs[..784], &labels[..1]))
            .unwrap();
        whole.step(&Examples::labelled(&inputs, &labels)).unwrap();
        parts.step(&Examples::labelled(&inputs, &labels)).unwrap();
        assert!(whole.state() == parts.state(), "{engine:?}");
    }
}

#[test]
fn an_entity_contributes_no_more_than_one_example_could() {
    // 40 times the same example: as one entity, once the norm; as forty, forty times.
    let (input, label) = batch(3, 1);
    let (inputs, labels) = (input.repeat(40), label.repeat(40));
    let examples = Examples::labelled(&inputs, &labels);
    for engine in ENGINES {
        let privacy = PrivacySettings::new(1e-3, 1.0, 1.0).unwrap();
        let trainer = Trainer::with_noise(graph(), SGD, privacy, threads(2), noise(1)).unwrap();
        let mut trainer = trainer.with_gradients(&plan(engine)).unwrap();
        let bound = Grid::new(1e-3, graph().parameter_count())
            .unwrap()
            .integer_norm() as f64;
        let length = |sums: &[i64]| {
            sums.iter()
                .map(|&sum| (sum as f64).powi(2))
                .sum::<f64>()
                .sqrt()
                / bound
        };
        trainer.accumulate(&examples).unwrap();
        let apart = length(&sums_of(&mut trainer).0);
        assert!((39.9..=40.0).contains(&apart), "{engine:?}: {apart}");
        // Within a group, within a tile, beyond both, and all at once.
        for size in [4, 10, 20, 40] {
            let entities: Vec<u64> = (0..40).map(|index| index / size).collect();
            trainer.accumulate_by_entity(&examples, &entities).unwrap();
            let together = length(&sums_of(&mut trainer).0);
            let expected = (40 / size) as f64;
            assert!(
                together <= expected && together > 0.999 * expected,
                "{engine:?}: {together} of {expected}"
            );
        }
    }
}

#[test]
fn entities_that_are_scattered_or_miscounted_are_refused() {
    let (inputs, labels) = batch(3, 4);
    let examples = Examples::labelled(&inputs, &labels);
    let mut trainer = trainer(SGD, 1, 1);
    let before = trainer.state();
    assert!(matches!(
        trainer.step_by_entity(&examples, &[1, 2]),
        Err(TrainError::EntityCount {
            entities: 2,
            examples: 4
        })
    ));
    assert!(matches!(
        trainer.step_by_entity(&examples, &[1, 2, 1, 3]),
        Err(TrainError::EntityScattered { example: 2 })
    ));
    trainer
        .accumulate_by_entity(&examples, &[1, 1, 2, 3])
        .unwrap();
    assert!(matches!(
        trainer.accumulate_by_entity(&examples, &[4, 4, 4, 2]),
        Err(TrainError::EntityScattered { example: 3 })
    ));
    assert!(before == trainer.state());
}

#[test]
fn in_an_entity_too_a_poisoned_example_alone_is_left_out() {
    let (inputs, labels) = batch(3, 12);
    let ids: Vec<u64> = (0..12).map(|index| index / 4).collect();
    for engine in ENGINES {
        let mut trainer = trainer_with(engine, 1, Clipping::Flat);
        let mut sums = |inputs: &[f32], labels: &[u32], ids: &[u64]| {
            trainer
                .accumulate_by_entity(&Examples::labelled(inputs, labels), ids)
                .unwrap();
            sums_of(&mut trainer)
        };
        let (mut rest, mut rest_labels, mut rest_ids) =
            (inputs.clone(), labels.clone(), ids.clone());
        rest.drain(5 * 784..6 * 784);
        rest_labels.remove(5);
        rest_ids.remove(5);
        let without = sums(&rest, &rest_labels, &rest_ids);
        assert_eq!(without.1, 0);
        for value in [f32::NAN, f32::INFINITY] {
            let mut inputs = inputs.clone();
            inputs[5 * 784..6 * 784].fill(value);
            let with = sums(&inputs, &labels, &ids);
            assert_eq!(with.1, 1, "{engine:?} {value}");
            let error = difference(&without.0, &with.0);
            assert!(error < 1e-6, "{engine:?} {value}: {error}");
        }
    }
}

/// Sound inputs whose loss, or whose gradient on its way back, is beyond single precision.
#[test]
fn losses_and_gradients_that_overflow_contribute_nothing() {
    let mut model = Builder::new("test", 1, &[1]);
    for (layer, factor) in [("one", 1.0), ("two", 1e20)] {
        let (weight, bias) = (format!("{layer}.weight"), format!("{layer}.bias"));
        model.constant(&weight, &[1, 1], factor);
        model.constant(&bias, &[1], 0.0);
        model.then("Gemm", layer, &[&weight, &bias], vec![int("transB", 1)]);
        model.then("Relu", &format!("{layer}.relu"), &[], vec![]);
    }
    model.values("classes.weight", &[2, 1], &[1e20, -1e20]);
    model.constant("classes.bias", &[2], 0.0);
    let classes = ["classes.weight", "classes.bias"];
    model.then("Gemm", "classes", &classes, vec![int("transB", 1)]);
    let graph = Graph::from_onnx(&model.finish(&[2])).unwrap();
    for engine in ENGINES {
        for layer in [
            LayerStrategy::Instantiate,
            LayerStrategy::Recompute,
            LayerStrategy::Ghost,
        ] {
            let trainer =
                Trainer::with_noise(graph.clone(), SGD, privacy(), threads(1), noise(7)).unwrap();
            let gradients = GradientPlan {
                layer,
                ..plan(engine)
            };
            let mut trainer = trainer.with_gradients(&gradients).unwrap();
            let mut sums = |inputs: &[f32]| {
                let labels = vec![1; inputs.len()];
                trainer
                    .accumulate(&Examples::labelled(inputs, &labels))
                    .unwrap();
                sums_of(&mut trainer)
            };
            let (without, poisoned) = sums(&[-1.0, -2.0]);
            assert_eq!(poisoned, 0);
            assert!(without.iter().any(|&sum| sum != 0));
            // 1e10 at the output, and 1e40 on the way back; 1e50 at the output.
            for input in [1e-30, 1e30] {
                let with = sums(&[-1.0, input, -2.0]);
                assert!(
                    with == (without.clone(), 1),
                    "{engine:?}, {layer:?}: {input}"
                );
            }
        }
    }
}

#[test]
fn a_network_that_normalises_by_batch_is_not_trained_with_privacy() {
    let mut model = Builder::new("test", 1, &[3, 2]);
    for (name, value) in [
        ("weight", 1.5),
        ("bias", 0.5),
        ("mean", 0.25),
        ("variance", 4.0),
    ] {
        model.constant(&format!("norm.{name}"), &[3], value);
    }
    let inputs = ["norm.weight", "norm.bias", "norm.mean", "norm.variance"];
    model.then("BatchNormalization", "norm", &inputs, vec![]);
    model.then("Flatten", "flat", &[], vec![]);
    let graph = Graph::from_onnx(&model.finish(&[6])).unwrap();
    let refusal = Trainer::with_noise(graph.clone(), SGD, privacy(), threads(1), noise(1));
    let message = refusal.err().unwrap().to_string();
    assert!(
        message.contains("`norm`") && message.contains("torch.nn.GroupNorm"),
        "{message}"
    );
    // It predicts, by its statistics.
    let parameters = crate::parameters::Parameters::initial(&graph).unwrap();
    let outputs = crate::predict::predict(&graph, &parameters, &[1.25; 6]).unwrap();
    for output in outputs {
        assert!((output - (0.5 * 1.5 + 0.5)).abs() < 1e-5, "{output}");
    }
}

#[test]
fn adaptive_clipping_follows_the_norms_and_is_saved() {
    let (mut inputs, labels) = batch(3, 64);
    // Brighter images have longer gradients.
    for (index, input) in inputs.chunks_exact_mut(784).enumerate() {
        input
            .iter_mut()
            .for_each(|value| *value *= index as f32 / 32.0);
    }
    let examples = Examples::labelled(&inputs, &labels);
    let clipping = Clipping::Adaptive(AdaptiveClipping {
        quantile: 0.5,
        learning_rate: 0.3,
        count_noise: 2.0,
    });
    let privacy = PrivacySettings::new(1e-2, 1.0, 64.0)
        .unwrap()
        .with_clipping(clipping)
        .unwrap();
    // Its learning rate is so small that the gradients stay.
    let still = OptimiserConfig::Sgd {
        learning_rate: 1e-12,
        momentum: 0.0,
    };
    let mut trainer = Trainer::with_noise(graph(), still, privacy, threads(2), noise(1)).unwrap();
    for _ in 0..60 {
        trainer.step(&examples).unwrap();
    }
    // Half of the gradients are within it by now.
    trainer.accumulate(&examples).unwrap();
    let within: usize = trainer
        .workers
        .iter_mut()
        .map(|worker| worker.finish().tally.within)
        .sum();
    assert!((12..=52).contains(&within), "{within} of 64");
    let state = trainer.state();
    let mut resumed = Trainer::with_noise(graph(), still, privacy, threads(2), noise(1)).unwrap();
    resumed.restore(state.clone()).unwrap();
    assert_eq!(
        resumed.mechanism.adapted_norm(),
        trainer.mechanism.adapted_norm()
    );
    let flat = PrivacySettings::new(1e-2, 1.0, 64.0).unwrap();
    let mut other = Trainer::with_noise(graph(), still, flat, threads(2), noise(1)).unwrap();
    assert!(other.restore(state).is_err());
}

fn every_clipping() -> [Clipping; 5] {
    let adaptive = |count_noise| {
        Clipping::Adaptive(AdaptiveClipping {
            quantile: 0.5,
            learning_rate: 0.2,
            count_noise,
        })
    };
    [
        Clipping::Flat,
        Clipping::PerLayer,
        Clipping::Automatic { stability: 0.01 },
        adaptive(2.0),
        adaptive(3.0),
    ]
}

#[test]
fn in_every_mode_a_run_that_was_resumed_ends_as_an_unbroken_one() {
    for clipping in every_clipping() {
        let privacy = privacy().with_clipping(clipping).unwrap();
        let with =
            |seed| Trainer::with_noise(graph(), SGD, privacy, threads(2), noise(seed)).unwrap();
        let mut unbroken = with(7);
        run(&mut unbroken, 0..2);
        let saved = serde_json::to_vec(&unbroken.state()).unwrap();
        let mut resumed = with(9);
        resumed
            .restore(serde_json::from_slice(&saved).unwrap())
            .unwrap();
        // A resumed run draws other noise; here both draw the same from now on.
        for trainer in [&mut unbroken, &mut resumed] {
            trainer.mechanism.renew_noise(noise(11));
            run(trainer, 2..4);
        }
        assert!(unbroken.state() == resumed.state(), "{clipping:?}");
        let adapted = unbroken.mechanism.adapted_norm();
        assert_eq!(adapted.is_some(), matches!(clipping, Clipping::Adaptive(_)));
        assert!(adapted.is_none_or(|norm| norm != 1.0));
    }
}

#[test]
fn a_state_of_another_clipping_is_refused() {
    let of = |clipping| {
        let privacy = privacy().with_clipping(clipping).unwrap();
        Trainer::with_noise(graph(), SGD, privacy, threads(1), noise(1)).unwrap()
    };
    for (i, saved) in every_clipping().into_iter().enumerate() {
        for (j, other) in every_clipping().into_iter().enumerate() {
            let restored = of(other).restore(of(saved).state());
            assert_eq!(restored.is_ok(), i == j, "{saved:?} resumed as {other:?}");
        }
        let mut state = of(saved).state();
        state.clipping_norm = Some(f64::NAN);
        assert!(of(saved).restore(state).is_err());
    }
}

#[test]
fn plans_that_do_not_fit_are_refused() {
    let of = |layers: Vec<(String, LayerStrategy)>| {
        trainer(SGD, 1, 1).with_gradients(&GradientPlan {
            layers,
            ..GradientPlan::default()
        })
    };
    let unknown = of(vec![("fc9.weight".to_owned(), LayerStrategy::Ghost)]);
    assert!(matches!(
        unknown,
        Err(SetupError::Gradients(GradientPlanError::Unknown(_)))
    ));
    assert!(of(vec![("fc1.weight".to_owned(), LayerStrategy::Ghost)]).is_ok());

    // A weight that two layers share has gradients by both, and no product alone.
    let mut model = Builder::new("test", 1, &[3]);
    model.layer("twice", &[3, 3]);
    for name in ["one", "two"] {
        let weights = ["twice.weight", "twice.bias"];
        model.then("Gemm", name, &weights, vec![int("transB", 1)]);
    }
    let graph = Graph::from_onnx(&model.finish(&[3])).unwrap();
    let of = |plan: GradientPlan| {
        let trainer = Trainer::with_noise(graph.clone(), SGD, privacy(), threads(1), noise(1));
        trainer.unwrap().with_gradients(&plan)
    };
    let ghost = of(GradientPlan {
        layers: vec![("twice.weight".to_owned(), LayerStrategy::Ghost)],
        ..GradientPlan::default()
    });
    assert!(matches!(
        ghost,
        Err(SetupError::Gradients(GradientPlanError::NoGhost(name))) if name == "twice.weight"
    ));
    assert!(matches!(
        of(plan(EngineChoice::SampleParallel)),
        Err(SetupError::Gradients(GradientPlanError::SampleParallel))
    ));
}
