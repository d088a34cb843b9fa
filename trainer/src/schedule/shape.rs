//! The courses that a learning rate can take.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

use super::{at_least, share};
use crate::optimiser::{OptimiserError, positive};

/// The learning rate's course. Shares are of the optimiser's learning rate, which is the highest of a course.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum ScheduleShape {
    /// Always the same.
    #[default]
    Constant,
    /// Multiplied by a factor every so many steps, as `torch.optim.lr_scheduler.StepLR`.
    Step {
        /// Steps between changes, at least 1.
        every: u64,
        /// Above 0, at most 1.
        factor: f64,
    },
    /// Half a cosine from 1 down to a share (Loshchilov and Hutter 2017, equation 5), as `CosineAnnealingLR`; it stays there.
    Cosine {
        /// Steps of the descent, at least 1.
        steps: u64,
        /// The share at the end.
        end: f64,
    },
    /// Half a cosine up and half a cosine down (Smith and Topin 2018), as `OneCycleLR` without cycled momentum; it stays
    /// at the end.
    OneCycle {
        /// Steps of the whole course, at least 2.
        steps: u64,
        /// The share of steps that rise, `pct_start` in PyTorch.
        rise: f64,
        /// The share of the learning rate at the start, one over PyTorch's `div_factor`.
        start: f64,
        /// The share at the end; in PyTorch, `start` over `final_div_factor`.
        end: f64,
    },
    /// Straight up and straight down, again and again (Smith 2017, section 3.1), as `CyclicLR(mode="triangular")` without
    /// cycled momentum.
    Cyclic {
        /// The share at the low points.
        low: f64,
        /// Steps up, at least 1.
        up: u64,
        /// Steps down, at least 1.
        down: u64,
    },
}

impl ScheduleShape {
    pub(super) fn check(&self) -> Result<(), OptimiserError> {
        match *self {
            Self::Constant => Ok(()),
            Self::Step { every, factor } => {
                at_least("every", every, 1)?;
                share("factor", factor)?;
                positive("factor", factor)
            }
            Self::Cosine { steps, end } => {
                at_least("steps", steps, 1)?;
                share("end", end)
            }
            Self::OneCycle {
                steps,
                rise,
                start,
                end,
            } => {
                at_least("steps", steps, 2)?;
                share("rise", rise)?;
                share("start", start)?;
                share("end", end)
            }
            Self::Cyclic { low, up, down } => {
                share("low", low)?;
                at_least("up", up, 1)?;
                at_least("down", down, 1)
            }
        }
    }

    /// The share after so many steps of the course.
    pub(super) fn factor(&self, passed: u64) -> f64 {
        match *self {
            Self::Constant => 1.0,
            Self::Step { every, factor } => factor.powf((passed / every) as f64),
            Self::Cosine { steps, end } => half_cosine(1.0, end, passed as f64 / steps as f64),
            Self::OneCycle {
                steps,
                rise,
                start,
                end,
            } => {
                // PyTorch's phases end at steps counted from 0, so that the last step has the end's share exactly.
                let (top, last) = (rise * steps as f64 - 1.0, (steps - 1) as f64);
                let passed = passed as f64;
                if passed <= top {
                    half_cosine(start, 1.0, passed / top.max(f64::MIN_POSITIVE))
                } else {
                    half_cosine(1.0, end, (passed - top.max(0.0)) / (last - top.max(0.0)))
                }
            }
            Self::Cyclic { low, up, down } => {
                let at = passed % (up.saturating_add(down));
                let height = if at <= up {
                    at as f64 / up as f64
                } else {
                    1.0 - (at - up) as f64 / down as f64
                };
                low + (1.0 - low) * height
            }
        }
    }
}

/// From one value to another along half a cosine, as `share` goes from 0 to 1, and no further.
fn half_cosine(from: f64, to: f64, share: f64) -> f64 {
    to + (from - to) * (1.0 + (PI * share.min(1.0)).cos()) / 2.0
}
