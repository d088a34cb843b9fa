//! Batches of records as they travel from an agent to an aggregator.
//!
//! A frame is two little-endian 32-bit numbers, the records present and the capacity, and an Arrow IPC stream of one record
//! batch with exactly `capacity` rows, zeros after those present. Within one contract all frames have one length, that of an
//! empty sample included: what an onlooker can measure does not depend on the data.
//!
//! Columns, rows and nullability are known beforehand, so all that surrounds the values is the same in every frame. The
//! format writes it once; the receiver compares it byte by byte and parses nothing that a peer wrote.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use arrow_array::types::{Float32Type, Float64Type, Int64Type, UInt16Type};
use arrow_array::{
    Array, ArrayRef, ArrowPrimitiveType, FixedSizeBinaryArray, PrimitiveArray, RecordBatch,
    new_null_array,
};
use arrow_buffer::{Buffer, ScalarBuffer};
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};
use bytes::Bytes;

use crate::manifest::{Column, ColumnName, ColumnType, DatasetSchema};

/// Bytes of one frame, at most (128 MiB): an aggregator that holds a few of them from each agent stays within a small VM.
pub const FRAME_SIZE_LIMIT: u64 = 128 << 20;

/// The two counts before the Arrow stream; eight bytes keep its buffers aligned.
const COUNTS_LENGTH: usize = 8;

/// Writes and reads the frames of one contract and dataset: fixed columns, fixed capacity.
///
/// ```
/// use bytes::Bytes;
/// use tributary_protocol::{BatchFormat, Column, ColumnType, DatasetSchema};
/// let schema = DatasetSchema::new(vec![
///     Column { name: "pixels".parse()?, kind: ColumnType::U8Bytes { len: 4 } },
///     Column { name: "label".parse()?, kind: ColumnType::Label { classes: 10 } },
/// ])?;
/// let format = BatchFormat::new(schema, 3)?;
///
/// let mut frame = format.frame();
/// frame.column_mut(0)[..4].copy_from_slice(&[1, 2, 3, 4]);
/// frame.column_mut(1)[..2].copy_from_slice(&7_u16.to_le_bytes());
/// let frame: Bytes = frame.finish(1)?;
///
/// assert_eq!(frame.len(), format.frame().finish(0)?.len());
/// let batch = format.decode(frame)?;
/// assert_eq!(batch.present(), 1);
/// assert_eq!(batch.records().num_rows(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct BatchFormat {
    schema: DatasetSchema,
    arrow: SchemaRef,
    capacity: u32,
    /// Everything but the values: (position in the frame, bytes), in order, without overlaps.
    fixed: Arc<[(usize, Box<[u8]>)]>,
    /// Where the values of each column lie in the frame.
    values: Arc<[Range<usize>]>,
    length: usize,
}

/// A frame that is being filled; zeros until then.
pub struct Frame<'a> {
    format: &'a BatchFormat,
    bytes: Vec<u8>,
}

/// The records of a frame, checked against the columns.
#[derive(Clone)]
pub struct Batch {
    records: RecordBatch,
}

/// Why a format or a frame was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BatchError {
    /// A column whose size on the wire would show its contents.
    #[error(
        "column `{0}` has values of different lengths, which the size of a batch would show; name columns of fixed size in the contract"
    )]
    VariableLength(ColumnName),
    /// No room for a single record.
    #[error("expected a capacity of at least 1 record")]
    NoCapacity,
    /// Frames beyond the limit.
    #[error(
        "batches of {capacity} records would take {got} bytes, expected at most {FRAME_SIZE_LIMIT}; choose a lower sampling rate or smaller records"
    )]
    TooLarge {
        /// Records of a batch.
        capacity: u32,
        /// Bytes that they would take.
        got: u64,
    },
    /// A frame of another length.
    #[error("the peer's batch has {got} bytes, expected {expected}")]
    Length {
        /// Length of every frame of this format.
        expected: usize,
        /// Length of this one.
        got: usize,
    },
    /// More records than the capacity.
    #[error("the batch claims {got} records, expected at most {capacity}")]
    Present {
        /// Capacity of the format.
        capacity: u32,
        /// The claim.
        got: u32,
    },
    /// Another capacity, other columns, or another encoding.
    #[error(
        "the peer's batch is not one of these columns and this capacity: it differs from what was agreed at byte {0}"
    )]
    Encoding(usize),
    /// A value that its column does not allow.
    #[error("column `{column}`: record {row} of the peer's batch is not {expected}")]
    Value {
        /// The column.
        column: ColumnName,
        /// Position in the batch.
        row: usize,
        /// What is accepted.
        expected: String,
    },
    /// Arrow refused what this side built.
    #[error("the batch could not be built")]
    Arrow(#[from] ArrowError),
}

