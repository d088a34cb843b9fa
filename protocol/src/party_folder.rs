//! The part of a party's folder that agents and aggregators have in common: who the party is.
//!
//! ```text
//! party.json        who this is: name and public key
//! identity.pem      the private key, encrypted PKCS#8
//! platform          the simulated platform, in federations that rehearse without a TEE
//! ```

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tributary_attest::SimulatedPlatform;
use tributary_durable::{Readers, create, create_private_folder};

use crate::identity::{Identity, IdentityError, PartyKey, Passphrase};
use crate::party::PartyName;

/// A public key and a name take some 150 bytes.
const PARTY_SIZE_LIMIT: u64 = 4096;

/// The folder of one party.
#[derive(Debug, Clone)]
pub struct PartyFolder {
    folder: PathBuf,
    party: PartyName,
    key: PartyKey,
}

/// Why a party's folder cannot be made or opened.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// Not a party's folder.
    #[error("expected the folder of a party at {path}, found no readable party.json there")]
    NotAParty {
        /// The folder.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// A file of the folder that does not parse.
    #[error("expected {path} as `init` wrote it: {reason}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The private key is not the one of party.json.
    #[error("expected the private key of {expected} in identity.pem, got that of {got}")]
    OtherKey {
        /// The key in party.json.
        expected: PartyKey,
        /// The key in identity.pem.
        got: PartyKey,
    },
    /// The private key cannot be used.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The file system fails.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PartyFile {
    party: PartyName,
    key: PartyKey,
}

impl PartyFolder {
    /// Makes a folder with a new identity.
    ///
    /// # Errors
    ///
    /// Where there is one already: an identity is never overwritten.
    pub fn create(
        folder: &Path,
        party: PartyName,
        passphrase: &Passphrase,
    ) -> Result<Self, FolderError> {
        create_private_folder(folder)?;
        let identity = Identity::generate();
        let key = identity.public();
        let pem = identity.to_encrypted_pem(passphrase)?;
        create(&folder.join("identity.pem"), pem.as_bytes(), Readers::Owner)?;
        let made = Self {
            folder: folder.to_owned(),
            party: party.clone(),
            key,
        };
        // Last: what makes the folder a party's.
        let file =
            serde_json::to_vec_pretty(&PartyFile { party, key }).map_err(std::io::Error::from)?;
        create(&folder.join("party.json"), &file, Readers::Anyone)?;
        Ok(made)
    }

    /// Opens a folder that [`PartyFolder::create`] made.
    pub fn open(folder: &Path) -> Result<Self, FolderError> {
        let path = folder.join("party.json");
        let refuse = |source| FolderError::NotAParty {
            path: folder.to_owned(),
            source,
        };
        let length = std::fs::metadata(&path).map_err(refuse)?.len();
        let malformed = |reason: String| FolderError::Malformed {
            path: path.clone(),
            reason,
        };
        if length > PARTY_SIZE_LIMIT {
            return Err(malformed(format!("{length} bytes are too many")));
        }
        let bytes = std::fs::read(&path).map_err(refuse)?;
        let file: PartyFile =
            serde_json::from_slice(&bytes).map_err(|error| malformed(error.to_string()))?;
        Ok(Self {
            folder: folder.to_owned(),
            party: file.party,
            key: file.key,
        })
    }

    /// Reads the private key and makes sure that it belongs to this party.
    pub fn identity(&self, passphrase: &Passphrase) -> Result<Identity, FolderError> {
        let pem = std::fs::read_to_string(self.folder.join("identity.pem"))?;
        let identity = Identity::from_encrypted_pem(&pem, passphrase)?;
        if identity.public() != self.key {
            return Err(FolderError::OtherKey {
                expected: self.key,
                got: identity.public(),
            });
        }
        Ok(identity)
    }

    /// The party's name.
    pub fn party(&self) -> &PartyName {
        &self.party
    }

    /// The party's public key.
    pub fn key(&self) -> PartyKey {
        self.key
    }

    /// Keeps a simulated platform.
    pub fn set_platform(&self, platform: &SimulatedPlatform) -> Result<(), FolderError> {
        let path = self.folder.join("platform");
        platform
            .save(&path)
            .map_err(|error| FolderError::Malformed {
                path,
                reason: error.to_string(),
            })
    }

    /// The simulated platform, where the folder has one.
    pub fn platform(&self) -> Result<Option<SimulatedPlatform>, FolderError> {
        let path = self.folder.join("platform");
        if !path.exists() {
            return Ok(None);
        }
        SimulatedPlatform::load(&path)
            .map(Some)
            .map_err(|error| FolderError::Malformed {
                path,
                reason: error.to_string(),
            })
    }

    /// The folder itself.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passphrase() -> Passphrase {
        Passphrase::new("secret").unwrap()
    }

    #[test]
    fn a_folder_opens_with_its_passphrase_only() {
        let folder = tempfile::tempdir().unwrap();
        let made =
            PartyFolder::create(folder.path(), "alice".parse().unwrap(), &passphrase()).unwrap();
        let party = PartyFolder::open(folder.path()).unwrap();
        assert_eq!(party.party().as_str(), "alice");
        assert_eq!(party.identity(&passphrase()).unwrap().public(), made.key());
        let wrong = Passphrase::new("other").unwrap();
        assert!(matches!(
            party.identity(&wrong),
            Err(FolderError::Identity(IdentityError::Passphrase))
        ));
    }

    #[test]
    fn an_identity_is_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let alice = "alice".parse::<PartyName>().unwrap();
        PartyFolder::create(folder.path(), alice.clone(), &passphrase()).unwrap();
        let before = std::fs::read(folder.path().join("identity.pem")).unwrap();
        assert!(PartyFolder::create(folder.path(), alice, &passphrase()).is_err());
        assert_eq!(
            std::fs::read(folder.path().join("identity.pem")).unwrap(),
            before
        );
    }

    #[test]
    fn another_partys_private_key_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let other = tempfile::tempdir().unwrap();
        let party =
            PartyFolder::create(folder.path(), "alice".parse().unwrap(), &passphrase()).unwrap();
        PartyFolder::create(other.path(), "bob".parse().unwrap(), &passphrase()).unwrap();
        std::fs::copy(
            other.path().join("identity.pem"),
            folder.path().join("identity.pem"),
        )
        .unwrap();
        assert!(matches!(
            party.identity(&passphrase()),
            Err(FolderError::OtherKey { .. })
        ));
    }

    #[test]
    fn an_empty_folder_is_no_partys() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(
            PartyFolder::open(folder.path()),
            Err(FolderError::NotAParty { .. })
        ));
    }
}
