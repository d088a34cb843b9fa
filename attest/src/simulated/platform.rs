//! A machine's stand-in for a chip with its firmware.

use std::{fmt, path::Path, sync::Arc};

use base64::{Engine, engine::general_purpose::STANDARD};
use chrono::{DateTime, TimeDelta, Utc};
use ed25519_dalek::SigningKey;
use zeroize::Zeroizing;

use super::{
    certificate::Certificate,
    hardware::SimulatedHardware,
    launch::SimulatedLaunch,
    secret_file::{SimulatedError, key_from_pem, key_to_pem, read_text, write_new},
};
use crate::{evidence::Evidence, fixed_bytes::fixed_bytes, policy::MAX_CLOCK_SKEW};

fixed_bytes!(
    /// The public key of a simulated platform: what its certificate is for, and what a revocation list takes back.
    SimulatedPlatformKey,
    32,
    "a simulated platform's public key"
);

impl SimulatedPlatformKey {
    /// The key in the certificate that comes with simulated evidence; says nothing about any signature.
    ///
    /// # Errors
    /// A message where there is not one certificate, or it is malformed.
    pub fn danger_read_unverified(evidence: &Evidence) -> Result<Self, String> {
        let [encoded] = evidence.endorsements() else {
            let got = evidence.endorsements().len();
            return Err(format!(
                "expected one certificate in the evidence, got {got}"
            ));
        };
        Certificate::parse(encoded)
            .map(|certificate| Self::new(certificate.platform_key))
            .map_err(|error| error.to_string())
    }
}

/// What a root certifies of a platform, and how machines are launched there.
#[derive(Debug, Clone)]
pub struct PlatformConfig {
    /// A name for people, such as the machine's; letters, digits and `-_.@`.
    pub name: String,
    /// The hardware that it plays.
    pub hardware: SimulatedHardware,
    /// How machines are launched where nothing else is said.
    pub launch: SimulatedLaunch,
    /// From when on the certificate is valid, in whole seconds.
    pub not_before: DateTime<Utc>,
    /// Until when it is valid, in whole seconds.
    pub not_after: DateTime<Utc>,
}

impl PlatformConfig {
    /// An SEV-SNP platform whose chip has a random identity, valid for 365 days from `now`.
    ///
    /// # Errors
    /// Where the system gives no random bytes.
    pub fn new(name: &str, now: DateTime<Utc>) -> Result<Self, SimulatedError> {
        Ok(Self::on(name, SimulatedHardware::random_snp()?, now))
    }

    /// A platform of this hardware, valid for 365 days from `now`, and from a minute earlier for machines whose clocks
    /// are behind.
    pub fn on(name: &str, hardware: SimulatedHardware, now: DateTime<Utc>) -> Self {
        Self {
            name: name.to_owned(),
            launch: SimulatedLaunch::on(&hardware),
            hardware,
            not_before: now - MAX_CLOCK_SKEW,
            not_after: now + TimeDelta::days(365),
        }
    }
}

/// A certified key that signs reports, in the place of a chip: cheap to clone, one for all machines on it.
///
/// Its file holds the private key (PKCS#8 PEM), the certificate and how machines are launched, for its owner only.
#[derive(Clone)]
pub struct SimulatedPlatform {
    inner: Arc<Inner>,
}

struct Inner {
    key: SigningKey,
    certificate: Certificate,
    encoded: Vec<u8>,
    launch: SimulatedLaunch,
}

impl SimulatedPlatform {
    pub(super) fn new(
        key: SigningKey,
        certificate: Certificate,
        encoded: Vec<u8>,
        launch: SimulatedLaunch,
    ) -> Self {
        Self {
            inner: Arc::new(Inner {
                key,
                certificate,
                encoded,
                launch,
            }),
        }
    }

    /// The name for people.
    pub fn name(&self) -> &str {
        &self.inner.certificate.name
    }

    /// The hardware that it plays.
    pub fn hardware(&self) -> &SimulatedHardware {
        &self.inner.certificate.hardware
    }

    /// How machines are launched where nothing else is said.
    pub fn launch_defaults(&self) -> &SimulatedLaunch {
        &self.inner.launch
    }

    /// The public key, by which a revocation list names the platform.
    pub fn public_key(&self) -> SimulatedPlatformKey {
        SimulatedPlatformKey::new(self.inner.certificate.platform_key)
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
        let mut text = Zeroizing::new(String::with_capacity(key.len() + 16 * 1024));
        text.push_str(&key);
        push_block(&mut text, CERTIFICATE, &self.inner.encoded);
        let launch = serde_json::to_vec(&self.inner.launch)
            .map_err(|error| SimulatedError::Encoding(error.to_string()))?;
        push_block(&mut text, LAUNCH, &launch);
        write_new(file, &text, 0o600)
    }

    /// Reads a platform's file.
    ///
    /// # Errors
    /// [`SimulatedError`] where it cannot be read, or its key and certificate do not belong together.
    pub fn load(file: &Path) -> Result<Self, SimulatedError> {
        let refuse = |got: &str| SimulatedError::Content {
            path: file.to_owned(),
            expected: "a simulated platform: a private key, its certificate and a launch",
            got: got.to_owned(),
        };
        let text = read_text(file)?;
        let (key_text, rest) = text
            .split_once(&begin(CERTIFICATE))
            .ok_or_else(|| refuse("no certificate"))?;
        let (encoded, rest) = rest
            .split_once(&end(CERTIFICATE))
            .ok_or_else(|| refuse("a certificate without end"))?;
        let launch = rest
            .strip_prefix(&begin(LAUNCH))
            .ok_or_else(|| refuse("no launch after the certificate"))?
            .strip_suffix(&end(LAUNCH))
            .ok_or_else(|| refuse("a launch without end"))?;
        let decode = |body: &str| {
            STANDARD
                .decode(body.replace('\n', ""))
                .map_err(|error| refuse(&format!("a part that is no base64: {error}")))
        };
        let key = key_from_pem(key_text, file)?;
        let encoded = decode(encoded)?;
        let certificate =
            Certificate::parse(&encoded).map_err(|error| refuse(&error.to_string()))?;
        if certificate.platform_key != key.verifying_key().to_bytes() {
            return Err(refuse("a certificate for another key"));
        }
        let launch: SimulatedLaunch = serde_json::from_slice(&decode(launch)?)
            .map_err(|error| refuse(&format!("a malformed launch: {error}")))?;
        Ok(Self::new(key, certificate, encoded, launch))
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

fn push_block(text: &mut String, label: &str, bytes: &[u8]) {
    text.push_str(&begin(label));
    for line in STANDARD.encode(bytes).as_bytes().chunks(64) {
        text.push_str(&String::from_utf8_lossy(line));
        text.push('\n');
    }
    text.push_str(&end(label));
}

fn begin(label: &str) -> String {
    format!("-----BEGIN {label}-----\n")
}

fn end(label: &str) -> String {
    format!("-----END {label}-----\n")
}

const CERTIFICATE: &str = "TRIBUTARY SIMULATED PLATFORM CERTIFICATE";
const LAUNCH: &str = "TRIBUTARY SIMULATED LAUNCH";
