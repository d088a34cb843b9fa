//! The consumer's own validation set, the only data whose metrics may be shown.

use tributary_console::{ErrorCode, Failure, FailureContext as _};
use tributary_idx::IdxPair;
use tributary_protocol::{Contract, Metrics as Disclosed};
use tributary_trainer::{Examples, Metrics, Trainer};

use super::preprocessing::Preprocessing;
use super::settings::TrainArgs;

/// Examples measured for a point of the curve: enough for two digits of accuracy, and quick.
const CURVE_EXAMPLES: usize = 2000;

/// Images read at a time.
const CHUNK: usize = 1024;

/// The validation set as the model takes it.
pub(super) struct Validation {
    inputs: Vec<f32>,
    labels: Vec<u32>,
}

impl Validation {
    /// Reads the set that the arguments name, if they do.
    pub(super) fn read(args: &TrainArgs, contract: &Contract) -> Result<Option<Self>, Failure> {
        let (Some(images), Some(labels)) = (&args.validation_images, &args.validation_labels)
        else {
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
        let mut pair = IdxPair::open(images, labels).or_fail(ErrorCode::DATA_INVALID, what)?;
        let preprocessing = Preprocessing::new(contract)
            .or_fail(ErrorCode::CONTRACT_INVALID, "the contract's batches")?;
        let mut set = Self {
            inputs: Vec::new(),
            labels: Vec::new(),
        };
        while let Some(chunk) = pair
            .next_chunk(CHUNK)
            .or_fail(ErrorCode::DATA_INVALID, what)?
        {
            set.inputs.extend(preprocessing.values(&chunk.pixels));
            set.labels
                .extend(chunk.labels.iter().map(|&label| u32::from(label)));
        }
        Ok(Some(set))
    }

    /// Metrics on part of the set, for the curve.
    pub(super) fn measure(&self, trainer: &Trainer) -> Result<Metrics, Failure> {
        self.measure_first(trainer, self.labels.len().min(CURVE_EXAMPLES))
    }

    /// Metrics on the whole set.
    pub(super) fn measure_whole(&self, trainer: &Trainer) -> Result<Metrics, Failure> {
        self.measure_first(trainer, self.labels.len())
    }

    fn measure_first(&self, trainer: &Trainer, count: usize) -> Result<Metrics, Failure> {
        let width = self.inputs.len() / self.labels.len().max(1);
        trainer
            .evaluate(&Examples::labelled(
                &self.inputs[..count * width],
                &self.labels[..count],
            ))
            .or_fail(ErrorCode::DATA_INVALID, "the validation set")
    }
}
