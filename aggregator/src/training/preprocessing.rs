//! From batches of records to examples: only what the contract declares, nothing fitted on data.

use arrow_array::cast::AsArray as _;
use arrow_array::types::UInt16Type;
use arrow_array::{Array as _, FixedSizeBinaryArray, RecordBatch};
use tributary_accounting::AccountingError;
use tributary_protocol::{Contract, EntityIndexError, EntityRule, Input};
use tributary_trainer::{Examples, Graph};

use crate::targets::{TargetForm, TargetValues};

/// Turns the bytes of the input column into numbers and the label column into classes.
///
/// `x = (byte / divisor - mean) / deviation`, by a table of 256 entries.
#[derive(Debug, Clone)]
pub(super) struct Preprocessing {
    values: Box<[f32; 256]>,
    input: String,
    label: String,
    form: TargetForm,
    /// One for each dataset, and one in it where the unit of privacy is an entity.
    entities: Vec<Option<EntityRule>>,
}

/// Examples of one step, from all datasets.
#[derive(Debug)]
pub(super) struct StepExamples {
    /// One example after another, as the model takes them.
    pub inputs: Vec<f32>,
    /// What each should come out as.
    pub targets: TargetValues,
    /// The entity of each, where the unit of privacy is an entity: those of an entity follow one another.
    pub entities: Option<Vec<u64>>,
}

/// Batches that are not of the contract.
#[derive(Debug, thiserror::Error)]
pub(super) enum BatchRefusal {
    /// A column is missing.
    #[error("expected a batch with the column `{0}` in the type that the contract states")]
    Column(String),
    /// It is of no dataset of the contract, so that nobody knows whose its rows are.
    #[error("expected a batch of a dataset of the contract, got one of number {0}")]
    Dataset(usize),
    /// Its rows do not say whose they are.
    #[error(transparent)]
    Entities(#[from] EntityIndexError),
}

impl Preprocessing {
    /// What the contract declares, for a model that fits it.
    ///
    /// # Errors
    /// Where the entities of a batch cannot be bounded.
    pub(super) fn new(contract: &Contract, graph: &Graph) -> Result<Self, AccountingError> {
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
        let rules: Result<Vec<Option<EntityRule>>, _> = contract
            .datasets()
            .map(|(_, dataset)| contract.entity_rule(dataset))
            .collect();
        Ok(Self {
            values,
            input: column.as_str().to_owned(),
            label: pipeline.label.column.as_str().to_owned(),
            form: TargetForm::of(contract, graph.output_shape()),
            entities: rules?,
        })
    }

    /// No examples yet.
    pub(super) fn empty(&self) -> StepExamples {
        StepExamples {
            inputs: Vec::new(),
            targets: self.form.empty(),
            entities: None,
        }
    }

