//! Matrix products of the group engine, in safe code over `pulp`'s vectors.
//!
//! One small product is behind all of them ([`tile`]): 8 rows by 32 columns, summed in registers. The left side is packed
//! once a step (weights) or once a group (gradients); the right side is packed by the very copy that gathers windows of an
//! image, so that convolutions make no columns in memory, or read where it lies.
//! Kernels of 3x3 take fewer multiplications, forward ([`winograd`]) and for their gradients ([`winograd_gradient`]).

mod convolution;
mod gather;
mod ghost;
mod gradient;
mod packing;
mod rounded;
mod tile;
mod winograd;
mod winograd_gradient;

#[cfg(test)]
mod tests;

pub(crate) use convolution::{Convolution, Geometry};
