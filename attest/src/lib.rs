//! What the parties believe: evidence, endorsements and appraisal policy.
//!
//! A program in a trusted execution environment (TEE) proves to a peer what it is; the peer decides
//! whether that is enough:
//!
//! ```text
//! ReportData --Attester::attest--> Evidence --bytes--> Evidence --appraise--> Verdict or Refusal
//!                                             Policy, ReportData, time --^
//! ```
//!
//! What is here: the container for evidence, the policy, the appraisal with every check it made, and the
//! simulated TEE with its root and platforms. What is not: this crate opens no socket, fetches no
//! collateral, reads no clock in the appraisal, and knows neither contracts nor channels.
//! Verifiers for SEV-SNP and TDX are not built yet: their evidence, and a policy that names them, is refused.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod appraise;
mod attester;
mod claims;
pub mod cli;
mod evidence;
mod fixed_bytes;
mod measurement;
mod policy;
mod report_data;
mod simulated;
mod tee;
mod verdict;
mod verifier;
mod wire;

pub use appraise::{appraise, danger_read_unverified};
pub use attester::{AttestError, Attester};
pub use claims::{ChipId, Claims, HostData, ProductId, SecurityVersion, SignerDigest, Tcb, Vmpl};
pub use evidence::{Evidence, EvidenceError};
pub use fixed_bytes::HexError;
pub use measurement::Measurement;
pub use policy::{Criterion, DebugRule, EvidenceAge, Policy, PolicyError, SimulatedRootKey};
pub use report_data::ReportData;
pub use simulated::{
    LaunchConfig, PlatformConfig, SimulatedError, SimulatedMachine, SimulatedPlatform,
    SimulatedRoot,
};
pub use tee::Tee;
pub use verdict::{Check, CheckName, CheckResult, Refusal, Verdict};
