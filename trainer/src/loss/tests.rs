//! Losses against PyTorch 2.15 in double precision, and their gradients against finite differences.

use proptest::prelude::*;

use super::*;
use crate::graph::Shape;

const OUTPUTS: [f64; 4] = [0.5, -1.0, 2.0, 0.25];
const VALUES: [f32; 4] = [0.0, 1.0, 0.5, 1.0];

// What PyTorch 2.15 gives for them.
const CE_LABEL: f64 = 3.369278998448;
const CE_WEIGHTED: f64 = 6.443460034455;
const CE_WEIGHTED_3: f64 = 6.100811133058;
const CE_IMAGE: f64 = 1.039171179664;
const CE_IMAGE_WEIGHTED: f64 = 1.097262281025;
const BCE: f64 = 0.997551525655;
const BCE_POSITIVE: f64 = 1.729800942999;
const MSE: f64 = 1.765625;
const L1: f64 = 1.1875;
const HUBER: f64 = 0.7265625;
const HUBER_06: f64 = 0.53375;
const FOCAL: f64 = 0.156748037673;
const FOCAL_15: f64 = 0.466131012966;
const DICE: f64 = 0.392731298813;
const DICE_IMAGE: f64 = 0.352982583821;

fn shape(dims: &[usize]) -> Shape {
    Shape::new(dims.to_vec()).unwrap()
}

fn check(loss: &LossConfig, dims: &[usize], target: Target<'_>, torch: f64) {
    let sum = loss.sum(&shape(dims)).unwrap();
    let value = sum.value(&OUTPUTS, target, &mut [0.0; 4]).unwrap();
    assert!(
        (value - torch).abs() < 1e-10,
        "{loss:?}: {value}, PyTorch's {torch}"
    );
    let single = loss.build(&shape(dims)).unwrap();
    let outputs = OUTPUTS.map(|output| output as f32);
    let value = single.evaluate(&outputs, target, &mut [0.0; 4]).unwrap();
    assert!((f64::from(value) - torch).abs() < 1e-6);
}

#[test]
fn losses_are_pytorchs() {
    let (vector, image) = (&[4][..], &[2, 2][..]);
    let (label, values) = (Target::Label(1), Target::Values(&VALUES));
    check(&LossConfig::CrossEntropy, vector, label, CE_LABEL);
    let weighted = |weights: &[f64], label_smoothing| LossConfig::WeightedCrossEntropy {
        weights: weights.to_vec(),
        label_smoothing,
    };
    let weights = weighted(&[1.0, 2.0, 0.5, 3.0], 0.1);
    check(&weights, vector, label, CE_WEIGHTED);
    check(&weights, vector, Target::Label(3), CE_WEIGHTED_3);
    let probabilities = Target::Values(&[0.25, 1.0, 0.75, 0.0]);
    check(&LossConfig::CrossEntropy, image, probabilities, CE_IMAGE);
    check(
        &weighted(&[1.0, 2.0], 0.2),
        image,
        probabilities,
        CE_IMAGE_WEIGHTED,
    );
    let bce = |positive_weight| LossConfig::BceWithLogits { positive_weight };
    check(&bce(1.0), vector, values, BCE);
    check(&bce(2.5), image, values, BCE_POSITIVE);
    check(&LossConfig::Mse, vector, values, MSE);
    check(&LossConfig::L1, vector, values, L1);
    check(&LossConfig::Huber { delta: 1.0 }, vector, values, HUBER);
    check(&LossConfig::Huber { delta: 0.6 }, vector, values, HUBER_06);
    let focal = |gamma, alpha| LossConfig::Focal { gamma, alpha };
    check(&focal(2.0, Some(0.25)), vector, values, FOCAL);
    check(&focal(1.5, None), vector, values, FOCAL_15);
    check(&LossConfig::Dice, vector, values, DICE);
    check(&LossConfig::Dice, image, values, DICE_IMAGE);
    let part = |weight, loss| WeightedLoss { weight, loss };
    let sum = LossConfig::Sum(vec![
        part(0.5, LossConfig::Dice),
        part(2.0, LossConfig::Mse),
    ]);
    check(&sum, vector, values, 0.5 * DICE + 2.0 * MSE);
}

#[test]
fn a_label_stands_for_its_one_hot_vector() {
    let single = |loss: &LossConfig, output: f64, target| {
        let sum = loss.sum(&shape(&[1])).unwrap();
        sum.value(&[output], target, &mut [0.0])
    };
    for loss in every() {
        let sum = loss.sum(&shape(&[4])).unwrap();
        let value = |target| sum.value(&OUTPUTS, target, &mut [0.0; 4]);
        assert_eq!(
            value(Target::Label(2)),
            value(Target::Values(&[0.0, 0.0, 1.0, 0.0])),
            "{loss:?}"
        );
        assert_eq!(value(Target::Label(4)), None);
        assert_eq!(value(Target::Label(u32::MAX)), None);
        assert_eq!(value(Target::Values(&[0.0; 3])), None);
        assert_eq!(value(Target::Values(&[0.0, f32::NAN, 0.0, 0.0])), None);
    }
    // Of a single output, 0 or 1.
    let bce = LossConfig::BceWithLogits {
        positive_weight: 1.0,
    };
    assert_eq!(
        single(&bce, 0.3, Target::Label(1)),
        single(&bce, 0.3, Target::Values(&[1.0]))
    );
    assert_eq!(single(&bce, 0.3, Target::Label(2)), None);
}

