//! How good a model is on data of the consumer's own.

use std::num::NonZeroUsize;
use std::path::Path;

use serde::Serialize;
use tributary_idx::{IdxError, read_pair};
use tributary_protocol::Input;
use tributary_trainer::{
    EvaluateError, Graph, GraphError, LossConfig, Metrics, Parameters, ParametersError, Shape,
};

use crate::masks::{MaskedImages, MasksError};
use crate::targets::TargetForm;
use crate::terms::Scaling;

/// What evaluation found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Evaluation {
    /// Examples evaluated.
    pub examples: u64,
    /// Share of examples that the model gets right, from 0 to 1; none where it answers with masks.
    pub accuracy: Option<f64>,
    /// The mean loss, in nats.
    pub loss: f64,
    /// Class by class.
    pub classes: Vec<ClassScore>,
    /// All that was measured.
    pub metrics: Metrics,
}

/// What evaluation found for one class.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ClassScore {
    /// The class.
    pub class: usize,
    /// Its examples.
    pub examples: u64,
    /// Those that were recognised.
    pub correct: u64,
    /// Share of its examples that were recognised; none where there are none.
    pub recall: Option<f64>,
    /// Share of the examples taken for it that are of it; none where none were taken for it.
    pub precision: Option<f64>,
    /// The harmonic mean of both; none where the class occurs nowhere.
    pub f1: Option<f64>,
    /// The area under its ROC curve; none where all or no examples are of it.
    pub roc_auc: Option<f64>,
    /// The area under its precision-recall curve; none where it has no examples.
    pub pr_auc: Option<f64>,
}

/// Why there is no evaluation.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvaluationError {
    /// The model cannot be read.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The model's weights cannot be used.
    #[error(transparent)]
    Parameters(#[from] ParametersError),
    /// The images or labels cannot be read.
    #[error(transparent)]
    Idx(#[from] IdxError),
    /// The images have another shape than the model takes.
    #[error("expected images of the shape that the model takes, {expected}, got {rows}x{columns}")]
    Images {
        /// The model's input.
        expected: Shape,
        /// Rows of an image.
        rows: u32,
        /// Columns of an image.
        columns: u32,
    },
    /// The masks cannot be read, or do not fit.
    #[error(transparent)]
    Masks(#[from] MasksError),
    /// The model cannot be evaluated on them.
    #[error(transparent)]
    Evaluate(#[from] EvaluateError),
}

/// What a model should answer to the images of a set.
#[derive(Debug, Clone, Copy)]
pub enum Answers<'a> {
    /// An IDX file of labels.
    Labels(&'a Path),
    /// An IDX file of images whose bytes are classes of pixels, and how many classes there are.
    Masks(&'a Path, u32),
}

/// Evaluates an ONNX model on the two IDX files of a set, with the bytes scaled as `input` says and the mean of `loss`.
///
/// # Errors
/// Where model or files cannot be read, or do not fit each other.
pub fn evaluate(
    onnx: &[u8],
    images: &Path,
    answers: Answers<'_>,
    input: &Input,
    loss: LossConfig,
    threads: NonZeroUsize,
) -> Result<Evaluation, EvaluationError> {
    let graph = Graph::from_onnx(onnx)?;
    let output = graph.output_shape();
    let ([rows, columns], pixels, targets) = match answers {
        Answers::Labels(labels) => {
            let set = read_pair(images, labels)?;
            let mut targets = TargetForm::Classes.empty();
            targets.push_classes(set.labels().iter().map(|&label| u32::from(label)));
            ([set.rows(), set.columns()], set.pixels().to_vec(), targets)
        }
        Answers::Masks(masks, classes) => {
            let whole = output.elements();
            // Of two classes one channel will do.
            let channels = match output.dims() {
                [channels, _, _] => *channels,
                _ => 1,
            };
            let set = MaskedImages::read(images, masks, whole / channels.max(1))?;
            let form = TargetForm::masks(classes, whole / channels.max(1), output);
            let mut targets = form.empty();
            targets.push_masks(&set.masks);
            (set.size, set.images, targets)
        }
    };
    let shape = graph.input_shape();
    let fits = match shape.dims() {
        [1, height, width] | [height, width] => {
            [*height, *width] == [rows as usize, columns as usize]
        }
        [all] => *all as u64 == u64::from(rows) * u64::from(columns),
        _ => false,
    };
    if !fits {
        return Err(EvaluationError::Images {
            expected: shape.clone(),
            rows,
            columns,
        });
    }
    let inputs = Scaling::new(input).apply(&pixels);
    let examples = targets.with(&inputs, None);
    let parameters = Parameters::initial(&graph)?;
    let metrics = tributary_trainer::evaluate(&graph, &parameters, loss, &examples, threads)?;
    Ok(Evaluation {
        examples: metrics.examples,
        accuracy: metrics.accuracy(),
        loss: metrics.loss,
        classes: metrics
            .classes()
            .iter()
            .enumerate()
            .map(|(class, found)| ClassScore {
                class,
                examples: found.examples,
                correct: found.correct,
                recall: found.recall(),
                precision: found.precision(),
                f1: found.f1(),
                roc_auc: found.roc_auc,
                pr_auc: found.pr_auc,
            })
            .collect(),
        metrics,
    })
}
