//! What is attacked: something that trains a small linear model.

use std::num::NonZeroUsize;

use tributary_accounting::NoiseMultiplier;
use tributary_trainer::{
    Examples, Graph, LossConfig, OptimiserConfig, Parameters, ParametersError, PrivacySettings,
    Targets, Trainer, models,
};

use super::AuditError;

/// Records with one feature each, of its own, and two classes. The gradient of record `i` lies in column `i` of the weight
/// but for a hundredth, is longer than any clipping norm by far, and moves the two classes apart.
#[derive(Debug, Clone, Copy)]
pub struct Task {
    records: usize,
}

/// The one number of a record, so large that the bias's part of the gradient is small beside it.
const FEATURE: f32 = 100.0;
/// So small that the model stays near its first guess, at which every gradient is long.
const LEARNING_RATE: f64 = 1e-4;
/// Gradients are clipped to this.
const CLIPPING_NORM: f64 = 1.0;

impl Task {
    /// A task with this many records.
    pub fn new(records: usize) -> Self {
        Self { records }
    }

    /// Records, and features.
    pub fn records(&self) -> usize {
        self.records
    }

    /// The inputs and labels of some records.
    pub fn batch(&self, records: &[usize]) -> (Vec<f32>, Vec<u32>) {
        let mut inputs = vec![0.0; records.len() * self.records];
        for (row, record) in inputs.chunks_exact_mut(self.records).zip(records) {
            row[*record] = FEATURE;
        }
        (inputs, vec![0; records.len()])
    }
}

/// Trains under attack.
pub trait Subject {
    /// Trains anew: a step for each of `samples`, the records' numbers. Returns for every record how far its class moved
    /// ahead of the other along its feature.
    ///
    /// # Errors
    /// [`AuditError`] where training fails.
    fn train(&mut self, task: &Task, samples: &[Vec<usize>]) -> Result<Vec<f64>, AuditError>;
}

/// The trainer as it runs: its engine, clipping, noise from the system, and optimiser.
#[derive(Debug, Clone, Copy)]
pub struct TrainerSubject {
    privacy: PrivacySettings,
}

impl TrainerSubject {
    /// With this noise.
    ///
    /// # Errors
    /// Where the trainer refuses it.
    pub fn new(noise_multiplier: NoiseMultiplier) -> Result<Self, AuditError> {
        Ok(Self {
            privacy: PrivacySettings::new(CLIPPING_NORM, noise_multiplier.get(), 1.0)?,
        })
    }
}

impl Subject for TrainerSubject {
    fn train(&mut self, task: &Task, samples: &[Vec<usize>]) -> Result<Vec<f64>, AuditError> {
        let graph = Graph::from_onnx(&models::linear(task.records() as u32, 2))?;
        let optimiser = OptimiserConfig::Sgd {
            learning_rate: LEARNING_RATE,
            momentum: 0.0,
        };
        let before = weight(&graph, &Parameters::initial(&graph)?)?;
        let mut trainer = Trainer::new(
            graph,
            LossConfig::CrossEntropy,
            optimiser,
            self.privacy,
            NonZeroUsize::MIN,
        )?;
        for sample in samples {
            let (inputs, labels) = task.batch(sample);
            trainer.step(&Examples {
                inputs: &inputs,
                targets: Targets::Labels(&labels),
            })?;
        }
        let after = weight(trainer.graph(), &trainer.parameters()?)?;
        let moved = |class: usize, record: usize| {
            let at = class * task.records() + record;
            f64::from(after[at]) - f64::from(before[at])
        };
        Ok((0..task.records())
            .map(|record| (moved(0, record) - moved(1, record)) / LEARNING_RATE)
            .collect())
    }
}

/// The weight matrix, row by row.
fn weight(graph: &Graph, parameters: &Parameters) -> Result<Vec<f32>, AuditError> {
    let flat = parameters.to_flat(graph)?;
    let weight = graph
        .parameters()
        .iter()
        .find(|parameter| parameter.name == WEIGHT)
        .ok_or_else(|| ParametersError::Missing(WEIGHT.to_owned()))?;
    Ok(flat[weight.range.clone()].to_vec())
}

const WEIGHT: &str = "linear.weight";
