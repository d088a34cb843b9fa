//! How an example's gradient is made to have a bounded length.
//!
//! Every mode ends in the same bound: what an entity adds to the sums is at most the grid's integer norm long, in the L2
//! norm over all parameters, whatever its gradient was. The modes differ in how gradients are scaled to get there.

mod adaptive;
mod gradient;
mod tile;

use std::ops::Range;

use serde::{Deserialize, Serialize};
use thiserror::Error;

pub(crate) use self::adaptive::Adaptive;
pub use self::adaptive::AdaptiveClipping;
pub(crate) use self::gradient::{AddBlocks, AddGradient, BLOCK, SquaredNorm};
pub(crate) use self::tile::LaneSums;
use crate::grid::Grid;
use crate::lanes::Isa;

/// How gradients are clipped to the clipping norm `C`.
///
/// ```
/// use tributary_trainer::{Clipping, PrivacySettings};
/// let settings = PrivacySettings::new(1.0, 1.1, 256.0)?.with_clipping(Clipping::Automatic { stability: 0.01 })?;
/// assert!(settings.with_clipping(Clipping::Automatic { stability: 0.0 }).is_err());
/// # Ok::<(), tributary_trainer::PrivacyError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Clipping {
    /// Gradients longer than `C` are scaled down to it (Abadi et al. 2016).
    #[default]
    Flat,
    /// Each of the `K` layers' gradients is scaled down to `C/√K` by itself (McMahan et al. 2018, "per-layer clipping").
    PerLayer,
    /// Every gradient is scaled by `C / (norm + stability)` (Bu et al. 2023, "Automatic Clipping", AUTO-S).
    Automatic {
        /// `γ` of the paper, above 0; 0.01 is its choice.
        stability: f32,
    },
    /// As flat, with a `C` that follows a quantile of the gradients' norms (Andrew et al. 2021).
    Adaptive(AdaptiveClipping),
}

/// A clipping mode that cannot be used.
#[derive(Debug, Error, PartialEq)]
pub enum ClippingError {
    /// No stability constant.
    #[error("stability is {0}; expected a finite number above 0, such as 0.01")]
    Stability(f32),
    /// No quantile.
    #[error("quantile is {0}; expected a number above 0 and below 1")]
    Quantile(f64),
    /// No learning rate.
    #[error("learning_rate of the clipping norm is {0}; expected a number above 0 and at most 1")]
    LearningRate(f64),
    /// The count's noise would use up the whole budget.
    #[error(
        "count_noise is {got}; expected a finite number above {least}, half the noise multiplier, which leaves noise to the gradients"
    )]
    CountNoise {
        /// What was given.
        got: f64,
        /// What it must exceed.
        least: f64,
    },
}

impl Clipping {
    /// Checks a mode against the noise multiplier that it is used with.
    pub(crate) fn check(&self, noise_multiplier: f64) -> Result<(), ClippingError> {
        match *self {
            Self::Flat | Self::PerLayer => Ok(()),
            Self::Automatic { stability } if stability > 0.0 && stability.is_finite() => Ok(()),
            Self::Automatic { stability } => Err(ClippingError::Stability(stability)),
            Self::Adaptive(adaptive) => adaptive.check(noise_multiplier),
        }
    }
}

/// Scales gradients to the grid.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clipper {
    grid: Grid,
    mode: Clipping,
    /// `C`; it moves in the adaptive mode.
    norm: f64,
    /// Layers with parameters.
    layers: usize,
    /// What `C` is in grid units.
    limit: f64,
}

/// What became of a step's entities. Private.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Examples that contributed nothing.
    pub(crate) poisoned: usize,
    /// Entities whose norm was at most `C`.
    pub(crate) within: usize,
    /// Entities whose norm was above `C`.
    pub(crate) beyond: usize,
}

impl Tally {
    /// Counts an entity of so many examples.
    pub(crate) fn count(&mut self, verdict: Verdict, examples: usize) {
        match verdict {
            Verdict::Poisoned => self.poisoned += examples,
            Verdict::Within => self.within += 1,
            Verdict::Beyond => self.beyond += 1,
        }
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.poisoned += other.poisoned;
        self.within += other.within;
        self.beyond += other.beyond;
    }
}

/// What became of an entity's gradient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Some norm is not a finite number: it contributes nothing.
    Poisoned,
    /// Its norm is at most `C`.
    Within,
    /// Its norm is above `C`.
    Beyond,
}

impl Clipper {
    pub(crate) fn new(grid: Grid, mode: Clipping, norm: f64, layers: usize) -> Self {
        Self {
            grid,
            mode,
            norm,
            layers: layers.max(1),
            limit: grid.limit() * SLACK,
        }
    }

    /// The same, broken: it scales gradients to another limit than the grid's.
    #[cfg(test)]
    pub(crate) fn broken(self, limit: f64) -> Self {
        Self { limit, ..self }
    }

    /// `C` as it is now.
    pub(crate) fn norm(&self) -> f64 {
        self.norm
    }

    pub(crate) fn set_norm(&mut self, norm: f64) {
        self.norm = norm;
    }

    pub(crate) fn grid(&self) -> Grid {
        self.grid
    }

