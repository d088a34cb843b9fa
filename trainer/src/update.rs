//! What happens to the weights when a step's gradient is known: optimiser, weight decay, schedule and average.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::average::{Average, AverageConfig};
use crate::optimiser::{Optimiser, OptimiserConfig, OptimiserError, WeightDecay};
use crate::schedule::ScheduleConfig;

/// How weights follow the gradients of a run.
///
/// ```
/// use tributary_trainer::{AverageConfig, OptimiserConfig, ScheduleConfig, ScheduleShape, UpdateConfig};
/// let sgd = OptimiserConfig::Sgd { learning_rate: 0.5, momentum: 0.9 };
/// let plain = UpdateConfig::from(sgd);
/// let tuned = UpdateConfig {
///     schedule: ScheduleConfig { warm_up: None, shape: ScheduleShape::Cosine { steps: 400, end: 0.0 } },
///     average: Some(AverageConfig { decay: 0.99 }),
///     ..plain
/// };
/// assert!(tuned.check().is_ok());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpdateConfig {
    /// The optimiser.
    pub optimiser: OptimiserConfig,
    /// What pulls weights towards zero.
    pub weight_decay: WeightDecay,
    /// The learning rate's course.
    pub schedule: ScheduleConfig,
    /// The average that is evaluated and exported in place of the last weights.
    pub average: Option<AverageConfig>,
}

impl From<OptimiserConfig> for UpdateConfig {
    /// The optimiser alone: a constant learning rate, no decay and no average.
    fn from(optimiser: OptimiserConfig) -> Self {
        Self {
            optimiser,
            weight_decay: WeightDecay::None,
            schedule: ScheduleConfig::default(),
            average: None,
        }
    }
}

impl UpdateConfig {
    /// Checks every setting's range.
    ///
    /// # Errors
    /// Names the first setting that is out of range.
    pub fn check(&self) -> Result<(), OptimiserError> {
        self.optimiser.check()?;
        self.weight_decay.check()?;
        self.schedule.check()?;
        self.average.map_or(Ok(()), AverageConfig::check)
    }
}

/// The same at work.
#[derive(Debug)]
pub(crate) struct Update {
    config: UpdateConfig,
    optimiser: Box<dyn Optimiser>,
    average: Option<Average>,
    /// Where weights that stay as they are begin, and what they are.
    frozen: Vec<(usize, Vec<f32>)>,
}

/// What of it is saved in a checkpoint. Moments and average are as long as the weights, or empty.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct UpdateState {
    config: UpdateConfig,
    moments: Vec<Vec<f32>>,
    average: Option<Vec<f32>>,
}

impl Update {
    /// The weights in the ranges `frozen` are not moved.
    pub(crate) fn new(
        config: UpdateConfig,
        weights: &[f32],
        frozen: &[Range<usize>],
    ) -> Result<Self, OptimiserError> {
        config.check()?;
        Ok(Self {
            config,
            optimiser: config.optimiser.build(weights.len())?,
            average: config.average.map(|average| Average::new(average, weights)),
            frozen: frozen
                .iter()
                .map(|range| (range.start, weights[range.clone()].to_vec()))
                .collect(),
        })
    }

    pub(crate) fn config(&self) -> &UpdateConfig {
        &self.config
    }

    /// Moves the weights; the gradient may be changed on the way. `step` counts from 1.
    pub(crate) fn step(&mut self, step: u64, weights: &mut [f32], gradient: &mut [f32]) {
        let rate = self.config.optimiser.learning_rate() * self.config.schedule.factor(step);
        self.config.weight_decay.apply(rate, weights, gradient);
        self.optimiser.step(step, rate, weights, gradient);
        // Noise is added to every coordinate, that of frozen weights too, and weight decay knows none of them.
        for (start, values) in &self.frozen {
            weights[*start..start + values.len()].copy_from_slice(values);
        }
        if let Some(average) = &mut self.average {
            average.add(step, weights);
        }
    }

    /// The weights that are evaluated and exported: the average where there is one.
    pub(crate) fn best<'a>(&'a self, weights: &'a [f32]) -> &'a [f32] {
        self.average.as_ref().map_or(weights, Average::weights)
    }

    pub(crate) fn state(&self) -> UpdateState {
        let moments = self.optimiser.moments();
        UpdateState {
            config: self.config,
            moments: moments.into_iter().map(<[f32]>::to_vec).collect(),
            average: self
                .average
                .as_ref()
                .map(|average| average.weights().to_vec()),
        }
    }

    /// Goes on from a saved state.
    ///
    /// # Errors
    /// Where the state is of other settings or another number of weights, or holds numbers that are not finite.
    pub(crate) fn restore(&mut self, state: &UpdateState) -> Result<(), &'static str> {
        if state.config != self.config {
            return Err("its optimiser, schedule or average has other settings");
        }
        let own = self
            .average
            .as_mut()
            .map(Average::weights_mut)
            .into_iter()
            .chain(self.optimiser.moments_mut());
        let own: Vec<&mut [f32]> = own.collect();
        let saved: Vec<&[f32]> = state
            .average
            .iter()
            .chain(&state.moments)
            .map(Vec::as_slice)
            .collect();
        let fit = own.len() == saved.len()
            && own
                .iter()
                .zip(&saved)
                .all(|(own, saved)| own.len() == saved.len());
        if !fit {
            return Err("it has another number of weights");
        }
        if !saved
            .iter()
            .copied()
            .flatten()
            .all(|value| value.is_finite())
        {
            return Err("it holds numbers that are not finite");
        }
        for (own, saved) in own.into_iter().zip(saved) {
            own.copy_from_slice(saved);
        }
        Ok(())
    }
}
