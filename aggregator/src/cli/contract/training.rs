//! What `aggregator contract new` takes about training, and what becomes of it where a recipe says otherwise.

use clap::{Args, ValueEnum};
use tributary_protocol::{Average, Clipping, Course, Loss, Optimiser, Schedule, WarmUp};

use super::new::Missing;
use crate::drafting::ClippingWish;
use crate::recipe::Recipe;

/// How the model is trained.
#[derive(Debug, Args)]
pub(super) struct TrainingArgs {
    /// The probability that epsilon does not bound.
    #[arg(long, value_name = "D")]
    pub(super) delta: Option<f64>,
    /// The probability with which each record takes part in each step.
    #[arg(long, value_name = "Q")]
    pub(super) sampling_rate: Option<f64>,
    /// The noise's standard deviation, in clipping norms; the least that keeps to epsilon where left out.
    #[arg(long, value_name = "S")]
    pub(super) noise_multiplier: Option<f64>,
    /// The longest gradient that one record may contribute.
    #[arg(long, value_name = "C")]
    pub(super) clipping_norm: Option<f64>,
    /// How gradients are clipped: flat where left out, per-layer, automatic or adaptive, the last two with the settings of
    /// their papers; or one with settings in the JSON of a contract, such as '{"automatic":{"stability":0.001}}' or
    /// '{"adaptive":{"quantile":0.5,"learning_rate":0.2,"count_noise":30}}'.
    #[arg(long, value_name = "MODE", value_parser = parse_clipping)]
    clipping: Option<ClippingWish>,
    /// Steps of one run.
    #[arg(long, value_name = "T")]
    pub(super) steps: Option<u64>,
    /// What training makes small: cross-entropy where left out, mse, l1, dice, or one with settings in the JSON of a
    /// contract, such as '{"focal":{"gamma":2}}' or '{"sum":[{"weight":1,"loss":"mse"},{"weight":0.5,"loss":"l1"}]}'.
    #[arg(long, value_name = "LOSS", value_parser = parse_loss)]
    pub(super) loss: Option<Loss>,
    /// How weights follow a gradient.
    #[arg(long, value_name = "NAME")]
    optimiser: Option<OptimiserName>,
    /// The size of a step.
    #[arg(long, value_name = "R")]
    learning_rate: Option<f64>,
    /// The share of the last update that is kept; Adam's decay of the mean. 0.9 where left out, 0 for RMSprop.
    #[arg(long, value_name = "M")]
    momentum: Option<f64>,
    /// How much of each weight is added to its gradient, or, for AdamW, taken off it; 0.01 for AdamW where left out.
    #[arg(long, value_name = "W")]
    weight_decay: Option<f64>,
    /// How the learning rate changes: constant, cosine (down to 0), or one with settings in the JSON of a contract, such as
    /// '{"kind":"step","every":100,"factor":0.5}', one-cycle and cyclic.
    #[arg(long, value_name = "COURSE", value_parser = parse_course)]
    schedule: Option<Course>,
    /// Steps in which the learning rate rises, before its course begins.
    #[arg(long, value_name = "N")]
    warm_up: Option<u64>,
    /// Seals an exponential moving average of the weights that keeps so much of itself in a step.
    #[arg(long, value_name = "DECAY")]
    ema: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OptimiserName {
    /// Stochastic gradient descent with momentum.
    Sgd,
    /// The same with Nesterov's momentum.
    Nesterov,
    /// Adam.
    Adam,
    /// Adam with decoupled weight decay.
    #[value(name = "adamw")]
    AdamW,
    /// RMSprop.
    #[value(name = "rmsprop")]
    RmsProp,
}

impl TrainingArgs {
    /// The loss.
    pub(super) fn loss(&self, recipe: Option<&Recipe>) -> Loss {
        let theirs = recipe.map(|recipe| recipe.loss.clone());
        self.loss.clone().or(theirs).unwrap_or(Loss::CrossEntropy)
    }

    /// How gradients are clipped.
    pub(super) fn clipping(&self, recipe: Option<&Recipe>) -> ClippingWish {
        let theirs = recipe.map_or_else(Clipping::default, |recipe| recipe.clipping);
        self.clipping.unwrap_or(ClippingWish::As(theirs))
    }

    /// The learning rate's course.
    pub(super) fn schedule(&self, recipe: Option<&Recipe>) -> Schedule {
        let theirs = recipe.map_or_else(Schedule::default, |recipe| recipe.schedule);
        let warm_up = self.warm_up.map(|steps| WarmUp {
            steps,
            // Even steps from the first to the one after the warm-up.
            from: 1.0 / (steps as f64 + 1.0),
        });
        Schedule {
            warm_up: warm_up.or(theirs.warm_up),
            course: self.schedule.unwrap_or(theirs.course),
        }
    }

    /// The average that is kept.
    pub(super) fn average(&self, recipe: Option<&Recipe>) -> Option<Average> {
        let own = self.ema.map(|decay| Average { decay });
        own.or(recipe.and_then(|recipe| recipe.average))
    }

