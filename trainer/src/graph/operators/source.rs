//! A parameter or a constant as a tensor of each example: a class token, for instance.

use std::ops::Range;

use super::side;
use crate::graph::error::GraphError;
use crate::graph::index;
use crate::graph::node::{Node, Operand};
use crate::graph::operator::{
    Backward, Forward, GradientPass, Operator, ParameterGradients, Scratch,
};
use crate::graph::plan::Value;
use crate::graph::view::View;

/// Gives each example the operand, extended to the view.
pub(crate) fn import(
    node: &mut Node<'_, '_>,
    operand: Operand,
    view: View,
) -> Result<Value, GraphError> {
    let elements = |node: &Node<'_, '_>, dims: &[usize]| {
        index::broadcast(dims, &view.dims)
            .ok_or_else(|| node.shape(view.display(), crate::graph::shape::display_dims(dims)))
    };
    match operand {
        Operand::Value(value) => Ok(value),
        Operand::Constant(constant) => {
            let values = constant.floats().ok_or_else(|| {
                node.input_error(0, "dependent on the number of examples", "a constant")
            })?;
            let elements = elements(node, &constant.dims)?;
            let values = elements
                .into_iter()
                .map(|element| values[element])
                .collect();
            node.push(Box::new(Constant { values }), vec![], view)
        }
        Operand::Parameter(stored) => {
            let mut elements = elements(node, &stored.dims)?;
            if let Some(places) = stored.places() {
                elements
                    .iter_mut()
                    .for_each(|element| *element = places[*element]);
            }
            let range = side::parameter(node, 0, stored)?;
            node.push(Box::new(Parameter { range, elements }), vec![], view)
        }
    }
}

#[derive(Debug)]
struct Constant {
    values: Vec<f32>,
}

impl Operator for Constant {
    fn forward(&self, pass: &mut Forward<'_>) {
        for output in pass.output.chunks_exact_mut(self.values.len()) {
            output.copy_from_slice(&self.values);
        }
    }

    fn backward(&self, _: &mut Backward<'_>) {}
}

#[derive(Debug)]
struct Parameter {
    range: Range<usize>,
    /// For each element of the output its element of the parameter.
    elements: Vec<usize>,
}

impl Operator for Parameter {
    fn forward(&self, pass: &mut Forward<'_>) {
        let weights = &pass.weights[self.range.clone()];
        for output in pass.output.chunks_exact_mut(self.elements.len()) {
            for (output, &element) in output.iter_mut().zip(&self.elements) {
                *output = weights[element];
            }
        }
    }

    fn backward(&self, _: &mut Backward<'_>) {}

    fn gradients(&self) -> Option<&dyn ParameterGradients> {
        Some(self)
    }
}

impl ParameterGradients for Parameter {
    fn instantiate(
        &self,
        pass: &GradientPass<'_>,
        examples: Range<usize>,
        _: &mut Scratch,
        gradient: &mut [f32],
    ) {
        gradient.fill(0.0);
        let size = self.elements.len();
        let own = &pass.output_gradient[examples.start * size..examples.end * size];
        for example in own.chunks_exact(size) {
            for (&element, value) in self.elements.iter().zip(example) {
                gradient[element] += value;
            }
        }
    }
}