impl BatchFormat {
    /// The format of batches with these columns and at most `capacity` records.
    pub fn new(schema: DatasetSchema, capacity: u32) -> Result<Self, BatchError> {
        if capacity == 0 {
            return Err(BatchError::NoCapacity);
        }
        let mut width = 0_u64;
        for column in schema.columns() {
            let value = column
                .kind
                .fixed_width()
                .ok_or_else(|| BatchError::VariableLength(column.name.clone()))?;
            width = width.saturating_add(value);
        }
        let got = width.saturating_mul(capacity.into());
        if got > FRAME_SIZE_LIMIT {
            return Err(BatchError::TooLarge { capacity, got });
        }
        let arrow = arrow_schema(&schema);
        let template = template(&schema, &arrow, capacity)?;
        let values = value_ranges(&template, schema.columns(), capacity)?;
        let mut fixed = Vec::new();
        // The capacity is the first of what never changes.
        let mut position = COUNTS_LENGTH - 4;
        for range in &values {
            fixed.push((position, template[position..range.start].into()));
            position = range.end;
        }
        fixed.push((position, template[position..].into()));
        Ok(Self {
            schema,
            arrow,
            capacity,
            fixed: fixed.into(),
            values: values.into(),
            length: template.len(),
        })
    }

    /// Length of every frame, in bytes.
    pub fn frame_len(&self) -> usize {
        self.length
    }

    /// The most records that a frame holds.
    pub fn capacity(&self) -> u32 {
        self.capacity
    }

    /// The columns.
    pub fn schema(&self) -> &DatasetSchema {
        &self.schema
    }

    /// The columns in Arrow's terms, as [`arrow_schema`] gives them.
    pub fn arrow_schema(&self) -> &SchemaRef {
        &self.arrow
    }

    /// A frame to fill.
    pub fn frame(&self) -> Frame<'_> {
        let mut bytes = vec![0; self.length];
        for (position, fixed) in &*self.fixed {
            bytes[*position..position + fixed.len()].copy_from_slice(fixed);
        }
        Frame {
            format: self,
            bytes,
        }
    }

    /// The records of a frame, which the batch keeps alive and does not copy where its buffers are aligned.
    pub fn decode(&self, frame: Bytes) -> Result<Batch, BatchError> {
        if frame.len() != self.length {
            return Err(BatchError::Length {
                expected: self.length,
                got: frame.len(),
            });
        }
        for (position, fixed) in &*self.fixed {
            let got = &frame[*position..position + fixed.len()];
            if let Some(offset) = got.iter().zip(&**fixed).position(|(a, b)| a != b) {
                return Err(BatchError::Encoding(position + offset));
            }
        }
        let present = u32::from_le_bytes([frame[0], frame[1], frame[2], frame[3]]);
        if present > self.capacity {
            return Err(BatchError::Present {
                capacity: self.capacity,
                got: present,
            });
        }
        let present = present as usize;
        let columns = self
            .schema
            .columns()
            .iter()
            .zip(&*self.values)
            .map(|(column, range)| {
                let width = range.len() / self.capacity as usize;
                let values = frame.slice(range.start..range.start + width * present);
                array(column, Buffer::from(values), present)
            })
            .collect::<Result<_, _>>()?;
        let options = arrow_array::RecordBatchOptions::new().with_row_count(Some(present));
        let records = RecordBatch::try_new_with_options(self.arrow.clone(), columns, &options)?;
        Ok(Batch { records })
    }
}

