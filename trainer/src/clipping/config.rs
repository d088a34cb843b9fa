//! The ways of clipping, as a contract names them.

use serde::{Deserialize, Serialize};

use super::adaptive::AdaptiveClipping;
use super::error::ClippingError;

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
