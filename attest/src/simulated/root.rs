//! The federation's own root.

use std::{fmt, fs, path::Path};

use chrono::{DateTime, SubsecRound, Utc};
use ed25519_dalek::SigningKey;
use rand_core::{OsRng, TryRngCore};
use zeroize::Zeroizing;

use super::{
    certificate::{Certificate, NAME_RULE, is_name},
    platform::{PlatformConfig, SimulatedPlatform, SimulatedPlatformKey},
    revocation::RevocationList,
    secret_file::{SimulatedError, io_error, key_from_pem, key_to_pem, read_text, write_new},
};
use crate::{measurement::Measurement, policy::SimulatedRootKey};

/// The key pair that certifies a federation's simulated platforms, in the place of a chip maker.
///
/// In a folder it is two files: `root.key` (PKCS#8 PEM, for its owner only) and `root.pub` (the
/// public key in hexadecimal, as a policy's `simulated_roots` takes it).
pub struct SimulatedRoot {
    key: SigningKey,
}

impl SimulatedRoot {
    /// Draws a new root.
    ///
    /// # Errors
    /// Where the system gives no random bytes.
    pub fn generate() -> Result<Self, SimulatedError> {
        Ok(Self {
            key: generate_key()?,
        })
    }

    /// The root of a seed, for reproducible tests: whoever knows the seed can certify platforms.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self {
            key: SigningKey::from_bytes(seed),
        }
    }

    /// What a policy names.
    pub fn public_key(&self) -> SimulatedRootKey {
        SimulatedRootKey::new(self.key.verifying_key().to_bytes())
    }

    /// Makes a platform with a key of its own and certifies it.
    ///
    /// # Errors
    /// [`SimulatedError`] where the description is not usable or the system gives no random bytes.
    pub fn certify(&self, config: PlatformConfig) -> Result<SimulatedPlatform, SimulatedError> {
        let config = PlatformConfig {
            not_before: config.not_before.trunc_subsecs(0),
            not_after: config.not_after.trunc_subsecs(0),
            ..config
        };
        check_config(&config)?;
        let key = generate_key()?;
        let certificate = Certificate {
            root: self.public_key(),
            platform_key: key.verifying_key().to_bytes(),
            not_before: config.not_before,
            not_after: config.not_after,
            name: config.name,
            hardware: config.hardware,
        };
        let encoded = certificate.sign(&self.key);
        // What is refused on the other side is better refused here.
        Certificate::parse(&encoded).map_err(|error| SimulatedError::Platform {
            what: "hardware",
            expected: "within the limits of a certificate",
            got: error.to_string(),
        })?;
        Ok(SimulatedPlatform::new(
            key,
            certificate,
            encoded,
            config.launch,
        ))
    }

    /// A list that takes these platforms back, signed: a file of the collateral folder's `simulated`.
    ///
    /// Evidence is judged by it from `from` to `until`, and refused where it is older than that: an empty list is one too.
    ///
    /// # Errors
    /// [`SimulatedError::Platform`] for more platforms than a list has room for, or an end before the beginning.
    pub fn revoke(
        &self,
        platforms: impl IntoIterator<Item = SimulatedPlatformKey>,
        from: DateTime<Utc>,
        until: DateTime<Utc>,
    ) -> Result<Vec<u8>, SimulatedError> {
        let platforms = platforms.into_iter().map(|key| *key.as_bytes());
        let list = RevocationList {
            root: self.public_key(),
            this_update: from,
            next_update: until,
            platforms: platforms.collect(),
        };
        if list.platforms.len() > RevocationList::MAX_PLATFORMS {
            return Err(SimulatedError::Platform {
                what: "number of revoked platforms",
                expected: "at most 4096",
                got: list.platforms.len().to_string(),
            });
        }
        let encoded = list.sign(&self.key);
        // What is refused on the other side is better refused here.
        RevocationList::parse(&encoded).map_err(|error| SimulatedError::Platform {
            what: "revocation list",
            expected: "one that its readers take",
            got: error.to_string(),
        })?;
        Ok(encoded)
    }

    /// Writes `root.key` and `root.pub` into the folder, which is made if it is not there.
    ///
    /// # Errors
    /// [`SimulatedError::Exists`] where one of them is there already, else what writing returns.
    pub fn save(&self, folder: &Path) -> Result<(), SimulatedError> {
        fs::create_dir_all(folder).map_err(io_error(folder, "made"))?;
        let public = folder.join(PUBLIC_FILE);
        if public.exists() {
            return Err(SimulatedError::Exists { path: public });
        }
        write_new(&folder.join(KEY_FILE), &key_to_pem(&self.key)?, 0o600)?;
        write_new(&public, &format!("{}\n", self.public_key()), 0o644)
    }

    /// Reads `root.key` from the folder.
    ///
    /// # Errors
    /// [`SimulatedError`] where it cannot be read or holds no Ed25519 key.
    pub fn load(folder: &Path) -> Result<Self, SimulatedError> {
        let path = folder.join(KEY_FILE);
        Ok(Self {
            key: key_from_pem(&read_text(&path)?, &path)?,
        })
    }
}

impl fmt::Debug for SimulatedRoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SimulatedRoot")
    }
}

impl SimulatedRootKey {
    /// Reads a `root.pub`.
    ///
    /// # Errors
    /// [`SimulatedError`] where it cannot be read or holds no key in hexadecimal.
    pub fn load(file: &Path) -> Result<Self, SimulatedError> {
        let text = read_text(file)?;
        text.trim_end()
            .parse()
            .map_err(|error: crate::HexError| SimulatedError::Content {
                path: file.to_owned(),
                expected: "a simulated root's public key",
                got: error.to_string(),
            })
    }
}

fn check_config(config: &PlatformConfig) -> Result<(), SimulatedError> {
    let refuse = |what, expected, got: String| {
        Err(SimulatedError::Platform {
            what,
            expected,
            got,
        })
    };
    if !is_name(&config.name) {
        return refuse("name", NAME_RULE, format!("{:?}", config.name));
    }
    config.hardware.check()?;
    if config
        .launch
        .claims(&config.hardware, Measurement::new([0; Measurement::LEN]))
        .is_none()
    {
        return refuse(
            "launch",
            "of the kind that the hardware plays",
            format!("one of {}", config.launch.kind()),
        );
    }
    if config.not_after <= config.not_before {
        return refuse(
            "end of validity",
            "later than its start",
            format!("{} after {}", config.not_after, config.not_before),
        );
    }
    Ok(())
}

fn generate_key() -> Result<SigningKey, SimulatedError> {
    let mut seed = Zeroizing::new([0; 32]);
    OsRng
        .try_fill_bytes(&mut *seed)
        .map_err(SimulatedError::Random)?;
    Ok(SigningKey::from_bytes(&seed))
}

const KEY_FILE: &str = "root.key";
const PUBLIC_FILE: &str = "root.pub";
