//! The side that proves itself.

use crate::{
    configfs_tsm::TsmError,
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
    /// The kernel's report interface gave no report.
    #[error("the {tee} machine gave no report")]
    ConfigfsTsm {
        /// The kind of TEE.
        tee: Tee,
        /// What the interface said.
        #[source]
        source: TsmError,
    },
    /// The machine's device gave no report.
    #[error("the {tee} machine gave no report: {reason}")]
    Unavailable {
        /// The kind of TEE.
        tee: Tee,
        /// What the device said.
        reason: String,
    },
    /// The machine's report is cut, or of another layout.
    #[error("expected {expected} of the {tee} machine, got {got}")]
    Report {
        /// The kind of TEE.
        tee: Tee,
        /// What reports look like.
        expected: &'static str,
        /// What came.
        got: String,
    },
    /// The machine signed something else than what it was asked to sign.
    #[error(
        "expected the {tee} machine's report to hold the data that was given, it holds other data"
    )]
    OtherReportData {
        /// The kind of TEE.
        tee: Tee,
    },
    /// The machine has no TEE, or its interface is closed.
    #[error("this machine produces no evidence")]
    NoTee {
        /// What the kernel's report interface said.
        #[source]
        source: TsmError,
    },
    /// The machine's TEE is one that this version does not know.
    #[error("expected the provider sev_guest or tdx_guest, this machine's provider is {name:?}")]
    UnknownProvider {
        /// The provider's name.
        name: String,
    },
    /// The machine is another kind of TEE than the one that was asked for.
    #[error("expected a machine that produces evidence of {asked}, this one produces {}", or_none(*offered))]
    OtherTee {
        /// The kind that was asked for.
        asked: Tee,
        /// The kind that there is.
        offered: Option<Tee>,
    },
}

fn or_none(offered: Option<Tee>) -> &'static str {
    offered.map_or("none", Tee::as_str)
}
