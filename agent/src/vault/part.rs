//! One part: a Parquet file under Parquet Modular Encryption, with small pages that can be read on their own.
//!
//! AES-256-GCM, one data key for footer and columns, so that the footer is encrypted too. Page, column and row group are
//! in the additional data of each module by the format; its prefix, which is not stored, adds dataset and part.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader,
    ParquetRecordBatchReaderBuilder, RowSelection, RowSelectionPolicy,
};
use parquet::arrow::{ArrowWriter, ProjectionMask};
use parquet::basic::{Compression, Encoding};
use parquet::encryption::decrypt::FileDecryptionProperties;
use parquet::encryption::encrypt::FileEncryptionProperties;
use parquet::errors::ParquetError;
use parquet::file::metadata::PageIndexPolicy;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use tributary_protocol::{DatasetId, DatasetSchema, PartNumber};

use super::keys::DataKey;
use super::storage::{StoredFile, Upload};

/// Bytes of a page of the widest column, about: what one record costs to read is a page, and below that the overhead of
/// each page shows.
const PAGE_SIZE: u64 = 60 << 10;

/// Bytes of values in a row group, about: the writer holds one in memory.
const ROW_GROUP_SIZE: u64 = 16 << 20;

/// Bytes of values in a part, about: what one flipped bit costs to restore, and how long a file takes to check.
const PART_SIZE: u64 = 256 << 20;

/// Rows of pages, row groups and parts; each a multiple of the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) block_rows: u64,
    pub(super) group_rows: u64,
    pub(super) part_rows: u64,
}

impl Layout {
    pub(super) fn of(schema: &DatasetSchema) -> Self {
        let widths = || schema.columns().iter().map(|c| c.kind.max_width());
        let widest = widths().max().unwrap_or(1).max(1);
        let all = widths().sum::<u64>().max(1);
        let block_rows = (PAGE_SIZE / widest).max(1);
        let whole = |rows: u64, of: u64| (rows / of).max(1) * of;
        let group_rows = whole(ROW_GROUP_SIZE / all, block_rows);
        Self {
            block_rows,
            group_rows,
            part_rows: whole(PART_SIZE / all, group_rows),
        }
    }
}

/// A part that is being written.
pub(super) struct PartWriter {
    writer: ArrowWriter<Upload>,
    rows: u64,
}

impl PartWriter {
    pub(super) fn new(
        upload: Upload,
        schema: SchemaRef,
        layout: Layout,
        key: &DataKey,
        place: (DatasetId, PartNumber),
    ) -> Result<Self, ParquetError> {
        let encryption = FileEncryptionProperties::builder(key.0.to_vec())
            .with_aad_prefix(aad_prefix(place))
            .with_aad_prefix_storage(false)
            .build()?;
        let block_rows = layout.block_rows as usize;
        let properties = WriterProperties::builder()
            .set_created_by("tributary".to_owned())
            .set_compression(Compression::UNCOMPRESSED)
            .set_dictionary_enabled(false)
            .set_encoding(Encoding::PLAIN)
            .set_statistics_enabled(EnabledStatistics::None)
            .set_max_row_group_row_count(Some(layout.group_rows as usize))
            .set_data_page_row_count_limit(block_rows)
            .set_write_batch_size(block_rows)
            .set_data_page_size_limit(usize::MAX)
            .with_file_encryption_properties(encryption)
            .build();
        Ok(Self {
            writer: ArrowWriter::try_new(upload, schema, Some(properties))?,
            rows: 0,
        })
    }

    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    pub(super) fn write(&mut self, records: &RecordBatch) -> Result<(), ParquetError> {
        self.rows += records.num_rows() as u64;
        self.writer.write(records)
    }

    pub(super) fn finish(self) -> Result<Upload, ParquetError> {
        self.writer.into_inner()
    }
}

/// A part that can be read.
pub(super) struct PartReader {
    file: StoredFile,
    metadata: ArrowReaderMetadata,
}

impl PartReader {
    /// Decrypts the footer and the index of pages.
    pub(super) fn open(
        file: StoredFile,
        key: &DataKey,
        place: (DatasetId, PartNumber),
    ) -> Result<Self, ParquetError> {
        let decryption = FileDecryptionProperties::builder(key.0.to_vec())
            .with_aad_prefix(aad_prefix(place))
            .build()?;
        let options = ArrowReaderOptions::new()
            .with_offset_index_policy(PageIndexPolicy::Required)
            .with_column_index_policy(PageIndexPolicy::Skip)
            .with_file_decryption_properties(decryption);
        let metadata = ArrowReaderMetadata::load(&file, options)?;
        Ok(Self { file, metadata })
    }

    /// Records by the footer.
    pub(super) fn rows(&self) -> u64 {
        let metadata = self.metadata.metadata().file_metadata();
        u64::try_from(metadata.num_rows()).unwrap_or(0)
    }

    /// The columns in Arrow's terms.
    pub(super) fn schema(&self) -> &SchemaRef {
        self.metadata.schema()
    }

    /// The records of a selection in batches of `batch_rows`; all of them without one. Pages without a selected record
    /// are neither read nor decrypted. `columns` are positions; they come in the order of the file.
    pub(super) fn read(
        &self,
        columns: &[usize],
        selection: Option<RowSelection>,
        batch_rows: usize,
    ) -> Result<ParquetRecordBatchReader, ParquetError> {
        let mask = ProjectionMask::roots(self.metadata.parquet_schema(), columns.iter().copied());
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(
            self.file.clone(),
            self.metadata.clone(),
        )
        .with_projection(mask)
        .with_batch_size(batch_rows)
        .with_row_selection_policy(RowSelectionPolicy::Selectors);
        match selection {
            Some(selection) => builder.with_row_selection(selection).build(),
            None => builder.build(),
        }
    }
}

impl std::fmt::Debug for PartReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PartReader")
    }
}

/// True where the file holds these columns, whatever metadata the writer added.
pub(super) fn same_columns(got: &SchemaRef, expected: &SchemaRef) -> bool {
    let columns = |schema: &SchemaRef| {
        let fields = schema.fields().iter();
        fields
            .map(|field| {
                (
                    field.name().clone(),
                    field.data_type().clone(),
                    field.is_nullable(),
                )
            })
            .collect::<Vec<_>>()
    };
    Arc::ptr_eq(got, expected) || columns(got) == columns(expected)
}

fn aad_prefix((dataset, part): (DatasetId, PartNumber)) -> Vec<u8> {
    [
        b"tributary part ".as_slice(),
        dataset.as_bytes(),
        &part.get().to_be_bytes(),
    ]
    .concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tributary_protocol::{Column, ColumnType};

    fn layout(kind: ColumnType) -> Layout {
        let column = Column {
            name: "a".parse().unwrap(),
            kind,
        };
        Layout::of(&DatasetSchema::new(vec![column]).unwrap())
    }

    #[test]
    fn pages_are_small_and_everything_larger_is_made_of_whole_ones() {
        let mnist = layout(ColumnType::U8Bytes { len: 784 });
        assert_eq!(mnist.block_rows, 78);
        let scan = layout(ColumnType::U8Bytes { len: 4 << 20 });
        assert_eq!((scan.block_rows, scan.group_rows), (1, 4));
        for layout in [mnist, scan, layout(ColumnType::F32)] {
            assert_eq!(layout.group_rows % layout.block_rows, 0);
            assert_eq!(layout.part_rows % layout.group_rows, 0);
        }
    }
}
