//! What is learnt: graphs from ONNX, per-example gradients, DP-SGD, optimisers, metrics and export. It knows no network and no party.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod grid;
mod noise;

pub use grid::{Clipped, Grid, GridError};
pub use noise::{NoiseError, NoiseSource, SigmaInt};
