//! IDX files, the format that MNIST comes in: read as untrusted input, and written.
//!
//! Providers import them, consumers evaluate on them, simulations draw them.
//! Not here: what the bytes mean, and any other format.
//!
//! A file becomes [`IdxImages`] or labels in memory; the two files of a set become an [`IdxSet`] in memory, or an
//! [`IdxPair`] that gives them in chunks of records.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod reader;
mod writer;

pub use reader::{
    IdxChunk, IdxError, IdxImages, IdxKind, IdxPair, IdxSet, MAX_IDX_BYTES,
    MAX_IDX_BYTES_IN_MEMORY, MAX_IDX_RECORDS, MAX_IDX_SIDE, read_idx_images, read_idx_labels,
    read_pair,
};
pub use writer::{IdxEncoding, IdxWriteError, write_idx_images, write_idx_labels};
