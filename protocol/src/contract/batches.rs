//! The batches of a contract: their columns and size, and which of their rows belong together.

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray as _;
use arrow_array::types::Int64Type;
use tributary_accounting::AccountingError;

use super::{Contract, Dataset};
use crate::batch::{BatchError, BatchFormat};
use crate::manifest::{Column, ColumnType, DatasetSchema, SchemaError};

/// The column of a batch, after those of the contract, in which entities are numbered from 0, in each batch anew. Who they
/// are stays with the agent.
pub const ENTITY_INDEX: &str = "entity_index";

/// Why a contract has no batches.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// Their rows cannot be computed.
    #[error(transparent)]
    Accounting(#[from] AccountingError),
    /// The columns are none.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// They cannot travel.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// More rows than are counted in 32 bits.
    #[error("expected batches of at most 4294967295 rows, got {0}; choose a lower sampling rate")]
    Rows(u64),
}

/// What the rows of a batch must keep to where the unit of privacy is an entity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntityRule {
    /// Entities in a batch, at most.
    pub entities: u64,
    /// Rows of each, at most.
    pub rows: u32,
}

/// Entity indexes that do not say which rows belong together, or say too much of one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EntityIndexError {
    /// No such column.
    #[error("expected a column `{ENTITY_INDEX}` of whole numbers in a batch by entity")]
    Missing,
    /// A number that does not follow.
    #[error(
        "row {row} of a batch by entity: expected {}, got entity {got}", following(.last)
    )]
    Order {
        /// The row, from 0.
        row: usize,
        /// The entity of the row before; none before the first.
        last: Option<u64>,
        /// What the row says.
        got: i64,
    },
    /// An entity with more rows than it may have.
    #[error("expected at most {most} rows of an entity, got more of entity {entity} of a batch")]
    Rows {
        /// The entity's number in the batch.
        entity: u64,
        /// The contract's cap.
        most: u32,
    },
    /// More entities than a batch may have.
    #[error("expected at most {most} entities in a batch, got more")]
    Entities {
        /// The capacity.
        most: u64,
    },
}

fn following(last: &Option<u64>) -> String {
    match last {
        None => "entity 0".to_owned(),
        Some(last) => format!("entity {last} or {}", last + 1),
    }
}

impl Contract {
    /// The form of a dataset's batches: the contract's columns, and, where the unit is an entity, [`ENTITY_INDEX`].
    ///
    /// # Errors
    /// Where they would be too large to travel.
    pub fn batch_format(&self, dataset: &Dataset) -> Result<BatchFormat, FormatError> {
        let capacity = self.capacity(dataset)?;
        let rows = self.rows(dataset, &capacity);
        let rows = u32::try_from(rows).map_err(|_| FormatError::Rows(rows))?;
        let mut columns = dataset.columns.clone();
        if self.entity().is_some() {
            columns.push(Column {
                name: ENTITY_INDEX.parse()?,
                kind: ColumnType::I64,
            });
        }
        Ok(BatchFormat::new(DatasetSchema::new(columns)?, rows)?)
    }

    /// What the rows of a dataset's batches must keep to, where the unit is an entity.
    ///
    /// # Errors
    /// Where the capacity cannot be computed.
    pub fn entity_rule(&self, dataset: &Dataset) -> Result<Option<EntityRule>, AccountingError> {
        let Some(entity) = self.entity() else {
            return Ok(None);
        };
        Ok(Some(EntityRule {
            entities: self.capacity(dataset)?.rows,
            rows: entity.rows,
        }))
    }
}

