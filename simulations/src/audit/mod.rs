//! What privacy is worth in practice: attacks on the trainer, and the epsilon that their success proves.
//!
//! An attack that wins more often than `(ε, δ)` allows proves that epsilon is larger. So an audit gives a *lower* bound,
//! with a stated confidence; the accountant gives an upper one. A lower bound above the upper one proves a fault: noise too
//! small, a clipping norm that does not hold, a sampling rate that is not kept. One below it proves nothing wrong, and
//! nothing right beyond what this attack can see.
//!
//! The attacker here is as strong as the threat model's: it chose all records but one, knows the model, and sees the weights
//! before and after. What is attacked is a [`Subject`]: [`TrainerSubject`] is the trainer as it runs; the tests attack
//! implementations that are broken on purpose, and must catch them.

mod binomial;
mod one_run;
mod subject;
#[cfg(test)]
mod tests;
mod two_worlds;

use rand_core::RngCore;
use serde::Serialize;
use tributary_accounting::{
    Accountant as _, AccountingError, Delta, Epsilon, NoiseMultiplier, Phase, Pld, SamplingRate,
    Steps,
};
use tributary_trainer::{GraphError, ParametersError, PrivacyError, SetupError, TrainError};

pub use one_run::OneRun;
pub use subject::{Subject, Task, TrainerSubject};
pub use two_worlds::TwoWorlds;

/// What the subject claims, and how hard it is attacked.
#[derive(Debug, Clone, Copy)]
pub struct AuditPlan {
    /// The probability with which each record takes part in a step.
    pub sampling_rate: SamplingRate,
    /// The noise's standard deviation, in clipping norms.
    pub noise_multiplier: NoiseMultiplier,
    /// Steps of a training run.
    pub steps: u32,
    /// The probability that epsilon does not bound.
    pub delta: Delta,
    /// Records that the one run may or may not contain.
    pub canaries: u32,
    /// Runs in each of the two worlds.
    pub runs: u32,
    /// The probability with which each lower bound holds.
    pub confidence: f64,
}

/// What an audit found.
#[derive(Debug, Clone, Serialize)]
pub struct Audit {
    /// The accountant's epsilon: an upper bound, if the subject does what it says.
    pub claimed: f64,
    /// At this delta.
    pub delta: f64,
    /// The probability with which each lower bound holds.
    pub confidence: f64,
    /// Many canaries in one run.
    pub one_run: OneRun,
    /// One canary in many runs.
    pub two_worlds: TwoWorlds,
    /// Whether both lower bounds are at most what is claimed.
    pub holds: bool,
}

/// Why there is no audit.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// A number of the plan.
    #[error("{what} must be {expected}, got {got}")]
    Plan {
        /// Which.
        what: &'static str,
        /// Its range.
        expected: &'static str,
        /// What it is.
        got: f64,
    },
    /// The claim cannot be computed.
    #[error(transparent)]
    Accounting(#[from] AccountingError),
    /// The claim is no promise.
    #[error("the accountant promises nothing for so little noise; audit a larger noise multiplier")]
    NoClaim,
    /// The model cannot be made.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The trainer refuses the settings.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// The trainer refuses the privacy.
    #[error(transparent)]
    Privacy(#[from] PrivacyError),
    /// A step failed.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// The weights cannot be read.
    #[error(transparent)]
    Parameters(#[from] ParametersError),
}

impl AuditPlan {
    /// The epsilon that the accountant gives for the plan's steps.
    ///
    /// # Errors
    /// [`AuditError::NoClaim`] where it is infinite.
    pub fn claim(&self) -> Result<Epsilon, AuditError> {
        let phase = Phase {
            sampling_rate: self.sampling_rate,
            noise_multiplier: self.noise_multiplier,
            steps: Steps::new(self.steps.into()),
        };
        let epsilon = Pld.epsilon(&[phase], self.delta)?;
        if epsilon.get().is_finite() {
            Ok(epsilon)
        } else {
            Err(AuditError::NoClaim)
        }
    }

    fn check(&self) -> Result<(), AuditError> {
        let between = |what, expected, low: u32, high: u32, got: u32| {
            if (low..=high).contains(&got) {
                Ok(())
            } else {
                Err(AuditError::Plan {
                    what,
                    expected,
                    got: got.into(),
                })
            }
        };
        between("steps", "1 to 10,000", 1, 10_000, self.steps)?;
        between("canaries", "20 to 100,000", 20, 100_000, self.canaries)?;
        between("runs", "20 to 1,000,000", 20, 1_000_000, self.runs)?;
        if self.confidence > 0.0 && self.confidence < 1.0 {
            Ok(())
        } else {
            Err(AuditError::Plan {
                what: "confidence",
                expected: "above 0 and below 1",
                got: self.confidence,
            })
        }
    }
}

/// Attacks a subject in both ways. `coins` decide which canaries there are and who is sampled; the attacker does not see
/// them, so they must not be guessable.
///
/// # Errors
/// [`AuditError`] where the plan is out of range or training fails.
pub fn audit(
    plan: &AuditPlan,
    subject: &mut dyn Subject,
    coins: &mut dyn RngCore,
) -> Result<Audit, AuditError> {
    plan.check()?;
    let claimed = plan.claim()?.get();
    let one_run = one_run::attack(plan, subject, coins)?;
    let two_worlds = two_worlds::attack(plan, subject, coins)?;
    Ok(Audit {
        claimed,
        delta: plan.delta.get(),
        confidence: plan.confidence,
        holds: one_run.epsilon <= claimed && two_worlds.epsilon <= claimed,
        one_run,
        two_worlds,
    })
}

/// True with this probability.
fn toss(coins: &mut dyn RngCore, probability: f64) -> bool {
    // 53 bits, as many as a double holds: true at probability 1, always.
    ((coins.next_u64() >> 11) as f64 / (1u64 << 53) as f64) < probability
}

/// Poisson samples of the present records, one for each step.
fn samples(plan: &AuditPlan, present: &[usize], coins: &mut dyn RngCore) -> Vec<Vec<usize>> {
    (0..plan.steps)
        .map(|_| {
            let rate = plan.sampling_rate.get();
            let sampled = present.iter().copied();
            sampled.filter(|_| toss(coins, rate)).collect()
        })
        .collect()
}
