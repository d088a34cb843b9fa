//! Whole federations on one machine.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod digits;
mod idx;

pub use digits::{CLASSES, Digits, PIXELS, SIDE, TEST_IMAGES, TRAINING_IMAGES};
pub use idx::{IdxEncoding, IdxWriteError, write_idx_images, write_idx_labels};
