//! LeNet-5 for colour images.

use super::builder::{Builder, int, ints};

/// `lenet` as an ONNX file (opset 17): images of 3x32x32 in, 10 class scores out, 62,006 parameters.
///
/// Two convolutions, each followed by ReLU and max-pooling, and three linear layers (LeCun et al. 1998). Tensors bear the
/// names that PyTorch would give them; weights are drawn from PyTorch's default distribution by ChaCha20 from `seed`.
pub fn lenet(seed: u64) -> Vec<u8> {
    let mut model = Builder::new("lenet", seed, &[3, 32, 32]);
    let mut channels = 3;
    for (index, rows) in [(1, 6), (2, 16)] {
        let layer = format!("conv{index}");
        model.layer(&layer, &[rows, channels, 5, 5]);
        channels = rows;
        let (weight, bias) = (format!("{layer}.weight"), format!("{layer}.bias"));
        model
            .then(
                "Conv",
                &format!("/{layer}/Conv"),
                &[&weight, &bias],
                vec![ints("kernel_shape", &[5, 5])],
            )
            .then("Relu", &format!("/relu{index}"), &[], vec![])
            .then(
                "MaxPool",
                &format!("/pool{index}"),
                &[],
                vec![ints("kernel_shape", &[2, 2]), ints("strides", &[2, 2])],
            );
    }
    model.then("Flatten", "/Flatten", &[], vec![int("axis", 1)]);
    for (index, dims) in [(1, [120, 400]), (2, [84, 120]), (3, [10, 84])] {
        let layer = format!("fc{index}");
        model.layer(&layer, &dims);
        let (weight, bias) = (format!("{layer}.weight"), format!("{layer}.bias"));
        let attributes = vec![int("transB", 1)];
        model.then(
            "Gemm",
            &format!("/{layer}/Gemm"),
            &[&weight, &bias],
            attributes,
        );
        if index < 3 {
            model.then("Relu", &format!("/{layer}/Relu"), &[], vec![]);
        }
    }
    model.finish(&[10])
}
