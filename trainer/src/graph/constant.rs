//! Tensors that are known on import: constants of the file, shapes, and what is computed from them.

use super::extent::Extent;
use super::shape::display_dims;
use crate::onnx::{BOOL, INT32, INT64, OnnxError, TensorProto};

/// A tensor known on import.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Constant {
    pub(crate) dims: Vec<usize>,
    pub(crate) data: Data,
}

/// Its elements, in row-major order.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Data {
    Integers(Vec<Extent>),
    Floats(Vec<f32>),
    Booleans(Vec<bool>),
}

impl Constant {
    /// Most elements of a computed constant: far more than any shape, enough for an attention mask over 2,048 positions.
    pub(crate) const ELEMENT_LIMIT: usize = 4 << 20;

    /// A list of whole numbers.
    pub(crate) fn list(values: Vec<Extent>) -> Self {
        Self {
            dims: vec![values.len()],
            data: Data::Integers(values),
        }
    }

    /// A single whole number without dimensions.
    pub(crate) fn scalar(value: Extent) -> Self {
        Self {
            dims: Vec::new(),
            data: Data::Integers(vec![value]),
        }
    }

    /// What a tensor of the file holds.
    pub(crate) fn read(tensor: &TensorProto) -> Result<Self, OnnxError> {
        let data = match tensor.data_type {
            INT32 | INT64 => {
                Data::Integers(tensor.integers()?.into_iter().map(Extent::Known).collect())
            }
            BOOL => Data::Booleans(tensor.booleans()?),
            _ => Data::Floats(tensor.rounded_floats()?),
        };
        Ok(Self {
            dims: tensor.shape()?,
            data,
        })
    }

    /// How many elements there are.
    pub(crate) fn elements(&self) -> usize {
        self.dims.iter().product()
    }

    /// The whole numbers of a list or of a single one.
    pub(crate) fn integers(&self) -> Option<&[Extent]> {
        match &self.data {
            Data::Integers(values) if self.dims.len() <= 1 => Some(values),
            _ => None,
        }
    }

    /// The elements as floats, where none depends on the number of examples.
    pub(crate) fn floats(&self) -> Option<Vec<f32>> {
        match &self.data {
            Data::Floats(values) => Some(values.clone()),
            Data::Integers(values) => values
                .iter()
                .map(|value| value.known().map(|known| known as f32))
                .collect(),
            Data::Booleans(values) => Some(
                values
                    .iter()
                    .map(|&value| f32::from(u8::from(value)))
                    .collect(),
            ),
        }
    }

    /// The same elements in another order: element `i` of the result is `sources[i]` of this.
    pub(crate) fn pick(&self, dims: Vec<usize>, sources: &[usize]) -> Self {
        fn take<T: Copy>(values: &[T], sources: &[usize]) -> Vec<T> {
            sources.iter().map(|&source| values[source]).collect()
        }
        let data = match &self.data {
            Data::Integers(values) => Data::Integers(take(values, sources)),
            Data::Floats(values) => Data::Floats(take(values, sources)),
            Data::Booleans(values) => Data::Booleans(take(values, sources)),
        };
        Self { dims, data }
    }

    /// What it is, for messages.
    pub(crate) fn describe(&self) -> String {
        let kind = match self.data {
            Data::Integers(_) => "whole numbers",
            Data::Floats(_) => "floats",
            Data::Booleans(_) => "truth values",
        };
        format!("{kind} of {}", display_dims(&self.dims))
    }
}