#[test]
fn outputs_that_are_no_numbers_make_the_loss_so() {
    for loss in every() {
        let sum = loss.build(&shape(&[4])).unwrap();
        for place in 0..4 {
            let mut outputs = OUTPUTS.map(|output| output as f32);
            outputs[place] = f32::NAN;
            let value = sum.evaluate(&outputs, Target::Label(1), &mut [0.0; 4]);
            assert!(value.unwrap().is_nan(), "{loss:?}");
        }
    }
}

#[test]
fn large_outputs_do_not_overflow() {
    let outputs = [1e30, -1e30, 0.0, 40.0];
    for loss in every() {
        let sum = loss.build(&shape(&[4])).unwrap();
        let mut gradient = [0.0; 4];
        let value = sum.evaluate(&outputs, Target::Label(0), &mut gradient);
        let quadratic = matches!(loss, LossConfig::Mse | LossConfig::Sum(_));
        assert!(
            value.unwrap().is_finite() || quadratic,
            "{loss:?}: {value:?}"
        );
        assert!(
            gradient.iter().all(|slope| slope.is_finite()),
            "{loss:?}: {gradient:?}"
        );
    }
}

#[test]
fn outputs_without_classes_and_weights_of_others_are_refused() {
    let refused = |loss: LossConfig, dims: &[usize]| loss.build(&shape(dims)).is_err();
    assert!(refused(LossConfig::CrossEntropy, &[1]));
    assert!(refused(LossConfig::CrossEntropy, &[1, 5, 5]));
    assert!(!refused(LossConfig::CrossEntropy, &[2, 5, 5]));
    assert!(!refused(LossConfig::Mse, &[1]));
    let weighted = LossConfig::WeightedCrossEntropy {
        weights: vec![1.0; 3],
        label_smoothing: 0.0,
    };
    assert!(refused(weighted.clone(), &[4]));
    assert!(!refused(weighted, &[3, 2]));
}

#[test]
fn settings_out_of_range_are_refused_by_name() {
    let refused = |loss: LossConfig, setting: &str| {
        let error = loss.check().unwrap_err().to_string();
        assert!(error.contains(setting), "{error}");
    };
    let bad = [0.0, -1.0, f64::NAN, f64::INFINITY];
    for value in bad {
        refused(LossConfig::Huber { delta: value }, "delta");
        refused(
            LossConfig::BceWithLogits {
                positive_weight: value,
            },
            "positive_weight",
        );
        refused(
            LossConfig::WeightedCrossEntropy {
                weights: vec![1.0, value],
                label_smoothing: 0.0,
            },
            "weights",
        );
        let part = WeightedLoss {
            weight: value,
            loss: LossConfig::Mse,
        };
        refused(LossConfig::Sum(vec![part]), "weight");
    }
    for label_smoothing in [-0.1, 1.0, f64::NAN] {
        let weights = vec![];
        refused(
            LossConfig::WeightedCrossEntropy {
                weights,
                label_smoothing,
            },
            "label_smoothing",
        );
    }
    let focal = |gamma, alpha| LossConfig::Focal { gamma, alpha };
    refused(focal(-1.0, None), "gamma");
    refused(focal(2.0, Some(1.5)), "alpha");
    refused(LossConfig::Sum(vec![]), "0 losses");
    let part = |loss| WeightedLoss { weight: 1.0, loss };
    refused(LossConfig::Sum(vec![part(LossConfig::L1); 9]), "9 losses");
    let inner = LossConfig::Sum(vec![part(LossConfig::L1)]);
    refused(LossConfig::Sum(vec![part(inner)]), "within a sum");
}

/// One of each.
fn every() -> Vec<LossConfig> {
    let part = |weight, loss| WeightedLoss { weight, loss };
    vec![
        LossConfig::CrossEntropy,
        LossConfig::WeightedCrossEntropy {
            weights: vec![1.0, 2.0, 0.5, 3.0],
            label_smoothing: 0.1,
        },
        LossConfig::BceWithLogits {
            positive_weight: 2.5,
        },
        LossConfig::Mse,
        LossConfig::L1,
        LossConfig::Huber { delta: 0.7 },
        LossConfig::Focal {
            gamma: 2.0,
            alpha: Some(0.25),
        },
        LossConfig::Focal {
            gamma: 0.0,
            alpha: None,
        },
        LossConfig::Dice,
        LossConfig::Sum(vec![
            part(0.5, LossConfig::Dice),
            part(2.0, LossConfig::Mse),
        ]),
    ]
}

proptest! {
    #[test]
    fn gradients_are_the_losses_derivatives(
        outputs in prop::array::uniform4(-4.0..4.0f64),
        values in prop::array::uniform4(0.0..1.0f32),
        label in 0..4u32,
    ) {
        for loss in every() {
            for target in [Target::Values(&values), Target::Label(label)] {
                let sum = loss.sum(&shape(&[4])).unwrap();
                let mut gradient = [f64::NAN; 4];
                sum.value(&outputs, target, &mut gradient).unwrap();
                for place in 0..4 {
                    let distance = (outputs[place] - target.at(place, 4)).abs();
                    // Where the absolute value and Huber's loss have a kink, a difference quotient is neither slope.
                    if distance < 1e-4 || (distance - 0.7).abs() < 1e-4 {
                        continue;
                    }
                    let at = |step: f64| {
                        let mut moved = outputs;
                        moved[place] += step;
                        sum.value(&moved, target, &mut [0.0; 4]).unwrap()
                    };
                    let quotient = (at(1e-6) - at(-1e-6)) / 2e-6;
                    prop_assert!(
                        (gradient[place] - quotient).abs() < 1e-7,
                        "{loss:?} at {outputs:?}[{place}]: {} and {quotient}", gradient[place]
                    );
                }
            }
        }
    }
}
