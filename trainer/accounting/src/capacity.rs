//! How many rows a padded batch needs, so that its size on the wire says nothing about the sample.

use serde::{Deserialize, Serialize};

use crate::accountant::AccountingError;
use crate::quantities::{Delta, OutOfRange, SamplingRate, Steps};

/// The rows of every batch of a run, and what their overflow costs.
///
/// A sample of more than `rows` records is cut. The price is an additive share of delta, **without** a factor of
/// `e^ε`: let `T` be the sample among all records but the one in question. Whether `|T| >= rows` is independent of that
/// record and of everything released, and where `|T| < rows` nothing is cut and the step is the ideal mechanism. So
/// with and without the record the run is `(1 - τ) G + τ B` with the same `τ <= steps · P[|T| >= rows]` and `G` ideal, and
/// `P[M(D) in S] <= (1 - τ)(e^ε P[G(D') in S] + δ) + τ <= e^ε P[M(D') in S] + δ + τ`.
/// With `n` records in the dataset, `|T|` is `Binomial(n - 1, q)`.
///
/// ```
/// use tributary_accounting::{Capacity, Delta, SamplingRate, Steps};
/// let capacity = Capacity::derive(15_000, SamplingRate::new(0.02)?, Steps::new(1_000), Delta::new(1e-5)?)?;
/// assert!(capacity.rows > 300 && capacity.rows < 450);
/// assert!(capacity.overflow_delta + capacity.remaining_delta.get() <= 1e-5);
/// # Ok::<(), tributary_accounting::AccountingError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Capacity {
    /// Rows of a padded batch, at most the records of the dataset.
    pub rows: u64,
    /// An upper bound of the probability that any step of the run is cut, at most [`Capacity::OVERFLOW_SHARE`] of delta.
    pub overflow_delta: f64,
    /// What is left of delta for the accountant.
    pub remaining_delta: Delta,
}

impl Capacity {
    /// The share of delta given to overflow: padding grows with the logarithm of its inverse only, and epsilon hardly
    /// feels the hundredth that is missing.
    pub const OVERFLOW_SHARE: f64 = 0.01;

    /// The smallest number of rows, by an upper bound of the binomial tail that is exact to a few per cent, for which
    /// the overflow of `steps` steps stays within its share of `delta`. Takes microseconds for any `records`.
    ///
    /// # Errors
    /// [`AccountingError::OutOfRange`] where there are no records, or more than 2^53.
    pub fn derive(
        records: u64,
        rate: SamplingRate,
        steps: Steps,
        delta: Delta,
    ) -> Result<Self, AccountingError> {
        if records == 0 || records > 1 << 53 {
            return Err(OutOfRange::new(
                "number of records",
                "at least 1 and at most 2^53",
                records as f64,
            )
            .into());
        }
        let share = delta.get() * Self::OVERFLOW_SHARE;
        let others = records - 1;
        let overflow =
            |rows: u64| steps.get() as f64 * binomial_tail(others, rate.get(), rows).min(1.0);
        let (mut too_few, mut enough) = (0, records);
        while enough - too_few > 1 {
            let middle = too_few + (enough - too_few) / 2;
            if overflow(middle) <= share {
                enough = middle;
            } else {
                too_few = middle;
            }
        }
        Ok(Self {
            rows: enough,
            overflow_delta: overflow(enough),
            remaining_delta: Delta::new(delta.get() - share)?,
        })
    }
}

/// An upper bound of `P[Binomial(n, q) >= c]`.
///
/// For `c > nq` the terms fall faster than a geometric series: `P[X >= c] <= p(c) / (1 - ratio)` with
/// `ratio = p(c+1)/p(c)`. Stirling with both remainders gives
/// `p(c) <= sqrt(n / 2πc(n-c)) · exp(-n KL(c/n ‖ q))` (Robbins 1955).
fn binomial_tail(n: u64, q: f64, c: u64) -> f64 {
    if c == 0 {
        return 1.0;
    }
    if c > n {
        return 0.0;
    }
    let (n, c) = (n as f64, c as f64);
    let mean = n * q;
    if c <= mean {
        return 1.0;
    }
    if c == n {
        return (n * q.ln() * (1.0 - SLACK)).exp();
    }
    let ratio = (n - c) * q / ((c + 1.0) * (1.0 - q)) * (1.0 + SLACK);
    if ratio >= 1.0 {
        return 1.0;
    }
    let excess = c - mean;
    let ours = c * (excess / mean).ln_1p();
    let rest = (n - c) * (-excess / (n - mean)).ln_1p();
    let divergence = ours + rest - SLACK * (ours.abs() + rest.abs());
    let log_term =
        0.5 * (n / (2.0 * std::f64::consts::PI * c * (n - c))).ln() - divergence.max(0.0);
    (log_term - (-ratio).ln_1p() + SLACK).exp().min(1.0)
}

