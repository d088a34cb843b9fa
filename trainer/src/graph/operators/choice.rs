//! Where: from one of two operands, by a condition that is a constant or was compared. Attention masks are made so.

use super::side::{self, Side, Source, Tensors};
use crate::graph::constant::Data;
use crate::graph::error::GraphError;
use crate::graph::node::{Node, Operand};
use crate::graph::operator::{Backward, Forward, Operator};
use crate::graph::plan::{Imported, Term};

pub(crate) fn import(node: &mut Node<'_, '_>) -> Result<Imported, GraphError> {
    node.expect_inputs(3..=3)?;
    node.expect_attributes(&[])?;
    let condition = match node.term(0)? {
        Term::Value(_) => {
            let value = node.value_or_lookup(0)?;
            if !value.integer {
                return Err(node.input_error(0, "of floats", "truth values"));
            }
            Operand::Value(value)
        }
        _ => {
            let condition = node.constant(0)?;
            let Data::Booleans(_) = condition.data else {
                return Err(node.input_error(0, "no truth values", "truth values"));
            };
            Operand::Constant(condition)
        }
    };
    let operands = vec![(0, condition), (1, node.operand(1)?), (2, node.operand(2)?)];
    if operands
        .iter()
        .any(|(_, operand)| matches!(operand, Operand::Parameter(_)))
    {
        return Err(node.setting(
            "a choice of a weight",
            "tensors of each example and constants",
        ));
    }
    let sides = side::extend(node, operands)?;
    let [condition, yes, no]: [Side; 3] = match sides.sides.try_into() {
        Ok(sides) => sides,
        Err(_) => return Err(node.setting("other than three operands", "three")),
    };
    let operator = Choice {
        size: sides.view.dims.iter().product(),
        condition,
        yes,
        no,
    };
    let value = node.push(Box::new(operator), sides.inputs, sides.view)?;
    Ok(Imported::Term(Term::Value(value)))
}

#[derive(Debug)]
struct Choice {
    /// Elements of one example's output.
    size: usize,
    /// 0 takes the second, and any other number the first.
    condition: Side,
    yes: Side,
    no: Side,
}

impl Operator for Choice {
    fn forward(&self, pass: &mut Forward<'_>) {
        let tensors = Tensors {
            weights: pass.weights,
            inputs: pass.inputs,
            examples: pass.examples,
        };
        let [condition, yes, no] = pass.scratch.split([self.size; 3]);
        for (example, output) in pass.output.chunks_exact_mut(self.size).enumerate() {
            let condition = self.condition.read(tensors, example, condition);
            let yes = self.yes.read(tensors, example, yes);
            let no = self.no.read(tensors, example, no);
            let sides = yes.iter().zip(no);
            for ((output, &condition), (&yes, &no)) in output.iter_mut().zip(condition).zip(sides) {
                *output = if condition.is_nan() {
                    condition
                } else if condition != 0.0 {
                    yes
                } else {
                    no
                };
            }
        }
    }

    fn backward(&self, pass: &mut Backward<'_>) {
        let tensors = Tensors {
            weights: pass.weights,
            inputs: pass.inputs,
            examples: pass.examples,
        };
        if let Source::Input(input) = self.condition.source
            && let Some(target) = &mut pass.input_gradients[input]
        {
            target.fill(0.0);
        }
        let [condition, gradient] = pass.scratch.split([self.size; 2]);
        for (wanted, side) in [(true, &self.yes), (false, &self.no)] {
            let Source::Input(input) = side.source else {
                continue;
            };
            let Some(target) = &mut pass.input_gradients[input] else {
                continue;
            };
            target.fill(0.0);
            let each = target.len() / pass.examples;
            for (example, target) in target.chunks_exact_mut(each).enumerate() {
                let condition = self.condition.read(tensors, example, condition);
                let own = &pass.output_gradient[example * self.size..(example + 1) * self.size];
                for ((part, &condition), &value) in gradient.iter_mut().zip(condition).zip(own) {
                    *part = if (condition != 0.0) == wanted {
                        value
                    } else {
                        0.0
                    };
                }
                side.gather(gradient, target);
            }
        }
    }
}
