//! Tests of forward and backward passes against a second implementation: plain loops in double precision over the ONNX
//! nodes themselves, with nothing in common with the engine. Its own gradients are held against finite differences.

mod group;
mod interpreter;
mod operators;
mod strategies;
mod structure;
mod tied;

use proptest::prelude::*;
use prost::Message;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use self::interpreter::{Reference, Tensor};
use crate::graph::Graph;
use crate::grid::Grid;
use crate::lane_engine::LaneEngine;
use crate::lanes::{Isa, gather};
use crate::loss::LossConfig;
use crate::models::builder::{Builder, INPUT, int, ints};
use crate::models::mnist_cnn;
use crate::onnx::{AttributeProto, INT64, ModelProto};
use crate::targets::Target;

fn norm(values: &[f64]) -> f64 {
    values.iter().map(|value| value * value).sum::<f64>().sqrt()
}

/// Norm of the difference, relative to the norm of what is expected.
fn difference(got: impl Iterator<Item = f64>, expected: &[f64]) -> f64 {
    let difference: Vec<f64> = got
        .zip(expected)
        .map(|(got, expected)| got - expected)
        .collect();
    assert_eq!(difference.len(), expected.len());
    norm(&difference) / norm(expected).max(1e-9)
}

/// Uniform in [-1, 1).
fn numbers(rng: &mut ChaCha20Rng, count: usize) -> Vec<f32> {
    (0..count)
        .map(|_| rng.next_u32() as f32 / (1u64 << 31) as f32 - 1.0)
        .collect()
}

/// Compares outputs, per-example gradients, their norms and the clipped sum, on every instruction set.
fn check(model: &[u8], seed: u64) {
    let elements = Graph::from_onnx(model).unwrap().input_shape().elements();
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let inputs = numbers(&mut rng, EXAMPLES * elements);
    check_with(model, &mut rng, &inputs);
}

/// As [`check`], of a network that takes whole numbers below `words`.
fn check_lookups(model: &[u8], words: u32, seed: u64) {
    let model = with_lookups(model);
    let elements = Graph::from_onnx(&model).unwrap().input_shape().elements();
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let inputs: Vec<f32> = (0..EXAMPLES * elements)
        .map(|_| (rng.next_u32() % words) as f32)
        .collect();
    check_with(&model, &mut rng, &inputs);
}

/// The network with an input of whole numbers.
fn with_lookups(model: &[u8]) -> Vec<u8> {
    let mut model = ModelProto::read(model).unwrap();
    let input = &mut model.graph.as_mut().unwrap().input[0];
    let tensor = input.r#type.as_mut().unwrap().tensor_type.as_mut();
    tensor.unwrap().elem_type = INT64;
    model.encode_to_vec()
}

/// How many examples are compared.
const EXAMPLES: usize = 5;

/// As [`check`], with these inputs.
fn check_with(model: &[u8], rng: &mut ChaCha20Rng, inputs: &[f32]) {
    let graph = Graph::from_onnx(model).unwrap();
    let reference = Reference::new(model);
    let elements = graph.input_shape().elements();
    let classes = graph.output_shape().elements();
    let count = EXAMPLES;
    let labels: Vec<u32> = (0..count)
        .map(|_| rng.next_u32() % classes as u32)
        .collect();
    let mut expected_gradients = Vec::new();
    let mut expected_outputs = Vec::new();
    for (input, &label) in inputs.chunks_exact(elements).zip(&labels) {
        let input = Tensor {
            dims: graph.input_shape().dims().to_vec(),
            data: input.iter().copied().map(f64::from).collect(),
        };
        let mut gradients = reference.gradient(&input, label as usize);
        let flat: Vec<f64> = graph
            .parameters()
            .iter()
            .flat_map(|info| {
                gradients
                    .remove(&info.name)
                    .map_or(vec![0.0; info.range.len()], |tensor| tensor.data)
            })
            .collect();
        expected_gradients.push(flat);
        expected_outputs.push(reference.output(&input));
    }

    check_engines(
        &graph,
        (inputs, &labels),
        &expected_gradients,
        &expected_outputs,
    );
}

