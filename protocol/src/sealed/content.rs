//! Sealing and opening.

use std::io::{self, Read, Write};

use aws_lc_rs::kem::{EncapsulationKey, ML_KEM_768};
use rand_core::{OsRng, TryRngCore as _};
use snow::params::NoiseParams;
use zeroize::Zeroizing;

use super::archive::{ArchiveError, ModelArchive};
use super::keys::{SealingSecret, recipient_of};
use crate::derivation::derive_key;
use crate::digest::Digest;
use crate::noise_key::{NoiseKey, NoiseStatic};
use crate::numbers::RunNumber;
use crate::sealing_key::SealingKey;
use crate::segments::{SegmentError, SegmentReader, SegmentWriter};

/// What a sealed model belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealedFor {
    /// The contract's digest.
    pub contract: Digest,
    /// The run that trained it.
    pub run: RunNumber,
}

/// Why a model could not be sealed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// The contract's sealing key is no key of its kind.
    #[error(
        "the contract's sealing key is not one that can be sealed to: expected an X25519 and an ML-KEM-768 public key"
    )]
    Recipient,
    /// The cryptographic library refuses.
    #[error("the cryptographic library cannot seal")]
    Library,
    /// The operating system gives no random bytes.
    #[error("the operating system gives no random bytes")]
    Entropy,
    /// The output cannot be written.
    #[error("cannot write the sealed model")]
    Io(#[from] io::Error),
}

