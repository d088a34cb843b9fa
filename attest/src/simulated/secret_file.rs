//! Files that hold a simulated root's or platform's private key.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use ed25519_dalek::{
    SigningKey,
    pkcs8::{DecodePrivateKey, EncodePrivateKey, KeypairBytes, spki::der::pem::LineEnding},
};
use zeroize::Zeroizing;

/// Why a simulated root or platform could not be made, kept or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SimulatedError {
    /// The system gave no random bytes.
    #[error("the system's random generator failed: {0}")]
    Random(rand_core::OsError),
    /// The key could not be written as PKCS#8.
    #[error("the private key could not be encoded: {0}")]
    Encoding(String),
    /// A file is there already.
    #[error("{} is there already: choose another place, or remove it if nothing needs it any more", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// A file could not be read or written.
    #[error("{} could not be {done}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        done: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// A file holds something else.
    #[error("{} must be {expected}, got {got}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        expected: &'static str,
        /// What it holds.
        got: String,
    },
    /// A file of changes is not usable.
    #[error("{what} cannot be changed so: {got}")]
    Configuration {
        /// What was to be changed.
        what: &'static str,
        /// What is wrong with the change.
        got: String,
    },
    /// A platform's description is not usable.
    #[error("a simulated platform's {what} must be {expected}, got {got}")]
    Platform {
        /// The field.
        what: &'static str,
        /// What is taken.
        expected: &'static str,
        /// What came.
        got: String,
    },
}

/// The most bytes that a key or platform file may have: real ones take about 5 KiB.
const MAX_FILE: u64 = 16 * 1024;

/// The key as unencrypted PKCS#8 (version 1, which every openssl reads) in PEM: it protects nothing that a
/// passphrase would.
pub(super) fn key_to_pem(key: &SigningKey) -> Result<Zeroizing<String>, SimulatedError> {
    let pair = KeypairBytes {
        secret_key: key.to_bytes(),
        public_key: None,
    };
    pair.to_pkcs8_pem(LineEnding::LF)
        .map_err(|error| SimulatedError::Encoding(error.to_string()))
}

pub(super) fn key_from_pem(pem: &str, path: &Path) -> Result<SigningKey, SimulatedError> {
    SigningKey::from_pkcs8_pem(pem).map_err(|error| SimulatedError::Content {
        path: path.to_owned(),
        expected: "an Ed25519 private key in unencrypted PKCS#8 PEM",
        got: error.to_string(),
    })
}

/// Writes a file that only its owner reads; never over one that is there.
pub(super) fn write_new(path: &Path, text: &str, mode: u32) -> Result<(), SimulatedError> {
    let mut options = File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    #[cfg(not(unix))]
    let _ = mode;
    let mut file = options.open(path).map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => SimulatedError::Exists {
            path: path.to_owned(),
        },
        _ => io_error(path, "made")(source),
    })?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(|source| {
            // Half a file would be taken for a whole one's place next time.
            let _ = fs::remove_file(path);
            io_error(path, "written")(source)
        })
}

pub(super) fn read_text(path: &Path) -> Result<Zeroizing<String>, SimulatedError> {
    let file = File::open(path).map_err(io_error(path, "opened"))?;
    let mut text = Zeroizing::new(String::with_capacity(MAX_FILE as usize + 1));
    file.take(MAX_FILE + 1)
        .read_to_string(&mut text)
        .map_err(io_error(path, "read"))?;
    if text.len() as u64 > MAX_FILE {
        return Err(SimulatedError::Content {
            path: path.to_owned(),
            expected: "at most 16 KiB",
            got: "more".to_owned(),
        });
    }
    Ok(text)
}

pub(super) fn io_error<'a>(
    path: &'a Path,
    done: &'static str,
) -> impl Fn(io::Error) -> SimulatedError + 'a {
    move |source| SimulatedError::Io {
        path: path.to_owned(),
        done,
        source,
    }
}
