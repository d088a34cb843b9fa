//! Operators one by one: outputs, and gradients of inputs and parameters, against plain functions in double precision and
//! their central differences.
//!
//! Each network is `output = operator(input + shift)`, so that the gradient by `shift` is the one by the operator's input.

use proptest::prelude::*;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use super::numbers;
use crate::graph::{GradientPass, Graph, Scratch};
use crate::group::{GroupEngine, Packed, Visit};
use crate::lanes::Isa;
use crate::models::builder::{Builder, INPUT, int, ints};
use crate::onnx::{AttributeProto, FLOAT, INT64, ModelProto, TensorProto};
use prost::Message;

/// The gradient of one example's parameters, step by step.
struct Collect<'a> {
    graph: &'a Graph,
    example: usize,
    gradient: Vec<f32>,
}

impl Visit for Collect<'_> {
    fn visit(&mut self, step: usize, pass: &GradientPass<'_>, scratch: &mut Scratch) {
        let step = &self.graph.plan().steps[step];
        step.operator.gradients().unwrap().instantiate(
            pass,
            self.example..self.example + 1,
            scratch,
            &mut self.gradient[step.parameters.clone()],
        );
    }
}

/// A network under test.
pub(super) struct Case {
    dims: Vec<i64>,
    output: Vec<i64>,
    pub(super) operator: &'static str,
    attributes: Vec<AttributeProto>,
    /// Names, sizes and values of the operator's parameters.
    parameters: Vec<(&'static str, Vec<i64>)>,
    /// Constants behind them.
    constants: Vec<TensorProto>,
    /// Nodes in the place of the one operator; the last gives the output.
    nodes: Option<fn(&mut Builder)>,
    opset: i64,
}

impl Case {
    pub(super) fn new(operator: &'static str, dims: &[i64], output: &[i64]) -> Self {
        Self {
            dims: dims.to_vec(),
            output: output.to_vec(),
            operator,
            attributes: vec![],
            parameters: vec![],
            constants: vec![],
            nodes: None,
            opset: 20,
        }
    }

    pub(super) fn opset(mut self, opset: i64) -> Self {
        self.opset = opset;
        self
    }

    pub(super) fn nodes(mut self, nodes: fn(&mut Builder)) -> Self {
        self.nodes = Some(nodes);
        self
    }

    pub(super) fn attribute(mut self, attribute: AttributeProto) -> Self {
        self.attributes.push(attribute);
        self
    }

    pub(super) fn parameter(mut self, name: &'static str, dims: &[i64]) -> Self {
        self.parameters.push((name, dims.to_vec()));
        self
    }

    pub(super) fn constant(mut self, tensor: TensorProto) -> Self {
        self.constants.push(tensor);
        self
    }

    fn model(&self, seed: u64, flat: bool) -> Vec<u8> {
        let mut model = Builder::new("test", seed, &self.dims).opset(self.opset);
        model.weight("shift", &self.dims, 1.0);
        model.node("Add", "shifted", &[INPUT, "shift"], vec![]);
        for (name, dims) in &self.parameters {
            model.weight(name, dims, 1.0);
        }
        let mut inputs: Vec<&str> = self.parameters.iter().map(|(name, _)| *name).collect();
        inputs.extend(self.constants.iter().map(|tensor| tensor.name.as_str()));
        match self.nodes {
            Some(nodes) => nodes(&mut model),
            None => {
                model.then(self.operator, "tested", &inputs, self.attributes.clone());
            }
        }
        let mut output = self.output.clone();
        if flat {
            model.then("Flatten", "flat", &[], vec![]);
            output = vec![output.iter().product()];
        }
        let mut model = ModelProto::read(&model.finish(&output)).unwrap();
        let graph = model.graph.as_mut().unwrap();
        graph.initializer.extend(self.constants.iter().cloned());
        model.encode_to_vec()
    }

