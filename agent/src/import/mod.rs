//! From the formats that providers hold their data in to records of a dataset.
//!
//! Files are untrusted: each reader has named limits and refuses what it does not understand, long before training.

mod entity_names;
mod idx_records;

pub use idx_records::{IdxRecords, ImportError};
