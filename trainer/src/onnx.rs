//! The few ONNX messages that a network for training needs, as `prost` structs.
//!
//! Field numbers follow `onnx.proto` (ONNX 1.17, proto2 and proto3 share one wire form).
//! Fields that are not listed are skipped on reading; [`crate::export_onnx`] never writes a file from these
//! structs but edits the original bytes, so that nothing is lost.

use prost::Message;
use thiserror::Error;

/// Largest ONNX file that is read: protobuf itself stops at 2 GiB, and the networks that per-example
/// gradients can train in memory stay far below this.
pub const MODEL_SIZE_LIMIT: usize = 512 << 20;

/// Data types of `TensorProto` that the importer reads.
pub(crate) const FLOAT: i32 = 1;
pub(crate) const INT32: i32 = 6;
pub(crate) const INT64: i32 = 7;
pub(crate) const BOOL: i32 = 9;
pub(crate) const DOUBLE: i32 = 11;

/// Why bytes are not an ONNX model.
#[derive(Debug, Error)]
pub enum OnnxError {
    /// The file is larger than [`MODEL_SIZE_LIMIT`].
    #[error(
        "the ONNX file has {0} bytes, at most {MODEL_SIZE_LIMIT} are read; export a smaller model"
    )]
    TooLarge(usize),
    /// The bytes are not a protobuf message of this form.
    #[error("the file is not an ONNX model ({0}); expected what torch.onnx.export writes")]
    Malformed(String),
    /// A tensor's data does not fit its dimensions.
    #[error(
        "tensor `{name}` has dimensions {dims:?} but {got} bytes of data; export the model again"
    )]
    TensorSize {
        /// The tensor's name.
        name: String,
        /// Its dimensions.
        dims: Vec<i64>,
        /// Bytes of data found.
        got: usize,
    },
    /// A tensor's data lies in another file.
    #[error(
        "tensor `{0}` keeps its data in another file; give the file by its path, or export with external_data=False"
    )]
    ExternalData(String),
    /// A tensor's element type is not read.
    #[error(
        "tensor `{name}` has ONNX data type {data_type}; float32 (1) is supported for weights, and float32, float64 (11), int32 (6), int64 (7) and bool (9) for constants"
    )]
    DataType {
        /// The tensor's name.
        name: String,
        /// The number in `TensorProto.DataType`.
        data_type: i32,
    },
}

impl ModelProto {
    /// What the metadata says under a key.
    pub(crate) fn metadata(&self, key: &str) -> Option<&str> {
        let mut entries = self.metadata_props.iter();
        let entry = entries.find(|entry| entry.key == key)?;
        Some(&entry.value)
    }

    /// Reads a model, refusing it by size before anything is allocated.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, OnnxError> {
        if bytes.len() > MODEL_SIZE_LIMIT {
            return Err(OnnxError::TooLarge(bytes.len()));
        }
        Self::decode(bytes).map_err(|error| OnnxError::Malformed(error.to_string()))
    }
}

impl TensorProto {
    /// The dimensions as sizes.
    pub(crate) fn shape(&self) -> Result<Vec<usize>, OnnxError> {
        let sizes: Option<Vec<usize>> = self
            .dims
            .iter()
            .map(|&dim| usize::try_from(dim).ok())
            .collect();
        let sizes = sizes.ok_or_else(|| self.size_error(self.raw_data.len()))?;
        // The product must be countable before anything is sized by it.
        sizes
            .iter()
            .try_fold(1usize, |all, &dim| all.checked_mul(dim))
            .ok_or_else(|| self.size_error(self.raw_data.len()))?;
        Ok(sizes)
    }

    /// The elements of a float32 tensor, whichever of the two fields holds them.
    pub(crate) fn floats(&self) -> Result<Vec<f32>, OnnxError> {
        self.expect(FLOAT)?;
        let elements: usize = self.shape()?.iter().product();
        if !self.float_data.is_empty() {
            self.expect_length(self.float_data.len(), 4, elements)?;
            return Ok(self.float_data.clone());
        }
        let chunks = self.raw_chunks::<4>(elements)?;
        Ok(chunks.map(f32::from_le_bytes).collect())
    }

    /// The elements of a float32 or float64 tensor, rounded to float32.
    pub(crate) fn rounded_floats(&self) -> Result<Vec<f32>, OnnxError> {
        if self.data_type != DOUBLE {
            return self.floats();
        }
        self.expect(DOUBLE)?;
        let elements: usize = self.shape()?.iter().product();
        if !self.double_data.is_empty() {
            self.expect_length(self.double_data.len(), 8, elements)?;
            return Ok(self.double_data.iter().map(|&value| value as f32).collect());
        }
        let chunks = self.raw_chunks::<8>(elements)?;
        Ok(chunks
            .map(|bytes| f64::from_le_bytes(bytes) as f32)
            .collect())
    }

