//! Sizes and durations as people write and read them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::Serialize;
use thiserror::Error;

/// A number of bytes. Prints `1.4 MiB`, reads `64MiB`, `1.5 GB` or `4096`; as JSON it is the plain number.
///
/// ```
/// use tributary_console::ByteSize;
/// assert_eq!(ByteSize::bytes(1_500_000).to_string(), "1.4 MiB");
/// assert_eq!("64 MiB".parse::<ByteSize>()?.as_bytes(), 64 << 20);
/// # Ok::<(), tributary_console::QuantityError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct ByteSize(u64);

impl ByteSize {
    /// So many bytes.
    pub const fn bytes(bytes: u64) -> Self {
        ByteSize(bytes)
    }

    /// The number of bytes.
    pub const fn as_bytes(self) -> u64 {
        self.0
    }

    /// In MiB, for tables and figures.
    pub fn as_mib(self) -> f64 {
        self.0 as f64 / (1u64 << 20) as f64
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        if self.0 < 1024 {
            return f.pad(&format!("{} B", self.0));
        }
        let mut size = self.0 as f64 / 1024.0;
        let mut unit = 0;
        // 1023.95 and more would print as 1024.0 of the smaller unit.
        while size >= 1023.95 && unit + 1 < UNITS.len() {
            size /= 1024.0;
            unit += 1;
        }
        f.pad(&format!("{size:.1} {}", UNITS[unit]))
    }
}

impl FromStr for ByteSize {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let refuse = || QuantityError {
            text: text.to_owned(),
        };
        let digits = text
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let factor: u64 = match unit.trim().to_ascii_lowercase().as_str() {
            "" | "b" => 1,
            "kb" => 1_000,
            "mb" => 1_000_000,
            "gb" => 1_000_000_000,
            "tb" => 1_000_000_000_000,
            "k" | "kib" => 1 << 10,
            "m" | "mib" => 1 << 20,
            "g" | "gib" => 1 << 30,
            "t" | "tib" => 1 << 40,
            _ => return Err(refuse()),
        };
        if let Ok(whole) = number.parse::<u64>() {
            return whole.checked_mul(factor).map(ByteSize).ok_or_else(refuse);
        }
        let size = number.parse::<f64>().map_err(|_| refuse())? * factor as f64;
        if size < u64::MAX as f64 {
            Ok(ByteSize(size as u64))
        } else {
            Err(refuse())
        }
    }
}

/// A text that is no size.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("expected a size such as 4096, 64MiB or 1.5GB, got {text:?}")]
pub struct QuantityError {
    text: String,
}

/// A duration for people: `840 ms`, `4.2 s`, `3 min 07 s`, `2 h 05 min`, `3 d 04 h`.
///
/// ```
/// use std::time::Duration;
/// use tributary_console::HumanDuration;
/// assert_eq!(HumanDuration(Duration::from_secs(187)).to_string(), "3 min 07 s");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HumanDuration(pub Duration);

impl fmt::Display for HumanDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let text = if self.0 < Duration::from_millis(1000) {
            format!("{} ms", self.0.as_millis())
        } else if self.0 < Duration::from_millis(59_950) {
            format!("{:.1} s", self.0.as_secs_f64())
        } else if seconds < 3600 {
            // 59.95 s and more would print as 60.0 s.
            let seconds = seconds.max(60);
            format!("{} min {:02} s", seconds / 60, seconds % 60)
        } else if seconds < 86_400 {
            format!("{} h {:02} min", seconds / 3600, seconds / 60 % 60)
        } else {
            format!("{} d {:02} h", seconds / 86_400, seconds / 3600 % 24)
        };
        f.pad(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_print_with_one_digit() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            ((1 << 20) - 1, "1.0 MiB"),
            (1 << 30, "1.0 GiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(ByteSize(bytes).to_string(), text);
        }
        assert_eq!(format!("{:>8}", ByteSize(5)), "     5 B");
    }

    #[test]
    fn sizes_are_read_in_decimal_and_binary_units() {
        for (text, bytes) in [
            ("4096", 4096),
            ("64MiB", 64 << 20),
            ("1.5 GB", 1_500_000_000),
            ("2k", 2048),
        ] {
            assert_eq!(text.parse(), Ok(ByteSize(bytes)));
        }
        for text in [
            "",
            "MiB",
            "-1",
            "1 light-year",
            "1e9",
            "999999999999999TiB",
            "1.2.3k",
            "18446744073709551616",
        ] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
    }

    #[test]
    fn durations_print_in_the_two_largest_units() {
        for (millis, text) in [
            (840, "840 ms"),
            (4_200, "4.2 s"),
            (59_949, "59.9 s"),
            (59_960, "1 min 00 s"),
            (187_000, "3 min 07 s"),
            (7_500_000, "2 h 05 min"),
            (273_600_000, "3 d 04 h"),
        ] {
            assert_eq!(
                HumanDuration(Duration::from_millis(millis)).to_string(),
                text
            );
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_without_panic(text in ".{0,24}") {
            let _ = text.parse::<ByteSize>();
        }

        #[test]
        fn plain_numbers_come_back(bytes in any::<u64>()) {
            prop_assert_eq!(bytes.to_string().parse::<ByteSize>().unwrap().as_bytes(), bytes);
        }
    }
}