    /// Compares the engine with `reference`, a function of one example's input and the parameters one after the other.
    #[track_caller]
    pub(super) fn check(&self, seed: u64, reference: impl Fn(&[f64], &[f64]) -> Vec<f64>) {
        const EXAMPLES: usize = 3;
        let graph = Graph::from_onnx(&self.model(seed, false)).unwrap();
        let expected: Vec<usize> = self.output.iter().map(|&dim| dim as usize).collect();
        assert_eq!(graph.output_shape().dims(), expected, "{}", self.operator);
        let weights = graph.initial_weights();
        let elements = graph.input_shape().elements();
        let outputs = graph.output_shape().elements();
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let inputs = numbers(&mut rng, EXAMPLES * elements);
        let direction = numbers(&mut rng, outputs);

        let mut packed = Packed::new(&graph);
        packed.pack(&graph, weights, 1);
        let keep = vec![true; graph.plan().steps.len()];
        let mut engine = GroupEngine::for_training(&graph, Isa::best(), EXAMPLES, &keep);
        engine.forward(&graph, weights, &packed, &inputs);
        let got = engine.outputs(&graph, EXAMPLES).to_vec();
        for example in 0..EXAMPLES {
            let (_, gradient) = engine.outputs_and_gradients(&graph, EXAMPLES);
            for own in gradient.chunks_exact_mut(outputs) {
                own.copy_from_slice(&direction);
            }
            let mut collect = Collect {
                graph: &graph,
                example,
                gradient: vec![0.0; weights.len()],
            };
            engine.backward(&graph, weights, &packed, EXAMPLES, &mut collect);

            let input: Vec<f64> = inputs[example * elements..(example + 1) * elements]
                .iter()
                .map(|&value| f64::from(value))
                .collect();
            let weights: Vec<f64> = weights.iter().map(|&weight| f64::from(weight)).collect();
            let run = |weights: &[f64]| {
                let (shift, own) = weights.split_at(elements);
                let shifted: Vec<f64> = input.iter().zip(shift).map(|(a, b)| a + b).collect();
                reference(&shifted, own)
            };
            let own = &got[example * outputs..(example + 1) * outputs];
            close(own, &run(&weights), self.operator, "output");
            let score = |weights: &[f64]| -> f64 {
                let values = run(weights);
                values
                    .iter()
                    .zip(&direction)
                    .map(|(a, &b)| a * f64::from(b))
                    .sum()
            };
            let expected = slopes(&weights, score);
            close(&collect.gradient, &expected, self.operator, "gradient");
        }
    }

