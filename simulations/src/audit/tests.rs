//! Audits of implementations that are broken on purpose, and of one that is not. They are made of the trainer's own grid and
//! noise; the noise can be repeated, so every test has one outcome.

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;
use tributary_accounting::{Delta, NoiseMultiplier, SamplingRate};
use tributary_trainer::{Grid, NoiseSource};

use super::one_run::refuted;
use super::two_worlds::proven;
use super::*;

/// What may be wrong.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    None,
    NoNoise,
    /// Noise of a quarter of the deviation.
    WeakNoise,
    /// The same noise in every run.
    RepeatedNoise,
    /// Gradients are added at ten times the clipping norm.
    NoClipping,
}

struct Parts {
    fault: Fault,
    noise_multiplier: f64,
    noise: NoiseSource,
}

const SEED: u64 = 11;

fn noise(seed: u64) -> NoiseSource {
    NoiseSource::insecure_with_keys_from(ChaCha20Rng::seed_from_u64(seed))
}

impl Subject for Parts {
    fn train(&mut self, task: &Task, samples: &[Vec<usize>]) -> Result<Vec<f64>, AuditError> {
        let records = task.records();
        let grid = Grid::new(1.0, 2 * records).unwrap();
        let multiplier = match self.fault {
            Fault::WeakNoise => self.noise_multiplier / 4.0,
            _ => self.noise_multiplier,
        };
        let sigma = grid
            .sigma(NoiseMultiplier::new(multiplier).unwrap())
            .unwrap();
        if self.fault == Fault::RepeatedNoise {
            self.noise = noise(SEED);
        }
        let mut moved = vec![0.0; records];
        for sample in samples {
            let mut sums = vec![0; 2 * records];
            for &record in sample {
                let mut gradient = vec![0.0; 2 * records];
                (gradient[record], gradient[records + record]) = (-50.0, 50.0);
                let times = if self.fault == Fault::NoClipping {
                    10
                } else {
                    1
                };
                for _ in 0..times {
                    grid.accumulate(&gradient, &mut sums);
                }
            }
            if self.fault != Fault::NoNoise {
                self.noise.add(&mut sums, sigma).unwrap();
            }
            let mut mean = vec![0.0; 2 * records];
            grid.mean_to_f32(&sums, 1.0, &mut mean);
            for (record, moved) in moved.iter_mut().enumerate() {
                *moved += f64::from(mean[records + record] - mean[record]);
            }
        }
        Ok(moved)
    }
}

fn plan() -> AuditPlan {
    AuditPlan {
        sampling_rate: SamplingRate::new(0.5).unwrap(),
        noise_multiplier: NoiseMultiplier::new(3.0).unwrap(),
        steps: 6,
        delta: Delta::new(1e-5).unwrap(),
        canaries: 1_000,
        runs: 2_000,
        confidence: 0.95,
    }
}

fn audit_of(fault: Fault) -> Audit {
    let plan = plan();
    let mut subject = Parts {
        fault,
        noise_multiplier: plan.noise_multiplier.get(),
        noise: noise(SEED),
    };
    audit(&plan, &mut subject, &mut ChaCha20Rng::seed_from_u64(3)).unwrap()
}

#[test]
fn a_sound_implementation_gives_away_something_and_no_more_than_it_claims() {
    let found = audit_of(Fault::None);
    assert!(found.holds, "{found:?}");
    assert!(found.one_run.epsilon > 0.0, "{found:?}");
}

#[test]
fn missing_weak_and_repeated_noise_and_missing_clipping_are_caught() {
    for fault in [
        Fault::NoNoise,
        Fault::WeakNoise,
        Fault::RepeatedNoise,
        Fault::NoClipping,
    ] {
        let found = audit_of(fault);
        assert!(!found.holds, "{fault:?} went unnoticed: {found:?}");
    }
}

#[test]
fn each_attack_alone_catches_missing_noise_and_missing_clipping() {
    for fault in [Fault::NoNoise, Fault::NoClipping] {
        let found = audit_of(fault);
        assert!(
            found.one_run.epsilon > found.claimed,
            "{fault:?}: {found:?}"
        );
        assert!(
            found.two_worlds.epsilon > found.claimed,
            "{fault:?}: {found:?}"
        );
    }
}

#[test]
fn guesses_refute_what_randomised_response_would_make_too_likely() {
    // Without delta: p^r = level at the border.
    let epsilon = refuted(1_000, 100, 100, 0.0, 0.05);
    let p = 1.0 / (1.0 + (-epsilon).exp());
    assert!((p.powi(100) - 0.05).abs() < 1e-9, "{epsilon}");
    assert_eq!(refuted(1_000, 100, 50, 1e-5, 0.05), 0.0);
    assert!(refuted(1_000, 100, 90, 1e-3, 0.05) < refuted(1_000, 100, 90, 0.0, 0.05));
    assert!(refuted(1_000, 100, 95, 1e-5, 0.05) > refuted(1_000, 100, 90, 1e-5, 0.05));
}

#[test]
fn rates_prove_what_their_intervals_allow() {
    assert_eq!(proven(50, 50, 100, 1e-5, 0.05), 0.0);
    let (sure, unsure) = (
        proven(1_000, 0, 1_000, 1e-5, 0.05),
        proven(10, 0, 10, 1e-5, 0.05),
    );
    assert!(sure > 5.0 && unsure < 1.5, "{sure} {unsure}");
    // Negatives count as positives do.
    assert!(
        (proven(900, 100, 1_000, 0.0, 0.05) - proven(900, 100, 1_000, 0.0, 0.05)).abs() < 1e-12
    );
    assert!(proven(1_000, 700, 1_000, 1e-5, 0.05) > 3.0);
}
