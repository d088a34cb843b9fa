//! Add, Sub, Mul, Div and Pow, element by element with broadcasting, of tensors of each example, parameters and constants.

use std::ops::Range;

use super::add;
use super::side::{self, Side, Source, Tensors};
use crate::graph::error::GraphError;
use crate::graph::node::{Node, Operand};
use crate::graph::operator::{
    Backward, Forward, GradientPass, Operator, ParameterGradients, Scratch,
};
use crate::graph::pending;
use crate::graph::plan::{Imported, Pending, Stored, Term};

/// `Add`; behind a product with a weight, and behind a normalisation, their bias.
pub(crate) fn import_add(node: &mut Node<'_, '_>) -> Result<Imported, GraphError> {
    check(node)?;
    if let Some((pending, stored, input)) = pending_beside_stored(node)? {
        let part = Some((stored.clone(), node.index, input));
        let value = match &pending {
            Pending::Product { view, .. }
                if is_row(&stored.dims, *view.dims.last().unwrap_or(&0)) =>
            {
                Some(pending::product(node, pending, part)?)
            }
            Pending::Normalised { view, .. } if is_channels(&stored.dims, &view.dims) => {
                Some(pending::normalised(node, pending, part)?)
            }
            _ => None,
        };
        if let Some(value) = value {
            return Ok(Imported::Term(Term::Value(value)));
        }
    }
    import(node, Kind::Add)
}

/// `Mul`; behind a normalisation, its scale.
pub(crate) fn import_mul(node: &mut Node<'_, '_>) -> Result<Imported, GraphError> {
    check(node)?;
    if let Some((
        Pending::Normalised {
            input,
            groups,
            epsilon,
            view,
            scale: None,
        },
        stored,
        which,
    )) = pending_beside_stored(node)?
        && is_channels(&stored.dims, &view.dims)
    {
        let scaled = Pending::Normalised {
            input,
            groups,
            epsilon,
            view,
            scale: Some((stored, node.index, which)),
        };
        let waits = node
            .only_consumer()
            .is_some_and(|consumer| consumer.op_type == "Add");
        return Ok(Imported::Term(if waits {
            Term::Pending(scaled)
        } else {
            Term::Value(pending::normalised(node, scaled, None)?)
        }));
    }
    import(node, Kind::Mul)
}

/// `Sub`.
pub(crate) fn import_sub(node: &mut Node<'_, '_>) -> Result<Imported, GraphError> {
    check(node)?;
    import(node, Kind::Sub)
}

/// `Div`.
pub(crate) fn import_div(node: &mut Node<'_, '_>) -> Result<Imported, GraphError> {
    check(node)?;
    import(node, Kind::Div)
}

/// `Pow`.
pub(crate) fn import_pow(node: &mut Node<'_, '_>) -> Result<Imported, GraphError> {
    check(node)?;
    import(node, Kind::Pow)
}

fn check(node: &Node<'_, '_>) -> Result<(), GraphError> {
    node.expect_inputs(2..=2)?;
    node.expect_attributes(&[])
}

/// A computation that waits, and the stored tensor beside it.
fn pending_beside_stored(
    node: &Node<'_, '_>,
) -> Result<Option<(Pending, Stored, usize)>, GraphError> {
    Ok(match (node.term(0)?, node.term(1)?) {
        (Term::Pending(pending), Term::Stored(stored)) => Some((pending, stored, 1)),
        (Term::Stored(stored), Term::Pending(pending)) => Some((pending, stored, 0)),
        _ => None,
    }
    .filter(|(_, stored, _)| stored.picked.is_none() && !stored.transposed))
}

/// Whether a tensor is one row of so many elements.
fn is_row(dims: &[usize], size: usize) -> bool {
    dims.split_last()
        .is_some_and(|(&last, rest)| last == size && rest.iter().all(|&dim| dim == 1))
}

/// Whether a tensor has one element for each channel of a tensor with the examples first.
fn is_channels(dims: &[usize], value: &[usize]) -> bool {
    let [_, channels, rest @ ..] = value else {
        return false;
    };
    let own = match dims {
        [1, own @ ..] if own.len() == rest.len() + 1 => own,
        own => own,
    };
    matches!(own, [size, ones @ ..]
        if size == channels && ones.len() == rest.len() && ones.iter().all(|&dim| dim == 1))
}

fn import(node: &mut Node<'_, '_>, kind: Kind) -> Result<Imported, GraphError> {
    let operands: Vec<(usize, Operand)> = vec![(0, node.operand(0)?), (1, node.operand(1)?)];
    let sides = side::extend(node, operands)?;
    let [left, right]: [Side; 2] = match sides.sides.try_into() {
        Ok(sides) => sides,
        Err(_) => return Err(node.setting("other than two operands", "two")),
    };
    // These two run in the lane engine as well.
    let operator: Box<dyn Operator> = match (kind, &left, &right) {
        (
            Kind::Add,
            Side {
                source: Source::Input(_),
                elements: None,
            },
            Side {
                source: Source::Input(_),
                elements: None,
            },
        ) => add::sum(),
        (
            Kind::Add,
            Side {
                source: Source::Input(_),
                elements: None,
            },
            Side {
                source: Source::Parameter(range),
                elements,
            },
        )
        | (
            Kind::Add,
            Side {
                source: Source::Parameter(range),
                elements,
            },
            Side {
                source: Source::Input(_),
                elements: None,
            },
        ) => add::bias(
            range.clone(),
            elements
                .clone()
                .unwrap_or_else(|| (0..range.len()).collect()),
        ),
        _ => Box::new(Elementwise {
            kind,
            size: sides.view.dims.iter().product(),
            left,
            right,
        }),
    };
    let value = node.push(operator, sides.inputs, sides.view)?;
    Ok(Imported::Term(Term::Value(value)))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Add,
    Sub,
    Mul,
    Div,
    Pow,
}

