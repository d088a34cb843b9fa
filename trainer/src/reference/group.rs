//! The group engine against the reference: outputs, norms, clipped sums and plain sums, by every strategy.

use std::num::NonZeroUsize;
use std::ops::Range;

use super::{difference, norm};
use crate::clipping::{Clipper, Clipping};
use crate::engine::Engine;
use crate::examples::Examples;
use crate::graph::Graph;
use crate::grid::Grid;
use crate::group::{
    EngineChoice, GradientPlan, GroupWorker, Job, LayerStrategy, Packed, Sums, settle,
};
use crate::lanes::Isa;
use crate::loss::LossConfig;
use crate::worker::cut;

/// Clips to this norm.
const CLIPPING_NORM: f32 = 0.5;

/// Compares everything that the group engine computes with what the reference found for each example.
pub(super) fn check(
    graph: &Graph,
    (inputs, labels): (&[f32], &[u32]),
    gradients: &[Vec<f64>],
    outputs: &[Vec<f64>],
) {
    check_outputs(graph, inputs, outputs);
    let singles: Vec<Range<usize>> = (0..labels.len()).map(|at| at..at + 1).collect();
    for isa in Isa::all() {
        for strategy in [
            LayerStrategy::Automatic,
            LayerStrategy::Instantiate,
            LayerStrategy::Recompute,
            LayerStrategy::Ghost,
        ] {
            for capacity in [1, 3, 8] {
                // All instruction sets by one strategy and size, and all strategies and sizes on the widest.
                let widest = isa.width() == Isa::best().width();
                if widest || (strategy == LayerStrategy::Ghost && capacity == 3) {
                    let examples = Examples::labelled(inputs, labels);
                    check_sums(
                        graph, isa, strategy, capacity, &examples, &singles, gradients,
                    );
                }
            }
        }
    }
    // Entities of one, three, and the rest, which with a group of two is larger than a group.
    let mut entities = vec![
        0..1,
        1..4.min(labels.len()),
        4.min(labels.len())..labels.len(),
    ];
    entities.retain(|entity| !entity.is_empty());
    for strategy in [
        LayerStrategy::Instantiate,
        LayerStrategy::Recompute,
        LayerStrategy::Ghost,
    ] {
        for capacity in [2, 8] {
            let examples = Examples::labelled(inputs, labels);
            check_sums(
                graph,
                Isa::best(),
                strategy,
                capacity,
                &examples,
                &entities,
                gradients,
            );
        }
    }
}

fn check_outputs(graph: &Graph, inputs: &[f32], expected: &[Vec<f64>]) {
    let plan = GradientPlan {
        engine: EngineChoice::LayerByLayer,
        ..GradientPlan::default()
    };
    let methods = settle(graph, &plan).unwrap();
    let mut packed = Packed::new(graph);
    packed.pack(graph, graph.initial_weights(), 1);
    let mut engine = crate::group::GroupEngine::for_evaluation(graph, Isa::best(), expected.len());
    assert_eq!(methods.len(), graph.plan().steps.len());
    engine.forward(graph, graph.initial_weights(), &packed, inputs);
    let width = graph.output_shape().elements();
    let outputs = engine.outputs(graph, expected.len());
    let mut evaluated = Engine::for_evaluation(graph, Isa::best());
    evaluated.forward(
        graph,
        graph.initial_weights(),
        &inputs[..graph.input_shape().elements()],
    );
    let mut first = vec![0.0; width];
    evaluated.output(graph, 0, &mut first);
    for (index, expected) in expected.iter().enumerate() {
        let output = &outputs[index * width..(index + 1) * width];
        let error = difference(output.iter().copied().map(f64::from), expected);
        assert!(
            error <= 1e-5,
            "output of example {index} differs by {error}"
        );
        if index == 0 {
            let error = difference(first.iter().copied().map(f64::from), expected);
            assert!(error <= 1e-5, "evaluated output differs by {error}");
        }
    }
}

