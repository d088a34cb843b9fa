//! Convolutions by fewer multiplications, held against sums in double precision.

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use super::{Convolution, Geometry};
use crate::graph::{GradientPass, Scaled, Scratch};
use crate::lanes::{Aligned, Isa};

/// A 3x3 convolution of some examples, with random numbers.
struct Case {
    geometry: Geometry,
    examples: usize,
    weights: Vec<f32>,
    bias: Vec<f32>,
    inputs: Vec<f32>,
    gradients: Vec<f32>,
}

impl Case {
    /// `pads`: above, left, below, right.
    fn new(
        [channels, rows]: [usize; 2],
        image: [usize; 2],
        pads: [usize; 4],
        examples: usize,
    ) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let mut numbers = |count: usize| -> Vec<f32> {
            (0..count)
                .map(|_| rng.next_u32() as i32 as f32 / 2f32.powi(31))
                .collect()
        };
        let padded = [image[0] + pads[0] + pads[2], image[1] + pads[1] + pads[3]];
        let extent = padded.map(|size| size - 2);
        let geometry = Geometry {
            groups: 1,
            channels,
            rows,
            image,
            kernel: [3, 3],
            strides: [1, 1],
            dilations: [1, 1],
            corner: [pads[0], pads[1]],
            padded,
            extent,
        };
        Self {
            geometry,
            examples,
            weights: numbers(rows * channels * 9),
            bias: numbers(rows),
            inputs: numbers(examples * channels * image[0] * image[1]),
            gradients: numbers(examples * rows * extent[0] * extent[1]),
        }
    }

    /// Calls `each(output, input, weight)` for each product that there is, with places in an example's output and input and in
    /// the weights.
    fn each(&self, mut each: impl FnMut(usize, usize, usize)) {
        let Geometry {
            channels,
            rows,
            image,
            corner,
            extent,
            ..
        } = self.geometry;
        for row in 0..rows {
            for place in 0..extent[0] * extent[1] {
                let output = row * extent[0] * extent[1] + place;
                for tap in 0..9 {
                    let y = (place / extent[1] + tap / 3).checked_sub(corner[0]);
                    let x = (place % extent[1] + tap % 3).checked_sub(corner[1]);
                    let (Some(y), Some(x)) = (y, x) else { continue };
                    if y >= image[0] || x >= image[1] {
                        continue;
                    }
                    for channel in 0..channels {
                        let input = (channel * image[0] + y) * image[1] + x;
                        each(output, input, (row * channels + channel) * 9 + tap);
                    }
                }
            }
        }
    }

    fn sizes(&self) -> [usize; 2] {
        [
            self.inputs.len() / self.examples,
            self.gradients.len() / self.examples,
        ]
    }

    /// Each example's gradient of the weights.
    fn weight_gradients(&self) -> Vec<Vec<f64>> {
        let [input_size, output_size] = self.sizes();
        let mut all = vec![vec![0.0; self.weights.len()]; self.examples];
        self.each(|output, input, weight| {
            for (example, gradient) in all.iter_mut().enumerate() {
                gradient[weight] += f64::from(self.gradients[example * output_size + output])
                    * f64::from(self.inputs[example * input_size + input]);
            }
        });
        all
    }

    fn pass<'a>(&'a self, isa: Isa, inputs: &'a [&'a [f32]]) -> GradientPass<'a> {
        GradientPass {
            isa,
            weights: &self.weights,
            inputs,
            output: &[],
            output_gradient: &self.gradients,
            saved: &[],
        }
    }
}

fn assert_near(got: &[f32], expect: &[f64], what: &str) {
    let scale =
        (expect.iter().map(|value| value * value).sum::<f64>() / expect.len() as f64).sqrt();
    for (place, (got, expect)) in got.iter().zip(expect).enumerate() {
        let error = (f64::from(*got) - expect).abs() / scale;
        assert!(error < 3e-6, "{what}, element {place}: {got} for {expect}");
    }
}

/// Sizes whose tiles come in runs of 1 to 32, in one part or several, with rows and channels that fill panels or not.
fn cases() -> Vec<Case> {
    vec![
        Case::new([32, 16], [4, 4], [1, 1, 1, 1], 9),
        Case::new([16, 20], [2, 6], [1, 1, 1, 1], 12),
        Case::new([32, 17], [8, 8], [1, 1, 1, 1], 3),
        Case::new([64, 16], [8, 32], [1, 1, 1, 1], 2),
        Case::new([16, 16], [4, 64], [1, 1, 1, 1], 1),
        Case::new([32, 24], [9, 10], [1, 0, 0, 2], 2),
        Case::new([32, 16], [10, 11], [0, 2, 2, 1], 2),
        Case::new([16, 16], [7, 12], [2, 2, 1, 0], 2),
        Case::new([32, 32], [8, 8], [2, 0, 0, 2], 2),
    ]
}

/// Every case on every instruction set, and what to call it where it fails.
fn on_every_machine() -> impl Iterator<Item = (Isa, Case, Convolution, String)> {
    Isa::all().into_iter().flat_map(|isa| {
        cases().into_iter().map(move |case| {
            let what = format!("{isa:?} {:?}", case.geometry);
            let convolution = Convolution::new(case.geometry);
            (isa, case, convolution, what)
        })
    })
}

