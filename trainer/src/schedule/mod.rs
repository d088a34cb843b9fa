//! How the learning rate changes from step to step.

mod shape;

use serde::{Deserialize, Serialize};

pub use self::shape::ScheduleShape;
use crate::optimiser::{OptimiserError, positive};

/// The learning rate's course: a warm-up, if there is one, and then a shape.
///
/// ```
/// use tributary_trainer::{ScheduleConfig, ScheduleShape, WarmUp};
/// let schedule = ScheduleConfig {
///     warm_up: Some(WarmUp { steps: 2, from: 0.5 }),
///     shape: ScheduleShape::Step { every: 3, factor: 0.1 },
/// };
/// schedule.check()?;
/// let factors: Vec<f64> = (1..=6).map(|step| schedule.factor(step)).collect();
/// assert_eq!(factors, [0.5, 0.75, 1.0, 1.0, 1.0, 0.1]);
/// # Ok::<(), tributary_trainer::OptimiserError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScheduleConfig {
    /// What comes before the shape.
    pub warm_up: Option<WarmUp>,
    /// The course after the warm-up.
    pub shape: ScheduleShape,
}

/// A straight rise to the learning rate, as `torch.optim.lr_scheduler.LinearLR` followed by the shape in a `SequentialLR`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WarmUp {
    /// Steps before the shape begins.
    pub steps: u64,
    /// The first step's share of the learning rate, above 0, at most 1.
    pub from: f64,
}

impl ScheduleConfig {
    /// Checks every setting's range.
    ///
    /// # Errors
    /// Names the first setting that is out of range.
    pub fn check(&self) -> Result<(), OptimiserError> {
        if let Some(warm_up) = self.warm_up {
            at_least("warm_up.steps", warm_up.steps, 1)?;
            share("warm_up.from", warm_up.from)?;
            positive("warm_up.from", warm_up.from)?;
        }
        self.shape.check()
    }

    /// What the learning rate is multiplied by in a step, which counts from 1.
    pub fn factor(&self, step: u64) -> f64 {
        let passed = step.saturating_sub(1);
        match self.warm_up {
            Some(WarmUp { steps, from }) if passed < steps => {
                from + (1.0 - from) * passed as f64 / steps as f64
            }
            Some(WarmUp { steps, .. }) => self.shape.factor(passed - steps),
            None => self.shape.factor(passed),
        }
    }
}

pub(crate) fn at_least(setting: &'static str, got: u64, least: u64) -> Result<(), OptimiserError> {
    if got >= least {
        return Ok(());
    }
    Err(OptimiserError {
        setting,
        got: got as f64,
        expected: match least {
            1 => "at least 1 step",
            _ => "at least 2 steps",
        },
    })
}

