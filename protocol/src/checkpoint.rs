//! Checkpoints at rest: encrypted for whoever can attest the run again, and for nobody else.
//!
//! The host keeps the file and never its key. Each agent gives its share of the key to an aggregator that it has attested
//! for the run, so a restarted virtual machine gets the key by attesting anew.
//!
//! ```text
//! "TRBCKPT" | version 1 (1) | contract (32) | run (4) | step (8) | salt (32)      header
//! segments: the content
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::io::Write as _;

use rand_core::{OsRng, TryRngCore as _};
use zeroize::Zeroizing;

use crate::contract::Contract;
use crate::derivation::{derive_key, put_prefixed};
use crate::digest::Digest;
use crate::message::KeyShare;
use crate::numbers::RunNumber;
use crate::party::PartyName;
use crate::segments::{SegmentError, SegmentReader, SegmentWriter};

/// The longest content of a checkpoint, in bytes: parameters and two moments of the largest model that is trained.
pub const CHECKPOINT_SIZE_LIMIT: u64 = 4 << 30;

/// The key of one run's checkpoints, from the shares of all of the contract's providers.
///
/// ```
/// # use std::collections::BTreeMap;
/// # use tributary_protocol::{CheckpointError, CheckpointKey, Contract, KeyShare, PartyName, RunNumber};
/// fn round_trip(shares: &BTreeMap<PartyName, KeyShare>, contract: &Contract) -> Result<(), CheckpointError> {
///     let key = CheckpointKey::derive(shares, contract, RunNumber::FIRST)?;
///     let sealed = key.seal(120, b"parameters, moments and the accountant's state")?;
///     // The digest goes to the ledger; on resumption it comes from there.
///     let newest = sealed.digest();
///     let opened = key.open(sealed.bytes(), &newest)?;
///     assert_eq!(opened.step, 120);
///     Ok(())
/// }
/// ```
pub struct CheckpointKey {
    key: Zeroizing<[u8; 32]>,
    contract: Digest,
    run: RunNumber,
}

/// What a checkpoint holds.
pub struct OpenedCheckpoint {
    /// Steps that were trained before it was made.
    pub step: u64,
    /// The state after these steps.
    pub content: Zeroizing<Vec<u8>>,
}

/// A checkpoint as it is stored.
#[derive(Clone, PartialEq, Eq)]
pub struct SealedCheckpoint {
    bytes: Vec<u8>,
    digest: Digest,
}

/// Why a checkpoint was not sealed or opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// Some provider's share of the key is not there, or one is there that belongs to nobody.
    #[error(
        "the checkpoint key needs one share of each provider: expected those of {expected}, got those of {got}"
    )]
    Shares {
        /// The contract's providers.
        expected: String,
        /// Whose shares there are.
        got: String,
    },
    /// Not the checkpoint that the ledger knows as the newest.
    #[error(
        "this is not the newest checkpoint: the ledger names {expected}, this file is {got}; an older or altered one is never resumed from"
    )]
    NotNewest {
        /// What was settled.
        expected: Digest,
        /// The file's digest.
        got: Digest,
    },
    /// Not a checkpoint.
    #[error("expected a checkpoint, which begins with `TRBCKPT`, got another kind of file")]
    Kind,
    /// A version that this program does not know.
    #[error(
        "expected a checkpoint of version {FORMAT_VERSION}, got version {0}: resume with the version of Tributary that made it"
    )]
    Version(u8),
    /// It was made under another contract.
    #[error("the checkpoint belongs to another contract: expected {expected}, got {got}")]
    Contract {
        /// The contract of the run.
        expected: Digest,
        /// The contract that the file names.
        got: Digest,
    },
    /// It was made in another run.
    #[error("the checkpoint is of another run: expected run {expected}, got run {got}")]
    Run {
        /// The run that is resumed.
        expected: RunNumber,
        /// The number that the file names.
        got: u32,
    },
    /// It does not verify under the key.
    #[error("the checkpoint is refused: {0}")]
    Content(#[source] SegmentError),
    /// Longer than [`CHECKPOINT_SIZE_LIMIT`].
    #[error("expected a checkpoint of at most {CHECKPOINT_SIZE_LIMIT} bytes, got {0}")]
    TooLarge(u64),
    /// The operating system gives no random bytes.
    #[error("the operating system gives no random bytes")]
    Entropy,
}

