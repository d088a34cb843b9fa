//! The bounds of what a contract says about training. That a loss fits the model is checked where the model is at hand.

use super::ContractError;
use super::check::expect;
use super::document::Pipeline;
use super::training::{Average, Course, Loss, Optimiser, Schedule};

/// Most losses of a sum, as the trainer has it.
const LOSSES_LIMIT: usize = 8;

pub(super) fn check_training(pipeline: &Pipeline) -> Result<(), ContractError> {
    check_loss(&pipeline.loss, "pipeline.loss", pipeline.label.classes)?;
    check_optimiser(&pipeline.optimiser)?;
    check_schedule(&pipeline.schedule, pipeline.steps)?;
    match pipeline.average {
        Some(Average { decay: kept }) => decay("pipeline.average.decay", kept),
        None => Ok(()),
    }
}

fn check_loss(loss: &Loss, at: &str, classes: u32) -> Result<(), ContractError> {
    match loss {
        Loss::CrossEntropy | Loss::Mse | Loss::L1 | Loss::Dice => Ok(()),
        Loss::WeightedCrossEntropy {
            weights,
            label_smoothing,
        } => {
            let at = format!("{at}.weighted-cross-entropy");
            expect(
                weights.is_empty() || weights.len() == classes as usize,
                format_args!("{at}.weights"),
                format_args!("one for each of {classes} classes, or none"),
                weights.len(),
            )?;
            for (class, &weight) in weights.iter().enumerate() {
                positive(&format!("{at}.weights[{class}]"), weight)?;
            }
            decay(&format!("{at}.label_smoothing"), *label_smoothing)
        }
        Loss::BceWithLogits { positive_weight } => positive(
            &format!("{at}.bce-with-logits.positive_weight"),
            *positive_weight,
        ),
        Loss::Huber { delta } => positive(&format!("{at}.huber.delta"), *delta),
        Loss::Focal { gamma, alpha } => {
            not_negative(&format!("{at}.focal.gamma"), *gamma)?;
            share(&format!("{at}.focal.alpha"), alpha.unwrap_or(0.0))
        }
        Loss::Sum(parts) => {
            expect(
                (1..=LOSSES_LIMIT).contains(&parts.len()),
                format_args!("{at}.sum"),
                "1 to 8 losses",
                parts.len(),
            )?;
            for (index, part) in parts.iter().enumerate() {
                let at = format!("{at}.sum[{index}]");
                positive(&format!("{at}.weight"), part.weight)?;
                let at = format!("{at}.loss");
                let nested = matches!(part.loss, Loss::Sum(_));
                expect(!nested, &at, "a loss that is no sum", "a sum")?;
                check_loss(&part.loss, &at, classes)?;
            }
            Ok(())
        }
    }
}

fn check_optimiser(optimiser: &Optimiser) -> Result<(), ContractError> {
    let at = |field: &str| format!("pipeline.optimiser.{field}");
    positive(&at("learning_rate"), optimiser.learning_rate())?;
    match *optimiser {
        Optimiser::Sgd {
            momentum,
            nesterov,
            weight_decay,
            ..
        } => {
            decay(&at("momentum"), momentum)?;
            expect(
                !nesterov || momentum > 0.0,
                at("momentum"),
                "a number above 0 for Nesterov's",
                momentum,
            )?;
            not_negative(&at("weight_decay"), weight_decay)
        }
        Optimiser::Adam {
            beta1,
            beta2,
            epsilon,
            weight_decay,
            ..
        } => {
            decay(&at("beta1"), beta1)?;
            decay(&at("beta2"), beta2)?;
            positive(&at("epsilon"), epsilon)?;
            not_negative(&at("weight_decay"), weight_decay)
        }
        Optimiser::AdamW {
            beta1,
            beta2,
            epsilon,
            weight_decay,
            ..
        } => {
            decay(&at("beta1"), beta1)?;
            decay(&at("beta2"), beta2)?;
            positive(&at("epsilon"), epsilon)?;
            positive(&at("weight_decay"), weight_decay)
        }
        Optimiser::RmsProp {
            decay: squares,
            epsilon,
            momentum,
            weight_decay,
            ..
        } => {
            decay(&at("decay"), squares)?;
            positive(&at("epsilon"), epsilon)?;
            decay(&at("momentum"), momentum)?;
            not_negative(&at("weight_decay"), weight_decay)
        }
    }
}

fn check_schedule(schedule: &Schedule, steps: u64) -> Result<(), ContractError> {
    let mut left = steps;
    if let Some(warm_up) = schedule.warm_up {
        expect(
            (1..steps).contains(&warm_up.steps),
            "pipeline.schedule.warm_up.steps",
            format_args!("at least 1, and fewer than the {steps} steps of a run"),
            warm_up.steps,
        )?;
        positive("pipeline.schedule.warm_up.from", warm_up.from)?;
        share("pipeline.schedule.warm_up.from", warm_up.from)?;
        left -= warm_up.steps;
    }
    let at = |field: &str| format!("pipeline.schedule.course.{field}");
    let some = |field: &str, got: u64| expect(got > 0, at(field), "at least 1 step", got);
    match schedule.course {
        Course::Constant => Ok(()),
        Course::Step { every, factor } => {
            some("every", every)?;
            positive(&at("factor"), factor)?;
            share(&at("factor"), factor)
        }
        Course::Cosine { end } => share(&at("end"), end),
        Course::OneCycle { rise, start, end } => {
            expect(
                left >= 2,
                "pipeline.schedule.course",
                "at least 2 steps after the warm-up for one cycle",
                left,
            )?;
            share(&at("rise"), rise)?;
            share(&at("start"), start)?;
            share(&at("end"), end)
        }
        Course::Cyclic { low, up, down } => {
            share(&at("low"), low)?;
            some("up", up)?;
            some("down", down)
        }
    }
}

fn positive(field: &str, got: f64) -> Result<(), ContractError> {
    expect(got.is_finite() && got > 0.0, field, "a number above 0", got)
}

fn not_negative(field: &str, got: f64) -> Result<(), ContractError> {
    expect(
        got.is_finite() && got >= 0.0,
        field,
        "a number of at least 0",
        got,
    )
}

fn decay(field: &str, got: f64) -> Result<(), ContractError> {
    expect(
        (0.0..1.0).contains(&got),
        field,
        "a number from 0 to below 1",
        got,
    )
}

fn share(field: &str, got: f64) -> Result<(), ContractError> {
    expect(
        (0.0..=1.0).contains(&got),
        field,
        "a share from 0 to 1",
        got,
    )
}
