//! What a thread of the group engine does: groups of examples in, sums of their gradients out.

use std::ops::Range;

use super::strategy::Method;
use super::{GroupEngine, Packed, Visit};
use crate::clipping::{AddBlocks, AddGradient, BLOCK, Clipper, SquaredNorm, Tally, Verdict};
use crate::examples::Examples;
use crate::graph::{GradientPass, Graph, Scaled, Scratch};
use crate::grid::SMALL_NORM;
use crate::lanes::Isa;
use crate::loss::Loss;

/// What a step's threads share.
#[derive(Clone, Copy)]
pub(crate) struct Job<'a> {
    pub(crate) graph: &'a Graph,
    pub(crate) weights: &'a [f32],
    pub(crate) packed: &'a Packed,
    pub(crate) loss: &'a dyn Loss,
    pub(crate) clipper: Option<&'a Clipper>,
    pub(crate) examples: &'a Examples<'a>,
}

/// A thread's sums.
#[derive(Default)]
pub(crate) struct Sums {
    /// Clipped gradients in grid units; empty without privacy.
    pub(crate) private: Vec<i64>,
    /// Gradients as they are; empty with privacy.
    pub(crate) plain: Vec<f32>,
    pub(crate) tally: Tally,
}

impl Sums {
    pub(crate) fn new(private: bool, parameters: usize) -> Self {
        let (private, plain) = if private {
            (parameters, 0)
        } else {
            (0, parameters)
        };
        Self {
            private: vec![0; private],
            plain: vec![0.0; plain],
            tally: Tally::default(),
        }
    }

    /// Makes ready for the next step.
    pub(crate) fn clear(&mut self) {
        self.private.fill(0);
        self.plain.fill(0.0);
        self.tally = Tally::default();
    }
}

/// One thread's engine, and the gradients that it keeps.
pub(crate) struct GroupWorker {
    engine: GroupEngine,
    isa: Isa,
    layers: Vec<Layer>,
    /// A gradient on its way.
    gradient: Vec<f32>,
    /// A gradient of all parameters, for entities that are larger than a group.
    whole: Vec<f32>,
    inputs: Vec<f32>,
}

/// A step that has parameters, at work.
struct Layer {
    step: usize,
    parameters: Range<usize>,
    method: Method,
    /// Each entity's gradient, where it is kept.
    kept: Vec<f32>,
    /// Each entity's squared norm.
    squares: Vec<f64>,
}

/// An entity that contributes, and its factor in each layer.
struct Contribution {
    entity: usize,
    examples: Range<usize>,
    scales: Vec<f64>,
    verdict: Verdict,
}

impl GroupWorker {
    /// A worker for groups of `capacity` examples, with the given method for each step.
    pub(crate) fn new(
        graph: &Graph,
        isa: Isa,
        capacity: usize,
        methods: &[Method],
        private: bool,
    ) -> Self {
        let steps = &graph.plan().steps;
        let lasts: Vec<bool> = (steps.iter().zip(methods))
            .map(|(step, method)| private && !step.parameters.is_empty() && *method != Method::Kept)
            .collect();
        let engine = GroupEngine::for_training(graph, isa, capacity, &lasts);
        let layers = (steps.iter().zip(methods).enumerate())
            .filter(|(index, (step, _))| !step.parameters.is_empty() && engine.reaches(*index))
            .map(|(index, (step, &method))| Layer {
                step: index,
                parameters: step.parameters.clone(),
                method,
                kept: match method {
                    Method::Kept if private => vec![0.0; step.parameters.len() * capacity],
                    _ => Vec::new(),
                },
                squares: Vec::new(),
            })
            .collect();
        Self {
            engine,
            isa,
            layers,
            gradient: Vec::new(),
            whole: Vec::new(),
            inputs: Vec::new(),
        }
    }

    /// The squared norm of each entity's gradient in the last group.
    #[cfg(test)]
    pub(crate) fn squared_norms(&self) -> Vec<f64> {
        let entities = self.layers.first().map_or(0, |layer| layer.squares.len());
        (0..entities)
            .map(|entity| self.layers.iter().map(|layer| layer.squares[entity]).sum())
            .collect()
    }