/// Why a sealed model was not opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Not a sealed model at all.
    #[error("expected a sealed model, which begins with `TRBSEAL`, got another kind of file")]
    Kind,
    /// A version that this program does not know.
    #[error(
        "expected a sealed model of version {FORMAT_VERSION}, got version {0}: use the version of Tributary that made it"
    )]
    Version(u8),
    /// It ends before its content does.
    #[error("the sealed model is cut off: copy the whole file again from the aggregator")]
    Truncated,
    /// It was made under another contract.
    #[error("the sealed model belongs to another contract: expected {expected}, got {got}")]
    Contract {
        /// The contract that was asked for.
        expected: Digest,
        /// The contract that the file names.
        got: Digest,
    },
    /// It comes from another run.
    #[error("the sealed model is of another run: expected run {expected}, got run {got}")]
    Run {
        /// The run that was asked for.
        expected: RunNumber,
        /// The number that the file names.
        got: u32,
    },
    /// It is sealed to another key.
    #[error(
        "the sealed model is for another sealing key: expected sha256 {expected}, got {got}; use the key that the contract names"
    )]
    Recipient {
        /// The digest of the key at hand.
        expected: Digest,
        /// The digest of the key that the file names.
        got: Digest,
    },
    /// Header or key message do not verify.
    #[error(
        "the sealed model was altered: its key message does not verify; copy the file again from the aggregator"
    )]
    Altered,
    /// It was sealed by somebody else.
    #[error(
        "the sealed model was sealed by {got}, and the receipt names {expected}: it does not come from the attested aggregator"
    )]
    Sender {
        /// The key that the receipt names.
        expected: NoiseKey,
        /// The key that sealed it.
        got: String,
    },
    /// Its content does not verify.
    #[error("the sealed model's content is refused: {0}")]
    Content(#[source] SegmentError),
    /// Its content is authentic, and no archive of a model.
    #[error("the sealed model's content is refused: {0}")]
    Archive(#[from] ArchiveError),
    /// It cannot be read.
    #[error("cannot read the sealed model")]
    Io(#[source] io::Error),
}

/// Seals a model for the holder of `recipient`, from `sender`.
///
/// ```
/// use tributary_protocol::{
///     Digest, ModelArchive, NoiseStatic, RunNumber, SealedFor, SealingSecret, open_model, seal_model,
/// };
/// let (consumer, aggregator) = (SealingSecret::generate()?, NoiseStatic::generate());
/// let purpose = SealedFor { contract: Digest::of(b"a contract"), run: RunNumber::FIRST };
/// let model = ModelArchive::new(b"onnx".to_vec(), b"safetensors".to_vec(), b"{}".to_vec())?;
///
/// let sealed = seal_model(&model, consumer.public(), &aggregator, &purpose, Vec::new())?;
/// let opened = open_model(sealed.as_slice(), &consumer, &aggregator.public(), &purpose)?;
/// assert_eq!(opened, model);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// Where the recipient's key is not usable or `out` cannot be written.
pub fn seal_model<W: Write>(
    model: &ModelArchive,
    recipient: &SealingKey,
    sender: &NoiseStatic,
    purpose: &SealedFor,
    mut out: W,
) -> Result<W, SealError> {
    if NoiseKey::from_bytes(recipient.x25519).is_none() {
        return Err(SealError::Recipient);
    }
    let (ciphertext, shared) = EncapsulationKey::new(&ML_KEM_768, recipient.ml_kem_768.as_slice())
        .ok()
        .and_then(|key| key.encapsulate().ok())
        .ok_or(SealError::Recipient)?;
    let header = header(purpose, &recipient_of(recipient));
    let prologue = [&header[..], ciphertext.as_ref()].concat();
    let psk = psk(shared.as_ref(), &prologue);

    let mut payload = Zeroizing::new([0; PAYLOAD_SIZE]);
    let (key, length) = payload.split_at_mut(KEY_SIZE);
    OsRng.try_fill_bytes(key).map_err(|_| SealError::Entropy)?;
    length.copy_from_slice(&model.encoded_length().to_be_bytes());

    let mut message = [0; MESSAGE_SIZE];
    let mut handshake = parameters()
        .and_then(|builder| {
            builder
                .prologue(&prologue)?
                .psk(1, &psk)?
                .local_private_key(sender.secret())?
                .remote_public_key(&recipient.x25519)?
                .build_initiator()
        })
        .map_err(|_| SealError::Library)?;
    let written = handshake
        .write_message(payload.as_slice(), &mut message)
        .map_err(|_| SealError::Library)?;
    if written != MESSAGE_SIZE {
        return Err(SealError::Library);
    }

    out.write_all(&prologue)?;
    out.write_all(&message)?;
    let mut key = Zeroizing::new([0; KEY_SIZE]);
    key.copy_from_slice(&payload[..KEY_SIZE]);
    let mut segments = SegmentWriter::new(out, &key, handshake.get_handshake_hash())?;
    for (head, content) in model.parts() {
        segments.write_all(&head)?;
        segments.write_all(content)?;
    }
    Ok(segments.finish()?)
}

/// Opens a sealed model that `sender` sealed. Take `sender` from the verified receipt of the run: it is there that the key
/// was attested, and without that comparison anybody could have sealed anything.
///
/// # Errors
/// [`OpenError`], a distinct one for each reason. Nothing comes out before all of it was verified.
pub fn open_model(
    mut sealed: impl Read,
    secret: &SealingSecret,
    sender: &NoiseKey,
    purpose: &SealedFor,
) -> Result<ModelArchive, OpenError> {
    let mut prologue = [0; HEADER_SIZE + CIPHERTEXT_SIZE];
    fill(&mut sealed, &mut prologue[..HEADER_SIZE])?;
    let (header, _) = prologue.split_at(HEADER_SIZE);
    check_header(header, purpose, &recipient_of(secret.public()))?;
    fill(&mut sealed, &mut prologue[HEADER_SIZE..])?;
    let mut message = [0; MESSAGE_SIZE];
    fill(&mut sealed, &mut message)?;

    let shared = secret
        .decapsulate(&prologue[HEADER_SIZE..])
        .map_err(|_| OpenError::Altered)?;
    let psk = psk(shared.as_slice(), &prologue);
    let mut handshake = parameters()
        .and_then(|builder| {
            builder
                .prologue(&prologue)?
                .psk(1, &psk)?
                .local_private_key(secret.x25519())?
                .build_responder()
        })
        .map_err(|_| OpenError::Altered)?;
    let mut payload = Zeroizing::new([0; PAYLOAD_SIZE]);
    match handshake.read_message(&message, payload.as_mut_slice()) {
        Ok(PAYLOAD_SIZE) => {}
        _ => return Err(OpenError::Altered),
    }
    let sealed_by = handshake.get_remote_static().unwrap_or_default();
    if sealed_by != sender.as_bytes() {
        let (expected, got) = (*sender, format!("x25519:{}", hex::encode(sealed_by)));
        return Err(OpenError::Sender { expected, got });
    }

    let (key, length) = payload.split_at(KEY_SIZE);
    let mut content_key = Zeroizing::new([0; KEY_SIZE]);
    content_key.copy_from_slice(key);
    let mut stated = [0; 8];
    stated.copy_from_slice(length);
    let stated = u64::from_be_bytes(stated);
    if stated > ModelArchive::encoded_limit() {
        let limit = ModelArchive::encoded_limit();
        return Err(OpenError::Content(SegmentError::TooLong { limit }));
    }
    let content = SegmentReader::new(sealed, &content_key, handshake.get_handshake_hash())
        .and_then(|reader| reader.read_all(stated))
        .map_err(|error| match SegmentError::of(&error) {
            Some(SegmentError::Truncated(_)) => OpenError::Truncated,
            Some(refusal) => OpenError::Content(refusal),
            None => OpenError::Io(error),
        })?;
    if content.len() as u64 != stated {
        return Err(ArchiveError::Length("another length than its key message states").into());
    }
    Ok(ModelArchive::decode(&content)?)
}

fn check_header(header: &[u8], purpose: &SealedFor, recipient: &Digest) -> Result<(), OpenError> {
    let mut rest = header;
    let mut take = |length: usize| {
        let (part, tail) = rest.split_at(length);
        rest = tail;
        part
    };
    if take(MAGIC.len()) != MAGIC {
        return Err(OpenError::Kind);
    }
    let version = take(1)[0];
    if version != FORMAT_VERSION {
        return Err(OpenError::Version(version));
    }
    let contract = digest_of(take(32));
    if contract != purpose.contract {
        let (expected, got) = (purpose.contract, contract);
        return Err(OpenError::Contract { expected, got });
    }
    let mut run = [0; 4];
    run.copy_from_slice(take(4));
    let got = u32::from_be_bytes(run);
    if got != purpose.run.get() {
        let expected = purpose.run;
        return Err(OpenError::Run { expected, got });
    }
    let got = digest_of(take(32));
    if got != *recipient {
        let expected = *recipient;
        return Err(OpenError::Recipient { expected, got });
    }
    Ok(())
}

fn header(purpose: &SealedFor, recipient: &Digest) -> [u8; HEADER_SIZE] {
    let mut header = [0; HEADER_SIZE];
    let parts = [
        MAGIC,
        &[FORMAT_VERSION],
        purpose.contract.as_bytes(),
        &purpose.run.get().to_be_bytes(),
        recipient.as_bytes(),
    ]
    .concat();
    header.copy_from_slice(&parts);
    header
}

fn digest_of(bytes: &[u8]) -> Digest {
    let mut digest = [0; 32];
    digest.copy_from_slice(bytes);
    Digest::from_bytes(digest)
}

/// The pre-shared secret of the handshake (Noise, revision 34, section 9): what ML-KEM encapsulated, bound to header and
/// ciphertext.
fn psk(shared: &[u8], prologue: &[u8]) -> Zeroizing<[u8; 32]> {
    derive_key("tributary sealed model psk v1", shared, &[prologue])
}

fn parameters<'a>() -> Result<snow::Builder<'a>, snow::Error> {
    let parameters: NoiseParams = "Noise_Xpsk1_25519_AESGCM_SHA256".parse()?;
    Ok(snow::Builder::new(parameters))
}

fn fill(sealed: &mut impl Read, out: &mut [u8]) -> Result<(), OpenError> {
    sealed.read_exact(out).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => OpenError::Truncated,
        _ => OpenError::Io(error),
    })
}

