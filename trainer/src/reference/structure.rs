//! Operators that cut tensors up, put them together, multiply and compare them, one after another; and normalisations and
//! softmax of any size.

use proptest::prelude::*;

use super::operators::{Case, floats, normalised, whole};
use crate::models::builder::{Builder, int, ints};

/// A constant that nodes name.
fn threshold(model: Case) -> Case {
    model.constant(floats("val_1", &[], &[0.1]))
}

#[test]
fn parts_that_are_cut_off_and_put_together_agree() {
    Case::new("Split", &[4, 3], &[7, 3])
        .constant(whole("sizes", &[1, 3]))
        .nodes(|model| {
            let input = model.last();
            model.node("Split", "cut", &[&input, "sizes"], vec![int("axis", 1)]);
            model.outputs(&["first", "rest"]);
            model.node("Tanh", "tanh", &["rest"], vec![]);
            let parts = ["tanh_output_0", "first", "rest"];
            model.node("Concat", "tested", &parts, vec![int("axis", 1)]);
        })
        .check(1, |x, _| {
            let rest = &x[3..];
            let tanh = rest.iter().map(|x| x.tanh());
            tanh.chain(x[..3].iter().copied())
                .chain(rest.iter().copied())
                .collect()
        });
    // In equal parts, by a negative axis, of which one is not used.
    Case::new("Split", &[2, 4], &[2, 2])
        .nodes(|model| {
            model.then(
                "Split",
                "cut",
                &[],
                vec![int("axis", -1), int("num_outputs", 2)],
            );
            model.outputs(&["left", "right"]);
            model.node("Neg", "tested", &["right"], vec![]);
        })
        .check(2, |x, _| [2, 3, 6, 7].map(|i| -x[i]).to_vec());
    Case::new("Concat", &[2, 2], &[2, 4])
        .nodes(|model| {
            let input = model.last();
            model.then("Exp", "exp", &[], vec![]);
            let parts = [input.as_str(), "exp_output_0"];
            model.node("Concat", "tested", &parts, vec![int("axis", 2)]);
        })
        .check(3, |x, _| {
            let row = |i: usize| [x[i], x[i + 1], x[i].exp(), x[i + 1].exp()];
            [row(0), row(2)].concat()
        });
    Case::new("Expand", &[1, 3], &[4, 3])
        .constant(whole("shape", &[1, 4, 3]))
        .check(4, |x, _| (0..12).map(|i| x[i % 3]).collect());
    Case::new("Unsqueeze", &[2, 3], &[3, 2])
        .constant(whole("axes", &[1]))
        .nodes(|model| {
            model.then("Unsqueeze", "wide", &["axes"], vec![]);
            model.then(
                "Transpose",
                "turned",
                &[],
                vec![ints("perm", &[0, 3, 2, 1])],
            );
            model.then("Squeeze", "tested", &["last"], vec![]);
        })
        .constant(whole("last", &[3]))
        .check(5, |x, _| [0, 3, 1, 4, 2, 5].map(|i| x[i]).to_vec());
}

/// `softmax(x xᵀ / 2) x`, two heads of three positions.
#[test]
fn attention_agrees() {
    Case::new("MatMul", &[2, 3, 4], &[2, 3, 4])
        .constant(floats("val_1", &[], &[2.0]))
        .nodes(|model| {
            let input = model.last();
            model.then("Transpose", "keys", &[], vec![ints("perm", &[0, 1, 3, 2])]);
            model.node("MatMul", "scores", &[&input, "keys_output_0"], vec![]);
            model.then("Div", "scaled", &["val_1"], vec![]);
            model.then("Softmax", "weights", &[], vec![int("axis", -1)]);
            model.then("MatMul", "tested", &[&input], vec![]);
        })
        .check(6, |x, _| {
            let head = |x: &[f64]| -> Vec<f64> {
                let row = |i: usize| &x[i * 4..][..4];
                let along = |i: usize, j: usize| row(i).iter().zip(row(j)).map(|(a, b)| a * b);
                let weight = |i: usize, j: usize| (along(i, j).sum::<f64>() / 2.0).exp();
                (0..12)
                    .map(|at| {
                        let all: f64 = (0..3).map(|j| weight(at / 4, j)).sum();
                        let value = |j: usize| weight(at / 4, j) * row(j)[at % 4];
                        (0..3).map(value).sum::<f64>() / all
                    })
                    .collect()
            };
            x.chunks(12).flat_map(head).collect()
        });
}

