//! Weights after five steps, against PyTorch 2.15 in double precision and against the formulas written out here.

use super::*;

const START: [f64; 3] = [1.0, -2.0, 0.5];
const GRADIENTS: [[f64; 3]; 5] = [
    [0.5, -1.0, 0.25],
    [-0.75, 0.5, 2.0],
    [0.125, 0.25, -1.5],
    [1.0, -0.5, 0.0],
    [-0.25, 0.75, 0.5],
];
const RATE: f64 = 0.1;

fn check(config: OptimiserConfig, decay: WeightDecay, torch: [f64; 3]) {
    let mut optimiser = config.build(3).unwrap();
    let mut weights = START.map(|weight| weight as f32);
    for (step, gradient) in (1..).zip(GRADIENTS) {
        let mut gradient = gradient.map(|value| value as f32);
        decay.apply(config.learning_rate(), &mut weights, &mut gradient);
        optimiser.step(step, config.learning_rate(), &mut weights, &gradient);
    }
    for (index, (&weight, expected)) in weights.iter().zip(torch).enumerate() {
        let weight = f64::from(weight);
        assert!(
            (weight - expected).abs() < 2e-6,
            "{config:?} {decay:?}: weight {index} is {weight}, PyTorch's {expected}"
        );
        let formula = by_formula(config, decay, index);
        assert!(
            (formula - expected).abs() < 1e-9,
            "{config:?}: {formula} and {expected}"
        );
    }
}

/// One weight's five steps in double precision, from the formulas in the documentation of `torch.optim`.
fn by_formula(config: OptimiserConfig, decay: WeightDecay, index: usize) -> f64 {
    let (mut w, mut m, mut v, mut b) = (START[index], 0.0, 0.0, 0.0);
    for (t, gradient) in (1..).zip(GRADIENTS) {
        let mut g: f64 = gradient[index];
        match decay {
            WeightDecay::None => {}
            WeightDecay::Gradient(lambda) => g += lambda * w,
            WeightDecay::Decoupled(lambda) => w -= RATE * lambda * w,
        }
        match config {
            OptimiserConfig::Sgd { momentum, .. } => {
                b = momentum * b + g;
                w -= RATE * b;
            }
            OptimiserConfig::Nesterov { momentum, .. } => {
                b = momentum * b + g;
                w -= RATE * (g + momentum * b);
            }
            OptimiserConfig::Adam {
                beta1,
                beta2,
                epsilon,
                ..
            } => {
                m = beta1 * m + (1.0 - beta1) * g;
                v = beta2 * v + (1.0 - beta2) * g * g;
                let (m_hat, v_hat) = (m / (1.0 - beta1.powi(t)), v / (1.0 - beta2.powi(t)));
                w -= RATE * m_hat / (v_hat.sqrt() + epsilon);
            }
            OptimiserConfig::RmsProp {
                decay,
                epsilon,
                momentum,
                centred,
                ..
            } => {
                v = decay * v + (1.0 - decay) * g * g;
                m = decay * m + (1.0 - decay) * g;
                let spread: f64 = if centred { v - m * m } else { v };
                b = momentum * b + g / (spread.sqrt() + epsilon);
                w -= RATE * b;
            }
        }
    }
    w
}

#[test]
fn sgd_steps_as_pytorch() {
    let sgd = |momentum| OptimiserConfig::Sgd {
        learning_rate: RATE,
        momentum,
    };
    check(sgd(0.0), WeightDecay::None, [0.9375, -2.0, 0.375]);
    check(sgd(0.9), WeightDecay::None, [0.854295, -1.81019, 0.0663225]);
    check(
        sgd(0.9),
        WeightDecay::Gradient(0.05),
        [0.790978410966, -1.68635883443, 0.0421386726703],
    );
}

#[test]
fn nesterov_steps_as_pytorch() {
    let nesterov = OptimiserConfig::Nesterov {
        learning_rate: RATE,
        momentum: 0.9,
    };
    check(
        nesterov,
        WeightDecay::None,
        [0.8063655, -1.829171, -0.01530975],
    );
    check(
        nesterov,
        WeightDecay::Gradient(0.05),
        [0.727214265355, -1.67572804411, -0.0397406551821],
    );
}

