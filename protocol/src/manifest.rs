//! The manifest of a dataset: what it holds, in which files, and under which keys; signed by its owner.
//!
//! The encryption of one file cannot say that a file is missing, stands in another's place or is an old one. The manifest
//! can, and a contract names it by its digest: SHA-256 over the payload of its envelope.

mod names;

use std::collections::BTreeSet;
use std::fmt;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::dsse::{Envelope, EnvelopeError};
use crate::identity::{Identity, PartyKey};
use crate::party::{DatasetName, PartyName};

pub use names::{ColumnName, DatasetId, ManifestVersion, PartFile, PartNumber};

/// The DSSE payload type of a manifest.
pub const MANIFEST_PAYLOAD_TYPE: &str = "application/vnd.tributary.manifest+json";

/// Columns of a dataset, at most: more than any table that a person has looked at.
pub const COLUMNS_LIMIT: usize = 1024;

/// Parts of a dataset, at most: their entries fill half of the largest envelope.
pub const PARTS_LIMIT: usize = 4096;

/// Bytes of one column of one record, at most (64 MiB): a 3-D scan in 32-bit floats fits.
pub const VALUE_SIZE_LIMIT: u64 = 64 << 20;

/// Records of a dataset, at most: they are counted in 32 bits where they are sampled.
pub const RECORDS_LIMIT: u64 = u32::MAX as u64;

const FORMAT_VERSION: u32 = 1;
/// Labels travel in 16 bits.
const CLASSES_LIMIT: u32 = 1 << 16;

/// What one column holds, and so what a record of it takes on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum ColumnType {
    /// An image of unsigned bytes, channel by channel, each row by row: `channels * height * width` bytes.
    ImageU8 {
        /// Rows.
        height: u32,
        /// Columns.
        width: u32,
        /// Channels.
        channels: u32,
    },
    /// A class, from 0 to `classes - 1`.
    Label {
        /// Number of classes, 2 to 65,536.
        classes: u32,
    },
    /// Exactly `len` bytes.
    U8Bytes {
        /// Number of bytes.
        len: u32,
    },
    /// A finite IEEE 754 number of 32 bits.
    F32,
    /// A finite IEEE 754 number of 64 bits.
    F64,
    /// A signed integer of 64 bits.
    I64,
    /// Text of at most `max_bytes` bytes in UTF-8.
    Utf8 {
        /// Longest text, in bytes.
        max_bytes: u32,
    },
}

/// A column: its name and what it holds.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Column {
    /// Its name, unlike that of any other column of the dataset.
    pub name: ColumnName,
    /// What it holds.
    #[serde(rename = "type")]
    pub kind: ColumnType,
}

/// The columns of a dataset, in order, their names distinct; no value is ever absent.
///
/// ```
/// use tributary_protocol::{Column, ColumnType, DatasetSchema};
/// let schema = DatasetSchema::new(vec![
///     Column { name: "image".parse().unwrap(), kind: ColumnType::ImageU8 { height: 28, width: 28, channels: 1 } },
///     Column { name: "label".parse().unwrap(), kind: ColumnType::Label { classes: 10 } },
/// ])
/// .unwrap();
/// assert_eq!(schema.columns().len(), 2);
/// assert_eq!(schema.columns()[0].kind.fixed_width(), Some(784));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "Vec<Column>", into = "Vec<Column>")]
pub struct DatasetSchema(#[schemars(length(min = 1, max = 1024))] Vec<Column>);

/// A data key under a key of the vault: AES-256-GCM, its tag at the end.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WrappedKey {
    /// Which key of the vault wraps it.
    pub vault_key: u32,
    /// The nonce.
    #[serde(with = "hex::serde")]
    #[schemars(with = "String", regex(pattern = "^[0-9a-f]{24}$"))]
    pub nonce: [u8; 12],
    /// The 32 bytes of the key, encrypted, and the tag of 16 bytes.
    #[serde(with = "hex::serde")]
    #[schemars(with = "String", regex(pattern = "^[0-9a-f]{96}$"))]
    pub sealed: [u8; 48],
}

