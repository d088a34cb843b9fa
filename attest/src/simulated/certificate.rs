//! What a root says about a platform.

use chrono::{DateTime, Utc};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};

use super::hardware::SimulatedHardware;
use crate::{
    policy::SimulatedRootKey,
    wire::{Reader, WireError, put_prefixed},
};

/// A platform's certificate. Encoding, integers big-endian, times in seconds since 1970:
///
/// ```text
/// "TRBSIMC" | version 2 (1) | root key (32) | platform key (32) | not before (8) | not after (8)
///           | name: length (2), 1 to 64 | hardware: length (2), JSON | Ed25519 signature (64)
/// ```
///
/// The root signs a label and all bytes before the signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Certificate {
    pub(crate) root: SimulatedRootKey,
    pub(crate) platform_key: [u8; 32],
    pub(crate) not_before: DateTime<Utc>,
    pub(crate) not_after: DateTime<Utc>,
    pub(crate) name: String,
    pub(crate) hardware: SimulatedHardware,
}

impl Certificate {
    /// Most bytes of a platform's name: it is shown in one line.
    pub(crate) const MAX_NAME: usize = 64;
    /// Most bytes of the hardware: a TDX platform to which every advisory applies takes half of it.
    const MAX_HARDWARE: usize = 4096;

    /// The encoding, signed by the root.
    pub(crate) fn sign(&self, root: &SigningKey) -> Vec<u8> {
        let mut out = Vec::with_capacity(1024);
        out.extend_from_slice(MAGIC);
        out.push(VERSION);
        out.extend_from_slice(self.root.as_bytes());
        out.extend_from_slice(&self.platform_key);
        out.extend_from_slice(&self.not_before.timestamp().to_be_bytes());
        out.extend_from_slice(&self.not_after.timestamp().to_be_bytes());
        put_prefixed(&mut out, self.name.as_bytes());
        // Numbers, texts and lists of them: there is nothing in it that JSON has no form for.
        let hardware = serde_json::to_vec(&self.hardware).unwrap_or_default();
        put_prefixed(&mut out, &hardware);
        sign_with_label(root, LABEL, &mut out);
        out
    }

    /// Reads the fields; says nothing about the signature.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes);
        reader.expect("the mark of a simulated certificate", MAGIC)?;
        let version = reader.u8("the certificate's version")?;
        if version != VERSION {
            return Err(WireError::value(
                "the certificate's version",
                VERSION,
                version,
            ));
        }
        let certificate = Self {
            root: SimulatedRootKey::new(reader.array("the root's key")?),
            platform_key: reader.array("the platform's key")?,
            not_before: read_time(&mut reader, "the start of validity")?,
            not_after: read_time(&mut reader, "the end of validity")?,
            name: read_name(&mut reader)?,
            hardware: read_hardware(&mut reader)?,
        };
        reader.take("the certificate's signature", SIGNATURE)?;
        reader.finish("the certificate")?;
        Ok(certificate)
    }

    /// Whether `root` signed exactly these bytes.
    pub(crate) fn is_signed_by(bytes: &[u8], root: &VerifyingKey) -> bool {
        verify_with_label(root, LABEL, bytes)
    }
}

/// Appends a signature over the label and what `out` holds.
pub(super) fn sign_with_label(key: &SigningKey, label: &[u8], out: &mut Vec<u8>) {
    let signature = key.sign(&[label, out].concat());
    out.extend_from_slice(&signature.to_bytes());
}

/// Checks the last 64 bytes as a signature over the label and the raw bytes before it.
///
/// Strict verification (no keys or signatures of small order) makes the accepted signature bytes
/// unique for what an honest signer made, as RFC 8032, section 8.4 asks of the scalar.
pub(super) fn verify_with_label(key: &VerifyingKey, label: &[u8], bytes: &[u8]) -> bool {
    bytes
        .split_last_chunk::<SIGNATURE>()
        .is_some_and(|(signed, signature)| {
            key.verify_strict(&[label, signed].concat(), &Signature::from_bytes(signature))
                .is_ok()
        })
}

pub(super) fn read_time(
    reader: &mut Reader<'_>,
    what: &'static str,
) -> Result<DateTime<Utc>, WireError> {
    let seconds = reader.i64(what)?;
    DateTime::from_timestamp(seconds, 0)
        .ok_or_else(|| WireError::value(what, "a time in seconds since 1970", seconds))
}

fn read_hardware(reader: &mut Reader<'_>) -> Result<SimulatedHardware, WireError> {
    let bytes = reader.prefixed("the hardware", 1..=Certificate::MAX_HARDWARE)?;
    serde_json::from_slice(bytes)
        .map_err(|error| WireError::value("the hardware", "the JSON of a platform", error))
}

fn read_name(reader: &mut Reader<'_>) -> Result<String, WireError> {
    let bytes = reader.prefixed("the platform's name", 1..=Certificate::MAX_NAME)?;
    match std::str::from_utf8(bytes) {
        Ok(name) if is_name(name) => Ok(name.to_owned()),
        _ => Err(WireError::value(
            "the platform's name",
            NAME_RULE,
            hex::encode(bytes),
        )),
    }
}

/// Printable ASCII only: the name comes from the peer and is shown on a terminal.
pub(super) fn is_name(name: &str) -> bool {
    (1..=Certificate::MAX_NAME).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.@".contains(&b))
}

pub(super) const NAME_RULE: &str = "1 to 64 letters, digits or characters of -_.@";
pub(super) const SIGNATURE: usize = 64;
const MAGIC: &[u8] = b"TRBSIMC";
const VERSION: u8 = 2;
const LABEL: &[u8] = b"tributary simulated platform certificate v2\0";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(tail in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = Certificate::parse(&tail);
            let _ = Certificate::parse(&[b"TRBSIMC\x02", tail.as_slice()].concat());
        }
    }

    #[test]
    fn names_cannot_carry_terminal_commands() {
        assert!(is_name("agent-1.hospital@example"));
        for name in ["", "a b", "\u{1b}[2J", "é", &"a".repeat(65)] {
            assert!(!is_name(name), "{name:?}");
        }
    }
}
