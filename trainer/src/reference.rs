//! Tests of forward and backward passes against a second implementation: plain loops in double precision over the ONNX
//! nodes themselves, with nothing in common with the engine. Its own gradients are held against finite differences.

use std::collections::HashMap;

use proptest::prelude::*;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use crate::engine::Engine;
use crate::graph::Graph;
use crate::grid::Grid;
use crate::lanes::{Isa, gather};
use crate::loss::LossConfig;
use crate::models::builder::{Builder, INPUT, int, ints};
use crate::models::mnist_cnn;
use crate::onnx::{AttributeProto, GraphProto, ModelProto, NodeProto};

/// A tensor of one example, or a weight.
#[derive(Clone, Debug)]
struct Tensor {
    dims: Vec<usize>,
    data: Vec<f64>,
}

impl Tensor {
    fn zeros(dims: &[usize]) -> Self {
        Self {
            dims: dims.to_vec(),
            data: vec![0.0; dims.iter().product()],
        }
    }

    fn image(&self) -> [usize; 3] {
        self.dims.clone().try_into().unwrap()
    }

    fn index(&self, c: usize, y: isize, x: isize) -> Option<usize> {
        let [_, height, width] = self.image();
        let (y, x) = (usize::try_from(y).ok()?, usize::try_from(x).ok()?);
        (y < height && x < width).then_some((c * height + y) * width + x)
    }
}

fn ints_of<const N: usize>(node: &NodeProto, name: &str, default: i64) -> [isize; N] {
    let attribute = node
        .attribute
        .iter()
        .find(|attribute| attribute.name == name);
    let values = attribute.map_or(vec![default; N], |attribute| attribute.ints.clone());
    values
        .iter()
        .map(|&value| value as isize)
        .collect::<Vec<_>>()
        .try_into()
        .unwrap()
}

fn int_of(node: &NodeProto, name: &str, default: i64) -> i64 {
    node.attribute
        .iter()
        .find(|attribute| attribute.name == name)
        .map_or(default, |attribute| attribute.i)
}

/// Calls `visit(output index, input index or None for padding, weight index)` for every product of a convolution.
fn conv_products(
    node: &NodeProto,
    input: &Tensor,
    weight: &Tensor,
    mut visit: impl FnMut(usize, Option<usize>, usize),
) -> Vec<usize> {
    let [channels, height, width] = input.image();
    let [rows, group_channels, kh, kw]: [usize; 4] = weight.dims.clone().try_into().unwrap();
    let [top, left, bottom, right] = ints_of::<4>(node, "pads", 0);
    let [sy, sx] = ints_of::<2>(node, "strides", 1);
    let [dy, dx] = ints_of::<2>(node, "dilations", 1);
    let groups = int_of(node, "group", 1) as usize;
    assert_eq!(group_channels * groups, channels);
    let out_height =
        ((height as isize + top + bottom - dy * (kh as isize - 1) - 1) / sy + 1) as usize;
    let out_width =
        ((width as isize + left + right - dx * (kw as isize - 1) - 1) / sx + 1) as usize;
    for o in 0..rows {
        for y in 0..out_height {
            for x in 0..out_width {
                for c in 0..group_channels {
                    for ky in 0..kh {
                        for kx in 0..kw {
                            let channel = o / (rows / groups) * group_channels + c;
                            let iy = y as isize * sy + ky as isize * dy - top;
                            let ix = x as isize * sx + kx as isize * dx - left;
                            let output = (o * out_height + y) * out_width + x;
                            visit(
                                output,
                                input.index(channel, iy, ix),
                                ((o * group_channels + c) * kh + ky) * kw + kx,
                            );
                        }
                    }
                }
            }
        }
    }
    vec![rows, out_height, out_width]
}

/// For every window of a pool: its output index and its elements inside the image.
fn pool_windows(node: &NodeProto, input: &Tensor) -> (Vec<usize>, Vec<Vec<usize>>) {
    let [channels, height, width] = input.image();
    let [kh, kw] = ints_of::<2>(node, "kernel_shape", 1);
    let [top, left, bottom, right] = ints_of::<4>(node, "pads", 0);
    let [sy, sx] = ints_of::<2>(node, "strides", 1);
    let out_height = ((height as isize + top + bottom - kh) / sy + 1) as usize;
    let out_width = ((width as isize + left + right - kw) / sx + 1) as usize;
    let mut windows = Vec::new();
    for c in 0..channels {
        for y in 0..out_height as isize {
            for x in 0..out_width as isize {
                let elements = (0..kh * kw)
                    .filter_map(|k| input.index(c, y * sy + k / kw - top, x * sx + k % kw - left));
                windows.push(elements.collect());
            }
        }
    }
    (vec![channels, out_height, out_width], windows)
}