impl CheckpointKey {
    /// The key of `run`: HKDF-SHA256 over every provider's share, each after its provider's name.
    ///
    /// # Errors
    /// Where a provider's share is missing, or a share is of a party that is no provider.
    pub fn derive(
        shares: &BTreeMap<PartyName, KeyShare>,
        contract: &Contract,
        run: RunNumber,
    ) -> Result<Self, CheckpointError> {
        if !contract.providers().eq(shares.keys()) {
            return Err(CheckpointError::Shares {
                expected: listed(contract.providers()),
                got: listed(shares.keys()),
            });
        }
        let mut secret = Zeroizing::new(Vec::with_capacity(shares.len() * 128));
        for (party, share) in shares {
            put_prefixed(&mut secret, party.as_str().as_bytes());
            put_prefixed(&mut secret, share.expose());
        }
        let digest = contract.digest();
        let key = derive_key(
            "tributary checkpoint key v1",
            &secret,
            &[digest.as_bytes(), &run.get().to_be_bytes()],
        );
        Ok(Self {
            key,
            contract: digest,
            run,
        })
    }

    /// Encrypts the state after `step` steps.
    ///
    /// # Errors
    /// Where the content is beyond [`CHECKPOINT_SIZE_LIMIT`] or there is no randomness.
    pub fn seal(&self, step: u64, content: &[u8]) -> Result<SealedCheckpoint, CheckpointError> {
        let length = content.len() as u64;
        if length > CHECKPOINT_SIZE_LIMIT {
            return Err(CheckpointError::TooLarge(length));
        }
        let mut salt = [0; 32];
        OsRng
            .try_fill_bytes(&mut salt)
            .map_err(|_| CheckpointError::Entropy)?;
        let header = self.header(step, &salt);
        let mut bytes = Vec::with_capacity(HEADER_SIZE + content.len() + content.len() / 1024 + 64);
        bytes.extend_from_slice(&header);
        let bytes = SegmentWriter::new(bytes, &self.file_key(&header), &header)
            .and_then(|mut segments| {
                segments.write_all(content)?;
                segments.finish()
            })
            // Memory takes every byte: only the segments' own errors come here.
            .map_err(|error| match SegmentError::of(&error) {
                Some(SegmentError::Entropy) | None => CheckpointError::Entropy,
                Some(refusal) => CheckpointError::Content(refusal),
            })?;
        let digest = Digest::of(&bytes);
        Ok(SealedCheckpoint { bytes, digest })
    }

    /// Decrypts a stored checkpoint. `newest` is the digest that the ledger settled last: a host that restores an older
    /// file would have noise and samples come twice.
    ///
    /// # Errors
    /// [`CheckpointError`], a distinct one for each reason.
    pub fn open(&self, bytes: &[u8], newest: &Digest) -> Result<OpenedCheckpoint, CheckpointError> {
        let length = bytes.len() as u64;
        if length > CHECKPOINT_SIZE_LIMIT + CHECKPOINT_SIZE_LIMIT / 1024 {
            return Err(CheckpointError::TooLarge(length));
        }
        let (header, segments) = self.checked_header(bytes)?;
        let got = Digest::of(bytes);
        if got != *newest {
            let expected = *newest;
            return Err(CheckpointError::NotNewest { expected, got });
        }
        let step = u64::from_be_bytes(number(&header[STEP_AT..]));
        let content = SegmentReader::new(segments, &self.file_key(header), header)
            .and_then(|reader| reader.read_all(CHECKPOINT_SIZE_LIMIT))
            // Memory can always be read: only the segments' own errors come here.
            .map_err(|error| {
                CheckpointError::Content(
                    SegmentError::of(&error).unwrap_or(SegmentError::Altered(0)),
                )
            })?;
        Ok(OpenedCheckpoint { step, content })
    }

    /// Every file has a key of its own, so that nonces of two files never meet.
    fn file_key(&self, header: &[u8]) -> Zeroizing<[u8; 32]> {
        derive_key(
            "tributary checkpoint file v1",
            self.key.as_slice(),
            &[header],
        )
    }

    fn header(&self, step: u64, salt: &[u8; 32]) -> Vec<u8> {
        [
            MAGIC,
            &[FORMAT_VERSION],
            self.contract.as_bytes(),
            &self.run.get().to_be_bytes(),
            &step.to_be_bytes(),
            salt,
        ]
        .concat()
    }

