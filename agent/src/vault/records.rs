//! Random access to the records of one version of a dataset.
//!
//! Rows are cut into blocks, the pages of the widest column. A draw of records copies what lies in blocks that are held in
//! memory, then reads the blocks that are not, page by page, and keeps those for which there is room.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use arrow_array::cast::AsArray as _;
use arrow_array::{Array, ArrayRef, RecordBatch, StringArray, make_array};
use arrow_buffer::{Buffer, MutableBuffer};
use arrow_data::ArrayData;
use arrow_schema::{DataType, SchemaRef};
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, RowSelection, RowSelector};
use tributary_protocol::{
    ColumnName, DatasetName, DatasetSchema, Digest, Frame, Part, arrow_schema,
};

use super::Vault;
use super::cache::{Cache, CacheSize};
use super::dataset::Dataset;
use super::error::VaultError;
use super::part::{Layout, PartReader};
use super::verify::unreadable;

/// The records of one version of a dataset, some columns of them, by number from 0.
///
/// Numbers, and so samples, stay what they are in later versions: records are only ever appended.
pub struct Records {
    dataset: Dataset,
    schema: DatasetSchema,
    arrow: SchemaRef,
    parts: Vec<OpenPart>,
    columns: ColumnOrder,
    block_rows: u64,
    cache: Mutex<Cache>,
}

struct OpenPart {
    part: Part,
    reader: PartReader,
    /// Records before this part.
    before: u64,
    /// Blocks before this part.
    blocks_before: usize,
}

/// Which columns of a file are read, and where they belong: a file gives them in its own order.
struct ColumnOrder {
    in_file: Vec<usize>,
    wanted: Vec<usize>,
}

/// The decrypted rows of one block.
pub(super) struct Block {
    columns: Vec<Values>,
    bytes: u64,
}

enum Values {
    Fixed { values: Buffer, width: usize },
    Text(StringArray),
}

/// Where drawn values go.
trait Sink {
    fn put(&mut self, column: usize, position: usize, row: usize, values: &Values);
}

impl Records {
    /// Opens the version whose manifest has the digest `manifest`, as a contract demands it; the newest or an earlier one.
    /// The digest of every part is checked before anything is decrypted.
    ///
    /// # Errors
    ///
    /// [`VaultError::OtherManifest`] where there is no such version; a part that is missing, altered, swapped or does not
    /// decrypt; an unknown column.
    pub fn open(
        vault: &Vault,
        name: &DatasetName,
        manifest: Digest,
        columns: &[ColumnName],
        cache: CacheSize,
    ) -> Result<Self, VaultError> {
        let (mut dataset, newest) = vault.demanded(name, manifest)?;
        let all = dataset.manifest.schema();
        let schema = all.project(columns)?;
        let columns = ColumnOrder::new(all, &schema);
        let block_rows = Layout::of(all).block_rows;
        let (mut before, mut blocks_before) = (0, 0_usize);
        let mut parts = Vec::new();
        for part in dataset.manifest.parts() {
            // The newest version has the wrapping under the key in use now.
            let current = newest.manifest.parts().iter().find(|newer| {
                (newer.number, newer.sha256, newer.rows) == (part.number, part.sha256, part.rows)
            });
            let part = current.unwrap_or(part).clone();
            let reader = vault.open_part(&dataset, &part)?;
            let rows = part.rows;
            parts.push(OpenPart {
                part,
                reader,
                before,
                blocks_before,
            });
            before += rows;
            // The vault holds at most 2^32 records.
            blocks_before += rows.div_ceil(block_rows) as usize;
        }
        dataset.digest = manifest;
        Ok(Self {
            arrow: arrow_schema(&schema),
            dataset,
            schema,
            parts,
            columns,
            block_rows,
            cache: Mutex::new(Cache::new(cache, blocks_before)),
        })
    }

    /// How many records there are.
    pub fn len(&self) -> u64 {
        self.dataset.manifest.rows()
    }

    /// Never: a dataset has records.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The version that was opened.
    pub fn dataset(&self) -> &Dataset {
        &self.dataset
    }

    /// The columns that were opened, in the order asked for.
    pub fn schema(&self) -> &DatasetSchema {
        &self.schema
    }

    /// The columns in Arrow's terms.
    pub fn arrow_schema(&self) -> &SchemaRef {
        &self.arrow
    }

    /// The records of these numbers, in their order; a number may occur more than once.
    ///
    /// # Errors
    ///
    /// [`VaultError::OutOfRange`]; a page that was altered since the dataset was opened.
    pub fn take(&self, indices: &[u32]) -> Result<RecordBatch, VaultError> {
        let fields = self.arrow.fields().iter();
        let mut sink = Gather {
            columns: fields
                .map(|field| match width(field.data_type()) {
                    Some(width) => Gathered::Fixed {
                        values: MutableBuffer::from_len_zeroed(width * indices.len()),
                        width,
                    },
                    None => Gathered::Text(vec![String::new(); indices.len()]),
                })
                .collect(),
        };
        self.draw(indices, &mut sink)?;
        sink.finish(&self.arrow, indices.len())
            .map_err(|error| unreadable(&self.dataset, &self.parts[0].part, error.to_string()))
    }

