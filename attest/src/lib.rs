//! What the parties believe: evidence, endorsements and appraisal policy.
//!
//! A program in a trusted execution environment (TEE) proves to a peer what it is; the peer decides
//! whether that is enough:
//!
//! ```text
//! ReportData --Attester::attest--> Evidence --bytes--> Evidence --appraise--> Verdict or Refusal
//!                                 Policy, ReportData, Collateral, time --^
//! ```
//!
//! What is here: the container for evidence, the policy, the appraisal with every check it made, the verifiers of
//! SEV-SNP and TDX with the collateral that they read from a folder, what makes a machine produce evidence, the
//! simulated TEE with its root and platforms, and the measurements that a machine is predicted to have. What is not: this crate opens no socket, fetches no collateral, opens no file and reads no clock in the
//! appraisal, and knows neither contracts nor channels.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod appraise;
mod attester;
mod check;
mod check_name;
mod claims;
mod collateral;
mod configfs_tsm;
mod constraint;
mod criteria;
mod evidence;
mod fixed_bytes;
mod hardware;
mod measure;
mod measurement;
mod policy;
mod report_data;
mod simulated;
mod snp;
mod tdx;
mod tee;
mod tier;
mod verdict;
mod verifier;
mod wire;

pub use appraise::{
    appraise, appraise_dated, danger_appraise_any_report_data, danger_read_unverified,
};
pub use attester::{AttestError, Attester};
pub use check::{Check, CheckResult};
pub use check_name::CheckName;
pub use claims::{
    AbiVersion, AdvisoryId, AuthorKeyDigest, ChipId, Claims, FamilyId, Fmspc, HostData,
    IdKeyDigest, ImageId, MitigationVector, MrConfigId, MrOwner, MrOwnerConfig, MrSeam,
    MrServiceTd, MrSignerSeam, PlatformClaims, PlatformInstanceId, ProductId, Rtmr,
    SecurityVersion, SignerDigest, SnpClaims, SnpGuestPolicy, SnpPlatformInfo, SnpProduct,
    SnpSigningKey, SnpTcb, TcbEvaluationDataNumber, TdAttributes, TdVersion, TdxClaims, TdxTcb,
    TdxTcbStatus, TeeTcbSvn, Vmpl, Xfam,
};
pub use collateral::{Collateral, CollateralError, CollateralFolder};
pub use configfs_tsm::TsmError;
pub use constraint::ConstraintError;
pub use evidence::{Evidence, EvidenceError};
pub use fixed_bytes::HexError;
pub use hardware::{ChoiceError, Machine, SnpAttester, TdxAttester, TeeChoice};
pub use measure::{
    CommandLineError, CpuSignature, DirectBoot, DirectBootError, Event, EventLog, EventLogError,
    EventType, FileDigest, FirmwareGeneration, GuestFeatures, Guid, GuidedTableError, KernelHashes,
    KernelImageError, MetadataError, PageOrder, Register, RegisterValues, SnpFirmware,
    SnpFirmwareError, SnpGuest, SnpGuestError, TdxFirmware, TdxFirmwareError, Truncated, VcpuType,
    authenticode_sha384,
};
pub use measurement::Measurement;
pub use policy::{
    BitRule, CodeRule, Criterion, DebugRule, Demand, EvidenceAge, GuestPolicyCriteria,
    PlatformInfoCriteria, Policy, PolicyError, ReferenceError, ReferenceValues, SimulatedRootKey,
    SnpPolicy, SnpTcbFloors, TdxPolicy, TdxReference,
};
pub use report_data::{DatedReportData, ReportData};
pub use simulated::{
    LaunchConfig, PlatformConfig, SimulatedError, SimulatedHardware, SimulatedLaunch,
    SimulatedMachine, SimulatedPlatform, SimulatedPlatformKey, SimulatedRoot, SnpHardware,
    SnpLaunch, TdxHardware, TdxLaunch,
};
pub use snp::{
    CertificateKind, CertificateTable, RawTcb, SnpCertificateError, SnpReport, Vek, VekKind,
};
pub use tdx::{TdBody, TdxCollateral, TdxCollateralError, TdxQuote};
pub use tee::Tee;
pub use tier::SecurityTier;
pub use verdict::{Refusal, Verdict};