    /// The elements of an int64 or int32 tensor.
    pub(crate) fn integers(&self) -> Result<Vec<i64>, OnnxError> {
        if self.data_type == INT32 {
            self.expect(INT32)?;
            let elements: usize = self.shape()?.iter().product();
            if !self.int32_data.is_empty() {
                self.expect_length(self.int32_data.len(), 4, elements)?;
                return Ok(self.int32_data.iter().copied().map(i64::from).collect());
            }
            let chunks = self.raw_chunks::<4>(elements)?;
            return Ok(chunks
                .map(|bytes| i64::from(i32::from_le_bytes(bytes)))
                .collect());
        }
        self.expect(INT64)?;
        let elements: usize = self.shape()?.iter().product();
        if !self.int64_data.is_empty() {
            self.expect_length(self.int64_data.len(), 8, elements)?;
            return Ok(self.int64_data.clone());
        }
        let chunks = self.raw_chunks::<8>(elements)?;
        Ok(chunks.map(i64::from_le_bytes).collect())
    }

    /// The elements of a tensor of truth values.
    pub(crate) fn booleans(&self) -> Result<Vec<bool>, OnnxError> {
        self.expect(BOOL)?;
        let elements: usize = self.shape()?.iter().product();
        if !self.int32_data.is_empty() {
            self.expect_length(self.int32_data.len(), 1, elements)?;
            return Ok(self.int32_data.iter().map(|&value| value != 0).collect());
        }
        let chunks = self.raw_chunks::<1>(elements)?;
        Ok(chunks.map(|[byte]| byte != 0).collect())
    }

    fn expect_length(&self, got: usize, size: usize, elements: usize) -> Result<(), OnnxError> {
        if got == elements {
            return Ok(());
        }
        Err(self.size_error(got.saturating_mul(size)))
    }

    fn raw_chunks<const SIZE: usize>(
        &self,
        elements: usize,
    ) -> Result<impl Iterator<Item = [u8; SIZE]>, OnnxError> {
        let (chunks, rest) = self.raw_data.as_chunks::<SIZE>();
        if chunks.len() != elements || !rest.is_empty() {
            return Err(self.size_error(self.raw_data.len()));
        }
        Ok(chunks.iter().copied())
    }

    fn expect(&self, data_type: i32) -> Result<(), OnnxError> {
        if self.data_location != 0 {
            return Err(OnnxError::ExternalData(self.name.clone()));
        }
        if self.data_type != data_type {
            return Err(OnnxError::DataType {
                name: self.name.clone(),
                data_type: self.data_type,
            });
        }
        Ok(())
    }

    /// Bytes of the data as `raw_data` holds it.
    pub(crate) fn byte_length(&self) -> Result<usize, OnnxError> {
        let size = match self.data_type {
            FLOAT | INT32 => 4,
            INT64 | DOUBLE => 8,
            BOOL => 1,
            data_type => {
                return Err(OnnxError::DataType {
                    name: self.name.clone(),
                    data_type,
                });
            }
        };
        let elements: usize = self.shape()?.iter().product();
        elements
            .checked_mul(size)
            .ok_or_else(|| self.size_error(usize::MAX))
    }

    fn size_error(&self, got: usize) -> OnnxError {
        OnnxError::TensorSize {
            name: self.name.clone(),
            dims: self.dims.clone(),
            got,
        }
    }
}

/// A whole file.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ModelProto {
    #[prost(int64, tag = "1")]
    pub ir_version: i64,
    #[prost(string, tag = "2")]
    pub producer_name: String,
    #[prost(message, optional, tag = "7")]
    pub graph: Option<GraphProto>,
    #[prost(message, repeated, tag = "8")]
    pub opset_import: Vec<OperatorSetIdProto>,
    #[prost(message, repeated, tag = "14")]
    pub metadata_props: Vec<StringStringEntryProto>,
    /// Model-local functions, of which only the presence matters: they are refused.
    #[prost(bytes = "vec", repeated, tag = "25")]
    pub functions: Vec<Vec<u8>>,
}

/// An entry of the metadata.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct StringStringEntryProto {
    #[prost(string, tag = "1")]
    pub key: String,
    #[prost(string, tag = "2")]
    pub value: String,
}

/// An operator set and its version.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct OperatorSetIdProto {
    #[prost(string, tag = "1")]
    pub domain: String,
    #[prost(int64, tag = "2")]
    pub version: i64,
}

