//! Fixed wavelet features with one trained layer, for private MNIST.

use std::f64::consts::PI;

use super::builder::{Builder, int, ints};

/// `mnist-scatter` as an ONNX file (opset 17): grey images of 28x28 in, 10 class scores out.
///
/// Features of a scattering network (Bruna and Mallat 2013) of two orders, four-fold downsampled, feed one linear layer,
/// which alone is trained: 39,700 parameters (Tramèr and Boneh 2021, "Differentially private learning needs better features
/// (or much more data)"). The filters are the same for any data, so they cost no privacy; they are stored as parameters
/// named `scatter.…`, which the file's metadata freezes. The linear layer is drawn from PyTorch's default distribution by
/// ChaCha20 from `seed`.
///
/// Where the paper takes the modulus of complex filters, this takes the sum of the sizes of both parts, `|x| = 2·max(x, 0) - x`,
/// which needs no square root; the second scale filters the image at half its size, and so does the second order.
pub fn mnist_scatter(seed: u64) -> Vec<u8> {
    let mut model = Builder::new("mnist_scatter", seed, &[1, 28, 28]).frozen("scatter.*");
    let filters = filters();

    // Each filter's response at full size, in two parts, pooled by two.
    model.values("scatter.fine.weight", &[16, 1, 7, 7], &filters);
    conv(&mut model, INPUT, "fine", 7, 1);
    let fine = halves(&mut model, "fine");
    sizes(&mut model, "fine.size", &fine, 8, 1.0);
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

    // What is classified: the means over 4x4, each order at its own scale.
    pool(&mut model, INPUT, "quarter", 4);
    model.values("scatter.mean.weight", &[1, 1, 1, 1], &[ORDER_SCALES[0]]);
    let quarter = model.last();
    conv(&mut model, &quarter, "mean", 1, 1);
    let mean = model.last();
    let [positive, whole] = fine;
    pool(&mut model, &positive, "first.positive", 2);
    let positive = model.last();
    pool(&mut model, &whole, "first.whole", 2);
    let fine = [positive, model.last()];
    sizes(&mut model, "first", &fine, 8, ORDER_SCALES[1]);
    let first = model.last();
    sizes(&mut model, "coarse.size", &coarse, 8, ORDER_SCALES[1]);
    let coarse = model.last();
    sizes(&mut model, "second.size", &second, 64, ORDER_SCALES[2]);
    let second = model.last();

    head(
        &mut model,
        &[(&mean, 1), (&first, 8), (&coarse, 8), (&second, 64)],
    );
    model.finish(&[10])
}

const INPUT: &str = super::builder::INPUT;

/// By which the features of each order are multiplied, so that all weigh about the same: fixed numbers, fitted to no data.
const ORDER_SCALES: [f32; 3] = [3.0, 30.0, 100.0];

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

/// `scale·(|a| + |b|)` of neighbouring channels `a` and `b`, from the positive parts and the wholes.
fn sizes(
    model: &mut Builder,
    name: &str,
    [positive, whole]: &[String; 2],
    channels: i64,
    scale: f32,
) {
    let mut parts = Vec::new();
    for (part, input, factor) in [("positive", positive, 2.0), ("whole", whole, -1.0)] {
        let weight = format!("{name}.{part}");
        let values = vec![factor * scale; 2 * channels as usize];
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

/// A linear layer of all features: one matrix for each order, added up.
fn head(model: &mut Builder, features: &[(&str, i64)]) {
    let mut sum: Option<String> = None;
    for (index, (feature, channels)) in features.iter().enumerate() {
        let name = format!("head.{index}");
        model.node(
            "Flatten",
            &format!("/{name}/Flatten"),
            &[feature],
            vec![int("axis", 1)],
        );
        let dims = [10, channels * 49];
        let weight = format!("{name}.weight");
        model.weight(&weight, &dims, 1.0 / (dims[1] as f32).sqrt());
        let transposed = vec![int("transB", 1)];
        model.then("Gemm", &format!("/{name}/Gemm"), &[&weight], transposed);
        let scores = model.last();
        sum = Some(match sum {
            None => {
                model.constant("head.bias", &[10], 0.0);
                model.node("Add", "/head/Bias", &[&scores, "head.bias"], vec![]);
                model.last()
            }
            Some(sum) => {
                model.node("Add", &format!("/{name}/Add"), &[&sum, &scores], vec![]);
                model.last()
            }
        });
    }
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