/// Compares both engines with what is expected of each example.
fn check_engines(
    graph: &Graph,
    (inputs, labels): (&[f32], &[u32]),
    expected_gradients: &[Vec<f64>],
    expected_outputs: &[Vec<f64>],
) {
    group::check(
        graph,
        (inputs, labels),
        expected_gradients,
        expected_outputs,
    );
    check_lanes(
        graph,
        (inputs, labels),
        expected_gradients,
        expected_outputs,
    );
}

fn check_lanes(
    graph: &Graph,
    (inputs, labels): (&[f32], &[u32]),
    expected_gradients: &[Vec<f64>],
    expected_outputs: &[Vec<f64>],
) {
    let count = labels.len();
    let elements = graph.input_shape().elements();
    let classes = graph.output_shape().elements();
    let loss = LossConfig::CrossEntropy
        .build(graph.output_shape())
        .unwrap();
    let parameters = graph.parameter_count();
    let clipping_norm = 0.5f32;
    let grid = Grid::new(clipping_norm, parameters).unwrap();
    for isa in Isa::all() {
        if !graph.plan().has_lanes() {
            break;
        }
        let mut engine = LaneEngine::for_training(graph, isa);
        let width = engine.width();
        let (mut sums, mut expected_sum) = (vec![0i64; parameters], vec![0f64; parameters]);
        // Twice, so that nothing left over from a tile can hide.
        for first in (0..count)
            .step_by(width)
            .cycle()
            .take(2 * count.div_ceil(width))
        {
            let lanes = width.min(count - first);
            sums.iter_mut()
                .for_each(|sum| *sum = if first == 0 { 0 } else { *sum });
            engine.forward(
                graph,
                graph.initial_weights(),
                &inputs[first * elements..(first + lanes) * elements],
            );
            for lane in 0..lanes {
                let (mut output, mut gradient) = (vec![0.0; classes], vec![0.0; classes]);
                engine.output(graph, lane, &mut output);
                let error = difference(
                    output.iter().copied().map(f64::from),
                    &expected_outputs[first + lane],
                );
                assert!(error <= 1e-5, "{width} lanes: outputs differ by {error}");
                loss.evaluate(&output, Target::Label(labels[first + lane]), &mut gradient)
                    .unwrap();
                engine.set_output_gradient(graph, lane, &gradient);
            }
            let gradients = engine.backward(graph, graph.initial_weights());
            for lane in 0..lanes {
                let mut gradient = vec![0.0; parameters];
                gather(gradients, width, lane, &mut gradient);
                let expected = &expected_gradients[first + lane];
                let error = difference(gradient.iter().copied().map(f64::from), expected);
                assert!(
                    error <= 1e-5,
                    "{width} lanes: gradient of example {} differs by {error}",
                    first + lane
                );
                let clipped = grid.accumulate(&gradient, &mut sums);
                assert!(
                    (clipped.norm / norm(expected) - 1.0).abs() <= 1e-5,
                    "{width} lanes: norm"
                );
            }
        }
        for expected in expected_gradients {
            let scale = (f64::from(clipping_norm) / norm(expected)).min(1.0);
            expected_sum
                .iter_mut()
                .zip(expected)
                .for_each(|(sum, value)| *sum += scale * value);
        }
        let mut sum = vec![0f32; parameters];
        grid.mean_to_f32(&sums, 1.0, &mut sum);
        let error = difference(sum.iter().copied().map(f64::from), &expected_sum);
        // The grid's own rounding: half a unit of 2^-20 C in each of the parameters.
        let rounding =
            (parameters as f64).sqrt() * count as f64 * f64::from(clipping_norm) / (1 << 20) as f64;
        assert!(
            error <= 1e-5 + rounding / norm(&expected_sum),
            "{width} lanes: clipped sum differs by {error}"
        );
    }
}

/// A network of the nodes under test, which are given `[4, height, width]`, after a layer whose weights their gradients
/// reach, and before a classifier of `features` inputs.
fn around(
    height: i64,
    width: i64,
    features: i64,
    seed: u64,
    nodes: impl FnOnce(&mut Builder),
) -> Vec<u8> {
    let mut model = Builder::new("test", seed, &[2, height, width]);
    model.layer("before", &[4, 2, 1, 1]);
    model.then("Conv", "before", &["before.weight", "before.bias"], vec![]);
    nodes(&mut model);
    model.layer("classes", &[3, features]);
    model.then("Flatten", "flat", &[], vec![]);
    model.then(
        "Gemm",
        "classes",
        &["classes.weight", "classes.bias"],
        vec![int("transB", 1)],
    );
    model.finish(&[3])
}

