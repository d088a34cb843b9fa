//! Two handshakes in memory, and whoever stands between them.

mod driver;
pub(crate) mod federation;
mod refusals;
mod renewal;
mod robustness;
