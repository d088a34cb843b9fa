//! Which records belong to which entity, where a contract's unit of privacy is one.

use std::collections::HashMap;
use std::fmt;

use arrow_array::cast::AsArray as _;
use arrow_array::types::{Int64Type, UInt16Type};
use arrow_array::{Array as _, ArrayRef};
use arrow_schema::DataType;
use tributary_protocol::{ColumnName, DatasetName, Digest};

use crate::vault::{CacheSize, Records, Vault, VaultError};

/// The records of each entity of a dataset. Entities are numbered as they first occur; their names are forgotten.
///
/// Who belongs to whom is as secret as the records: it prints nothing.
pub struct Entities {
    /// Where the records of each entity begin, and the end of all.
    starts: Vec<u32>,
    /// Numbers of records, those of an entity together, ascending.
    records: Vec<u32>,
}

/// Why records cannot be told apart by entity.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EntitiesError {
    /// The column could not be read.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// A column that names nobody.
    #[error("expected a column of text, bytes, whole numbers or classes to name entities, got {0}")]
    Column(DataType),
    /// A record that belongs to nobody.
    #[error(
        "record {0} has no entity: its value is absent or empty; import the dataset anew with an entity for each record"
    )]
    Nobody(u64),
    /// More than are counted in 32 bits.
    #[error("expected fewer than 4294967296 records")]
    Records,
}

impl Entities {
    /// Reads the first column of some records, which names entities, from the first record to the last.
    ///
    /// # Errors
    ///
    /// Where the column cannot name entities, or does not name one for each record.
    pub fn of(records: &Records) -> Result<Self, EntitiesError> {
        let mut numbers: HashMap<Box<[u8]>, u32> = HashMap::new();
        let mut of_record = Vec::new();
        for batch in records.scan() {
            let batch = batch?;
            let Some(column) = batch.columns().first() else {
                return Err(EntitiesError::Column(DataType::Null));
            };
            for_each_name(column, |row, name| {
                let record = of_record.len() as u64;
                let name = name
                    .filter(|_| column.is_valid(row))
                    .ok_or(EntitiesError::Nobody(record))?;
                let next = u32::try_from(numbers.len()).map_err(|_| EntitiesError::Records)?;
                let number = match numbers.get(name) {
                    Some(known) => *known,
                    None => *numbers.entry(name.into()).or_insert(next),
                };
                of_record.push(number);
                Ok(())
            })?;
        }
        Self::grouped(&of_record, numbers.len())
    }

    /// How many entities a column of a dataset names.
    ///
    /// # Errors
    ///
    /// Where there is no such dataset or column, or as [`Entities::of`].
    pub fn count(
        vault: &Vault,
        dataset: &DatasetName,
        manifest: Digest,
        column: &ColumnName,
    ) -> Result<u64, EntitiesError> {
        // Every block is read once.
        let cache = CacheSize::mebibytes(0);
        let columns = std::slice::from_ref(column);
        let records = Records::open(vault, dataset, manifest, columns, cache)?;
        Ok(Self::of(&records)?.len())
    }

    /// Groups records by the entity of each; a counting sort, which keeps their order.
    fn grouped(of_record: &[u32], entities: usize) -> Result<Self, EntitiesError> {
        u32::try_from(of_record.len()).map_err(|_| EntitiesError::Records)?;
        let mut starts = vec![0_u32; entities + 1];
        for entity in of_record {
            starts[*entity as usize + 1] += 1;
        }
        for entity in 0..entities {
            starts[entity + 1] += starts[entity];
        }
        let mut free = starts.clone();
        let mut records = vec![0; of_record.len()];
        for (record, entity) in of_record.iter().enumerate() {
            let place = &mut free[*entity as usize];
            records[*place as usize] = record as u32;
            *place += 1;
        }
        Ok(Self { starts, records })
    }

    /// How many entities there are.
    pub fn len(&self) -> u64 {
        self.starts.len() as u64 - 1
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The records of an entity, ascending.
    pub(crate) fn records(&self, entity: u32) -> &[u32] {
        let entity = entity as usize;
        &self.records[self.starts[entity] as usize..self.starts[entity + 1] as usize]
    }
}

impl fmt::Debug for Entities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Entities")
    }
}

/// Calls `each` with every row's name; none where it is empty.
fn for_each_name(
    column: &ArrayRef,
    mut each: impl FnMut(usize, Option<&[u8]>) -> Result<(), EntitiesError>,
) -> Result<(), EntitiesError> {
    let mut rows = 0..column.len();
    match column.data_type() {
        DataType::Utf8 => {
            let names = column.as_string::<i32>();
            rows.try_for_each(|row| each(row, not_empty(names.value(row).as_bytes())))
        }
        DataType::FixedSizeBinary(_) => {
            let names = column.as_fixed_size_binary();
            rows.try_for_each(|row| each(row, not_empty(names.value(row))))
        }
        DataType::Int64 => {
            let names = column.as_primitive::<Int64Type>();
            rows.try_for_each(|row| each(row, Some(&names.value(row).to_le_bytes())))
        }
        DataType::UInt16 => {
            let names = column.as_primitive::<UInt16Type>();
            rows.try_for_each(|row| each(row, Some(&names.value(row).to_le_bytes())))
        }
        other => Err(EntitiesError::Column(other.clone())),
    }
}

fn not_empty(name: &[u8]) -> Option<&[u8]> {
    Some(name).filter(|name| !name.is_empty())
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Arc;

    use arrow_array::{Float32Array, Int64Array, StringArray};
    use proptest::prelude::*;

    use super::*;

    /// Entities by the number of each record's.
    pub(crate) fn entities(of_record: &[u32]) -> Entities {
        let count = of_record.iter().max().map_or(0, |most| *most as usize + 1);
        Entities::grouped(of_record, count).unwrap()
    }

    fn names(column: ArrayRef) -> Result<Vec<Option<Vec<u8>>>, EntitiesError> {
        let mut found = Vec::new();
        for_each_name(&column, |_, name| {
            found.push(name.map(<[u8]>::to_vec));
            Ok(())
        })?;
        Ok(found)
    }

    #[test]
    fn text_and_numbers_name_entities_and_empty_text_and_fractions_do_not() {
        let text = Arc::new(StringArray::from(vec!["ada", "", "bo"]));
        assert_eq!(
            names(text).unwrap(),
            [Some(b"ada".to_vec()), None, Some(b"bo".to_vec())]
        );
        let numbers = Arc::new(Int64Array::from(vec![0, -1]));
        assert!(names(numbers).unwrap().iter().all(Option::is_some));
        let fractions = Arc::new(Float32Array::from(vec![0.5]));
        assert!(matches!(names(fractions), Err(EntitiesError::Column(_))));
    }

    #[test]
    fn entities_do_not_print() {
        assert_eq!(format!("{:?}", entities(&[0, 1])), "Entities");
    }

    proptest! {
        #[test]
        fn every_record_is_its_entitys_once(of_record in proptest::collection::vec(0_u32..20, 0..200)) {
            let entities = entities(&of_record);
            let mut seen = vec![false; of_record.len()];
            for entity in 0..entities.len() as u32 {
                let records = entities.records(entity);
                prop_assert!(records.is_sorted_by(|a, b| a < b));
                for record in records {
                    prop_assert_eq!(of_record[*record as usize], entity);
                    prop_assert!(!std::mem::replace(&mut seen[*record as usize], true));
                }
            }
            prop_assert!(seen.into_iter().all(|seen| seen));
        }
    }
}
