//! ResNet-18 with group normalisation, for small images.

use super::builder::{Builder, float, int, ints};

/// `resnet18gn` as an ONNX file (opset 21): images of 3x32x32 in, 10 class scores out, 11.2 million parameters.
///
/// The network of He et al. 2016 in its form for CIFAR (a 3x3 stem without pooling), with GroupNorm of 32 groups (Wu and He
/// 2018) in place of batch normalisation, which mixes examples and so cannot be private. Tensors bear the names that
/// PyTorch would give them; weights are drawn from PyTorch's default distribution by ChaCha20 from `seed`.
pub fn resnet18gn(seed: u64) -> Vec<u8> {
    let mut model = Builder::new("resnet18gn", seed, &[3, 32, 32]).opset(21);
    conv(&mut model, "stem.0", [64, 3], 3, 1);
    norm(&mut model, "stem.1", 64);
    model.then("Relu", "/stem/Relu", &[], vec![]);
    let mut channels = 64;
    for (index, (rows, stride)) in [
        (64, 1),
        (64, 1),
        (128, 2),
        (128, 1),
        (256, 2),
        (256, 1),
        (512, 2),
        (512, 1),
    ]
    .into_iter()
    .enumerate()
    {
        block(&mut model, &format!("l.{index}"), [rows, channels], stride);
        channels = rows;
    }
    model.then("GlobalAveragePool", "/pool", &[], vec![]);
    model.then("Flatten", "/Flatten", &[], vec![int("axis", 1)]);
    model.layer("fc", &[10, 512]);
    model.then(
        "Gemm",
        "/fc/Gemm",
        &["fc.weight", "fc.bias"],
        vec![int("transB", 1)],
    );
    model.finish(&[10])
}

/// Two convolutions beside a short cut, which is a convolution where shapes change.
fn block(model: &mut Builder, name: &str, [rows, channels]: [i64; 2], stride: i64) {
    let input = model.last();
    conv(model, &format!("{name}.c1"), [rows, channels], 3, stride);
    norm(model, &format!("{name}.g1"), rows);
    model.then("Relu", &format!("/{name}/Relu"), &[], vec![]);
    conv(model, &format!("{name}.c2"), [rows, rows], 3, 1);
    norm(model, &format!("{name}.g2"), rows);
    let long = model.last();
    let short = if stride == 1 && rows == channels {
        input
    } else {
        conv_of(
            model,
            &format!("{name}.sc.0"),
            &input,
            [rows, channels],
            1,
            stride,
        );
        norm(model, &format!("{name}.sc.1"), rows);
        model.last()
    };
    model.node("Add", &format!("/{name}/Add"), &[&long, &short], vec![]);
    model.then("Relu", &format!("/{name}/Relu_1"), &[], vec![]);
}

fn conv(model: &mut Builder, name: &str, dims: [i64; 2], kernel: i64, stride: i64) {
    let input = model.last();
    conv_of(model, name, &input, dims, kernel, stride);
}

/// A convolution without a bias, padded so that only its stride makes the image smaller.
fn conv_of(
    model: &mut Builder,
    name: &str,
    input: &str,
    [rows, channels]: [i64; 2],
    kernel: i64,
    stride: i64,
) {
    let weight = format!("{name}.weight");
    let bound = 1.0 / ((channels * kernel * kernel) as f32).sqrt();
    model.weight(&weight, &[rows, channels, kernel, kernel], bound);
    let attributes = vec![
        ints("kernel_shape", &[kernel; 2]),
        ints("pads", &[kernel / 2; 4]),
        ints("strides", &[stride; 2]),
    ];
    model.node(
        "Conv",
        &format!("/{name}/Conv"),
        &[input, &weight],
        attributes,
    );
}

fn norm(model: &mut Builder, name: &str, channels: i64) {
    let (weight, bias) = (format!("{name}.weight"), format!("{name}.bias"));
    model.constant(&weight, &[channels], 1.0);
    model.constant(&bias, &[channels], 0.0);
    let attributes = vec![float("epsilon", 1e-5), int("num_groups", 32)];
    model.then(
        "GroupNormalization",
        &format!("/{name}/GroupNorm"),
        &[&weight, &bias],
        attributes,
    );
}
