//! The numbers of an accountant as types that are checked once, where they are made.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A number outside the range of its quantity.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{quantity} must be {expected}, got {got}")]
pub struct OutOfRange {
    quantity: &'static str,
    expected: &'static str,
    got: f64,
}

impl OutOfRange {
    pub(crate) fn new(quantity: &'static str, expected: &'static str, got: f64) -> Self {
        Self {
            quantity,
            expected,
            got,
        }
    }
}

macro_rules! quantity {
    ($(#[$doc:meta])* $name:ident, $quantity:literal, $expected:literal, $accepts:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize, Deserialize)]
        #[serde(try_from = "f64", into = "f64")]
        pub struct $name(f64);

        impl $name {
            /// Checks the range.
            ///
            /// # Errors
            /// [`OutOfRange`] outside the range that the type states, and for NaN.
            pub fn new(value: f64) -> Result<Self, OutOfRange> {
                let accepts: fn(f64) -> bool = $accepts;
                if accepts(value) { Ok(Self(value)) } else { Err(OutOfRange::new($quantity, $expected, value)) }
            }

            /// The number.
            pub fn get(self) -> f64 {
                self.0
            }
        }

        impl TryFrom<f64> for $name {
            type Error = OutOfRange;
            fn try_from(value: f64) -> Result<Self, OutOfRange> {
                Self::new(value)
            }
        }

        impl From<$name> for f64 {
            fn from(value: $name) -> f64 {
                value.0
            }
        }
    };
}

quantity!(
    /// The probability with which each record joins a step, in (0, 1].
    SamplingRate, "sampling rate", "above 0 and at most 1", |q| q > 0.0 && q <= 1.0
);
quantity!(
    /// The noise's standard deviation over the clipping norm: positive and finite.
    NoiseMultiplier, "noise multiplier", "above 0 and finite", |z| z > 0.0 && z.is_finite()
);
quantity!(
    /// The delta of (epsilon, delta)-differential privacy, in (0, 1).
    Delta, "delta", "above 0 and below 1", |d| d > 0.0 && d < 1.0
);
quantity!(
    /// The epsilon of (epsilon, delta)-differential privacy: at least 0; infinite where nothing is promised.
    ///
    /// Shown with three decimals, rounded **up**: a loss must never look smaller than it is.
    ///
    /// ```
    /// use tributary_accounting::Epsilon;
    /// assert_eq!(Epsilon::new(2.9991)?.to_string(), "3.000");
    /// assert!(Epsilon::new(f64::NAN).is_err());
    /// # Ok::<(), tributary_accounting::OutOfRange>(())
    /// ```
    Epsilon, "epsilon", "at least 0", |e| e >= 0.0
);

impl Epsilon {
    /// Nothing has been lost.
    pub const ZERO: Self = Self(0.0);

    /// For a value that its maker knows to be at least 0; negative rounding and NaN become the safe end.
    pub(crate) fn from_bound(value: f64) -> Self {
        if value.is_nan() {
            Self(f64::INFINITY)
        } else {
            Self(value.max(0.0))
        }
    }
}

impl NoiseMultiplier {
    /// What is left to a Gaussian mechanism beside another one of multiplier `other`, which looks at the same sample, where
    /// both together shall be one of multiplier `self`: `(self⁻² - other⁻²)^(-1/2)` (Andrew et al. 2021, theorem 1).
    ///
    /// ```
    /// use tributary_accounting::NoiseMultiplier;
    /// let (both, count) = (NoiseMultiplier::new(3.0)?, NoiseMultiplier::new(5.0)?);
    /// assert!((both.beside(count)?.get() - 3.75).abs() < 1e-12);
    /// assert!(both.beside(both).is_err());
    /// # Ok::<(), tributary_accounting::OutOfRange>(())
    /// ```
    ///
    /// # Errors
    /// [`OutOfRange`] where `other` is not above `self`: it alone costs as much as both may.
    pub fn beside(self, other: Self) -> Result<Self, OutOfRange> {
        let left = self.0.powi(-2) - other.0.powi(-2);
        // A few roundings, all paid for by more noise.
        Self::new(left.sqrt().recip() * (1.0 + 8.0 * f64::EPSILON))
    }
}

impl fmt::Display for Epsilon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_infinite() {
            return f.pad("inf");
        }
        let nearest = format!("{:.3}", self.0);
        match nearest.parse::<f64>() {
            Ok(shown) if shown >= self.0 => f.pad(&nearest),
            _ => f.pad(&format!("{:.3}", self.0 + 0.001)),
        }
    }
}

impl fmt::Display for SamplingRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Display for NoiseMultiplier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Display for Delta {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::LowerExp::fmt(&self.0, f)
    }
}

/// A number of steps; an empty sample is a step too.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Steps(u64);

impl Steps {
    /// That many steps.
    pub const fn new(steps: u64) -> Self {
        Self(steps)
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Steps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_refused_and_the_message_says_what_was_expected() {
        for bad in [0.0, -0.1, 1.0000001, f64::NAN, f64::INFINITY] {
            assert!(SamplingRate::new(bad).is_err(), "{bad}");
        }
        for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(NoiseMultiplier::new(bad).is_err(), "{bad}");
        }
        for bad in [0.0, 1.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(Delta::new(bad).is_err(), "{bad}");
        }
        for bad in [-1e-300, f64::NAN, f64::NEG_INFINITY] {
            assert!(Epsilon::new(bad).is_err(), "{bad}");
        }
        assert_eq!(
            SamplingRate::new(2.0).unwrap_err().to_string(),
            "sampling rate must be above 0 and at most 1, got 2"
        );
    }

    #[test]
    fn a_value_out_of_range_is_refused_in_json_too() {
        assert!(serde_json::from_str::<SamplingRate>("1.5").is_err());
        assert_eq!(
            serde_json::from_str::<SamplingRate>("0.5").unwrap().get(),
            0.5
        );
        assert_eq!(
            serde_json::to_string(&Delta::new(1e-5).unwrap()).unwrap(),
            "0.00001"
        );
    }

    #[test]
    fn epsilon_is_shown_rounded_up() {
        for (value, shown) in [
            (0.0, "0.000"),
            (2.9, "2.900"),
            (3.0, "3.000"),
            (2.9990001, "3.000"),
            (1.2344, "1.235"),
        ] {
            assert_eq!(Epsilon::new(value).unwrap().to_string(), shown);
        }
        assert_eq!(Epsilon::new(f64::INFINITY).unwrap().to_string(), "inf");
    }
}