/// For each element of `value`, the element of `weight` that broadcasting puts there.
fn broadcast_index(value: &[usize], weight: &[usize], mut element: usize) -> usize {
    let weight = if weight.len() > value.len() {
        &weight[1..]
    } else {
        weight
    };
    let (mut index, mut stride) = (0, 1);
    for back in 0..value.len() {
        let coordinate = element % value[value.len() - 1 - back];
        element /= value[value.len() - 1 - back];
        if back < weight.len() {
            let size = weight[weight.len() - 1 - back];
            index += if size == 1 { 0 } else { coordinate * stride };
            stride *= size;
        }
    }
    index
}

fn forward(node: &NodeProto, inputs: &[&Tensor]) -> Tensor {
    let input = inputs[0];
    match node.op_type.as_str() {
        "Conv" => {
            let dims = conv_products(node, input, inputs[1], |_, _, _| {});
            let mut output = Tensor::zeros(&dims);
            conv_products(node, input, inputs[1], |o, i, w| {
                output.data[o] += i.map_or(0.0, |i| input.data[i]) * inputs[1].data[w];
            });
            if let Some(bias) = inputs.get(2) {
                let area = dims[1] * dims[2];
                output
                    .data
                    .iter_mut()
                    .enumerate()
                    .for_each(|(o, value)| *value += bias.data[o / area]);
            }
            output
        }
        "Gemm" => {
            let [rows, columns]: [usize; 2] = inputs[1].dims.clone().try_into().unwrap();
            let mut output = Tensor::zeros(&[rows]);
            for o in 0..rows {
                output.data[o] = inputs.get(2).map_or(0.0, |bias| bias.data[o]);
                output.data[o] += (0..columns)
                    .map(|k| inputs[1].data[o * columns + k] * input.data[k])
                    .sum::<f64>();
            }
            output
        }
        "Relu" => Tensor {
            data: input.data.iter().map(|x| x.max(0.0)).collect(),
            ..input.clone()
        },
        "Tanh" => Tensor {
            data: input.data.iter().map(|x| x.tanh()).collect(),
            ..input.clone()
        },
        "MaxPool" => {
            let (dims, windows) = pool_windows(node, input);
            let largest = |window: &Vec<usize>| {
                window
                    .iter()
                    .map(|&i| input.data[i])
                    .fold(f64::NEG_INFINITY, f64::max)
            };
            Tensor {
                dims,
                data: windows.iter().map(largest).collect(),
            }
        }
        "AveragePool" => {
            let (dims, windows) = pool_windows(node, input);
            let mean = |window: &Vec<usize>| {
                window.iter().map(|&i| input.data[i]).sum::<f64>() / divisor(node, window)
            };
            Tensor {
                dims,
                data: windows.iter().map(mean).collect(),
            }
        }
        "Flatten" | "Reshape" => Tensor {
            dims: vec![input.data.len()],
            data: input.data.clone(),
        },
        "Identity" => input.clone(),
        "Add" => {
            let (value, other) = if inputs[0].data.len() >= inputs[1].data.len() {
                (inputs[0], inputs[1])
            } else {
                (inputs[1], inputs[0])
            };
            let sum = |(i, x): (usize, &f64)| {
                x + other.data[broadcast_index(&value.dims, &other.dims, i)]
            };
            Tensor {
                data: value.data.iter().enumerate().map(sum).collect(),
                ..value.clone()
            }
        }
        other => panic!("no reference for {other}"),
    }
}

fn divisor(node: &NodeProto, window: &[usize]) -> f64 {
    match int_of(node, "count_include_pad", 0) {
        0 => window.len() as f64,
        _ => ints_of::<2>(node, "kernel_shape", 1)
            .iter()
            .product::<isize>() as f64,
    }
}

