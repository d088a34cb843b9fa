//! Why the vault refuses.

use std::io;

use tributary_protocol::{
    ColumnName, DatasetName, Digest, ManifestError, ManifestVersion, PartNumber, PartyName,
    SchemaError,
};

/// Why a vault, a dataset or a record was refused. Nothing is changed where an error is returned.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VaultError {
    /// A storage this program was not built with.
    #[error(
        "storage `{scheme}://` is not built in; expected the path of a local folder or a `file://` URL"
    )]
    NotBuiltIn {
        /// The scheme of the URL.
        scheme: String,
    },
    /// A text that names no folder.
    #[error("expected the path of a folder or a `file://` URL with an absolute path, got `{0}`")]
    Location(String),
    /// No vault there.
    #[error("there is no vault in {location}; create one with `agent init`")]
    NoVault {
        /// Where.
        location: String,
    },
    /// A vault is there already.
    #[error("there is a vault in {location} already; nothing was changed")]
    VaultExists {
        /// Where.
        location: String,
    },
    /// The passphrase does not open the vault.
    #[error(
        "the passphrase does not open this vault, whose key file is intact; give the file with the passphrase it was created with"
    )]
    Passphrase,
    /// A file that is not what the vault wrote.
    #[error("{file} is damaged: {reason}; restore it from a backup")]
    Damaged {
        /// The file.
        file: String,
        /// What is wrong.
        reason: String,
    },
    /// Another process changes the vault.
    #[error("another process is changing this vault; try again when it is done")]
    Locked,
    /// The disk, or whatever holds the vault, failed.
    #[error("cannot {doing}: {source}")]
    Storage {
        /// What was attempted, with the file.
        doing: String,
        /// What the system said.
        source: io::Error,
    },
    /// No dataset of this name.
    #[error("there is no dataset `{name}`; the vault has {known}")]
    NoDataset {
        /// The name asked for.
        name: DatasetName,
        /// The datasets there are.
        known: String,
    },
    /// A dataset of this name is there already.
    #[error("there is a dataset `{0}` already; append to it, or choose another name")]
    DatasetExists(DatasetName),
    /// The signing identity is not the owner of the vault.
    #[error("the vault belongs to {owner}, whose key differs from the one given")]
    NotTheOwner {
        /// The owner.
        owner: PartyName,
    },
    /// A manifest that cannot be believed.
    #[error("dataset `{dataset}`: {file} is refused")]
    Manifest {
        /// The dataset.
        dataset: DatasetName,
        /// The file.
        file: String,
        /// Why.
        source: ManifestError,
    },
    /// A manifest of another dataset, owner or version than its place says.
    #[error(
        "dataset `{dataset}`: {file} is out of place: expected {expected}, got {got}; restore the folder from a backup"
    )]
    OutOfPlace {
        /// The dataset.
        dataset: DatasetName,
        /// The file.
        file: String,
        /// What should be there.
        expected: String,
        /// What is there.
        got: String,
    },
    /// An older state than this vault has had.
    #[error(
        "dataset `{dataset}` was rolled back: expected version {expected} or later, got {got}; restore the newest state"
    )]
    RolledBack {
        /// The dataset.
        dataset: DatasetName,
        /// The newest version that this vault has published.
        expected: ManifestVersion,
        /// The newest version on the disk; `None` where there is none.
        got: Version,
    },
    /// The vault never had the manifest that the contract names, or not any more.
    #[error(
        "dataset `{dataset}` has no version with manifest {expected}; the newest is version {newest}, {newest_digest}: the data is not what the contract names, so agree on a new contract or restore the version it names"
    )]
    OtherManifest {
        /// The dataset.
        dataset: DatasetName,
        /// The digest that the contract demands.
        expected: Digest,
        /// The newest version here.
        newest: ManifestVersion,
        /// Its digest.
        newest_digest: Digest,
    },
    /// A part's file is gone.
    #[error("dataset `{dataset}`: part {part} ({file}) is missing; restore it from a backup")]
    PartMissing {
        /// The dataset.
        dataset: DatasetName,
        /// The part.
        part: PartNumber,
        /// Its file.
        file: String,
    },
    /// A part's file is not the one that the manifest names.
    #[error(
        "dataset `{dataset}`: part {part} ({file}) was altered: expected {expected}, got {got}; restore it from a backup"
    )]
    PartAltered {
        /// The dataset.
        dataset: DatasetName,
        /// The part.
        part: PartNumber,
        /// Its file.
        file: String,
        /// Digest, or length, that the manifest names.
        expected: String,
        /// What the file has.
        got: String,
    },
    /// A part's file holds another part.
    #[error(
        "dataset `{dataset}`: part {part} ({file}) was swapped: the file is part {holds}; restore both from a backup"
    )]
    PartSwapped {
        /// The dataset.
        dataset: DatasetName,
        /// The part.
        part: PartNumber,
        /// Its file.
        file: String,
        /// The part that the file really is.
        holds: PartNumber,
    },
    /// A part does not decrypt, or is not what an importer wrote.
    #[error("dataset `{dataset}`: part {part} ({file}) cannot be decrypted and read: {reason}")]
    PartUnreadable {
        /// The dataset.
        dataset: DatasetName,
        /// The part.
        part: PartNumber,
        /// Its file.
        file: String,
        /// What failed.
        reason: String,
    },
    /// A part with more or fewer records than the manifest counts.
    #[error("dataset `{dataset}`: part {part} holds {got} records, expected {expected}")]
    PartRows {
        /// The dataset.
        dataset: DatasetName,
        /// The part.
        part: PartNumber,
        /// By the manifest.
        expected: u64,
        /// By the file.
        got: u64,
    },
    /// A key that the vault does not have, or that does not open what it wraps.
    #[error(
        "dataset `{dataset}`: the data key of part {part} does not open under this vault's keys; the part was copied from another vault or dataset, or the manifest is damaged"
    )]
    DataKey {
        /// The dataset.
        dataset: DatasetName,
        /// The part.
        part: PartNumber,
    },
    /// Nothing to import.
    #[error("expected at least one record, got none")]
    NoRecords,
    /// More records than can be sampled.
    #[error("a dataset holds at most {limit} records, got {got}; split it")]
    TooManyRecords {
        /// The limit.
        limit: u64,
        /// How many there would be.
        got: u64,
    },
    /// More parts than a manifest lists.
    #[error("a dataset has at most {0} parts; import it anew in one go, or split it")]
    TooManyParts(usize),
    /// Records of other columns than the dataset's.
    #[error("expected records with columns {expected}, got {got}")]
    OtherColumns {
        /// The dataset's.
        expected: String,
        /// The records'.
        got: String,
    },
    /// A value that its column does not allow.
    #[error("record {record}, column `{column}`: expected {expected}")]
    Value {
        /// Position among the records imported, from 0.
        record: u64,
        /// The column.
        column: ColumnName,
        /// What is accepted.
        expected: String,
    },
    /// A column that the dataset does not have, or names that cannot be.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// The source of the records failed.
    #[error("the records cannot be read")]
    Source(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A record beyond the last.
    #[error("record {index} was asked for, the dataset has {records}")]
    OutOfRange {
        /// The record.
        index: u32,
        /// How many there are.
        records: u64,
    },
    /// A batch that cannot be made of these records.
    #[error(transparent)]
    Batch(#[from] tributary_protocol::BatchError),
    /// The operating system gives no random bytes.
    #[error("the operating system gives no random bytes")]
    Entropy,
}

/// A version that may be missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version(pub Option<ManifestVersion>);

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(version) => version.fmt(f),
            None => f.write_str("none"),
        }
    }
}
