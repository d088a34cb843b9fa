//! A contract's terms as the trainer takes them.

use tributary_protocol::{Clipping, Contract, Course, Input, Loss, Optimiser};
use tributary_trainer::{
    AdaptiveClipping, AverageConfig, Clipping as ClippingConfig, LossConfig, OptimiserConfig,
    PrivacyError, PrivacySettings, ScheduleConfig, ScheduleShape, UpdateConfig, WarmUp,
    WeightDecay, WeightedLoss,
};

/// The contract's optimiser, schedule and average.
pub(crate) fn update(contract: &Contract) -> UpdateConfig {
    let pipeline = &contract.document().pipeline;
    let (optimiser, weight_decay) = optimiser(&pipeline.optimiser);
    let warm_up = pipeline.schedule.warm_up.map(|warm_up| WarmUp {
        steps: warm_up.steps,
        from: warm_up.from,
    });
    // The course takes the steps that the warm-up leaves.
    let steps = pipeline.steps - warm_up.map_or(0, |warm_up| warm_up.steps);
    let shape = match pipeline.schedule.course {
        Course::Constant => ScheduleShape::Constant,
        Course::Step { every, factor } => ScheduleShape::Step { every, factor },
        Course::Cosine { end } => ScheduleShape::Cosine { steps, end },
        Course::OneCycle { rise, start, end } => ScheduleShape::OneCycle {
            steps,
            rise,
            start,
            end,
        },
        Course::Cyclic { low, up, down } => ScheduleShape::Cyclic { low, up, down },
    };
    UpdateConfig {
        optimiser,
        weight_decay,
        schedule: ScheduleConfig { warm_up, shape },
        average: pipeline.average.map(|average| AverageConfig {
            decay: average.decay,
        }),
    }
}

fn optimiser(optimiser: &Optimiser) -> (OptimiserConfig, WeightDecay) {
    let in_gradient = |share: f64| {
        if share == 0.0 {
            WeightDecay::None
        } else {
            WeightDecay::Gradient(share)
        }
    };
    match *optimiser {
        Optimiser::Sgd {
            learning_rate,
            momentum,
            nesterov,
            weight_decay,
        } => {
            let config = if nesterov {
                OptimiserConfig::Nesterov {
                    learning_rate,
                    momentum,
                }
            } else {
                OptimiserConfig::Sgd {
                    learning_rate,
                    momentum,
                }
            };
            (config, in_gradient(weight_decay))
        }
        Optimiser::Adam {
            learning_rate,
            beta1,
            beta2,
            epsilon,
            weight_decay,
        } => {
            let config = OptimiserConfig::Adam {
                learning_rate,
                beta1,
                beta2,
                epsilon,
            };
            (config, in_gradient(weight_decay))
        }
        Optimiser::AdamW {
            learning_rate,
            beta1,
            beta2,
            epsilon,
            weight_decay,
        } => {
            let config = OptimiserConfig::Adam {
                learning_rate,
                beta1,
                beta2,
                epsilon,
            };
            (config, WeightDecay::Decoupled(weight_decay))
        }
        Optimiser::RmsProp {
            learning_rate,
            decay,
            epsilon,
            momentum,
            centred,
            weight_decay,
        } => {
            let config = OptimiserConfig::RmsProp {
                learning_rate,
                decay,
                epsilon,
                momentum,
                centred,
            };
            (config, in_gradient(weight_decay))
        }
    }
}

/// The contract's loss.
pub(crate) fn loss(contract: &Contract) -> LossConfig {
    loss_config(&contract.document().pipeline.loss)
}

fn loss_config(loss: &Loss) -> LossConfig {
    match loss {
        Loss::CrossEntropy => LossConfig::CrossEntropy,
        Loss::WeightedCrossEntropy {
            weights,
            label_smoothing,
        } => LossConfig::WeightedCrossEntropy {
            weights: weights.clone(),
            label_smoothing: *label_smoothing,
        },
        Loss::BceWithLogits { positive_weight } => LossConfig::BceWithLogits {
            positive_weight: *positive_weight,
        },
        Loss::Mse => LossConfig::Mse,
        Loss::L1 => LossConfig::L1,
        Loss::Huber { delta } => LossConfig::Huber { delta: *delta },
        Loss::Focal { gamma, alpha } => LossConfig::Focal {
            gamma: *gamma,
            alpha: *alpha,
        },
        Loss::Dice => LossConfig::Dice,
        Loss::Sum(parts) => LossConfig::Sum(
            parts
                .iter()
                .map(|part| WeightedLoss {
                    weight: part.weight,
                    loss: loss_config(&part.loss),
                })
                .collect(),
        ),
    }
}

