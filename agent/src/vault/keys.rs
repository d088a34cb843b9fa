//! The keys of a vault: what a passphrase opens, and what data keys are wrapped with.
//!
//! passphrase -scrypt-> key-encryption key -AES-256-GCM-> ring of vault keys and the state key;
//! vault key -AES-256-GCM-> data key of one part.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::{hmac, rand};
use serde::{Deserialize, Serialize};
use tributary_protocol::{DatasetId, Digest, PartNumber, Passphrase, WrappedKey};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::error::VaultError;

/// The key file takes under 2 KiB even in the middle of a rotation.
pub(super) const KEY_FILE_SIZE_LIMIT: u64 = 64 << 10;

/// Name of the key file, which no dataset can have.
pub(super) const KEY_FILE: &str = "vault.json";

const FORMAT: &str = "tributary-vault-1";
const TAG_LENGTH: usize = 16;

/// Memory of the derivation, 128 * r * 2^log_n, stays below that: a forged file must not exhaust it.
const LOG_N_LIMIT: u8 = 17;
const P_LIMIT: u32 = 16;

/// N = 2^15, r = 8, p = 3: 32 MiB, among the settings that OWASP's cheat sheet on password storage takes as equal, and
/// an agent has no more memory to spare.
const DERIVATION: Derivation = Derivation {
    log_n: 15,
    r: 8,
    p: 3,
};

/// The key of one part's encryption.
#[derive(ZeroizeOnDrop)]
pub(super) struct DataKey(pub(super) [u8; 32]);

/// A key that makes files of the agent's own state tamper-evident (HMAC-SHA-256).
///
/// ```
/// use tributary_agent::StateKey;
/// let key = StateKey::from_bytes([7; 32]);
/// let tag = key.tag(b"spent 3 steps");
/// assert!(key.verify(b"spent 3 steps", &tag));
/// assert!(!key.verify(b"spent 2 steps", &tag));
/// ```
#[derive(Clone, ZeroizeOnDrop)]
pub struct StateKey([u8; 32]);

/// All keys of a vault.
pub(super) struct VaultKeys {
    ring: Ring,
}

