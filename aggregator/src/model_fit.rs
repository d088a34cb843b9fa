//! Whether a model is the one that a contract names, and fits the columns that the contract feeds it.

use tributary_protocol::{ColumnType, Contract, Digest, Loss};
use tributary_trainer::{Graph, Shape};

use crate::targets::label_kind;

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
    /// The model does not say of each pixel what the contract's masks do.
    #[error(
        "the model's output: expected {expected}, for masks of {classes} classes in the column `{column}`, got {got}"
    )]
    Mask {
        /// The contract's label column.
        column: String,
        /// Its classes.
        classes: u32,
        /// The shapes that fit.
        expected: String,
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
            Self::Mask { .. } => {
                "give the model an output of the masks' height and width, with a channel for each class"
            }
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
    let (column, got) = (
        pipeline.label.column.as_str().to_owned(),
        graph.output_shape().clone(),
    );
    match label_kind(contract) {
        Some(ColumnType::ImageU8 { height, width, .. }) => {
            let [h, w] = [height as usize, width as usize];
            let softmax = is_softmax(&pipeline.loss);
            if !gives_masks(&got, classes as usize, h, w, softmax) {
                let single = if classes == 2 && !softmax {
                    format!(", or 1x{h}x{w} for the second class alone")
                } else {
                    String::new()
                };
                found.push(ModelMisfit::Mask {
                    column,
                    classes,
                    expected: format!("{classes}x{h}x{w}{single}"),
                    got,
                });
            }
        }
        _ if got.dims() != [classes as usize] => found.push(ModelMisfit::Output {
            column,
            classes,
            got,
        }),
        _ => {}
    }
    found
}

/// A number for each class and pixel; of two classes, one for each pixel will do, flat or not, where the loss compares each
/// number by itself.
fn gives_masks(output: &Shape, classes: usize, h: usize, w: usize, softmax: bool) -> bool {
    let single = classes == 2 && !softmax;
    match output.dims() {
        [channels, height, width] => {
            [*height, *width] == [h, w] && (*channels == classes || single && *channels == 1)
        }
        [height, width] => single && [*height, *width] == [h, w],
        [all] => single && *all == h * w,
        _ => false,
    }
}

/// Whether a loss takes outputs for logarithms of probabilities of classes.
fn is_softmax(loss: &Loss) -> bool {
    match loss {
        Loss::CrossEntropy | Loss::WeightedCrossEntropy { .. } => true,
        Loss::Sum(parts) => parts.iter().any(|part| is_softmax(&part.loss)),
        _ => false,
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use tributary_trainer::models;

    #[test]
    fn a_u_net_gives_masks_of_two_classes_and_of_its_own_size_only() {
        let graph = Graph::from_onnx(&models::unet(1)).unwrap();
        let output = graph.output_shape();
        assert!(gives_masks(output, 2, 128, 128, false));
        // A softmax over one channel says nothing.
        assert!(!gives_masks(output, 2, 128, 128, true));
        assert!(!gives_masks(output, 3, 128, 128, false));
        assert!(!gives_masks(output, 2, 64, 256, false));
        let graph = Graph::from_onnx(&models::linear(9, 6)).unwrap();
        assert!(gives_masks(graph.output_shape(), 2, 2, 3, false));
        assert!(!gives_masks(graph.output_shape(), 2, 2, 3, true));
        assert!(!gives_masks(graph.output_shape(), 6, 1, 1, false));
    }
}
