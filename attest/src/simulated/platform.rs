//! A machine's stand-in for a chip with its firmware.

use std::{fmt, path::Path, sync::Arc};

use base64::{Engine, engine::general_purpose::STANDARD};
use chrono::{DateTime, TimeDelta, Utc};
use ed25519_dalek::SigningKey;
use rand_core::{OsRng, TryRngCore};
use zeroize::Zeroizing;

use super::{
    certificate::Certificate,
    secret_file::{SimulatedError, key_from_pem, key_to_pem, read_text, write_new},
};
use crate::{
    claims::{ChipId, Tcb},
    policy::MAX_CLOCK_SKEW,
};

/// What a root certifies of a platform.
#[derive(Debug, Clone)]
pub struct PlatformConfig {
    /// A name for people, such as the machine's; letters, digits and `-_.@`.
    pub name: String,
    /// The chip's identity: 32 to 64 bytes.
    pub chip_id: ChipId,
    /// The firmware's security versions.
    pub tcb: Tcb,
    /// From when on the certificate is valid, in whole seconds.
    pub not_before: DateTime<Utc>,
    /// Until when it is valid, in whole seconds.
    pub not_after: DateTime<Utc>,
}

impl PlatformConfig {
    /// A chip with a random identity, valid for 365 days from `now`, and from a minute earlier for
    /// machines whose clocks are behind.
    ///
    /// # Errors
    /// Where the system gives no random bytes.
    pub fn new(name: &str, now: DateTime<Utc>) -> Result<Self, SimulatedError> {
        let mut chip_id = [0; ChipId::MAX];
        OsRng
            .try_fill_bytes(&mut chip_id)
            .map_err(SimulatedError::Random)?;
        Ok(Self {
            name: name.to_owned(),
            chip_id: ChipId::new(&chip_id).map_err(|error| SimulatedError::Platform {
                what: "chip id",
                expected: "32 to 64 bytes",
                got: error.to_string(),
            })?,
            tcb: Tcb::from_array([1; 4]),
            not_before: now - MAX_CLOCK_SKEW,
            not_after: now + TimeDelta::days(365),
        })
    }
}

/// A certified key that signs reports, in the place of a chip: cheap to clone, one for all machines on it.
///
/// Its file holds the private key (PKCS#8 PEM) and the certificate, for its owner only.
#[derive(Clone)]
pub struct SimulatedPlatform {
    inner: Arc<Inner>,
}

struct Inner {
    key: SigningKey,
    certificate: Certificate,
    encoded: Vec<u8>,
}

impl SimulatedPlatform {
    pub(super) fn new(key: SigningKey, certificate: Certificate, encoded: Vec<u8>) -> Self {
        Self {
            inner: Arc::new(Inner {
                key,
                certificate,
                encoded,
            }),
        }
    }

    /// The name for people.
    pub fn name(&self) -> &str {
        &self.inner.certificate.name
    }

    /// The chip's identity.
    pub fn chip_id(&self) -> &ChipId {
        &self.inner.certificate.chip_id
    }

    /// The firmware's security versions.
    pub fn tcb(&self) -> Tcb {
        self.inner.certificate.tcb
    }

    /// Until when the certificate is valid.
    pub fn not_after(&self) -> DateTime<Utc> {
        self.inner.certificate.not_after
    }

    /// Writes the platform into one new file.
    ///
    /// # Errors
    /// [`SimulatedError::Exists`] where the file is there already, else what writing returns.
    pub fn save(&self, file: &Path) -> Result<(), SimulatedError> {
        let key = key_to_pem(&self.inner.key)?;
        // With room for all of it, since a text that moves leaves the key behind in freed memory.
        let mut text = Zeroizing::new(String::with_capacity(key.len() + 2048));
        text.push_str(&key);
        text.push_str(BEGIN);
        for line in STANDARD.encode(&self.inner.encoded).as_bytes().chunks(64) {
            text.push_str(&String::from_utf8_lossy(line));
            text.push('\n');
        }
        text.push_str(END);
        write_new(file, &text, 0o600)
    }

    /// Reads a platform's file.
    ///
    /// # Errors
    /// [`SimulatedError`] where it cannot be read, or its key and certificate do not belong together.
    pub fn load(file: &Path) -> Result<Self, SimulatedError> {
        let refuse = |got: String| SimulatedError::Content {
            path: file.to_owned(),
            expected: "a simulated platform: a private key and its certificate",
            got,
        };
        let text = read_text(file)?;
        let (key_text, rest) = text
            .split_once(BEGIN)
            .ok_or_else(|| refuse("no certificate".to_owned()))?;
        let body = rest
            .strip_suffix(END)
            .ok_or_else(|| refuse("a certificate without end".to_owned()))?;
        let key = key_from_pem(key_text, file)?;
        let encoded = STANDARD
            .decode(body.replace('\n', ""))
            .map_err(|error| refuse(format!("a certificate that is no base64: {error}")))?;
        let certificate =
            Certificate::parse(&encoded).map_err(|error| refuse(error.to_string()))?;
        if certificate.platform_key != key.verifying_key().to_bytes() {
            return Err(refuse("a certificate for another key".to_owned()));
        }
        Ok(Self::new(key, certificate, encoded))
    }

    pub(super) fn key(&self) -> &SigningKey {
        &self.inner.key
    }

    pub(super) fn encoded_certificate(&self) -> &[u8] {
        &self.inner.encoded
    }
}

impl fmt::Debug for SimulatedPlatform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SimulatedPlatform")
    }
}

const BEGIN: &str = "-----BEGIN TRIBUTARY SIMULATED PLATFORM CERTIFICATE-----\n";
const END: &str = "-----END TRIBUTARY SIMULATED PLATFORM CERTIFICATE-----\n";