fn check_sums(
    graph: &Graph,
    isa: Isa,
    strategy: LayerStrategy,
    capacity: usize,
    examples: &Examples<'_>,
    entities: &[Range<usize>],
    gradients: &[Vec<f64>],
) {
    let what = format!("{isa:?}, {strategy:?}, groups of {capacity}");
    let plan = GradientPlan {
        engine: EngineChoice::LayerByLayer,
        layer: strategy,
        group: NonZeroUsize::new(capacity),
        ..GradientPlan::default()
    };
    let parameters = graph.parameter_count();
    let weights = graph.initial_weights();
    let mut packed = Packed::new(graph);
    packed.pack(graph, weights, 2);
    let loss = LossConfig::CrossEntropy
        .build(graph.output_shape())
        .unwrap();
    let grid = Grid::new(CLIPPING_NORM, parameters).unwrap();
    let layers = graph.plan().steps.iter();
    let layers = layers.filter(|step| !step.parameters.is_empty()).count();
    let clipper = Clipper::new(grid, Clipping::Flat, f64::from(CLIPPING_NORM), layers);
    let methods = settle(graph, &plan).unwrap();
    let mut worker = GroupWorker::new(graph, isa, capacity, &methods, true);
    let mut job = Job {
        graph,
        weights,
        packed: &packed,
        loss: &*loss,
        clipper: Some(&clipper),
        examples,
    };
    let expected: Vec<Vec<f64>> = entities
        .iter()
        .map(|entity| {
            let mut sum = vec![0.0; parameters];
            for gradient in &gradients[entity.clone()] {
                sum.iter_mut()
                    .zip(gradient)
                    .for_each(|(sum, value)| *sum += value);
            }
            sum
        })
        .collect();
    let mut sums = Sums::new(true, parameters);
    // Twice, so that nothing left over from a group can hide.
    for _ in 0..2 {
        sums.clear();
        for run in cut(entities, capacity) {
            worker.add(&job, &entities[run.clone()], &mut sums);
            if entities[run.end - 1].end - entities[run.start].start > capacity {
                continue;
            }
            for (square, expected) in worker.squared_norms().into_iter().zip(&expected[run]) {
                let error = (square.sqrt() / norm(expected) - 1.0).abs();
                assert!(error <= 1e-5, "{what}: a norm differs by {error}");
            }
        }
    }
    assert_eq!(sums.tally.poisoned, 0, "{what}");
    assert_eq!(
        sums.tally.within + sums.tally.beyond,
        entities.len(),
        "{what}"
    );
    let mut clipped = vec![0f64; parameters];
    for gradient in &expected {
        let scale = (f64::from(CLIPPING_NORM) / norm(gradient)).min(1.0);
        clipped
            .iter_mut()
            .zip(gradient)
            .for_each(|(sum, value)| *sum += scale * value);
    }
    let mut mean = vec![0f32; parameters];
    clipper.mean(&sums.private, 1.0, &mut mean);
    let error = difference(mean.iter().copied().map(f64::from), &clipped);
    // The grid's own rounding: half a unit of 2^-20 C in each of the parameters.
    let rounding = (parameters as f64).sqrt() * entities.len() as f64 * f64::from(CLIPPING_NORM)
        / (1 << 20) as f64;
    assert!(
        error <= 1e-5 + rounding / norm(&clipped),
        "{what}: the clipped sum differs by {error}"
    );

    let mut worker = GroupWorker::new(graph, isa, capacity, &methods, false);
    let mut sums = Sums::new(false, parameters);
    job.clipper = None;
    for run in cut(entities, capacity) {
        worker.add(&job, &entities[run], &mut sums);
    }
    let mut whole = vec![0f64; parameters];
    for gradient in gradients {
        whole
            .iter_mut()
            .zip(gradient)
            .for_each(|(sum, value)| *sum += value);
    }
    let error = difference(sums.plain.iter().copied().map(f64::from), &whole);
    assert!(error <= 1e-5, "{what}: the plain sum differs by {error}");
}

/// The bound on a contribution is held by counting the integers that were added, not by the norms that scaled them.
#[test]
fn contributions_longer_than_their_norms_had_promised_are_taken_back() {
    let graph = Graph::from_onnx(&crate::models::mnist_cnn(1)).unwrap();
    let parameters = graph.parameter_count();
    let (inputs, labels) = (vec![0.5; 5 * 784], [0, 1, 2, 3, 4]);
    let examples = Examples::labelled(&inputs, &labels);
    let loss = LossConfig::CrossEntropy
        .build(graph.output_shape())
        .unwrap();
    let mut packed = Packed::new(&graph);
    packed.pack(&graph, graph.initial_weights(), 1);
    let grid = Grid::new(1e-3, parameters).unwrap();
    let sound = Clipper::new(grid, Clipping::Flat, 1e-3, 4);
    let broken = sound.broken(1.01 * grid.integer_norm() as f64);
    let singles: Vec<Range<usize>> = (0..5).map(|at| at..at + 1).collect();
    for layer in [
        LayerStrategy::Instantiate,
        LayerStrategy::Recompute,
        LayerStrategy::Ghost,
    ] {
        let plan = GradientPlan {
            layer,
            ..GradientPlan::default()
        };
        let methods = settle(&graph, &plan).unwrap();
        let mut worker = GroupWorker::new(&graph, Isa::best(), 8, &methods, true);
        for (clipper, poisoned) in [(sound, 0), (broken, 5)] {
            let mut sums = Sums::new(true, parameters);
            let job = Job {
                graph: &graph,
                weights: graph.initial_weights(),
                packed: &packed,
                loss: &*loss,
                clipper: Some(&clipper),
                examples: &examples,
            };
            worker.add(&job, &singles, &mut sums);
            assert_eq!(sums.tally.poisoned, poisoned, "{layer:?}");
            let empty = sums.private.iter().all(|&sum| sum == 0);
            assert_eq!(empty, poisoned > 0, "{layer:?}");
        }
    }
}
