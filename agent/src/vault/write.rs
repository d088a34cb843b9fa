//! Importing and appending: records in, parts and a manifest out, or nothing at all.

use arrow_array::RecordBatch;
use chrono::{DateTime, Utc};
use parquet::errors::ParquetError;
use tributary_protocol::{
    DatasetId, DatasetName, DatasetSchema, Digest, Identity, Manifest, ManifestError,
    ManifestParts, ManifestVersion, PARTS_LIMIT, Part, PartFile, PartNumber, RECORDS_LIMIT,
    WrappedKey, arrow_schema, check_values,
};

use super::Vault;
use super::dataset::{Dataset, Mark, manifest_file};
use super::error::VaultError;
use super::keys::random;
use super::part::{Layout, PartWriter, same_columns};

impl Vault {
    /// Imports a new dataset. Records are streamed: one row group, about 16 MiB, is held in memory.
    ///
    /// # Errors
    ///
    /// [`VaultError::DatasetExists`]; a record that its column does not allow; the error of `records`; a full disk. The
    /// vault is as before then.
    pub fn import<E>(
        &self,
        owner: &Identity,
        name: &DatasetName,
        schema: &DatasetSchema,
        records: impl IntoIterator<Item = Result<RecordBatch, E>>,
        now: DateTime<Utc>,
    ) -> Result<Dataset, VaultError>
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        self.check_owner(owner)?;
        let _lock = self.storage.lock()?;
        if self.newest(name)?.is_some() {
            return Err(VaultError::DatasetExists(name.clone()));
        }
        self.storage.create_folder(name.as_str())?;
        if self.mark(name)?.is_none() {
            // From here on a missing manifest is a loss and not a beginning.
            self.set_mark(
                name,
                Mark {
                    version: 0,
                    manifest: None,
                },
            )?;
        }
        self.remove_strays(name)?;
        let id = DatasetId::from_bytes(random()?);
        let mut writer = DatasetWriter::new(self, name, schema, id, &[]);
        let outcome = writer.write(records).and_then(|parts| {
            let manifest = ManifestParts {
                dataset: name.clone(),
                owner: self.owner.name.clone(),
                id,
                version: ManifestVersion::FIRST,
                previous: None,
                schema: schema.clone(),
                parts,
                created: now,
            };
            self.publish(owner, manifest)
        });
        outcome.inspect_err(|_| self.clean_up(name))
    }

    /// Appends records to a dataset, as new parts and a new version. Contracts on earlier versions go on as before.
    ///
    /// # Errors
    ///
    /// As [`Vault::import`], and [`VaultError::NoDataset`].
    pub fn append<E>(
        &self,
        owner: &Identity,
        name: &DatasetName,
        records: impl IntoIterator<Item = Result<RecordBatch, E>>,
        now: DateTime<Utc>,
    ) -> Result<Dataset, VaultError>
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        self.check_owner(owner)?;
        let _lock = self.storage.lock()?;
        let newest = self.show(name)?;
        let before = &newest.manifest;
        self.remove_strays(name)?;
        let mut writer =
            DatasetWriter::new(self, name, before.schema(), before.id(), before.parts());
        let outcome = writer.write(records).and_then(|added| {
            let mut next = following(&newest, now);
            next.parts.extend(added);
            self.publish(owner, next)
        });
        outcome.inspect_err(|_| self.clean_up(name))
    }

    /// Signs and writes the manifest, then the mark. The manifest's name in the folder is the moment of the change.
    pub(super) fn publish(
        &self,
        owner: &Identity,
        parts: ManifestParts,
    ) -> Result<Dataset, VaultError> {
        let (name, version) = (parts.dataset.clone(), parts.version);
        let file = manifest_file(version);
        let manifest = Manifest::new(parts).map_err(|source| VaultError::Manifest {
            dataset: name.clone(),
            file: file.clone(),
            source,
        })?;
        let envelope = manifest.sign(owner);
        let json = envelope.to_json();
        if json.len() > tributary_protocol::ENVELOPE_SIZE_LIMIT {
            return Err(VaultError::Manifest {
                dataset: name,
                file,
                source: ManifestError::Envelope(tributary_protocol::EnvelopeError::TooLarge(
                    json.len(),
                )),
            });
        }
        let path = format!("{name}/{file}");
        if let Err(error) = self.storage.create(&path, &json) {
            // The disk may have failed after the file got its name. The mark has not seen it, so it may go again.
            if self.storage.open_file(&path)?.is_some() {
                self.storage.delete(&path)?;
            }
            return Err(error);
        }
        let digest = envelope.payload_digest();
        let mark = Mark {
            version: version.get(),
            manifest: Some(digest),
        };
        if let Err(error) = self.set_mark(&name, mark) {
            // The change stands; only the protection against rollback lags by a version, until the next change.
            tracing::warn!(dataset = %name, %error, "the newest version is published but not marked");
        }
        Ok(Dataset { manifest, digest })
    }

    pub(super) fn check_owner(&self, identity: &Identity) -> Result<(), VaultError> {
        if identity.public() == self.owner.key {
            Ok(())
        } else {
            Err(VaultError::NotTheOwner {
                owner: self.owner.name.clone(),
            })
        }
    }

    /// Removes parts that no manifest names: an interrupted change left them.
    fn remove_strays(&self, name: &DatasetName) -> Result<(), VaultError> {
        self.storage.delete_staged(name.as_str());
        let newest = self.newest(name)?;
        let parts = newest.as_ref().map_or(&[][..], |d| d.manifest.parts());
        for file in self.storage.files(name.as_str())? {
            let named = parts.iter().any(|part| part.file.as_str() == file);
            if file.starts_with("part-") && !named {
                self.storage.delete(&format!("{name}/{file}"))?;
            }
        }
        Ok(())
    }

    fn clean_up(&self, name: &DatasetName) {
        if let Err(error) = self.remove_strays(name) {
            tracing::warn!(dataset = %name, %error, "left-over parts take room until the next change");
        }
    }
}

