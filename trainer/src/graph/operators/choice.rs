//! Where: from one of two operands, by a constant condition. Attention masks are made so.

use super::side::{self, Side, Source, Tensors};
use crate::graph::constant::Data;
use crate::graph::error::GraphError;
use crate::graph::node::{Node, Operand};
use crate::graph::operator::{Backward, Forward, Operator};
use crate::graph::plan::{Imported, Term};

pub(crate) fn import(node: &mut Node<'_, '_>) -> Result<Imported, GraphError> {
    node.expect_inputs(3..=3)?;
    node.expect_attributes(&[])?;
    let condition = node.constant(0)?;
    let Data::Booleans(chosen) = condition.data.clone() else {
        return Err(node.input_error(0, "no truth values", "truth values"));
    };
    let operands = vec![
        (0, Operand::Constant(condition)),
        (1, node.operand(1)?),
        (2, node.operand(2)?),
    ];
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
    let chosen = match condition.elements {
        None => chosen,
        Some(elements) => elements
            .into_iter()
            .map(|element| chosen[element])
            .collect(),
    };
    let value = node.push(
        Box::new(Choice { chosen, yes, no }),
        sides.inputs,
        sides.view,
    )?;
    Ok(Imported::Term(Term::Value(value)))
}

#[derive(Debug)]
struct Choice {
    chosen: Vec<bool>,
    yes: Side,
    no: Side,
}

impl Operator for Choice {
    fn forward(&self, pass: &mut Forward<'_>) {
        let size = self.chosen.len();
        let tensors = Tensors {
            weights: pass.weights,
            inputs: pass.inputs,
            examples: pass.examples,
        };
        let [yes, no] = pass.scratch.split([size, size]);
        for (example, output) in pass.output.chunks_exact_mut(size).enumerate() {
            let yes = self.yes.read(tensors, example, yes);
            let no = self.no.read(tensors, example, no);
            let sides = yes.iter().zip(no);
            for ((output, &chosen), (&yes, &no)) in output.iter_mut().zip(&self.chosen).zip(sides) {
                *output = if chosen { yes } else { no };
            }
        }
    }

    fn backward(&self, pass: &mut Backward<'_>) {
        let size = self.chosen.len();
        let [gradient] = pass.scratch.split([size]);
        for (wanted, side) in [(true, &self.yes), (false, &self.no)] {
            let Source::Input(input) = side.source else {
                continue;
            };
            let Some(target) = &mut pass.input_gradients[input] else {
                continue;
            };
            target.fill(0.0);
            let each = target.len() / pass.examples;
            for (target, own) in target
                .chunks_exact_mut(each)
                .zip(pass.output_gradient.chunks_exact(size))
            {
                for ((part, &chosen), &value) in gradient.iter_mut().zip(&self.chosen).zip(own) {
                    *part = if chosen == wanted { value } else { 0.0 };
                }
                side.gather(gradient, target);
            }
        }
    }
}
