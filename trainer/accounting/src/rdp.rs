//! The accountant by Rényi divergence: moments add up over steps, and the best order is chosen at the end.

use serde::{Deserialize, Serialize};

use crate::accountant::{Accountant, AccountingError, Phase, most_that_fit};
use crate::moments;
use crate::quantities::{Delta, Epsilon, NoiseMultiplier, SamplingRate, Steps};

/// The accountant of Mironov, Talwar and Zhang (2019), with the conversion of Canonne, Kamath and Steinke (2020).
///
/// Its epsilon lies some 7 to 20 % above the exact one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rdp;

impl Accountant for Rdp {
    fn name(&self) -> &'static str {
        "rdp"
    }

    fn epsilon(&self, phases: &[Phase], delta: Delta) -> Result<Epsilon, AccountingError> {
        let mut ledger = RdpLedger::new();
        for phase in phases {
            ledger.add(*phase)?;
        }
        Ok(ledger.epsilon(delta))
    }

    fn largest_steps(
        &self,
        before: &[Phase],
        sampling_rate: SamplingRate,
        noise_multiplier: NoiseMultiplier,
        target: Epsilon,
        delta: Delta,
        at_most: Steps,
    ) -> Result<Steps, AccountingError> {
        let mut ledger = RdpLedger::new();
        for phase in before {
            ledger.add(*phase)?;
        }
        // The curve is derived once and kept by every clone below.
        ledger.add(Phase {
            sampling_rate,
            noise_multiplier,
            steps: Steps::new(0),
        })?;
        let spent = ledger.steps();
        let at_most = Steps::new(at_most.get().min(u64::MAX - spent.get()));
        most_that_fit(at_most, |steps| {
            let mut trial = ledger.clone();
            trial.add(Phase {
                sampling_rate,
                noise_multiplier,
                steps,
            })?;
            Ok(trial.epsilon(delta) <= target)
        })
    }
}

/// The running account of one run: each pair of rate and noise costs some milliseconds once; a step then costs an
/// addition, and an epsilon some microseconds.
///
/// It serialises as its phases alone, so a checkpoint holds no derived numbers.
///
/// ```
/// use tributary_accounting::{Delta, NoiseMultiplier, Phase, RdpLedger, SamplingRate, Steps};
/// let mut ledger = RdpLedger::new();
/// let step = Phase {
///     sampling_rate: SamplingRate::new(0.01)?,
///     noise_multiplier: NoiseMultiplier::new(1.1)?,
///     steps: Steps::new(1),
/// };
/// let delta = Delta::new(1e-5)?;
/// let mut shown = ledger.epsilon(delta);
/// for _ in 0..10 {
///     ledger.add(step)?;
///     assert!(ledger.epsilon(delta) >= shown);
///     shown = ledger.epsilon(delta);
/// }
/// assert_eq!(ledger.steps(), Steps::new(10));
/// # Ok::<(), tributary_accounting::AccountingError>(())
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "Vec<Phase>", into = "Vec<Phase>")]
pub struct RdpLedger {
    orders: Vec<f64>,
    spent: Vec<(Phase, std::sync::Arc<[f64]>)>,
}

impl Default for RdpLedger {
    fn default() -> Self {
        Self::new()
    }
}

impl RdpLedger {
    /// An account in which nothing is spent.
    pub fn new() -> Self {
        Self {
            orders: moments::orders(),
            spent: Vec::new(),
        }
    }

    /// Adds the steps of a phase; phases of the same rate and noise are kept as one.
    ///
    /// # Errors
    /// [`AccountingError::TooManySteps`] where they can no longer be counted.
    pub fn add(&mut self, phase: Phase) -> Result<(), AccountingError> {
        self.steps()
            .get()
            .checked_add(phase.steps.get())
            .ok_or(AccountingError::TooManySteps)?;
        let same = |(known, _): &&mut (Phase, _)| {
            known.sampling_rate == phase.sampling_rate
                && known.noise_multiplier == phase.noise_multiplier
        };
        if let Some((known, _)) = self.spent.iter_mut().find(same) {
            known.steps = Steps::new(known.steps.get() + phase.steps.get());
        } else {
            let curve =
                moments::log_moments(phase.sampling_rate.get(), phase.noise_multiplier.get());
            self.spent.push((phase, curve.into()));
        }
        Ok(())
    }

    /// All steps taken.
    pub fn steps(&self) -> Steps {
        Steps::new(self.spent.iter().map(|(phase, _)| phase.steps.get()).sum())
    }

    /// The phases, in the order in which their rate and noise first came.
    pub fn phases(&self) -> impl Iterator<Item = Phase> + '_ {
        self.spent.iter().map(|(phase, _)| *phase)
    }

    /// The epsilon of everything added, at `delta`.
    ///
    /// Canonne, Kamath and Steinke 2020, Proposition 12: for every order,
    /// `ε = D_α + log(1 - 1/α) - (log δ + log α)/(α - 1)`; a negative one means that 0 holds with a smaller delta.
    pub fn epsilon(&self, delta: Delta) -> Epsilon {
        if self.steps() == Steps::new(0) {
            return Epsilon::ZERO;
        }
        let log_delta = delta.get().ln();
        let at_order = |(i, &order): (usize, &f64)| {
            let moment: f64 = self
                .spent
                .iter()
                .map(|(phase, curve)| cost(phase.steps, curve[i]))
                .sum();
            let positive = (moment - log_delta) / (order - 1.0);
            let negative = (-1.0 / order).ln_1p() - order.ln() / (order - 1.0);
            positive + negative + ROUNDING * (positive - negative)
        };
        Epsilon::from_bound(
            self.orders
                .iter()
                .enumerate()
                .map(at_order)
                .fold(f64::INFINITY, f64::min),
        )
    }
}

/// Charged for the few roundings of the conversion and of the sum over phases.
const ROUNDING: f64 = 1e-13;

/// An order whose moment is infinite costs nothing as long as no step was taken.
fn cost(steps: Steps, log_moment: f64) -> f64 {
    if steps == Steps::new(0) {
        0.0
    } else {
        steps.get() as f64 * log_moment
    }
}

impl TryFrom<Vec<Phase>> for RdpLedger {
    type Error = AccountingError;

    fn try_from(phases: Vec<Phase>) -> Result<Self, AccountingError> {
        let mut ledger = Self::new();
        for phase in phases {
            ledger.add(phase)?;
        }
        Ok(ledger)
    }
}

impl From<RdpLedger> for Vec<Phase> {
    fn from(ledger: RdpLedger) -> Self {
        ledger.phases().collect()
    }
}

impl PartialEq for RdpLedger {
    fn eq(&self, other: &Self) -> bool {
        self.phases().eq(other.phases())
    }
}