    /// Puts the records of these numbers into the first rows of a frame, whose columns are these; each is copied once.
    ///
    /// # Errors
    ///
    /// As [`Records::take`].
    pub(crate) fn fill(&self, indices: &[u32], frame: &mut Frame<'_>) -> Result<(), VaultError> {
        self.draw(indices, &mut IntoFrame(frame))
    }

    /// All records in order, in batches of about a page.
    pub fn scan(&self) -> Scan<'_> {
        Scan {
            records: self,
            parts: 0..self.parts.len(),
            open: None,
        }
    }

    fn draw(&self, indices: &[u32], sink: &mut dyn Sink) -> Result<(), VaultError> {
        if let Some(index) = indices.iter().find(|i| u64::from(**i) >= self.len()) {
            return Err(VaultError::OutOfRange {
                index: *index,
                records: self.len(),
            });
        }
        let mut order: Vec<usize> = (0..indices.len()).collect();
        if !indices.is_sorted() {
            order.sort_unstable_by_key(|position| indices[*position]);
        }
        let mut missing: Vec<Missing> = Vec::new();
        let mut part = 0;
        let mut from = 0;
        {
            let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
            cache.begin_draw();
            while from < order.len() {
                let index = u64::from(indices[order[from]]);
                part += self.parts[part..].partition_point(|p| p.before + p.part.rows <= index);
                let open = &self.parts[part];
                let block = (index - open.before) / self.block_rows;
                let start = open.before + block * self.block_rows;
                let end = (start + self.block_rows).min(open.before + open.part.rows);
                let to = from
                    + order[from..].partition_point(|position| u64::from(indices[*position]) < end);
                let wanted = Wanted {
                    order: &order[from..to],
                    indices,
                    start,
                };
                match cache.get(open.blocks_before + block as usize) {
                    Some(held) => held.copy(&wanted, sink),
                    None => missing.push(Missing {
                        part,
                        block,
                        order: from..to,
                        rows: start - open.before..end - open.before,
                    }),
                }
                from = to;
            }
        }
        for of_part in missing.chunk_by(|a, b| a.part == b.part) {
            self.read_missing(of_part, indices, &order, sink)?;
        }
        Ok(())
    }

    /// Reads blocks of one part, in ascending order.
    fn read_missing(
        &self,
        missing: &[Missing],
        indices: &[u32],
        order: &[usize],
        sink: &mut dyn Sink,
    ) -> Result<(), VaultError> {
        let Some(first) = missing.first() else {
            return Ok(());
        };
        let open = &self.parts[first.part];
        let refuse = |reason: String| unreadable(&self.dataset, &open.part, reason);
        let mut selectors = Vec::with_capacity(2 * missing.len());
        let mut at = 0;
        for block in missing {
            selectors.push(RowSelector::skip((block.rows.start - at) as usize));
            selectors.push(RowSelector::select(
                (block.rows.end - block.rows.start) as usize,
            ));
            at = block.rows.end;
        }
        // Every block but the last of a part is full, so each batch is one block.
        let mut batches = open
            .reader
            .read(
                &self.columns.in_file,
                Some(RowSelection::from(selectors)),
                self.block_rows as usize,
            )
            .map_err(|error| refuse(error.to_string()))?;
        for wanted in missing {
            let batch = batches
                .next()
                .ok_or_else(|| refuse("it ends before its last record".into()))?
                .map_err(|error| refuse(error.to_string()))?;
            if batch.num_rows() as u64 != wanted.rows.end - wanted.rows.start {
                return Err(refuse("a page holds another number of records".into()));
            }
            let block = Arc::new(Block::new(&batch, &self.columns.wanted));
            let wanted_rows = Wanted {
                order: &order[wanted.order.clone()],
                indices,
                start: open.before + wanted.rows.start,
            };
            block.copy(&wanted_rows, sink);
            let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
            cache.offer(open.blocks_before + wanted.block as usize, &block);
        }
        Ok(())
    }
}

impl fmt::Debug for Records {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Records")
            .field("dataset", self.dataset.manifest.dataset())
            .field("version", &self.dataset.manifest.version())
            .finish_non_exhaustive()
    }
}

/// All records of a version, in order.
pub struct Scan<'a> {
    records: &'a Records,
    parts: Range<usize>,
    open: Option<(usize, ParquetRecordBatchReader)>,
}

impl Iterator for Scan<'_> {
    type Item = Result<RecordBatch, VaultError>;

    fn next(&mut self) -> Option<Self::Item> {
        let records = self.records;
        let refuse = |part: usize, reason: String| {
            unreadable(&records.dataset, &records.parts[part].part, reason)
        };
        loop {
            if let Some((part, batches)) = &mut self.open {
                if let Some(batch) = batches.next() {
                    let ordered = batch.and_then(|batch| batch.project(&records.columns.wanted));
                    return Some(ordered.map_err(|error| refuse(*part, error.to_string())));
                }
                self.open = None;
            }
            let part = self.parts.next()?;
            let columns = &records.columns.in_file;
            let rows = records.block_rows as usize;
            match records.parts[part].reader.read(columns, None, rows) {
                Ok(batches) => self.open = Some((part, batches)),
                Err(error) => return Some(Err(refuse(part, error.to_string()))),
            }
        }
    }
}

