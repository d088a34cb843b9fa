//! How a machine on a simulated platform is launched, in the fields of the kind that the platform plays.

use serde::{Deserialize, Serialize};

use super::{hardware::SimulatedHardware, report::Report, secret_file::SimulatedError};
use crate::{
    claims::{
        AbiVersion, AuthorKeyDigest, FamilyId, HostData, IdKeyDigest, ImageId, MitigationVector,
        MrConfigId, MrOwner, MrOwnerConfig, MrServiceTd, PlatformClaims, Rtmr, SecurityVersion,
        SnpClaims, SnpGuestPolicy, SnpTcb, TdAttributes, TdxClaims, Vmpl, Xfam,
    },
    measurement::Measurement,
};

/// How one machine is launched; the default is as its platform's file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaunchConfig {
    /// Another launch than the platform's file has. It must be of the kind that the platform plays.
    pub launch: Option<SimulatedLaunch>,
    /// The layout number that reports carry; other than the present one is for tests of its refusal.
    pub report_layout: u32,
}

impl Default for LaunchConfig {
    fn default() -> Self {
        Self {
            launch: None,
            report_layout: Report::LAYOUT,
        }
    }
}

impl From<SimulatedLaunch> for LaunchConfig {
    fn from(launch: SimulatedLaunch) -> Self {
        Self {
            launch: Some(launch),
            ..Self::default()
        }
    }
}

/// All that a machine's launch decides of what its reports state, but for the measurement.
///
/// Nobody certifies it: whoever holds a platform's file can state anything, which is what is simulated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
// One a machine: its size does not matter.
#[allow(clippy::large_enum_variant)]
pub enum SimulatedLaunch {
    /// On a platform that plays SEV-SNP.
    SevSnp(SnpLaunch),
    /// On a platform that plays TDX.
    Tdx(TdxLaunch),
}

/// The fields of [`SnpClaims`] that belong to the launch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct SnpLaunch {
    pub guest_svn: SecurityVersion,
    pub guest_policy: SnpGuestPolicy,
    pub family_id: FamilyId,
    pub image_id: ImageId,
    pub vmpl: Vmpl,
    pub launch_tcb: SnpTcb,
    pub host_data: HostData,
    pub id_key_digest: IdKeyDigest,
    pub author_key_en: bool,
    pub author_key_digest: AuthorKeyDigest,
    pub launch_mit_vector: Option<MitigationVector>,
}

/// The fields of [`TdxClaims`] that belong to the launch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct TdxLaunch {
    pub rtmrs: [Rtmr; 4],
    pub mr_config_id: MrConfigId,
    pub mr_owner: MrOwner,
    pub mr_owner_config: MrOwnerConfig,
    pub xfam: Xfam,
    pub td_attributes: TdAttributes,
    pub mr_service_td: Option<MrServiceTd>,
}

impl SimulatedLaunch {
    /// A launch that nobody signed, without debugging, on the firmware that the platform has committed.
    pub fn on(hardware: &SimulatedHardware) -> Self {
        match hardware {
            SimulatedHardware::SevSnp(snp) => Self::SevSnp(SnpLaunch {
                guest_svn: SecurityVersion(0),
                guest_policy: SnpGuestPolicy {
                    minimum_abi: AbiVersion {
                        major: 1,
                        minor: 55,
                    },
                    smt_allowed: true,
                    ..SnpGuestPolicy::default()
                },
                family_id: FamilyId::new([0; FamilyId::LEN]),
                image_id: ImageId::new([0; ImageId::LEN]),
                vmpl: Vmpl::MOST_PRIVILEGED,
                launch_tcb: snp.committed_tcb,
                host_data: HostData::new([0; HostData::LEN]),
                id_key_digest: IdKeyDigest::new([0; IdKeyDigest::LEN]),
                author_key_en: false,
                author_key_digest: AuthorKeyDigest::new([0; AuthorKeyDigest::LEN]),
                launch_mit_vector: snp.current_mit_vector,
            }),
            SimulatedHardware::Tdx(_) => Self::Tdx(TdxLaunch {
                rtmrs: [Rtmr::new([0; Rtmr::LEN]); 4],
                mr_config_id: MrConfigId::new([0; MrConfigId::LEN]),
                mr_owner: MrOwner::new([0; MrOwner::LEN]),
                mr_owner_config: MrOwnerConfig::new([0; MrOwnerConfig::LEN]),
                xfam: Xfam::new([0xe7, 0x02, 0x06, 0, 0, 0, 0, 0]),
                // SEPT_VE_DISABLE, bit 28: without it the host can surprise the guest with faults.
                td_attributes: TdAttributes::new([0, 0, 0, 0x10, 0, 0, 0, 0]),
                mr_service_td: Some(MrServiceTd::new([0; MrServiceTd::LEN])),
            }),
        }
    }

