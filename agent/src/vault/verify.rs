//! Checks all of a dataset, and names everything that is wrong with it.

use arrow_array::RecordBatch;
use tributary_protocol::{DatasetName, Part, PartNumber, arrow_schema, check_values};

use super::Vault;
use super::dataset::Dataset;
use super::error::VaultError;
use super::part::{Layout, PartReader, same_columns};

/// What [`Vault::verify`] found.
#[derive(Debug)]
pub struct Verification {
    /// The newest version.
    pub dataset: Dataset,
    /// Everything that is wrong; nothing where the dataset is sound.
    pub findings: Vec<VaultError>,
}

impl Verification {
    /// True where nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.findings.is_empty()
    }
}

impl Vault {
    /// Reads and decrypts everything: the chain of manifests, and for each part presence, digest, key, records and their
    /// values.
    ///
    /// # Errors
    ///
    /// Where there is no believable newest manifest to check against: unknown, rolled back, altered, not signed by the
    /// owner. What is wrong below it is in the findings.
    pub fn verify(&self, name: &DatasetName) -> Result<Verification, VaultError> {
        let dataset = self.show(name)?;
        let mut findings = Vec::new();
        let mut seen = dataset.clone();
        while seen.manifest.previous().is_some() {
            match self.before(name, &seen) {
                Ok(before) => seen = before,
                Err(error) => {
                    findings.push(error);
                    break;
                }
            }
        }
        for part in dataset.manifest.parts() {
            if let Err(error) = self.verify_part(&dataset, part) {
                findings.push(error);
            }
        }
        Ok(Verification { dataset, findings })
    }

    fn verify_part(&self, dataset: &Dataset, part: &Part) -> Result<(), VaultError> {
        let reader = self.open_part(dataset, part)?;
        let schema = dataset.manifest.schema();
        let all: Vec<usize> = (0..schema.columns().len()).collect();
        let unreadable = |reason: String| unreadable(dataset, part, reason);
        let batch_rows = Layout::of(schema).block_rows as usize;
        let batches = reader
            .read(&all, None, batch_rows)
            .map_err(|error| unreadable(error.to_string()))?;
        let mut rows = 0_u64;
        for batch in batches {
            let batch: RecordBatch = batch.map_err(|error| unreadable(error.to_string()))?;
            for (column, values) in schema.columns().iter().zip(batch.columns()) {
                check_values(column.kind, values).map_err(|(row, expected)| {
                    let row = rows + row as u64;
                    unreadable(format!(
                        "record {row}, column `{}` is not {expected}",
                        column.name
                    ))
                })?;
            }
            rows += batch.num_rows() as u64;
        }
        check_rows(dataset, part, rows)
    }

    /// Opens a part that is present, has the digest that the manifest names, and decrypts to the dataset's columns.
    pub(super) fn open_part(
        &self,
        dataset: &Dataset,
        part: &Part,
    ) -> Result<PartReader, VaultError> {
        let manifest = &dataset.manifest;
        let name = manifest.dataset();
        let path = format!("{name}/{}", part.file);
        let file = self
            .storage
            .open_file(&path)?
            .ok_or_else(|| VaultError::PartMissing {
                dataset: name.clone(),
                part: part.number,
                file: part.file.to_string(),
            })?;
        let digest = file.digest().map_err(|source| VaultError::Storage {
            doing: format!("read {path}"),
            source,
        })?;
        if digest != part.sha256 {
            let altered = |expected: String, got: String| VaultError::PartAltered {
                dataset: name.clone(),
                part: part.number,
                file: part.file.to_string(),
                expected,
                got,
            };
            let length = parquet::file::reader::Length::len(&file);
            return Err(match swapped_with(dataset, digest) {
                Some(holds) => VaultError::PartSwapped {
                    dataset: name.clone(),
                    part: part.number,
                    file: part.file.to_string(),
                    holds,
                },
                None if length != part.bytes => {
                    altered(format!("{} bytes", part.bytes), format!("{length} bytes"))
                }
                None => altered(part.sha256.to_string(), digest.to_string()),
            });
        }
        let key = self
            .keys
            .unwrap_key(&part.key, manifest.id(), part.number)
            .ok_or_else(|| VaultError::DataKey {
                dataset: name.clone(),
                part: part.number,
            })?;
        let reader = PartReader::open(file, &key, (manifest.id(), part.number))
            .map_err(|error| unreadable(dataset, part, error.to_string()))?;
        if !same_columns(reader.schema(), &arrow_schema(manifest.schema())) {
            return Err(unreadable(dataset, part, "its columns are others".into()));
        }
        check_rows(dataset, part, reader.rows())?;
        Ok(reader)
    }
}

pub(super) fn unreadable(dataset: &Dataset, part: &Part, reason: String) -> VaultError {
    VaultError::PartUnreadable {
        dataset: dataset.manifest.dataset().clone(),
        part: part.number,
        file: part.file.to_string(),
        reason,
    }
}

fn swapped_with(dataset: &Dataset, digest: tributary_protocol::Digest) -> Option<PartNumber> {
    let mut parts = dataset.manifest.parts().iter();
    parts
        .find(|part| part.sha256 == digest)
        .map(|part| part.number)
}

fn check_rows(dataset: &Dataset, part: &Part, got: u64) -> Result<(), VaultError> {
    if got == part.rows {
        Ok(())
    } else {
        Err(VaultError::PartRows {
            dataset: dataset.manifest.dataset().clone(),
            part: part.number,
            expected: part.rows,
            got,
        })
    }
}
