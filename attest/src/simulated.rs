//! The simulated TEE: a key that each federation makes for itself stands where a chip maker's would.
//!
//! ```text
//! SimulatedRoot --certify--> SimulatedPlatform --launch--> SimulatedMachine --attest--> Evidence
//! ```
//!
//! Nothing is protected: whoever holds a platform's file can state any measurement. All else is as
//! with hardware: a platform plays SEV-SNP or TDX with every field of that kind, a certificate vouches for what chip
//! and firmware would, and the appraisal is the full one. So every policy can be rehearsed, and made to refuse.

mod certificate;
mod changes;
mod hardware;
mod launch;
mod machine;
mod platform;
mod report;
mod revocation;
mod root;
mod secret_file;
mod verifier;

pub use self::{
    hardware::{SimulatedHardware, SnpHardware, TdxHardware},
    launch::{LaunchConfig, SimulatedLaunch, SnpLaunch, TdxLaunch},
    machine::SimulatedMachine,
    platform::{PlatformConfig, SimulatedPlatform, SimulatedPlatformKey},
    root::SimulatedRoot,
    secret_file::SimulatedError,
};
pub(crate) use self::{revocation::RevocationList, verifier::SimulatedVerifier};
