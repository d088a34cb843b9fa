//! The group engine: runs a graph forward and backward, layer by layer, over a group of examples.
//!
//! Values are `[example][element]`. A group is large enough that products have columns to work on and weights are not
//! fetched from memory once an example, and small enough that memory does not grow with the batch.
//! A gradient of a step's parameters is asked for by a [`Visit`] while the backward pass has that step's output gradient
//! at hand, or later for steps whose output gradients are kept (book-keeping: Bu et al. 2022).

mod layout;
mod strategy;
mod worker;

use std::ops::Range;

use self::layout::{Layout, Target};
pub use self::strategy::{EngineChoice, GradientPlan, GradientPlanError, LayerStrategy};
pub(crate) use self::strategy::{Method, capacity, settle};
pub(crate) use self::worker::{GroupWorker, Job, Sums};
use crate::graph::{Backward, Forward, GradientPass, Graph, Scratch};
use crate::lanes::{Aligned, Isa};

/// Weights as the operators' products read them: one a step.
pub(crate) struct Packed(Vec<Aligned>);

impl Packed {
    /// Room for a graph's weights.
    pub(crate) fn new(graph: &Graph) -> Self {
        let steps = graph.plan().steps.iter();
        Self(
            steps
                .map(|step| Aligned::zeros(step.operator.packed()))
                .collect(),
        )
    }

    /// Lays weights out anew.
    pub(crate) fn pack(&mut self, graph: &Graph, weights: &[f32], threads: usize) {
        // The largest steps come last in most networks; dealing them out in turn shares them well enough.
        let steps = graph.plan().steps.iter().zip(&mut self.0);
        let mut shares: Vec<Vec<_>> = (0..threads).map(|_| Vec::new()).collect();
        for (index, step) in steps.filter(|(_, packed)| !packed.is_empty()).enumerate() {
            shares[index % threads].push(step);
        }
        let work = |share: Vec<(&crate::graph::Step, &mut Aligned)>| {
            for (step, packed) in share {
                step.operator.pack(weights, packed);
            }
        };
        std::thread::scope(|scope| {
            let mut shares = shares.into_iter();
            let own = shares.next();
            for share in shares {
                scope.spawn(move || work(share));
            }
            own.map(work);
        });
    }
}

/// One thread's memory for a group of examples.
pub(crate) struct GroupEngine {
    isa: Isa,
    capacity: usize,
    layout: Layout,
    /// One a buffer of the graph.
    values: Vec<Aligned>,
    /// One a slot of the layout; empty where only the forward pass is run.
    slots: Vec<Aligned>,
    /// One a step.
    saved: Vec<Aligned>,
    pub(crate) scratch: Scratch,
}

/// What is done with a step that has parameters, on the way back.
pub(crate) trait Visit {
    /// Called for the step with this index when its output's gradient is complete.
    fn visit(&mut self, step: usize, pass: &GradientPass<'_>, scratch: &mut Scratch);
}

impl GroupEngine {
    /// An engine for groups of at most `capacity` examples; `kept` says which steps' output gradients must last.
    pub(crate) fn for_training(graph: &Graph, isa: Isa, capacity: usize, kept: &[bool]) -> Self {
        let mut engine = Self::for_evaluation(graph, isa, capacity);
        engine.layout = Layout::new(graph.plan(), kept);
        engine.slots = (engine.layout.slots.iter())
            .map(|size| Aligned::zeros(size * capacity))
            .collect();
        engine
    }

    /// An engine that runs forward only.
    pub(crate) fn for_evaluation(graph: &Graph, isa: Isa, capacity: usize) -> Self {
        let plan = graph.plan();
        let zeros = |size: usize| Aligned::zeros(size * capacity);
        Self {
            isa,
            capacity,
            layout: Layout::new(plan, &vec![false; plan.steps.len()]),
            values: plan.buffers.iter().map(|&size| zeros(size)).collect(),
            slots: Vec::new(),
            saved: (plan.steps.iter())
                .map(|step| zeros(step.operator.saved()))
                .collect(),
            scratch: Scratch::default(),
        }
    }

    /// The most examples of a group.
    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    /// Whether the output depends on a step, so that its gradient is computed.
    pub(crate) fn reaches(&self, step: usize) -> bool {
        self.layout.gradients[step + 1].is_some()
    }

    /// Computes the outputs of a group of examples, one after the other in `inputs`.
    pub(crate) fn forward(
        &mut self,
        graph: &Graph,
        weights: &[f32],
        packed: &Packed,
        inputs: &[f32],
    ) {
        let plan = graph.plan();
        let examples = inputs.len() / plan.input.elements();
        self.values[0][..inputs.len()].copy_from_slice(inputs);
        for (index, step) in plan.steps.iter().enumerate() {
            let (before, behind) = self.values.split_at_mut(index + 1);
            let inputs: Vec<&[f32]> = (step.inputs.iter())
                .map(|&buffer| &before[buffer][..plan.buffers[buffer] * examples])
                .collect();
            step.operator.forward(&mut Forward {
                isa: self.isa,
                examples,
                weights,
                packed: &packed.0[index],
                inputs: &inputs,
                output: &mut behind[0][..plan.buffers[index + 1] * examples],
                saved: &mut self.saved[index][..step.operator.saved() * examples],
                scratch: &mut self.scratch,
            });
        }
    }