pub(crate) fn share(setting: &'static str, got: f64) -> Result<(), OptimiserError> {
    if (0.0..=1.0).contains(&got) {
        return Ok(());
    }
    Err(OptimiserError {
        setting,
        got,
        expected: "a share from 0 to 1",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Factors of the first steps against the learning rates that PyTorch 2.15 gives for a learning rate of 1.
    fn check(warm_up: Option<WarmUp>, shape: ScheduleShape, torch: &[f64]) {
        let schedule = ScheduleConfig { warm_up, shape };
        schedule.check().unwrap();
        for (step, expected) in (1..).zip(torch) {
            let factor = schedule.factor(step);
            assert!(
                (factor - expected).abs() < 1e-11,
                "{shape:?} at step {step}: {factor}, PyTorch's {expected}"
            );
        }
    }

    #[test]
    fn schedules_go_as_pytorchs() {
        check(None, ScheduleShape::Constant, &[1.0; 5]);
        check(
            None,
            ScheduleShape::Step {
                every: 3,
                factor: 0.1,
            },
            &[1.0, 1.0, 1.0, 0.1, 0.1, 0.1, 0.01, 0.01],
        );
        check(
            None,
            ScheduleShape::Cosine { steps: 6, end: 0.1 },
            &[1.0, 0.939711431703, 0.775, 0.55, 0.325, 0.160288568297, 0.1],
        );
        check(
            None,
            ScheduleShape::OneCycle {
                steps: 10,
                rise: 0.3,
                start: 1.0 / 25.0,
                end: 4e-6,
            },
            &[
                0.04,
                0.52,
                1.0,
                0.950484632013,
                0.81174565395,
                0.611262021936,
                0.388741978064,
                0.18825834605,
                0.0495193679865,
                4e-06,
            ],
        );
        let (third, two_thirds) = (0.466666666666667, 0.733333333333333);
        check(
            None,
            ScheduleShape::Cyclic {
                low: 0.2,
                up: 3,
                down: 2,
            },
            &[
                0.2, third, two_thirds, 1.0, 0.6, 0.2, third, two_thirds, 1.0, 0.6, 0.2, third,
            ],
        );
        check(
            Some(WarmUp {
                steps: 4,
                from: 0.25,
            }),
            ScheduleShape::Cosine { steps: 6, end: 0.0 },
            &[
                0.25,
                0.4375,
                0.625,
                0.8125,
                1.0,
                0.933012701892,
                0.75,
                0.5,
                0.25,
                0.0669872981078,
            ],
        );
    }

    #[test]
    fn a_shape_that_has_ended_keeps_its_last_value() {
        for (shape, end) in [
            (ScheduleShape::Cosine { steps: 6, end: 0.1 }, 0.1),
            (
                ScheduleShape::OneCycle {
                    steps: 10,
                    rise: 0.3,
                    start: 0.04,
                    end: 1e-3,
                },
                1e-3,
            ),
        ] {
            let schedule = ScheduleConfig {
                warm_up: None,
                shape,
            };
            for step in [12, 100, u64::MAX] {
                assert!((schedule.factor(step) - end).abs() < 1e-12, "{shape:?}");
            }
        }
    }

    #[test]
    fn settings_out_of_range_are_refused_by_name() {
        let refused = |warm_up, shape, setting: &str| {
            let error = ScheduleConfig { warm_up, shape }.check().unwrap_err();
            assert!(error.to_string().starts_with(setting), "{error}");
        };
        let constant = ScheduleShape::Constant;
        let warm_up = |steps, from| Some(WarmUp { steps, from });
        refused(warm_up(0, 0.5), constant, "warm_up.steps");
        refused(warm_up(3, 0.0), constant, "warm_up.from");
        refused(warm_up(3, 1.5), constant, "warm_up.from");
        refused(
            None,
            ScheduleShape::Step {
                every: 0,
                factor: 0.5,
            },
            "every",
        );
        refused(
            None,
            ScheduleShape::Step {
                every: 1,
                factor: f64::NAN,
            },
            "factor",
        );
        refused(None, ScheduleShape::Cosine { steps: 0, end: 0.0 }, "steps");
        refused(
            None,
            ScheduleShape::Cosine {
                steps: 1,
                end: -0.1,
            },
            "end",
        );
        let one_cycle = |steps, rise, start, end| ScheduleShape::OneCycle {
            steps,
            rise,
            start,
            end,
        };
        refused(None, one_cycle(1, 0.3, 0.1, 0.0), "steps");
        refused(None, one_cycle(9, 1.1, 0.1, 0.0), "rise");
        refused(None, one_cycle(9, 0.3, 2.0, 0.0), "start");
        refused(None, one_cycle(9, 0.3, 0.1, 2.0), "end");
        let cyclic = |low, up, down| ScheduleShape::Cyclic { low, up, down };
        refused(None, cyclic(-1.0, 1, 1), "low");
        refused(None, cyclic(0.1, 0, 1), "up");
        refused(None, cyclic(0.1, 1, 0), "down");
    }
}