#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
struct Ring {
    /// Wraps what is written from now on.
    current: u32,
    /// In the middle of a rotation, the old key too.
    keys: Vec<(u32, [u8; 32])>,
    state: [u8; 32],
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyFile {
    format: String,
    scrypt: Derivation,
    #[serde(with = "hex::serde")]
    salt: [u8; 32],
    #[serde(with = "hex::serde")]
    nonce: [u8; 12],
    #[serde(with = "hex::serde")]
    sealed: Vec<u8>,
    /// SHA-256 of all the above: tells a damaged file from a wrong passphrase. It protects against accidents only;
    /// against people there is the tag of `sealed`.
    checksum: Digest,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Derivation {
    log_n: u8,
    r: u32,
    p: u32,
}

impl VaultKeys {
    /// Fresh keys.
    pub(super) fn generate() -> Result<Self, VaultError> {
        Ok(Self {
            ring: Ring {
                current: 1,
                keys: vec![(1, random()?)],
                state: random()?,
            },
        })
    }

    /// The key file that `passphrase` opens.
    pub(super) fn seal(&self, passphrase: &Passphrase) -> Result<Vec<u8>, VaultError> {
        let mut file = KeyFile {
            format: FORMAT.to_owned(),
            scrypt: DERIVATION,
            salt: random()?,
            nonce: random()?,
            sealed: Vec::new(),
            checksum: Digest::from_bytes([0; 32]),
        };
        let ring = postcard::to_allocvec(&self.ring)
            .map(Zeroizing::new)
            .map_err(|error| damaged(&error.to_string()))?;
        let key = file.derive(passphrase)?;
        file.sealed = seal(&key, file.nonce, &file.header(), &ring)?;
        file.checksum = file.checksum();
        let mut json =
            serde_json::to_vec_pretty(&file).map_err(|error| damaged(&error.to_string()))?;
        json.push(b'\n');
        Ok(json)
    }

    /// Opens a key file. A wrong passphrase and a damaged file are told apart.
    pub(super) fn open(json: &[u8], passphrase: &Passphrase) -> Result<Self, VaultError> {
        let file: KeyFile =
            serde_json::from_slice(json).map_err(|error| damaged(&error.to_string()))?;
        if file.format != FORMAT {
            return Err(damaged(&format!(
                "expected format `{FORMAT}`, got `{}`",
                file.format.chars().take(40).collect::<String>()
            )));
        }
        if file.checksum != file.checksum() {
            return Err(damaged("its checksum does not match its contents"));
        }
        let key = file.derive(passphrase)?;
        let ring =
            open(&key, file.nonce, &file.header(), &file.sealed).ok_or(VaultError::Passphrase)?;
        let ring: Ring = postcard::from_bytes(&ring)
            .map_err(|_| damaged("what it seals is not a ring of keys"))?;
        let keys = Self { ring };
        keys.key(keys.ring.current)
            .ok_or_else(|| damaged("its current key is missing"))?;
        Ok(keys)
    }

    /// A key for files of the agent's state, one for each purpose.
    pub(super) fn state_key(&self, purpose: &str) -> StateKey {
        let root = StateKey(self.ring.state);
        StateKey(root.tag(&[b"tributary state key ", purpose.as_bytes()].concat()))
    }

    /// A fresh data key and its wrapping.
    pub(super) fn new_data_key(
        &self,
        dataset: DatasetId,
        part: PartNumber,
    ) -> Result<(DataKey, WrappedKey), VaultError> {
        let key = DataKey(random()?);
        let wrapped = self.wrap(&key, dataset, part)?;
        Ok((key, wrapped))
    }

    pub(super) fn wrap(
        &self,
        key: &DataKey,
        dataset: DatasetId,
        part: PartNumber,
    ) -> Result<WrappedKey, VaultError> {
        let vault_key = self.ring.current;
        let wrapping = self
            .key(vault_key)
            .ok_or_else(|| damaged("its current key is missing"))?;
        let nonce = random()?;
        let sealed = seal(wrapping, nonce, &wrapping_context(dataset, part), &key.0)?;
        Ok(WrappedKey {
            vault_key,
            nonce,
            sealed: sealed
                .try_into()
                .map_err(|_| damaged("a wrapped key has another length"))?,
        })
    }

    /// `None` where none of this vault's keys opens it for this dataset and part.
    pub(super) fn unwrap_key(
        &self,
        wrapped: &WrappedKey,
        dataset: DatasetId,
        part: PartNumber,
    ) -> Option<DataKey> {
        let wrapping = self.key(wrapped.vault_key)?;
        let context = wrapping_context(dataset, part);
        let plain = open(wrapping, wrapped.nonce, &context, &wrapped.sealed)?;
        <[u8; 32]>::try_from(plain.as_slice()).ok().map(DataKey)
    }

    /// True for a wrapping by the key that is in use now.
    pub(super) fn is_current(&self, wrapped: &WrappedKey) -> bool {
        wrapped.vault_key == self.ring.current
    }

    /// True in the middle of a rotation.
    pub(super) fn is_rotating(&self) -> bool {
        self.ring.keys.len() > 1
    }

    /// The same keys and a new one, which is in use from now on.
    pub(super) fn with_new_key(&self) -> Result<Self, VaultError> {
        let current = self.ring.keys.iter().map(|(id, _)| *id).max().unwrap_or(0) + 1;
        let mut keys = self.ring.keys.clone();
        keys.push((current, random()?));
        Ok(Self {
            ring: Ring {
                current,
                keys,
                state: self.ring.state,
            },
        })
    }

    /// The key in use alone.
    pub(super) fn without_old_keys(&self) -> Self {
        let current = self.ring.current;
        let keys = self.ring.keys.iter();
        Self {
            ring: Ring {
                current,
                keys: keys.filter(|(id, _)| *id == current).copied().collect(),
                state: self.ring.state,
            },
        }
    }

    fn key(&self, id: u32) -> Option<&[u8; 32]> {
        let mut keys = self.ring.keys.iter();
        keys.find(|(known, _)| *known == id).map(|(_, key)| key)
    }
}

impl StateKey {
    /// A key from 32 secret bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// HMAC-SHA-256 over `message`.
    pub fn tag(&self, message: &[u8]) -> [u8; 32] {
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &self.0), message);
        let mut bytes = [0; 32];
        bytes.copy_from_slice(tag.as_ref());
        bytes
    }

