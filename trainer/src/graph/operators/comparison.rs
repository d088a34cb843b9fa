//! Greater, Less, Equal and their like, of tensors of each example: the condition of a later `Where`. They have no gradient.

use super::side::{self, Side, Tensors};
use crate::graph::error::GraphError;
use crate::graph::node::{Node, Operand};
use crate::graph::operator::{Backward, Forward, Operator};
use crate::graph::plan::{Imported, Term, Value};

pub(crate) fn import(node: &mut Node<'_, '_>) -> Result<Imported, GraphError> {
    node.expect_inputs(2..=2)?;
    node.expect_attributes(&[])?;
    let kind = match node.proto.op_type.as_str() {
        "Equal" => Kind::Equal,
        "Greater" => Kind::Greater,
        "GreaterOrEqual" => Kind::GreaterOrEqual,
        "Less" => Kind::Less,
        _ => Kind::LessOrEqual,
    };
    let mut operands = Vec::new();
    for which in 0..2 {
        let operand = match node.term(which)? {
            Term::Value(_) => Operand::Value(node.value_or_lookup(which)?),
            _ => node.operand(which)?,
        };
        if let Operand::Parameter(_) = operand {
            return Err(node.setting(
                "a weight, which a comparison gives no gradient,",
                "tensors of each example and constants",
            ));
        }
        operands.push((which, operand));
    }
    let sides = side::extend(node, operands)?;
    let [left, right]: [Side; 2] = match sides.sides.try_into() {
        Ok(sides) => sides,
        Err(_) => return Err(node.setting("other than two operands", "two")),
    };
    let operator = Comparison {
        kind,
        size: sides.view.dims.iter().product(),
        left,
        right,
    };
    let value = node.push(Box::new(operator), sides.inputs, sides.view)?;
    // Truth values are no floats to compute with, until a Cast makes them so.
    Ok(Imported::Term(Term::Value(Value {
        integer: true,
        ..value
    })))
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Equal,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

impl Kind {
    /// 1 where it holds and 0 where not. What is not a number stays so, and is found in the output.
    fn value(self, left: f32, right: f32) -> f32 {
        if left.is_nan() || right.is_nan() {
            return f32::NAN;
        }
        let holds = match self {
            Self::Equal => left == right,
            Self::Greater => left > right,
            Self::GreaterOrEqual => left >= right,
            Self::Less => left < right,
            Self::LessOrEqual => left <= right,
        };
        f32::from(u8::from(holds))
    }
}

#[derive(Debug)]
struct Comparison {
    kind: Kind,
    /// Elements of one example's output.
    size: usize,
    left: Side,
    right: Side,
}

impl Operator for Comparison {
    fn forward(&self, pass: &mut Forward<'_>) {
        let tensors = Tensors {
            weights: pass.weights,
            inputs: pass.inputs,
            examples: pass.examples,
        };
        let [left, right] = pass.scratch.split([self.size; 2]);
        for (example, output) in pass.output.chunks_exact_mut(self.size).enumerate() {
            let left = self.left.read(tensors, example, left);
            let right = self.right.read(tensors, example, right);
            for (output, (&left, &right)) in output.iter_mut().zip(left.iter().zip(right)) {
                *output = self.kind.value(left, right);
            }
        }
    }

    fn backward(&self, pass: &mut Backward<'_>) {
        for target in pass.input_gradients.iter_mut().flatten() {
            target.fill(0.0);
        }
    }
}
