//! Spans of time on the command line.

use std::str::FromStr;
use std::time::Duration;

/// A span such as `90s`, `15m`, `24h` or `7d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Period(pub(super) Duration);

impl FromStr for Period {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refuse = || format!("expected a span such as 90s, 15m, 24h or 7d, got `{text}`");
        let split = text
            .find(|c: char| !c.is_ascii_digit())
            .ok_or_else(refuse)?;
        let (number, unit) = text.split_at(split);
        let seconds: u64 = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            "d" => 86_400,
            _ => return Err(refuse()),
        };
        // A hundred years, within which no sum with a date overflows.
        const LONGEST: u64 = 100 * 366 * 86_400;
        number
            .parse::<u64>()
            .ok()
            .and_then(|number| number.checked_mul(seconds))
            .filter(|seconds| (1..=LONGEST).contains(seconds))
            .map(|seconds| Self(Duration::from_secs(seconds)))
            .ok_or_else(refuse)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_a_number_and_a_unit() {
        for (text, seconds) in [("90s", 90), ("15m", 900), ("24h", 86_400), ("7d", 604_800)] {
            assert_eq!(text.parse::<Period>().unwrap().0.as_secs(), seconds);
        }
        for bad in ["", "7", "0s", "1w", "-1h", "1.5h", "99999999999d", "h"] {
            assert!(bad.parse::<Period>().is_err(), "{bad}");
        }
    }
}
