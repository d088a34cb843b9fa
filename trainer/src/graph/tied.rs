//! Weights that several layers use: an embedding that is the output layer's matrix too, a layer that is applied twice.
//!
//! What clipping bounds is the norm of the whole gradient of a weight, so an example's gradients by every use must be added
//! before the norm is taken. Such a weight becomes a step of its own, whose output every use takes as one more input: then
//! the engine adds its gradients as it adds those of any value that several steps use. Which steps share is known only when
//! all nodes have been read, so this is done at the end.

use std::collections::HashMap;
use std::ops::Range;

use super::error::GraphError;
use super::operator::{
    Backward, Forward, GradientPass, Operator, ParameterGradients, Scratch, part_mut,
};
use super::plan::{Plan, Step, StepOrigin};
use super::shape::Shape;

/// Makes the weights that several steps use steps of their own, before all others.
///
/// # Errors
/// Where such a weight is larger than a value may be.
pub(crate) fn part(plan: &mut Plan) -> Result<(), GraphError> {
    let mut uses: HashMap<Range<usize>, usize> = HashMap::new();
    for claim in plan.steps.iter().flat_map(|step| &step.claims) {
        *uses.entry(claim.clone()).or_default() += 1;
    }
    let shares = |step: &Step| step.claims.iter().any(|claim| uses[claim] > 1);
    // A step that shares one of its weights gives all of them away: it has no gradient of its own then.
    let mut shared: Vec<Range<usize>> = (plan.steps.iter())
        .filter(|step| shares(step))
        .flat_map(|step| step.claims.iter().cloned())
        .collect();
    shared.sort_by_key(|range| range.start);
    shared.dedup();
    if shared.is_empty() {
        return Ok(());
    }
    // The input stays the first buffer, and every other moves behind those of the weights.
    let moved = |buffer: usize| {
        if buffer == 0 {
            0
        } else {
            buffer + shared.len()
        }
    };
    let mut steps = Vec::with_capacity(shared.len() + plan.steps.len());
    for range in &shared {
        steps.push(weight(plan, range)?);
    }
    for mut step in std::mem::take(&mut plan.steps) {
        step.inputs
            .iter_mut()
            .for_each(|input| *input = moved(*input));
        if shares(&step) {
            step.operator = Box::new(Sharing {
                inputs: step.inputs.len(),
                sizes: step.claims.iter().map(ExactSizeIterator::len).collect(),
                operator: step.operator,
            });
            for claim in &step.claims {
                let place = shared.partition_point(|range| range.start < claim.start);
                step.inputs.push(place + 1);
                step.trained_before.push(true);
            }
            step.parameters = 0..0;
            step.claims.clear();
        }
        steps.push(step);
    }
    plan.steps = steps;
    plan.buffers
        .splice(1..1, shared.iter().map(ExactSizeIterator::len));
    plan.output.buffer = moved(plan.output.buffer);
    Ok(())
}

/// The step of a weight.
fn weight(plan: &Plan, range: &Range<usize>) -> Result<Step, GraphError> {
    let info = plan.parameters.iter().find(|info| info.range == *range);
    let shape = info.and_then(|info| Shape::new(info.dims.clone()));
    let (Some(info), Some(shape)) = (info, shape) else {
        return Err(GraphError::Model {
            expected: format!("shared weights of 1 to {} elements", Shape::ELEMENT_LIMIT),
            got: format!("one of {} that several layers use", range.len()),
        });
    };
    Ok(Step {
        operator: Box::new(Weight {
            range: range.clone(),
        }),
        inputs: Vec::new(),
        trained_before: Vec::new(),
        parameters: range.clone(),
        claims: vec![range.clone()],
        origin: StepOrigin {
            node: info.name.clone(),
            operator: "Parameter".to_owned(),
            shape,
        },
    })
}

/// A weight as a value of each example. The layers that use it read it among all weights, so its output only stands for it:
/// what counts is the gradient that comes back, one an example.
#[derive(Debug)]
struct Weight {
    range: Range<usize>,
}

impl Operator for Weight {
    fn forward(&self, _: &mut Forward<'_>) {}

    fn backward(&self, _: &mut Backward<'_>) {}

    fn gradients(&self) -> Option<&dyn ParameterGradients> {
        Some(self)
    }
}

impl ParameterGradients for Weight {
    fn instantiate(
        &self,
        pass: &GradientPass<'_>,
        examples: Range<usize>,
        _: &mut Scratch,
        gradient: &mut [f32],
    ) {
        gradient.fill(0.0);
        let size = self.range.len();
        let own = &pass.output_gradient[examples.start * size..examples.end * size];
        for example in own.chunks_exact(size) {
            for (sum, value) in gradient.iter_mut().zip(example) {
                *sum += value;
            }
        }
    }
}

/// A layer whose weights are inputs behind its own.
#[derive(Debug)]
struct Sharing {
    operator: Box<dyn Operator>,
    /// How many inputs are the layer's own.
    inputs: usize,
    /// Elements of its weights, in the order in which it claimed them.
    sizes: Vec<usize>,
}

impl Operator for Sharing {
    fn saved(&self) -> usize {
        self.operator.saved()
    }

    fn packed(&self) -> usize {
        self.operator.packed()
    }

    fn pack(&self, weights: &[f32], packed: &mut [f32]) {
        self.operator.pack(weights, packed);
    }

    fn forward(&self, pass: &mut Forward<'_>) {
        self.operator.forward(&mut Forward {
            isa: pass.isa,
            examples: pass.examples,
            weights: pass.weights,
            packed: pass.packed,
            inputs: &pass.inputs[..self.inputs],
            output: pass.output,
            saved: pass.saved,
            scratch: pass.scratch,
        });
    }

    fn backward(&self, pass: &mut Backward<'_>) {
        let mut of_weights = pass.input_gradients.split_off(self.inputs);
        let inputs = &pass.inputs[..self.inputs];
        if pass.input_gradients.iter().any(Option::is_some) {
            self.operator.backward(&mut Backward {
                isa: pass.isa,
                examples: pass.examples,
                weights: pass.weights,
                packed: pass.packed,
                inputs,
                output: pass.output,
                output_gradient: pass.output_gradient,
                saved: pass.saved,
                scratch: pass.scratch,
                input_gradients: std::mem::take(&mut pass.input_gradients),
            });
        }
        let Some(gradients) = self.operator.gradients() else {
            return;
        };
        let own = GradientPass {
            isa: pass.isa,
            weights: pass.weights,
            inputs,
            output: pass.output,
            output_gradient: pass.output_gradient,
            saved: pass.saved,
        };
        let mut gradient = vec![0.0; self.sizes.iter().sum()];
        for example in 0..pass.examples {
            gradients.instantiate(&own, example..example + 1, pass.scratch, &mut gradient);
            let mut rest = &*gradient;
            for (target, &size) in of_weights.iter_mut().zip(&self.sizes) {
                let (part, behind) = rest.split_at(size);
                rest = behind;
                if let Some(target) = target {
                    part_mut(target, example, pass.examples).copy_from_slice(part);
                }
            }
        }
    }
}