/// Output size of a window along one axis.
fn extent(size: i64, kernel: i64, stride: i64, dilation: i64, pads: i64) -> i64 {
    (size + pads - dilation * (kernel - 1) - 1) / stride + 1
}

#[derive(Clone, Copy, Debug)]
struct Geometry {
    size: [i64; 2],
    kernel: [i64; 2],
    strides: [i64; 2],
    dilations: [i64; 2],
    pads: [i64; 4],
}

impl Geometry {
    fn area(&self) -> i64 {
        let along = |axis: usize| {
            let pads = self.pads[axis] + self.pads[axis + 2];
            extent(
                self.size[axis],
                self.kernel[axis],
                self.strides[axis],
                self.dilations[axis],
                pads,
            )
        };
        along(0) * along(1)
    }

    /// Windows of a pool that rounds up: the last begins in the image or in the padding before it.
    fn ceil_area(&self) -> i64 {
        let along = |axis: usize| {
            let (before, after) = (self.pads[axis], self.pads[axis + 2]);
            let room = self.size[axis] + before + after - self.kernel[axis];
            let count = (room + self.strides[axis] - 1) / self.strides[axis] + 1;
            if (count - 1) * self.strides[axis] >= self.size[axis] + before {
                count - 1
            } else {
                count
            }
        };
        along(0) * along(1)
    }

    fn fits(&self) -> bool {
        (0..2).all(|axis| {
            self.size[axis] + self.pads[axis] + self.pads[axis + 2]
                > self.dilations[axis] * (self.kernel[axis] - 1)
        })
    }

    fn conv(&self, rows: i64, group: i64) -> Vec<u8> {
        around(self.size[0], self.size[1], rows * self.area(), 3, |model| {
            model.layer("conv", &[rows, 4 / group, self.kernel[0], self.kernel[1]]);
            let attributes = vec![
                ints("kernel_shape", &self.kernel),
                ints("strides", &self.strides),
                ints("dilations", &self.dilations),
                ints("pads", &self.pads),
                int("group", group),
            ];
            model
                .then("Conv", "conv", &["conv.weight", "conv.bias"], attributes)
                .then("Tanh", "tanh", &[], vec![]);
        })
    }

    fn pool(&self, operator: &str, counts_padding: bool, ceil: bool) -> Vec<u8> {
        let area = if ceil { self.ceil_area() } else { self.area() };
        around(self.size[0], self.size[1], 4 * area, 4, |model| {
            let mut attributes: Vec<AttributeProto> = vec![
                ints("kernel_shape", &self.kernel),
                ints("strides", &self.strides),
                ints("pads", &self.pads),
            ];
            if counts_padding {
                attributes.push(int("count_include_pad", 1));
            }
            if ceil {
                attributes.push(int("ceil_mode", 1));
            }
            model.then(operator, "pool", &[], attributes);
        })
    }
}

fn geometry() -> impl Strategy<Value = Geometry> {
    let pair = |range: std::ops::Range<i64>| prop::array::uniform2(range);
    (
        pair(3..9),
        pair(1..5),
        pair(1..4),
        pair(1..3),
        prop::array::uniform4(0..3i64),
    )
        .prop_map(|(size, kernel, strides, dilations, pads)| Geometry {
            size,
            kernel,
            strides,
            dilations,
            pads,
        })
        .prop_filter("the kernel must fit", Geometry::fits)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn convolutions_of_any_geometry_agree(geometry in geometry(), rows in 1..7i64, group in prop::sample::select(vec![1i64, 2, 4])) {
        check(&geometry.conv(rows * group, group), 1);
    }

    #[test]
    fn pools_of_any_geometry_agree(geometry in geometry(), average in any::<bool>(), counts_padding in any::<bool>(), ceil in any::<bool>()) {
        let mut geometry = Geometry { dilations: [1, 1], ..geometry };
        for axis in 0..4 {
            geometry.pads[axis] = geometry.pads[axis].min(geometry.kernel[axis % 2] / 2);
        }
        prop_assume!(geometry.fits());
        let operator = if average { "AveragePool" } else { "MaxPool" };
        check(&geometry.pool(operator, average && counts_padding, ceil), 2);
    }

    #[test]
    fn linear_layers_of_any_size_agree(rows in 1..40i64, columns in 1..70i64) {
        let mut model = Builder::new("test", 5, &[columns]);
        model.layer("one", &[rows, columns]);
        model.layer("two", &[3, rows]);
        model.then("Gemm", "one", &["one.weight", "one.bias"], vec![int("transB", 1)]);
        model.then("Relu", "relu", &[], vec![]);
        model.then("Gemm", "two", &["two.weight", "two.bias"], vec![int("transB", 1)]);
        check(&model.finish(&[3]), 5);
    }
}

