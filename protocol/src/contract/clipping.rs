//! How a contract says that gradients are clipped, and what that leaves of its noise to them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tributary_accounting::{NoiseMultiplier, OutOfRange};

use super::ContractError;
use super::check::expect;

/// How gradients are clipped to the clipping norm `C`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Clipping {
    /// One that is longer than `C` is scaled down to it (Abadi et al. 2016).
    #[default]
    Flat,
    /// Each of `K` layers is scaled down to `C / sqrt(K)` by itself (McMahan et al. 2018).
    PerLayer,
    /// Each is scaled by `C / (its length + stability)`, short ones up (Bu et al. 2023).
    Automatic {
        /// Keeps the division from zero: above 0; the paper takes 0.01.
        stability: f64,
    },
    /// As flat, with a `C` that begins at the clipping norm and follows a quantile of the gradients' lengths (Andrew et al.
    /// 2021). How many were no longer than `C` is counted in each step, under noise of its own; the gradients get so much
    /// more noise that both together cost what the noise multiplier says.
    Adaptive(AdaptiveClipping),
}

/// Which quantile is followed, how fast, and how the count is protected.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AdaptiveClipping {
    /// The share of gradients that shall not be shortened, above 0 and below 1; the paper takes 0.5.
    pub quantile: f64,
    /// How fast `C` follows, above 0, at most 1; the paper takes 0.2.
    pub learning_rate: f64,
    /// The standard deviation of the noise on the count, above half the noise multiplier; the paper takes a twentieth of an
    /// average batch.
    pub count_noise: f64,
}

impl Clipping {
    /// The noise on gradients, in clipping norms, where the mechanism as a whole has the multiplier `whole`.
    ///
    /// A record moves the count by a half either way, so the count alone is a Gaussian mechanism of multiplier
    /// `2 count_noise` (Andrew et al. 2021, theorem 1).
    ///
    /// # Errors
    /// Where the count leaves nothing to the gradients.
    pub fn gradient_noise(&self, whole: NoiseMultiplier) -> Result<NoiseMultiplier, OutOfRange> {
        match self {
            Self::Flat | Self::PerLayer | Self::Automatic { .. } => Ok(whole),
            Self::Adaptive(adaptive) => {
                whole.beside(NoiseMultiplier::new(2.0 * adaptive.count_noise)?)
            }
        }
    }

    pub(super) fn check(&self, whole: NoiseMultiplier) -> Result<(), ContractError> {
        let at = |mode: &str, field: &str| format!("privacy.clipping.{mode}.{field}");
        match *self {
            Self::Flat | Self::PerLayer => Ok(()),
            Self::Automatic { stability } => expect(
                // As the trainer holds it.
                (stability as f32).is_normal() && stability > 0.0,
                at("automatic", "stability"),
                "a number above 0, such as 0.01",
                stability,
            ),
            Self::Adaptive(adaptive) => {
                let AdaptiveClipping {
                    quantile,
                    learning_rate,
                    count_noise,
                } = adaptive;
                expect(
                    quantile > 0.0 && quantile < 1.0,
                    at("adaptive", "quantile"),
                    "a share above 0 and below 1, such as 0.5",
                    quantile,
                )?;
                expect(
                    learning_rate > 0.0 && learning_rate <= 1.0,
                    at("adaptive", "learning_rate"),
                    "a number above 0, at most 1, such as 0.2",
                    learning_rate,
                )?;
                let least = whole.get() * LEAST_COUNT_NOISE;
                expect(
                    count_noise.is_finite() && count_noise > least,
                    at("adaptive", "count_noise"),
                    format_args!(
                        "a number above {least}, half the noise multiplier and a little, so that noise is left to the gradients"
                    ),
                    count_noise,
                )
            }
        }
    }
}