impl Kind {
    fn value(self, left: f32, right: f32) -> f32 {
        match self {
            Self::Add => left + right,
            Self::Sub => left - right,
            Self::Mul => left * right,
            Self::Div => left / right,
            Self::Pow => left.powf(right),
        }
    }

    /// The derivative by one side.
    fn derivative(self, is_left: bool, left: f32, right: f32) -> f32 {
        match (self, is_left) {
            (Self::Add, _) | (Self::Sub, true) => 1.0,
            (Self::Sub, false) => -1.0,
            (Self::Mul, true) => right,
            (Self::Mul, false) => left,
            (Self::Div, true) => 1.0 / right,
            (Self::Div, false) => -left / (right * right),
            // As PyTorch: 0 where the exponent is 0, also at 0.
            (Self::Pow, true) if right == 0.0 => 0.0,
            (Self::Pow, true) => right * left.powf(right - 1.0),
            (Self::Pow, false) if left == 0.0 && right >= 0.0 => 0.0,
            (Self::Pow, false) => left.powf(right) * left.ln(),
        }
    }
}

#[derive(Debug)]
struct Elementwise {
    kind: Kind,
    /// Elements of one example's output.
    size: usize,
    left: Side,
    right: Side,
}

impl Elementwise {
    /// The gradient of one side, extended to the output's size.
    fn gradient(
        &self,
        is_left: bool,
        tensors: Tensors<'_>,
        example: usize,
        output_gradient: &[f32],
        [left, right, target]: [&mut [f32]; 3],
    ) {
        let left = self.left.read(tensors, example, left);
        let right = self.right.read(tensors, example, right);
        let sides = left.iter().zip(right);
        for ((target, gradient), (&left, &right)) in
            target.iter_mut().zip(output_gradient).zip(sides)
        {
            *target = gradient * self.kind.derivative(is_left, left, right);
        }
    }

    /// Both sides, and whether each is the left one.
    fn sides(&self) -> [(bool, &Side); 2] {
        [(true, &self.left), (false, &self.right)]
    }
}

impl Operator for Elementwise {
    fn forward(&self, pass: &mut Forward<'_>) {
        let size = self.size;
        let tensors = Tensors {
            weights: pass.weights,
            inputs: pass.inputs,
            examples: pass.examples,
        };
        let [left, right] = pass.scratch.split([size, size]);
        for (example, output) in pass.output.chunks_exact_mut(size).enumerate() {
            let left = self.left.read(tensors, example, left);
            let right = self.right.read(tensors, example, right);
            for (output, (&left, &right)) in output.iter_mut().zip(left.iter().zip(right)) {
                *output = self.kind.value(left, right);
            }
        }
    }

    fn backward(&self, pass: &mut Backward<'_>) {
        let size = self.size;
        let tensors = Tensors {
            weights: pass.weights,
            inputs: pass.inputs,
            examples: pass.examples,
        };
        let [left, right, gradient] = pass.scratch.split([size; 3]);
        for (is_left, side) in self.sides() {
            let Source::Input(input) = side.source else {
                continue;
            };
            let Some(target) = &mut pass.input_gradients[input] else {
                continue;
            };
            target.fill(0.0);
            let each = target.len() / pass.examples;
            for (example, target) in target.chunks_exact_mut(each).enumerate() {
                let own = &pass.output_gradient[example * size..(example + 1) * size];
                self.gradient(
                    is_left,
                    tensors,
                    example,
                    own,
                    [&mut *left, &mut *right, &mut *gradient],
                );
                side.gather(gradient, target);
            }
        }
    }

    fn gradients(&self) -> Option<&dyn ParameterGradients> {
        self.sides()
            .iter()
            .any(|(_, side)| side.parameter().is_some())
            .then_some(self)
    }
}

impl ParameterGradients for Elementwise {
    fn instantiate(
        &self,
        pass: &GradientPass<'_>,
        examples: Range<usize>,
        scratch: &mut Scratch,
        gradient: &mut [f32],
    ) {
        gradient.fill(0.0);
        let size = self.size;
        let tensors = Tensors {
            weights: pass.weights,
            inputs: pass.inputs,
            examples: pass.output.len() / size,
        };
        let [left, right, extended] = scratch.split([size; 3]);
        let mut rest = gradient;
        for (is_left, side) in self.sides() {
            let Some(range) = side.parameter() else {
                continue;
            };
            let (own, behind) = rest.split_at_mut(range.len());
            rest = behind;
            for example in examples.clone() {
                let output_gradient = &pass.output_gradient[example * size..(example + 1) * size];
                self.gradient(
                    is_left,
                    tensors,
                    example,
                    output_gradient,
                    [&mut *left, &mut *right, &mut *extended],
                );
                side.gather(extended, own);
            }
        }
    }
}
