//! Networks that come with the project, as ONNX files.

pub(crate) mod builder;
mod mnist_cnn;

pub use mnist_cnn::mnist_cnn;
