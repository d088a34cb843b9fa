//! What an accountant is, and the two questions that any of them answers by bisection.

use serde::{Deserialize, Serialize};

use crate::quantities::{Delta, Epsilon, NoiseMultiplier, OutOfRange, SamplingRate, Steps};

/// A homogeneous stretch of steps.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Phase {
    /// The probability with which each record joins a step.
    pub sampling_rate: SamplingRate,
    /// The noise's standard deviation over the clipping norm.
    pub noise_multiplier: NoiseMultiplier,
    /// How many steps.
    pub steps: Steps,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum AccountingError {
    /// A number outside the range of its quantity.
    #[error(transparent)]
    OutOfRange(#[from] OutOfRange),
    /// No noise that the search allows meets the target.
    #[error(
        "no noise multiplier up to {searched} keeps {steps} steps within epsilon {target}; \
         allow a larger epsilon or delta, fewer steps or a lower sampling rate"
    )]
    Unreachable {
        /// The largest multiplier tried.
        searched: f64,
        /// The steps asked for.
        steps: Steps,
        /// The epsilon asked for.
        target: Epsilon,
    },
    /// No rate that the search allows meets the target.
    #[error(
        "no sampling rate down to 1e-12 keeps {steps} steps within epsilon {target}; \
         allow a larger epsilon or delta, fewer steps or more noise"
    )]
    NoRate {
        /// The steps asked for.
        steps: Steps,
        /// The epsilon asked for.
        target: Epsilon,
    },
    /// More steps than can be counted.
    #[error("the number of steps exceeds 2^64 - 1; split the run")]
    TooManySteps,
}

/// Turns a history of steps into an epsilon that is never below the true one, for add-or-remove-one adjacency.
///
/// Phases may be chosen adaptively, as long as each is fixed before its steps are taken.
pub trait Accountant {
    /// A short name for receipts and reports.
    fn name(&self) -> &'static str;

    /// The epsilon of all phases together, at `delta`.
    ///
    /// # Errors
    /// [`AccountingError`] where the accountant cannot give a bound.
    fn epsilon(&self, phases: &[Phase], delta: Delta) -> Result<Epsilon, AccountingError>;

    /// See [`largest_steps`]; accountants that can reuse work between trials override it.
    ///
    /// # Errors
    /// As [`Accountant::epsilon`].
    fn largest_steps(
        &self,
        before: &[Phase],
        sampling_rate: SamplingRate,
        noise_multiplier: NoiseMultiplier,
        target: Epsilon,
        delta: Delta,
        at_most: Steps,
    ) -> Result<Steps, AccountingError> {
        let mut phases = before.to_vec();
        most_that_fit(at_most, |steps| {
            phases.truncate(before.len());
            phases.push(Phase {
                sampling_rate,
                noise_multiplier,
                steps,
            });
            Ok(self.epsilon(&phases, delta)? <= target)
        })
    }
}

/// How many steps at `sampling_rate` and `noise_multiplier` still fit in `target` after what was spent `before`;
/// never more than `at_most`, and 0 where nothing fits.
///
/// ```
/// use tributary_accounting::{Delta, Epsilon, NoiseMultiplier, Rdp, SamplingRate, Steps, largest_steps};
/// let (q, z) = (SamplingRate::new(0.01)?, NoiseMultiplier::new(1.1)?);
/// let fits = largest_steps(&Rdp, &[], q, z, Epsilon::new(1.0)?, Delta::new(1e-5)?, Steps::new(10_000))?;
/// assert!(fits > Steps::new(100) && fits < Steps::new(10_000));
/// # Ok::<(), tributary_accounting::AccountingError>(())
/// ```
///
/// # Errors
/// As [`Accountant::epsilon`].
pub fn largest_steps(
    accountant: &dyn Accountant,
    before: &[Phase],
    sampling_rate: SamplingRate,
    noise_multiplier: NoiseMultiplier,
    target: Epsilon,
    delta: Delta,
    at_most: Steps,
) -> Result<Steps, AccountingError> {
    accountant.largest_steps(
        before,
        sampling_rate,
        noise_multiplier,
        target,
        delta,
        at_most,
    )
}

