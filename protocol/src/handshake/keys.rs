//! The public values that the transcript binds.

use std::fmt;

use rand_core::{OsRng, TryRngCore as _};

/// Drawn anew by each side for each handshake: what ends replays.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Nonce([u8; 32]);

impl Nonce {
    /// A nonce from the operating system's randomness; `None` where it gives none.
    pub fn draw() -> Option<Self> {
        let mut bytes = [0; 32];
        OsRng.try_fill_bytes(&mut bytes).ok()?;
        Some(Self(bytes))
    }

    /// A nonce received, or chosen by a test.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Nonce({}…)", hex::encode(&self.0[..4]))
    }
}

/// The raw public key (RFC 7250) that a process uses for TLS: Ed25519 as SubjectPublicKeyInfo (RFC 8410).
///
/// It vouches for nobody by itself; the handshake ties it to evidence and to a party.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TlsKey([u8; TlsKey::LENGTH]);

impl TlsKey {
    /// RFC 8410 leaves an Ed25519 SubjectPublicKeyInfo one length and one encoding.
    pub const LENGTH: usize = 44;

    /// Reads a SubjectPublicKeyInfo; `None` for anything but an Ed25519 key.
    pub fn from_spki(der: &[u8]) -> Option<Self> {
        let bytes: [u8; Self::LENGTH] = der.try_into().ok()?;
        bytes.starts_with(&ED25519_SPKI).then_some(Self(bytes))
    }

    #[cfg(test)]
    pub(super) const fn of_test(byte: u8) -> Self {
        let mut der = [byte; Self::LENGTH];
        let (prefix, _) = der.split_at_mut(ED25519_SPKI.len());
        prefix.copy_from_slice(&ED25519_SPKI);
        Self(der)
    }

    /// The SubjectPublicKeyInfo in DER.
    pub const fn spki(&self) -> &[u8; Self::LENGTH] {
        &self.0
    }
}

/// SEQUENCE { SEQUENCE { OID 1.3.101.112 }, BIT STRING of 32 bytes }, up to the key.
const ED25519_SPKI: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

impl fmt::Display for TlsKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tls:{}", hex::encode(&self.0[ED25519_SPKI.len()..]))
    }
}

impl fmt::Debug for TlsKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_ed25519_key_is_a_tls_key() {
        let mut der = ED25519_SPKI.to_vec();
        der.extend([7; 32]);
        assert!(TlsKey::from_spki(&der).is_some());
        assert!(TlsKey::from_spki(&der[..43]).is_none());
        // The OID of X25519, 1.3.101.110.
        der[8] = 0x6e;
        assert!(TlsKey::from_spki(&der).is_none());
    }

    #[test]
    fn two_nonces_differ() {
        assert!(Nonce::draw().unwrap() != Nonce::draw().unwrap());
    }
}
