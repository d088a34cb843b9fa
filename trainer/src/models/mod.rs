//! Networks that come with the project, as ONNX files.

mod mnist_cnn;

pub use mnist_cnn::mnist_cnn;