    /// Adds the records of a batch of a dataset, by its number in the contract, to the examples of a step.
    ///
    /// # Errors
    /// Where the batch lacks a column, or its rows do not say whose they are. Nothing was added then.
    pub(super) fn append(
        &self,
        dataset: usize,
        records: &RecordBatch,
        examples: &mut StepExamples,
    ) -> Result<(), BatchRefusal> {
        let missing = |name: &str| BatchRefusal::Column(name.to_owned());
        let rule = self.entities.get(dataset);
        let rule = rule.ok_or(BatchRefusal::Dataset(dataset))?;
        let entities = (rule.as_ref())
            .map(|rule| rule.check(records))
            .transpose()?;
        let inputs = records
            .column_by_name(&self.input)
            .and_then(|column| column.as_fixed_size_binary_opt())
            .ok_or_else(|| missing(&self.input))?;
        let bytes = bytes_of(inputs).ok_or_else(|| missing(&self.input))?;
        let labels = records
            .column_by_name(&self.label)
            .ok_or_else(|| missing(&self.label))?;
        match examples.targets.form() {
            TargetForm::Classes => {
                let labels = labels
                    .as_primitive_opt::<UInt16Type>()
                    .ok_or_else(|| missing(&self.label))?;
                let classes = labels.values().iter().map(|&label| u32::from(label));
                examples.targets.push_classes(classes);
            }
            TargetForm::Masks { pixels, .. } => {
                let masks = labels
                    .as_fixed_size_binary_opt()
                    .filter(|masks| usize::try_from(masks.value_length()) == Ok(pixels))
                    .and_then(bytes_of)
                    .ok_or_else(|| missing(&self.label))?;
                examples.targets.push_masks(masks);
            }
        }
        let values = bytes.iter().map(|&byte| self.values[usize::from(byte)]);
        examples.inputs.extend(values);
        if let Some(entities) = entities {
            // Nobody is in two datasets, and a batch has fewer than 2^32 entities.
            let number = |entity| (dataset as u64) << 32 | entity;
            let all = examples.entities.get_or_insert_default();
            all.extend(entities.into_iter().map(number));
        }
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

/// All values of a column, one after the other.
fn bytes_of(column: &FixedSizeBinaryArray) -> Option<&[u8]> {
    let width = usize::try_from(column.value_length()).ok()?;
    column.value_data().get(..column.len() * width)
}

impl StepExamples {
    /// The examples as the trainer takes them.
    pub(super) fn examples(&self) -> Examples<'_> {
        self.targets.with(&self.inputs, None)
    }

    /// Forgets the examples and keeps the room.
    pub(super) fn clear(&mut self) {
        self.inputs.clear();
        self.targets.clear();
        if let Some(entities) = &mut self.entities {
            entities.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, Int64Array, UInt16Array};
    use tributary_protocol::ENTITY_INDEX;

    use super::*;

    fn batch(entities: &[i64]) -> RecordBatch {
        let pixels = entities.iter().map(|entity| [*entity as u8]);
        let image: ArrayRef = Arc::new(FixedSizeBinaryArray::try_from_iter(pixels).unwrap());
        let label: ArrayRef = Arc::new(UInt16Array::from(vec![1; entities.len()]));
        let index: ArrayRef = Arc::new(Int64Array::from(entities.to_vec()));
        let columns = [("image", image), ("label", label), (ENTITY_INDEX, index)];
        RecordBatch::try_from_iter(columns).unwrap()
    }

    fn by_entity() -> Preprocessing {
        let rule = EntityRule {
            entities: 3,
            rows: 2,
        };
        Preprocessing {
            values: Box::new([0.5; 256]),
            input: "image".to_owned(),
            label: "label".to_owned(),
            form: TargetForm::Classes,
            entities: vec![Some(rule); 2],
        }
    }

    #[test]
    fn entities_of_two_datasets_are_told_apart() {
        let preprocessing = by_entity();
        let mut examples = preprocessing.empty();
        for dataset in 0..2 {
            let records = batch(&[0, 0, 1]);
            preprocessing
                .append(dataset, &records, &mut examples)
                .unwrap();
        }
        let second = 1 << 32;
        let expected = vec![0, 0, 1, second, second, second + 1];
        assert_eq!(examples.entities, Some(expected));
        assert_eq!(examples.inputs.len(), 6);
        examples.clear();
        assert_eq!(examples.entities, Some(Vec::new()));
    }

    #[test]
    fn a_batch_whose_entities_are_out_of_order_adds_nothing() {
        let mut examples = by_entity().empty();
        for bad in [&[1][..], &[0, 1, 0], &[0, 0, 0], &[0, 1, 2, 3]] {
            let refused = by_entity().append(0, &batch(bad), &mut examples);
            assert!(matches!(refused, Err(BatchRefusal::Entities(_))), "{bad:?}");
        }
        let without = batch(&[0]).project(&[0, 1]).unwrap();
        assert!(by_entity().append(1, &without, &mut examples).is_err());
        assert!(examples.inputs.is_empty() && examples.entities.is_none());
    }

    #[test]
    fn masks_of_another_size_than_the_contracts_are_refused() {
        let preprocessing = Preprocessing {
            label: "image".to_owned(),
            form: TargetForm::Masks {
                classes: 2,
                pixels: 2,
                channels: 1,
            },
            entities: vec![None; 2],
            ..by_entity()
        };
        let mut examples = preprocessing.empty();
        let refused = preprocessing.append(0, &batch(&[0, 1]), &mut examples);
        assert!(matches!(refused, Err(BatchRefusal::Column(name)) if name == "image"));
        assert!(examples.inputs.is_empty());
    }
}