    /// The outputs of a group of so many examples.
    pub(crate) fn outputs(&self, graph: &Graph, examples: usize) -> &[f32] {
        let plan = graph.plan();
        &self.values[plan.output.buffer][..plan.output.shape.elements() * examples]
    }

    /// The outputs, and where their gradients go for [`GroupEngine::backward`].
    pub(crate) fn outputs_and_gradients(
        &mut self,
        graph: &Graph,
        examples: usize,
    ) -> (&[f32], &mut [f32]) {
        let plan = graph.plan();
        let len = plan.output.shape.elements() * examples;
        let gradient = match self.layout.gradients[plan.output.buffer] {
            Some(slot) => &mut self.slots[slot][..len],
            None => &mut [],
        };
        (&self.values[plan.output.buffer][..len], gradient)
    }

    /// Runs backward, showing each step that has parameters to `visit`.
    pub(crate) fn backward(
        &mut self,
        graph: &Graph,
        weights: &[f32],
        packed: &Packed,
        examples: usize,
        visit: &mut impl Visit,
    ) {
        let plan = graph.plan();
        for (index, step) in plan.steps.iter().enumerate().rev() {
            // A step that the output does not depend on has no gradient.
            let Some(own) = self.layout.gradients[index + 1] else {
                continue;
            };
            // Slots are moved out while they are written, so that the others can be read.
            let mut targets: Vec<Option<Aligned>> = (self.layout.targets[index].iter())
                .map(|target| target.map(|target| std::mem::take(&mut self.slots[target.slot()])))
                .collect();
            let values = &self.values;
            let inputs: Vec<&[f32]> = (step.inputs.iter())
                .map(|&buffer| &values[buffer][..plan.buffers[buffer] * examples])
                .collect();
            let output_size = plan.buffers[index + 1] * examples;
            let (output, output_gradient) = (
                &values[index + 1][..output_size],
                &self.slots[own][..output_size],
            );
            let saved = &self.saved[index][..step.operator.saved() * examples];
            if !step.parameters.is_empty() {
                let pass = GradientPass {
                    isa: self.isa,
                    weights,
                    inputs: &inputs,
                    output,
                    output_gradient,
                    saved,
                };
                visit.visit(index, &pass, &mut self.scratch);
            }
            if targets.iter().any(Option::is_some) {
                let input_gradients = (targets.iter_mut().zip(&step.inputs))
                    .map(|(target, &buffer)| {
                        let size = plan.buffers[buffer] * examples;
                        target.as_mut().map(|target| &mut target[..size])
                    })
                    .collect();
                step.operator.backward(&mut Backward {
                    isa: self.isa,
                    examples,
                    weights,
                    packed: &packed.0[index],
                    inputs: &inputs,
                    output,
                    output_gradient,
                    saved,
                    scratch: &mut self.scratch,
                    input_gradients,
                });
            }
            let places: Vec<_> = self.layout.targets[index].clone();
            for (place, memory) in places.iter().zip(targets) {
                if let (Some(place), Some(memory)) = (place, memory) {
                    self.slots[place.slot()] = memory;
                }
            }
            self.add_asides(plan, step, &places, examples);
        }
    }

    /// A step's pass for its parameters' gradients, after the backward pass; its output's gradient must have been kept.
    pub(crate) fn revisit(
        &mut self,
        graph: &Graph,
        weights: &[f32],
        examples: usize,
        index: usize,
        visit: &mut impl Visit,
    ) {
        let plan = graph.plan();
        let Some(own) = self.layout.gradients[index + 1] else {
            return;
        };
        let step = &plan.steps[index];
        let values = &self.values;
        let inputs: Vec<&[f32]> = (step.inputs.iter())
            .map(|&buffer| &values[buffer][..plan.buffers[buffer] * examples])
            .collect();
        let range = 0..plan.buffers[index + 1] * examples;
        let pass = GradientPass {
            isa: self.isa,
            weights,
            inputs: &inputs,
            output: &values[index + 1][range.clone()],
            output_gradient: &self.slots[own][range],
            saved: &self.saved[index][..step.operator.saved() * examples],
        };
        visit.visit(index, &pass, &mut self.scratch);
    }

    /// Adds gradients that were written aside to the gradients they belong to.
    fn add_asides(
        &mut self,
        plan: &crate::graph::Plan,
        step: &crate::graph::Step,
        places: &[Option<Target>],
        examples: usize,
    ) {
        for (place, &buffer) in places.iter().zip(&step.inputs) {
            let (Some(Target::Aside(slot)), Some(own)) = (place, self.layout.gradients[buffer])
            else {
                continue;
            };
            let aside = std::mem::take(&mut self.slots[*slot]);
            let range: Range<usize> = 0..plan.buffers[buffer] * examples;
            let target = &mut self.slots[own][range.clone()];
            for (target, value) in target.iter_mut().zip(&aside[range]) {
                *target += value;
            }
            self.slots[*slot] = aside;
        }
    }
}

impl Target {
    fn slot(self) -> usize {
        match self {
            Self::Own(slot) | Self::Aside(slot) => slot,
        }
    }
}
