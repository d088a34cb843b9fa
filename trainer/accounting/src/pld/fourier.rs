//! The discrete Fourier transform of a power of two.

use std::f64::consts::TAU;

use super::complex::Complex;

/// Twiddle factors of one length.
pub(super) struct Fourier {
    /// `e^(-2πi k/N)` for `k < N/2`, each from its own sine and cosine: products would lose digits.
    twiddles: Vec<Complex>,
}

impl Fourier {
    /// For sequences of `length`, a power of two.
    pub(super) fn new(length: usize) -> Self {
        debug_assert!(length.is_power_of_two());
        let twiddles = (0..length / 2)
            .map(|k| Complex::turn(-TAU * k as f64 / length as f64))
            .collect();
        Self { twiddles }
    }

    /// `X_k = Σ_n x_n e^(-2πi kn/N)` in place, by decimation in time (Cooley and Tukey 1965).
    ///
    /// The relative error in the 2-norm is at most [`Fourier::roundoff`] (Higham 2002, "Accuracy and stability of numerical
    /// algorithms", Theorem 24.2).
    pub(super) fn forward(&self, values: &mut [Complex]) {
        let length = values.len();
        debug_assert_eq!(length, 2 * self.twiddles.len());
        reverse_bits(values);
        let mut half = 1;
        while half < length {
            let stride = length / (2 * half);
            for block in values.chunks_exact_mut(2 * half) {
                let (evens, odds) = block.split_at_mut(half);
                let twiddles = self.twiddles.iter().step_by(stride);
                for ((even, odd), &twiddle) in evens.iter_mut().zip(odds).zip(twiddles) {
                    let turned = *odd * twiddle;
                    *odd = *even - turned;
                    *even += turned;
                }
            }
            half *= 2;
        }
    }

    /// The inverse of [`Fourier::forward`].
    pub(super) fn inverse(&self, values: &mut [Complex]) {
        values
            .iter_mut()
            .for_each(|value| *value = value.conjugate());
        self.forward(values);
        let share = 1.0 / values.len() as f64;
        values
            .iter_mut()
            .for_each(|value| *value = value.conjugate().scaled(share));
    }

    /// A bound of the relative error of one transform in the 2-norm.
    pub(super) fn roundoff(&self) -> f64 {
        let stages = (2 * self.twiddles.len()).ilog2();
        8.0 * f64::from(stages + 1) * f64::EPSILON
    }
}

fn reverse_bits(values: &mut [Complex]) {
    let bits = values.len().ilog2();
    if bits == 0 {
        return;
    }
    for i in 0..values.len() {
        let j = i.reverse_bits() >> (usize::BITS - bits);
        if i < j {
            values.swap(i, j);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_transform_is_the_sum_that_defines_it_and_its_inverse_undoes_it() {
        for length in [2usize, 8, 64] {
            let signal: Vec<Complex> = (0..length)
                .map(|n| Complex::new((n * n % 7) as f64 - 2.0, (3 * n % 5) as f64))
                .collect();
            let fourier = Fourier::new(length);
            let mut values = signal.clone();
            fourier.forward(&mut values);
            for (k, &value) in values.iter().enumerate() {
                let mut sum = Complex::default();
                for (n, &x) in signal.iter().enumerate() {
                    sum += x * Complex::turn(-TAU * (k * n) as f64 / length as f64);
                }
                assert!((value - sum).modulus() < 1e-11, "{length} {k}");
            }
            fourier.inverse(&mut values);
            for (&value, &x) in values.iter().zip(&signal) {
                assert!((value - x).modulus() < 1e-13);
            }
        }
    }
}
