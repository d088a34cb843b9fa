//! Rows of a weight, looked up by the whole numbers of each example.

use std::ops::Range;

use crate::graph::claims::Claim;
use crate::graph::error::GraphError;
use crate::graph::names::Role;
use crate::graph::node::Node;
use crate::graph::operator::{
    Backward, Forward, GradientPass, Operator, ParameterGradients, Scratch,
};
use crate::graph::plan::{Imported, Term};

pub(crate) fn import(node: &mut Node<'_, '_>, axis: i64) -> Result<Imported, GraphError> {
    let stored = node.stored(0)?;
    let indices = node.value_or_lookup(1)?;
    if !indices.integer {
        return Err(node.input_error(1, "of floats", "whole numbers"));
    }
    let &[rows, columns] = stored.dims.as_slice() else {
        return Err(node.shape("a weight of rows x columns", format!("{:?}", stored.dims)));
    };
    if axis != 0 || stored.transposed || stored.picked.is_some() {
        return Err(node.setting(
            format!("axis {axis} of a weight"),
            "axis 0, as torch.nn.Embedding",
        ));
    }
    let weights = node.claim_as(Claim {
        stored,
        node: node.index,
        input: 0,
        role: Role::Weight,
        name: None,
        dims: vec![rows, columns],
        transposed: false,
    })?;
    let mut dims = indices.view.dims.clone();
    dims.push(columns);
    let view = indices.view.with_dims(dims);
    let operator = Embedding {
        weights,
        rows,
        columns,
        lookups: indices.view.dims.iter().product(),
    };
    let value = node.push(Box::new(operator), vec![indices], view)?;
    Ok(Imported::Term(Term::Value(value)))
}

#[derive(Debug)]
struct Embedding {
    weights: Range<usize>,
    rows: usize,
    columns: usize,
    /// Of one example.
    lookups: usize,
}

impl Embedding {
    /// The row that a number stands for; none where it is not a whole number in range.
    fn row(&self, index: f32) -> Option<usize> {
        // Negative numbers count from the end (ONNX, Gather).
        let from_front = if index < 0.0 {
            index + self.rows as f32
        } else {
            index
        };
        (from_front >= 0.0 && from_front < self.rows as f32 && from_front.fract() == 0.0)
            .then_some(from_front as usize)
    }
}

impl Operator for Embedding {
    fn forward(&self, pass: &mut Forward<'_>) {
        let weights = &pass.weights[self.weights.clone()];
        for (output, &index) in pass
            .output
            .chunks_exact_mut(self.columns)
            .zip(pass.inputs[0])
        {
            match self.row(index) {
                Some(row) => {
                    output.copy_from_slice(&weights[row * self.columns..(row + 1) * self.columns])
                }
                // The example is found out by its output and left out.
                None => output.fill(f32::NAN),
            }
        }
    }

    fn backward(&self, pass: &mut Backward<'_>) {
        if let Some(target) = &mut pass.input_gradients[0] {
            target.fill(0.0);
        }
    }

    fn gradients(&self) -> Option<&dyn ParameterGradients> {
        Some(self)
    }
}

impl ParameterGradients for Embedding {
    fn instantiate(
        &self,
        pass: &GradientPass<'_>,
        examples: Range<usize>,
        _: &mut Scratch,
        gradient: &mut [f32],
    ) {
        gradient.fill(0.0);
        for lookup in examples.start * self.lookups..examples.end * self.lookups {
            let Some(row) = self.row(pass.inputs[0][lookup]) else {
                continue;
            };
            let own = &pass.output_gradient[lookup * self.columns..(lookup + 1) * self.columns];
            for (sum, value) in gradient[row * self.columns..].iter_mut().zip(own) {
                *sum += value;
            }
        }
    }
}
