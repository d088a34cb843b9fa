//! Identities: the Ed25519 keys with which parties sign contracts and prove themselves.

use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use ed25519_dalek::pkcs8::{EncodePrivateKey as _, KeypairBytes};
use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use pkcs8::pkcs5::pbes2;
use pkcs8::{EncryptedPrivateKeyInfo, PrivateKeyInfo, SecretDocument};
use rand_core::{OsRng, TryRngCore as _};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

/// An encrypted Ed25519 key in PEM takes some 400 bytes.
const PEM_SIZE_LIMIT: usize = 16 << 10;

/// A passphrase is typed by people or drawn by a machine; a file longer than this is another file.
const PASSPHRASE_SIZE_LIMIT: u64 = 1024;

/// The label under which PKCS#8 keeps an encrypted private key (RFC 7468, section 11).
const PEM_LABEL: &str = "ENCRYPTED PRIVATE KEY";

/// The public key of a party: Ed25519 (RFC 8032), written `ed25519:` and 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartyKey([u8; 32]);

/// What can be wrong with a key, a signature or a passphrase.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// Not the text of a public key.
    #[error(
        "expected a public key, `ed25519:` and 64 hexadecimal digits of a point of the curve, got `{0}`"
    )]
    KeySyntax(String),
    /// A signature that does not verify.
    #[error("the signature was not made by {0}")]
    Signature(PartyKey),
    /// A private key that cannot be read.
    #[error("expected an Ed25519 private key as encrypted PKCS#8 in PEM (`{PEM_LABEL}`)")]
    PrivateKeySyntax,
    /// The passphrase does not open the key.
    #[error("the passphrase does not open this private key")]
    Passphrase,
    /// A passphrase file that cannot be used.
    #[error("cannot use the passphrase file {path}: {reason}")]
    PassphraseFile {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The operating system gives no random bytes.
    #[error("the operating system gives no random bytes")]
    Entropy,
}

impl PartyKey {
    /// A public key from its 32 bytes, which must be a point of the curve and not one of small order.
    pub fn from_bytes(bytes: [u8; 32]) -> Result<Self, IdentityError> {
        VerifyingKey::from_bytes(&bytes)
            .ok()
            .filter(|key| !key.is_weak())
            .map(|_| Self(bytes))
            .ok_or_else(|| IdentityError::KeySyntax(hex::encode(bytes)))
    }

    /// The 32 bytes of RFC 8032.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first eight hexadecimal digits, for screens and logs.
    pub fn short(&self) -> String {
        hex::encode(&self.0[..4])
    }

    /// Verifies strictly: no signature is accepted in two encodings and no key of small order.
    pub fn verify(&self, message: &[u8], signature: &[u8; 64]) -> Result<(), IdentityError> {
        VerifyingKey::from_bytes(&self.0)
            .and_then(|key| {
                key.verify_strict(message, &ed25519_dalek::Signature::from_bytes(signature))
            })
            .map_err(|_| IdentityError::Signature(*self))
    }
}

/// A party's private key. It signs; it is never shown.
///
/// ```
/// use tributary_protocol::{Identity, Passphrase};
/// let alice = Identity::generate();
/// let passphrase = Passphrase::new("correct horse battery staple").unwrap();
/// let pem = alice.to_encrypted_pem(&passphrase).unwrap();
/// let read = Identity::from_encrypted_pem(&pem, &passphrase).unwrap();
/// assert_eq!(read.public(), alice.public());
/// ```
pub struct Identity(SigningKey);

impl Identity {
    /// A new identity from the operating system's randomness.
    ///
    /// # Panics
    ///
    /// Where the operating system gives no randomness: nothing can be signed safely then.
    #[allow(clippy::expect_used)]
    pub fn generate() -> Self {
        let mut seed = Zeroizing::new([0; 32]);
        OsRng
            .try_fill_bytes(seed.as_mut_slice())
            .expect("the operating system gives random bytes");
        Self(SigningKey::from_bytes(&seed))
    }

    /// The key that verifies what this one signs.
    pub fn public(&self) -> PartyKey {
        PartyKey(self.0.verifying_key().to_bytes())
    }

    /// Ed25519 over `message`.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }

