//! What a model answers, on examples that are not private.

use crate::engine::Engine;
use crate::evaluate::EvaluateError;
use crate::examples::ExamplesError;
use crate::graph::Graph;
use crate::lanes::Isa;
use crate::parameters::Parameters;

/// The outputs of examples, one after the other, each as many float32 as the graph's output shape has elements.
///
/// `inputs` holds one example after the other, as [`crate::Examples::inputs`] does; whole numbers of a lookup are floats in it.
///
/// ```
/// use tributary_trainer::{Graph, Parameters, models, predict};
/// let graph = Graph::from_onnx(&models::mnist_cnn(1))?;
/// let outputs = predict(&graph, &Parameters::initial(&graph)?, &vec![0.0; 2 * 784])?;
/// assert_eq!(outputs.len(), 2 * 10);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// Where the inputs are not a whole number of examples, or the weights are not those of the graph.
pub fn predict(
    graph: &Graph,
    parameters: &Parameters,
    inputs: &[f32],
) -> Result<Vec<f32>, EvaluateError> {
    let weights = parameters.to_flat(graph)?;
    let (example, outputs) = (
        graph.input_shape().elements(),
        graph.output_shape().elements(),
    );
    if !inputs.len().is_multiple_of(example) {
        return Err(ExamplesError::Inputs {
            inputs: inputs.len(),
            examples: inputs.len() / example,
            example,
        }
        .into());
    }
    let isa = Isa::best();
    let mut engine = Engine::for_evaluation(graph, isa);
    let mut predicted = vec![0.0; inputs.len() / example * outputs];
    let width = isa.width();
    for (inputs, predicted) in inputs
        .chunks(width * example)
        .zip(predicted.chunks_mut(width * outputs))
    {
        engine.forward(graph, &weights, inputs);
        for (index, output) in predicted.chunks_exact_mut(outputs).enumerate() {
            engine.output(graph, index, output);
        }
    }
    Ok(predicted)
}