/// The gradients of a node's inputs.
fn backward(
    node: &NodeProto,
    inputs: &[&Tensor],
    output: &Tensor,
    gradient: &Tensor,
) -> Vec<Tensor> {
    let mut result: Vec<Tensor> = inputs
        .iter()
        .map(|input| Tensor::zeros(&input.dims))
        .collect();
    match node.op_type.as_str() {
        "Conv" => {
            let (mut of_input, mut of_weight) = (result[0].clone(), result[1].clone());
            conv_products(node, inputs[0], inputs[1], |o, i, w| {
                if let Some(i) = i {
                    of_input.data[i] += gradient.data[o] * inputs[1].data[w];
                    of_weight.data[w] += gradient.data[o] * inputs[0].data[i];
                }
            });
            if let Some(of_bias) = result.get_mut(2) {
                let area = gradient.dims[1] * gradient.dims[2];
                gradient
                    .data
                    .iter()
                    .enumerate()
                    .for_each(|(o, value)| of_bias.data[o / area] += value);
            }
            (result[0], result[1]) = (of_input, of_weight);
        }
        "Gemm" => {
            let columns = inputs[1].dims[1];
            for (o, &value) in gradient.data.iter().enumerate() {
                for k in 0..columns {
                    result[0].data[k] += value * inputs[1].data[o * columns + k];
                    result[1].data[o * columns + k] += value * inputs[0].data[k];
                }
                if let Some(of_bias) = result.get_mut(2) {
                    of_bias.data[o] += value;
                }
            }
        }
        "Relu" => {
            for (i, value) in result[0].data.iter_mut().enumerate() {
                *value = if inputs[0].data[i] > 0.0 {
                    gradient.data[i]
                } else {
                    0.0
                };
            }
        }
        "Tanh" => {
            for (i, value) in result[0].data.iter_mut().enumerate() {
                *value = gradient.data[i] * (1.0 - output.data[i] * output.data[i]);
            }
        }
        "MaxPool" => {
            for (o, window) in pool_windows(node, inputs[0]).1.iter().enumerate() {
                let first = window
                    .iter()
                    .find(|&&i| inputs[0].data[i] == output.data[o])
                    .unwrap();
                result[0].data[*first] += gradient.data[o];
            }
        }
        "AveragePool" => {
            for (o, window) in pool_windows(node, inputs[0]).1.iter().enumerate() {
                window
                    .iter()
                    .for_each(|&i| result[0].data[i] += gradient.data[o] / divisor(node, window));
            }
        }
        "Flatten" | "Reshape" => result[0].data.clone_from(&gradient.data),
        // Of weights only, in these tests: what comes out is trained apart from what goes in.
        "Identity" => {}
        "Add" => {
            for (result, input) in result.iter_mut().zip(inputs) {
                for (i, value) in gradient.data.iter().enumerate() {
                    result.data[broadcast_index(&gradient.dims, &input.dims, i)] += value;
                }
            }
        }
        other => panic!("no reference for {other}"),
    }
    result
}

/// A network in double precision.
struct Reference {
    graph: GraphProto,
    weights: HashMap<String, Tensor>,
}

impl Reference {
    fn new(model: &[u8]) -> Self {
        let graph = ModelProto::read(model).unwrap().graph.unwrap();
        let tensors = graph
            .initializer
            .iter()
            .filter(|tensor| tensor.data_type == crate::onnx::FLOAT);
        let weights = tensors.map(|tensor| {
            let data = tensor
                .floats()
                .unwrap()
                .into_iter()
                .map(f64::from)
                .collect();
            (
                tensor.name.clone(),
                Tensor {
                    dims: tensor.shape().unwrap(),
                    data,
                },
            )
        });
        Self {
            weights: weights.collect(),
            graph,
        }
    }

    fn nodes(&self) -> impl DoubleEndedIterator<Item = &NodeProto> {
        self.graph
            .node
            .iter()
            .filter(|node| node.op_type != "Constant")
    }

    fn values(&self, input: &Tensor) -> HashMap<String, Tensor> {
        let mut values = self.weights.clone();
        values.insert(self.graph.input[0].name.clone(), input.clone());
        for node in self.nodes() {
            let inputs: Vec<&Tensor> = node
                .input
                .iter()
                .filter_map(|name| values.get(name))
                .collect();
            let output = forward(node, &inputs);
            values.insert(node.output[0].clone(), output);
        }
        values
    }

    fn output(&self, input: &Tensor) -> Vec<f64> {
        self.values(input)[&self.graph.output[0].name].data.clone()
    }

    fn loss(&self, input: &Tensor, label: usize) -> f64 {
        let output = self.output(input);
        let largest = output.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        output
            .iter()
            .map(|value| (value - largest).exp())
            .sum::<f64>()
            .ln()
            - (output[label] - largest)
    }