impl EntityRule {
    /// The entity of each row of a batch: numbered from 0 without gaps, the rows of each together.
    ///
    /// # Errors
    /// Where the numbers are not so, or an entity has more rows, or the batch more entities, than the contract allows.
    pub fn check(&self, records: &RecordBatch) -> Result<Vec<u64>, EntityIndexError> {
        let indexes = records
            .column_by_name(ENTITY_INDEX)
            .and_then(|column| column.as_primitive_opt::<Int64Type>())
            .ok_or(EntityIndexError::Missing)?;
        let mut entities = Vec::with_capacity(indexes.values().len());
        let (mut last, mut rows) = (None, 0);
        for (row, &got) in indexes.values().iter().enumerate() {
            let next = last.map_or(0, |last: u64| last + 1);
            let entity = u64::try_from(got)
                .ok()
                .filter(|entity| Some(*entity) == last || *entity == next)
                .ok_or(EntityIndexError::Order { row, last, got })?;
            rows = if Some(entity) == last { rows + 1 } else { 1 };
            if rows > self.rows {
                return Err(EntityIndexError::Rows {
                    entity,
                    most: self.rows,
                });
            }
            if entity >= self.entities {
                return Err(EntityIndexError::Entities {
                    most: self.entities,
                });
            }
            last = Some(entity);
            entities.push(entity);
        }
        Ok(entities)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, Int64Array};
    use serde_json::{Value, json};

    use super::super::tests::{good, parse};
    use super::super::{Contract, ContractError};
    use super::*;

    /// A good contract whose unit is a patient, of whom each dataset has 3,000.
    fn document() -> Value {
        let (mut document, _) = good();
        document["privacy"]["unit"] = json!({"entity": {
            "column": {"name": "patient", "type": {"utf8": {"max_bytes": 64}}}, "rows": 4,
        }});
        for dataset in document["datasets"].as_array_mut().unwrap() {
            dataset["entities"] = json!(3000);
        }
        document
    }

