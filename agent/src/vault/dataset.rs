//! The versions of a dataset: which is the newest, which one a contract names, and whether an old one was put back.

use serde::{Deserialize, Serialize};
use tributary_protocol::{
    DatasetName, Digest, ENVELOPE_SIZE_LIMIT, Envelope, Manifest, ManifestError, ManifestVersion,
};

use super::Vault;
use super::error::{VaultError, Version};

const MARK_FILE: &str = "high-water.json";
const MARK_SIZE_LIMIT: u64 = 4 << 10;

/// A version of a dataset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dataset {
    /// What its owner signed.
    pub manifest: Manifest,
    /// The digest by which contracts name it.
    pub digest: Digest,
}

/// The newest version that was ever published here. Version 0 stands for none, before the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Mark {
    pub(super) version: u32,
    pub(super) manifest: Option<Digest>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct MarkFile {
    mark: Mark,
    #[serde(with = "hex::serde")]
    tag: [u8; 32],
}

impl Vault {
    /// The newest version, which is at least as new as the mark; `None` where nothing was ever published.
    pub(super) fn newest(&self, name: &DatasetName) -> Result<Option<Dataset>, VaultError> {
        let versions = self.versions(name)?;
        let Some(mark) = self.mark(name)? else {
            return match versions.last() {
                None => Ok(None),
                Some(_) => Err(damaged(name, "it is missing beside manifests")),
            };
        };
        let rolled_back = |got| VaultError::RolledBack {
            dataset: name.clone(),
            expected: mark.version.into(),
            got: Version(got),
        };
        let Some(newest) = versions.last().copied() else {
            return if mark.version == 0 {
                Ok(None)
            } else {
                Err(rolled_back(None))
            };
        };
        if newest.get() < mark.version {
            return Err(rolled_back(Some(newest)));
        }
        let dataset = self.version(name, newest)?;
        // A crash between the manifest and the mark leaves one that is newer; it must continue what the mark saw.
        let mut seen = dataset.clone();
        while seen.manifest.version().get() > mark.version.max(1) {
            seen = self.before(name, &seen)?;
        }
        let same = mark.manifest.is_none_or(|digest| digest == seen.digest);
        if same {
            Ok(Some(dataset))
        } else {
            Err(VaultError::OutOfPlace {
                dataset: name.clone(),
                file: manifest_file(newest),
                expected: format!(
                    "version {} with manifest {}",
                    mark.version,
                    mark.manifest.unwrap_or(seen.digest)
                ),
                got: seen.digest.to_string(),
            })
        }
    }

    /// The version whose manifest has this digest, and the newest one.
    pub(super) fn demanded(
        &self,
        name: &DatasetName,
        digest: Digest,
    ) -> Result<(Dataset, Dataset), VaultError> {
        let newest = self.show(name)?;
        let mut found = newest.clone();
        while found.digest != digest {
            if found.manifest.previous().is_none() {
                return Err(VaultError::OtherManifest {
                    dataset: name.clone(),
                    expected: digest,
                    newest: newest.manifest.version(),
                    newest_digest: newest.digest,
                });
            }
            found = self.before(name, &found)?;
        }
        Ok((found, newest))
    }

    /// The version before, as the later one names it.
    pub(super) fn before(
        &self,
        name: &DatasetName,
        later: &Dataset,
    ) -> Result<Dataset, VaultError> {
        let version = ManifestVersion::from(later.manifest.version().get() - 1);
        let found = self.version(name, version)?;
        match later.manifest.previous() {
            Some(digest) if digest == found.digest => Ok(found),
            expected => Err(VaultError::OutOfPlace {
                dataset: name.clone(),
                file: manifest_file(version),
                expected: expected.map_or("no version before".into(), |d| d.to_string()),
                got: found.digest.to_string(),
            }),
        }
    }

