//! Every operator that has parameters, in every strategy and engine: each example's norm, the clipped sum and the plain one
//! against plain functions in double precision.

use std::collections::BTreeSet;

use super::check_lookups;
use super::operators::{Case, floats, normalised};
use crate::graph::registered_operators;
use crate::models::builder::{Builder, INPUT, int, ints};

/// What an operator computes, of one example's input and its parameters one after the other.
type Function = Box<dyn Fn(&[f64], &[f64]) -> Vec<f64>>;

#[test]
fn norms_and_sums_of_every_operator_with_parameters_agree() {
    for (seed, (case, function)) in cases().into_iter().enumerate() {
        case.check_strategies(80 + seed as u64, function);
    }
}

/// Whoever adds an operator says here that it has no parameters, or adds a case.
#[test]
fn every_operator_has_a_case_or_no_parameters() {
    let cases = cases();
    let mut cases: BTreeSet<&str> = cases.iter().map(|(case, _)| case.operator).collect();
    // Below, by a network that takes whole numbers.
    cases.insert("Gather");
    let without = BTreeSet::from(WITHOUT_PARAMETERS);
    let registered: BTreeSet<&str> = registered_operators().collect();
    let twice: Vec<_> = cases.intersection(&without).collect();
    assert!(twice.is_empty(), "{twice:?}");
    let known: BTreeSet<&str> = cases.union(&without).copied().collect();
    let differing: Vec<_> = known.symmetric_difference(&registered).collect();
    assert!(
        differing.is_empty(),
        "without a case, or not registered: {differing:?}"
    );
}

/// Operators that claim no tensor of the file.
const WITHOUT_PARAMETERS: [&str; 45] = [
    "AveragePool",
    "Cast",
    "Clip",
    "Concat",
    "Constant",
    "Dropout",
    "Elu",
    "Equal",
    "Erf",
    "Exp",
    "Flatten",
    "Gelu",
    "GlobalAveragePool",
    "Greater",
    "GreaterOrEqual",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "LeakyRelu",
    "Less",
    "LessOrEqual",
    "Log",
    "LogSoftmax",
    "MaxPool",
    "Neg",
    "Pad",
    "Reciprocal",
    "ReduceMean",
    "ReduceSum",
    "Relu",
    "Reshape",
    "Resize",
    "Shape",
    "Sigmoid",
    "Size",
    "Slice",
    "Softmax",
    "Softplus",
    "Split",
    "Sqrt",
    "Squeeze",
    "Tanh",
    "Transpose",
    "Unsqueeze",
    "Where",
];

#[test]
fn norms_and_sums_of_embeddings_agree() {
    const WORDS: i64 = 5;
    let mut model = Builder::new("test", 79, &[3]);
    model.weight("e.weight", &[WORDS, 2], 1.0);
    model.layer("fc", &[4, 6]);
    model.node("Gather", "e", &["e.weight", INPUT], vec![]);
    model.then("Flatten", "flat", &[], vec![]);
    let weights = ["fc.weight", "fc.bias"];
    model.then("Gemm", "fc", &weights, vec![int("transB", 1)]);
    check_lookups(&model.finish(&[4]), WORDS as u32, 79);
}