/// One file of a dataset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// Its number.
    pub number: PartNumber,
    /// Its name in the folder of the dataset.
    pub file: PartFile,
    /// SHA-256 of the file as it is stored, encrypted.
    pub sha256: Digest,
    /// Length of the file as it is stored.
    pub bytes: u64,
    /// Records in it.
    pub rows: u64,
    /// Its data key.
    pub key: WrappedKey,
}

/// A manifest whose parts, counts and names were checked.
///
/// ```
/// use tributary_protocol::{Identity, Manifest, ManifestError};
/// let owner = Identity::generate();
/// let refused = Manifest::parse(b"{}");
/// assert!(matches!(refused, Err(ManifestError::Json(_))));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    raw: RawManifest,
}

/// What a manifest is made of, before it is checked.
#[derive(Debug, Clone)]
pub struct ManifestParts {
    /// Name of the dataset.
    pub dataset: DatasetName,
    /// Its owner.
    pub owner: PartyName,
    /// Its id.
    pub id: DatasetId,
    /// This version.
    pub version: ManifestVersion,
    /// Digest of the version before, if there is one.
    pub previous: Option<Digest>,
    /// Its columns.
    pub schema: DatasetSchema,
    /// Its files.
    pub parts: Vec<Part>,
    /// When this version was made.
    pub created: DateTime<Utc>,
}

/// Why a manifest was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// The envelope is not one of a manifest.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// The owner did not sign these bytes.
    #[error(
        "the manifest is not signed by its owner's key {0}; it was altered, or it is another party's: ask the owner for the manifest again"
    )]
    Signature(PartyKey),
    /// Not the JSON of a manifest.
    #[error("expected the JSON of a dataset manifest")]
    Json(#[source] serde_json::Error),
    /// Fields that contradict each other or exceed a limit.
    #[error("the manifest's {field} is not possible: expected {expected}, got {got}")]
    Field {
        /// Which field.
        field: &'static str,
        /// What is accepted.
        expected: String,
        /// What came.
        got: String,
    },
}

