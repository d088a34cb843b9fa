//! What is saved of a run.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::clipping::Clipping;
use crate::graph::ModelDigest;
use crate::loss::LossConfig;
use crate::update::UpdateState;

/// All that is needed to go on later: never the state of a random generator, so no noise can be drawn twice.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainerState {
    pub(crate) model: ModelDigest,
    pub(crate) loss: LossConfig,
    pub(crate) step: u64,
    pub(crate) weights: Vec<f32>,
    pub(crate) update: UpdateState,
    /// How gradients were clipped; not at all without privacy.
    pub(crate) clipping: Option<Clipping>,
    /// What adaptive clipping has come to.
    #[serde(default)]
    pub(crate) clipping_norm: Option<f64>,
}

impl TrainerState {
    /// Steps taken.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// The model that it belongs to.
    pub fn model(&self) -> ModelDigest {
        self.model
    }
}

impl fmt::Debug for TrainerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrainerState")
            .field("model", &self.model)
            .field("step", &self.step)
            .finish_non_exhaustive()
    }
}