    /// Compares both engines, in every strategy, with the gradients of the cross-entropy of `reference`: each example's
    /// norm, the clipped sum and the plain one.
    pub(super) fn check_strategies(
        &self,
        seed: u64,
        reference: impl Fn(&[f64], &[f64]) -> Vec<f64>,
    ) {
        let graph = Graph::from_onnx(&self.model(seed, true)).unwrap();
        let weights: Vec<f64> = (graph.initial_weights().iter())
            .map(|&weight| f64::from(weight))
            .collect();
        let elements = graph.input_shape().elements();
        let classes = graph.output_shape().elements() as u32;
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let inputs = numbers(&mut rng, super::EXAMPLES * elements);
        let labels: Vec<u32> = (0..super::EXAMPLES)
            .map(|_| rng.next_u32() % classes)
            .collect();
        let (mut gradients, mut outputs) = (Vec::new(), Vec::new());
        for (input, &label) in inputs.chunks_exact(elements).zip(&labels) {
            let run = |weights: &[f64]| {
                let (shift, own) = weights.split_at(elements);
                let input = input.iter().map(|&value| f64::from(value));
                let shifted: Vec<f64> = input.zip(shift).map(|(a, b)| a + b).collect();
                reference(&shifted, own)
            };
            gradients.push(slopes(&weights, |weights| {
                let output = run(weights);
                let sum: f64 = output.iter().map(|value| value.exp()).sum();
                sum.ln() - output[label as usize]
            }));
            outputs.push(run(&weights));
        }
        super::check_engines(&graph, (&inputs, &labels), &gradients, &outputs);
    }
}

/// Central differences of a function by each number that it takes.
fn slopes(at: &[f64], function: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    const STEP: f64 = 1e-5;
    (0..at.len())
        .map(|index| {
            let mut moved = at.to_vec();
            moved[index] += STEP;
            let above = function(&moved);
            moved[index] -= 2.0 * STEP;
            (above - function(&moved)) / (2.0 * STEP)
        })
        .collect()
}

/// Differences relative to the largest number of a tensor: single precision rounds sums, not elements.
#[track_caller]
fn close(got: &[f32], expected: &[f64], operator: &str, what: &str) {
    assert_eq!(got.len(), expected.len(), "{operator}: {what}");
    let largest = expected
        .iter()
        .fold(1e-3f64, |all, value| all.max(value.abs()));
    for (index, (&got, &expected)) in got.iter().zip(expected).enumerate() {
        assert!(
            (f64::from(got) - expected).abs() <= 1e-5 * largest,
            "{operator}: {what} {index} is {got}, expected {expected}"
        );
    }
}

fn tensor(name: &str, dims: &[i64], data_type: i32, raw_data: Vec<u8>) -> TensorProto {
    TensorProto {
        name: name.to_owned(),
        dims: dims.to_vec(),
        data_type,
        raw_data,
        ..TensorProto::default()
    }
}

pub(super) fn whole(name: &str, values: &[i64]) -> TensorProto {
    let bytes = values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    tensor(name, &[values.len() as i64], INT64, bytes)
}

/// A constant: its name is one that an exporter made up.
pub(super) fn floats(name: &str, dims: &[i64], values: &[f32]) -> TensorProto {
    let bytes = values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    tensor(name, dims, FLOAT, bytes)
}

fn text(name: &str, value: &str) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        s: value.as_bytes().to_vec(),
        kind: AttributeProto::STRING,
        ..AttributeProto::default()
    }
}

#[test]
fn functions_of_one_number_agree() {
    let softplus = |x: f64| (1.0 + x.exp()).ln();
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    let gelu = |x: f64| 0.5 * x * (1.0 + libm::erf(x / 2f64.sqrt()));
    let functions: [(&str, &dyn Fn(f64) -> f64); 9] = [
        ("LeakyRelu", &|x| {
            if x < 0.0 { f64::from(0.01f32) * x } else { x }
        }),
        ("Elu", &|x| if x < 0.0 { x.exp() - 1.0 } else { x }),
        ("Sigmoid", &sigmoid),
        ("Softplus", &softplus),
        ("Gelu", &gelu),
        ("Erf", &libm::erf),
        ("Exp", &f64::exp),
        ("Neg", &|x| -x),
        ("HardSwish", &|x| x * (x / 6.0 + 0.5).clamp(0.0, 1.0)),
    ];
    for (seed, (operator, function)) in functions.into_iter().enumerate() {
        Case::new(operator, &[3, 5], &[3, 5])
            .check(seed as u64, |x, _| x.iter().map(|&x| function(x)).collect());
    }
    Case::new("Gelu", &[7], &[7])
        .attribute(text("approximate", "tanh"))
        .check(1, |x, _| {
            let root = (2.0 / std::f64::consts::PI).sqrt();
            x.iter()
                .map(|&x| 0.5 * x * (1.0 + (root * (x + 0.044715 * x.powi(3))).tanh()))
                .collect()
        });
}

