//! Whole numbers that may depend on how many examples there are.

/// A whole number of a shape: known on import, or a multiple of the number of examples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// A number.
    Known(i64),
    /// So many times the number of examples, whatever that is. Never zero times.
    Batch(i64),
}

impl Extent {
    /// The number, where it is known.
    pub(crate) fn known(self) -> Option<i64> {
        match self {
            Self::Known(number) => Some(number),
            Self::Batch(_) => None,
        }
    }

    /// `None` where the result is neither a number nor a multiple of the examples, or overflows; so below.
    pub(crate) fn add(self, other: Self) -> Option<Self> {
        match (self, other) {
            (Self::Known(a), Self::Known(b)) => a.checked_add(b).map(Self::Known),
            (Self::Batch(a), Self::Batch(b)) => a.checked_add(b).map(Self::multiple),
            (same, Self::Known(0)) | (Self::Known(0), same) => Some(same),
            _ => None,
        }
    }

    pub(crate) fn subtract(self, other: Self) -> Option<Self> {
        self.add(other.multiply(Self::Known(-1))?)
    }

    pub(crate) fn multiply(self, other: Self) -> Option<Self> {
        match (self, other) {
            (Self::Known(a), Self::Known(b)) => a.checked_mul(b).map(Self::Known),
            (Self::Batch(a), Self::Known(b)) | (Self::Known(a), Self::Batch(b)) => {
                a.checked_mul(b).map(Self::multiple)
            }
            (Self::Batch(_), Self::Batch(_)) => None,
        }
    }

    /// Division as ONNX has it for whole numbers: towards zero.
    pub(crate) fn divide(self, other: Self) -> Option<Self> {
        match (self, other) {
            (Self::Known(a), Self::Known(b)) => a.checked_div(b).map(Self::Known),
            (Self::Batch(a), Self::Known(b)) if b != 0 && a.checked_rem(b)? == 0 => {
                a.checked_div(b).map(Self::multiple)
            }
            (Self::Batch(a), Self::Batch(b)) if a.checked_rem(b)? == 0 => {
                a.checked_div(b).map(Self::Known)
            }
            _ => None,
        }
    }

    /// The remainder, with the divisor's sign.
    pub(crate) fn modulo(self, other: Self) -> Option<Self> {
        match (self, other) {
            (Self::Known(a), Self::Known(b)) => {
                let remainder = a.checked_rem(b)?;
                let shift = remainder != 0 && (remainder < 0) != (b < 0);
                Some(Self::Known(if shift { remainder + b } else { remainder }))
            }
            (Self::Batch(a), Self::Known(b)) if a.checked_rem(b)? == 0 => Some(Self::Known(0)),
            _ => None,
        }
    }

    /// Whether two are equal; there is at least one example, and perhaps more.
    pub(crate) fn equals(self, other: Self) -> Option<bool> {
        match (self, other) {
            (Self::Known(a), Self::Known(b)) => Some(a == b),
            (Self::Batch(a), Self::Batch(b)) => Some(a == b),
            (Self::Batch(a), Self::Known(b)) | (Self::Known(b), Self::Batch(a)) => {
                let possible = b.checked_rem(a)? == 0 && b / a >= 1;
                (!possible).then_some(false)
            }
        }
    }

    /// Whether the first is less than the second, where that holds for any number of examples.
    pub(crate) fn less(self, other: Self) -> Option<bool> {
        match self.subtract(other) {
            Some(Self::Known(difference)) => Some(difference < 0),
            Some(Self::Batch(difference)) => Some(difference < 0),
            None => match (self, other) {
                (Self::Batch(a), Self::Known(b)) if a > 0 && b <= a => Some(false),
                (Self::Known(a), Self::Batch(b)) if b > 0 && a < b => Some(true),
                _ => None,
            },
        }
    }

    fn multiple(times: i64) -> Self {
        if times == 0 {
            Self::Known(0)
        } else {
            Self::Batch(times)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn extent() -> impl Strategy<Value = Extent> {
        prop_oneof![
            (-20i64..20).prop_map(Extent::Known),
            (1i64..6).prop_map(Extent::Batch),
        ]
    }

    fn at(extent: Extent, examples: i64) -> i64 {
        match extent {
            Extent::Known(number) => number,
            Extent::Batch(times) => times * examples,
        }
    }

    proptest! {
        /// Whatever is worked out without the number of examples holds for each number of them.
        #[test]
        fn arithmetic_holds_for_any_number_of_examples(a in extent(), b in extent(), n in 1i64..9) {
            let (x, y) = (at(a, n), at(b, n));
            if let Some(sum) = a.add(b) { prop_assert_eq!(at(sum, n), x + y); }
            if let Some(difference) = a.subtract(b) { prop_assert_eq!(at(difference, n), x - y); }
            if let Some(product) = a.multiply(b) { prop_assert_eq!(at(product, n), x * y); }
            if let Some(quotient) = a.divide(b) { prop_assert_eq!(at(quotient, n), x / y); }
            if let Some(rest) = a.modulo(b) {
                let expected = x - y * (x as f64 / y as f64).floor() as i64;
                prop_assert_eq!(at(rest, n), expected);
            }
            if let Some(equal) = a.equals(b) { prop_assert_eq!(equal, x == y); }
            if let Some(less) = a.less(b) { prop_assert_eq!(less, x < y); }
        }
    }

    #[test]
    fn what_depends_on_the_number_of_examples_is_left_open() {
        assert_eq!(Extent::Batch(1).equals(Extent::Known(2)), None);
        assert_eq!(Extent::Batch(2).equals(Extent::Known(3)), Some(false));
        assert_eq!(Extent::Batch(1).equals(Extent::Known(-1)), Some(false));
        assert_eq!(Extent::Batch(1).add(Extent::Known(1)), None);
        assert_eq!(Extent::Batch(1).multiply(Extent::Batch(1)), None);
        assert_eq!(Extent::Batch(1).less(Extent::Known(2)), None);
        assert_eq!(Extent::Known(1).divide(Extent::Known(0)), None);
        assert_eq!(Extent::Known(i64::MAX).add(Extent::Known(1)), None);
        assert_eq!(Extent::Known(i64::MIN).divide(Extent::Known(-1)), None);
    }
}
