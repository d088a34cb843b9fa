//! Trained weights at the edge of the crate: candle tensors under PyTorch's names.

use std::collections::HashMap;
use std::fmt;

use candle_core::{DType, Device, Tensor};
use thiserror::Error;

use crate::graph::{Graph, ParameterInfo};

/// Largest safetensors file that is read: the most parameters that a graph may have, and room for the header.
pub const SAFETENSORS_SIZE_LIMIT: usize = 512 << 20;

/// Why weights cannot be read or written.
#[derive(Debug, Error)]
pub enum ParametersError {
    /// candle refuses.
    #[error("the weights cannot be read: {0}")]
    Tensor(#[from] candle_core::Error),
    /// The file cannot be written.
    #[error("the weights cannot be written as safetensors: {0}")]
    Write(String),
    /// The file is too large.
    #[error("the safetensors file has {0} bytes, at most {SAFETENSORS_SIZE_LIMIT} are read")]
    TooLarge(usize),
    /// A weight that the graph needs is missing.
    #[error("there is no weight `{0}`; expected the weights of the same model")]
    Missing(String),
    /// A weight that the graph does not have.
    #[error(
        "there is a weight `{0}` that the model does not have; expected the weights of the same model"
    )]
    Unknown(String),
    /// A weight of another shape or type.
    #[error("weight `{name}` is {got}; expected float32 of {expected:?}")]
    Shape {
        /// The weight.
        name: String,
        /// The graph's sizes.
        expected: Vec<usize>,
        /// Type and sizes found.
        got: String,
    },
}

/// Weights by PyTorch's names (`conv1.weight`, …), in the order in which the graph uses them. Float32, on the CPU.
///
/// ```
/// use tributary_trainer::{Graph, Parameters, models};
/// let graph = Graph::from_onnx(&models::mnist_cnn(1))?;
/// let parameters = Parameters::initial(&graph)?;
/// let file = parameters.to_safetensors()?;
/// let again = Parameters::from_safetensors(&file)?;
/// assert_eq!(again.get("fc2.bias").map(|tensor| tensor.dims().to_vec()), Some(vec![10]));
/// assert_eq!(again.to_flat(&graph)?, graph.initial_weights());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Parameters {
    tensors: Vec<(String, Tensor)>,
}

impl Parameters {
    /// The weights that the graph's file came with.
    ///
    /// # Errors
    /// Where candle cannot hold them.
    pub fn initial(graph: &Graph) -> Result<Self, ParametersError> {
        Self::from_flat(graph, graph.initial_weights())
    }

    /// Cuts a flat vector of all weights, in the order of [`Graph::parameters`], into tensors.
    pub(crate) fn from_flat(graph: &Graph, weights: &[f32]) -> Result<Self, ParametersError> {
        let tensor = |info: &ParameterInfo| {
            let tensor = Tensor::from_slice(
                &weights[info.range.clone()],
                info.dims.as_slice(),
                &Device::Cpu,
            )?;
            Ok((info.name.clone(), tensor))
        };
        Ok(Self {
            tensors: graph
                .parameters()
                .iter()
                .map(tensor)
                .collect::<Result<_, ParametersError>>()?,
        })
    }

    /// One weight.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.tensors
            .iter()
            .find(|(own, _)| own == name)
            .map(|(_, tensor)| tensor)
    }

    /// All weights.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.tensors
            .iter()
            .map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// All weights one after the other, in the order of [`Graph::parameters`].
    ///
    /// # Errors
    /// Where they are not the weights of this graph.
    pub fn to_flat(&self, graph: &Graph) -> Result<Vec<f32>, ParametersError> {
        if let Some((name, _)) = self
            .tensors
            .iter()
            .find(|(name, _)| !graph.parameters().iter().any(|info| info.name == *name))
        {
            return Err(ParametersError::Unknown(name.clone()));
        }
        let mut weights = Vec::with_capacity(graph.parameter_count());
        for info in graph.parameters() {
            let tensor = self
                .get(&info.name)
                .ok_or_else(|| ParametersError::Missing(info.name.clone()))?;
            if tensor.dims() != info.dims || tensor.dtype() != DType::F32 {
                return Err(ParametersError::Shape {
                    name: info.name.clone(),
                    expected: info.dims.clone(),
                    got: format!("{:?} of {:?}", tensor.dtype(), tensor.dims()),
                });
            }
            weights.extend(tensor.flatten_all()?.to_vec1::<f32>()?);
        }
        Ok(weights)
    }

    /// A safetensors file, as `safetensors.torch.load_file` reads it into a state dict.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn to_safetensors(&self) -> Result<Vec<u8>, ParametersError> {
        // Readers built on transformers insist on this entry.
        let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
        safetensors::serialize(self.iter(), Some(metadata))
            .map_err(|error| ParametersError::Write(error.to_string()))
    }

    /// Reads a safetensors file.
    ///
    /// # Errors
    /// Where it is too large or not in the format. Whether the weights fit a graph shows where they are used.
    pub fn from_safetensors(bytes: &[u8]) -> Result<Self, ParametersError> {
        if bytes.len() > SAFETENSORS_SIZE_LIMIT {
            return Err(ParametersError::TooLarge(bytes.len()));
        }
        let mut tensors: Vec<_> = candle_core::safetensors::load_buffer(bytes, &Device::Cpu)?
            .into_iter()
            .collect();
        tensors.sort_by(|left, right| left.0.cmp(&right.0));
        Ok(Self { tensors })
    }

    /// Each weight as bytes.
    pub(crate) fn raw(&self) -> Result<Vec<RawTensor>, ParametersError> {
        let raw = |(name, tensor): (&str, &Tensor)| {
            let values = tensor.flatten_all()?.to_vec1::<f32>()?;
            let data = values
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect();
            Ok(RawTensor {
                name: name.to_owned(),
                dims: tensor.dims().to_vec(),
                data,
            })
        };
        self.iter().map(raw).collect()
    }
}

/// A weight as bytes: little-endian float32, as ONNX's `raw_data` is defined.
pub(crate) struct RawTensor {
    pub(crate) name: String,
    pub(crate) dims: Vec<usize>,
    pub(crate) data: Vec<u8>,
}

impl fmt::Debug for Parameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Names and sizes only: the weights are the consumer's.
        f.debug_map()
            .entries(self.iter().map(|(name, tensor)| (name, tensor.dims())))
            .finish()
    }
}
