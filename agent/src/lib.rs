//! The provider's side: vault, importers, sampler, budget meter and ledger member.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod ledger;

pub use ledger::{Clock, EmbeddedLedger, EpsilonLimit, LedgerOpenError, system_clock};