#[test]
fn operators_of_two_operands_agree_with_parameters_and_constants() {
    type Binary<'a> = (&'a str, &'a dyn Fn(f64, f64) -> f64);
    let by: [Binary<'_>; 4] = [
        ("Add", &|a, b| a + b),
        ("Sub", &|a, b| a - b),
        ("Mul", &|a, b| a * b),
        ("Div", &|a, b| a / b),
    ];
    for (seed, (operator, function)) in by.into_iter().enumerate() {
        Case::new(operator, &[2, 3], &[2, 3])
            .parameter("own.scale", &[3])
            .check(40 + seed as u64, |x, w| {
                let value = |(index, &x): (usize, &f64)| function(x, w[index % 3]);
                x.iter().enumerate().map(value).collect()
            });
        Case::new(operator, &[2, 3], &[2, 3])
            .constant(floats("val_1", &[2, 1], &[0.5, -2.0]))
            .check(50 + seed as u64, |x, _| {
                let value = |(index, &x): (usize, &f64)| function(x, [0.5, -2.0][index / 3]);
                x.iter().enumerate().map(value).collect()
            });
    }
    Case::new("Pow", &[4], &[4])
        .constant(floats("val_1", &[], &[3.0]))
        .check(60, |x, _| x.iter().map(|x| x.powi(3)).collect());
}

#[test]
fn tensors_moved_about_agree() {
    Case::new("Transpose", &[2, 3, 4], &[4, 2, 3])
        .attribute(ints("perm", &[0, 3, 1, 2]))
        .check(1, |x, _| {
            let at = |i: usize| x[(i / 3 % 2 * 3 + i % 3) * 4 + i / 6];
            (0..24).map(at).collect()
        });
    Case::new("Slice", &[5, 2], &[2, 2])
        .constant(whole("starts", &[-1]))
        .constant(whole("ends", &[0]))
        .constant(whole("axes", &[1]))
        .constant(whole("steps", &[-2]))
        .check(2, |x, _| [8, 9, 4, 5].map(|i| x[i]).to_vec());
    Case::new("Gather", &[3, 2], &[4, 2])
        .constant(whole("rows", &[0, 2, 2, -1]))
        .attribute(int("axis", 1))
        .check(3, |x, _| [0, 1, 4, 5, 4, 5, 4, 5].map(|i| x[i]).to_vec());
    Case::new("Pad", &[1, 3], &[1, 6])
        .constant(whole("pads", &[0, 0, 2, 0, 0, 1]))
        .attribute(text("mode", "reflect"))
        .check(4, |x, _| [2, 1, 0, 1, 2, 1].map(|i| x[i]).to_vec());
    Case::new("Pad", &[1, 3], &[1, 3])
        .constant(whole("pads", &[0, 0, 1, 0, 0, -1]))
        .check(5, |x, _| vec![0.0, x[0], x[1]]);
    Case::new("Resize", &[1, 2, 2], &[1, 4, 4])
        .constant(floats("val_9", &[0], &[]))
        .constant(floats("val_1", &[4], &[1.0, 1.0, 2.0, 2.0]))
        .attribute(text("mode", "nearest"))
        .attribute(text("coordinate_transformation_mode", "asymmetric"))
        .attribute(text("nearest_mode", "floor"))
        .check(6, |x, _| {
            (0..16).map(|i| x[i / 8 * 2 + i % 4 / 2]).collect()
        });
    Case::new("Resize", &[1, 1, 2], &[1, 1, 4])
        .constant(floats("val_9", &[0], &[]))
        .constant(floats("val_1", &[4], &[1.0, 1.0, 1.0, 2.0]))
        .attribute(text("mode", "linear"))
        .check(7, |x, _| {
            [0.0, 0.25, 0.75, 1.0]
                .map(|t| (1.0 - t) * x[0] + t * x[1])
                .to_vec()
        });
}