#[test]
fn choices_by_comparison_agree() {
    type Compare = (&'static str, fn(&mut Builder), fn(f64) -> bool);
    let comparisons: [Compare; 5] = [
        (
            "Greater",
            |model| choose(model, "Greater"),
            |x| x > 0.1f32.into(),
        ),
        (
            "GreaterOrEqual",
            |model| choose(model, "GreaterOrEqual"),
            |x| x >= 0.1f32.into(),
        ),
        ("Less", |model| choose(model, "Less"), |x| x < 0.1f32.into()),
        (
            "LessOrEqual",
            |model| choose(model, "LessOrEqual"),
            |x| x <= 0.1f32.into(),
        ),
        (
            "Equal",
            |model| choose(model, "Equal"),
            |x| x == f64::from(0.1f32),
        ),
    ];
    for (seed, (operator, nodes, holds)) in comparisons.into_iter().enumerate() {
        threshold(Case::new(operator, &[3, 4], &[3, 4]).nodes(nodes)).check(
            10 + seed as u64,
            |x, _| {
                let value = |&x: &f64| if holds(x) { x.exp() } else { -x };
                x.iter().map(value).collect()
            },
        );
    }
    // As a factor.
    threshold(Case::new("Cast", &[5], &[5]).nodes(|model| {
        let input = model.last();
        model.then("Less", "less", &["val_1"], vec![]);
        model.then("Cast", "factor", &[], vec![int("to", 1)]);
        model.then("Mul", "tested", &[&input], vec![]);
    }))
    .check(20, |x, _| {
        let value = |&x: &f64| if x < 0.1f32.into() { x } else { 0.0 };
        x.iter().map(value).collect()
    });
}

/// `e^x` where a comparison holds, and `-x` elsewhere.
fn choose(model: &mut Builder, comparison: &str) {
    let input = model.last();
    model.node(comparison, "compared", &[&input, "val_1"], vec![]);
    model.node("Exp", "exp", &[&input], vec![]);
    model.node("Neg", "neg", &[&input], vec![]);
    let operands = ["compared_output_0", "exp_output_0", "neg_output_0"];
    model.node("Where", "tested", &operands, vec![]);
}

#[test]
fn functions_with_limits_agree() {
    Case::new("Clip", &[3, 4], &[3, 4])
        .constant(floats("val_1", &[], &[-0.5]))
        .constant(floats("val_2", &[], &[0.75]))
        .check(30, |x, _| x.iter().map(|x| x.clamp(-0.5, 0.75)).collect());
    Case::new("HardSigmoid", &[6], &[6]).check(31, |x, _| {
        let slope = f64::from(0.2f32);
        x.iter()
            .map(|x| (slope * x + 0.5).clamp(0.0, 1.0))
            .collect()
    });
    type Chain = (fn(&mut Builder), fn(f64) -> f64);
    let chains: [Chain; 3] = [
        (|model| positive(model, "Sqrt"), |x| x.exp().sqrt()),
        (|model| positive(model, "Log"), |x| x),
        (|model| positive(model, "Reciprocal"), |x| (-x).exp()),
    ];
    for (seed, (nodes, function)) in chains.into_iter().enumerate() {
        Case::new("Exp", &[2, 3], &[2, 3])
            .nodes(nodes)
            .check(32 + seed as u64, |x, _| {
                x.iter().map(|&x| function(x)).collect()
            });
    }
    Case::new("ReduceSum", &[2, 3], &[2, 1])
        .constant(whole("axes", &[-1]))
        .attribute(int("keepdims", 1))
        .check(40, |x, _| x.chunks(3).map(|row| row.iter().sum()).collect());
}

/// An operator of what is above zero.
fn positive(model: &mut Builder, operator: &str) {
    model.then("Exp", "exp", &[], vec![]);
    model.then(operator, "tested", &[], vec![]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn group_norms_of_any_size_agree(
        groups in 1usize..4, each in 1usize..4, positions in 1usize..6, seed in 0u64..1000,
    ) {
        // Two or three elements may come out nearly equal, and their slope is then larger than 32 bits can follow.
        prop_assume!(each * positions > 3);
        let channels = groups * each;
        Case::new("GroupNormalization", &[channels as i64, positions as i64], &[channels as i64, positions as i64])
            .parameter("n.weight", &[channels as i64])
            .parameter("n.bias", &[channels as i64])
            .attribute(int("num_groups", groups as i64))
            .opset(21)
            .check(seed, |x, w| {
                let normal = normalised(x, each * positions).into_iter().enumerate();
                normal.map(|(i, x)| x * w[i / positions] + w[channels + i / positions]).collect()
            });
    }

    #[test]
    fn layer_norms_of_any_size_agree(
        rows in 1usize..5, outer in 1usize..4, inner in 4usize..8, both in any::<bool>(), seed in 0u64..1000,
    ) {
        let dims = [rows as i64, outer as i64, inner as i64];
        let (size, own) = if both { (outer * inner, &dims[1..]) } else { (inner, &dims[2..]) };
        Case::new("LayerNormalization", &dims, &dims)
            .parameter("n.weight", own)
            .parameter("n.bias", own)
            .attribute(int("axis", if both { 2 } else { -1 }))
            .check(seed, |x, w| {
                let normal = normalised(x, size).into_iter().enumerate();
                normal.map(|(i, x)| x * w[i % size] + w[size + i % size]).collect()
            });
    }

    #[test]
    fn softmax_along_any_axis_agrees(
        dims in prop::array::uniform3(1usize..5), axis in 0usize..3, log in any::<bool>(), seed in 0u64..1000,
    ) {
        let sizes = dims.map(|dim| dim as i64);
        let inner: usize = dims[axis + 1..].iter().product();
        let operator = if log { "LogSoftmax" } else { "Softmax" };
        Case::new(operator, &sizes, &sizes)
            .attribute(int("axis", axis as i64 + 1))
            .check(seed, |x, _| {
                (0..x.len())
                    .map(|i| {
                        let first = i / (inner * dims[axis]) * inner * dims[axis] + i % inner;
                        let all: f64 = (0..dims[axis]).map(|k| x[first + k * inner].exp()).sum();
                        if log { x[i] - all.ln() } else { x[i].exp() / all }
                    })
                    .collect()
            });
    }
}
