//! Gemm and MatMul: linear layers over rows of each example, and products of two tensors of each example.

use std::ops::Range;

use super::affine::Affine;
use super::gemm;
use super::side::together;
use crate::graph::error::GraphError;
use crate::graph::index;
use crate::graph::node::Node;
use crate::graph::operator::{Backward, Forward, Operator};
use crate::graph::pending::{self, product_view};
use crate::graph::plan::{Imported, Pending, Stored, Term, Value};
use crate::graph::shape::display_dims;
use crate::products::Convolution;

/// `Gemm` with a weight, as linear layers are exported.
pub(crate) fn import_gemm(node: &mut Node<'_, '_>) -> Result<Imported, GraphError> {
    node.expect_inputs(2..=3)?;
    node.expect_attributes(&["alpha", "beta", "transA", "transB"])?;
    node.expect_float("alpha", 1.0)?;
    node.expect_float("beta", 1.0)?;
    node.expect_int("transA", 0)?;
    let input = node.any_value(0)?;
    let stored = matrix(node, 1)?;
    let weight = match node.int("transB", 0)? {
        0 => stored,
        _ => Stored {
            dims: vec![stored.dims[1], stored.dims[0]],
            transposed: !stored.transposed,
            ..stored
        },
    };
    let bias = if node.has_input(2) {
        let bias = node.stored(2)?;
        let outputs = weight.dims[1];
        if bias.dims != [outputs] && bias.dims != [1, outputs] {
            return Err(node.shape(
                format!("`{}` of {outputs}", bias.tensor),
                display_dims(&bias.dims),
            ));
        }
        Some((bias, node.index, 2))
    } else {
        None
    };
    let product = product(node, input, weight)?;
    pending::product(node, product, bias).map(|value| Imported::Term(Term::Value(value)))
}

/// `MatMul` with a weight, or of two tensors of each example.
pub(crate) fn import_matmul(node: &mut Node<'_, '_>) -> Result<Imported, GraphError> {
    node.expect_inputs(2..=2)?;
    node.expect_attributes(&[])?;
    let input = node.any_value(0)?;
    if let Term::Stored(_) = node.term(1)? {
        let weight = matrix(node, 1)?;
        let product = product(node, input, weight)?;
        let waits = node
            .only_consumer()
            .is_some_and(|consumer| consumer.op_type == "Add");
        return Ok(Imported::Term(if waits {
            Term::Pending(product)
        } else {
            Term::Value(pending::force(node, product)?)
        }));
    }
    let right = node.any_value(1)?;
    batched(node, input, right)
}

fn matrix(node: &Node<'_, '_>, index: usize) -> Result<Stored, GraphError> {
    let stored = node.stored(index)?;
    if stored.dims.len() == 2 && stored.picked.is_none() {
        return Ok(stored);
    }
    Err(node.shape(
        format!(
            "`{}` of 2 dimensions, as it stands in the file",
            stored.tensor
        ),
        display_dims(&stored.dims),
    ))
}

/// A product of rows with a matrix that is seen as inputs x outputs.
fn product(node: &Node<'_, '_>, input: Value, weight: Stored) -> Result<Pending, GraphError> {
    let [inputs, outputs] = [weight.dims[0], weight.dims[1]];
    let view = product_view(&input.view, inputs, outputs).ok_or_else(|| {
        node.shape(
            format!(
                "rows of {inputs}, for `{}` of {inputs}x{outputs} (inputs x outputs)",
                weight.tensor
            ),
            input.view.display(),
        )
    })?;
    node.output_shape(view.dims.clone())?;
    Ok(Pending::Product {
        input,
        weight,
        node: node.index,
        which: 1,
        view,
    })
}

/// The operator of a linear layer over so many rows of each example.
pub(crate) fn operator(
    rows: usize,
    inputs: usize,
    outputs: usize,
    outputs_first: bool,
    weights: Range<usize>,
    bias: Option<Range<usize>>,
) -> Box<dyn Operator> {
    let bias = bias.unwrap_or(weights.end..weights.end);
    if !outputs_first {
        let convolution = Convolution::linear(outputs, inputs);
        return Box::new(Affine::turned(convolution, rows, weights, bias));
    }
    if rows == 1 {
        return gemm::operator(inputs, outputs, weights, bias);
    }
    let convolution = Convolution::linear(inputs, outputs);
    Box::new(Affine::new(convolution, rows, weights, bias))
}