#[test]
fn activations_agree() {
    for operator in ["Relu", "Tanh"] {
        check(
            &around(3, 5, 60, 6, |model| {
                model.then(operator, "activation", &[], vec![]);
            }),
            6,
        );
    }
}

#[test]
fn layers_without_a_bias_agree() {
    let mut model = Builder::new("test", 7, &[2, 6, 6]);
    model.weight("conv.weight", &[5, 2, 3, 3], 0.3);
    model.weight("classes.weight", &[3, 80], 0.3);
    model
        .then("Conv", "conv", &["conv.weight"], vec![])
        .then("Flatten", "flat", &[], vec![]);
    model.then(
        "Gemm",
        "classes",
        &["classes.weight"],
        vec![int("transB", 1)],
    );
    check(&model.finish(&[3]), 7);
}

#[test]
fn residual_connections_add_both_gradients() {
    let model = around(4, 4, 64, 8, |model| {
        model.layer("inner", &[4, 4, 3, 3]);
        let weights = ["before_output_0", "inner.weight", "inner.bias"];
        model.node("Conv", "inner", &weights, vec![ints("pads", &[1; 4])]);
        model.node("Add", "sum", &["inner_output_0", "before_output_0"], vec![]);
        model.node("Add", "double", &["sum_output_0", "sum_output_0"], vec![]);
        model.node(
            "Add",
            "input",
            &["double_output_0", "before_output_0"],
            vec![],
        );
    });
    check(&model, 8);
}

#[test]
fn added_weights_broadcast_and_gather_their_gradients() {
    for dims in [
        &[4, 1, 1][..],
        &[1, 4, 1, 1],
        &[5],
        &[3, 1],
        &[4, 3, 5],
        &[1],
    ] {
        let model = around(3, 5, 60, 9, |model| {
            model.weight("added", dims, 1.0);
            model.then("Add", "add", &["added"], vec![]);
        });
        check(&model, 9);
    }
}

#[test]
fn weights_shared_through_identity_are_trained_apart() {
    let mut model = Builder::new("test", 10, &[4]);
    model.layer("one", &[4, 4]);
    model.layer("classes", &[3, 4]);
    model.node("Identity", "two.bias", &["one.bias"], vec![]);
    model.node(
        "Gemm",
        "one",
        &[INPUT, "one.weight", "one.bias"],
        vec![int("transB", 1)],
    );
    model
        .then("Add", "add", &["two.bias_output_0"], vec![])
        .then("Tanh", "tanh", &[], vec![]);
    model.then(
        "Gemm",
        "classes",
        &["classes.weight", "classes.bias"],
        vec![int("transB", 1)],
    );
    let bytes = model.finish(&[3]);
    assert!(
        Graph::from_onnx(&bytes)
            .unwrap()
            .parameters()
            .iter()
            .any(|info| info.name == "two.bias_output_0")
    );
    check(&bytes, 10);
}

#[test]
fn the_built_in_network_agrees() {
    check(&mnist_cnn(11), 11);
}

#[test]
fn steps_that_the_output_does_not_need_have_no_gradient() {
    let model = around(3, 3, 36, 12, |model| {
        model.layer("unused", &[2, 4, 1, 1]);
        model.node(
            "Conv",
            "unused",
            &["before_output_0", "unused.weight", "unused.bias"],
            vec![],
        );
        model.node("Tanh", "tanh", &["before_output_0"], vec![]);
    });
    check(&model, 12);
}