    fn checked_header<'a>(&self, bytes: &'a [u8]) -> Result<(&'a [u8], &'a [u8]), CheckpointError> {
        if !bytes.starts_with(MAGIC) {
            return Err(CheckpointError::Kind);
        }
        let (header, segments) = bytes
            .split_at_checked(HEADER_SIZE)
            .ok_or(CheckpointError::Content(SegmentError::Truncated(0)))?;
        if header[MAGIC.len()] != FORMAT_VERSION {
            return Err(CheckpointError::Version(header[MAGIC.len()]));
        }
        let got = Digest::from_bytes(number(&header[CONTRACT_AT..]));
        if got != self.contract {
            let expected = self.contract;
            return Err(CheckpointError::Contract { expected, got });
        }
        let got = u32::from_be_bytes(number(&header[RUN_AT..]));
        if got != self.run.get() {
            let expected = self.run;
            return Err(CheckpointError::Run { expected, got });
        }
        Ok((header, segments))
    }
}

impl SealedCheckpoint {
    /// The bytes to store.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// SHA-256 of the bytes, to settle on the ledger.
    pub fn digest(&self) -> Digest {
        self.digest
    }
}

impl fmt::Debug for CheckpointKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CheckpointKey")
    }
}

impl fmt::Debug for OpenedCheckpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenedCheckpoint")
            .field("step", &self.step)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for SealedCheckpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealedCheckpoint")
            .field("digest", &self.digest)
            .finish_non_exhaustive()
    }
}

fn listed<'a>(parties: impl Iterator<Item = &'a PartyName>) -> String {
    let names: Vec<&str> = parties.map(PartyName::as_str).collect();
    if names.is_empty() {
        "nobody".to_owned()
    } else {
        names.join(", ")
    }
}

/// The field of `N` bytes at the front of a header that is long enough.
fn number<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut field = [0; N];
    field.copy_from_slice(&bytes[..N]);
    field
}

