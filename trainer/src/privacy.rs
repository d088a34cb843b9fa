//! What makes a step private.

use serde::{Deserialize, Serialize};
use thiserror::Error;
use tributary_accounting::NoiseMultiplier;

use crate::clipping::{Clipping, ClippingError};

/// The settings of the Poisson-subsampled Gaussian mechanism (Abadi et al. 2016) that the trainer needs.
///
/// The sampling rate is not among them: whoever holds the data draws the samples.
///
/// ```
/// use tributary_trainer::PrivacySettings;
/// let settings = PrivacySettings::new(1.0, 1.1, 256.0)?;
/// assert_eq!(settings.expected_batch_size(), 256.0);
/// assert!(PrivacySettings::new(1.0, 1.1, 0.0).is_err());
/// # Ok::<(), tributary_trainer::PrivacyError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "RawPrivacySettings", into = "RawPrivacySettings")]
pub struct PrivacySettings {
    clipping_norm: f32,
    noise_multiplier: NoiseMultiplier,
    expected_batch_size: f64,
    clipping: Clipping,
}

/// A privacy setting that is out of range.
#[derive(Debug, Error)]
pub enum PrivacyError {
    /// No clipping norm.
    #[error("clipping_norm is {0}; expected a finite number above 0")]
    ClippingNorm(f64),
    /// No noise multiplier.
    #[error(transparent)]
    NoiseMultiplier(#[from] tributary_accounting::OutOfRange),
    /// No batch size.
    #[error(
        "expected_batch_size is {0}; expected a finite number above 0, the sampling rate times the number of records"
    )]
    ExpectedBatchSize(f64),
    /// The clipping mode.
    #[error(transparent)]
    Clipping(#[from] ClippingError),
}

impl PrivacySettings {
    /// Checks the settings.
    ///
    /// # Errors
    /// Names the first one that is out of range.
    pub fn new(
        clipping_norm: f64,
        noise_multiplier: f64,
        expected_batch_size: f64,
    ) -> Result<Self, PrivacyError> {
        let narrow = clipping_norm as f32;
        if !(narrow.is_normal() && narrow > 0.0) {
            return Err(PrivacyError::ClippingNorm(clipping_norm));
        }
        if !(expected_batch_size.is_finite() && expected_batch_size > 0.0) {
            return Err(PrivacyError::ExpectedBatchSize(expected_batch_size));
        }
        Ok(Self {
            clipping_norm: narrow,
            noise_multiplier: NoiseMultiplier::new(noise_multiplier)?,
            expected_batch_size,
            clipping: Clipping::Flat,
        })
    }

    /// The same with another way of clipping.
    ///
    /// # Errors
    /// Where a setting of it is out of range.
    pub fn with_clipping(self, clipping: Clipping) -> Result<Self, PrivacyError> {
        clipping.check(self.noise_multiplier.get())?;
        Ok(Self { clipping, ..self })
    }

    /// How gradients are clipped.
    pub fn clipping(&self) -> Clipping {
        self.clipping
    }

    /// `C`: an example's gradient is scaled down to this L2 norm where it is longer.
    pub fn clipping_norm(&self) -> f32 {
        self.clipping_norm
    }

    /// `z`: the noise on the sum has standard deviation `z·C` in each coordinate.
    pub fn noise_multiplier(&self) -> NoiseMultiplier {
        self.noise_multiplier
    }

    /// What noisy sums are divided by. The size of the batch itself is private.
    pub fn expected_batch_size(&self) -> f64 {
        self.expected_batch_size
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPrivacySettings {
    clipping_norm: f64,
    noise_multiplier: f64,
    expected_batch_size: f64,
    #[serde(default, skip_serializing_if = "is_flat")]
    clipping: Clipping,
}

fn is_flat(clipping: &Clipping) -> bool {
    *clipping == Clipping::Flat
}

impl TryFrom<RawPrivacySettings> for PrivacySettings {
    type Error = PrivacyError;

    fn try_from(raw: RawPrivacySettings) -> Result<Self, PrivacyError> {
        Self::new(
            raw.clipping_norm,
            raw.noise_multiplier,
            raw.expected_batch_size,
        )?
        .with_clipping(raw.clipping)
    }
}

impl From<PrivacySettings> for RawPrivacySettings {
    fn from(settings: PrivacySettings) -> Self {
        Self {
            clipping_norm: f64::from(settings.clipping_norm),
            noise_multiplier: settings.noise_multiplier.get(),
            expected_batch_size: settings.expected_batch_size,
            clipping: settings.clipping,
        }
    }
}