    /// The launch with a file's changes, as [`SimulatedHardware::with_changes`] takes them.
    ///
    /// # Errors
    /// [`SimulatedError::Configuration`] where the text is no JSON, or names a field or a value that there is not.
    pub fn with_changes(&self, json: &str) -> Result<Self, SimulatedError> {
        super::changes::apply(self, json, "a simulated machine's launch")
    }

    /// What a machine states that was launched so on this hardware; none where the two are not of one kind.
    pub(crate) fn claims(
        &self,
        hardware: &SimulatedHardware,
        measurement: Measurement,
    ) -> Option<PlatformClaims> {
        match (self.clone(), hardware.clone()) {
            (Self::SevSnp(launch), SimulatedHardware::SevSnp(hardware)) => {
                Some(PlatformClaims::SevSnp(SnpClaims {
                    report_version: hardware.report_version,
                    product: hardware.product,
                    guest_svn: launch.guest_svn,
                    guest_policy: launch.guest_policy,
                    family_id: launch.family_id,
                    image_id: launch.image_id,
                    vmpl: launch.vmpl,
                    current_tcb: hardware.current_tcb,
                    reported_tcb: hardware.reported_tcb,
                    committed_tcb: hardware.committed_tcb,
                    launch_tcb: launch.launch_tcb,
                    platform_info: hardware.platform_info,
                    signing_key: hardware.signing_key,
                    host_data: launch.host_data,
                    id_key_digest: launch.id_key_digest,
                    author_key_en: launch.author_key_en,
                    author_key_digest: launch.author_key_digest,
                    chip_id: hardware.chip_id,
                    launch_mit_vector: launch.launch_mit_vector,
                    current_mit_vector: hardware.current_mit_vector,
                }))
            }
            (Self::Tdx(launch), SimulatedHardware::Tdx(hardware)) => {
                Some(PlatformClaims::Tdx(TdxClaims {
                    quote_version: hardware.quote_version,
                    td_version: hardware.td_version,
                    mrtd: measurement,
                    rtmrs: launch.rtmrs,
                    mr_config_id: launch.mr_config_id,
                    mr_owner: launch.mr_owner,
                    mr_owner_config: launch.mr_owner_config,
                    xfam: launch.xfam,
                    td_attributes: launch.td_attributes,
                    mr_seam: hardware.mr_seam,
                    mr_signer_seam: hardware.mr_signer_seam,
                    tee_tcb_svn: hardware.tee_tcb_svn,
                    mr_service_td: launch.mr_service_td,
                    fmspc: hardware.fmspc,
                    platform_instance_id: hardware.platform_instance_id,
                    tcb: hardware.tcb,
                }))
            }
            (Self::SevSnp(_), SimulatedHardware::Tdx(_))
            | (Self::Tdx(_), SimulatedHardware::SevSnp(_)) => None,
        }
    }

    pub(super) fn kind(&self) -> crate::tee::Tee {
        match self {
            Self::SevSnp(_) => crate::tee::Tee::SevSnp,
            Self::Tdx(_) => crate::tee::Tee::Tdx,
        }
    }
}
