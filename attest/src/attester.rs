//! The side that proves itself.

use crate::{
    evidence::{Evidence, EvidenceError},
    measurement::Measurement,
    report_data::ReportData,
    tee::Tee,
};

/// Makes evidence about the program that it runs in.
pub trait Attester: Send + Sync {
    /// The kind of TEE that vouches.
    fn tee(&self) -> Tee;

    /// The measurement that the evidence will state, where the program can know it beforehand.
    fn measurement(&self) -> Option<Measurement>;

    /// Has the platform sign the report data.
    ///
    /// # Errors
    /// [`AttestError`] where the platform does not answer with evidence.
    fn attest(&self, report_data: &ReportData) -> Result<Evidence, AttestError>;
}

/// Why no evidence could be made; the fault is in the own machine or its configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AttestError {
    /// The platform's answer does not fit the container.
    #[error("the {tee} platform's answer is not usable as evidence")]
    Container {
        /// The kind of TEE.
        tee: Tee,
        /// What is wrong with it.
        #[source]
        source: EvidenceError,
    },
    /// A simulated machine's launch does not fit its platform.
    #[error(
        "the machine's launch is one of {launch}, which its simulated platform does not play: launch it as the platform's file says"
    )]
    LaunchOfAnotherKind {
        /// The kind of the launch.
        launch: Tee,
    },
}