#[test]
fn reductions_and_softmax_agree() {
    Case::new("ReduceMean", &[2, 3, 2], &[2, 2])
        .constant(whole("axes", &[2]))
        .attribute(AttributeProto {
            name: "keepdims".into(),
            kind: AttributeProto::INT,
            ..AttributeProto::default()
        })
        .check(1, |x, _| {
            let mean = |i: usize| (0..3).map(|k| x[i / 2 * 6 + k * 2 + i % 2]).sum::<f64>() / 3.0;
            (0..4).map(mean).collect()
        });
    Case::new("GlobalAveragePool", &[2, 2, 3], &[2, 1, 1]).check(2, |x, _| {
        x.chunks(6).map(|c| c.iter().sum::<f64>() / 6.0).collect()
    });
    for (seed, operator) in ["Softmax", "LogSoftmax"].into_iter().enumerate() {
        Case::new(operator, &[3, 2], &[3, 2])
            .attribute(int("axis", 1))
            .check(10 + seed as u64, |x, _| {
                let sum = |i: usize| (0..3).map(|k| x[k * 2 + i % 2].exp()).sum::<f64>();
                let value = |i: usize| x[i].exp() / sum(i);
                (0..6)
                    .map(|i| {
                        if operator == "Softmax" {
                            value(i)
                        } else {
                            value(i).ln()
                        }
                    })
                    .collect()
            });
    }
}

/// Rows brought to mean 0 and variance 1.
pub(super) fn normalised(x: &[f64], size: usize) -> Vec<f64> {
    x.chunks(size)
        .flat_map(|row| {
            let mean = row.iter().sum::<f64>() / size as f64;
            let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / size as f64;
            let deviation = (variance + f64::from(1e-5f32)).sqrt();
            row.iter()
                .map(move |x| (x - mean) / deviation)
                .collect::<Vec<_>>()
        })
        .collect()
}

#[test]
fn normalisations_agree() {
    Case::new("LayerNormalization", &[3, 4], &[3, 4])
        .parameter("n.weight", &[4])
        .parameter("n.bias", &[4])
        .check(1, |x, w| {
            let value = |(i, x): (usize, f64)| x * w[i % 4] + w[4 + i % 4];
            normalised(x, 4)
                .into_iter()
                .enumerate()
                .map(value)
                .collect()
        });
    Case::new("InstanceNormalization", &[2, 3, 2], &[2, 3, 2])
        .parameter("n.weight", &[2])
        .parameter("n.bias", &[2])
        .check(2, |x, w| {
            let value = |(i, x): (usize, f64)| x * w[i / 6] + w[2 + i / 6];
            normalised(x, 6)
                .into_iter()
                .enumerate()
                .map(value)
                .collect()
        });
    let groups = Case::new("GroupNormalization", &[4, 3], &[4, 3])
        .parameter("n.weight", &[4])
        .parameter("n.bias", &[4])
        .attribute(int("num_groups", 2))
        .opset(21);
    groups.check(3, |x, w| {
        let value = |(i, x): (usize, f64)| x * w[i / 3] + w[4 + i / 3];
        normalised(x, 6)
            .into_iter()
            .enumerate()
            .map(value)
            .collect()
    });
}

#[test]
fn linear_layers_over_rows_agree() {
    Case::new("MatMul", &[3, 4], &[3, 2])
        .parameter("own.matrix", &[4, 2])
        .check(1, |x, w| {
            let value = |i: usize| (0..4).map(|k| x[i / 2 * 4 + k] * w[k * 2 + i % 2]).sum();
            (0..6).map(value).collect()
        });
}

