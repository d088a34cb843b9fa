//! Collateral over HTTPS: what a verifier needs to hold, and cannot make itself.
//!
//! ```text
//! Fetcher --Kds--> certificates and revocation lists of AMD
//!         --Pcs--> TCB documents and revocation lists of Intel
//! ```
//!
//! For: asking AMD's Key Distribution Service (KDS), and Intel's Provisioning Certification Service (PCS) or a cache of
//! it (PCCS), with retries, time limits, size limits and proxies. Not for: judging what comes. Nothing that this crate
//! returns has been verified; whoever stores it holds it against a pinned root first.
//!
//! This is the one crate below the programs, besides the attested channel, that opens a socket; no crate that appraises
//! evidence depends on it.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod address;
mod error;
mod fetcher;
mod kds;
mod pcs;
mod retry;

pub use address::ServiceUrl;
pub use error::FetchError;
pub use fetcher::{Answer, FetchOptions, Fetcher, ProxyChoice};
pub use kds::{Kds, KeyKind, SnpFirmware};
pub use pcs::{Fmspc, PckCa, Pcs, PcsAnswers, TdxCollateralJson};
pub use retry::{Retry, retry_after};