    /// The most examples of a group.
    pub(crate) fn capacity(&self) -> usize {
        self.engine.capacity()
    }

    /// Adds the gradients of some neighbouring examples, which belong to the entities as these ranges say.
    pub(crate) fn add(&mut self, job: &Job<'_>, entities: &[Range<usize>], sums: &mut Sums) {
        let (Some(first), Some(last)) = (entities.first(), entities.last()) else {
            return;
        };
        let examples = first.start..last.end;
        match job.clipper {
            None => {
                let mut plain = std::mem::take(&mut sums.plain);
                for examples in chunks(examples, self.capacity()) {
                    self.add_plain(job, examples, &mut plain, &mut sums.tally);
                }
                sums.plain = plain;
            }
            Some(clipper) if examples.len() <= self.capacity() => {
                self.add_private(job, clipper, entities, sums);
            }
            Some(clipper) => self.add_large(job, clipper, examples, sums),
        }
    }

    /// Runs a group forward and sets its output's gradients. Examples that are not sound are replaced by
    /// zeros and counted; tells which are sound.
    fn forward(&mut self, job: &Job<'_>, examples: Range<usize>, tally: &mut Tally) -> Vec<bool> {
        let graph = job.graph;
        let size = graph.input_shape().elements();
        let inputs = &job.examples.inputs[examples.start * size..examples.end * size];
        let elements = graph.output_shape().elements();
        let targets = job.examples.targets.slice(examples.clone(), elements);
        self.inputs.clear();
        self.inputs.extend_from_slice(inputs);
        // An infinite input could be squashed by tanh into a finite loss.
        let mut sound: Vec<bool> = (inputs.chunks_exact(size))
            .map(|input| input.iter().all(|value| value.is_finite()))
            .collect();
        for _ in 0..2 {
            for (input, _) in
                (self.inputs.chunks_exact_mut(size).zip(&sound)).filter(|(_, sound)| !**sound)
            {
                input.fill(0.0);
            }
            (self.engine).forward(graph, job.weights, job.packed, &self.inputs);
            let (outputs, gradients) = self.engine.outputs_and_gradients(graph, examples.len());
            let width = graph.output_shape().elements();
            let pairs = outputs
                .chunks_exact(width)
                .zip(gradients.chunks_exact_mut(width));
            let mut found = false;
            for (((outputs, gradient), target), sound) in
                pairs.zip(targets.each(elements)).zip(&mut sound)
            {
                let value = (job.loss)
                    .evaluate(outputs, target, gradient)
                    .filter(|value| *sound && value.is_finite());
                if value.is_none() {
                    found |= *sound;
                    *sound = false;
                    gradient.fill(0.0);
                }
            }
            // What overflowed on its way must not meet a gradient of zero: zero times infinity is no zero.
            if !found {
                break;
            }
        }
        tally.poisoned += sound.iter().filter(|sound| !**sound).count();
        sound
    }

    fn add_plain(
        &mut self,
        job: &Job<'_>,
        examples: Range<usize>,
        sums: &mut [f32],
        tally: &mut Tally,
    ) {
        let count = examples.len();
        self.forward(job, examples, tally);
        let mut visit = PlainVisit {
            graph: job.graph,
            examples: count,
            gradient: &mut self.gradient,
            sums,
        };
        (self.engine).backward(job.graph, job.weights, job.packed, count, &mut visit);
    }