/// The products of a transposed convolution in one dimension: output, input and weight.
fn transposed_products(
    [length, kernel, stride, pad, dilation]: [usize; 5],
    [channels, outputs, groups]: [usize; 3],
    size: usize,
) -> Vec<[usize; 3]> {
    let mut products = Vec::new();
    for c in 0..channels {
        let group = c / (channels / groups);
        for o in 0..outputs / groups {
            for (at, k) in (0..length).flat_map(|at| (0..kernel).map(move |k| (at, k))) {
                if let Some(y) = (at * stride + k * dilation).checked_sub(pad)
                    && y < size
                {
                    let output = (group * (outputs / groups) + o) * size + y;
                    products.push([
                        output,
                        c * length + at,
                        (c * (outputs / groups) + o) * kernel + k,
                    ]);
                }
            }
        }
    }
    products
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn transposed_convolutions_of_any_setting_agree(
        length in 1usize..5, kernel in 1usize..4, stride in 1usize..4, dilation in 1usize..3,
        pad in 0usize..2, groups in 1usize..3, seed in 0u64..1000,
    ) {
        let whole = (length - 1) * stride + (kernel - 1) * dilation + 1;
        prop_assume!(whole > 2 * pad);
        let size = whole - 2 * pad;
        let (channels, outputs) = (2 * groups, 3 * groups);
        let case = Case::new("ConvTranspose", &[channels as i64, length as i64], &[outputs as i64, size as i64])
            .parameter("t.weight", &[channels as i64, 3, kernel as i64])
            .parameter("t.bias", &[outputs as i64])
            .attribute(int("group", groups as i64))
            .attribute(ints("strides", &[stride as i64]))
            .attribute(ints("dilations", &[dilation as i64]))
            .attribute(ints("pads", &[pad as i64; 2]));
        let products = transposed_products([length, kernel, stride, pad, dilation], [channels, outputs, groups], size);
        let weights = channels * 3 * kernel;
        case.check(seed, |x, w| {
            let mut output: Vec<f64> = (0..outputs * size).map(|i| w[weights + i / size]).collect();
            for [o, i, k] in &products {
                output[*o] += x[*i] * w[*k];
            }
            output
        });
    }

    #[test]
    fn convolutions_in_one_dimension_agree(
        length in 4usize..9, kernel in 1usize..4, stride in 1usize..3, before in 0usize..3, after in 0usize..3,
        seed in 0u64..1000,
    ) {
        let size = (length + before + after - kernel) / stride + 1;
        let case = Case::new("Conv", &[2, length as i64], &[3, size as i64])
            .parameter("c.weight", &[3, 2, kernel as i64])
            .parameter("c.bias", &[3])
            .attribute(ints("strides", &[stride as i64]))
            .attribute(ints("pads", &[before as i64, after as i64]));
        case.check(seed, |x, w| {
            (0..3 * size)
                .map(|i| {
                    let (row, y) = (i / size, i % size);
                    let mut sum = w[6 * kernel + row];
                    for (c, k) in (0..2).flat_map(|c| (0..kernel).map(move |k| (c, k))) {
                        if let Some(at) = (y * stride + k).checked_sub(before) && at < length {
                            sum += x[c * length + at] * w[(row * 2 + c) * kernel + k];
                        }
                    }
                    sum
                })
                .collect()
        });
    }

    #[test]
    fn averages_with_ceil_mode_and_padding_agree(
        length in 4usize..9, kernel in 2usize..4, stride in 1usize..4, pad in 0usize..2, seed in 0u64..1000,
        counts in proptest::bool::ANY,
    ) {
        let mut size = (length + 2 * pad - kernel).div_ceil(stride) + 1;
        if (size - 1) * stride >= length + pad { size -= 1; }
        let mut case = Case::new("AveragePool", &[1, length as i64], &[1, size as i64])
            .attribute(ints("kernel_shape", &[kernel as i64]))
            .attribute(ints("strides", &[stride as i64]))
            .attribute(ints("pads", &[pad as i64; 2]))
            .attribute(int("ceil_mode", 1));
        if counts { case = case.attribute(int("count_include_pad", 1)); }
        case.check(seed, |x, _| {
            (0..size)
                .map(|y| {
                    let places = (0..kernel).map(|k| y * stride + k);
                    let inside: Vec<f64> = places.clone()
                        .filter_map(|at| at.checked_sub(pad).and_then(|at| x.get(at).copied()))
                        .collect();
                    let count = places.filter(|&at| at < length + 2 * pad).count();
                    inside.iter().sum::<f64>() / if counts { count } else { inside.len() } as f64
                })
                .collect()
        });
    }
}
