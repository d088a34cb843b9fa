//! Fixed wavelet features with one trained layer, for private MNIST.

use std::f64::consts::PI;

use super::builder::{Builder, float, int, ints};

/// `mnist-scatter` as an ONNX file (opset 21): grey images of 28x28 in, 10 class scores out.
///
/// Features of a scattering network (Bruna and Mallat 2013) of two orders, four-fold downsampled, are normalised in groups
/// of three channels, each example for itself, and feed one linear layer, which alone is trained: 39,700 parameters (Tramèr
/// and Boneh 2021, "Differentially private learning needs better features (or much more data)"). The filters are the same
/// for any data, so they cost no privacy; they are stored as parameters named `scatter.…`, which the file's metadata
/// freezes. The linear layer is drawn from PyTorch's default distribution by ChaCha20 from `seed`.
///
/// Where the paper takes the modulus of complex filters, this takes the sum of the sizes of both parts, with
/// `|x| = 2·max(x, 0) - x`; the second scale filters the image at half its size, and so does the second order.
pub fn mnist_scatter(seed: u64) -> Vec<u8> {
    let mut model = Builder::new("mnist_scatter", seed, &[1, 28, 28])
        .opset(21)
        .frozen("scatter.*");
    let filters = filters();

    // Each filter's response at full size, in two parts, pooled by two.
    model.values("scatter.fine.weight", &[16, 1, 7, 7], &filters);
    conv(&mut model, INPUT, "fine", 7, 1);
    let fine = halves(&mut model, "fine");
    sizes(&mut model, "fine.size", &fine, 8);
    let fine_sizes = model.last();

    // The second scale.
    pool(&mut model, INPUT, "half", 2);
    model.values("scatter.coarse.weight", &[16, 1, 7, 7], &filters);
    let half = model.last();
    conv(&mut model, &half, "coarse", 7, 1);
    let coarse = halves(&mut model, "coarse");

    // The second order: every filter of the first scale's sizes.
    let each: Vec<f32> = (0..8).flat_map(|_| filters.iter().copied()).collect();
    model.values("scatter.second.weight", &[128, 1, 7, 7], &each);
    conv(&mut model, &fine_sizes, "second", 7, 8);
    let second = halves(&mut model, "second");

    // What is classified: the means over 4x4, 81 channels of 7x7.
    pool(&mut model, INPUT, "quarter", 4);
    let mean = model.last();
    pool(&mut model, &fine_sizes, "first", 2);
    let first = model.last();
    sizes(&mut model, "coarse.size", &coarse, 8);
    let coarse = model.last();
    sizes(&mut model, "second.size", &second, 64);
    let second = model.last();
    let features = [&mean, &first, &coarse, &second].map(String::as_str);
    model.node("Concat", "/scatter/Concat", &features, vec![int("axis", 1)]);
    model.constant("scatter.norm.weight", &[81], 1.0);
    model.constant("scatter.norm.bias", &[81], 0.0);
    let norm = ["scatter.norm.weight", "scatter.norm.bias"];
    let groups = vec![float("epsilon", 1e-5), int("num_groups", 27)];
    model.then("GroupNormalization", "/scatter/GroupNorm", &norm, groups);
    model.then("Flatten", "/Flatten", &[], vec![int("axis", 1)]);
    model.layer("fc", &[10, 81 * 49]);
    model.then(
        "Gemm",
        "/fc/Gemm",
        &["fc.weight", "fc.bias"],
        vec![int("transB", 1)],
    );
    model.finish(&[10])
}

const INPUT: &str = super::builder::INPUT;

/// Pools the positive part and the whole of the last node's output by two, and names them.
fn halves(model: &mut Builder, name: &str) -> [String; 2] {
    let whole = model.last();
    model.node("Relu", &format!("/scatter/{name}/Relu"), &[&whole], vec![]);
    let positive = model.last();
    pool(model, &positive, &format!("{name}.positive"), 2);
    let positive = model.last();
    pool(model, &whole, &format!("{name}.whole"), 2);
    [positive, model.last()]
}

/// `|a| + |b|` of neighbouring channels `a` and `b`, from the positive parts and the wholes.
fn sizes(model: &mut Builder, name: &str, [positive, whole]: &[String; 2], channels: i64) {
    let mut parts = Vec::new();
    for (part, input, factor) in [("positive", positive, 2.0), ("whole", whole, -1.0)] {
        let weight = format!("{name}.{part}");
        let values = vec![factor; 2 * channels as usize];
        model.values(
            &format!("scatter.{weight}.weight"),
            &[channels, 2, 1, 1],
            &values,
        );
        conv(model, input, &weight, 1, channels);
        parts.push(model.last());
    }
    model.node(
        "Add",
        &format!("/scatter/{name}/Add"),
        &[&parts[0], &parts[1]],
        vec![],
    );
}