    /// What each layer's gradient is multiplied by to be in grid units, from the squared norms of the layers.
    pub(crate) fn scales(&self, squares: &[f64], scales: &mut [f64]) -> Verdict {
        let total: f64 = squares.iter().sum();
        let norm = total.sqrt();
        if !norm.is_finite() {
            scales.fill(0.0);
            return Verdict::Poisoned;
        }
        match self.mode {
            Clipping::Flat | Clipping::Adaptive(_) => {
                scales.fill(self.limit / norm.max(self.norm));
            }
            Clipping::Automatic { stability } => {
                scales.fill(self.limit / (norm + f64::from(stability)));
            }
            Clipping::PerLayer => {
                let share = (self.layers as f64).sqrt().recip();
                for (scale, square) in scales.iter_mut().zip(squares) {
                    *scale = self.limit * share / square.sqrt().max(self.norm * share);
                }
            }
        }
        if norm > self.norm {
            Verdict::Beyond
        } else {
            Verdict::Within
        }
    }

    /// Whether integers with this sum of squares, known to [`SQUARES_MARGIN`], are a contribution within the bound.
    pub(crate) fn admits(&self, squared: f64) -> bool {
        let most = (self.grid.integer_norm() as f64).powi(2);
        // False also where it is not a number.
        squared <= most * (1.0 - SQUARES_MARGIN)
    }

    /// Clips one gradient of all parameters that lies in memory, and adds it; it is that of `examples` examples.
    pub(crate) fn add_gradient(
        &self,
        isa: Isa,
        layers: &[Range<usize>],
        gradient: &[f32],
        examples: usize,
        sums: &mut [i64],
        tally: &mut Tally,
    ) {
        let squares: Vec<f64> = (layers.iter())
            .map(|layer| isa.run(SquaredNorm(&gradient[layer.clone()])))
            .collect();
        let mut scales = vec![0.0; squares.len()];
        let verdict = self.scales(&squares, &mut scales);
        tally.count(verdict, examples);
        if verdict == Verdict::Poisoned {
            return;
        }
        for (layer, scale) in layers.iter().zip(scales) {
            isa.run(AddGradient {
                values: &gradient[layer.clone()],
                scale,
                sums: &mut sums[layer.clone()],
            });
        }
    }

    /// The sums in the gradients' unit, divided by the **expected** number of entities in a batch.
    pub(crate) fn mean(&self, sums: &[i64], expected_batch: f64, mean: &mut [f32]) {
        let unit = self.norm / self.limit / expected_batch;
        for (mean, &sum) in mean.iter_mut().zip(sums) {
            *mean = (sum as f64 * unit) as f32;
        }
    }
}

/// Ghost norms and gradients are computed in single precision, each in its own order. So gradients are scaled to a little
/// less than the grid allows, and those whose integers are too long all the same are found out by [`Clipper::admits`].
/// The noise is larger by this part in 8,000.
const SLACK: f64 = 1.0 - 1.0 / 8192.0;
/// Squares of integers are summed in single precision over at most 1024 terms in a lane and 16 lanes, each of which may round
/// down by 2^-24, then in double precision: to less than this part.
const SQUARES_MARGIN: f64 = 1.0 / 12_000.0;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn clipper(mode: Clipping, layers: usize) -> Clipper {
        Clipper::new(Grid::new(0.5, 1000).unwrap(), mode, 0.5, layers)
    }

    proptest! {
        #[test]
        fn no_mode_scales_a_gradient_beyond_the_limit(
            squares in prop::collection::vec(0.0..1e12f64, 1..8),
            stability in 1e-6..1.0f32,
        ) {
            for mode in [Clipping::Flat, Clipping::PerLayer, Clipping::Automatic { stability }] {
                let clipper = clipper(mode, squares.len());
                let mut scales = vec![0.0; squares.len()];
                prop_assert_ne!(clipper.scales(&squares, &mut scales), Verdict::Poisoned);
                let length: f64 = squares.iter().zip(&scales).map(|(square, scale)| square * scale * scale).sum();
                prop_assert!(length.sqrt() <= clipper.limit * (1.0 + 1e-12));
            }
        }
    }

    #[test]
    fn flat_clipping_keeps_short_gradients_and_shortens_long_ones() {
        let clipper = clipper(Clipping::Flat, 2);
        let mut scales = [0.0; 2];
        assert_eq!(clipper.scales(&[0.01, 0.02], &mut scales), Verdict::Within);
        assert_eq!(scales, [clipper.limit / 0.5; 2]);
        assert_eq!(clipper.scales(&[9.0, 16.0], &mut scales), Verdict::Beyond);
        assert_eq!(scales, [clipper.limit / 5.0; 2]);
    }

    #[test]
    fn per_layer_clipping_leaves_a_short_layer_alone_beside_a_long_one() {
        let clipper = clipper(Clipping::PerLayer, 4);
        let mut scales = [0.0; 4];
        clipper.scales(&[0.01, 100.0, 0.0, 0.0], &mut scales);
        assert_eq!(scales[0], clipper.limit / 2.0 / 0.25);
        assert_eq!(scales[1], clipper.limit / 2.0 / 10.0);
    }

    #[test]
    fn a_norm_that_is_not_finite_contributes_nothing() {
        for mode in [
            Clipping::Flat,
            Clipping::PerLayer,
            Clipping::Automatic { stability: 0.01 },
        ] {
            for poison in [f64::NAN, f64::INFINITY] {
                let mut scales = [1.0; 2];
                let verdict = clipper(mode, 2).scales(&[1.0, poison], &mut scales);
                assert_eq!((verdict, scales), (Verdict::Poisoned, [0.0; 2]));
            }
        }
    }

    #[test]
    fn integers_that_are_too_long_are_not_admitted() {
        let clipper = clipper(Clipping::Flat, 1);
        let most = (clipper.grid.integer_norm() as f64).powi(2);
        assert!(clipper.admits(most * 0.999) && clipper.admits(0.0));
        assert!(
            !clipper.admits(most) && !clipper.admits(f64::NAN) && !clipper.admits(f64::INFINITY)
        );
    }
}