const MAGIC: &[u8] = b"TRBCKPT";
const FORMAT_VERSION: u8 = 1;
const CONTRACT_AT: usize = MAGIC.len() + 1;
const RUN_AT: usize = CONTRACT_AT + 32;
const STEP_AT: usize = RUN_AT + 4;
const HEADER_SIZE: usize = STEP_AT + 8 + 32;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::tests::good;
    use proptest::prelude::*;

    fn contract() -> Contract {
        Contract::parse(good().0.to_string().as_bytes()).unwrap()
    }

    fn shares(alice: u8, bob: u8) -> BTreeMap<PartyName, KeyShare> {
        [("alice", alice), ("bob", bob)]
            .map(|(name, byte)| (name.parse().unwrap(), KeyShare::from_bytes([byte; 32])))
            .into()
    }

    fn key(contract: &Contract) -> CheckpointKey {
        CheckpointKey::derive(&shares(1, 2), contract, RunNumber::FIRST).unwrap()
    }

    #[test]
    fn a_checkpoint_comes_back_to_whoever_has_the_same_shares() {
        let contract = contract();
        let content = vec![5; 3 << 20];
        let sealed = key(&contract).seal(120, &content).unwrap();
        let opened = key(&contract)
            .open(sealed.bytes(), &sealed.digest())
            .unwrap();
        assert_eq!(opened.step, 120);
        assert!(*opened.content == content);
        assert_eq!(sealed.digest(), Digest::of(sealed.bytes()));
    }

    #[test]
    fn every_share_is_needed_and_no_other_is_taken() {
        let contract = contract();
        let mut some = shares(1, 2);
        let bob = some.pop_last().unwrap();
        let error = CheckpointKey::derive(&some, &contract, RunNumber::FIRST).unwrap_err();
        assert!(
            error
                .to_string()
                .ends_with("expected those of alice, bob, got those of alice")
        );
        some.insert("carol".parse().unwrap(), bob.1.clone());
        assert!(CheckpointKey::derive(&some, &contract, RunNumber::FIRST).is_err());
        some.insert(bob.0, bob.1);
        assert!(CheckpointKey::derive(&some, &contract, RunNumber::FIRST).is_err());
        let none = BTreeMap::new();
        let error = CheckpointKey::derive(&none, &contract, RunNumber::FIRST).unwrap_err();
        assert!(error.to_string().ends_with("got those of nobody"));
    }

    #[test]
    fn another_share_in_any_place_is_refused() {
        let contract = contract();
        let sealed = key(&contract).seal(1, b"state").unwrap();
        for shares in [shares(1, 3), shares(3, 2), shares(2, 1)] {
            let other = CheckpointKey::derive(&shares, &contract, RunNumber::FIRST).unwrap();
            assert!(matches!(
                other.open(sealed.bytes(), &sealed.digest()),
                Err(CheckpointError::Content(SegmentError::Altered(0)))
            ));
        }
    }

    #[test]
    fn an_older_checkpoint_is_refused() {
        let contract = contract();
        let key = key(&contract);
        let (old, new) = (key.seal(1, b"old").unwrap(), key.seal(2, b"new").unwrap());
        let error = key.open(old.bytes(), &new.digest()).unwrap_err();
        assert!(
            matches!(error, CheckpointError::NotNewest { expected, .. } if expected == new.digest())
        );
    }

    #[test]
    fn another_contract_run_version_and_kind_are_refused_each_by_its_name() {
        let (first, second) = (contract(), contract());
        let key = key(&first);
        let sealed = key.seal(7, b"state").unwrap();
        let open = |bytes: &[u8]| key.open(bytes, &Digest::of(bytes)).unwrap_err();
        let of_other_contract =
            CheckpointKey::derive(&shares(1, 2), &second, RunNumber::FIRST).unwrap();
        let of_other_run =
            CheckpointKey::derive(&shares(1, 2), &first, RunNumber::FIRST.next()).unwrap();
        let error = open(of_other_contract.seal(7, b"state").unwrap().bytes());
        assert!(matches!(error, CheckpointError::Contract { got, .. } if got == second.digest()));
        let error = open(of_other_run.seal(7, b"state").unwrap().bytes());
        assert!(matches!(error, CheckpointError::Run { got: 2, .. }));
        let mut version = sealed.bytes().to_vec();
        version[7] = 2;
        assert!(matches!(open(&version), CheckpointError::Version(2)));
        assert!(matches!(
            open(b"PK\x03\x04 something else"),
            CheckpointError::Kind
        ));
        assert!(matches!(open(b""), CheckpointError::Kind));
    }

    #[test]
    fn every_flipped_byte_is_refused_even_where_the_ledger_was_told_its_digest() {
        let contract = contract();
        let key = key(&contract);
        let sealed = key.seal(7, b"state").unwrap();
        for position in 0..sealed.bytes().len() {
            let mut bad = sealed.bytes().to_vec();
            bad[position] ^= 1 << (position % 8);
            assert!(key.open(&bad, &Digest::of(&bad)).is_err(), "{position}");
            assert!(key.open(&bad, &sealed.digest()).is_err(), "{position}");
        }
        for length in 0..sealed.bytes().len() {
            let bad = &sealed.bytes()[..length];
            assert!(key.open(bad, &Digest::of(bad)).is_err(), "{length}");
        }
    }

    #[test]
    fn a_header_taken_from_another_run_of_the_same_shares_does_not_open_the_content() {
        let contract = contract();
        let key = key(&contract);
        let other =
            CheckpointKey::derive(&shares(1, 2), &contract, RunNumber::FIRST.next()).unwrap();
        let sealed = other.seal(7, b"state").unwrap();
        let mut forged = sealed.bytes().to_vec();
        forged[RUN_AT..RUN_AT + 4].copy_from_slice(&1u32.to_be_bytes());
        assert!(matches!(
            key.open(&forged, &Digest::of(&forged)),
            Err(CheckpointError::Content(SegmentError::Altered(0)))
        ));
    }

    #[test]
    fn neither_key_nor_content_prints() {
        let contract = contract();
        let sealed = key(&contract).seal(7, b"state").unwrap();
        let opened = key(&contract)
            .open(sealed.bytes(), &sealed.digest())
            .unwrap();
        assert_eq!(format!("{:?}", key(&contract)), "CheckpointKey");
        assert_eq!(format!("{opened:?}"), "OpenedCheckpoint { step: 7, .. }");
    }

    static KEY: std::sync::LazyLock<CheckpointKey> = std::sync::LazyLock::new(|| key(&contract()));

    proptest! {
        #[test]
        fn any_bytes_are_refused_without_panic(tail in proptest::collection::vec(any::<u8>(), 0..200)) {
            let key = &*KEY;
            for bytes in [tail.clone(), [&key.header(1, &[0; 32])[..], &tail].concat()] {
                prop_assert!(key.open(&bytes, &Digest::of(&bytes)).is_err());
            }
        }
    }
}
