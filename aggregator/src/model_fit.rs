//! Whether a model is the one that a contract names, and fits the columns that the contract feeds it.

use tributary_protocol::{ColumnType, Contract, Digest};
use tributary_trainer::{Graph, Shape};

/// A model that cannot be trained under a contract.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModelMisfit {
    /// Another file.
    #[error("expected the model {expected}, which the contract names, got {got}")]
    Digest {
        /// The digest in the contract.
        expected: Digest,
        /// The file's digest.
        got: Digest,
    },
    /// The input column does not feed the model.
    #[error(
        "the model's input: expected the shape of the column `{column}`, {expected}, got {got}"
    )]
    Input {
        /// The contract's input column.
        column: String,
        /// The shapes that a record of it has.
        expected: String,
        /// What the model takes.
        got: Shape,
    },
    /// The model does not answer with the contract's classes.
    #[error(
        "the model's output: expected {classes} numbers, one for each class of the column `{column}`, got {got}"
    )]
    Output {
        /// The contract's label column.
        column: String,
        /// Its classes.
        classes: u32,
        /// What the model gives.
        got: Shape,
    },
}

impl ModelMisfit {
    /// How to mend it.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Digest { .. } => {
                "use the very file that the contract was written for: exporting a model again changes it"
            }
            Self::Input { .. } => {
                "export the model for examples of the column's shape, or name another input column"
            }
            Self::Output { .. } => "give the model as many outputs as there are classes",
        }
    }
}

/// Refuses a model that does not fit, by the first reason.
///
/// # Errors
/// As [`misfits`].
pub(crate) fn check(graph: &Graph, contract: &Contract) -> Result<(), ModelMisfit> {
    match misfits(graph, contract).into_iter().next() {
        Some(misfit) => Err(misfit),
        None => Ok(()),
    }
}

/// Every reason why a model does not fit a contract; none where it does.
///
/// A record of an image column has the shape channels x height x width, as PyTorch has it; height x width where there is
/// one channel; or is flat. A record of any other column of bytes may have any shape of so many numbers.
pub fn misfits(graph: &Graph, contract: &Contract) -> Vec<ModelMisfit> {
    let pipeline = &contract.document().pipeline;
    let mut found = Vec::new();
    let (expected, got) = (pipeline.model.onnx, Digest::from_bytes(graph.digest().0));
    if expected != got {
        found.push(ModelMisfit::Digest { expected, got });
    }
    if let Some(expected) = wrong_input(graph.input_shape(), contract) {
        found.push(ModelMisfit::Input {
            column: pipeline.input.column.as_str().to_owned(),
            expected,
            got: graph.input_shape().clone(),
        });
    }
    let classes = pipeline.label.classes;
    if graph.output_shape().dims() != [classes as usize] {
        found.push(ModelMisfit::Output {
            column: pipeline.label.column.as_str().to_owned(),
            classes,
            got: graph.output_shape().clone(),
        });
    }
    found
}

/// The shapes that would fit, where the model's does not.
fn wrong_input(got: &Shape, contract: &Contract) -> Option<String> {
    let document = contract.document();
    let column = document
        .datasets
        .first()?
        .columns
        .iter()
        .find(|column| column.name == document.pipeline.input.column)?;
    match column.kind {
        ColumnType::ImageU8 {
            height,
            width,
            channels,
        } => {
            let [c, h, w] = [channels, height, width].map(|size| size as usize);
            let fits = match got.dims() {
                [channels, height, width] => [*channels, *height, *width] == [c, h, w],
                [height, width] => c == 1 && [*height, *width] == [h, w],
                [all] => *all == c * h * w,
                _ => false,
            };
            (!fits).then(|| format!("{c}x{h}x{w}"))
        }
        kind => {
            let width = kind.fixed_width().unwrap_or_default();
            (got.elements() as u64 != width).then(|| format!("{width} numbers"))
        }
    }
}
