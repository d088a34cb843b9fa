//! Networks that come with the project, as ONNX files.

pub(crate) mod builder;
mod lenet;
mod linear;
mod mnist_cnn;
mod mnist_scatter;
mod resnet18gn;
mod unet;

pub use lenet::lenet;
pub use linear::linear;
pub use mnist_cnn::{mnist_cnn, mnist_cnn_relu};
pub use mnist_scatter::mnist_scatter;
pub use resnet18gn::resnet18gn;
pub use unet::unet;