/// A product of two tensors of each example, matrix by matrix.
fn batched(node: &mut Node<'_, '_>, left: Value, right: Value) -> Result<Imported, GraphError> {
    let refusal = |node: &Node<'_, '_>| {
        node.shape(
            format!(
                "matrices that can be multiplied, beside {}",
                left.view.display()
            ),
            right.view.display(),
        )
    };
    let (a, b) = (&left.view, &right.view);
    let (&[.., m, k], &[.., inner, n]) = (a.dims.as_slice(), b.dims.as_slice()) else {
        return Err(refusal(node));
    };
    // The examples must count matrices, not rows of them.
    let counts = |view: &crate::graph::view::View| view.axis + 2 < view.dims.len();
    if inner != k || !counts(a) || !counts(b) {
        return Err(refusal(node));
    }
    let stacked = |view: &crate::graph::view::View| {
        let mut dims = view.dims.clone();
        let rank = dims.len();
        dims[rank - 2..].fill(1);
        view.with_dims(dims)
    };
    let together = together(&stacked(a), &stacked(b)).ok_or_else(|| refusal(node))?;
    let matrices = |own: &crate::graph::view::View| {
        index::broadcast(&stacked(own).dims, &together.dims).ok_or_else(|| refusal(node))
    };
    let pairs: Vec<[usize; 2]> = matrices(a)?
        .into_iter()
        .zip(matrices(b)?)
        .map(|(left, right)| [left, right])
        .collect();
    let mut view = together;
    let rank = view.dims.len();
    view.dims[rank - 2] = m;
    view.dims[rank - 1] = n;
    node.output_shape(view.dims.clone())?;
    let operator = Box::new(MatMul {
        pairs,
        sizes: [m, k, n],
        whole: [a, b].map(|view| view.dims.iter().product()),
    });
    let value = node.push(operator, vec![left, right], view)?;
    Ok(Imported::Term(Term::Value(value)))
}

#[derive(Debug)]
struct MatMul {
    /// For each matrix of the output those that it is the product of.
    pairs: Vec<[usize; 2]>,
    /// m x k times k x n.
    sizes: [usize; 3],
    /// Elements of one example's operands.
    whole: [usize; 2],
}

impl Operator for MatMul {
    fn forward(&self, pass: &mut Forward<'_>) {
        let [m, k, n] = self.sizes;
        pass.output.fill(0.0);
        for (index, output) in pass.output.chunks_exact_mut(m * n).enumerate() {
            let (example, pair) = (
                index / self.pairs.len(),
                self.pairs[index % self.pairs.len()],
            );
            let left = &pass.inputs[0][example * self.whole[0] + pair[0] * m * k..][..m * k];
            let right = &pass.inputs[1][example * self.whole[1] + pair[1] * k * n..][..k * n];
            multiply(left, right, output, k, n);
        }
    }

    /// `dA = dY Bᵀ`, `dB = Aᵀ dY`.
    fn backward(&self, pass: &mut Backward<'_>) {
        let [m, k, n] = self.sizes;
        let [turned] = pass.scratch.split([k * n.max(m)]);
        for which in 0..2 {
            let Some(target) = &mut pass.input_gradients[which] else {
                continue;
            };
            target.fill(0.0);
            for (index, gradient) in pass.output_gradient.chunks_exact(m * n).enumerate() {
                let (example, pair) = (
                    index / self.pairs.len(),
                    self.pairs[index % self.pairs.len()],
                );
                let other = 1 - which;
                let size = if which == 0 { k * n } else { m * k };
                let operand =
                    &pass.inputs[other][example * self.whole[other] + pair[other] * size..][..size];
                let own = if which == 0 { m * k } else { k * n };
                let target = &mut target[example * self.whole[which] + pair[which] * own..][..own];
                if which == 0 {
                    transpose(operand, &mut turned[..k * n], k, n);
                    multiply(gradient, &turned[..k * n], target, n, k);
                } else {
                    transpose(operand, &mut turned[..m * k], m, k);
                    multiply(&turned[..m * k], gradient, target, m, n);
                }
            }
        }
    }
}

/// `output += left right`, row by row of the right side, which the compiler keeps in vector registers.
fn multiply(left: &[f32], right: &[f32], output: &mut [f32], terms: usize, columns: usize) {
    for (left, output) in left
        .chunks_exact(terms)
        .zip(output.chunks_exact_mut(columns))
    {
        for (&factor, right) in left.iter().zip(right.chunks_exact(columns)) {
            for (sum, value) in output.iter_mut().zip(right) {
                *sum += factor * value;
            }
        }
    }
}

fn transpose(matrix: &[f32], turned: &mut [f32], rows: usize, columns: usize) {
    for row in 0..rows {
        for column in 0..columns {
            turned[column * rows + row] = matrix[row * columns + column];
        }
    }
}