/// A block that is not held, and who wants rows of it.
struct Missing {
    part: usize,
    block: u64,
    order: Range<usize>,
    /// Within the part.
    rows: Range<u64>,
}

/// Rows wanted of one block: positions in the draw, and the number of the block's first record.
struct Wanted<'a> {
    order: &'a [usize],
    indices: &'a [u32],
    start: u64,
}

impl ColumnOrder {
    fn new(all: &DatasetSchema, wanted: &DatasetSchema) -> Self {
        let position = |name: &ColumnName| {
            let columns = all.columns().iter();
            columns.clone().position(|column| column.name == *name)
        };
        let asked: Vec<usize> = wanted
            .columns()
            .iter()
            .filter_map(|column| position(&column.name))
            .collect();
        let mut in_file = asked.clone();
        in_file.sort_unstable();
        let wanted = asked
            .iter()
            .filter_map(|column| in_file.binary_search(column).ok())
            .collect();
        Self { in_file, wanted }
    }
}

impl Block {
    /// `order`: for each column wanted, its position in the batch.
    fn new(batch: &RecordBatch, order: &[usize]) -> Self {
        let columns: Vec<_> = order
            .iter()
            .map(|column| Values::of(batch.column(*column)))
            .collect();
        let bytes = columns
            .iter()
            .map(|values| match values {
                Values::Fixed { values, .. } => values.capacity(),
                Values::Text(text) => text.get_buffer_memory_size(),
            })
            .sum::<usize>() as u64;
        Self { columns, bytes }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    fn copy(&self, wanted: &Wanted<'_>, sink: &mut dyn Sink) {
        for (column, values) in self.columns.iter().enumerate() {
            for position in wanted.order {
                let row = u64::from(wanted.indices[*position]) - wanted.start;
                sink.put(column, *position, row as usize, values);
            }
        }
    }

    #[cfg(test)]
    pub(super) fn of_size(bytes: u64) -> Self {
        Self {
            columns: Vec::new(),
            bytes,
        }
    }
}

impl Values {
    fn of(array: &ArrayRef) -> Self {
        match width(array.data_type()) {
            Some(width) => {
                let data = array.to_data();
                let from = data.offset() * width;
                Self::Fixed {
                    values: data.buffers()[0].slice_with_length(from, data.len() * width),
                    width,
                }
            }
            None => Self::Text(array.as_string().clone()),
        }
    }
}

/// Bytes of a value of a type that [`arrow_schema`] gives; `None` for text.
fn width(kind: &DataType) -> Option<usize> {
    match kind {
        DataType::FixedSizeBinary(width) => usize::try_from(*width).ok(),
        kind => kind.primitive_width(),
    }
}

struct IntoFrame<'a, 'b>(&'a mut Frame<'b>);

impl Sink for IntoFrame<'_, '_> {
    fn put(&mut self, column: usize, position: usize, row: usize, values: &Values) {
        if let Values::Fixed { values, width } = values {
            let to = &mut self.0.column_mut(column)[position * width..][..*width];
            to.copy_from_slice(&values[row * width..][..*width]);
        }
    }
}

struct Gather {
    columns: Vec<Gathered>,
}

enum Gathered {
    Fixed { values: MutableBuffer, width: usize },
    Text(Vec<String>),
}

impl Sink for Gather {
    fn put(&mut self, column: usize, position: usize, row: usize, values: &Values) {
        match (&mut self.columns[column], values) {
            (Gathered::Fixed { values: to, width }, Values::Fixed { values, .. }) => {
                to.as_slice_mut()[position * *width..][..*width]
                    .copy_from_slice(&values[row * *width..][..*width]);
            }
            (Gathered::Text(to), Values::Text(text)) => {
                text.value(row).clone_into(&mut to[position]);
            }
            // Both sides have the columns of one schema.
            _ => {}
        }
    }
}

impl Gather {
    fn finish(
        self,
        schema: &SchemaRef,
        rows: usize,
    ) -> Result<RecordBatch, arrow_schema::ArrowError> {
        let columns = self
            .columns
            .into_iter()
            .zip(schema.fields())
            .map(|(column, field)| match column {
                Gathered::Fixed { values, .. } => {
                    let data = ArrayData::builder(field.data_type().clone())
                        .len(rows)
                        .add_buffer(values.into());
                    Ok(make_array(data.build()?))
                }
                Gathered::Text(values) => Ok(Arc::new(StringArray::from(values)) as ArrayRef),
            })
            .collect::<Result<_, arrow_schema::ArrowError>>()?;
        RecordBatch::try_new(schema.clone(), columns)
    }
}