    fn add_private(
        &mut self,
        job: &Job<'_>,
        clipper: &Clipper,
        entities: &[Range<usize>],
        sums: &mut Sums,
    ) {
        let start = entities.first().map_or(0, |first| first.start);
        let end = entities.last().map_or(0, |last| last.end);
        let entities: Vec<Range<usize>> = (entities.iter())
            .map(|entity| entity.start - start..entity.end - start)
            .collect();
        let sound = self.forward(job, start..end, &mut sums.tally);
        // Those that were not are counted already.
        let count = |examples: &Range<usize>| {
            sound[examples.clone()]
                .iter()
                .filter(|sound| **sound)
                .count()
        };
        let mut visit = NormVisit {
            graph: job.graph,
            entities: &entities,
            layers: &mut self.layers,
            gradient: &mut self.gradient,
        };
        (self.engine).backward(job.graph, job.weights, job.packed, end - start, &mut visit);

        let mut contributions = Vec::with_capacity(entities.len());
        for (index, examples) in entities.iter().enumerate() {
            let squares: Vec<f64> = self
                .layers
                .iter()
                .map(|layer| layer.squares[index])
                .collect();
            let mut scales = vec![0.0; squares.len()];
            let verdict = clipper.scales(&squares, &mut scales);
            if verdict == Verdict::Poisoned {
                sums.tally.count(verdict, count(examples));
                continue;
            }
            contributions.push(Contribution {
                entity: index,
                examples: examples.clone(),
                scales,
                verdict,
            });
        }
        let mut squares = vec![0.0; contributions.len()];
        for layer in 0..self.layers.len() {
            let range = self.layers[layer].parameters.clone();
            let target = &mut sums.private[range];
            self.add_layer(
                job,
                clipper,
                end - start,
                layer,
                &contributions,
                target,
                &mut squares,
            );
        }
        for (contribution, &square) in contributions.iter().zip(&squares) {
            if clipper.admits(square) {
                sums.tally.count(contribution.verdict, 0);
                continue;
            }
            // Longer than its norm had promised: all of it is taken back.
            sums.tally
                .count(Verdict::Poisoned, count(&contribution.examples));
            for layer in 0..self.layers.len() {
                let range = self.layers[layer].parameters.clone();
                let mut own = vec![0; range.len()];
                let contribution = std::slice::from_ref(contribution);
                self.add_layer(
                    job,
                    clipper,
                    end - start,
                    layer,
                    contribution,
                    &mut own,
                    &mut [0.0],
                );
                for (sum, own) in sums.private[range].iter_mut().zip(own) {
                    *sum -= own;
                }
            }
        }
    }

    /// Adds a layer's part of the contributions.
    #[expect(clippy::too_many_arguments)]
    fn add_layer(
        &mut self,
        job: &Job<'_>,
        clipper: &Clipper,
        examples: usize,
        index: usize,
        contributions: &[Contribution],
        sums: &mut [i64],
        squares: &mut [f64],
    ) {
        let layer = &self.layers[index];
        if layer.method == Method::Kept {
            let size = layer.parameters.len();
            let small = clipper.grid().integer_norm() <= SMALL_NORM;
            for start in (0..size).step_by(BLOCK) {
                let block = start..size.min(start + BLOCK);
                let kept = |own: &Contribution| &layer.kept[own.entity * size..][block.clone()];
                if small {
                    let some = contributions
                        .chunks(MOST_BLOCKS)
                        .zip(squares.chunks_mut(MOST_BLOCKS));
                    for (contributions, squares) in some {
                        let blocks: Vec<(&[f32], f32)> = (contributions.iter())
                            .map(|own| (kept(own), own.scales[index] as f32))
                            .collect();
                        self.isa.run(AddBlocks {
                            blocks: &blocks,
                            sums: &mut sums[block.clone()],
                            squares,
                        });
                    }
                    continue;
                }
                for (own, square) in contributions.iter().zip(&mut *squares) {
                    *square += self.isa.run(AddGradient {
                        values: kept(own),
                        scale: own.scales[index],
                        sums: &mut sums[block.clone()],
                    });
                }
            }
            return;
        }
        let mut visit = SumVisit {
            graph: job.graph,
            layer: index,
            small: clipper.grid().integer_norm() <= SMALL_NORM,
            contributions,
            gradient: &mut self.gradient,
            sums,
            squares,
        };
        (self.engine).revisit(job.graph, job.weights, examples, layer.step, &mut visit);
    }

    /// Adds the gradient of one entity that is larger than a group: summed as it is, and clipped at the end.
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
        for chunk in chunks(examples.clone(), self.capacity()) {
            self.add_plain(job, chunk, &mut whole, &mut sums.tally);
        }
        let layers: Vec<Range<usize>> = (self.layers.iter())
            .map(|layer| layer.parameters.clone())
            .collect();
        let sound = examples.len() - (sums.tally.poisoned - before);
        clipper.add_gradient(
            self.isa,
            &layers,
            &whole,
            sound,
            &mut sums.private,
            &mut sums.tally,
        );
        self.whole = whole;
    }
}