/// Charged for rounding, relative to the magnitudes that go in.
const SLACK: f64 = 1e-13;

#[cfg(test)]
mod tests {
    use super::*;

    fn derive(records: u64, rate: f64, steps: u64, delta: f64) -> Capacity {
        Capacity::derive(
            records,
            SamplingRate::new(rate).unwrap(),
            Steps::new(steps),
            Delta::new(delta).unwrap(),
        )
        .unwrap()
    }

    /// `P[Binomial(n, q) >= c]` term by term, smallest first.
    fn summed_tail(n: u64, q: f64, c: u64) -> f64 {
        let mut log_term = n as f64 * (-q).ln_1p();
        let mut terms = Vec::new();
        for k in 0..=n {
            if k >= c {
                terms.push(log_term.exp());
            }
            log_term += ((n - k) as f64 / (k + 1) as f64).ln() + q.ln() - (-q).ln_1p();
        }
        terms.iter().rev().sum()
    }

    #[test]
    fn the_tail_is_bounded_from_above_and_closely() {
        for (n, q) in [
            (10, 0.3),
            (50, 0.5),
            (200, 0.01),
            (999, 0.1),
            (5_000, 0.02),
            (5_000, 0.9),
        ] {
            for c in 0..=n {
                let (bound, exact) = (binomial_tail(n, q, c), summed_tail(n, q, c));
                assert!(
                    bound >= exact * (1.0 - 1e-9) || exact < 1e-250,
                    "n {n} q {q} c {c}: {bound} below {exact}"
                );
                if (1e-250..1e-4).contains(&exact) && c < n {
                    assert!(
                        bound <= exact * 1.3,
                        "n {n} q {q} c {c}: {bound} far above {exact}"
                    );
                }
            }
        }
    }

    #[test]
    fn rows_are_the_fewest_that_direct_summation_allows_or_one_more() {
        for (records, rate, steps, delta) in [
            (1_000, 0.05, 100, 1e-5),
            (3_000, 0.01, 5_000, 1e-6),
            (400, 0.5, 10, 1e-3),
            (20, 0.1, 1_000, 1e-5),
        ] {
            let capacity = derive(records, rate, steps, delta);
            let share = delta * Capacity::OVERFLOW_SHARE;
            let enough = |rows| steps as f64 * summed_tail(records - 1, rate, rows) <= share;
            assert!(enough(capacity.rows), "{records} {rate}");
            assert!(
                capacity.rows < 2 || !enough(capacity.rows - 2),
                "{records} {rate}: {}",
                capacity.rows
            );
            assert!(capacity.overflow_delta <= share);
        }
    }

    #[test]
    fn rows_never_exceed_the_records_and_full_batches_are_never_cut() {
        assert_eq!(derive(7, 1.0, 1_000, 1e-9).rows, 7);
        assert_eq!(derive(7, 1.0, 1_000, 1e-9).overflow_delta, 0.0);
        assert_eq!(derive(1, 0.5, 1_000, 1e-9).rows, 1);
        assert_eq!(derive(3, 0.999, u64::MAX, 1e-9).rows, 3);
    }

    #[test]
    fn a_hundred_million_records_take_few_deviations_more_than_the_mean() {
        let capacity = derive(100_000_000, 1e-4, 100_000, 1e-8);
        assert!(
            capacity.rows > 10_000 + 700 && capacity.rows < 10_000 + 1_100,
            "{}",
            capacity.rows
        );
    }

    #[test]
    fn an_empty_dataset_is_refused() {
        let (rate, delta) = (SamplingRate::new(0.1).unwrap(), Delta::new(1e-5).unwrap());
        let error = Capacity::derive(0, rate, Steps::new(1), delta).unwrap_err();
        assert_eq!(
            error.to_string(),
            "number of records must be at least 1 and at most 2^53, got 0"
        );
    }
}
