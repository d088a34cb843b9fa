//! One canary in many runs: can training with it be told from training without?
//!
//! For every set of outcomes, `P_with <= e^ε P_without + δ` and the other way round (Kairouz, Oh and Viswanath 2015), so a test
//! with true positive rate `t` and false positive rate `f` proves `ε >= log((t - δ)/f)`, and likewise by its negatives. Half
//! of the runs choose the test's threshold; the others estimate its rates, by the interval of Clopper and Pearson, each of the
//! four ends at a quarter of the level (Jagielski, Ullman and Oprea 2020, "Auditing differentially private machine learning").

use rand_core::RngCore;
use serde::Serialize;

use super::binomial::{at_least, at_most};
use super::{AuditError, AuditPlan, Subject, Task, samples};

/// What two worlds gave away.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct TwoWorlds {
    /// Runs in each world that estimated the rates.
    pub runs: usize,
    /// Of those with the canary, how many were told to have it.
    pub true_positives: usize,
    /// Of those without it, how many were told to have it.
    pub false_positives: usize,
    /// The largest epsilon that they refute.
    pub epsilon: f64,
}

/// Records that are in both worlds.
const OTHERS: usize = 7;
/// The canary's number.
const CANARY: usize = OTHERS;

pub(super) fn attack(
    plan: &AuditPlan,
    subject: &mut dyn Subject,
    coins: &mut dyn RngCore,
) -> Result<TwoWorlds, AuditError> {
    let task = Task::new(OTHERS + 1);
    let mut scores = |present: &[usize], runs: usize| -> Result<Vec<f64>, AuditError> {
        (0..runs)
            .map(|_| {
                let moved = subject.train(&task, &samples(plan, present, coins))?;
                Ok(moved[CANARY])
            })
            .collect()
    };
    let without: Vec<usize> = (0..OTHERS).collect();
    let with: Vec<usize> = (0..=CANARY).collect();
    let half = plan.runs as usize / 2;
    let (first_with, first_without) = (scores(&with, half)?, scores(&without, half)?);
    let (delta, level) = (plan.delta.get(), 1.0 - plan.confidence);
    let threshold = first_with
        .iter()
        .step_by((half / THRESHOLDS).max(1))
        .map(|&threshold| {
            let (t, f) = (
                above(&first_with, threshold),
                above(&first_without, threshold),
            );
            (threshold, proven(t, f, half, delta, level))
        })
        .max_by(|a, b| a.1.total_cmp(&b.1))
        .map_or(0.0, |(threshold, _)| threshold);
    let rest = plan.runs as usize - half;
    let (last_with, last_without) = (scores(&with, rest)?, scores(&without, rest)?);
    let (t, f) = (
        above(&last_with, threshold),
        above(&last_without, threshold),
    );
    Ok(TwoWorlds {
        runs: rest,
        true_positives: t,
        false_positives: f,
        epsilon: proven(t, f, rest, delta, level),
    })
}

/// Thresholds that are tried, about.
const THRESHOLDS: usize = 64;

fn above(scores: &[f64], threshold: f64) -> usize {
    scores.iter().filter(|&&score| score > threshold).count()
}

/// The epsilon that `t` true and `f` false positives of `n` each prove.
pub(super) fn proven(t: usize, f: usize, n: usize, delta: f64, level: f64) -> f64 {
    let level = level / 4.0;
    let by = |more: usize, less: usize| {
        let (high, low) = (at_least(more, n, level), at_most(less, n, level));
        if high > delta {
            ((high - delta) / low).ln()
        } else {
            0.0
        }
    };
    by(t, f).max(by(n - f, n - t)).max(0.0)
}
