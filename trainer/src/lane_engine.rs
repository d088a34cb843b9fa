//! The sample-parallel engine: runs a graph forward and backward over one tile of examples; each worker thread has its own.
//!
//! It is made only for graphs whose every operator has a lane form (`Plan::has_lanes`).

use crate::clipping::Outer;
use crate::graph::{Graph, LaneBackward, LaneOperator, Step};
use crate::lanes::{Aligned, Isa, gather, spread};

/// The buffers of one thread.
pub(crate) struct LaneEngine {
    isa: Isa,
    width: usize,
    /// One a buffer of the graph.
    values: Vec<Aligned>,
    /// Gradients of the same; empty where only the forward pass is run.
    gradients: Vec<Aligned>,
    /// One a step.
    scratch: Vec<Aligned>,
    /// A tile of all parameters.
    parameters: Aligned,
    /// As large as the largest buffer: a second gradient of a value that two steps use.
    spare: Aligned,
    /// Whether a buffer's gradient has been written in this pass.
    written: Vec<bool>,
}

impl LaneEngine {
    /// An engine that runs both ways.
    pub(crate) fn for_training(graph: &Graph, isa: Isa) -> Self {
        let mut engine = Self::for_evaluation(graph, isa);
        let plan = graph.plan();
        engine.gradients = plan
            .buffers
            .iter()
            .map(|elements| Aligned::zeros(elements * engine.width))
            .collect();
        engine.parameters = Aligned::zeros(plan.weights.len() * engine.width);
        engine.spare =
            Aligned::zeros(plan.buffers.iter().max().copied().unwrap_or(0) * engine.width);
        engine.written = vec![false; plan.buffers.len()];
        engine
    }

    /// An engine that runs forward only.
    pub(crate) fn for_evaluation(graph: &Graph, isa: Isa) -> Self {
        let width = isa.width();
        let plan = graph.plan();
        Self {
            isa,
            width,
            values: plan
                .buffers
                .iter()
                .map(|elements| Aligned::zeros(elements * width))
                .collect(),
            gradients: Vec::new(),
            scratch: plan
                .steps
                .iter()
                .map(|step| Aligned::zeros(lanes(step).map_or(0, LaneOperator::scratch) * width))
                .collect(),
            parameters: Aligned::zeros(0),
            spare: Aligned::zeros(0),
            written: Vec::new(),
        }
    }

    /// The instruction set that it runs on.
    pub(crate) fn isa(&self) -> Isa {
        self.isa
    }

    /// Examples in a tile.
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// Computes the outputs of at most [`LaneEngine::width`] examples, one after the other in `inputs`.
    pub(crate) fn forward(&mut self, graph: &Graph, weights: &[f32], inputs: &[f32]) {
        let plan = graph.plan();
        spread(
            inputs,
            plan.input.elements(),
            self.width,
            &mut self.values[0],
        );
        for (index, step) in plan.steps.iter().enumerate() {
            let (before, behind) = self.values.split_at_mut(index + 1);
            let inputs = tensors(step, before);
            let Some(operator) = lanes(step) else {
                continue;
            };
            operator.forward(
                self.isa,
                weights,
                &inputs.0[..step.inputs.len()],
                &mut behind[0],
                &mut self.scratch[index],
            );
        }
    }

    /// One example's output.
    pub(crate) fn output(&self, graph: &Graph, lane: usize, output: &mut [f32]) {
        gather(
            &self.values[graph.plan().output.buffer],
            self.width,
            lane,
            output,
        );
    }

    /// Sets the gradient of one example's output, for [`LaneEngine::backward`].
    pub(crate) fn set_output_gradient(&mut self, graph: &Graph, lane: usize, gradient: &[f32]) {
        let target = &mut self.gradients[graph.plan().output.buffer];
        for (vector, &value) in target.chunks_exact_mut(self.width).zip(gradient) {
            vector[lane] = value;
        }
    }

    /// Computes the gradient of every parameter for every example of the tile, `[parameter][lane]`.
    pub(crate) fn backward(&mut self, graph: &Graph, weights: &[f32]) -> &[f32] {
        self.run_backward(graph, weights, false);
        &self.parameters
    }

    /// As [`LaneEngine::backward`], but gradients that are outer products are left as their factors, one entry a step that
    /// has parameters.
    pub(crate) fn backward_to_factors(
        &mut self,
        graph: &Graph,
        weights: &[f32],
    ) -> (&[f32], Vec<Option<Outer<'_>>>) {
        self.run_backward(graph, weights, true);
        let steps = graph.plan().steps.iter().enumerate();
        let outer = steps
            .filter(|(_, step)| !step.parameters.is_empty())
            .map(|(index, step)| {
                outer(step).then(|| Outer {
                    inputs: &self.values[step.inputs[0]],
                    gradients: if self.written[index + 1] {
                        &self.gradients[index + 1]
                    } else {
                        &[]
                    },
                })
            })
            .collect();
        (&self.parameters, outer)
    }

    fn run_backward(&mut self, graph: &Graph, weights: &[f32], leaves_outer: bool) {
        let plan = graph.plan();
        self.written.fill(false);
        self.written[plan.output.buffer] = true;
        for (index, step) in plan.steps.iter().enumerate().rev() {
            // A step that the output does not depend on has no gradient; its parameters' stays zero.
            if !self.written[index + 1] {
                continue;
            }
            let Some(operator) = lanes(step) else {
                continue;
            };
            let (values, output) = self.values.split_at(index + 1);
            let (gradients, output_gradient) = self.gradients.split_at_mut(index + 1);
            let inputs = tensors(step, values);
            let mut pass = LaneBackward {
                inputs: &inputs.0[..step.inputs.len()],
                output: &output[0],
                output_gradient: &output_gradient[0],
                scratch: &mut self.scratch[index],
            };
            let left = step.parameters.is_empty() || (leaves_outer && outer(step));
            if !left {
                operator.backward_parameters(self.isa, &mut pass, &mut self.parameters);
            }
            for (which, (&input, &trained)) in
                step.inputs.iter().zip(&step.trained_before).enumerate()
            {
                if !trained {
                    continue;
                }
                let target = &mut gradients[input];
                if self.written[input] {
                    let spare = &mut self.spare[..target.len()];
                    operator.backward_input(self.isa, which, weights, &mut pass, spare);
                    for (target, spare) in target.iter_mut().zip(spare) {
                        *target += *spare;
                    }
                } else {
                    operator.backward_input(self.isa, which, weights, &mut pass, target);
                    self.written[input] = true;
                }
            }
        }
    }
}

/// Whether a step's parameters are those of an outer product.
fn outer(step: &Step) -> bool {
    lanes(step)
        .and_then(LaneOperator::outer)
        .is_some_and(|parameters| parameters == step.parameters)
}

/// The lane form of a step. An engine is never made for a graph that lacks one.
fn lanes(step: &Step) -> Option<&dyn LaneOperator> {
    step.operator.lanes()
}

/// A step's inputs. No lane operator has more than two.
struct Inputs<'a>([&'a [f32]; 2]);

fn tensors<'a>(step: &Step, values: &'a [Aligned]) -> Inputs<'a> {
    let tensor = |which: usize| {
        step.inputs
            .get(which)
            .map_or(&[][..], |&buffer| &*values[buffer])
    };
    Inputs([tensor(0), tensor(1)])
}
