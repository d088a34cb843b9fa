//! Softmax and LogSoftmax along one axis.

use crate::graph::error::GraphError;
use crate::graph::index;
use crate::graph::node::Node;
use crate::graph::operator::{Backward, Forward, Operator};
use crate::graph::plan::{Imported, Term};

pub(crate) fn import_softmax(node: &mut Node<'_, '_>) -> Result<Imported, GraphError> {
    import(node, Kind::Softmax)
}

pub(crate) fn import_log_softmax(node: &mut Node<'_, '_>) -> Result<Imported, GraphError> {
    import(node, Kind::LogSoftmax)
}

fn import(node: &mut Node<'_, '_>, kind: Kind) -> Result<Imported, GraphError> {
    node.expect_inputs(1..=1)?;
    node.expect_attributes(&["axis"])?;
    let input = node.any_value(0)?;
    let given = node.int("axis", -1)?;
    let axis = index::axis(given, input.view.dims.len())
        .filter(|&axis| axis != input.view.axis)
        .ok_or_else(|| {
            node.setting(
                format!("axis {given}"),
                "an axis of one example's own, not the examples' dimension",
            )
        })?;
    let operator = Softmax {
        kind,
        size: input.view.dims[axis],
        inner: input.view.dims[axis + 1..].iter().product(),
    };
    let view = input.view.clone();
    let value = node.push(Box::new(operator), vec![input], view)?;
    Ok(Imported::Term(Term::Value(value)))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Softmax,
    LogSoftmax,
}

#[derive(Debug)]
struct Softmax {
    kind: Kind,
    /// Elements along the axis.
    size: usize,
    /// Distance from one to the next.
    inner: usize,
}

impl Softmax {
    /// The first element of each line along the axis, in a tensor of so many elements.
    fn lines(&self, elements: usize) -> impl Iterator<Item = usize> {
        let (inner, run) = (self.inner, self.size * self.inner);
        (0..elements / run).flat_map(move |block| (0..inner).map(move |at| block * run + at))
    }
}

impl Operator for Softmax {
    fn forward(&self, pass: &mut Forward<'_>) {
        let (input, output) = (pass.inputs[0], &mut *pass.output);
        let places = |start: usize| (0..self.size).map(move |step| start + step * self.inner);
        for start in self.lines(input.len()) {
            // `max` would pass over what is not a number; the exponentials do not.
            let largest = places(start)
                .map(|place| input[place])
                .fold(f32::NEG_INFINITY, f32::max);
            let mut sum = 0.0;
            for place in places(start) {
                output[place] = input[place] - largest;
                sum += output[place].exp();
            }
            match self.kind {
                Kind::Softmax => {
                    places(start).for_each(|place| output[place] = output[place].exp() / sum);
                }
                Kind::LogSoftmax => {
                    let log = sum.ln();
                    places(start).for_each(|place| output[place] -= log);
                }
            }
        }
    }

    /// For `y = softmax(x)`: `dx = y (dy - Σ y dy)`; for its logarithm: `dx = dy - exp(y) Σ dy`.
    fn backward(&self, pass: &mut Backward<'_>) {
        let Some(target) = &mut pass.input_gradients[0] else {
            return;
        };
        let (output, gradient) = (pass.output, pass.output_gradient);
        let places = |start: usize| (0..self.size).map(move |step| start + step * self.inner);
        for start in self.lines(output.len()) {
            let sum: f32 = places(start)
                .map(|place| match self.kind {
                    Kind::Softmax => output[place] * gradient[place],
                    Kind::LogSoftmax => gradient[place],
                })
                .sum();
            for place in places(start) {
                target[place] = match self.kind {
                    Kind::Softmax => output[place] * (gradient[place] - sum),
                    Kind::LogSoftmax => gradient[place] - output[place].exp() * sum,
                };
            }
        }
    }
}
