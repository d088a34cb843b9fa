//! The sealed model: what leaves the aggregator, for the consumer's sealing key alone.
//!
//! `model.sealed` carries a content key to the recipient in a one-way Noise message from the aggregator's attested key, and
//! the content under that key in segments. Two secrets guard the content key, an X25519 agreement and an ML-KEM-768
//! encapsulation: a file that is stored today stays closed unless both are broken.
//!
//! ```text
//! "TRBSEAL" | version 1 (1) | contract (32) | run (4) | recipient (32)      header
//! ML-KEM-768 ciphertext (1,088)
//! Noise_Xpsk1_25519_AESGCM_SHA256, message 1 (136): content key (32) and content length (8) inside
//! segments: the archive of the model's files
//! ```
//!
//! Noise's prologue is header and ciphertext; the segments' header is the handshake's hash. So no byte of the file can
//! change, and no part can be taken from another file, without refusal.

mod archive;
mod content;
mod keys;

pub use archive::{ArchiveError, ModelArchive, ModelFile};
pub use content::{OpenError, SealError, SealedFor, open_model, seal_model};
pub use keys::{SealingSecret, SealingSecretError};