/// What the next version has in common with this one.
pub(super) fn following(newest: &Dataset, now: DateTime<Utc>) -> ManifestParts {
    let manifest = &newest.manifest;
    ManifestParts {
        dataset: manifest.dataset().clone(),
        owner: manifest.owner().clone(),
        id: manifest.id(),
        version: manifest.version().next(),
        previous: Some(newest.digest),
        schema: manifest.schema().clone(),
        parts: manifest.parts().to_vec(),
        created: now,
    }
}

/// Cuts a stream of records into parts.
struct DatasetWriter<'a> {
    vault: &'a Vault,
    name: &'a DatasetName,
    schema: &'a DatasetSchema,
    id: DatasetId,
    layout: Layout,
    next: PartNumber,
    parts_before: usize,
    rows_before: u64,
    /// Records seen so far.
    rows: u64,
    open: Option<OpenPart>,
    finished: Vec<Part>,
}

struct OpenPart {
    number: PartNumber,
    file: PartFile,
    key: WrappedKey,
    writer: PartWriter,
}

impl<'a> DatasetWriter<'a> {
    fn new(
        vault: &'a Vault,
        name: &'a DatasetName,
        schema: &'a DatasetSchema,
        id: DatasetId,
        before: &[Part],
    ) -> Self {
        Self {
            vault,
            name,
            schema,
            id,
            layout: Layout::of(schema),
            next: before
                .last()
                .map_or(PartNumber::FIRST, |part| part.number.next()),
            parts_before: before.len(),
            rows_before: before.iter().map(|part| part.rows).sum(),
            rows: 0,
            open: None,
            finished: Vec::new(),
        }
    }

