//! Times as people and scripts write them.

use chrono::{DateTime, Utc};

/// A time in RFC 3339, or in seconds since 1970.
pub(crate) fn parse_time(text: &str) -> Result<DateTime<Utc>, String> {
    let seconds = text
        .parse()
        .ok()
        .and_then(|seconds| DateTime::from_timestamp(seconds, 0));
    seconds
        .or_else(|| {
            DateTime::parse_from_rfc3339(text)
                .ok()
                .map(|time| time.to_utc())
        })
        .ok_or_else(|| {
            format!(
                "expected a time as 2026-11-20T12:00:00Z or in seconds since 1970, got {text:?}"
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_name_the_same_time_and_others_are_refused() {
        let time = DateTime::from_timestamp(1_795_176_000, 0).unwrap();
        for text in [
            "1795176000",
            "2026-11-20T12:00:00Z",
            "2026-11-20T13:00:00+01:00",
        ] {
            assert_eq!(parse_time(text), Ok(time), "{text}");
        }
        for wrong in ["", "yesterday", "2026-11-20", "1e9", "99999999999999999"] {
            assert!(parse_time(wrong).is_err(), "{wrong}");
        }
    }
}
