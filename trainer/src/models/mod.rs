//! Networks that come with the project, as ONNX files.

pub(crate) mod builder;
mod linear;
mod mnist_cnn;

pub use linear::linear;
pub use mnist_cnn::mnist_cnn;