    fn write<E>(
        &mut self,
        records: impl IntoIterator<Item = Result<RecordBatch, E>>,
    ) -> Result<Vec<Part>, VaultError>
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        for batch in records {
            let batch = batch.map_err(|error| VaultError::Source(error.into()))?;
            self.check(&batch)?;
            self.write_batch(&batch)?;
            self.rows += batch.num_rows() as u64;
        }
        self.close_part()?;
        if self.finished.is_empty() {
            return Err(VaultError::NoRecords);
        }
        Ok(std::mem::take(&mut self.finished))
    }

    fn check(&self, batch: &RecordBatch) -> Result<(), VaultError> {
        let expected = arrow_schema(self.schema);
        if !same_columns(batch.schema_ref(), &expected) {
            let say = |schema: &arrow_schema::Schema| {
                let columns = schema.fields().iter();
                let columns = columns.map(|field| {
                    let null = if field.is_nullable() { " or null" } else { "" };
                    format!("`{}` {}{null}", field.name(), field.data_type())
                });
                columns.collect::<Vec<_>>().join(", ")
            };
            return Err(VaultError::OtherColumns {
                expected: say(&expected),
                got: say(batch.schema_ref()),
            });
        }
        let total = self.rows_before + self.rows + batch.num_rows() as u64;
        if total > RECORDS_LIMIT {
            return Err(VaultError::TooManyRecords {
                limit: RECORDS_LIMIT,
                got: total,
            });
        }
        for (column, values) in self.schema.columns().iter().zip(batch.columns()) {
            check_values(column.kind, values).map_err(|(row, expected)| VaultError::Value {
                record: self.rows + row as u64,
                column: column.name.clone(),
                expected,
            })?;
        }
        Ok(())
    }

    fn write_batch(&mut self, batch: &RecordBatch) -> Result<(), VaultError> {
        let mut from = 0;
        while from < batch.num_rows() {
            let part = match &mut self.open {
                Some(part) => part,
                None => {
                    let part = self.new_part()?;
                    self.open.insert(part)
                }
            };
            let room = self.layout.part_rows - part.writer.rows();
            let taken = usize::try_from(room)
                .unwrap_or(usize::MAX)
                .min(batch.num_rows() - from);
            part.writer
                .write(&batch.slice(from, taken))
                .map_err(|error| writing(part.file.as_str(), error))?;
            from += taken;
            if part.writer.rows() == self.layout.part_rows {
                self.close_part()?;
            }
        }
        Ok(())
    }

    fn new_part(&mut self) -> Result<OpenPart, VaultError> {
        let number = self.next;
        if self.parts_before + self.finished.len() >= PARTS_LIMIT {
            return Err(VaultError::TooManyParts(PARTS_LIMIT));
        }
        self.next = number.next();
        let tail = hex::encode(random::<8>()?);
        let file: PartFile = format!("part-{:08}-{tail}.parquet", number.get()).parse()?;
        let (key, wrapped) = self.vault.keys.new_data_key(self.id, number)?;
        let upload = self
            .vault
            .storage
            .upload(&format!("{}/{file}", self.name))?;
        let writer = PartWriter::new(
            upload,
            arrow_schema(self.schema),
            self.layout,
            &key,
            (self.id, number),
        )
        .map_err(|error| writing(file.as_str(), error))?;
        Ok(OpenPart {
            number,
            file,
            key: wrapped,
            writer,
        })
    }

    fn close_part(&mut self) -> Result<(), VaultError> {
        let Some(part) = self.open.take() else {
            return Ok(());
        };
        let rows = part.writer.rows();
        let upload = part
            .writer
            .finish()
            .map_err(|error| writing(part.file.as_str(), error))?;
        let (sha256, bytes): (Digest, u64) = upload.finish()?;
        self.finished.push(Part {
            number: part.number,
            file: part.file,
            sha256,
            bytes,
            rows,
            key: part.key,
        });
        Ok(())
    }
}

fn writing(file: &str, error: ParquetError) -> VaultError {
    let source = match error {
        ParquetError::External(source) => match source.downcast::<std::io::Error>() {
            Ok(source) => *source,
            Err(source) => std::io::Error::other(source),
        },
        error => std::io::Error::other(error),
    };
    VaultError::Storage {
        doing: format!("write {file}"),
        source,
    }
}
