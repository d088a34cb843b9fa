//! A contract's terms as the trainer takes them.

use tributary_protocol::{Contract, Input, Loss, Optimiser};
use tributary_trainer::{LossConfig, OptimiserConfig, PrivacyError, PrivacySettings};

/// The contract's optimiser.
pub(crate) fn optimiser(contract: &Contract) -> OptimiserConfig {
    match contract.document().pipeline.optimiser {
        Optimiser::Sgd {
            learning_rate,
            momentum,
        } => OptimiserConfig::Sgd {
            learning_rate,
            momentum,
        },
        Optimiser::Adam {
            learning_rate,
            beta1,
            beta2,
            epsilon,
        } => OptimiserConfig::Adam {
            learning_rate,
            beta1,
            beta2,
            epsilon,
        },
    }
}

/// The contract's loss.
pub(crate) fn loss(contract: &Contract) -> LossConfig {
    match contract.document().pipeline.loss {
        Loss::CrossEntropy => LossConfig::CrossEntropy,
    }
}

/// What makes a step private under the contract.
pub(crate) fn privacy(contract: &Contract) -> Result<PrivacySettings, PrivacyError> {
    PrivacySettings::new(
        contract.document().privacy.clipping_norm,
        contract.noise_multiplier().get(),
        contract.expected_batch_size(),
    )
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