    /// PKCS#8 under PBES2 (RFC 8018) with scrypt (2^15, 8, 1) and AES-256-CBC, in PEM: `openssl pkey` reads it.
    pub fn to_encrypted_pem(
        &self,
        passphrase: &Passphrase,
    ) -> Result<Zeroizing<String>, IdentityError> {
        let (mut salt, mut iv) = ([0; 16], [0; 16]);
        OsRng
            .try_fill_bytes(&mut salt)
            .map_err(|_| IdentityError::Entropy)?;
        OsRng
            .try_fill_bytes(&mut iv)
            .map_err(|_| IdentityError::Entropy)?;
        // Without the public key: OpenSSL 3.0 refuses version 2 of the structure (RFC 5958), which holds it.
        let bytes = KeypairBytes {
            secret_key: self.0.to_bytes(),
            public_key: None,
        };
        let parameters = pbes2::Parameters::scrypt_aes256cbc(Default::default(), &salt, &iv)
            .map_err(|_| IdentityError::PrivateKeySyntax)?;
        bytes
            .to_pkcs8_der()
            .and_then(|der| {
                PrivateKeyInfo::try_from(der.as_bytes())?
                    .encrypt_with_params(parameters, passphrase.0.as_bytes())
            })
            .and_then(|der| Ok(der.to_pem(PEM_LABEL, Default::default())?))
            .map_err(|_| IdentityError::PrivateKeySyntax)
    }

    /// Reads what [`Identity::to_encrypted_pem`] or openssl wrote.
    pub fn from_encrypted_pem(pem: &str, passphrase: &Passphrase) -> Result<Self, IdentityError> {
        if pem.len() > PEM_SIZE_LIMIT {
            return Err(IdentityError::PrivateKeySyntax);
        }
        let (label, document) =
            SecretDocument::from_pem(pem).map_err(|_| IdentityError::PrivateKeySyntax)?;
        if label != PEM_LABEL {
            return Err(IdentityError::PrivateKeySyntax);
        }
        let encrypted = EncryptedPrivateKeyInfo::try_from(document.as_bytes())
            .map_err(|_| IdentityError::PrivateKeySyntax)?;
        let plain = encrypted
            .decrypt(passphrase.0.as_bytes())
            .map_err(|_| IdentityError::Passphrase)?;
        let mut bytes = PrivateKeyInfo::try_from(plain.as_bytes())
            .and_then(KeypairBytes::try_from)
            .map_err(|_| IdentityError::PrivateKeySyntax)?;
        let key = SigningKey::try_from(&bytes).map_err(|_| IdentityError::PrivateKeySyntax);
        zeroize::Zeroize::zeroize(&mut bytes.secret_key);
        key.map(Self)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity")
    }
}

/// A passphrase, wiped from memory when it goes.
#[derive(Clone)]
pub struct Passphrase(Zeroizing<String>);

impl Passphrase {
    /// A passphrase; `None` for an empty one, which would protect nothing.
    pub fn new(text: &str) -> Option<Self> {
        (!text.is_empty()).then(|| Self(Zeroizing::new(text.to_owned())))
    }

    /// The first line of a file.
    pub fn read(path: &Path) -> Result<Self, IdentityError> {
        let refuse = |reason: &str| IdentityError::PassphraseFile {
            path: path.to_owned(),
            reason: reason.to_owned(),
        };
        let mut text = Zeroizing::new(String::new());
        std::fs::File::open(path)
            .and_then(|file| {
                file.take(PASSPHRASE_SIZE_LIMIT + 1)
                    .read_to_string(&mut text)
            })
            .map_err(|error| refuse(&error.to_string()))?;
        if text.len() as u64 > PASSPHRASE_SIZE_LIMIT {
            return Err(refuse("expected at most 1024 bytes"));
        }
        Self::new(text.lines().next().unwrap_or_default())
            .ok_or_else(|| refuse("expected a passphrase on its first line, which is empty"))
    }

    /// The bytes from which keys are derived.
    pub fn expose(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase")
    }
}

