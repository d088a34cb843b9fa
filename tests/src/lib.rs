//! Tests that need more than one crate, and what they share: federations of processes.
//!
//! For: whole federations driven by their commands, killed, restarted and tampered with. Not for: anything that ships.
//!
//! A [`Federation`] is a copy of one that was founded once in the test process, so a test begins with homes, vaults, and a
//! signed and registered contract. It starts agents as [`Serving`] and training as [`Process`], and reads what the ledger's
//! keeper has on disk with [`Federation::ledger`].

mod federation;
mod ledger;
mod process;
mod template;

pub use federation::{CONSUMER, Federation, Line, Serving};
pub use ledger::{LedgerOnDisk, RunOnLedger};
pub use process::{Ended, Process, Refused};
pub use template::{Installation, PROVIDERS, STEPS};