/// What makes a step private under the contract.
pub(crate) fn privacy(contract: &Contract) -> Result<PrivacySettings, PrivacyError> {
    PrivacySettings::new(
        contract.document().privacy.clipping_norm,
        contract.noise_multiplier().get(),
        contract.expected_batch_size(),
    )?
    .with_clipping(clipping(contract.document().privacy.clipping))
}

fn clipping(clipping: Clipping) -> ClippingConfig {
    match clipping {
        Clipping::Flat => ClippingConfig::Flat,
        Clipping::PerLayer => ClippingConfig::PerLayer,
        Clipping::Automatic { stability } => ClippingConfig::Automatic {
            stability: stability as f32,
        },
        Clipping::Adaptive(adaptive) => ClippingConfig::Adaptive(AdaptiveClipping {
            quantile: adaptive.quantile,
            learning_rate: adaptive.learning_rate,
            count_noise: adaptive.count_noise,
        }),
    }
}

/// From the bytes of an input column to the numbers that a model takes: `(byte / divisor - mean) / deviation`.
#[derive(Debug, Clone)]
pub(crate) struct Scaling(Box<[f32; 256]>);

impl Scaling {
    pub(crate) fn new(input: &Input) -> Self {
        let mut values = Box::new([0.0; 256]);
        for (byte, value) in values.iter_mut().enumerate() {
            *value = (byte as f32 / input.divisor - input.mean) / input.deviation;
        }
        Self(values)
    }

    pub(crate) fn apply(&self, bytes: &[u8]) -> Vec<f32> {
        bytes
            .iter()
            .map(|&byte| self.0[usize::from(byte)])
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decay_of_weights_is_adamws_or_the_gradients() {
        let adam = |weight_decay| Optimiser::Adam {
            learning_rate: 0.1,
            beta1: 0.9,
            beta2: 0.99,
            epsilon: 1e-8,
            weight_decay,
        };
        assert_eq!(optimiser(&adam(0.0)).1, WeightDecay::None);
        assert_eq!(optimiser(&adam(0.5)).1, WeightDecay::Gradient(0.5));
        let adamw = Optimiser::AdamW {
            learning_rate: 0.1,
            beta1: 0.9,
            beta2: 0.99,
            epsilon: 1e-8,
            weight_decay: 0.5,
        };
        assert_eq!(optimiser(&adamw).1, WeightDecay::Decoupled(0.5));
        assert_eq!(optimiser(&adamw).0, optimiser(&adam(0.0)).0);
    }

    #[test]
    fn every_clipping_is_the_trainers() {
        let adaptive = tributary_protocol::AdaptiveClipping {
            quantile: 0.4,
            learning_rate: 0.3,
            count_noise: 20.0,
        };
        for (ours, theirs) in [
            (Clipping::Flat, ClippingConfig::Flat),
            (Clipping::PerLayer, ClippingConfig::PerLayer),
            (
                Clipping::Automatic { stability: 0.5 },
                ClippingConfig::Automatic { stability: 0.5 },
            ),
            (
                Clipping::Adaptive(adaptive),
                ClippingConfig::Adaptive(AdaptiveClipping {
                    quantile: 0.4,
                    learning_rate: 0.3,
                    count_noise: 20.0,
                }),
            ),
        ] {
            assert_eq!(clipping(ours), theirs);
        }
    }

    #[test]
    fn a_sum_of_losses_is_the_trainers() {
        let part = |weight, loss| tributary_protocol::WeightedLoss { weight, loss };
        let sum = Loss::Sum(vec![
            part(0.5, Loss::Dice),
            part(2.0, Loss::Huber { delta: 0.3 }),
        ]);
        let part = |weight, loss| WeightedLoss { weight, loss };
        let expected = LossConfig::Sum(vec![
            part(0.5, LossConfig::Dice),
            part(2.0, LossConfig::Huber { delta: 0.3 }),
        ]);
        assert_eq!(loss_config(&sum), expected);
    }

    #[test]
    fn bytes_are_scaled_as_the_contract_declares() {
        let input = Input {
            column: "image".parse().unwrap(),
            divisor: 127.5,
            mean: 1.0,
            deviation: 0.5,
        };
        assert_eq!(Scaling::new(&input).apply(&[0, 255]), [-2.0, 2.0]);
    }
}
