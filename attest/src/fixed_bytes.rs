//! Newtypes over byte strings that people read and write as lower-case hexadecimal.

/// Why a hexadecimal value was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} must be {expected} as lower-case hexadecimal digits, got {got}")]
pub struct HexError {
    what: &'static str,
    expected: String,
    got: String,
}

impl HexError {
    pub(crate) fn new(what: &'static str, expected: impl Into<String>, got: &str) -> Self {
        // A whole file pasted by mistake must not fill the terminal.
        const SHOWN: usize = 160;
        let shown: String = got.chars().take(SHOWN).collect();
        let got = match got.chars().count() {
            0 => "an empty value".to_owned(),
            n if n > SHOWN => format!("{n} characters that begin with {shown:?}"),
            n => format!("{n} characters: {shown:?}"),
        };
        Self {
            what,
            expected: expected.into(),
            got,
        }
    }
}

/// Decodes lower-case digits only, so that a value has exactly one spelling and text comparison of
/// two contracts never disagrees with byte comparison.
pub(crate) fn decode_lower_hex(text: &str) -> Option<Vec<u8>> {
    if text.bytes().any(|b| b.is_ascii_uppercase()) {
        return None;
    }
    hex::decode(text).ok()
}

/// Reads a field that may be left out but, where it is there, has a value: `null` is refused.
pub(crate) fn present<'de, T: serde::Deserialize<'de>, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// Declares a `Copy` newtype over `[u8; N]` with hexadecimal `Display`, `FromStr`, serde and JSON Schema.
macro_rules! fixed_bytes {
    ($(#[$doc:meta])* $name:ident, $len:literal, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; $len]);

        impl $name {
            /// Length in bytes.
            pub const LEN: usize = $len;

            /// Wraps the bytes as they are.
            pub const fn new(bytes: [u8; $len]) -> Self {
                Self(bytes)
            }

            /// The bytes.
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }

            /// Whether every byte is zero, which is how reports spell that there is no such value.
            pub fn is_zero(&self) -> bool {
                self.0.iter().all(|byte| *byte == 0)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::fixed_bytes::HexError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                $crate::fixed_bytes::decode_lower_hex(text)
                    .and_then(|bytes| bytes.try_into().ok())
                    .map(Self)
                    .ok_or_else(|| {
                        $crate::fixed_bytes::HexError::new($what, concat!($len, " bytes"), text)
                    })
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({
                    "type": "string",
                    "description": concat!($what, ": ", $len, " bytes as lower-case hexadecimal digits"),
                    "pattern": format!("^[0-9a-f]{{{}}}$", 2 * $len),
                })
            }
        }
    };
}
pub(crate) use fixed_bytes;

#[cfg(test)]
// The macro makes public types, and here nobody outside can reach one.
#[allow(unreachable_pub)]
mod tests {
    fixed_bytes!(
        /// For the tests below.
        Four,
        4,
        "a four"
    );

    #[test]
    fn hexadecimal_has_one_spelling() {
        let four: Four = "00ff10a0".parse().unwrap();
        assert_eq!(four, Four::new([0, 255, 16, 160]));
        assert_eq!(four.as_bytes().len(), Four::LEN);
        assert!(!four.is_zero() && Four::new([0; 4]).is_zero());
        assert_eq!(four.to_string(), "00ff10a0");
        assert_eq!(serde_json::to_string(&four).unwrap(), "\"00ff10a0\"");
        for wrong in [
            "",
            "00ff10",
            "00ff10a0a0",
            "00FF10A0",
            "00ff10ag",
            " 00ff10a0",
            "00ff10a",
        ] {
            let error = wrong.parse::<Four>().unwrap_err().to_string();
            assert!(error.contains("a four must be 4 bytes"), "{error}");
            assert!(serde_json::from_value::<Four>(wrong.into()).is_err());
        }
    }

    #[test]
    fn a_long_mistake_is_shown_in_part() {
        let error = "x".repeat(10_000).parse::<Four>().unwrap_err().to_string();
        assert!(
            error.len() < 400 && error.contains("10000 characters"),
            "{error}"
        );
    }
}