const MAGIC: &[u8] = b"TRBSEAL";
const FORMAT_VERSION: u8 = 1;
const HEADER_SIZE: usize = MAGIC.len() + 1 + 32 + 4 + 32;
/// FIPS 203, table 3.
const CIPHERTEXT_SIZE: usize = 1088;
const KEY_SIZE: usize = 32;
const PAYLOAD_SIZE: usize = KEY_SIZE + 8;
/// Ephemeral key, static key and its tag, payload and its tag (Noise, revision 34, section 5.3).
const MESSAGE_SIZE: usize = 32 + 48 + PAYLOAD_SIZE + 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segments::SEGMENT_SIZE;
    use proptest::prelude::*;

    struct Scene {
        consumer: SealingSecret,
        aggregator: NoiseStatic,
        purpose: SealedFor,
        model: ModelArchive,
    }

    impl Scene {
        fn new(size: usize) -> Self {
            let onnx = (0..size).map(|i| i as u8).collect();
            Self {
                consumer: SealingSecret::generate().unwrap(),
                aggregator: NoiseStatic::generate(),
                purpose: SealedFor {
                    contract: Digest::of(b"contract"),
                    run: RunNumber::FIRST,
                },
                model: ModelArchive::new(onnx, b"weights".to_vec(), b"{}".to_vec()).unwrap(),
            }
        }

        fn seal(&self) -> Vec<u8> {
            seal_model(
                &self.model,
                self.consumer.public(),
                &self.aggregator,
                &self.purpose,
                Vec::new(),
            )
            .unwrap()
        }

        fn open(&self, sealed: &[u8]) -> Result<ModelArchive, OpenError> {
            open_model(
                sealed,
                &self.consumer,
                &self.aggregator.public(),
                &self.purpose,
            )
        }
    }

    #[test]
    fn a_model_of_several_segments_comes_back_whole() {
        let scene = Scene::new(2 * SEGMENT_SIZE + 5);
        let sealed = scene.seal();
        assert_eq!(&sealed[..8], b"TRBSEAL\x01");
        assert!(scene.open(&sealed).unwrap() == scene.model);
        assert!(sealed != scene.seal());
    }

    #[test]
    fn every_flipped_byte_is_refused() {
        let scene = Scene::new(200);
        let sealed = scene.seal();
        for position in 0..sealed.len() {
            let mut bad = sealed.clone();
            bad[position] ^= 1 << (position % 8);
            let error = scene.open(&bad).unwrap_err();
            let as_expected = match position {
                0..7 => matches!(error, OpenError::Kind),
                7 => matches!(error, OpenError::Version(_)),
                8..40 => matches!(error, OpenError::Contract { .. }),
                40..44 => matches!(error, OpenError::Run { .. }),
                44..76 => matches!(error, OpenError::Recipient { .. }),
                76..1300 => matches!(error, OpenError::Altered),
                _ => matches!(error, OpenError::Content(SegmentError::Altered(0))),
            };
            assert!(as_expected, "byte {position}: {error}");
        }
    }

    #[test]
    fn bytes_flipped_anywhere_in_a_long_body_are_refused() {
        let scene = Scene::new(2 * SEGMENT_SIZE + 5);
        let sealed = scene.seal();
        for position in (1_300..sealed.len()).step_by(97_003) {
            let mut bad = sealed.clone();
            bad[position] ^= 0x80;
            assert!(
                matches!(
                    scene.open(&bad),
                    Err(OpenError::Content(SegmentError::Altered(_)))
                ),
                "{position}"
            );
        }
    }

    #[test]
    fn every_cut_of_a_short_file_and_an_addition_are_refused() {
        let scene = Scene::new(10);
        let sealed = scene.seal();
        for length in 0..sealed.len() {
            let error = scene.open(&sealed[..length]).unwrap_err();
            let head = length < HEADER_SIZE + CIPHERTEXT_SIZE + MESSAGE_SIZE + 7;
            assert!(
                matches!(error, OpenError::Truncated)
                    || !head && matches!(error, OpenError::Content(_)),
                "{length}: {error}"
            );
        }
        let longer = [&sealed[..], &[0]].concat();
        assert!(matches!(scene.open(&longer), Err(OpenError::Content(_))));
    }

    #[test]
    fn a_file_cut_at_a_segments_edge_is_called_cut_off() {
        let scene = Scene::new(SEGMENT_SIZE + 5);
        let sealed = scene.seal();
        let edge = HEADER_SIZE + CIPHERTEXT_SIZE + MESSAGE_SIZE + 7 + SEGMENT_SIZE + 16;
        assert!(matches!(
            scene.open(&sealed[..edge]),
            Err(OpenError::Truncated)
        ));
    }

    #[test]
    fn another_key_contract_run_and_sender_are_refused_each_by_its_name() {
        let scene = Scene::new(10);
        let sealed = scene.seal();
        let sender = scene.aggregator.public();
        let other_key = SealingSecret::generate().unwrap();
        let other_contract = SealedFor {
            contract: Digest::of(b"another"),
            ..scene.purpose
        };
        let other_run = SealedFor {
            run: RunNumber::FIRST.next(),
            ..scene.purpose
        };
        let mallory = NoiseStatic::generate();
        assert!(matches!(
            open_model(sealed.as_slice(), &other_key, &sender, &scene.purpose),
            Err(OpenError::Recipient { .. })
        ));
        assert!(matches!(
            open_model(sealed.as_slice(), &scene.consumer, &sender, &other_contract),
            Err(OpenError::Contract { .. })
        ));
        assert!(matches!(
            open_model(sealed.as_slice(), &scene.consumer, &sender, &other_run),
            Err(OpenError::Run { .. })
        ));
        let by_mallory = seal_model(
            &scene.model,
            scene.consumer.public(),
            &mallory,
            &scene.purpose,
            Vec::new(),
        )
        .unwrap();
        let error = scene.open(&by_mallory).unwrap_err();
        assert!(
            matches!(&error, OpenError::Sender { got, .. } if *got == mallory.public().to_string()),
            "{error}"
        );
    }

    #[test]
    fn a_key_with_only_one_half_right_does_not_open() {
        // Both halves are asked for, whatever the header claims of the recipient.
        let scene = Scene::new(10);
        let other = SealingSecret::generate().unwrap();
        for mixed in [
            SealingKey {
                x25519: other.public().x25519,
                ..scene.consumer.public().clone()
            },
            SealingKey {
                ml_kem_768: other.public().ml_kem_768.clone(),
                ..scene.consumer.public().clone()
            },
        ] {
            let mut sealed = seal_model(
                &scene.model,
                &mixed,
                &scene.aggregator,
                &scene.purpose,
                Vec::new(),
            )
            .unwrap();
            sealed[44..76].copy_from_slice(recipient_of(scene.consumer.public()).as_bytes());
            assert!(matches!(scene.open(&sealed), Err(OpenError::Altered)));
        }
    }

    #[test]
    fn parts_of_two_files_do_not_fit_together() {
        let scene = Scene::new(10);
        let (first, second) = (scene.seal(), scene.seal());
        for edge in [
            HEADER_SIZE,
            HEADER_SIZE + CIPHERTEXT_SIZE,
            HEADER_SIZE + CIPHERTEXT_SIZE + MESSAGE_SIZE,
        ] {
            let mixed = [&first[..edge], &second[edge..]].concat();
            let opened = scene.open(&mixed);
            // The header is the same in both: nothing was mixed.
            assert_eq!(opened.is_ok(), edge == HEADER_SIZE, "{edge}");
        }
    }

    #[test]
    fn an_unusable_recipient_is_refused_before_anything_is_written() {
        let scene = Scene::new(10);
        let good = scene.consumer.public();
        for bad in [
            SealingKey {
                x25519: [0; 32],
                ..good.clone()
            },
            // Coefficients beyond the modulus (FIPS 203, section 7.2).
            SealingKey {
                ml_kem_768: Box::new([0xff; 1184]),
                ..good.clone()
            },
        ] {
            let mut out = Vec::new();
            let outcome = seal_model(
                &scene.model,
                &bad,
                &scene.aggregator,
                &scene.purpose,
                &mut out,
            );
            assert!(matches!(outcome, Err(SealError::Recipient)));
            assert!(out.is_empty());
        }
    }

    #[test]
    fn a_full_disk_is_an_error_of_the_output() {
        let scene = Scene::new(SEGMENT_SIZE);
        let mut small = [0; 2_000];
        let outcome = seal_model(
            &scene.model,
            scene.consumer.public(),
            &scene.aggregator,
            &scene.purpose,
            small.as_mut_slice(),
        );
        assert!(matches!(outcome, Err(SealError::Io(_))));
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused_without_panic(tail in proptest::collection::vec(any::<u8>(), 0..1500)) {
            let scene = Scene::new(1);
            prop_assert!(scene.open(&tail).is_err());
            let header = header(&scene.purpose, &recipient_of(scene.consumer.public()));
            prop_assert!(scene.open(&[&header[..], &tail].concat()).is_err());
        }
    }
}
