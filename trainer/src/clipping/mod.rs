//! How an example's gradient is made to have a bounded length.
//!
//! Every mode ends in the same bound: what an entity adds to the sums is at most the grid's integer norm long, in the L2
//! norm over all parameters, whatever its gradient was. The modes differ in how gradients are scaled to get there.

mod adaptive;
mod clipper;
mod config;
mod error;
mod gradient;
mod outer;
mod tile;

pub(crate) use self::adaptive::Adaptive;
pub use self::adaptive::AdaptiveClipping;
pub(crate) use self::clipper::{Clipper, Tally, Verdict};
pub use self::config::Clipping;
pub use self::error::ClippingError;
pub(crate) use self::gradient::{AddBlocks, AddGradient, BLOCK, SquaredNorm};
pub(crate) use self::outer::Outer;
pub(crate) use self::tile::LaneSums;