/// Why a name or a list of columns was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SchemaError {
    /// Not the name of a column.
    #[error(
        "expected a column name of 1 to 63 letters, digits and underscores that does not begin with a digit, got `{0}`"
    )]
    ColumnName(String),
    /// Not the name of a part's file.
    #[error(
        "expected a file name of 1 to 128 lower-case letters, digits, dots, hyphens and underscores, got `{0}`"
    )]
    FileName(String),
    /// No column, or too many.
    #[error("expected 1 to {COLUMNS_LIMIT} columns, got {0}")]
    Count(usize),
    /// Two columns of one name.
    #[error("expected distinct column names, got `{0}` twice")]
    Duplicate(ColumnName),
    /// A type whose size is zero or beyond the limit.
    #[error("column `{column}`: expected {expected}, got {got}")]
    Type {
        /// The column.
        column: ColumnName,
        /// What is accepted.
        expected: String,
        /// What came.
        got: u64,
    },
    /// A column that the dataset does not have.
    #[error("the dataset has no column `{column}`; it has {known}")]
    Unknown {
        /// The column asked for.
        column: ColumnName,
        /// The columns there are.
        known: String,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RawManifest {
    schema_version: u32,
    dataset: DatasetName,
    owner: PartyName,
    id: DatasetId,
    version: ManifestVersion,
    previous: Option<Digest>,
    columns: DatasetSchema,
    parts: Vec<Part>,
    rows: u64,
    created: DateTime<Utc>,
}

impl Manifest {
    /// A manifest of these parts, checked as one that was read.
    pub fn new(parts: ManifestParts) -> Result<Self, ManifestError> {
        Self::checked(RawManifest {
            schema_version: FORMAT_VERSION,
            dataset: parts.dataset,
            owner: parts.owner,
            id: parts.id,
            version: parts.version,
            previous: parts.previous,
            columns: parts.schema,
            rows: parts
                .parts
                .iter()
                .fold(0, |sum, part| part.rows.saturating_add(sum)),
            parts: parts.parts,
            created: parts.created,
        })
    }

    /// Reads the payload of an envelope. Nothing in it is true until the signature was verified: see [`Manifest::verify`].
    pub fn parse(payload: &[u8]) -> Result<Self, ManifestError> {
        Self::checked(serde_json::from_slice(payload).map_err(ManifestError::Json)?)
    }

    /// Reads the manifest in an envelope that `owner` signed.
    pub fn verify(envelope: &Envelope, owner: &PartyKey) -> Result<Self, ManifestError> {
        envelope.expect_type(MANIFEST_PAYLOAD_TYPE)?;
        if !envelope.verified_by(owner) {
            return Err(ManifestError::Signature(*owner));
        }
        Self::parse(envelope.payload())
    }

    /// Signs; the payload digest of the envelope is the digest by which contracts name the manifest.
    pub fn sign(&self, owner: &Identity) -> Envelope {
        // A struct of strings and numbers always has a JSON form.
        let payload = serde_json::to_vec_pretty(&self.raw).unwrap_or_default();
        Envelope::sign(MANIFEST_PAYLOAD_TYPE, payload, owner)
    }

    /// The JSON Schema of the payload.
    pub fn json_schema() -> schemars::Schema {
        schemars::schema_for!(RawManifest)
    }

    /// Name of the dataset.
    pub fn dataset(&self) -> &DatasetName {
        &self.raw.dataset
    }

    /// Owner of the dataset.
    pub fn owner(&self) -> &PartyName {
        &self.raw.owner
    }

    /// What stays the same in every version.
    pub fn id(&self) -> DatasetId {
        self.raw.id
    }

    /// This version.
    pub fn version(&self) -> ManifestVersion {
        self.raw.version
    }

    /// Digest of the version before; `None` in the first.
    pub fn previous(&self) -> Option<Digest> {
        self.raw.previous
    }

    /// The columns.
    pub fn schema(&self) -> &DatasetSchema {
        &self.raw.columns
    }

    /// The files, in the order of the records; at least one.
    pub fn parts(&self) -> &[Part] {
        &self.raw.parts
    }

    /// All records.
    pub fn rows(&self) -> u64 {
        self.raw.rows
    }

    /// When this version was made.
    pub fn created(&self) -> DateTime<Utc> {
        self.raw.created
    }

    fn checked(raw: RawManifest) -> Result<Self, ManifestError> {
        let expect = |good: bool, field, expected: String, got: String| {
            if good {
                Ok(())
            } else {
                Err(ManifestError::Field {
                    field,
                    expected,
                    got,
                })
            }
        };
        expect(
            raw.schema_version == FORMAT_VERSION,
            "schema_version",
            FORMAT_VERSION.to_string(),
            raw.schema_version.to_string(),
        )?;
        expect(
            raw.version.get() >= 1,
            "version",
            "1 or more".into(),
            raw.version.to_string(),
        )?;
        expect(
            raw.previous.is_some() == (raw.version.get() > 1),
            "previous",
            "a digest in every version but the first".into(),
            format!("{:?} in version {}", raw.previous, raw.version),
        )?;
        expect(
            (1..=PARTS_LIMIT).contains(&raw.parts.len()),
            "parts",
            format!("1 to {PARTS_LIMIT} parts"),
            raw.parts.len().to_string(),
        )?;
        let mut files = BTreeSet::new();
        let mut rows = 0_u64;
        for (position, part) in (1_u32..).zip(&raw.parts) {
            expect(
                part.number.get() == position,
                "part number",
                position.to_string(),
                part.number.to_string(),
            )?;
            expect(
                files.insert(&part.file),
                "part file",
                "a file of its own for each part".into(),
                format!("{} twice", part.file),
            )?;
            expect(
                part.rows > 0,
                "part rows",
                "1 or more".into(),
                part.rows.to_string(),
            )?;
            rows = rows.saturating_add(part.rows);
        }
        expect(
            raw.rows == rows,
            "rows",
            format!("{rows}, the sum of the parts"),
            raw.rows.to_string(),
        )?;
        expect(
            rows <= RECORDS_LIMIT,
            "rows",
            format!("at most {RECORDS_LIMIT}"),
            rows.to_string(),
        )?;
        Ok(Self { raw })
    }
}

impl DatasetSchema {
    /// Checks names and sizes.
    pub fn new(columns: Vec<Column>) -> Result<Self, SchemaError> {
        if !(1..=COLUMNS_LIMIT).contains(&columns.len()) {
            return Err(SchemaError::Count(columns.len()));
        }
        let mut names = BTreeSet::new();
        for column in &columns {
            if !names.insert(&column.name) {
                return Err(SchemaError::Duplicate(column.name.clone()));
            }
            column.check()?;
        }
        Ok(Self(columns))
    }

    /// The columns, in order; at least one.
    pub fn columns(&self) -> &[Column] {
        &self.0
    }

    /// The column of this name.
    pub fn column(&self, name: &ColumnName) -> Option<&Column> {
        self.0.iter().find(|column| column.name == *name)
    }

    /// The columns of these names, in the order of `names`.
    pub fn project(&self, names: &[ColumnName]) -> Result<Self, SchemaError> {
        let columns = names
            .iter()
            .map(|name| {
                self.column(name)
                    .cloned()
                    .ok_or_else(|| SchemaError::Unknown {
                        column: name.clone(),
                        known: self.names(),
                    })
            })
            .collect::<Result<_, _>>()?;
        Self::new(columns)
    }

    fn names(&self) -> String {
        let names: Vec<_> = self.0.iter().map(|c| format!("`{}`", c.name)).collect();
        names.join(", ")
    }
}

impl Column {
    fn check(&self) -> Result<(), SchemaError> {
        let (expected, got, good) = match self.kind {
            ColumnType::Label { classes } => (
                format!("2 to {CLASSES_LIMIT} classes"),
                u64::from(classes),
                (2..=CLASSES_LIMIT).contains(&classes),
            ),
            _ => {
                let got = self.kind.max_width();
                (
                    format!("values of 1 to {VALUE_SIZE_LIMIT} bytes"),
                    got,
                    (1..=VALUE_SIZE_LIMIT).contains(&got),
                )
            }
        };
        if good {
            Ok(())
        } else {
            Err(SchemaError::Type {
                column: self.name.clone(),
                expected,
                got,
            })
        }
    }
}

impl ColumnType {
    /// Bytes of each value, where all values are of one size.
    pub fn fixed_width(self) -> Option<u64> {
        match self {
            Self::Utf8 { .. } => None,
            _ => Some(self.max_width()),
        }
    }

    /// Bytes of the largest value; a label takes two.
    pub fn max_width(self) -> u64 {
        match self {
            Self::ImageU8 {
                height,
                width,
                channels,
            } => u64::from(height)
                .saturating_mul(width.into())
                .saturating_mul(channels.into()),
            Self::Label { .. } => 2,
            Self::U8Bytes { len } => len.into(),
            Self::F32 => 4,
            Self::F64 | Self::I64 => 8,
            Self::Utf8 { max_bytes } => max_bytes.into(),
        }
    }
}

impl fmt::Display for ColumnType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ImageU8 {
                height,
                width,
                channels,
            } => write!(f, "image-u8 {height}x{width}x{channels}"),
            Self::Label { classes } => write!(f, "label of {classes} classes"),
            Self::U8Bytes { len } => write!(f, "u8-bytes of {len}"),
            Self::F32 => f.write_str("f32"),
            Self::F64 => f.write_str("f64"),
            Self::I64 => f.write_str("i64"),
            Self::Utf8 { max_bytes } => write!(f, "utf8 of at most {max_bytes} bytes"),
        }
    }
}

impl TryFrom<Vec<Column>> for DatasetSchema {
    type Error = SchemaError;

    fn try_from(columns: Vec<Column>) -> Result<Self, SchemaError> {
        Self::new(columns)
    }
}

impl From<DatasetSchema> for Vec<Column> {
    fn from(schema: DatasetSchema) -> Self {
        schema.0
    }
}

impl fmt::Debug for WrappedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WrappedKey")
    }
}

#[cfg(test)]
mod tests;
