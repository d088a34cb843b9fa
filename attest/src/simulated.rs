//! The simulated TEE: a key that each federation makes for itself stands where a chip maker's would.
//!
//! ```text
//! SimulatedRoot --certify--> SimulatedPlatform --launch--> SimulatedMachine --attest--> Evidence
//! ```
//!
//! Nothing is protected: whoever holds a platform's file can state any measurement. All else is as
//! with hardware: a report of fixed layout, a certificate with chip and firmware versions, and the
//! full appraisal.

mod certificate;
mod machine;
mod platform;
mod report;
mod root;
mod secret_file;
mod verifier;

pub(crate) use self::verifier::SimulatedVerifier;
pub use self::{
    machine::{LaunchConfig, SimulatedMachine},
    platform::{PlatformConfig, SimulatedPlatform},
    root::SimulatedRoot,
    secret_file::SimulatedError,
};
