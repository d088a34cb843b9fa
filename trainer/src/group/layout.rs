//! Which gradient shares memory with which.
//!
//! A value's gradient lives from the last step that uses the value, where the backward pass meets it first, until the step
//! that made it has been passed. A gradient that a later clipped sum reads again is kept to the end.

use crate::graph::Plan;

/// The memory of a backward pass, in floats an example.
#[derive(Debug)]
pub(crate) struct Layout {
    /// Size of each slot.
    pub(crate) slots: Vec<usize>,
    /// The slot of each buffer's gradient; `None` where it is never computed.
    pub(crate) gradients: Vec<Option<usize>>,
    /// For each step, where each input's gradient is written; `None` where nothing before the input is trained.
    pub(crate) targets: Vec<Vec<Option<Target>>>,
}

/// Where a step writes the gradient of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// Into the gradient's own slot: the step is the first to write it.
    Own(usize),
    /// Into this slot, from which it is added to the gradient.
    Aside(usize),
}

impl Layout {
    /// The layout for a plan; `kept` says for each step whether its output's gradient must last.
    pub(crate) fn new(plan: &Plan, kept: &[bool]) -> Self {
        let mut pool = Pool::default();
        let mut gradients: Vec<Option<usize>> = vec![None; plan.buffers.len()];
        let mut targets = vec![Vec::new(); plan.steps.len()];
        let output = plan.output.buffer;
        gradients[output] = Some(pool.take(plan.buffers[output]));
        for (index, step) in plan.steps.iter().enumerate().rev() {
            let Some(own) = gradients[index + 1] else {
                targets[index] = vec![None; step.inputs.len()];
                continue;
            };
            let mut aside = Vec::new();
            for (&input, &trained) in step.inputs.iter().zip(&step.trained_before) {
                targets[index].push(trained.then(|| match gradients[input] {
                    None => {
                        let slot = pool.take(plan.buffers[input]);
                        gradients[input] = Some(slot);
                        Target::Own(slot)
                    }
                    Some(_) => {
                        let slot = pool.take(plan.buffers[input]);
                        aside.push(slot);
                        Target::Aside(slot)
                    }
                }));
            }
            aside.into_iter().for_each(|slot| pool.give(slot));
            if !kept[index] {
                pool.give(own);
            }
        }
        Self {
            slots: pool.sizes,
            gradients,
            targets,
        }
    }
}

#[derive(Default)]
struct Pool {
    sizes: Vec<usize>,
    free: Vec<usize>,
}

impl Pool {
    /// The smallest free slot that is large enough, else the largest, grown, else a new one.
    fn take(&mut self, size: usize) -> usize {
        let sizes = &self.sizes;
        let fits = (self.free.iter().enumerate()).filter(|(_, slot)| sizes[**slot] >= size);
        let best = fits
            .min_by_key(|(_, slot)| sizes[**slot])
            .or_else(|| (self.free.iter().enumerate()).max_by_key(|(_, slot)| sizes[**slot]))
            .map(|(place, _)| place);
        match best {
            Some(place) => {
                let slot = self.free.swap_remove(place);
                self.sizes[slot] = self.sizes[slot].max(size);
                slot
            }
            None => {
                self.sizes.push(size);
                self.sizes.len() - 1
            }
        }
    }

    fn give(&mut self, slot: usize) {
        self.free.push(slot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Graph;
    use crate::models;

    #[test]
    fn a_chain_needs_two_gradients_at_a_time_and_kept_ones_stay() {
        let graph = Graph::from_onnx(&models::mnist_cnn(1)).unwrap();
        let plan = graph.plan();
        let layout = Layout::new(plan, &vec![false; plan.steps.len()]);
        assert_eq!(layout.slots.len(), 2);
        let layout = Layout::new(plan, &vec![true; plan.steps.len()]);
        let mut slots: Vec<_> = layout.gradients.iter().flatten().collect();
        slots.sort();
        slots.dedup();
        assert_eq!(slots.len(), plan.steps.len());
    }
}
