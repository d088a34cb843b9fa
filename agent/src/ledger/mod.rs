//! The ledger as one agent keeps it, embedded, on this machine's disk.
//!
//! A request is judged by the rules of [`tributary_protocol::ledger`]; its entry is chained to the one before, signed, appended
//! to a log and synced; then the head is cosigned and synced beside the log; then the answer goes out.
//! On start the log is read whole and held against the signed head: a ledger that lost or changed an entry that it
//! answered for does not serve.
//!
//! What this cannot notice alone is a folder that was replaced as a whole by an older copy of itself. Whoever asked the
//! ledger before notices ([`RemoteLedger`](tributary_protocol::ledger::RemoteLedger)), and so does each agent's own meter.
//!
//! The log is raft-engine's, the one that a replicated ledger will use. It speaks through the `log` crate under the target
//! `raft_engine`: `info` on every start, `warn` and `error` on damage that this module reports in its own words.
//! It sets that crate's feature `release_max_level_debug` for the whole build: `trace` is off in release builds.

mod embedded;
mod files;
mod limit;
mod lock;
mod log;
mod open_error;
mod record;
#[cfg(test)]
mod tests;

pub use embedded::{Clock, EmbeddedLedger, system_clock};
pub use limit::EpsilonLimit;
pub use open_error::LedgerOpenError;