    /// True where `tag` is that of `message`; takes the same time whatever differs.
    pub fn verify(&self, message: &[u8], tag: &[u8; 32]) -> bool {
        hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, &self.0), message, tag).is_ok()
    }
}

impl KeyFile {
    fn derive(&self, passphrase: &Passphrase) -> Result<Zeroizing<[u8; 32]>, VaultError> {
        let Derivation { log_n, r, p } = self.scrypt;
        let within = (1..=LOG_N_LIMIT).contains(&log_n) && r == 8 && (1..=P_LIMIT).contains(&p);
        let params = scrypt::Params::new(log_n, r, p, 32)
            .ok()
            .filter(|_| within)
            .ok_or_else(|| damaged("its scrypt parameters are beyond what an agent may spend"))?;
        let mut key = Zeroizing::new([0; 32]);
        scrypt::scrypt(passphrase.expose(), &self.salt, &params, key.as_mut_slice())
            .map_err(|_| damaged("its scrypt parameters are not possible"))?;
        Ok(key)
    }

    /// What the sealing authenticates besides the ring.
    fn header(&self) -> Vec<u8> {
        let Derivation { log_n, r, p } = self.scrypt;
        [
            self.format.as_bytes(),
            &[log_n],
            &r.to_be_bytes(),
            &p.to_be_bytes(),
            &self.salt,
        ]
        .concat()
    }

    fn checksum(&self) -> Digest {
        Digest::of(&[&self.header(), self.nonce.as_slice(), &self.sealed].concat())
    }
}

macro_rules! redacted {
    ($($type:ident),*) => {$(
        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(stringify!($type))
            }
        }
    )*};
}

redacted!(DataKey, StateKey, VaultKeys);

/// Random bytes of the operating system's generator.
pub(super) fn random<const N: usize>() -> Result<[u8; N], VaultError> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).map_err(|_| VaultError::Entropy)?;
    Ok(bytes)
}

/// Ties a wrapped key to its place: it opens nowhere else. The version is not part of it, so appending rewraps nothing.
fn wrapping_context(dataset: DatasetId, part: PartNumber) -> Vec<u8> {
    [
        b"tributary data key ".as_slice(),
        dataset.as_bytes(),
        &part.get().to_be_bytes(),
    ]
    .concat()
}

fn seal(
    key: &[u8; 32],
    nonce: [u8; 12],
    context: &[u8],
    plain: &[u8],
) -> Result<Vec<u8>, VaultError> {
    let cipher = cipher(key).ok_or(VaultError::Entropy)?;
    let mut bytes = Vec::with_capacity(plain.len() + TAG_LENGTH);
    bytes.extend_from_slice(plain);
    let nonce = Nonce::assume_unique_for_key(nonce);
    cipher
        .seal_in_place_append_tag(nonce, Aad::from(context), &mut bytes)
        .map_err(|_| VaultError::Entropy)?;
    Ok(bytes)
}

fn open(
    key: &[u8; 32],
    nonce: [u8; 12],
    context: &[u8],
    sealed: &[u8],
) -> Option<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(sealed.to_vec());
    let nonce = Nonce::assume_unique_for_key(nonce);
    let length = cipher(key)?
        .open_in_place(nonce, Aad::from(context), bytes.as_mut_slice())
        .ok()?
        .len();
    bytes.truncate(length);
    Some(bytes)
}

fn cipher(key: &[u8; 32]) -> Option<LessSafeKey> {
    UnboundKey::new(&AES_256_GCM, key)
        .ok()
        .map(LessSafeKey::new)
}

