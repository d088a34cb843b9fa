//! The consumer's own validation set, the only data whose metrics may be shown.

use tributary_console::{ErrorCode, Failure, FailureContext as _};
use tributary_idx::IdxPair;
use tributary_protocol::{Contract, Metrics as Disclosed};
use tributary_trainer::{Graph, Metrics, Trainer};

use super::preprocessing::{Preprocessing, StepExamples};
use super::settings::TrainArgs;
use crate::masks::MaskedImages;
use crate::targets::{TargetForm, TargetValues};

/// Examples measured for a point of the curve: enough for two digits of accuracy, and quick.
const CURVE_EXAMPLES: usize = 2000;

/// Images read at a time.
const CHUNK: usize = 1024;

/// The validation set as the model takes it.
pub(super) struct Validation {
    inputs: Vec<f32>,
    targets: TargetValues,
    examples: usize,
}

impl Validation {
    /// Reads the set that the arguments name, if they do.
    pub(super) fn read(
        args: &TrainArgs,
        contract: &Contract,
        graph: &Graph,
    ) -> Result<Option<Self>, Failure> {
        let Some(images) = &args.validation_images else {
            return Ok(None);
        };
        if contract.document().disclosure.metrics != Disclosed::Validation {
            return Err(Failure::new(
                ErrorCode::USAGE,
                "expected no validation set: the contract discloses no metrics",
            )
            .hint("leave it out and evaluate the model once it is opened"));
        }
        let what = "the validation set";
        let preprocessing = Preprocessing::new(contract, graph)
            .or_fail(ErrorCode::CONTRACT_INVALID, "the contract's batches")?;
        let StepExamples {
            mut inputs,
            mut targets,
            ..
        } = preprocessing.empty();
        let examples = match (
            targets.form(),
            &args.validation_labels,
            &args.validation_masks,
        ) {
            (TargetForm::Classes, Some(labels), _) => {
                let mut pair =
                    IdxPair::open(images, labels).or_fail(ErrorCode::DATA_INVALID, what)?;
                while let Some(chunk) = pair
                    .next_chunk(CHUNK)
                    .or_fail(ErrorCode::DATA_INVALID, what)?
                {
                    inputs.extend(preprocessing.values(&chunk.pixels));
                    targets.push_classes(chunk.labels.iter().map(|&label| u32::from(label)));
                }
                pair.records() as usize
            }
            (TargetForm::Masks { pixels, .. }, _, Some(masks)) => {
                let set = MaskedImages::read(images, masks, pixels)
                    .or_fail(ErrorCode::DATA_INVALID, what)?;
                inputs.extend(preprocessing.values(&set.images));
                targets.push_masks(&set.masks);
                set.count
            }
            (form, ..) => {
                let expected = match form {
                    TargetForm::Classes => "--validation-labels",
                    TargetForm::Masks { .. } => "--validation-masks",
                };
                return Err(Failure::new(
                    ErrorCode::USAGE,
                    format!("expected {expected}, which is what the contract's labels are"),
                )
                .hint("give the file that belongs to --validation-images"));
            }
        };
        Ok(Some(Self {
            inputs,
            targets,
            examples,
        }))
    }

    /// Metrics on part of the set, for the curve.
    pub(super) fn measure(&self, trainer: &Trainer) -> Result<Metrics, Failure> {
        self.measure_first(trainer, self.examples.min(CURVE_EXAMPLES))
    }

    /// Metrics on the whole set.
    pub(super) fn measure_whole(&self, trainer: &Trainer) -> Result<Metrics, Failure> {
        self.measure_first(trainer, self.examples)
    }

    fn measure_first(&self, trainer: &Trainer, count: usize) -> Result<Metrics, Failure> {
        let width = self.inputs.len() / self.examples.max(1);
        let examples = self
            .targets
            .with(&self.inputs[..count * width], Some(count));
        trainer
            .evaluate(&examples)
            .or_fail(ErrorCode::DATA_INVALID, "the validation set")
    }
}
