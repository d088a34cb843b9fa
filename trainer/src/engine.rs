//! Runs a graph forward, by whichever engine suits it.

use crate::graph::Graph;
use crate::group::{GroupEngine, Packed, capacity};
use crate::lane_engine::LaneEngine;
use crate::lanes::Isa;

/// The buffers of one thread that evaluates.
pub(crate) enum Engine {
    /// One example a lane.
    Lanes(LaneEngine),
    /// Layer by layer, with the weights as they were first seen.
    Group {
        engine: Box<GroupEngine>,
        packed: Option<Packed>,
        outputs: Vec<f32>,
    },
}

impl Engine {
    /// An engine that runs forward only. It serves one set of weights: those of its first call.
    pub(crate) fn for_evaluation(graph: &Graph, isa: Isa) -> Self {
        if suits_lanes(graph, isa) {
            return Self::Lanes(LaneEngine::for_evaluation(graph, isa));
        }
        let engine = GroupEngine::for_evaluation(graph, isa, capacity(graph, 0));
        Self::Group {
            engine: Box::new(engine),
            packed: None,
            outputs: Vec::new(),
        }
    }

    /// Computes the outputs of at most [`Isa::width`] examples, one after the other in `inputs`.
    pub(crate) fn forward(&mut self, graph: &Graph, weights: &[f32], inputs: &[f32]) {
        match self {
            Self::Lanes(engine) => engine.forward(graph, weights, inputs),
            Self::Group {
                engine,
                packed,
                outputs,
            } => {
                let packed = packed.get_or_insert_with(|| {
                    let mut packed = Packed::new(graph);
                    packed.pack(graph, weights, 1);
                    packed
                });
                outputs.clear();
                let size = graph.input_shape().elements();
                for inputs in inputs.chunks(engine.capacity() * size) {
                    engine.forward(graph, weights, packed, inputs);
                    outputs.extend_from_slice(engine.outputs(graph, inputs.len() / size));
                }
            }
        }
    }

    /// One example's output.
    pub(crate) fn output(&self, graph: &Graph, example: usize, output: &mut [f32]) {
        match self {
            Self::Lanes(engine) => engine.output(graph, example, output),
            Self::Group { outputs, .. } => {
                output.copy_from_slice(&outputs[example * output.len()..][..output.len()]);
            }
        }
    }
}

/// Whether the sample-parallel engine is the faster one: all its operators have lanes, and a tile of examples with all
/// its gradients stays within the caches.
pub(crate) fn suits_lanes(graph: &Graph, isa: Isa) -> bool {
    let plan = graph.plan();
    let scratch: usize = (plan.steps.iter())
        .filter_map(|step| step.operator.lanes())
        .map(|lanes| lanes.scratch())
        .sum();
    let floats = 2 * plan.buffers.iter().sum::<usize>() + scratch + plan.weights.len();
    plan.has_lanes() && floats * isa.width() * size_of::<f32>() <= LANES_LIMIT
}

/// A tile's memory that the caches serve well enough; measured with LeNet (7 MiB), which fits, and ResNet-18, which does not.
const LANES_LIMIT: usize = 16 << 20;
