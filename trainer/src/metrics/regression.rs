//! How far values are off.

use serde::{Deserialize, Serialize};

use super::mean;

/// What evaluation found for values.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Regression {
    /// The mean squared error over all elements of all examples.
    pub mse: f64,
    /// The mean absolute error.
    pub mae: f64,
    /// The coefficient of determination, `1 - Σ(t - x)² / Σ(t - t̄)²`, of each element of the output and averaged
    /// (scikit-learn's `r2_score`). Where a target never varies it is 1 if it is met exactly, and else 0.
    pub r2: f64,
}

/// Adds up examples as they come.
pub(crate) struct RegressionTally {
    examples: u64,
    absolute: f64,
    elements: Vec<Element>,
}

/// Sums for one element of the output; the targets' mean and squares by Welford's updates (1962).
#[derive(Clone, Default)]
struct Element {
    squares: f64,
    mean: f64,
    spread: f64,
}

impl RegressionTally {
    pub(crate) fn new(elements: usize) -> Self {
        Self {
            examples: 0,
            absolute: 0.0,
            elements: vec![Element::default(); elements],
        }
    }

    pub(crate) fn add(&mut self, outputs: &[f32], values: &[f32]) {
        self.examples += 1;
        let count = self.examples as f64;
        for ((element, &output), &value) in self.elements.iter_mut().zip(outputs).zip(values) {
            let (x, t) = (f64::from(output), f64::from(value));
            element.squares += (x - t) * (x - t);
            self.absolute += (x - t).abs();
            let before = t - element.mean;
            element.mean += before / count;
            element.spread += before * (t - element.mean);
        }
    }

    pub(crate) fn finish(self) -> Regression {
        let count = self.examples as f64 * self.elements.len() as f64;
        let determination = |element: &Element| {
            if element.spread > 0.0 {
                1.0 - element.squares / element.spread
            } else if element.squares == 0.0 {
                1.0
            } else {
                0.0
            }
        };
        let squares: f64 = self.elements.iter().map(|element| element.squares).sum();
        Regression {
            mse: squares / count,
            mae: self.absolute / count,
            r2: mean(self.elements.iter().map(determination)).unwrap_or(f64::NAN),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(rows: &[([f32; 2], [f32; 2])]) -> Regression {
        let mut tally = RegressionTally::new(2);
        for (outputs, values) in rows {
            tally.add(outputs, values);
        }
        tally.finish()
    }

    #[test]
    fn errors_are_scikit_learns() {
        let found = run(&[
            ([2.5, 0.5], [3.0, 1.0]),
            ([0.0, -1.0], [-0.5, -1.0]),
            ([2.0, 4.0], [2.0, 3.0]),
            ([8.0, 2.0], [7.0, 2.5]),
        ]);
        assert!((found.mse - 0.375).abs() < 1e-12, "{found:?}");
        assert!((found.mae - 0.5).abs() < 1e-12, "{found:?}");
        assert!((found.r2 - 0.8968847136837743).abs() < 1e-12, "{found:?}");
    }

    #[test]
    fn a_target_that_never_varies_is_met_or_not() {
        let met = run(&[([1.0, 5.0], [1.0, 5.0]), ([2.0, 5.0], [2.0, 5.0])]);
        assert_eq!((met.r2, met.mse), (1.0, 0.0));
        let missed = run(&[([1.0, 4.0], [1.0, 5.0]), ([2.0, 5.0], [2.0, 5.0])]);
        assert_eq!(missed.r2, 0.5);
    }
}