#[test]
fn adam_and_adamw_step_as_pytorch() {
    let adam = |beta1, beta2, epsilon| OptimiserConfig::Adam {
        learning_rate: RATE,
        beta1,
        beta2,
        epsilon,
    };
    check(
        adam(0.9, 0.999, 1e-8),
        WeightDecay::None,
        [0.876416707561, -1.84724942155, 0.275265116997],
    );
    check(
        adam(0.8, 0.95, 1e-3),
        WeightDecay::Gradient(0.05),
        [0.849119948759, -1.81597489798, 0.280509680762],
    );
    check(
        adam(0.9, 0.999, 1e-8),
        WeightDecay::Decoupled(0.05),
        [0.853366167721, -1.80033012166, 0.266280423346],
    );
}

#[test]
fn rmsprop_steps_as_pytorch() {
    let rmsprop = |decay, epsilon, momentum, centred| OptimiserConfig::RmsProp {
        learning_rate: RATE,
        decay,
        epsilon,
        momentum,
        centred,
    };
    check(
        rmsprop(0.99, 1e-8, 0.0, false),
        WeightDecay::None,
        [0.135274938902, -1.78525042774, -1.09106855022],
    );
    check(
        rmsprop(0.9, 1e-3, 0.5, false),
        WeightDecay::Gradient(0.05),
        [0.445409089049, -1.62220627225, -0.415194338364],
    );
    check(
        rmsprop(0.9, 1e-3, 0.5, true),
        WeightDecay::None,
        [0.466639510278, -1.73287541923, -0.493651595757],
    );
}

#[test]
fn a_constant_gradient_leaves_centred_rmsprop_finite() {
    let config = OptimiserConfig::RmsProp {
        learning_rate: 0.1,
        decay: 0.9,
        epsilon: 1e-8,
        momentum: 0.0,
        centred: true,
    };
    let mut optimiser = config.build(1).unwrap();
    let mut weights = [0.0];
    for step in 1..2000 {
        optimiser.step(step, 1e-9, &mut weights, &[0.123_456_79]);
        assert!(weights[0].is_finite(), "step {step}");
    }
}

#[test]
fn settings_out_of_range_are_refused_by_name() {
    let refused = |config: OptimiserConfig, setting: &str| {
        let error = config.check().unwrap_err().to_string();
        assert!(error.starts_with(setting), "{error}");
    };
    for learning_rate in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e-60, 1e60] {
        refused(
            OptimiserConfig::Sgd {
                learning_rate,
                momentum: 0.0,
            },
            "learning_rate",
        );
    }
    for momentum in [-0.1, 1.0, f64::NAN] {
        let learning_rate = 0.1;
        refused(
            OptimiserConfig::Sgd {
                learning_rate,
                momentum,
            },
            "momentum",
        );
        refused(
            OptimiserConfig::RmsProp {
                learning_rate,
                decay: 0.9,
                epsilon: 1e-8,
                momentum,
                centred: false,
            },
            "momentum",
        );
    }
    // Without momentum there is nothing of Nesterov's.
    refused(
        OptimiserConfig::Nesterov {
            learning_rate: 0.1,
            momentum: 0.0,
        },
        "momentum",
    );
    refused(
        OptimiserConfig::Adam {
            learning_rate: 0.1,
            beta1: 0.9,
            beta2: 1.0,
            epsilon: 1e-8,
        },
        "beta2",
    );
    refused(
        OptimiserConfig::RmsProp {
            learning_rate: 0.1,
            decay: 1.0,
            epsilon: 1e-8,
            momentum: 0.0,
            centred: false,
        },
        "decay",
    );
    for share in [0.0, -1.0, f64::NAN] {
        assert!(WeightDecay::Gradient(share).check().is_err());
        assert!(WeightDecay::Decoupled(share).check().is_err());
    }
}