/// A convolution without a bias that keeps the size.
fn conv(model: &mut Builder, input: &str, name: &str, kernel: i64, groups: i64) {
    let attributes = vec![
        int("group", groups),
        ints("kernel_shape", &[kernel; 2]),
        ints("pads", &[kernel / 2; 4]),
    ];
    let weight = format!("scatter.{name}.weight");
    model.node(
        "Conv",
        &format!("/scatter/{name}/Conv"),
        &[input, &weight],
        attributes,
    );
}

fn pool(model: &mut Builder, input: &str, name: &str, size: i64) {
    let attributes = vec![
        ints("kernel_shape", &[size; 2]),
        ints("strides", &[size; 2]),
    ];
    model.node(
        "AveragePool",
        &format!("/scatter/{name}/Pool"),
        &[input],
        attributes,
    );
}

/// Morlet wavelets of eight directions, `[direction][real, imaginary][7][7]`: a wave in a Gaussian window, less the
/// window's own share so that its mean is zero (Andreux et al. 2020, "Kymatio", at the finest scale).
fn filters() -> Vec<f32> {
    const SIDE: i32 = 7;
    const SIGMA: f64 = 0.8;
    const FREQUENCY: f64 = 0.75 * PI;
    // How many times longer the window is across the wave than along it, inverted.
    const SLANT: f64 = 0.5;
    let mut filters = Vec::new();
    for direction in 0..8 {
        let (sin, cos) = (f64::from(3 - direction) * PI / 8.0).sin_cos();
        let places = (0..SIDE * SIDE).map(|index| {
            let (x, y) = (index % SIDE - SIDE / 2, index / SIDE - SIDE / 2);
            (f64::from(x), f64::from(y))
        });
        let values: Vec<[f64; 3]> = places
            .map(|(x, y)| {
                let (along, across) = (x * cos + y * sin, y * cos - x * sin);
                let square = along * along + SLANT * SLANT * across * across;
                let window = (-square / (2.0 * SIGMA * SIGMA)).exp();
                let (wave_sin, wave_cos) = (FREQUENCY * along).sin_cos();
                [window, window * wave_cos, window * wave_sin]
            })
            .collect();
        let total = |part: usize| -> f64 { values.iter().map(|value| value[part]).sum() };
        let norm = 2.0 * PI * SIGMA * SIGMA / SLANT;
        for part in [1, 2] {
            let share = total(part) / total(0);
            filters.extend(
                values
                    .iter()
                    .map(|value| ((value[part] - share * value[0]) / norm) as f32),
            );
        }
    }
    filters
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Graph;

    #[test]
    fn only_the_linear_layer_is_trained() {
        let graph = Graph::from_onnx(&mnist_scatter(1)).unwrap();
        let frozen: usize = graph.frozen().iter().map(|range| range.len()).sum();
        assert_eq!(graph.parameter_count() - frozen, 10 * 81 * 49 + 10);
        for info in graph.parameters() {
            let fixed = graph.frozen().contains(&info.range);
            assert_eq!(fixed, info.name.starts_with("scatter."), "{}", info.name);
        }
    }

    #[test]
    fn filters_have_a_mean_of_zero_and_the_first_order_answers_to_its_direction() {
        let filters = filters();
        for filter in filters.chunks_exact(49) {
            assert!(filter.iter().sum::<f32>().abs() < 1e-6);
        }
        // Direction 3 is a wave along x: it answers to stripes of its length, and direction 7 (along y) does not.
        let answer = |direction: usize| {
            let parts = &filters[direction * 98..(direction + 1) * 98];
            let part = |filter: &[f32]| -> f64 {
                let stripes = (0..49).map(|index| f64::from(index % 7 - 3) * 0.75 * PI);
                filter
                    .iter()
                    .zip(stripes)
                    .map(|(&weight, phase)| f64::from(weight) * phase.cos())
                    .sum::<f64>()
                    .abs()
            };
            part(&parts[..49]) + part(&parts[49..])
        };
        assert!(
            answer(3) > 10.0 * answer(7),
            "{} and {}",
            answer(3),
            answer(7)
        );
    }
}