fn damaged(reason: &str) -> VaultError {
    VaultError::Damaged {
        file: KEY_FILE.to_owned(),
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passphrase(text: &str) -> Passphrase {
        Passphrase::new(text).unwrap()
    }

    #[test]
    fn a_wrong_passphrase_and_a_damaged_file_are_told_apart() {
        let keys = VaultKeys::generate().unwrap();
        let file = keys.seal(&passphrase("right")).unwrap();
        let read = VaultKeys::open(&file, &passphrase("right")).unwrap();
        assert_eq!(read.ring.keys, keys.ring.keys);
        assert!(matches!(
            VaultKeys::open(&file, &passphrase("wrong")),
            Err(VaultError::Passphrase)
        ));
        let text = String::from_utf8(file).unwrap();
        let sealed = text.find("sealed").unwrap() + 20;
        let mut damaged = text.clone().into_bytes();
        damaged[sealed] = if damaged[sealed] == b'0' { b'1' } else { b'0' };
        for bad in [
            damaged,
            text.as_bytes()[..text.len() / 2].to_vec(),
            text.replace("\"p\": 3", "\"p\": 4").into_bytes(),
            Vec::new(),
        ] {
            assert!(matches!(
                VaultKeys::open(&bad, &passphrase("right")),
                Err(VaultError::Damaged { .. })
            ));
        }
    }

    #[test]
    fn a_forged_file_cannot_ask_for_all_memory() {
        let mut file = KeyFile {
            format: FORMAT.into(),
            scrypt: Derivation {
                log_n: 40,
                r: 8,
                p: 1,
            },
            salt: [0; 32],
            nonce: [0; 12],
            sealed: vec![0; 64],
            checksum: Digest::from_bytes([0; 32]),
        };
        file.checksum = file.checksum();
        let json = serde_json::to_vec(&file).unwrap();
        assert!(matches!(
            VaultKeys::open(&json, &passphrase("x")),
            Err(VaultError::Damaged { .. })
        ));
    }

    #[test]
    fn a_data_key_opens_in_its_own_place_only() {
        let keys = VaultKeys::generate().unwrap();
        let (here, there) = (
            DatasetId::from_bytes([1; 16]),
            DatasetId::from_bytes([2; 16]),
        );
        let first = PartNumber::FIRST;
        let (key, wrapped) = keys.new_data_key(here, first).unwrap();
        assert_eq!(keys.unwrap_key(&wrapped, here, first).unwrap().0, key.0);
        assert!(keys.unwrap_key(&wrapped, there, first).is_none());
        assert!(keys.unwrap_key(&wrapped, here, first.next()).is_none());
        let other = VaultKeys::generate().unwrap();
        assert!(other.unwrap_key(&wrapped, here, first).is_none());
        for position in 0..48 {
            let mut bad = wrapped.clone();
            bad.sealed[position] ^= 1;
            assert!(keys.unwrap_key(&bad, here, first).is_none());
        }
    }

    #[test]
    fn in_a_rotation_old_wrappings_open_until_the_old_key_goes() {
        let old = VaultKeys::generate().unwrap();
        let (id, part) = (DatasetId::from_bytes([1; 16]), PartNumber::FIRST);
        let (key, wrapped) = old.new_data_key(id, part).unwrap();
        let both = old.with_new_key().unwrap();
        assert!(both.is_rotating() && !both.is_current(&wrapped));
        let opened = both.unwrap_key(&wrapped, id, part).unwrap();
        let rewrapped = both.wrap(&opened, id, part).unwrap();
        let new = both.without_old_keys();
        assert!(new.unwrap_key(&wrapped, id, part).is_none());
        assert_eq!(new.unwrap_key(&rewrapped, id, part).unwrap().0, key.0);
        assert_eq!(new.state_key("x").0, old.state_key("x").0);
    }

    #[test]
    fn secrets_do_not_print() {
        let keys = VaultKeys::generate().unwrap();
        assert_eq!(format!("{keys:?}"), "VaultKeys");
        assert_eq!(format!("{:?}", keys.state_key("x")), "StateKey");
    }
}
