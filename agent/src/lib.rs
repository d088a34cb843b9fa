//! The provider's side: vault, importers, sampler, budget meter and ledger member.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod import;

pub use import::{
    IdxChunk, IdxError, IdxImages, IdxKind, IdxPair, MAX_IDX_BYTES, MAX_IDX_BYTES_IN_MEMORY,
    MAX_IDX_RECORDS, MAX_IDX_SIDE, read_idx_images, read_idx_labels,
};
