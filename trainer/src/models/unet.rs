//! A small U-Net for segmentation.

use super::builder::{Builder, float, int, ints};

/// `unet` as an ONNX file (opset 21): grey images of 128x128 in, one logit a pixel out, 483 thousand parameters.
///
/// The network of Ronneberger et al. 2015 with four levels of 16, 32, 64 and 128 channels, padded convolutions and
/// GroupNorm of 8 groups. Tensors bear the names that PyTorch would give them; weights are drawn from PyTorch's default
/// distribution by ChaCha20 from `seed`.
pub fn unet(seed: u64) -> Vec<u8> {
    let mut model = Builder::new("unet", seed, &[1, 128, 128]).opset(21);
    let mut levels = Vec::new();
    let mut channels = 1;
    for (level, rows) in [("d1", 16), ("d2", 32), ("d3", 64)] {
        double(&mut model, level, [rows, channels]);
        levels.push(model.last());
        let attributes = vec![ints("kernel_shape", &[2, 2]), ints("strides", &[2, 2])];
        model.then("MaxPool", &format!("/{level}/MaxPool"), &[], attributes);
        channels = rows;
    }
    double(&mut model, "bot", [128, 64]);
    for (index, rows) in [(3, 64), (2, 32), (1, 16)] {
        let up = format!("u{index}");
        let (weight, bias) = (format!("{up}.weight"), format!("{up}.bias"));
        // PyTorch takes the second dimension of a transposed convolution's weight for its inputs.
        let bound = 1.0 / ((rows * 4) as f32).sqrt();
        model.weight(&weight, &[rows * 2, rows, 2, 2], bound);
        model.weight(&bias, &[rows], bound);
        let attributes = vec![ints("kernel_shape", &[2, 2]), ints("strides", &[2, 2])];
        model.then(
            "ConvTranspose",
            &format!("/{up}/ConvTranspose"),
            &[&weight, &bias],
            attributes,
        );
        let (raised, beside) = (model.last(), levels.pop().unwrap_or_default());
        let attributes = vec![int("axis", 1)];
        model.node(
            "Concat",
            &format!("/{up}/Concat"),
            &[&raised, &beside],
            attributes,
        );
        double(&mut model, &format!("c{index}"), [rows, rows * 2]);
    }
    model.layer("out", &[1, 16, 1, 1]);
    let attributes = vec![ints("kernel_shape", &[1, 1])];
    model.then("Conv", "/out/Conv", &["out.weight", "out.bias"], attributes);
    model.finish(&[1, 128, 128])
}

/// Twice a convolution, GroupNorm and ReLU.
fn double(model: &mut Builder, name: &str, [rows, channels]: [i64; 2]) {
    for (index, channels) in [(0, channels), (3, rows)] {
        let (layer, norm) = (format!("{name}.{index}"), format!("{name}.{}", index + 1));
        model.layer(&layer, &[rows, channels, 3, 3]);
        let (weight, bias) = (format!("{layer}.weight"), format!("{layer}.bias"));
        let attributes = vec![ints("kernel_shape", &[3, 3]), ints("pads", &[1; 4])];
        model.then(
            "Conv",
            &format!("/{layer}/Conv"),
            &[&weight, &bias],
            attributes,
        );
        let (weight, bias) = (format!("{norm}.weight"), format!("{norm}.bias"));
        model.constant(&weight, &[rows], 1.0);
        model.constant(&bias, &[rows], 0.0);
        let attributes = vec![float("epsilon", 1e-5), int("num_groups", 8)];
        model
            .then(
                "GroupNormalization",
                &format!("/{norm}/GroupNorm"),
                &[&weight, &bias],
                attributes,
            )
            .then("Relu", &format!("/{norm}/Relu"), &[], vec![]);
    }
}
