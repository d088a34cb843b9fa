//! The same elements elsewhere: the operator behind Transpose, Slice, Gather by constants, Split, Pad, Expand and Resize by
//! nearest neighbours.

use crate::graph::error::GraphError;
use crate::graph::node::Node;
use crate::graph::operator::{Backward, Forward, Operator};
use crate::graph::plan::{Term, Value};
use crate::graph::view::View;

/// An element that comes from nowhere and has the filling's value.
pub(crate) const FILLED: usize = usize::MAX;

/// Elements of an example by their place in the input; nothing is computed where all stay where they are.
pub(crate) fn rearranged(
    node: &mut Node<'_, '_>,
    input: Value,
    view: View,
    elements: Vec<usize>,
    filling: f32,
) -> Result<Term, GraphError> {
    let size = input.view.dims.iter().product::<usize>();
    if elements.len() == size
        && elements
            .iter()
            .enumerate()
            .all(|(i, &element)| i == element)
    {
        let shown = view.dims.clone();
        return input.seen(view).map(Term::Value).ok_or_else(|| {
            node.setting(format!("an output of {shown:?}"), "at least one element")
        });
    }
    let integer = input.integer;
    let operator = Box::new(Rearrange { elements, filling });
    let mut value = node.push(operator, vec![input], view)?;
    value.integer = integer;
    Ok(Term::Value(value))
}

#[derive(Debug)]
struct Rearrange {
    /// For each element of the output its element of the input, or [`FILLED`].
    elements: Vec<usize>,
    filling: f32,
}

impl Operator for Rearrange {
    fn forward(&self, pass: &mut Forward<'_>) {
        let size = pass.inputs[0].len() / pass.examples;
        let outputs = pass.output.chunks_exact_mut(self.elements.len());
        for (input, output) in pass.inputs[0].chunks_exact(size).zip(outputs) {
            for (output, &element) in output.iter_mut().zip(&self.elements) {
                *output = input.get(element).copied().unwrap_or(self.filling);
            }
        }
    }

    fn backward(&self, pass: &mut Backward<'_>) {
        let Some(target) = &mut pass.input_gradients[0] else {
            return;
        };
        target.fill(0.0);
        let size = target.len() / pass.examples;
        let gradients = pass.output_gradient.chunks_exact(self.elements.len());
        for (target, gradients) in target.chunks_exact_mut(size).zip(gradients) {
            for (gradient, &element) in gradients.iter().zip(&self.elements) {
                if let Some(target) = target.get_mut(element) {
                    *target += gradient;
                }
            }
        }
    }
}
