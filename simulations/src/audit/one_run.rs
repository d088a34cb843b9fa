//! Many canaries in one run (Steinke, Nasr and Jagielski 2023, "Privacy auditing with one (1) training run",
//! arXiv:2305.08846).
//!
//! Each of `m` canaries is in the data or not, by a fair coin. From the trained weights the attacker guesses the coins of
//! those `r` of which it is surest and abstains from the rest. If training is `(ε, δ)`-private for adding or removing one
//! record, then (their Theorem 5.2) `v` or more right guesses have probability at most
//! `P[W >= v] + 2mδ max_{1<=i<=v} P[v > W >= v - i]/i`, `W ~ Binomial(r, e^ε/(e^ε + 1))`. An epsilon at which that is at most
//! `1 - confidence` is refuted.

use rand_core::RngCore;
use serde::Serialize;

use super::binomial::Binomial;
use super::{AuditError, AuditPlan, Subject, Task, samples, toss};

/// What one run gave away.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct OneRun {
    /// Canaries.
    pub canaries: usize,
    /// Those guessed; on the others the attacker abstains.
    pub guesses: usize,
    /// Right guesses.
    pub correct: usize,
    /// The largest epsilon that they refute.
    pub epsilon: f64,
}

/// The share of the canaries that are guessed, half of it from either end. Chosen before the attack: choosing the best
/// afterwards would void the confidence.
const GUESSED: f64 = 0.1;

pub(super) fn attack(
    plan: &AuditPlan,
    subject: &mut dyn Subject,
    coins: &mut dyn RngCore,
) -> Result<OneRun, AuditError> {
    let canaries = plan.canaries as usize;
    let present: Vec<bool> = (0..canaries).map(|_| toss(coins, 0.5)).collect();
    let included: Vec<usize> = (0..canaries).filter(|&canary| present[canary]).collect();
    let scores = subject.train(&Task::new(canaries), &samples(plan, &included, coins))?;
    let mut ranks: Vec<usize> = (0..canaries).collect();
    ranks.sort_by(|&a, &b| scores[a].total_cmp(&scores[b]));
    let side = ((canaries as f64 * GUESSED / 2.0) as usize).max(1);
    let (out, inside) = (&ranks[..side], &ranks[canaries - side..]);
    let correct = out.iter().filter(|&&canary| !present[canary]).count()
        + inside.iter().filter(|&&canary| present[canary]).count();
    Ok(OneRun {
        canaries,
        guesses: 2 * side,
        correct,
        epsilon: refuted(
            canaries,
            2 * side,
            correct,
            plan.delta.get(),
            1.0 - plan.confidence,
        ),
    })
}

/// The largest epsilon at which so many right guesses have a probability of at most `level`.
pub(super) fn refuted(
    canaries: usize,
    guesses: usize,
    correct: usize,
    delta: f64,
    level: f64,
) -> f64 {
    let probability = |epsilon: f64| {
        let right = Binomial::new(guesses, 1.0 / (1.0 + (-epsilon).exp()));
        let (mut below, mut largest) = (0.0, 0.0f64);
        for i in 1..=correct {
            below += right.exactly(correct - i);
            largest = largest.max(below / i as f64);
        }
        right.at_least(correct) + 2.0 * canaries as f64 * delta * largest
    };
    let (mut low, mut high) = (0.0, MOST);
    if probability(low) > level {
        return 0.0;
    }
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        if probability(middle) <= level {
            low = middle;
        } else {
            high = middle;
        }
    }
    low
}

/// No number of guesses that fits in memory refutes more.
const MOST: f64 = 50.0;