impl FromStr for PartyKey {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        let refuse = || IdentityError::KeySyntax(text.chars().take(80).collect());
        let digits = text.strip_prefix("ed25519:").ok_or_else(refuse)?;
        let mut bytes = [0; 32];
        if digits.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(refuse());
        }
        hex::decode_to_slice(digits, &mut bytes).map_err(|_| refuse())?;
        Self::from_bytes(bytes)
    }
}

impl fmt::Display for PartyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ed25519:{}", hex::encode(self.0))
    }
}

impl fmt::Debug for PartyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for PartyKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            self.0.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for PartyKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let text = String::deserialize(deserializer)?;
            text.parse().map_err(serde::de::Error::custom)
        } else {
            let bytes = <[u8; 32]>::deserialize(deserializer)?;
            Self::from_bytes(bytes).map_err(serde::de::Error::custom)
        }
    }
}

impl JsonSchema for PartyKey {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "PartyKey".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "pattern": "^ed25519:[0-9a-f]{64}$",
            "description": "Ed25519 public key: `ed25519:` and 64 hexadecimal digits",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written by `openssl pkcs8 -topk8 -v2 aes-256-cbc` (OpenSSL 3.0.19).
    const BY_OPENSSL: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----
MIGbMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAi8nSB4KpcCDQICCAAw
DAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEECcHahHxH/ycpbeDyj39SUcEQB5d
7JBzCRgkZBXrlivS7dz+zqrQFOh28PhEih0wMEfN7xucFTIHkPDmPU771+sltVyn
gPHzZ1WEx3jHKjQr7gY=
-----END ENCRYPTED PRIVATE KEY-----
";

    #[test]
    fn a_key_that_openssl_encrypted_is_read() {
        let passphrase = Passphrase::new("correct horse").unwrap();
        let identity = Identity::from_encrypted_pem(BY_OPENSSL, &passphrase).unwrap();
        assert_eq!(
            identity.public().to_string(),
            "ed25519:a799cc826145c505a76d490788af64ff62577086d1b9fc6eda8318271ac3f277"
        );
    }

    #[test]
    fn a_wrong_passphrase_and_another_file_are_told_apart() {
        let wrong = Passphrase::new("incorrect horse").unwrap();
        assert!(matches!(
            Identity::from_encrypted_pem(BY_OPENSSL, &wrong),
            Err(IdentityError::Passphrase)
        ));
        for text in [
            "",
            "-----BEGIN PRIVATE KEY-----",
            &"x".repeat(PEM_SIZE_LIMIT + 1),
        ] {
            assert!(matches!(
                Identity::from_encrypted_pem(text, &wrong),
                Err(IdentityError::PrivateKeySyntax)
            ));
        }
    }

    #[test]
    fn the_vector_of_rfc_8032_verifies_and_every_altered_byte_does_not() {
        // RFC 8032, section 7.1, test 3.
        let key: PartyKey =
            "ed25519:fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025"
                .parse()
                .unwrap();
        let mut signature = [0; 64];
        hex::decode_to_slice(
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac\
             18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
            &mut signature,
        )
        .unwrap();
        assert!(key.verify(&[0xaf, 0x82], &signature).is_ok());
        assert!(key.verify(&[0xaf, 0x83], &signature).is_err());
        for position in 0..64 {
            let mut bad = signature;
            bad[position] ^= 0x10;
            assert!(key.verify(&[0xaf, 0x82], &bad).is_err());
        }
    }

    #[test]
    fn keys_of_small_order_are_refused() {
        let mut identity_point = [0; 32];
        identity_point[0] = 1;
        assert!(PartyKey::from_bytes(identity_point).is_err());
        assert!(PartyKey::from_bytes([0; 32]).is_err());
    }

    #[test]
    fn an_empty_passphrase_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("passphrase");
        std::fs::write(&path, "\nsecond line").unwrap();
        assert!(Passphrase::read(&path).is_err());
        std::fs::write(&path, "secret\n").unwrap();
        assert_eq!(Passphrase::read(&path).unwrap().expose(), b"secret");
    }

    #[test]
    fn secrets_do_not_print() {
        assert_eq!(format!("{:?}", Identity::generate()), "Identity");
        assert_eq!(format!("{:?}", Passphrase::new("x")), "Some(Passphrase)");
    }
}
