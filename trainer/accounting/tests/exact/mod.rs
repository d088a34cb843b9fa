//! What accountants are held against: formulas without approximation, and the shared vectors.
#![allow(dead_code, unreachable_pub)]

use std::path::PathBuf;

use tributary_accounting::{NoiseMultiplier, Phase, SamplingRate, Steps};

pub fn phase(q: f64, z: f64, steps: u64) -> Phase {
    Phase {
        sampling_rate: SamplingRate::new(q).unwrap(),
        noise_multiplier: NoiseMultiplier::new(z).unwrap(),
        steps: Steps::new(steps),
    }
}

#[derive(serde::Deserialize)]
pub struct Vectors {
    pub settings: Vec<Setting>,
}

#[derive(serde::Deserialize)]
pub struct Setting {
    pub sampling_rate: f64,
    pub noise_multiplier: f64,
    pub steps: u64,
    pub delta: f64,
    pub rdp: f64,
    pub pld: f64,
}

/// The shared vectors, or `None` where they are absent and need not be there.
pub fn vectors() -> Option<Vectors> {
    let shared = std::env::var_os("TRIBUTARY_SHARED").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared"),
        PathBuf::from,
    );
    let file = shared.join("vectors/dp/epsilon.json");
    match std::fs::read(&file) {
        Ok(bytes) => Some(serde_json::from_slice(&bytes).unwrap()),
        Err(error) => {
            assert!(
                std::env::var_os("CI").is_none(),
                "{}: {error}",
                file.display()
            );
            println!("skipped: {} is not there", file.display());
            None
        }
    }
}

/// The exact epsilon of one step of the subsampled Gaussian, the worse of both directions, by bisection on the exact
/// delta (for q = 1 this is Theorem 8 of Balle and Wang 2018).
pub fn exact_epsilon(q: f64, z: f64, delta: f64) -> f64 {
    let (mut low, mut high) = (0.0, 1e6);
    for _ in 0..200 {
        let middle = 0.5 * (low + high);
        if exact_delta(q, z, middle) > delta {
            low = middle
        } else {
            high = middle
        }
    }
    low
}

/// `max over directions of sup_S P[M(D) in S] - e^ε P[M(D') in S]`; the best S is a half line in both.
pub fn exact_delta(q: f64, z: f64, epsilon: f64) -> f64 {
    let place = |x: f64, mean: f64| (x - mean) / (z * std::f64::consts::SQRT_2);
    let upper = |x: f64, mean: f64| 0.5 * erfc(place(x, mean));
    let ln_upper = |x: f64, mean: f64| ln_erfc(place(x, mean)) - std::f64::consts::LN_2;
    // With the record against without: 1 - q + q e^w > e^ε, that is x > cut.
    let cut = 0.5 + z * z * ln_exp_plus(epsilon, (q - 1.0) / q, q);
    let with =
        (1.0 - q) * upper(cut, 0.0) + q * upper(cut, 1.0) - (epsilon + ln_upper(cut, 0.0)).exp();
    // Without against with: 1 - q + q e^w < e^-ε, possible only where e^-ε > 1 - q.
    let rest = (-epsilon).exp() - (1.0 - q);
    let without = if rest > 0.0 {
        let cut = 0.5 + z * z * (rest / q).ln();
        let lower = |mean: f64| upper(-cut, -mean);
        let ln_lower = |mean: f64| ln_upper(-cut, -mean);
        let left = (epsilon + ln_lower(0.0)).exp();
        lower(0.0) - (1.0 - q) * left - q * (epsilon + ln_lower(1.0)).exp()
    } else {
        0.0
    };
    with.max(without)
}

/// `log(e^ε/q + shift)` without overflow.
fn ln_exp_plus(epsilon: f64, shift: f64, q: f64) -> f64 {
    epsilon - q.ln() + (shift * q * (-epsilon).exp()).ln_1p()
}

/// `log erfc(x)`, where erfc itself may be too small for a number.
fn ln_erfc(x: f64) -> f64 {
    if x < 2.0 {
        erfc(x).ln()
    } else {
        -x * x - (std::f64::consts::PI.sqrt() * fraction(x)).ln()
    }
}

/// The complementary error function: the series of erf below 2, the continued fraction above.
pub fn erfc(x: f64) -> f64 {
    if x < 0.0 {
        return 2.0 - erfc(-x);
    }
    let root_pi = std::f64::consts::PI.sqrt();
    if x < 2.0 {
        let (mut term, mut sum, mut n) = (x, x, 0.0);
        while term.abs() > 1e-18 * sum {
            n += 1.0;
            term *= -x * x / n;
            sum += term / (2.0 * n + 1.0);
            if n > 200.0 {
                break;
            }
        }
        return 1.0 - 2.0 / root_pi * sum;
    }
    (-x * x).exp() / (root_pi * fraction(x))
}

/// The continued fraction of `e^(-x²) / √π erfc(x)`.
fn fraction(x: f64) -> f64 {
    (1..=200)
        .rev()
        .fold(x, |below, k| x + f64::from(k) / 2.0 / below)
}