/// The parts of a range, each of at most `size`.
fn chunks(range: Range<usize>, size: usize) -> impl Iterator<Item = Range<usize>> {
    range
        .clone()
        .step_by(size)
        .map(move |start| start..range.end.min(start + size))
}

/// Blocks that 32-bit sums hold.
const MOST_BLOCKS: usize = 511;

/// Gets norms, and keeps gradients.
struct NormVisit<'a> {
    graph: &'a Graph,
    entities: &'a [Range<usize>],
    layers: &'a mut [Layer],
    gradient: &'a mut Vec<f32>,
}

impl Visit for NormVisit<'_> {
    fn visit(&mut self, step: usize, pass: &GradientPass<'_>, scratch: &mut Scratch) {
        let Some(layer) = self.layers.iter_mut().find(|layer| layer.step == step) else {
            return;
        };
        let operator = &self.graph.plan().steps[step].operator;
        let Some(gradients) = operator.gradients() else {
            return;
        };
        let size = layer.parameters.len();
        layer.squares.clear();
        for (index, examples) in self.entities.iter().enumerate() {
            let square = match (layer.method, gradients.products()) {
                (Method::Ghost, Some(products)) => {
                    products.ghost_squared_norm(pass, examples.clone(), scratch)
                }
                (method, _) => {
                    let target = if method == Method::Kept {
                        &mut layer.kept[index * size..(index + 1) * size]
                    } else {
                        self.gradient.resize(size, 0.0);
                        &mut self.gradient[..size]
                    };
                    gradients.instantiate(pass, examples.clone(), scratch, target);
                    pass.isa.run(SquaredNorm(target))
                }
            };
            layer.squares.push(square);
        }
    }
}

/// Adds a layer's clipped gradients.
struct SumVisit<'a> {
    graph: &'a Graph,
    layer: usize,
    /// Whether products may round in single precision.
    small: bool,
    contributions: &'a [Contribution],
    gradient: &'a mut Vec<f32>,
    sums: &'a mut [i64],
    squares: &'a mut [f64],
}

impl Visit for SumVisit<'_> {
    fn visit(&mut self, step: usize, pass: &GradientPass<'_>, scratch: &mut Scratch) {
        let operator = &self.graph.plan().steps[step].operator;
        let Some(gradients) = operator.gradients() else {
            return;
        };
        if let (true, Some(products)) = (self.small, gradients.products()) {
            let entities: Vec<Scaled> = (self.contributions.iter())
                .map(|own| Scaled {
                    examples: own.examples.clone(),
                    scale: own.scales[self.layer] as f32,
                })
                .collect();
            products.add_rounded(pass, &entities, scratch, self.sums, self.squares);
            return;
        }
        self.gradient.resize(self.sums.len(), 0.0);
        for (own, square) in self.contributions.iter().zip(&mut *self.squares) {
            let gradient = &mut self.gradient[..self.sums.len()];
            gradients.instantiate(pass, own.examples.clone(), scratch, gradient);
            *square += pass.isa.run(AddGradient {
                values: gradient,
                scale: own.scales[self.layer],
                sums: self.sums,
            });
        }
    }
}

/// Adds gradients as they are.
struct PlainVisit<'a> {
    graph: &'a Graph,
    examples: usize,
    gradient: &'a mut Vec<f32>,
    sums: &'a mut [f32],
}

impl Visit for PlainVisit<'_> {
    fn visit(&mut self, step: usize, pass: &GradientPass<'_>, scratch: &mut Scratch) {
        let step = &self.graph.plan().steps[step];
        let Some(gradients) = step.operator.gradients() else {
            return;
        };
        let sums = &mut self.sums[step.parameters.clone()];
        if let Some(products) = gradients.products() {
            products.add(pass, 0..self.examples, scratch, sums);
            return;
        }
        self.gradient.resize(sums.len(), 0.0);
        let gradient = &mut self.gradient[..sums.len()];
        gradients.instantiate(pass, 0..self.examples, scratch, gradient);
        for (sum, value) in sums.iter_mut().zip(gradient) {
            *sum += *value;
        }
    }
}
