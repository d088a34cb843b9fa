//! The consumer's sealing key: the private half, and its file.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::kem::{Ciphertext, DecapsulationKey, ML_KEM_768};
use pkcs8::LineEnding;
use pkcs8::der::pem;
use rand_core::{OsRng, TryRngCore as _};
use zeroize::Zeroizing;

use crate::digest::Digest;
use crate::identity::Passphrase;
use crate::noise_key::public_of;
use crate::sealing_key::{ML_KEM_768_KEY_LENGTH, SealingKey};

/// The private half of a sealing key. It opens models; it is never shown.
///
/// Its file is PEM with a label of its own, around `version 1 (1) | salt (16) | nonce (12) | ciphertext`: AES-256-GCM
/// under scrypt (RFC 7914; N = 2^15, r = 8, p = 1) of the passphrase.
///
/// ```
/// use tributary_protocol::{Passphrase, SealingSecret};
/// let secret = SealingSecret::generate()?;
/// let passphrase = Passphrase::new("correct horse battery staple").unwrap();
/// let file = secret.to_encrypted_pem(&passphrase)?;
/// let read = SealingSecret::from_encrypted_pem(&file, &passphrase)?;
/// assert_eq!(read.public(), secret.public());
/// # Ok::<(), tributary_protocol::SealingSecretError>(())
/// ```
pub struct SealingSecret {
    x25519: Zeroizing<[u8; 32]>,
    ml_kem_768: DecapsulationKey,
    public: SealingKey,
}

/// Why a sealing key could not be made, written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SealingSecretError {
    /// Not the file of a sealing key.
    #[error(
        "expected a sealing key's file: PEM with the label `{PEM_LABEL}`, of a version that this program knows"
    )]
    Syntax,
    /// The passphrase does not open it, or it was altered: the cipher cannot tell these apart.
    #[error("the passphrase does not open this sealing key, or the file was altered")]
    Passphrase,
    /// The cryptographic library refuses.
    #[error("the cryptographic library cannot {0} a sealing key")]
    Library(&'static str),
    /// The operating system gives no random bytes.
    #[error("the operating system gives no random bytes")]
    Entropy,
}

impl SealingSecret {
    /// A new key pair from the operating system's randomness.
    ///
    /// # Errors
    /// Where there is no randomness.
    pub fn generate() -> Result<Self, SealingSecretError> {
        let x25519 = draw::<32>()?;
        let ml_kem_768 = DecapsulationKey::generate(&ML_KEM_768)
            .map_err(|_| SealingSecretError::Library("make"))?;
        let bytes = Zeroizing::new(serialised(&ml_kem_768)?);
        Self::from_halves(x25519, ml_kem_768, &bytes)
    }

    /// The public half, which contracts name.
    pub fn public(&self) -> &SealingKey {
        &self.public
    }

    /// Encrypts the key for its file.
    ///
    /// # Errors
    /// Where there is no randomness.
    pub fn to_encrypted_pem(
        &self,
        passphrase: &Passphrase,
    ) -> Result<Zeroizing<String>, SealingSecretError> {
        let (salt, nonce) = (draw::<SALT_SIZE>()?, draw::<NONCE_SIZE>()?);
        let key = file_key(passphrase, salt.as_slice())?;
        let mut plain = Zeroizing::new(Vec::with_capacity(PLAIN_SIZE + TAG_SIZE));
        plain.extend_from_slice(self.x25519.as_slice());
        plain.extend_from_slice(&Zeroizing::new(serialised(&self.ml_kem_768)?));
        key.seal_in_place_append_tag(
            Nonce::assume_unique_for_key(*nonce),
            associated(salt.as_slice()),
            &mut *plain,
        )
        .map_err(|_| SealingSecretError::Library("encrypt"))?;
        let file = [
            &[FORMAT_VERSION][..],
            salt.as_slice(),
            nonce.as_slice(),
            plain.as_slice(),
        ]
        .concat();
        pem::encode_string(PEM_LABEL, LineEnding::LF, &file)
            .map(Zeroizing::new)
            .map_err(|_| SealingSecretError::Library("write"))
    }