#[test]
fn tiles_give_outputs_and_input_gradients_of_the_convolution() {
    for (isa, case, convolution, what) in on_every_machine() {
        assert!(convolution.is_fast(), "{what}");
        let [input_size, output_size] = case.sizes();
        let positions = output_size / case.geometry.rows;
        let mut outputs = vec![0.0; case.gradients.len()];
        let mut input_gradients = vec![0.0; case.inputs.len()];
        for (place, output) in outputs.iter_mut().enumerate() {
            *output = f64::from(case.bias[place / positions % case.geometry.rows]);
        }
        case.each(|output, input, weight| {
            let factor = f64::from(case.weights[weight]);
            for example in 0..case.examples {
                let (output, input) =
                    (example * output_size + output, example * input_size + input);
                outputs[output] += factor * f64::from(case.inputs[input]);
                input_gradients[input] += factor * f64::from(case.gradients[output]);
            }
        });
        let mut packed = Aligned::zeros(convolution.packed());
        convolution.pack(&case.weights, &mut packed);
        let mut scratch = Scratch::default();
        let mut got = vec![f32::NAN; outputs.len()];
        let (bias, inputs) = (&case.bias, &case.inputs);
        convolution.forward(isa, &packed, bias, inputs, &mut got, &mut scratch);
        assert_near(&got, &outputs, &what);
        let mut got = vec![f32::NAN; input_gradients.len()];
        convolution.backward(isa, &packed, &case.gradients, &mut got, &mut scratch);
        assert_near(&got, &input_gradients, &what);
    }
}

#[test]
fn tiles_give_the_gradients_of_the_weights() {
    for (isa, case, convolution, what) in on_every_machine() {
        let expect = case.weight_gradients();
        let inputs = [&*case.inputs];
        let (pass, mut scratch) = (case.pass(isa, &inputs), Scratch::default());
        let mut got = vec![f32::NAN; case.weights.len()];
        for (example, expect) in expect.iter().enumerate() {
            convolution.instantiate(&pass, example..example + 1, &mut scratch, &mut got);
            assert_near(&got, expect, &what);
        }
        got.fill(1.0);
        convolution.add(&pass, 0..case.examples, &mut scratch, &mut got);
        let sums: Vec<f64> = (0..got.len())
            .map(|place| 1.0 + expect.iter().map(|own| own[place]).sum::<f64>())
            .collect();
        assert_near(&got, &sums, &what);
    }
}

#[test]
fn tiles_give_rounded_sums_and_their_squares() {
    for (isa, case, convolution, what) in on_every_machine() {
        let expect = case.weight_gradients();
        let inputs = [&*case.inputs];
        // The first entity has two examples where there are enough, and the last example belongs to none.
        let middle = 2.min(case.examples);
        let last = case.examples.saturating_sub(1).max(middle);
        let entities: Vec<Scaled> = [0..middle, middle..last]
            .into_iter()
            .filter(|examples| !examples.is_empty())
            .zip([700.0, 300.0])
            .map(|(examples, scale)| Scaled { examples, scale })
            .collect();
        let mut sums = vec![5i64; case.weights.len()];
        let mut squares = vec![1.0; entities.len()];
        convolution.add_rounded(
            &case.pass(isa, &inputs),
            &entities,
            &mut Scratch::default(),
            &mut sums,
            &mut squares,
        );
        let scaled = |entity: &Scaled, place: usize| {
            let own = expect[entity.examples.clone()].iter();
            own.map(|own| own[place]).sum::<f64>() * f64::from(entity.scale)
        };
        for (place, sum) in sums.iter().enumerate() {
            let exact: f64 = entities.iter().map(|entity| scaled(entity, place)).sum();
            let error = (*sum as f64 - 5.0 - exact).abs();
            assert!(error < 0.6 * entities.len() as f64, "{what}: {sum} {exact}");
        }
        for (entity, square) in entities.iter().zip(squares) {
            let exact: f64 = (0..sums.len())
                .map(|place| scaled(entity, place).powi(2))
                .sum();
            assert!(
                (square / exact - 1.0).abs() < 1e-3,
                "{what}: {square} {exact}"
            );
        }
    }
}

#[test]
fn what_tiles_do_not_fit_is_computed_directly() {
    let check = |change: fn(&mut Geometry)| {
        let mut geometry = Case::new([32, 16], [8, 8], [1, 1, 1, 1], 1).geometry;
        change(&mut geometry);
        assert!(!Convolution::new(geometry).is_fast(), "{geometry:?}");
    };
    check(|geometry| geometry.groups = 2);
    check(|geometry| geometry.rows = 8);
    check(|geometry| geometry.channels = 8);
    check(|geometry| (geometry.strides, geometry.extent) = ([2, 2], [4, 4]));
    check(|geometry| (geometry.dilations, geometry.extent) = ([2, 2], [6, 6]));
    check(|geometry| {
        (geometry.image, geometry.padded, geometry.extent) = ([9, 8], [11, 10], [9, 8])
    });
}
