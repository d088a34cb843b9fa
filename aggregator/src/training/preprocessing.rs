//! From batches of records to examples: only what the contract declares, nothing fitted on data.

use arrow_array::cast::AsArray as _;
use arrow_array::types::UInt16Type;
use arrow_array::{Array as _, RecordBatch};
use tributary_protocol::{Contract, Input};

/// Turns the bytes of the input column into numbers and the label column into classes.
///
/// `x = (byte / divisor - mean) / deviation`, by a table of 256 entries.
#[derive(Debug, Clone)]
pub(super) struct Preprocessing {
    values: Box<[f32; 256]>,
    input: String,
    label: String,
}

/// Examples of one step, from all datasets.
#[derive(Debug, Default)]
pub(super) struct StepExamples {
    /// One example after another, as the model takes them.
    pub inputs: Vec<f32>,
    /// One class for each.
    pub labels: Vec<u32>,
}

/// Batches without the columns of the contract.
#[derive(Debug, thiserror::Error)]
#[error("expected a batch with the column `{0}` in the type that the contract states")]
pub(super) struct MissingColumn(String);

impl Preprocessing {
    /// What the contract declares.
    pub(super) fn new(contract: &Contract) -> Self {
        let pipeline = &contract.document().pipeline;
        let Input {
            divisor,
            mean,
            deviation,
            ref column,
        } = pipeline.input;
        let mut values = Box::new([0.0; 256]);
        for (byte, value) in values.iter_mut().enumerate() {
            *value = (byte as f32 / divisor - mean) / deviation;
        }
        Self {
            values,
            input: column.as_str().to_owned(),
            label: pipeline.label.column.as_str().to_owned(),
        }
    }

    /// Adds the records of a batch to the examples of a step.
    pub(super) fn append(
        &self,
        records: &RecordBatch,
        examples: &mut StepExamples,
    ) -> Result<(), MissingColumn> {
        let missing = |name: &str| MissingColumn(name.to_owned());
        let inputs = records
            .column_by_name(&self.input)
            .and_then(|column| column.as_fixed_size_binary_opt())
            .ok_or_else(|| missing(&self.input))?;
        let labels = records
            .column_by_name(&self.label)
            .and_then(|column| column.as_primitive_opt::<UInt16Type>())
            .ok_or_else(|| missing(&self.label))?;
        let width = usize::try_from(inputs.value_length()).unwrap_or_default();
        let bytes = inputs
            .value_data()
            .get(..inputs.len() * width)
            .ok_or_else(|| missing(&self.input))?;
        examples
            .inputs
            .extend(bytes.iter().map(|&byte| self.values[usize::from(byte)]));
        examples
            .labels
            .extend(labels.values().iter().map(|&label| u32::from(label)));
        Ok(())
    }

    /// The same for bytes that come from elsewhere, such as the consumer's validation set.
    pub(super) fn values(&self, bytes: &[u8]) -> Vec<f32> {
        bytes
            .iter()
            .map(|&byte| self.values[usize::from(byte)])
            .collect()
    }
}

impl StepExamples {
    /// Forgets the examples and keeps the room.
    pub(super) fn clear(&mut self) {
        self.inputs.clear();
        self.labels.clear();
    }
}
