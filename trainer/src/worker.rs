//! What each thread does in a step: tiles of examples in, a sum of gradients out.

use crate::engine::Engine;
use crate::examples::Examples;
use crate::graph::Graph;
use crate::grid::Grid;
use crate::kernels::SumLanes;
use crate::lanes::Isa;
use crate::loss::Loss;

/// One thread's buffers and sums.
pub(crate) struct Worker {
    engine: Engine,
    /// Clipped gradients in grid units; empty without privacy.
    pub(crate) sums: Vec<i64>,
    /// Gradients as they are; empty with privacy.
    pub(crate) plain_sums: Vec<f32>,
    pub(crate) poisoned: usize,
    /// One example's outputs and their gradient.
    outputs: Vec<f32>,
    output_gradient: Vec<f32>,
}

impl Worker {
    /// A worker that clips where there is a grid.
    pub(crate) fn new(graph: &Graph, isa: Isa, grid: Option<Grid>) -> Self {
        let (classes, parameters) = (graph.output_shape().elements(), graph.parameter_count());
        let (private, plain) = if grid.is_some() {
            (parameters, 0)
        } else {
            (0, parameters)
        };
        Self {
            engine: Engine::for_training(graph, isa),
            sums: vec![0; private],
            plain_sums: vec![0.0; plain],
            poisoned: 0,
            outputs: vec![0.0; classes],
            output_gradient: vec![0.0; classes],
        }
    }

    /// Examples in a tile.
    pub(crate) fn width(&self) -> usize {
        self.engine.width()
    }

    /// Makes ready for the next step.
    pub(crate) fn clear(&mut self) {
        self.sums.fill(0);
        self.plain_sums.fill(0.0);
        self.poisoned = 0;
    }

    /// Adds the gradients of a tile of examples.
    pub(crate) fn add(
        &mut self,
        graph: &Graph,
        weights: &[f32],
        loss: &dyn Loss,
        grid: Option<Grid>,
        tile: &Examples<'_>,
    ) {
        let width = self.engine.width();
        let isa = self.engine.isa();
        let mut sound = vec![false; width];
        self.engine.forward(graph, weights, tile.inputs);
        let mut examples = 0;
        for (lane, (input, target)) in tile.each(graph).enumerate() {
            examples += 1;
            self.engine.output(graph, lane, &mut self.outputs);
            let value = loss.evaluate(&self.outputs, target, &mut self.output_gradient);
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
        let gradients = self.engine.backward(graph, weights);
        self.poisoned += sound.iter().take(examples).filter(|sound| !**sound).count();
        match grid {
            Some(grid) => {
                self.poisoned += grid.accumulate_tile(isa, gradients, &sound, &mut self.sums)
            }
            None => isa.run(SumLanes {
                tile: gradients,
                sound: &sound,
                sums: &mut self.plain_sums,
            }),
        }
    }
}