impl Frame<'_> {
    /// The values of a column, record after record, little-endian: `capacity` times its width.
    ///
    /// # Panics
    ///
    /// Where there is no such column.
    pub fn column_mut(&mut self, column: usize) -> &mut [u8] {
        &mut self.bytes[self.format.values[column].clone()]
    }

    /// The frame, with `present` records in its first rows.
    pub fn finish(mut self, present: u32) -> Result<Bytes, BatchError> {
        if present > self.format.capacity {
            return Err(BatchError::Present {
                capacity: self.format.capacity,
                got: present,
            });
        }
        self.bytes[..4].copy_from_slice(&present.to_le_bytes());
        Ok(self.bytes.into())
    }
}

impl Batch {
    /// Records in the batch, without padding.
    pub fn present(&self) -> usize {
        self.records.num_rows()
    }

    /// The records, without padding; the columns in the order of the format.
    pub fn records(&self) -> &RecordBatch {
        &self.records
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Batch")
    }
}

impl fmt::Debug for Frame<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Frame")
    }
}

impl fmt::Debug for BatchFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchFormat")
            .field("schema", &self.schema)
            .field("capacity", &self.capacity)
            .field("frame_len", &self.length)
            .finish()
    }
}

/// The columns of a dataset in Arrow's terms: `image-u8` and `u8-bytes` as `FixedSizeBinary`, `label` as `UInt16`, the others
/// under their own names; never null.
pub fn arrow_schema(schema: &DatasetSchema) -> SchemaRef {
    let fields = schema.columns().iter().map(|column| {
        let kind = match column.kind {
            ColumnType::ImageU8 { .. } | ColumnType::U8Bytes { .. } => {
                // The limit on a value's size is far below what 31 bits hold.
                let width = i32::try_from(column.kind.max_width()).unwrap_or(i32::MAX);
                DataType::FixedSizeBinary(width)
            }
            ColumnType::Label { .. } => DataType::UInt16,
            ColumnType::F32 => DataType::Float32,
            ColumnType::F64 => DataType::Float64,
            ColumnType::I64 => DataType::Int64,
            ColumnType::Utf8 { .. } => DataType::Utf8,
        };
        Field::new(column.name.as_str(), kind, false)
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// Refuses values that the type of a column does not allow: a label beyond its classes, a number that is not finite, a text
/// that is too long. The error is the position of the first.
///
/// `values` has the type that [`arrow_schema`] gives the column.
pub fn check_values(kind: ColumnType, values: &dyn Array) -> Result<(), (usize, String)> {
    fn primitive<T: ArrowPrimitiveType>(
        values: &dyn Array,
        good: impl Fn(T::Native) -> bool,
    ) -> Option<usize> {
        let values = values.as_any().downcast_ref::<PrimitiveArray<T>>();
        values.map_or(Some(0), |values| {
            values.values().iter().position(|value| !good(*value))
        })
    }
    let (bad, expected) = match kind {
        ColumnType::Label { classes } => (
            primitive::<UInt16Type>(values, |label| u32::from(label) < classes),
            format!("a class from 0 to {}", classes - 1),
        ),
        ColumnType::F32 => (
            primitive::<Float32Type>(values, f32::is_finite),
            "a finite number".into(),
        ),
        ColumnType::F64 => (
            primitive::<Float64Type>(values, f64::is_finite),
            "a finite number".into(),
        ),
        ColumnType::Utf8 { max_bytes } => {
            let values = values.as_any().downcast_ref::<arrow_array::StringArray>();
            let bad = values.map_or(Some(0), |values| {
                values
                    .iter()
                    .position(|text| text.is_none_or(|text| text.len() > max_bytes as usize))
            });
            (bad, format!("a text of at most {max_bytes} bytes"))
        }
        ColumnType::ImageU8 { .. } | ColumnType::U8Bytes { .. } | ColumnType::I64 => return Ok(()),
    };
    bad.map_or(Ok(()), |row| Err((row, expected)))
}

/// A frame without records.
fn template(
    schema: &DatasetSchema,
    arrow: &SchemaRef,
    capacity: u32,
) -> Result<Vec<u8>, BatchError> {
    let rows = capacity as usize;
    let columns = schema
        .columns()
        .iter()
        .zip(arrow.fields())
        .map(|(column, field)| {
            let width = column.kind.max_width() as usize;
            match field.data_type() {
                DataType::Utf8 => Ok(new_null_array(field.data_type(), rows)),
                _ => array(column, Buffer::from_vec(vec![0_u8; width * rows]), rows),
            }
        })
        .collect::<Result<_, _>>()?;
    let batch = RecordBatch::try_new(arrow.clone(), columns)?;
    let mut frame = Vec::new();
    frame.extend_from_slice(&0_u32.to_le_bytes());
    frame.extend_from_slice(&capacity.to_le_bytes());
    let mut writer = StreamWriter::try_new(frame, arrow)?;
    writer.write(&batch)?;
    Ok(writer.into_inner()?)
}

/// Finds the values in a frame of our own making, by Arrow's encapsulated message format: a continuation marker, the length
/// of the metadata, the metadata, the body.
fn value_ranges(
    frame: &[u8],
    columns: &[Column],
    capacity: u32,
) -> Result<Vec<Range<usize>>, BatchError> {
    let unexpected = || {
        BatchError::Arrow(ArrowError::IpcError(
            "the writer's layout is not the one this format relies on".into(),
        ))
    };
    let mut position = COUNTS_LENGTH;
    loop {
        let length = frame.get(position + 4..position + 8);
        let length: [u8; 4] = length
            .and_then(|l| l.try_into().ok())
            .ok_or_else(unexpected)?;
        let body = position + 8 + u32::from_le_bytes(length) as usize;
        let metadata = frame.get(position + 8..body).ok_or_else(unexpected)?;
        let message = arrow_ipc::root_as_message(metadata).map_err(|_| unexpected())?;
        let Some(batch) = message.header_as_record_batch() else {
            position = body + usize::try_from(message.bodyLength()).map_err(|_| unexpected())?;
            continue;
        };
        // For each column its validity and its values.
        let buffers = batch.buffers().ok_or_else(unexpected)?;
        if buffers.len() != 2 * columns.len() {
            return Err(unexpected());
        }
        return columns
            .iter()
            .zip(buffers.iter().skip(1).step_by(2))
            .map(|(column, buffer)| {
                let length = column.kind.max_width() * u64::from(capacity);
                let start = body + usize::try_from(buffer.offset()).map_err(|_| unexpected())?;
                if u64::try_from(buffer.length()).ok() != Some(length) {
                    return Err(unexpected());
                }
                Ok(start..start + length as usize)
            })
            .collect();
    }
}

fn array(column: &Column, values: Buffer, rows: usize) -> Result<ArrayRef, BatchError> {
    let array: ArrayRef = match column.kind {
        ColumnType::ImageU8 { .. } | ColumnType::U8Bytes { .. } | ColumnType::Utf8 { .. } => {
            let width = i32::try_from(column.kind.max_width()).unwrap_or(i32::MAX);
            Arc::new(FixedSizeBinaryArray::try_new(width, values, None)?)
        }
        ColumnType::Label { .. } => primitive::<UInt16Type>(values, rows),
        ColumnType::F32 => primitive::<Float32Type>(values, rows),
        ColumnType::F64 => primitive::<Float64Type>(values, rows),
        ColumnType::I64 => primitive::<Int64Type>(values, rows),
    };
    check_values(column.kind, &array).map_err(|(row, expected)| BatchError::Value {
        column: column.name.clone(),
        row,
        expected,
    })?;
    Ok(array)
}

fn primitive<T: ArrowPrimitiveType>(values: Buffer, rows: usize) -> ArrayRef {
    let aligned = values.as_ptr().align_offset(align_of::<T::Native>()) == 0;
    let values = if aligned {
        values
    } else {
        Buffer::from_slice_ref(values.as_slice())
    };
    Arc::new(PrimitiveArray::<T>::new(
        ScalarBuffer::new(values, 0, rows),
        None,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::cast::AsArray as _;
    use arrow_ipc::reader::StreamReader;
    use proptest::prelude::*;

    fn column(name: &str, kind: ColumnType) -> Column {
        Column {
            name: name.parse().unwrap(),
            kind,
        }
    }

    fn format(capacity: u32) -> BatchFormat {
        let schema = DatasetSchema::new(vec![
            column(
                "image",
                ColumnType::ImageU8 {
                    height: 3,
                    width: 2,
                    channels: 1,
                },
            ),
            column("label", ColumnType::Label { classes: 10 }),
            column("age", ColumnType::F32),
            column("weight", ColumnType::F64),
            column("code", ColumnType::I64),
        ])
        .unwrap();
        BatchFormat::new(schema, capacity).unwrap()
    }

    fn filled(format: &BatchFormat, present: u32) -> Bytes {
        let mut frame = format.frame();
        for row in 0..present as usize {
            let byte = row as u8;
            frame.column_mut(0)[row * 6..][..6].fill(byte);
            frame.column_mut(1)[row * 2] = byte % 10;
            frame.column_mut(2)[row * 4..][..4].copy_from_slice(&(row as f32).to_le_bytes());
            frame.column_mut(3)[row * 8..][..8].copy_from_slice(&(row as f64).to_le_bytes());
            frame.column_mut(4)[row * 8..][..8].copy_from_slice(&(-(row as i64)).to_le_bytes());
        }
        frame.finish(present).unwrap()
    }

    #[test]
    fn what_was_written_is_read_at_every_alignment() {
        let format = format(7);
        for shift in 0..9 {
            let mut shifted = vec![0; shift];
            shifted.extend_from_slice(&filled(&format, 5));
            let batch = format.decode(Bytes::from(shifted).slice(shift..)).unwrap();
            assert_eq!(batch.present(), 5);
            let records = batch.records();
            assert_eq!(records.column(0).as_fixed_size_binary().value(4), [4; 6]);
            assert_eq!(records.column(1).as_primitive::<UInt16Type>().value(3), 3);
            assert_eq!(
                records.column(2).as_primitive::<Float32Type>().value(2),
                2.0
            );
            assert_eq!(
                records.column(3).as_primitive::<Float64Type>().value(1),
                1.0
            );
            assert_eq!(records.column(4).as_primitive::<Int64Type>().value(4), -4);
        }
    }

    #[test]
    fn any_reader_of_arrow_streams_reads_a_frame() {
        let format = format(7);
        let frame = filled(&format, 5);
        let mut reader = StreamReader::try_new(&frame[COUNTS_LENGTH..], None).unwrap();
        assert_eq!(reader.schema(), *format.arrow_schema());
        let records = reader.next().unwrap().unwrap();
        assert_eq!(records.num_rows(), 7);
        assert_eq!(
            records.slice(0, 5),
            *format.decode(frame.clone()).unwrap().records()
        );
        assert!(reader.next().is_none());
    }

    #[test]
    fn images_are_not_copied() {
        let format = format(7);
        let frame = filled(&format, 5);
        let inside = frame.as_ptr_range();
        let batch = format.decode(frame.clone()).unwrap();
        let image = batch.records().column(0).as_fixed_size_binary().value(0);
        assert!(inside.contains(&image.as_ptr()));
    }

    #[test]
    fn all_frames_have_one_length_that_of_an_empty_sample_included() {
        let format = format(33);
        for present in 0..=33 {
            assert_eq!(filled(&format, present).len(), format.frame_len());
        }
        assert_eq!(format.decode(filled(&format, 0)).unwrap().present(), 0);
    }

    #[test]
    fn every_altered_byte_outside_the_values_is_refused() {
        let format = format(7);
        let good = filled(&format, 5);
        for position in 0..good.len() {
            if format.values.iter().any(|range| range.contains(&position)) {
                continue;
            }
            let mut bad = good.to_vec();
            bad[position] ^= 0x80;
            assert!(format.decode(bad.into()).is_err(), "byte {position}");
        }
    }

    #[test]
    fn another_length_capacity_or_schema_is_refused() {
        let ours = format(7);
        let good = filled(&ours, 5);
        assert!(matches!(
            ours.decode(good.slice(1..)),
            Err(BatchError::Length { .. })
        ));
        // Padded to the same length, so only the counts and the metadata differ.
        let theirs = format(8);
        let other = filled(&theirs, 5);
        if other.len() == good.len() {
            assert!(matches!(ours.decode(other), Err(BatchError::Encoding(_))));
        }
        assert!(matches!(
            ours.frame().finish(8),
            Err(BatchError::Present { .. })
        ));
    }

    #[test]
    fn values_that_a_column_does_not_allow_are_refused() {
        let format = format(7);
        let check = |column: usize, bytes: &[u8]| {
            let mut frame = format.frame();
            frame.column_mut(column)[..bytes.len()].copy_from_slice(bytes);
            format.decode(frame.finish(1).unwrap())
        };
        assert!(check(1, &9_u16.to_le_bytes()).is_ok());
        for (column, bytes) in [
            (1, &10_u16.to_le_bytes()[..]),
            (2, &f32::NAN.to_le_bytes()),
            (3, &f64::INFINITY.to_le_bytes()),
        ] {
            assert!(matches!(
                check(column, bytes),
                Err(BatchError::Value { row: 0, .. })
            ));
        }
    }

    #[test]
    fn formats_that_would_tell_or_would_not_fit_are_refused() {
        let new = |kind, capacity| {
            BatchFormat::new(
                DatasetSchema::new(vec![column("a", kind)]).unwrap(),
                capacity,
            )
        };
        assert!(matches!(
            new(ColumnType::Utf8 { max_bytes: 8 }, 1),
            Err(BatchError::VariableLength(_))
        ));
        assert!(matches!(
            new(ColumnType::F32, 0),
            Err(BatchError::NoCapacity)
        ));
        assert!(matches!(
            new(ColumnType::U8Bytes { len: 1 << 20 }, 129),
            Err(BatchError::TooLarge { .. })
        ));
    }

    /// The layout is part of the wire protocol: another version of Arrow that writes it otherwise needs another version of
    /// the protocol.
    #[test]
    fn the_bytes_around_the_values_are_those_of_this_version_of_the_protocol() {
        let frame = format(7).frame().finish(0).unwrap();
        assert_eq!(
            crate::digest::Digest::of(&frame).to_string(),
            "sha256:ee93558af8dfd97d5b771b9e6e1cf4d745c4d555b384c7bcf6fd364528d78e2d"
        );
    }

    #[test]
    fn records_do_not_print() {
        let format = format(7);
        assert_eq!(format!("{:?}", format.frame()), "Frame");
        let batch = format.decode(filled(&format, 5)).unwrap();
        assert_eq!(format!("{batch:?}"), "Batch");
    }

    proptest! {
        #[test]
        fn random_frames_never_panic(seed: Vec<u8>, present in 0_u32..9) {
            let format = format(7);
            let _ = format.decode(seed.clone().into());
            let mut frame = filled(&format, 5).to_vec();
            frame[..4].copy_from_slice(&present.to_le_bytes());
            for (position, byte) in seed.iter().enumerate() {
                let at = (position * 37) % frame.len();
                frame[at] ^= byte;
            }
            let _ = format.decode(frame.into());
        }
    }
}
