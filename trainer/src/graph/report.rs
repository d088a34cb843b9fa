//! What there is to know of a file before it is trained: also of one that cannot be.

use sha2::{Digest, Sha256};

use super::error::GraphError;
use super::import;
use super::plan::ParameterInfo;
use super::shape::Shape;
use super::tied;
use super::{ModelDigest, Plan};
use crate::onnx::ModelProto;

/// A file as far as it can be read, and all that is refused of it.
#[derive(Debug)]
pub struct ModelReport {
    /// SHA-256 of the file.
    pub digest: ModelDigest,
    /// One example's shape.
    pub input: Shape,
    /// One example's output; `None` where something on the way is refused.
    pub output: Option<Shape>,
    /// What is computed, in order. Reshapes and constants are none of it.
    pub layers: Vec<LayerReport>,
    /// What is trained.
    pub parameters: Vec<ParameterInfo>,
    /// Float tensors of the file that are used as they are.
    pub constants: Vec<String>,
    /// Bytes of one example's intermediate results, forward and back.
    pub example_bytes: u64,
    /// All that is refused; empty where the model can be trained with privacy.
    pub refusals: Vec<GraphError>,
}

/// One computation.
#[derive(Clone, Debug)]
pub struct LayerReport {
    /// The node's name in the file.
    pub node: String,
    /// Its ONNX operator.
    pub operator: String,
    /// The shape of one example's output.
    pub shape: Shape,
    /// How many numbers of it are trained.
    pub parameters: usize,
}

impl ModelReport {
    /// Reads an ONNX file, going on where something is refused.
    ///
    /// ```
    /// use tributary_trainer::{ModelReport, models};
    /// let report = ModelReport::read(&models::mnist_cnn(1))?;
    /// assert!(report.refusals.is_empty());
    /// assert_eq!(report.layers[0].operator, "Conv");
    /// # Ok::<(), tributary_trainer::GraphError>(())
    /// ```
    ///
    /// # Errors
    /// Where the bytes are no ONNX model, or have no graph of one input and one output.
    pub fn read(bytes: &[u8]) -> Result<Self, GraphError> {
        let survey = import::survey(&ModelProto::read(bytes)?)?;
        let mut refusals = survey.refusals;
        let mut plan = survey.plan;
        if refusals.is_empty() {
            refusals.extend(tied::part(&mut plan).err());
        }
        let output = refusals.is_empty().then(|| plan.output.shape.clone());
        refusals.extend(
            plan.batch_norms
                .iter()
                .map(|node| GraphError::BatchNormalization { node: node.clone() }),
        );
        Ok(Self {
            digest: ModelDigest(Sha256::digest(bytes).into()),
            input: plan.input.clone(),
            output,
            layers: layers(&plan),
            example_bytes: 2 * size_of::<f32>() as u64 * plan.buffers.iter().sum::<usize>() as u64,
            parameters: plan.parameters,
            constants: plan.constants,
            refusals,
        })
    }
}

fn layers(plan: &Plan) -> Vec<LayerReport> {
    plan.steps
        .iter()
        .map(|step| LayerReport {
            node: step.origin.node.clone(),
            operator: step.origin.operator.clone(),
            shape: step.origin.shape.clone(),
            parameters: step.parameters.len(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::builder::{Builder, int};

    #[test]
    fn everything_that_is_refused_is_listed_and_what_follows_from_it_is_not() {
        let mut model = Builder::new("test", 1, &[4]);
        model.layer("fc", &[4, 4]);
        model.layer("classes", &[2, 5]);
        model.then(
            "Gemm",
            "fc",
            &["fc.weight", "fc.bias"],
            vec![int("transB", 1)],
        );
        model.then("Selu", "selu", &[], vec![]);
        model.then("Relu", "relu", &[], vec![]);
        model.node("Softmax", "over", &["fc_output_0"], vec![int("axis", 7)]);
        model.then(
            "Gemm",
            "classes",
            &["classes.weight", "classes.bias"],
            vec![int("transB", 1)],
        );
        let report = ModelReport::read(&model.finish(&[2])).unwrap();
        let messages: Vec<String> = report.refusals.iter().map(ToString::to_string).collect();
        assert_eq!(messages.len(), 2, "{messages:?}");
        assert!(messages[0].contains("Selu") && messages[1].contains("axis 7"));
        assert_eq!(report.output, None);
        assert_eq!(report.layers.len(), 1);
    }

    #[test]
    fn batch_normalisation_is_read_and_refused_in_private_training() {
        let mut model = Builder::new("test", 1, &[3, 2, 2]);
        for name in ["weight", "bias", "mean", "variance"] {
            model.weight(&format!("norm.{name}"), &[3], 0.5);
        }
        model.then(
            "BatchNormalization",
            "norm",
            &["norm.weight", "norm.bias", "norm.mean", "norm.variance"],
            vec![],
        );
        let bytes = model.finish(&[3, 2, 2]);
        let graph = super::super::Graph::from_onnx(&bytes).unwrap();
        let refusal = graph.check_private_training().unwrap_err().to_string();
        assert!(
            refusal.contains("GroupNorm") && refusal.contains("`norm`"),
            "{refusal}"
        );
        assert_eq!(ModelReport::read(&bytes).unwrap().refusals.len(), 1);
    }
}