    fn contract() -> Contract {
        parse(&document()).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn sampling_capacity_and_sums_are_of_entities_and_batches_have_room_for_their_rows() {
        let by_entity = contract();
        let (id, dataset) = by_entity.datasets().next().unwrap();
        let capacity = by_entity.capacity(dataset).unwrap();
        // 60 entities on average, each with 4 rows at most.
        assert!(capacity.rows > 60 && capacity.rows < 150, "{capacity:?}");
        assert!((by_entity.expected_batch_size() - 120.0).abs() < 1e-9);
        assert!((by_entity.expected_rows(dataset) - 240.0).abs() < 1e-9);
        let format = by_entity.batch_format(dataset).unwrap();
        assert_eq!(u64::from(format.capacity()), 4 * capacity.rows);
        let columns = format.schema().columns();
        let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
        assert_eq!(names, ["image", "label", ENTITY_INDEX]);
        let rule = EntityRule {
            entities: capacity.rows,
            rows: 4,
        };
        assert_eq!(by_entity.entity_rule(dataset).unwrap(), Some(rule));
        let plan = by_entity.plan().unwrap();
        assert_eq!(plan.datasets[0].dataset, id);
        assert_eq!(plan.datasets[0].rows, 4 * capacity.rows);

        let (document, _) = good();
        let by_record = parse(&document).unwrap();
        let (_, dataset) = by_record.datasets().next().unwrap();
        assert_eq!(by_record.entity_rule(dataset).unwrap(), None);
        assert!(by_record.capacity(dataset).unwrap().rows > capacity.rows);
    }

    #[test]
    fn an_overflow_is_one_of_entities() {
        let by_entity = contract();
        let (_, dataset) = by_entity.datasets().next().unwrap();
        let expected = tributary_accounting::Capacity::derive(
            3000,
            by_entity.sampling_rate(),
            by_entity.most_steps(),
            by_entity.delta(),
        );
        assert_eq!(by_entity.capacity(dataset).unwrap(), expected.unwrap());
    }

    #[test]
    fn batches_have_no_more_rows_than_the_dataset() {
        let mut document = document();
        document["privacy"]["unit"]["entity"]["rows"] = json!(65_536);
        let contract = parse(&document).unwrap();
        let (_, dataset) = contract.datasets().next().unwrap();
        let format = contract.batch_format(dataset).unwrap();
        assert_eq!(format.capacity(), 15_000);
    }

    #[test]
    fn units_that_do_not_fit_their_datasets_are_refused_by_name() {
        let of_entity = |field: &str| format!("/privacy/unit/entity/{field}");
        let of_dataset = |index: usize| format!("/datasets/{index}/entities");
        for (pointer, value, field) in [
            (of_entity("rows"), json!(0), "privacy.unit.entity.rows"),
            (of_entity("rows"), json!(65_537), "privacy.unit.entity.rows"),
            (
                of_entity("column/name"),
                json!("label"),
                "privacy.unit.entity.column",
            ),
            (
                of_entity("column/name"),
                json!("image"),
                "privacy.unit.entity.column",
            ),
            (
                of_entity("column/type"),
                json!("f32"),
                "privacy.unit.entity.column",
            ),
            (of_dataset(1), json!(0), "datasets[1].entities"),
            (of_dataset(1), json!(15_001), "datasets[1].entities"),
            (of_dataset(0), Value::Null, "datasets[0].entities"),
            (
                "/privacy/unit".to_owned(),
                json!("record"),
                "datasets[0].entities",
            ),
        ] {
            let mut document = document();
            *document.pointer_mut(&pointer).unwrap() = value.clone();
            match parse(&document) {
                Err(ContractError::Field { field: named, .. }) => {
                    assert_eq!(named, field, "{pointer} = {value}");
                }
                other => panic!("{pointer} = {value}: {other:?}"),
            }
        }
        let mut reserved = document();
        reserved["pipeline"]["label"]["column"] = json!(ENTITY_INDEX);
        for dataset in reserved["datasets"].as_array_mut().unwrap() {
            dataset["columns"][1]["name"] = json!(ENTITY_INDEX);
        }
        assert!(matches!(
            parse(&reserved),
            Err(ContractError::Field { field, .. }) if field == "pipeline.label.column"
        ));
        let mut unknown = document();
        unknown["privacy"]["unit"]["entity"]["hashed"] = json!(true);
        assert!(matches!(parse(&unknown), Err(ContractError::Json(_))));
    }

    fn check(indexes: &[i64]) -> Result<Vec<u64>, EntityIndexError> {
        let rule = EntityRule {
            entities: 3,
            rows: 2,
        };
        let column: ArrayRef = Arc::new(Int64Array::from(indexes.to_vec()));
        rule.check(&RecordBatch::try_from_iter([(ENTITY_INDEX, column)]).unwrap())
    }

    #[test]
    fn indexes_say_which_rows_belong_together() {
        assert_eq!(check(&[]).unwrap(), [0; 0]);
        assert_eq!(check(&[0, 0, 1, 2, 2]).unwrap(), [0, 0, 1, 2, 2]);
    }

    #[test]
    fn indexes_that_are_out_of_order_or_too_many_are_refused() {
        let order = |row, last, got| EntityIndexError::Order { row, last, got };
        for (indexes, error) in [
            (&[1][..], order(0, None, 1)),
            (&[-1], order(0, None, -1)),
            (&[0, 2], order(1, Some(0), 2)),
            (&[0, 1, 0], order(2, Some(1), 0)),
            (&[0, i64::MAX], order(1, Some(0), i64::MAX)),
            (&[0, 0, 0], EntityIndexError::Rows { entity: 0, most: 2 }),
            (&[0, 1, 2, 3], EntityIndexError::Entities { most: 3 }),
        ] {
            assert_eq!(check(indexes), Err(error), "{indexes:?}");
        }
        let other: ArrayRef = Arc::new(Int64Array::from(vec![0]));
        let other = RecordBatch::try_from_iter([("label", other)]).unwrap();
        let rule = EntityRule {
            entities: 1,
            rows: 1,
        };
        assert_eq!(rule.check(&other), Err(EntityIndexError::Missing));
    }
}