/// A graph: nodes in topological order and the tensors they start from.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct GraphProto {
    #[prost(message, repeated, tag = "1")]
    pub node: Vec<NodeProto>,
    #[prost(string, tag = "2")]
    pub name: String,
    #[prost(message, repeated, tag = "5")]
    pub initializer: Vec<TensorProto>,
    #[prost(message, repeated, tag = "11")]
    pub input: Vec<ValueInfoProto>,
    #[prost(message, repeated, tag = "12")]
    pub output: Vec<ValueInfoProto>,
    /// Sparse initializers, of which only the presence matters: they are refused.
    #[prost(bytes = "vec", repeated, tag = "15")]
    pub sparse_initializer: Vec<Vec<u8>>,
    /// What the exporter notes about the graph.
    #[prost(message, repeated, tag = "16")]
    pub metadata_props: Vec<StringEntryProto>,
}

/// One operator.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct NodeProto {
    #[prost(string, repeated, tag = "1")]
    pub input: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    pub output: Vec<String>,
    #[prost(string, tag = "3")]
    pub name: String,
    #[prost(string, tag = "4")]
    pub op_type: String,
    #[prost(message, repeated, tag = "5")]
    pub attribute: Vec<AttributeProto>,
    #[prost(string, tag = "7")]
    pub domain: String,
    /// What the exporter notes about the node, such as the module that it comes from.
    #[prost(message, repeated, tag = "9")]
    pub metadata_props: Vec<StringEntryProto>,
}

/// A note: a key and what it says.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct StringEntryProto {
    #[prost(string, tag = "1")]
    pub key: String,
    #[prost(string, tag = "2")]
    pub value: String,
}

/// A named setting of an operator.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct AttributeProto {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(float, tag = "2")]
    pub f: f32,
    #[prost(int64, tag = "3")]
    pub i: i64,
    #[prost(bytes = "vec", tag = "4")]
    pub s: Vec<u8>,
    #[prost(message, optional, tag = "5")]
    pub t: Option<TensorProto>,
    #[prost(float, repeated, tag = "7")]
    pub floats: Vec<f32>,
    #[prost(int64, repeated, tag = "8")]
    pub ints: Vec<i64>,
    /// Which of the fields holds the value (`AttributeProto.AttributeType`).
    #[prost(int32, tag = "20")]
    pub kind: i32,
}

impl AttributeProto {
    pub(crate) const FLOAT: i32 = 1;
    pub(crate) const INT: i32 = 2;
    pub(crate) const STRING: i32 = 3;
    pub(crate) const TENSOR: i32 = 4;
    pub(crate) const INTS: i32 = 7;
}

/// A tensor with its data.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct TensorProto {
    #[prost(int64, repeated, tag = "1")]
    pub dims: Vec<i64>,
    #[prost(int32, tag = "2")]
    pub data_type: i32,
    #[prost(float, repeated, tag = "4")]
    pub float_data: Vec<f32>,
    #[prost(int32, repeated, tag = "5")]
    pub int32_data: Vec<i32>,
    #[prost(int64, repeated, tag = "7")]
    pub int64_data: Vec<i64>,
    #[prost(string, tag = "8")]
    pub name: String,
    #[prost(bytes = "vec", tag = "9")]
    pub raw_data: Vec<u8>,
    #[prost(double, repeated, tag = "10")]
    pub double_data: Vec<f64>,
    /// Where in another file the data lies.
    #[prost(message, repeated, tag = "13")]
    pub external_data: Vec<StringStringEntryProto>,
    /// 0 in this file, 1 in another.
    #[prost(int32, tag = "14")]
    pub data_location: i32,
}

/// A value's name and type.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ValueInfoProto {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(message, optional, tag = "2")]
    pub r#type: Option<TypeProto>,
}

/// A type; only tensors are read.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct TypeProto {
    #[prost(message, optional, tag = "1")]
    pub tensor_type: Option<TensorTypeProto>,
}

/// A tensor's element type and shape.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct TensorTypeProto {
    #[prost(int32, tag = "1")]
    pub elem_type: i32,
    #[prost(message, optional, tag = "2")]
    pub shape: Option<TensorShapeProto>,
}

/// A shape.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct TensorShapeProto {
    #[prost(message, repeated, tag = "1")]
    pub dim: Vec<DimensionProto>,
}

/// One dimension: a number, or a name for a number that is known when the model runs.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct DimensionProto {
    #[prost(int64, optional, tag = "1")]
    pub dim_value: Option<i64>,
    #[prost(string, optional, tag = "2")]
    pub dim_param: Option<String>,
}