    /// The optimiser.
    pub(super) fn optimiser(&self, recipe: Option<&Recipe>, missing: &mut Missing) -> Optimiser {
        let theirs = recipe.map(|recipe| recipe.optimiser);
        let kind = match (self.optimiser, theirs) {
            (Some(kind), _) => kind,
            (None, Some(theirs)) => name(&theirs),
            (None, None) => OptimiserName::Sgd,
        };
        // Another optimiser than the recipe's shares no setting with it.
        let mut optimiser = match theirs.filter(|theirs| name(theirs) == kind) {
            Some(theirs) => theirs,
            None => kind.with_rate(missing.or("--learning-rate", self.learning_rate, None)),
        };
        self.adjust(&mut optimiser);
        optimiser
    }

    fn adjust(&self, optimiser: &mut Optimiser) {
        match optimiser {
            Optimiser::Sgd {
                learning_rate,
                momentum,
                weight_decay,
                ..
            }
            | Optimiser::RmsProp {
                learning_rate,
                momentum,
                weight_decay,
                ..
            }
            | Optimiser::Adam {
                learning_rate,
                beta1: momentum,
                weight_decay,
                ..
            }
            | Optimiser::AdamW {
                learning_rate,
                beta1: momentum,
                weight_decay,
                ..
            } => {
                *learning_rate = self.learning_rate.unwrap_or(*learning_rate);
                *momentum = self.momentum.unwrap_or(*momentum);
                *weight_decay = self.weight_decay.unwrap_or(*weight_decay);
            }
        }
    }
}

impl OptimiserName {
    /// The optimiser with PyTorch's other settings, and the momentum that private training mostly has.
    fn with_rate(self, learning_rate: f64) -> Optimiser {
        let sgd = |nesterov| Optimiser::Sgd {
            learning_rate,
            momentum: 0.9,
            nesterov,
            weight_decay: 0.0,
        };
        match self {
            Self::Sgd => sgd(false),
            Self::Nesterov => sgd(true),
            Self::Adam => Optimiser::Adam {
                learning_rate,
                beta1: 0.9,
                beta2: 0.999,
                epsilon: 1e-8,
                weight_decay: 0.0,
            },
            Self::AdamW => Optimiser::AdamW {
                learning_rate,
                beta1: 0.9,
                beta2: 0.999,
                epsilon: 1e-8,
                weight_decay: 0.01,
            },
            Self::RmsProp => Optimiser::RmsProp {
                learning_rate,
                decay: 0.99,
                epsilon: 1e-8,
                momentum: 0.0,
                centred: false,
                weight_decay: 0.0,
            },
        }
    }
}

fn name(optimiser: &Optimiser) -> OptimiserName {
    match optimiser {
        Optimiser::Sgd {
            nesterov: false, ..
        } => OptimiserName::Sgd,
        Optimiser::Sgd { nesterov: true, .. } => OptimiserName::Nesterov,
        Optimiser::Adam { .. } => OptimiserName::Adam,
        Optimiser::AdamW { .. } => OptimiserName::AdamW,
        Optimiser::RmsProp { .. } => OptimiserName::RmsProp,
    }
}

fn parse_loss(text: &str) -> Result<Loss, serde_json::Error> {
    if text.starts_with('{') {
        return serde_json::from_str(text);
    }
    serde_json::from_value(text.into())
}

fn parse_clipping(text: &str) -> Result<ClippingWish, serde_json::Error> {
    if text.starts_with('{') {
        return serde_json::from_str(text).map(ClippingWish::As);
    }
    match text {
        "adaptive" => Ok(ClippingWish::Adaptive),
        // AUTO-S of Bu et al. 2023.
        "automatic" => Ok(ClippingWish::As(Clipping::Automatic { stability: 0.01 })),
        name => serde_json::from_value(name.into()).map(ClippingWish::As),
    }
}

fn parse_course(text: &str) -> Result<Course, serde_json::Error> {
    if text.starts_with('{') {
        return serde_json::from_str(text);
    }
    if text == "cosine" {
        return Ok(Course::Cosine { end: 0.0 });
    }
    serde_json::from_value(serde_json::json!({ "kind": text }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_clippings_and_courses_are_names_or_json() {
        assert_eq!(parse_loss("dice").unwrap(), Loss::Dice);
        assert_eq!(
            parse_loss(r#"{"huber":{"delta":0.5}}"#).unwrap(),
            Loss::Huber { delta: 0.5 }
        );
        for bad in ["hinge", "huber", r#"{"huber":{"delta":0.5,"x":1}}"#, "{"] {
            assert!(parse_loss(bad).is_err(), "{bad}");
        }
        assert_eq!(
            parse_clipping("per-layer").unwrap(),
            ClippingWish::As(Clipping::PerLayer)
        );
        assert_eq!(
            parse_clipping(r#"{"automatic":{"stability":2}}"#).unwrap(),
            ClippingWish::As(Clipping::Automatic { stability: 2.0 })
        );
        for bad in [
            "none",
            r#"{"automatic":{}}"#,
            r#"{"adaptive":{"quantile":0.5}}"#,
        ] {
            assert!(parse_clipping(bad).is_err(), "{bad}");
        }
        assert_eq!(parse_course("constant").unwrap(), Course::Constant);
        assert_eq!(parse_course("cosine").unwrap(), Course::Cosine { end: 0.0 });
        assert_eq!(
            parse_course(r#"{"kind":"step","every":9,"factor":0.5}"#).unwrap(),
            Course::Step {
                every: 9,
                factor: 0.5
            }
        );
        for bad in ["step", "linear", r#"{"kind":"cosine"}"#] {
            assert!(parse_course(bad).is_err(), "{bad}");
        }
    }
}