    /// Reads a version's manifest; what it says of itself must fit its place.
    pub(super) fn version(
        &self,
        name: &DatasetName,
        version: ManifestVersion,
    ) -> Result<Dataset, VaultError> {
        let file = manifest_file(version);
        let refuse = |source| VaultError::Manifest {
            dataset: name.clone(),
            file: file.clone(),
            source,
        };
        let json = self
            .storage
            .read(&format!("{name}/{file}"), ENVELOPE_SIZE_LIMIT as u64)?
            .ok_or_else(|| VaultError::OutOfPlace {
                dataset: name.clone(),
                file: file.clone(),
                expected: format!("the manifest of version {version}"),
                got: "no file".into(),
            })?;
        let envelope = Envelope::from_json(&json)
            .map_err(ManifestError::Envelope)
            .map_err(refuse)?;
        let manifest = Manifest::verify(&envelope, &self.owner.key).map_err(refuse)?;
        let expected = (name, &self.owner.name, version);
        let got = (manifest.dataset(), manifest.owner(), manifest.version());
        if expected != got {
            let say = |(name, owner, version): (&_, &_, ManifestVersion)| {
                format!("dataset {name} of {owner}, version {version}")
            };
            return Err(VaultError::OutOfPlace {
                dataset: name.clone(),
                file,
                expected: say(expected),
                got: say(got),
            });
        }
        Ok(Dataset {
            digest: envelope.payload_digest(),
            manifest,
        })
    }

    /// The versions whose manifests are here, ascending.
    pub(super) fn versions(&self, name: &DatasetName) -> Result<Vec<ManifestVersion>, VaultError> {
        let files = self.storage.files(name.as_str())?;
        let mut versions: Vec<_> = files.iter().filter_map(|file| version_of(file)).collect();
        versions.sort();
        Ok(versions)
    }

    pub(super) fn mark(&self, name: &DatasetName) -> Result<Option<Mark>, VaultError> {
        let path = format!("{name}/{MARK_FILE}");
        let Some(json) = self.storage.read(&path, MARK_SIZE_LIMIT)? else {
            return Ok(None);
        };
        let file: MarkFile =
            serde_json::from_slice(&json).map_err(|error| damaged(name, &error.to_string()))?;
        let key = self.keys.state_key("high-water mark");
        if key.verify(&mark_bytes(name, file.mark), &file.tag) {
            Ok(Some(file.mark))
        } else {
            Err(damaged(name, "it was not written by this vault"))
        }
    }

    pub(super) fn set_mark(&self, name: &DatasetName, mark: Mark) -> Result<(), VaultError> {
        let key = self.keys.state_key("high-water mark");
        let file = MarkFile {
            mark,
            tag: key.tag(&mark_bytes(name, mark)),
        };
        let json = serde_json::to_vec(&file).map_err(|error| damaged(name, &error.to_string()))?;
        self.storage.replace(&format!("{name}/{MARK_FILE}"), &json)
    }
}

/// The name of a version's file.
pub(super) fn manifest_file(version: ManifestVersion) -> String {
    format!("manifest-{:08}.dsse", version.get())
}

fn version_of(file: &str) -> Option<ManifestVersion> {
    let digits = file.strip_prefix("manifest-")?.strip_suffix(".dsse")?;
    let version = ManifestVersion::from(digits.parse::<u32>().ok()?);
    (version.get() > 0 && manifest_file(version) == file).then_some(version)
}

fn mark_bytes(name: &DatasetName, mark: Mark) -> Vec<u8> {
    let digest = mark.manifest.map_or([0; 32], |digest| *digest.as_bytes());
    [
        name.as_str().as_bytes(),
        &mark.version.to_be_bytes(),
        &digest,
    ]
    .concat()
}

fn damaged(name: &DatasetName, reason: &str) -> VaultError {
    VaultError::Damaged {
        file: format!("{name}/{MARK_FILE}"),
        reason: reason.to_owned(),
    }
}
