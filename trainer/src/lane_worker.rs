//! What a thread of the sample-parallel engine does: tiles of examples in, sums of their gradients out.

use std::ops::Range;

use crate::clipping::{Clipper, LaneSums};
use crate::graph::Graph;
use crate::group::{Job, Sums};
use crate::kernels::SumLanes;
use crate::lane_engine::LaneEngine;
use crate::lanes::Isa;

/// One thread's engine.
pub(crate) struct LaneWorker {
    engine: LaneEngine,
    layers: Vec<Range<usize>>,
    lane_sums: Option<LaneSums>,
    /// One example's outputs and their gradient.
    outputs: Vec<f32>,
    output_gradient: Vec<f32>,
    /// Gradients of entities of several examples, one entity a lane.
    folded: Vec<f32>,
    /// A gradient of all parameters, for entities that are larger than a tile.
    whole: Vec<f32>,
}

impl LaneWorker {
    pub(crate) fn new(graph: &Graph, isa: Isa, private: bool) -> Self {
        let classes = graph.output_shape().elements();
        let steps = graph.plan().steps.iter();
        let mut worker = Self {
            engine: LaneEngine::for_training(graph, isa),
            layers: steps
                .map(|step| step.parameters.clone())
                .filter(|parameters| !parameters.is_empty())
                .collect(),
            lane_sums: None,
            outputs: vec![0.0; classes],
            output_gradient: vec![0.0; classes],
            folded: Vec::new(),
            whole: Vec::new(),
        };
        worker.lane_sums = private.then(|| LaneSums::new(isa, worker.layers.clone()));
        worker
    }

    /// The most examples of a tile.
    pub(crate) fn capacity(&self) -> usize {
        self.engine.width()
    }

    /// Adds the gradients of some neighbouring examples, which belong to the entities as these ranges say.
    pub(crate) fn add(&mut self, job: &Job<'_>, entities: &[Range<usize>], sums: &mut Sums) {
        let (Some(first), Some(last)) = (entities.first(), entities.last()) else {
            return;
        };
        let examples = first.start..last.end;
        let width = self.capacity();
        let Some(clipper) = job.clipper else {
            let mut plain = std::mem::take(&mut sums.plain);
            self.add_plain(job, examples, &mut plain, sums);
            sums.plain = plain;
            return;
        };
        if examples.len() > width {
            return self.add_large(job, clipper, examples, sums);
        }
        let sound = self.run(job, examples.clone(), sums);
        let Some(lane_sums) = &mut self.lane_sums else {
            return;
        };
        let (private, tally) = (&mut sums.private, &mut sums.tally);
        if entities.len() == examples.len() {
            let (gradients, outer) = (self.engine).backward_to_factors(job.graph, job.weights);
            lane_sums.add_tile(clipper, gradients, &outer, &sound, private, tally);
            return;
        }
        let gradients = self.engine.backward(job.graph, job.weights);
        self.folded.resize(gradients.len(), 0.0);
        let pairs = self.folded.chunks_exact_mut(width);
        for (folded, vector) in pairs.zip(gradients.chunks_exact(width)) {
            for (own, entity) in folded.iter_mut().zip(entities) {
                let lanes = entity.start - examples.start..entity.end - examples.start;
                // Left out, not multiplied: zero times what is not a number is no zero.
                *own = (lanes.filter(|&lane| sound[lane]))
                    .map(|lane| vector[lane])
                    .sum();
            }
        }
        let lanes: Vec<bool> = (0..width).map(|lane| lane < entities.len()).collect();
        lane_sums.add_tile(clipper, &self.folded, &[], &lanes, private, tally);
    }

    /// Completes the sums.
    pub(crate) fn finish(&mut self, sums: &mut Sums) {
        if let Some(lane_sums) = &mut self.lane_sums {
            lane_sums.flush(&mut sums.private);
        }
    }

    /// Makes ready for the next step.
    pub(crate) fn clear(&mut self) {
        if let Some(lane_sums) = &mut self.lane_sums {
            lane_sums.clear();
        }
    }

    /// Runs a tile forward, sets its output's gradients, counts the examples that are not sound, and tells which are.
    fn run(&mut self, job: &Job<'_>, examples: Range<usize>, sums: &mut Sums) -> Vec<bool> {
        let graph = job.graph;
        let size = graph.input_shape().elements();
        let inputs = &job.examples.inputs[examples.start * size..examples.end * size];
        let elements = graph.output_shape().elements();
        let targets = job
            .examples
            .targets
            .slice(examples.clone(), elements)
            .each(elements);
        let mut sound = vec![false; self.capacity()];
        self.engine.forward(graph, job.weights, inputs);
        for (lane, (input, target)) in inputs.chunks_exact(size).zip(targets).enumerate() {
            self.engine.output(graph, lane, &mut self.outputs);
            let value = job
                .loss
                .evaluate(&self.outputs, target, &mut self.output_gradient);
            // An infinite input could be squashed by tanh into a finite loss.
            sound[lane] =
                value.is_some_and(f32::is_finite) && input.iter().all(|value| value.is_finite());
            if !sound[lane] {
                self.output_gradient.fill(0.0);
            }
            self.engine
                .set_output_gradient(graph, lane, &self.output_gradient);
        }
        // Lanes behind the last example keep an old gradient, which nothing reads.
        let unsound = sound[..examples.len()].iter().filter(|sound| !**sound);
        sums.tally.poisoned += unsound.count();
        sound
    }

    fn add_plain(
        &mut self,
        job: &Job<'_>,
        examples: Range<usize>,
        target: &mut [f32],
        sums: &mut Sums,
    ) {
        let isa = self.engine.isa();
        let width = self.capacity();
        for start in examples.clone().step_by(width) {
            let sound = self.run(job, start..examples.end.min(start + width), sums);
            isa.run(SumLanes {
                tile: self.engine.backward(job.graph, job.weights),
                sound: &sound,
                sums: target,
            });
        }
    }

    /// Adds the gradient of one entity that is larger than a tile: summed as it is, and clipped at the end.
    fn add_large(
        &mut self,
        job: &Job<'_>,
        clipper: &Clipper,
        examples: Range<usize>,
        sums: &mut Sums,
    ) {
        let mut whole = std::mem::take(&mut self.whole);
        whole.clear();
        whole.resize(job.graph.parameter_count(), 0.0);
        let before = sums.tally.poisoned;
        self.add_plain(job, examples.clone(), &mut whole, sums);
        let sound = examples.len() - (sums.tally.poisoned - before);
        let isa = self.engine.isa();
        clipper.add_gradient(
            isa,
            &self.layers,
            &whole,
            sound,
            &mut sums.private,
            &mut sums.tally,
        );
        self.whole = whole;
    }
}
