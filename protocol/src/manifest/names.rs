//! What a manifest names: columns, files, versions and parts.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::SchemaError;

const COLUMN_NAME_LENGTH_LIMIT: usize = 63;
const FILE_NAME_LENGTH_LIMIT: usize = 128;

/// The name of a column: an identifier of SQL that needs no quotes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct ColumnName(#[schemars(regex(pattern = "^[A-Za-z_][A-Za-z0-9_]{0,62}$"))] String);

/// What stays the same in every version of a dataset, and goes into its encryption.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct DatasetId(
    #[serde(with = "hex::serde")]
    #[schemars(with = "String", regex(pattern = "^[0-9a-f]{32}$"))]
    [u8; 16],
);

/// The number of a part: 1, 2, 3, … in the order of the records.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
pub struct PartNumber(#[schemars(range(min = 1))] u32);

/// The version of a dataset: 1, and one more for each change.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
pub struct ManifestVersion(#[schemars(range(min = 1))] u32);

/// The name of a part's file: one plain component, so that it cannot lead out of the dataset's folder.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct PartFile(#[schemars(regex(pattern = "^[a-z0-9][a-z0-9._-]{0,127}$"))] String);

impl ColumnName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl PartFile {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ColumnName {
    type Err = SchemaError;

    fn from_str(text: &str) -> Result<Self, SchemaError> {
        let head = |b: u8| b.is_ascii_alphabetic() || b == b'_';
        let mut bytes = text.bytes();
        let good = text.len() <= COLUMN_NAME_LENGTH_LIMIT
            && bytes.next().is_some_and(head)
            && bytes.all(|b| head(b) || b.is_ascii_digit());
        if good {
            Ok(Self(text.to_owned()))
        } else {
            Err(SchemaError::ColumnName(text.chars().take(80).collect()))
        }
    }
}

impl FromStr for PartFile {
    type Err = SchemaError;

    fn from_str(text: &str) -> Result<Self, SchemaError> {
        let head = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let mut bytes = text.bytes();
        let good = text.len() <= FILE_NAME_LENGTH_LIMIT
            && bytes.next().is_some_and(head)
            && bytes.all(|b| head(b) || matches!(b, b'.' | b'-' | b'_'));
        if good {
            Ok(Self(text.to_owned()))
        } else {
            Err(SchemaError::FileName(text.chars().take(160).collect()))
        }
    }
}

macro_rules! as_text {
    ($($type:ident),*) => {$(
        impl TryFrom<String> for $type {
            type Error = SchemaError;

            fn try_from(text: String) -> Result<Self, SchemaError> {
                text.parse()
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
    )*};
}

as_text!(ColumnName, PartFile);

macro_rules! counted {
    ($($type:ident),*) => {$(
        impl $type {
            /// The first.
            pub const FIRST: Self = Self(1);

            /// The number.
            pub const fn get(self) -> u32 {
                self.0
            }

            /// The one after this.
            pub const fn next(self) -> Self {
                Self(self.0.saturating_add(1))
            }
        }

        impl From<u32> for $type {
            fn from(number: u32) -> Self {
                Self(number)
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}

counted!(PartNumber, ManifestVersion);

impl DatasetId {
    /// An id from 16 random bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for DatasetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for DatasetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
