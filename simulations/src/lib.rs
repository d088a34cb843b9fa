//! Whole federations on one machine.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod digits;

pub use digits::{CLASSES, Digits, PIXELS, SIDE, TEST_IMAGES, TRAINING_IMAGES};
