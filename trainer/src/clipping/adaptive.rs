//! A clipping norm that follows a quantile of the gradients' norms (Andrew, Thakkar, McMahan and Ramaswamy 2021,
//! "Differentially Private Learning with Adaptive Clipping").
//!
//! In each step the mechanism also releases how many entities' norms were at most `C`, with noise of its own; then
//! `C ← C · exp(-η (b̃ - γ))` (section 2.1), where `b̃` is the noisy share and `γ` the wanted quantile.
//!
//! **What it costs.** The count is released as `Σ (b_i - 1/2)`, whose sensitivity is 1/2, with noise of deviation `σ_b`:
//! a Gaussian mechanism with multiplier `2 σ_b`. The gradients' own multiplier is raised to
//! `z_Δ = (z⁻² - (2 σ_b)⁻²)^(-1/2)` (theorem 1), so that both together are one Gaussian mechanism of multiplier `z`: what
//! the accountant is told does not change.
//!
//! That the noise is discrete changes nothing either. Count and gradients are integers with noise of two deviations, both at
//! least the `σ_Z = z 2^20` that the accountants' proofs ask for. For `rdp` the moments factorise over coordinates. For `pld`
//! divide each coordinate by its deviation: the lattice becomes a rectangular one, whose dual has no vector shorter than the
//! smaller deviation, and the proof (`accounting/src/pld/mod.rs`) uses nothing else of it.

use serde::{Deserialize, Serialize};
use tributary_accounting::NoiseMultiplier;

use super::error::ClippingError;
use crate::noise::{NoiseError, NoiseSource, SigmaInt};

/// Settings of adaptive clipping.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdaptiveClipping {
    /// `γ`: the share of gradients that shall not be clipped; 0.5 is the paper's choice.
    pub quantile: f64,
    /// `η`: how fast the norm moves; 0.2 is the paper's choice.
    pub learning_rate: f64,
    /// `σ_b`: deviation of the noise on the count of gradients within the norm; a twentieth of the expected batch is the
    /// paper's choice.
    pub count_noise: f64,
}

impl AdaptiveClipping {
    pub(super) fn check(&self, noise_multiplier: f64) -> Result<(), ClippingError> {
        if !(self.quantile > 0.0 && self.quantile < 1.0) {
            return Err(ClippingError::Quantile(self.quantile));
        }
        if !(self.learning_rate > 0.0 && self.learning_rate <= 1.0) {
            return Err(ClippingError::LearningRate(self.learning_rate));
        }
        let least = noise_multiplier / 2.0;
        // Much nearer to it, the gradients' noise would grow without bound.
        if !(self.count_noise.is_finite() && self.count_noise > least * 1.001) {
            return Err(ClippingError::CountNoise {
                got: self.count_noise,
                least,
            });
        }
        Ok(())
    }

    /// `z_Δ`: the multiplier that is left to the gradients' noise.
    ///
    /// # Errors
    /// Where it is out of range.
    pub fn gradient_noise(
        &self,
        noise_multiplier: NoiseMultiplier,
    ) -> Result<NoiseMultiplier, tributary_accounting::OutOfRange> {
        noise_multiplier.beside(NoiseMultiplier::new(2.0 * self.count_noise)?)
    }
}

/// The count of a step, and the norm that follows it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Adaptive {
    settings: AdaptiveClipping,
    sigma: SigmaInt,
}

impl Adaptive {
    pub(crate) fn new(settings: AdaptiveClipping) -> Result<Self, NoiseError> {
        let sigma = (2.0 * settings.count_noise * f64::from(COUNT_UNIT)).ceil();
        Ok(Self {
            settings,
            sigma: SigmaInt::new(sigma as u64)?,
        })
    }

