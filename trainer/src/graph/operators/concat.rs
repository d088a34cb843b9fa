//! Concat of tensors of each example, along an axis of their own.

use crate::graph::error::GraphError;
use crate::graph::index;
use crate::graph::node::Node;
use crate::graph::operator::{Backward, Forward, Operator};
use crate::graph::plan::{Imported, Term};

/// Most tensors that one node joins.
const PART_LIMIT: usize = 4096;

pub(crate) fn import(node: &mut Node<'_, '_>) -> Result<Imported, GraphError> {
    node.expect_inputs(1..=PART_LIMIT)?;
    node.expect_attributes(&["axis"])?;
    let inputs = (0..node.input_count())
        .map(|index| node.any_value(index))
        .collect::<Result<Vec<_>, _>>()?;
    let first = &inputs[0].view;
    let given = node.int("axis", 0)?;
    let axis = index::axis(given, first.dims.len())
        .filter(|&axis| axis != first.axis)
        .ok_or_else(|| {
            node.setting(
                format!("axis {given}"),
                "an axis of one example's own, not the examples' dimension",
            )
        })?;
    let mut dims = first.dims.clone();
    dims[axis] = 0;
    for input in &inputs {
        let mut own = input.view.clone();
        let fits = own.dims.len() == dims.len() && {
            dims[axis] += own.dims[axis];
            own.dims[axis] = dims[axis];
            own == first.with_dims(dims.clone())
        };
        if !fits {
            return Err(node.shape(
                format!(
                    "tensors that differ from {} in axis {axis} only",
                    first.display()
                ),
                input.view.display(),
            ));
        }
    }
    let inner: usize = dims[axis + 1..].iter().product();
    let operator = Concat {
        parts: inputs
            .iter()
            .map(|input| input.view.dims[axis] * inner)
            .collect(),
    };
    let view = first.with_dims(dims);
    let value = node.push(Box::new(operator), inputs, view)?;
    Ok(Imported::Term(Term::Value(value)))
}

#[derive(Debug)]
struct Concat {
    /// Neighbouring elements that each input gives in turn.
    parts: Vec<usize>,
}

impl Operator for Concat {
    fn forward(&self, pass: &mut Forward<'_>) {
        let run: usize = self.parts.iter().sum();
        let mut start = 0;
        for (input, &part) in pass.inputs.iter().zip(&self.parts) {
            for (input, output) in input
                .chunks_exact(part)
                .zip(pass.output.chunks_exact_mut(run))
            {
                output[start..start + part].copy_from_slice(input);
            }
            start += part;
        }
    }

    fn backward(&self, pass: &mut Backward<'_>) {
        let run: usize = self.parts.iter().sum();
        let mut start = 0;
        for (target, &part) in pass.input_gradients.iter_mut().zip(&self.parts) {
            if let Some(target) = target {
                for (target, gradient) in target
                    .chunks_exact_mut(part)
                    .zip(pass.output_gradient.chunks_exact(run))
                {
                    target.copy_from_slice(&gradient[start..start + part]);
                }
            }
            start += part;
        }
    }
}
