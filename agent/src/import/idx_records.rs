//! IDX files as records of a dataset: an `image` and a `label`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{
    Array as _, ArrayRef, FixedSizeBinaryArray, RecordBatch, StringArray, UInt16Array,
};
use arrow_buffer::Buffer;
use arrow_schema::ArrowError;
use tributary_idx::{IdxError, IdxPair};
use tributary_protocol::{
    Column, ColumnName, ColumnType, DatasetSchema, SchemaError, arrow_schema,
};

use super::entity_names::{EntityNames, NAME_LENGTH_LIMIT};

/// Bytes of images that are read at once.
const CHUNK_SIZE: usize = 1 << 20;

/// Streams the records of two IDX files, as [`Vault::import`](crate::Vault::import) takes them.
///
/// ```no_run
/// use std::path::Path;
/// use tributary_agent::IdxRecords;
/// let records = IdxRecords::open(Path::new("images.gz"), Path::new("labels.gz"), 10)?;
/// println!("{:?}", records.schema());
/// # Ok::<(), tributary_agent::ImportError>(())
/// ```
#[derive(Debug)]
pub struct IdxRecords {
    pair: IdxPair,
    schema: DatasetSchema,
    records: u64,
    /// Masks, beside the labels once more, so that their number is held against the labels'.
    masks: Option<IdxPair>,
    entities: Option<EntityNames>,
}

/// Why files were not imported.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// The files are not IDX files, or not of one set.
    #[error(transparent)]
    Idx(#[from] IdxError),
    /// A file of entities cannot be read.
    #[error("{}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        error: std::io::Error,
    },
    /// A line of a file of entities that names nobody, or nobody's.
    #[error("{}, line {line}: expected {expected}", path.display())]
    Entity {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// What should stand there.
        expected: &'static str,
    },
    /// Images or classes that a dataset cannot have.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// Arrow refused what this side built.
    #[error("the records could not be built")]
    Arrow(#[from] ArrowError),
}

impl IdxRecords {
    /// Opens a file of images and one of labels. `classes` is the number of classes, which the format does not state.
    ///
    /// # Errors
    ///
    /// See [`IdxError`].
    pub fn open(images: &Path, labels: &Path, classes: u32) -> Result<Self, ImportError> {
        let pair = IdxPair::open(images, labels)?;
        let schema = DatasetSchema::new(vec![
            Column {
                name: "image".parse()?,
                kind: ColumnType::ImageU8 {
                    height: pair.rows(),
                    width: pair.columns(),
                    channels: 1,
                },
            },
            Column {
                name: "label".parse()?,
                kind: ColumnType::Label { classes },
            },
        ])?;
        Ok(Self {
            records: pair.records(),
            pair,
            schema,
            masks: None,
            entities: None,
        })
    }

    /// The same with a column of masks, from a file of images of any size whose bytes are classes of pixels. To be called
    /// before [`IdxRecords::with_entities`].
    ///
    /// # Errors
    ///
    /// Where the file cannot be opened, has another number of images, or the column has the name of another.
    pub fn with_masks(
        self,
        column: ColumnName,
        masks: &Path,
        labels: &Path,
    ) -> Result<Self, ImportError> {
        let masks = IdxPair::open(masks, labels)?;
        let mut columns = self.schema.columns().to_vec();
        columns.push(Column {
            name: column,
            kind: ColumnType::ImageU8 {
                height: masks.rows(),
                width: masks.columns(),
                channels: 1,
            },
        });
        Ok(Self {
            schema: DatasetSchema::new(columns)?,
            masks: Some(masks),
            ..self
        })
    }

    /// The same with a column of text that names the entity of each record, from a file with a line for each.
    ///
    /// # Errors
    ///
    /// Where the file cannot be opened, or the column has the name of another. Lines are looked at as they are read.
    pub fn with_entities(self, column: ColumnName, path: &Path) -> Result<Self, ImportError> {
        let mut columns = self.schema.columns().to_vec();
        columns.push(Column {
            name: column,
            kind: ColumnType::Utf8 {
                max_bytes: NAME_LENGTH_LIMIT,
            },
        });
        Ok(Self {
            schema: DatasetSchema::new(columns)?,
            entities: Some(EntityNames::open(path)?),
            ..self
        })
    }

    /// The columns: `image` and `label`, and that of entities where there is one.
    pub fn schema(&self) -> &DatasetSchema {
        &self.schema
    }

    /// How many records there are.
    pub fn records(&self) -> u64 {
        self.records
    }

    fn next_batch(&mut self) -> Result<Option<RecordBatch>, ImportError> {
        let width = self.schema.columns()[0].kind.max_width() as usize;
        let records = (CHUNK_SIZE / width).max(1);
        let masks = match &mut self.masks {
            None => None,
            Some(masks) => masks.next_chunk(records)?,
        };
        let Some(chunk) = self.pair.next_chunk(records)? else {
            if let Some(entities) = &mut self.entities {
                entities.finish()?;
            }
            return Ok(None);
        };
        let images = images(width, chunk.pixels)?;
        let labels = chunk.labels.iter().map(|label| u16::from(*label));
        let labels: ArrayRef = Arc::new(UInt16Array::from_iter_values(labels));
        let mut columns = vec![images, labels];
        if let Some(masks) = masks {
            let width = self.schema.columns()[columns.len()].kind.max_width();
            columns.push(self::images(width as usize, masks.pixels)?);
        }
        if let Some(entities) = &mut self.entities {
            let names = entities.next(columns[1].len())?;
            columns.push(Arc::new(StringArray::from(names)));
        }
        let batch = RecordBatch::try_new(arrow_schema(&self.schema), columns)?;
        Ok(Some(batch))
    }
}

fn images(width: usize, pixels: Vec<u8>) -> Result<ArrayRef, ArrowError> {
    // A side of an image is at most 4,096.
    let width = i32::try_from(width).unwrap_or(i32::MAX);
    let pixels = Buffer::from_vec(pixels);
    Ok(Arc::new(FixedSizeBinaryArray::try_new(
        width, pixels, None,
    )?))
}

impl Iterator for IdxRecords {
    type Item = Result<RecordBatch, ImportError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_batch().transpose()
    }
}
