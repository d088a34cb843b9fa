//! Who takes part: names and roles.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Names are labels of DNS: they go into file names, keys and logs unescaped.
const NAME_LENGTH_LIMIT: usize = 63;

/// A text that is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected a name of 1 to 63 lower-case letters, digits and hyphens that begins with a letter or digit, got `{0}`"
)]
pub struct NameSyntax(pub String);

fn checked(text: &str) -> Result<String, NameSyntax> {
    let mut bytes = text.bytes();
    let head = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let good = text.len() <= NAME_LENGTH_LIMIT
        && bytes.next().is_some_and(head)
        && bytes.all(|b| head(b) || b == b'-');
    if good {
        Ok(text.to_owned())
    } else {
        Err(NameSyntax(text.chars().take(80).collect()))
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(String);

        impl $type {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = NameSyntax;

            fn from_str(text: &str) -> Result<Self, NameSyntax> {
                checked(text).map(Self)
            }
        }

        impl TryFrom<String> for $type {
            type Error = NameSyntax;

            fn try_from(text: String) -> Result<Self, NameSyntax> {
                checked(&text).map(Self)
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> String {
                name.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({
                    "type": "string",
                    "pattern": "^[a-z0-9][a-z0-9-]{0,62}$",
                })
            }
        }
    };
}

name! {
    /// The name of a party within a contract.
    PartyName
}

name! {
    /// The name of a dataset; unique for its owner.
    DatasetName
}

/// What a party, or a process that acts for it, does.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// A training data provider's agent.
    Provider,
    /// The program that trains, in a confidential virtual machine, for the consumer.
    Aggregator,
    /// The training data consumer at a workstation without a TEE: it registers and asks, and never sees a record.
    Consumer,
}

impl Role {
    /// The role in the spelling of contracts and transcripts.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Provider => "provider",
            Self::Aggregator => "aggregator",
            Self::Consumer => "consumer",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_escape_a_folder_or_a_log_line_are_refused() {
        for bad in [
            "",
            "-a",
            "A",
            "a b",
            "a/b",
            "..",
            "a\n",
            "é",
            &"a".repeat(64),
        ] {
            assert!(bad.parse::<PartyName>().is_err(), "{bad:?}");
            assert!(serde_json::from_value::<DatasetName>(bad.into()).is_err());
        }
        for good in ["a", "0", "hospital-1", &"a".repeat(63)] {
            assert_eq!(good.parse::<PartyName>().unwrap().as_str(), good);
        }
    }
}