    /// The norm for the next step, from the numbers of entities within the present one and beyond it; either is private.
    pub(crate) fn next_norm(
        &self,
        norm: f64,
        within: usize,
        beyond: usize,
        expected_batch: f64,
        noise: &mut NoiseSource,
    ) -> Result<f64, NoiseError> {
        // Σ (b_i - 1/2) in units of 1/2, so that each entity adds 1 or -1, on a grid like the gradients'.
        let mut sum = [(within as i64 - beyond as i64) * i64::from(COUNT_UNIT)];
        noise.add(&mut sum, self.sigma)?;
        let halves = sum[0] as f64 / f64::from(COUNT_UNIT);
        let share = (halves / expected_batch + 1.0) / 2.0;
        let moved = norm * (-self.settings.learning_rate * (share - self.settings.quantile)).exp();
        Ok(moved.clamp(f64::from(f32::MIN_POSITIVE), f64::from(f32::MAX) / 2.0))
    }
}

/// Grid units of an entity's part in the count: as many as [`crate::Grid`] has for few parameters.
const COUNT_UNIT: u32 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    fn settings(count_noise: f64) -> AdaptiveClipping {
        AdaptiveClipping {
            quantile: 0.5,
            learning_rate: 0.2,
            count_noise,
        }
    }

    proptest! {
        #[test]
        fn both_mechanisms_together_are_the_one_that_is_accounted_for(z in 0.3..20.0f64, factor in 0.6..50.0f64) {
            let settings = settings(z * factor);
            prop_assert!(settings.check(z).is_ok());
            let gradients = settings.gradient_noise(NoiseMultiplier::new(z).unwrap()).unwrap().get();
            let together = (gradients.powi(-2) + (2.0 * settings.count_noise).powi(-2)).sqrt().recip();
            prop_assert!(together >= z * (1.0 - 1e-12) && together <= z * (1.0 + 1e-9));
            prop_assert!(gradients > z);
        }
    }

    #[test]
    fn the_norm_settles_at_the_quantile() {
        let adaptive = Adaptive::new(settings(5.0)).unwrap();
        let mut noise = NoiseSource::insecure_with_keys_from(ChaCha20Rng::seed_from_u64(3));
        // 100 entities whose norms are 0.1, 0.2, … 10: the median is 5.
        for start in [0.01, 300.0] {
            let mut norm = start;
            let mut late = Vec::new();
            for step in 0..200 {
                let within = (1..=100).filter(|&i| f64::from(i) / 10.0 <= norm).count();
                norm = adaptive
                    .next_norm(norm, within, 100 - within, 100.0, &mut noise)
                    .unwrap();
                if step >= 100 {
                    late.push(norm);
                }
            }
            let mean = late.iter().sum::<f64>() / late.len() as f64;
            assert!((4.5..5.6).contains(&mean), "{mean} from {start}");
        }
    }

    #[test]
    fn the_norm_is_noisy() {
        let adaptive = Adaptive::new(settings(5.0)).unwrap();
        let mut noise = NoiseSource::insecure_with_keys_from(ChaCha20Rng::seed_from_u64(4));
        let norms: Vec<f64> = (0..1000)
            .map(|_| {
                adaptive
                    .next_norm(1.0, 50, 50, 100.0, &mut noise)
                    .unwrap()
                    .ln()
            })
            .collect();
        let variance = norms.iter().map(|norm| norm * norm).sum::<f64>() / 1000.0;
        // η σ_b / B = 0.01.
        assert!(
            (variance.sqrt() / 0.01 - 1.0).abs() < 0.1,
            "{}",
            variance.sqrt()
        );
    }

    #[test]
    fn settings_out_of_range_are_refused() {
        for (change, error) in [
            (
                AdaptiveClipping {
                    quantile: 1.0,
                    ..settings(5.0)
                },
                ClippingError::Quantile(1.0),
            ),
            (
                AdaptiveClipping {
                    learning_rate: 0.0,
                    ..settings(5.0)
                },
                ClippingError::LearningRate(0.0),
            ),
            (
                settings(0.5),
                ClippingError::CountNoise {
                    got: 0.5,
                    least: 0.5,
                },
            ),
        ] {
            assert_eq!(change.check(1.0), Err(error));
        }
        assert!(settings(f64::NAN).check(1.0).is_err() && settings(0.6).check(1.0).is_ok());
    }
}
