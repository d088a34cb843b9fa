//! Tails of the binomial distribution, and the bounds that follow from them.

/// Probabilities of `Binomial(n, p)`.
pub(super) struct Binomial {
    probabilities: Vec<f64>,
}

impl Binomial {
    pub(super) fn new(n: usize, p: f64) -> Self {
        let mut log_factorial = vec![0.0; n + 1];
        for i in 1..=n {
            log_factorial[i] = log_factorial[i - 1] + (i as f64).ln();
        }
        let term = |k: usize| {
            // 0 log 0 is 0: nothing has happened.
            let times = |count: usize, log: f64| if count == 0 { 0.0 } else { count as f64 * log };
            let log = log_factorial[n] - log_factorial[k] - log_factorial[n - k]
                + times(k, p.ln())
                + times(n - k, (-p).ln_1p());
            log.exp()
        };
        Self {
            probabilities: (0..=n).map(term).collect(),
        }
    }

    /// `P[X = k]`.
    pub(super) fn exactly(&self, k: usize) -> f64 {
        self.probabilities.get(k).copied().unwrap_or(0.0)
    }

    /// `P[X >= k]`.
    pub(super) fn at_least(&self, k: usize) -> f64 {
        self.probabilities
            .iter()
            .skip(k)
            .rev()
            .sum::<f64>()
            .min(1.0)
    }
}

/// The largest probability that `hits` of `n` refute at this level from below: it is the lower end of Clopper and Pearson's
/// interval (1934).
pub(super) fn at_least(hits: usize, n: usize, level: f64) -> f64 {
    bisect(|p| Binomial::new(n, p).at_least(hits) <= level)
}

/// The upper end.
pub(super) fn at_most(hits: usize, n: usize, level: f64) -> f64 {
    1.0 - at_least(n - hits, n, level)
}

/// The border in `[0, 1]` up to which `refuted` is true, from below.
fn bisect(refuted: impl Fn(f64) -> bool) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        if refuted(middle) {
            low = middle;
        } else {
            high = middle;
        }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tails_are_sums_of_coefficients() {
        let fair = Binomial::new(4, 0.5);
        assert!((fair.exactly(2) - 6.0 / 16.0).abs() < 1e-14);
        assert!((fair.at_least(3) - 5.0 / 16.0).abs() < 1e-14);
        assert_eq!(fair.exactly(5), 0.0);
        assert_eq!(Binomial::new(3, 1.0).exactly(3), 1.0);
        assert_eq!(Binomial::new(3, 0.0).exactly(0), 1.0);
    }

    #[test]
    fn bounds_are_clopper_and_pearsons() {
        // No hit at all: (1 - p)^n = level.
        let bound = at_most(0, 50, 0.05);
        assert!(
            (bound - (1.0 - 0.05f64.powf(1.0 / 50.0))).abs() < 1e-12,
            "{bound}"
        );
        assert_eq!(at_least(0, 50, 0.05), 0.0);
        // 10 of 100, from their tables.
        assert!((at_least(10, 100, 0.025) - 0.0490).abs() < 1e-4);
        assert!((at_most(10, 100, 0.025) - 0.1762).abs() < 1e-4);
    }
}