/// The smallest noise multiplier, to a millionth and from above, with which `steps` at `sampling_rate` keep within
/// `target` at `delta`.
///
/// # Errors
/// [`AccountingError::Unreachable`] where even [`LARGEST_MULTIPLIER`] does not suffice.
pub fn calibrate_noise(
    accountant: &dyn Accountant,
    target: Epsilon,
    delta: Delta,
    sampling_rate: SamplingRate,
    steps: Steps,
) -> Result<NoiseMultiplier, AccountingError> {
    let within = |z: f64| {
        let phase = Phase {
            sampling_rate,
            noise_multiplier: NoiseMultiplier::new(z)?,
            steps,
        };
        Ok::<bool, AccountingError>(accountant.epsilon(&[phase], delta)? <= target)
    };
    let mut enough = 1.0;
    while !within(enough)? {
        enough *= 2.0;
        if enough > LARGEST_MULTIPLIER {
            return Err(AccountingError::Unreachable {
                searched: LARGEST_MULTIPLIER,
                steps,
                target,
            });
        }
    }
    let mut too_little = enough / 2.0;
    while too_little > SMALLEST_MULTIPLIER && within(too_little)? {
        enough = too_little;
        too_little /= 2.0;
    }
    while enough > too_little * (1.0 + 1e-6) {
        let middle = 0.5 * (enough + too_little);
        if within(middle)? {
            enough = middle;
        } else {
            too_little = middle;
        }
    }
    Ok(NoiseMultiplier::new(enough)?)
}

/// The largest sampling rate, to a millionth and from below, with which `steps` at `noise_multiplier` keep within `target`
/// at `delta`.
///
/// ```
/// use tributary_accounting::{Delta, Epsilon, NoiseMultiplier, Pld, Steps, calibrate_rate};
/// let (target, delta) = (Epsilon::new(3.0)?, Delta::new(1e-5)?);
/// let rate = calibrate_rate(&Pld, target, delta, NoiseMultiplier::new(1.0)?, Steps::new(1_000))?;
/// assert!(rate.get() > 0.015 && rate.get() < 0.02);
/// # Ok::<(), tributary_accounting::AccountingError>(())
/// ```
///
/// # Errors
/// [`AccountingError::NoRate`] where even a rate of 1e-12 is too much.
pub fn calibrate_rate(
    accountant: &dyn Accountant,
    target: Epsilon,
    delta: Delta,
    noise_multiplier: NoiseMultiplier,
    steps: Steps,
) -> Result<SamplingRate, AccountingError> {
    let within = |rate: f64| {
        let phase = Phase {
            sampling_rate: SamplingRate::new(rate)?,
            noise_multiplier,
            steps,
        };
        Ok::<bool, AccountingError>(accountant.epsilon(&[phase], delta)? <= target)
    };
    if within(1.0)? {
        return Ok(SamplingRate::new(1.0)?);
    }
    let (mut too_much, mut fits) = (1.0, 0.5);
    while !within(fits)? {
        too_much = fits;
        fits /= 2.0;
        if fits < SMALLEST_RATE {
            return Err(AccountingError::NoRate { steps, target });
        }
    }
    while too_much > fits * (1.0 + 1e-6) {
        let middle = 0.5 * (too_much + fits);
        if within(middle)? {
            fits = middle;
        } else {
            too_much = middle;
        }
    }
    Ok(SamplingRate::new(fits)?)
}

/// Below this no record of any dataset would ever be drawn.
const SMALLEST_RATE: f64 = 1e-12;
/// Beyond this nothing is left of a gradient.
const LARGEST_MULTIPLIER: f64 = 65_536.0;
/// Below this no accountant promises anything of use.
const SMALLEST_MULTIPLIER: f64 = 1.0 / 64.0;

/// The largest number up to `at_most` that `fits`, which must be monotone; 0 where none does.
pub(crate) fn most_that_fit(
    at_most: Steps,
    mut fits: impl FnMut(Steps) -> Result<bool, AccountingError>,
) -> Result<Steps, AccountingError> {
    if fits(at_most)? {
        return Ok(at_most);
    }
    let (mut fit, mut exceed) = (0, at_most.get());
    while exceed - fit > 1 {
        let middle = fit + (exceed - fit) / 2;
        if fits(Steps::new(middle))? {
            fit = middle;
        } else {
            exceed = middle;
        }
    }
    Ok(Steps::new(fit))
}
