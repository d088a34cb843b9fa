//! The operators that can be trained. A new one is a file here and a line in [`REGISTRY`].

mod activation;
mod add;
mod affine;
mod conv;
mod gemm;
mod pool;
mod reshape;
mod shapes;

use super::import::Import;

/// ONNX operator names and what translates them.
pub(crate) const REGISTRY: &[(&str, Import)] = &[
    ("Add", add::import),
    ("AveragePool", pool::import_average),
    ("Concat", shapes::import_concat),
    ("Constant", shapes::import_constant),
    ("Conv", conv::import),
    ("Flatten", reshape::import_flatten),
    ("Gather", shapes::import_gather),
    ("Gemm", gemm::import),
    ("Identity", reshape::import_identity),
    ("MaxPool", pool::import_max),
    ("Relu", activation::import_relu),
    ("Reshape", reshape::import_reshape),
    ("Shape", shapes::import_shape),
    ("Tanh", activation::import_tanh),
    ("Unsqueeze", shapes::import_unsqueeze),
];
