//! The provider's side: vault, importers, sampler, budget meter and ledger member.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod cli;
mod contracts;
mod entities;
mod failures;
mod home;
mod import;
mod ledger;
mod meter;
mod sampler;
mod serve;
mod vault;

pub use contracts::{BookError, ContractBook};
pub use entities::{Entities, EntitiesError};
pub use home::AgentHome;
pub use import::{IdxRecords, ImportError};
pub use ledger::{Clock, EmbeddedLedger, EpsilonLimit, LedgerOpenError, system_clock};
pub use meter::{
    ContractReport, DatasetReport, LeaseRequest, Meter, MeterError, OfficerLimit, RunReport,
};
pub use sampler::{Sample, Sampler, SamplerError, padded_batch};
pub use serve::{ServeArgs, serve};
pub use vault::{
    CacheSize, Dataset, Owner, Records, Scan, StateKey, Vault, VaultError, Verification, Version,
};
