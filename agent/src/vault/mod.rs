//! The vault: a folder of datasets, each of them encrypted Parquet files and a manifest that its owner signed.
//!
//! ```text
//! vault.json                           keys, sealed under the passphrase
//! mnist/high-water.json                the newest version ever published, under a key of the vault
//! mnist/manifest-00000001.dsse         every version's manifest
//! mnist/part-00000001-3f….parquet      parts; never changed once written
//! ```
//!
//! A change writes parts first, then the manifest that names them, then the mark: a crash in between leaves the dataset as
//! it was, and files that the next change removes. The host can destroy what lies here and put an older state in its
//! place; it can neither read nor alter it unnoticed, and the mark and the digest in a contract show an older state.

mod cache;
mod dataset;
mod error;
mod keys;
mod part;
mod records;
mod rotate;
mod storage;
#[cfg(test)]
mod tests;
mod verify;
mod write;

use std::fmt;

use tributary_protocol::{DatasetName, PartyKey, PartyName, Passphrase};

pub use cache::CacheSize;
pub use dataset::Dataset;
pub use error::{VaultError, Version};
pub use keys::StateKey;
pub use records::{Records, Scan};
pub use verify::Verification;

use keys::{KEY_FILE, KEY_FILE_SIZE_LIMIT, VaultKeys};
use storage::Storage;

/// The party that a vault belongs to, and the key that verifies its manifests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// Its name.
    pub name: PartyName,
    /// Its public key.
    pub key: PartyKey,
}

/// An open vault. All its calls block; see [`Records`] for reading.
///
/// ```
/// use std::sync::Arc;
/// use arrow_array::{ArrayRef, FixedSizeBinaryArray, RecordBatch, UInt16Array};
/// use tributary_agent::{CacheSize, Owner, Records, Vault};
/// use tributary_protocol::{Column, ColumnType, DatasetSchema, Identity, Passphrase, arrow_schema};
///
/// let folder = tempfile::tempdir()?;
/// let identity = Identity::generate();
/// let owner = Owner { name: "hospital-1".parse()?, key: identity.public() };
/// let passphrase = Passphrase::new("correct horse").unwrap();
/// let vault = Vault::create(&folder.path().display().to_string(), &passphrase, owner)?;
///
/// let schema = DatasetSchema::new(vec![
///     Column { name: "pixels".parse()?, kind: ColumnType::U8Bytes { len: 4 } },
///     Column { name: "label".parse()?, kind: ColumnType::Label { classes: 10 } },
/// ])?;
/// let pixels: ArrayRef = Arc::new(FixedSizeBinaryArray::try_from_iter([[1; 4], [2; 4]].iter())?);
/// let labels: ArrayRef = Arc::new(UInt16Array::from(vec![3, 7]));
/// let records = RecordBatch::try_new(arrow_schema(&schema), vec![pixels, labels])?;
///
/// let now = chrono::DateTime::UNIX_EPOCH;
/// let name = "digits".parse()?;
/// let dataset = vault.import(&identity, &name, &schema, [Ok::<_, std::io::Error>(records)], now)?;
///
/// let columns = ["label".parse()?];
/// let records = Records::open(&vault, &name, dataset.digest, &columns, CacheSize::mebibytes(1))?;
/// assert_eq!(records.take(&[1])?.num_rows(), 1);
/// assert!(vault.verify(&name)?.is_sound());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Vault {
    storage: Storage,
    keys: VaultKeys,
    owner: Owner,
}

impl Vault {
    /// Makes an empty vault in a folder, which may exist already.
    ///
    /// # Errors
    ///
    /// [`VaultError::VaultExists`] where there is one, and those of the disk.
    pub fn create(
        location: &str,
        passphrase: &Passphrase,
        owner: Owner,
    ) -> Result<Self, VaultError> {
        let storage = Storage::open(location, true)?;
        let lock = storage.lock()?;
        if storage.read(KEY_FILE, KEY_FILE_SIZE_LIMIT)?.is_some() {
            return Err(VaultError::VaultExists {
                location: location.to_owned(),
            });
        }
        let keys = VaultKeys::generate()?;
        storage.create(KEY_FILE, &keys.seal(passphrase)?)?;
        drop(lock);
        Ok(Self {
            storage,
            keys,
            owner,
        })
    }

    /// Opens a vault with its passphrase.
    ///
    /// # Errors
    ///
    /// [`VaultError::Passphrase`] for a wrong one, [`VaultError::Damaged`] for a damaged key file,
    /// [`VaultError::NoVault`] where there is none.
    pub fn open(location: &str, passphrase: &Passphrase, owner: Owner) -> Result<Self, VaultError> {
        let storage = Storage::open(location, false)?;
        let file = storage
            .read(KEY_FILE, KEY_FILE_SIZE_LIMIT)?
            .ok_or_else(|| VaultError::NoVault {
                location: location.to_owned(),
            })?;
        let keys = VaultKeys::open(&file, passphrase)?;
        Ok(Self {
            storage,
            keys,
            owner,
        })
    }

    /// Whose vault it is.
    pub fn owner(&self) -> &Owner {
        &self.owner
    }

    /// Where it is.
    pub fn location(&self) -> String {
        self.storage.location()
    }

    /// A key for files of the agent's own state, a different one for each purpose; it survives rotations.
    pub fn state_key(&self, purpose: &str) -> StateKey {
        self.keys.state_key(purpose)
    }

    /// The newest version of every dataset, in the order of names.
    ///
    /// # Errors
    ///
    /// Where any of them is not in order: see [`Vault::verify`].
    pub fn list(&self) -> Result<Vec<Dataset>, VaultError> {
        self.names()?.iter().map(|name| self.show(name)).collect()
    }

    /// The newest version of a dataset.
    ///
    /// # Errors
    ///
    /// [`VaultError::NoDataset`], [`VaultError::RolledBack`], and those of its manifest.
    pub fn show(&self, name: &DatasetName) -> Result<Dataset, VaultError> {
        self.newest(name)?.ok_or_else(|| self.unknown(name))
    }

    fn names(&self) -> Result<Vec<DatasetName>, VaultError> {
        let mut names: Vec<DatasetName> = Vec::new();
        for folder in self.storage.folders()? {
            // Folders of other names are not the vault's; without a version the import was never finished.
            let Ok(name) = folder.parse() else { continue };
            let published = !self.versions(&name)?.is_empty()
                || self.mark(&name)?.is_some_and(|mark| mark.version > 0);
            if published {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    fn unknown(&self, name: &DatasetName) -> VaultError {
        let known = match self.names() {
            Ok(names) if !names.is_empty() => {
                let names: Vec<_> = names.iter().map(|n| format!("`{n}`")).collect();
                names.join(", ")
            }
            _ => "none".to_owned(),
        };
        VaultError::NoDataset {
            name: name.clone(),
            known,
        }
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault")
            .field("location", &self.storage.location())
            .field("owner", &self.owner.name)
            .finish()
    }
}