/// In noise multipliers. At a half the count takes all, and near it the gradients' noise grows without bound.
const LEAST_COUNT_NOISE: f64 = 0.5 * 1.001;

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::tests::{good, parse};
    use super::super::{Contract, ContractError};

    fn with(clipping: &Value) -> Result<Contract, ContractError> {
        let (mut document, _) = good();
        document["privacy"]["clipping"] = clipping.clone();
        parse(&document)
    }

    fn adaptive(count_noise: f64) -> Value {
        json!({"adaptive": {"quantile": 0.5, "learning_rate": 0.2, "count_noise": count_noise}})
    }

    #[test]
    fn every_mode_is_read_and_written_as_it_was_and_flat_where_it_is_left_out() {
        for clipping in [
            json!("per-layer"),
            json!({"automatic": {"stability": 0.01}}),
            adaptive(30.0),
        ] {
            let contract = with(&clipping).unwrap_or_else(|error| panic!("{clipping}: {error}"));
            let written = serde_json::to_value(contract.document()).unwrap();
            assert_eq!(written["privacy"]["clipping"], clipping);
        }
        let flat = with(&json!("flat")).unwrap();
        let (left_out, _) = good();
        let left_out = parse(&left_out).unwrap();
        assert_eq!(flat.document().privacy, left_out.document().privacy);
        let written = serde_json::to_value(flat.document()).unwrap();
        assert!(written["privacy"].get("clipping").is_none());
    }

    #[test]
    fn settings_out_of_their_bounds_are_refused_by_their_path() {
        let adaptive = |field: &str, value: f64| {
            let mut clipping = adaptive(30.0);
            clipping["adaptive"][field] = json!(value);
            clipping
        };
        // The noise multiplier is 1.1.
        for (clipping, field) in [
            (
                json!({"automatic": {"stability": 0.0}}),
                "automatic.stability",
            ),
            (
                json!({"automatic": {"stability": 1e-300}}),
                "automatic.stability",
            ),
            (
                json!({"automatic": {"stability": 1e300}}),
                "automatic.stability",
            ),
            (adaptive("quantile", 0.0), "adaptive.quantile"),
            (adaptive("quantile", 1.0), "adaptive.quantile"),
            (adaptive("learning_rate", 0.0), "adaptive.learning_rate"),
            (adaptive("learning_rate", 1.5), "adaptive.learning_rate"),
            (adaptive("count_noise", 0.55), "adaptive.count_noise"),
            (adaptive("count_noise", -30.0), "adaptive.count_noise"),
        ] {
            match with(&clipping) {
                Err(ContractError::Field { field: named, .. }) => {
                    assert_eq!(named, format!("privacy.clipping.{field}"), "{clipping}");
                }
                other => panic!("{clipping}: {other:?}"),
            }
        }
        for unknown in [
            json!("none"),
            json!({"automatic": {"stability": 0.01, "extra": 1}}),
            json!({"automatic": {}}),
            json!({"adaptive": {"quantile": 0.5, "learning_rate": 0.2}}),
            json!({"adaptive": {"quantile": 0.5, "learning_rate": 0.2, "count_noise": 30.0, "extra": 1}}),
        ] {
            assert!(
                matches!(with(&unknown), Err(ContractError::Json(_))),
                "{unknown}"
            );
        }
    }

    #[test]
    fn a_count_costs_no_epsilon_because_the_gradients_get_more_noise() {
        let flat = with(&json!("flat")).unwrap();
        assert_eq!(flat.gradient_noise(), flat.noise_multiplier());
        let adaptive = with(&adaptive(2.0)).unwrap();
        let (whole, gradients) = (1.1, adaptive.gradient_noise().get());
        let together = (gradients.powi(-2) + 4.0_f64.powi(-2)).powf(-0.5);
        assert!(gradients > whole && (together - whole).abs() < 1e-12);
        let epsilon = |contract: &Contract| contract.plan().unwrap().datasets[0].all_runs;
        assert_eq!(epsilon(&flat), epsilon(&adaptive));
    }
}
