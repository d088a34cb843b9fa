//! Readers of the formats that providers hold their data in.
//!
//! Files are untrusted: each reader has named limits and refuses what it does not understand, long before training.

mod idx;

pub use idx::{
    IdxChunk, IdxError, IdxImages, IdxKind, IdxPair, MAX_IDX_BYTES, MAX_IDX_BYTES_IN_MEMORY,
    MAX_IDX_RECORDS, MAX_IDX_SIDE, read_idx_images, read_idx_labels,
};
