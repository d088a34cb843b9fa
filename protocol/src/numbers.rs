//! Numbers that the ledger gives out.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A text that is not such a number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected a whole number from 1, got `{0}`")]
pub struct NumberSyntax(pub String);

macro_rules! number {
    ($(#[$doc:meta])* $type:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(try_from = "u64", into = "u64")]
        pub struct $type(#[schemars(range(min = 1))] $inner);

        impl $type {
            /// The first number.
            pub const FIRST: Self = Self(1);

            /// `None` for 0, which numbers nothing.
            pub const fn new(number: $inner) -> Option<Self> {
                if number == 0 { None } else { Some(Self(number)) }
            }

            /// The number.
            pub const fn get(self) -> $inner {
                self.0
            }

            /// The number after this one.
            pub const fn next(self) -> Self {
                Self(self.0.saturating_add(1))
            }
        }

        impl TryFrom<u64> for $type {
            type Error = NumberSyntax;

            fn try_from(number: u64) -> Result<Self, NumberSyntax> {
                <$inner>::try_from(number)
                    .ok()
                    .and_then(Self::new)
                    .ok_or_else(|| NumberSyntax(number.to_string()))
            }
        }

        impl From<$type> for u64 {
            #[allow(clippy::useless_conversion)]
            fn from(number: $type) -> u64 {
                number.0.into()
            }
        }

        impl FromStr for $type {
            type Err = NumberSyntax;

            fn from_str(text: &str) -> Result<Self, NumberSyntax> {
                text.parse()
                    .ok()
                    .and_then(Self::new)
                    .ok_or_else(|| NumberSyntax(text.chars().take(40).collect()))
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number! {
    /// The number of a contract: 1, 2, 3, … in the order of registration on one ledger.
    SequenceNumber(u64)
}

number! {
    /// The number of a run under a contract, from 1 to the contract's `runs`.
    RunNumber(u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_numbered_zero_or_beyond_the_type() {
        assert!("0".parse::<SequenceNumber>().is_err());
        assert!("-1".parse::<SequenceNumber>().is_err());
        assert!(serde_json::from_str::<RunNumber>("0").is_err());
        assert!(serde_json::from_str::<RunNumber>("4294967296").is_err());
        assert_eq!("7".parse::<SequenceNumber>().unwrap().next().get(), 8);
    }
}