fn cases() -> Vec<(Case, Function)> {
    let mut cases: Vec<(Case, Function)> = vec![
        (
            Case::new("Conv", &[2, 4, 3], &[4, 2, 3])
                .parameter("c.weight", &[4, 1, 3, 1])
                .parameter("c.bias", &[4])
                .attribute(int("group", 2)),
            Box::new(|x, w| {
                let value = |i: usize| {
                    let (row, y, column) = (i / 6, i / 3 % 2, i % 3);
                    let taps =
                        (0..3).map(|k| x[(row / 2 * 4 + y + k) * 3 + column] * w[row * 3 + k]);
                    w[12 + row] + taps.sum::<f64>()
                };
                (0..24).map(value).collect()
            }),
        ),
        (
            Case::new("ConvTranspose", &[2, 3], &[2, 6])
                .parameter("t.weight", &[2, 2, 2])
                .parameter("t.bias", &[2])
                .attribute(ints("strides", &[2])),
            Box::new(|x, w| {
                let value = |i: usize| {
                    let (row, y) = (i / 6, i % 6);
                    let taps = (0..2).map(|c| x[c * 3 + y / 2] * w[(c * 2 + row) * 2 + y % 2]);
                    w[8 + row] + taps.sum::<f64>()
                };
                (0..12).map(value).collect()
            }),
        ),
        (
            Case::new("Gemm", &[5], &[3])
                .parameter("g.weight", &[3, 5])
                .parameter("g.bias", &[3])
                .attribute(int("transB", 1)),
            Box::new(|x, w| {
                let sum = |row: usize| (0..5).map(|k| x[k] * w[row * 5 + k]).sum::<f64>();
                (0..3).map(|row| w[15 + row] + sum(row)).collect()
            }),
        ),
        (
            Case::new("MatMul", &[3, 4], &[3, 2]).parameter("own.matrix", &[4, 2]),
            Box::new(|x, w| {
                let value = |i: usize| (0..4).map(|k| x[i / 2 * 4 + k] * w[k * 2 + i % 2]).sum();
                (0..6).map(value).collect()
            }),
        ),
        // A token that every example gets, as a class token.
        (
            Case::new("Expand", &[2, 3], &[2, 3])
                .parameter("token", &[1, 1, 3])
                .nodes(|model| {
                    model.node("Shape", "shape", &["shifted_output_0"], vec![]);
                    model.node("Expand", "tested", &["token", "shape_output_0"], vec![]);
                    model.then("Mul", "mul", &["shifted_output_0"], vec![]);
                }),
            Box::new(|x, w| (0..6).map(|i| x[i] * w[i % 3]).collect()),
        ),
        (
            Case::new("LayerNormalization", &[3, 4], &[3, 4])
                .parameter("n.weight", &[4])
                .parameter("n.bias", &[4]),
            Box::new(|x, w| affine(normalised(x, 4), |i| (w[i % 4], w[4 + i % 4]))),
        ),
        (
            Case::new("InstanceNormalization", &[2, 3, 2], &[2, 3, 2])
                .parameter("n.weight", &[2])
                .parameter("n.bias", &[2]),
            Box::new(|x, w| affine(normalised(x, 6), |i| (w[i / 6], w[2 + i / 6]))),
        ),
        (
            Case::new("GroupNormalization", &[4, 3], &[4, 3])
                .parameter("n.weight", &[4])
                .parameter("n.bias", &[4])
                .attribute(int("num_groups", 2))
                .opset(21),
            Box::new(|x, w| affine(normalised(x, 6), |i| (w[i / 3], w[4 + i / 3]))),
        ),
        // By its statistics, as it is evaluated; private training refuses it.
        (
            Case::new("BatchNormalization", &[2, 3], &[2, 3])
                .parameter("n.weight", &[2])
                .parameter("n.bias", &[2])
                .constant(floats("n.running_mean", &[2], &[0.5, -1.0]))
                .constant(floats("n.running_var", &[2], &[0.25, 2.0])),
            Box::new(|x, w| {
                let normal = |(i, x): (usize, &f64)| {
                    let variance = [0.25, 2.0][i / 3] + f64::from(1e-5f32);
                    (x - [0.5, -1.0][i / 3]) / variance.sqrt()
                };
                let normal = x.iter().enumerate().map(normal).collect();
                affine(normal, |i| (w[i / 3], w[2 + i / 3]))
            }),
        ),
        (
            Case::new("Pow", &[2, 3], &[2, 3])
                .parameter("exponent", &[3])
                .nodes(|model| {
                    model.node("Exp", "positive", &["shifted_output_0"], vec![]);
                    model.then("Pow", "tested", &["exponent"], vec![]);
                }),
            Box::new(|x, w| (0..6).map(|i| x[i].exp().powf(w[i % 3])).collect()),
        ),
    ];
    type Binary = fn(f64, f64) -> f64;
    let binary: [(&str, Binary); 4] = [
        ("Add", |a, b| a + b),
        ("Sub", |a, b| a - b),
        ("Mul", |a, b| a * b),
        ("Div", |a, b| a / b),
    ];
    for (operator, function) in binary {
        cases.push((
            Case::new(operator, &[2, 3], &[2, 3]).parameter("own.scale", &[3]),
            Box::new(move |x, w| (0..6).map(|i| function(x[i], w[i % 3])).collect()),
        ));
    }
    cases
}

fn affine(normal: Vec<f64>, part: impl Fn(usize) -> (f64, f64)) -> Vec<f64> {
    let value = |(i, x): (usize, f64)| {
        let (scale, shift) = part(i);
        x * scale + shift
    };
    normal.into_iter().enumerate().map(value).collect()
}