/// Equal elements: the gradient goes to the first, and where an activation is zero, nowhere.
#[test]
fn ties_are_broken_as_pytorch_breaks_them() {
    let mut model = Builder::new("test", 13, &[1, 2, 2]);
    model.weight("shift", &[1], 0.5);
    model.layer("classes", &[2, 1]);
    model.then("Add", "add", &["shift"], vec![]);
    model.then("MaxPool", "pool", &[], vec![ints("kernel_shape", &[2, 2])]);
    model.then("Flatten", "flat", &[], vec![]);
    model.then(
        "Gemm",
        "classes",
        &["classes.weight", "classes.bias"],
        vec![int("transB", 1)],
    );
    let bytes = model.finish(&[2]);
    let graph = Graph::from_onnx(&bytes).unwrap();
    for isa in Isa::all() {
        let mut engine = LaneEngine::for_training(&graph, isa);
        engine.forward(&graph, graph.initial_weights(), &[1.0; 4]);
        engine.set_output_gradient(&graph, 0, &[1.0, 0.0]);
        let gradients = engine.backward(&graph, graph.initial_weights());
        let weight = graph
            .parameters()
            .iter()
            .find(|info| info.name == "classes.weight")
            .unwrap();
        // One of four equal elements passes the gradient on, so the shift gets it once.
        assert_eq!(gradients[0], graph.initial_weights()[weight.range.start]);
    }
    let reference = Reference::new(&{
        let mut model = Builder::new("test", 14, &[1]);
        model.layer("classes", &[2, 1]);
        model.then("Relu", "relu", &[], vec![]);
        model.then(
            "Gemm",
            "classes",
            &["classes.weight", "classes.bias"],
            vec![int("transB", 1)],
        );
        model.finish(&[2])
    });
    let gradient = reference.gradient(
        &Tensor {
            dims: vec![1],
            data: vec![0.0],
        },
        0,
    );
    assert_eq!(gradient[INPUT].data, [0.0]);
}

/// The reference itself, against differences of its loss, by up to 20 elements of each weight.
fn check_reference(model: &[u8], seed: u64) {
    let graph = Graph::from_onnx(model).unwrap();
    let mut reference = Reference::new(model);
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let input = numbers(&mut rng, graph.input_shape().elements());
    let input = Tensor {
        dims: graph.input_shape().dims().to_vec(),
        data: input.into_iter().map(f64::from).collect(),
    };
    let gradient = reference.gradient(&input, 1);
    let names: Vec<String> = reference.weights.keys().cloned().collect();
    for name in names {
        for index in 0..reference.weights[&name].data.len().min(20) {
            const STEP: f64 = 1e-6;
            let mut loss_at = |shift: f64| {
                reference.weights.get_mut(&name).unwrap().data[index] += shift;
                let loss = reference.loss(&input, 1);
                reference.weights.get_mut(&name).unwrap().data[index] -= shift;
                loss
            };
            let slope = (loss_at(STEP) - loss_at(-STEP)) / (2.0 * STEP);
            let exact = gradient[&name].data[index];
            assert!(
                (slope - exact).abs() <= 1e-6 * (1.0 + exact.abs()),
                "{name}[{index}]: {slope} and {exact}"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn the_reference_of_convolutions_agrees_with_finite_differences(
        geometry in geometry(), rows in 1..3i64, group in prop::sample::select(vec![1i64, 2, 4]), seed in 0..1000u64,
    ) {
        check_reference(&geometry.conv(rows * group, group), seed);
    }

    #[test]
    fn the_reference_of_pools_agrees_with_finite_differences(
        geometry in geometry(), average in any::<bool>(), counts_padding in any::<bool>(), ceil in any::<bool>(),
        seed in 0..1000u64,
    ) {
        let mut geometry = Geometry { dilations: [1, 1], ..geometry };
        for axis in 0..4 {
            geometry.pads[axis] = geometry.pads[axis].min(geometry.kernel[axis % 2] / 2);
        }
        prop_assume!(geometry.fits());
        let operator = if average { "AveragePool" } else { "MaxPool" };
        check_reference(&geometry.pool(operator, average && counts_padding, ceil), seed);
    }
}