    /// Reads the key from its file.
    ///
    /// # Errors
    /// Where the text is no such file, or the passphrase does not open it.
    pub fn from_encrypted_pem(
        text: &str,
        passphrase: &Passphrase,
    ) -> Result<Self, SealingSecretError> {
        if text.len() > PEM_SIZE_LIMIT {
            return Err(SealingSecretError::Syntax);
        }
        let (label, file) =
            pem::decode_vec(text.as_bytes()).map_err(|_| SealingSecretError::Syntax)?;
        if label != PEM_LABEL || file.len() != FILE_SIZE || file[0] != FORMAT_VERSION {
            return Err(SealingSecretError::Syntax);
        }
        let (salt, rest) = file[1..].split_at(SALT_SIZE);
        let (nonce, ciphertext) = rest.split_at(NONCE_SIZE);
        let nonce =
            Nonce::try_assume_unique_for_key(nonce).map_err(|_| SealingSecretError::Syntax)?;
        let mut buffer = Zeroizing::new(ciphertext.to_vec());
        let plain = file_key(passphrase, salt)?
            .open_in_place(nonce, associated(salt), &mut buffer)
            .map_err(|_| SealingSecretError::Passphrase)?;
        let (x25519, ml_kem_bytes) = plain.split_at(32);
        let x25519: [u8; 32] = x25519.try_into().map_err(|_| SealingSecretError::Syntax)?;
        let ml_kem_768 = DecapsulationKey::new(&ML_KEM_768, ml_kem_bytes)
            .map_err(|_| SealingSecretError::Library("read"))?;
        Self::from_halves(Zeroizing::new(x25519), ml_kem_768, ml_kem_bytes)
    }

    pub(super) fn x25519(&self) -> &[u8; 32] {
        &self.x25519
    }

    /// The secret in a ciphertext. ML-KEM gives another one where the ciphertext was altered (FIPS 203, algorithm 18), so
    /// that only what is derived from it can tell.
    pub(super) fn decapsulate(
        &self,
        ciphertext: &[u8],
    ) -> Result<Zeroizing<[u8; 32]>, SealingSecretError> {
        let shared = self
            .ml_kem_768
            .decapsulate(Ciphertext::from(ciphertext))
            .map_err(|_| SealingSecretError::Library("use"))?;
        <[u8; 32]>::try_from(shared.as_ref())
            .map(Zeroizing::new)
            .map_err(|_| SealingSecretError::Library("use"))
    }

    /// A decapsulation key holds its encapsulation key: `dk_PKE (1,152) ‖ ek (1,184) ‖ H(ek) (32) ‖ z (32)` (FIPS 203,
    /// algorithm 16).
    fn from_halves(
        x25519: Zeroizing<[u8; 32]>,
        ml_kem_768: DecapsulationKey,
        ml_kem_bytes: &[u8],
    ) -> Result<Self, SealingSecretError> {
        let encapsulation_key = ml_kem_bytes
            .get(1152..1152 + ML_KEM_768_KEY_LENGTH)
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or(SealingSecretError::Library("read"))?;
        let public = SealingKey {
            x25519: public_of(&x25519),
            ml_kem_768: Box::new(encapsulation_key),
        };
        Ok(Self {
            x25519,
            ml_kem_768,
            public,
        })
    }
}

impl fmt::Debug for SealingSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealingSecret")
    }
}

/// By this name a sealed file says for whom it is, so that a wrong key is told from an altered file.
pub(super) fn recipient_of(key: &SealingKey) -> Digest {
    Digest::of(&[&key.x25519[..], key.ml_kem_768.as_slice()].concat())
}

fn serialised(key: &DecapsulationKey) -> Result<Vec<u8>, SealingSecretError> {
    key.key_bytes()
        .map(|bytes| bytes.as_ref().to_vec())
        .map_err(|_| SealingSecretError::Library("write"))
}

fn file_key(passphrase: &Passphrase, salt: &[u8]) -> Result<LessSafeKey, SealingSecretError> {
    let refuse = |_| SealingSecretError::Library("derive the file key of");
    // 32 MiB and some 60 ms: what guessing costs, each time (RFC 7914, section 2).
    let parameters = scrypt::Params::new(15, 8, 1, 32).map_err(|_| refuse(()))?;
    let mut key = Zeroizing::new([0; 32]);
    scrypt::scrypt(passphrase.expose(), salt, &parameters, key.as_mut_slice())
        .map_err(|_| refuse(()))?;
    UnboundKey::new(&AES_256_GCM, key.as_slice())
        .map(LessSafeKey::new)
        .map_err(|_| refuse(()))
}

