//! The classic small network for private MNIST.

use super::builder::{Builder, int, ints};

/// `mnist-cnn` as an ONNX file (opset 17): grey images of 28x28 in, 10 class scores out, 26,010 parameters.
///
/// Two convolutions and two linear layers with tanh between them: bounded activations keep gradients small, which
/// clipping then leaves alone (Papernot et al. 2021, "Tempered Sigmoid Activations for Deep Learning with Differential
/// Privacy"). Tensors bear the names that PyTorch would give them. Weights are drawn from PyTorch's default
/// distribution by ChaCha20 from `seed`: the same seed gives the same file.
pub fn mnist_cnn(seed: u64) -> Vec<u8> {
    with_activation(seed, "Tanh")
}

/// The same with ReLU in place of tanh, as the network is best known: what speeds are compared on.
pub fn mnist_cnn_relu(seed: u64) -> Vec<u8> {
    with_activation(seed, "Relu")
}

fn with_activation(seed: u64, activation: &str) -> Vec<u8> {
    let name = |suffix: &str| format!("/{activation}{suffix}");
    let mut model = Builder::new("mnist_cnn", seed, &[1, 28, 28]);
    model.layer("conv1", &[16, 1, 8, 8]);
    model.layer("conv2", &[32, 16, 4, 4]);
    model.layer("fc1", &[32, 512]);
    model.layer("fc2", &[10, 32]);
    let pool = || vec![ints("kernel_shape", &[2, 2]), ints("strides", &[1, 1])];
    let conv = |kernel: &[i64], pads: &[i64]| {
        vec![
            ints("kernel_shape", kernel),
            ints("pads", pads),
            ints("strides", &[2, 2]),
        ]
    };
    model
        .then(
            "Conv",
            "/conv1/Conv",
            &["conv1.weight", "conv1.bias"],
            conv(&[8, 8], &[3; 4]),
        )
        .then(activation, &name(""), &[], vec![])
        .then("MaxPool", "/MaxPool", &[], pool())
        .then(
            "Conv",
            "/conv2/Conv",
            &["conv2.weight", "conv2.bias"],
            conv(&[4, 4], &[0; 4]),
        )
        .then(activation, &name("_1"), &[], vec![])
        .then("MaxPool", "/MaxPool_1", &[], pool())
        .then("Flatten", "/Flatten", &[], vec![int("axis", 1)])
        .then(
            "Gemm",
            "/fc1/Gemm",
            &["fc1.weight", "fc1.bias"],
            vec![int("transB", 1)],
        )
        .then(activation, &name("_2"), &[], vec![])
        .then(
            "Gemm",
            "/fc2/Gemm",
            &["fc2.weight", "fc2.bias"],
            vec![int("transB", 1)],
        );
    model.finish(&[10])
}