    /// The gradient of each weight.
    fn gradient(&self, input: &Tensor, label: usize) -> HashMap<String, Tensor> {
        let values = self.values(input);
        let output = &values[&self.graph.output[0].name];
        let sum: f64 = output.data.iter().map(|value| value.exp()).sum();
        let mut gradient = Tensor {
            data: output.data.iter().map(|value| value.exp() / sum).collect(),
            ..output.clone()
        };
        gradient.data[label] -= 1.0;
        let mut gradients = HashMap::from([(self.graph.output[0].name.clone(), gradient)]);
        for node in self.nodes().rev() {
            let Some(gradient) = gradients.get(&node.output[0]).cloned() else {
                continue;
            };
            let names: Vec<&String> = node
                .input
                .iter()
                .filter(|name| values.contains_key(*name))
                .collect();
            let inputs: Vec<&Tensor> = names.iter().map(|&name| &values[name]).collect();
            let found = backward(node, &inputs, &values[&node.output[0]], &gradient);
            for (name, part) in names.into_iter().zip(found) {
                let sum = gradients
                    .entry(name.clone())
                    .or_insert_with(|| Tensor::zeros(&part.dims));
                sum.data
                    .iter_mut()
                    .zip(&part.data)
                    .for_each(|(sum, part)| *sum += part);
            }
        }
        gradients
    }
}

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
    let graph = Graph::from_onnx(model).unwrap();
    let reference = Reference::new(model);
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let elements = graph.input_shape().elements();
    let classes = graph.output_shape().elements();
    let count = 5;
    let inputs = numbers(&mut rng, count * elements);
    let labels: Vec<u32> = (0..count)
        .map(|_| rng.next_u32() % classes as u32)
        .collect();
    let loss = LossConfig::CrossEntropy
        .build(graph.output_shape())
        .unwrap();
    let parameters = graph.parameter_count();
    let clipping_norm = 0.5f32;
    let grid = Grid::new(clipping_norm, parameters).unwrap();

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

    for isa in Isa::all() {
        let mut engine = Engine::for_training(&graph, isa);
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
                &graph,
                graph.initial_weights(),
                &inputs[first * elements..(first + lanes) * elements],
            );
            for lane in 0..lanes {
                let (mut output, mut gradient) = (vec![0.0; classes], vec![0.0; classes]);
                engine.output(&graph, lane, &mut output);
                let error = difference(
                    output.iter().copied().map(f64::from),
                    &expected_outputs[first + lane],
                );
                assert!(error <= 1e-5, "{width} lanes: outputs differ by {error}");
                loss.evaluate(&output, labels[first + lane], &mut gradient)
                    .unwrap();
                engine.set_output_gradient(&graph, lane, &gradient);
            }
            let gradients = engine.backward(&graph, graph.initial_weights());
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
        for expected in &expected_gradients {
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

    fn pool(&self, operator: &str, counts_padding: bool) -> Vec<u8> {
        around(self.size[0], self.size[1], 4 * self.area(), 4, |model| {
            let mut attributes: Vec<AttributeProto> = vec![
                ints("kernel_shape", &self.kernel),
                ints("strides", &self.strides),
                ints("pads", &self.pads),
            ];
            if counts_padding {
                attributes.push(int("count_include_pad", 1));
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
    fn pools_of_any_geometry_agree(geometry in geometry(), average in any::<bool>(), counts_padding in any::<bool>()) {
        let mut geometry = Geometry { dilations: [1, 1], ..geometry };
        for axis in 0..4 {
            geometry.pads[axis] = geometry.pads[axis].min(geometry.kernel[axis % 2] / 2);
        }
        prop_assume!(geometry.fits());
        let operator = if average { "AveragePool" } else { "MaxPool" };
        check(&geometry.pool(operator, average && counts_padding), 2);
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
        let mut engine = Engine::for_training(&graph, isa);
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

/// The reference itself, against differences of its loss.
#[test]
fn the_reference_agrees_with_finite_differences() {
    let geometry = Geometry {
        size: [6, 5],
        kernel: [3, 2],
        strides: [2, 1],
        dilations: [1, 2],
        pads: [1, 0, 2, 1],
    };
    let pool = Geometry {
        dilations: [1, 1],
        pads: [1, 0, 1, 1],
        ..geometry
    };
    let models = [
        geometry.conv(4, 2),
        pool.pool("MaxPool", false),
        pool.pool("AveragePool", false),
        pool.pool("AveragePool", true),
    ];
    for model in models {
        let mut reference = Reference::new(&model);
        let mut rng = ChaCha20Rng::seed_from_u64(15);
        let input = Tensor {
            dims: vec![2, 6, 5],
            data: numbers(&mut rng, 60).into_iter().map(f64::from).collect(),
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
}
