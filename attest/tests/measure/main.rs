//! Predicted measurements over images that the tests build, against other implementations and published values.
#![allow(clippy::unwrap_used)]
// Its modules share images and logs; there is nobody outside.
#![allow(unreachable_pub)]

mod event_logs;
mod fuzz_seeds;
mod images;
mod kernels;
mod published_log;
mod snp;
mod snp_known_answers;
mod tdx;