fn associated(salt: &[u8]) -> Aad<Vec<u8>> {
    Aad::from([PEM_LABEL.as_bytes(), &[FORMAT_VERSION], salt].concat())
}

fn draw<const N: usize>() -> Result<Zeroizing<[u8; N]>, SealingSecretError> {
    let mut bytes = Zeroizing::new([0; N]);
    OsRng
        .try_fill_bytes(bytes.as_mut_slice())
        .map_err(|_| SealingSecretError::Entropy)?;
    Ok(bytes)
}

const PEM_LABEL: &str = "TRIBUTARY ENCRYPTED SEALING KEY";
/// Such a file takes some 3,500 bytes.
const PEM_SIZE_LIMIT: usize = 16 << 10;
const FORMAT_VERSION: u8 = 1;
const SALT_SIZE: usize = 16;
const NONCE_SIZE: usize = 12;
const TAG_SIZE: usize = 16;
/// X25519's 32 bytes and ML-KEM-768's 2,400 (FIPS 203, table 3).
const PLAIN_SIZE: usize = 32 + 2400;
const FILE_SIZE: usize = 1 + SALT_SIZE + NONCE_SIZE + PLAIN_SIZE + TAG_SIZE;

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::kem::EncapsulationKey;
    use proptest::prelude::*;

    fn passphrase(text: &str) -> Passphrase {
        Passphrase::new(text).unwrap()
    }

    #[test]
    fn what_is_encapsulated_for_the_public_half_is_decapsulated_after_a_round_through_the_file() {
        let secret = SealingSecret::generate().unwrap();
        let file = secret.to_encrypted_pem(&passphrase("p")).unwrap();
        assert!(file.starts_with("-----BEGIN TRIBUTARY ENCRYPTED SEALING KEY-----\n"));
        let read = SealingSecret::from_encrypted_pem(&file, &passphrase("p")).unwrap();
        assert_eq!(read.public(), secret.public());
        let key =
            EncapsulationKey::new(&ML_KEM_768, secret.public().ml_kem_768.as_slice()).unwrap();
        let (ciphertext, shared) = key.encapsulate().unwrap();
        for secret in [&secret, &read] {
            assert_eq!(
                secret.decapsulate(ciphertext.as_ref()).unwrap().as_slice(),
                shared.as_ref()
            );
        }
    }

    #[test]
    fn a_wrong_passphrase_an_altered_file_and_another_file_are_refused() {
        let secret = SealingSecret::generate().unwrap();
        let file = secret.to_encrypted_pem(&passphrase("p")).unwrap();
        let open =
            |text: &str, word: &str| SealingSecret::from_encrypted_pem(text, &passphrase(word));
        assert!(matches!(
            open(&file, "q"),
            Err(SealingSecretError::Passphrase)
        ));
        let (_, bytes) = pem::decode_vec(file.as_bytes()).unwrap();
        for position in [1, 20, 29, 700, bytes.len() - 1] {
            let mut bad = bytes.clone();
            bad[position] ^= 1;
            let text = pem::encode_string(PEM_LABEL, LineEnding::LF, &bad).unwrap();
            assert!(
                matches!(open(&text, "p"), Err(SealingSecretError::Passphrase)),
                "{position}"
            );
        }
        let mut version = bytes.clone();
        version[0] = 2;
        let other = pem::encode_string("CERTIFICATE", LineEnding::LF, &bytes).unwrap();
        let version = pem::encode_string(PEM_LABEL, LineEnding::LF, &version).unwrap();
        let short = pem::encode_string(PEM_LABEL, LineEnding::LF, &bytes[1..]).unwrap();
        for text in [
            "",
            &other,
            &version,
            &short,
            &"x".repeat(PEM_SIZE_LIMIT + 1),
        ] {
            assert!(matches!(open(text, "p"), Err(SealingSecretError::Syntax)));
        }
    }

    #[test]
    fn it_does_not_print() {
        assert_eq!(
            format!("{:?}", SealingSecret::generate().unwrap()),
            "SealingSecret"
        );
    }

    proptest! {
        #[test]
        fn any_text_is_refused_without_panic(text in ".{0,200}") {
            prop_assert!(SealingSecret::from_encrypted_pem(&text, &passphrase("p")).is_err());
        }
    }
}
