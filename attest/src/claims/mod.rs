//! What a report states: what every kind of TEE has in common, and what each states besides.

mod common;
mod guest_policy;
mod platform_info;
mod snp;
mod snp_tcb;
mod tdx;
mod tdx_tcb;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

pub use self::{
    common::{HostData, ProductId, SecurityVersion, SignerDigest},
    guest_policy::{AbiVersion, SnpGuestPolicy},
    platform_info::SnpPlatformInfo,
    snp::{
        AuthorKeyDigest, ChipId, FamilyId, IdKeyDigest, ImageId, MitigationVector, SnpClaims,
        SnpProduct, SnpSigningKey, Vmpl,
    },
    snp_tcb::SnpTcb,
    tdx::{
        Fmspc, MrConfigId, MrOwner, MrOwnerConfig, MrSeam, MrServiceTd, MrSignerSeam,
        PlatformInstanceId, Rtmr, TdAttributes, TdVersion, TdxClaims, TeeTcbSvn, Xfam,
    },
    tdx_tcb::{AdvisoryId, TcbEvaluationDataNumber, TdxTcb, TdxTcbStatus},
};
use crate::{measurement::Measurement, report_data::ReportData, tee::Tee};

/// What a report states. Where a kind of TEE states no such thing there is `None`, and a policy that asks for it refuses.
///
/// The common fields follow from the platform's own in one place, so that no verifier maps them in its own way:
///
/// | common | SEV-SNP | TDX |
/// |---|---|---|
/// | `measurement` | MEASUREMENT | MRTD |
/// | `debug` | POLICY.DEBUG | ATTRIBUTES.DEBUG |
/// | `signer` | AUTHOR_KEY_DIGEST where the author key is enabled, else ID_KEY_DIGEST; none where it is zero | none: nothing signs a trust domain's launch |
/// | `product_id` | IMAGE_ID, where somebody signed the launch | none |
/// | `svn` | GUEST_SVN, where somebody signed the launch | none |
/// | `host_data` | HOST_DATA | none: MRCONFIGID is longer, and has a criterion of its own |
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Claims {
    /// The kind of TEE whose verifier read the report: `simulated` where a simulated platform plays the kind that
    /// `platform` shows.
    pub tee: Tee,
    /// The code.
    pub measurement: Measurement,
    /// What the program asked the platform to sign.
    pub report_data: ReportData,
    /// Whether the host may look into the machine's memory.
    pub debug: bool,
    /// Who signed the launch.
    pub signer: Option<SignerDigest>,
    /// Which product the code is, as its signer numbers them.
    pub product_id: Option<ProductId>,
    /// The code's security version, as its signer counts them.
    pub svn: Option<SecurityVersion>,
    /// What the host stated at launch.
    pub host_data: Option<HostData>,
    /// When the evidence was made by its own account: simulated reports may state it, those of hardware hold no time.
    pub issued_at: Option<DateTime<Utc>>,
    /// What the kind of platform states besides.
    pub platform: PlatformClaims,
}

/// What one kind of platform states.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
// Two fixed layouts of a few hundred bytes, one of which lives as long as a connection.
#[allow(clippy::large_enum_variant)]
pub enum PlatformClaims {
    /// AMD SEV-SNP, or a simulated platform that plays one.
    SevSnp(SnpClaims),
    /// Intel TDX, or a simulated platform that plays one.
    Tdx(TdxClaims),
}

impl PlatformClaims {
    /// What an SEV-SNP platform states, where it is one.
    pub fn sev_snp(&self) -> Option<&SnpClaims> {
        match self {
            Self::SevSnp(claims) => Some(claims),
            Self::Tdx(_) => None,
        }
    }

    /// What a TDX platform states, where it is one.
    pub fn tdx(&self) -> Option<&TdxClaims> {
        match self {
            Self::SevSnp(_) => None,
            Self::Tdx(claims) => Some(claims),
        }
    }

    /// The kind of hardware whose fields these are.
    pub fn kind(&self) -> Tee {
        match self {
            Self::SevSnp(_) => Tee::SevSnp,
            Self::Tdx(_) => Tee::Tdx,
        }
    }
}

impl Claims {
    /// What an SEV-SNP report states, or a simulated one that plays it.
    ///
    /// A product and a security version that nobody signed are the host's word, so they count as not stated.
    pub(crate) fn from_snp(
        tee: Tee,
        measurement: Measurement,
        report_data: ReportData,
        issued_at: Option<DateTime<Utc>>,
        snp: SnpClaims,
    ) -> Self {
        let signer = snp.signer();
        Self {
            tee,
            measurement,
            report_data,
            debug: snp.guest_policy.debug_allowed,
            signer,
            product_id: signer.map(|_| ProductId::new(*snp.image_id.as_bytes())),
            svn: signer.map(|_| snp.guest_svn),
            host_data: Some(snp.host_data),
            issued_at,
            platform: PlatformClaims::SevSnp(snp),
        }
    }

    /// What a TDX quote states, or a simulated report that plays one.
    pub(crate) fn from_tdx(
        tee: Tee,
        report_data: ReportData,
        issued_at: Option<DateTime<Utc>>,
        tdx: TdxClaims,
    ) -> Self {
        Self {
            tee,
            measurement: tdx.mrtd,
            report_data,
            debug: tdx.td_attributes.is_debug(),
            signer: None,
            product_id: None,
            svn: None,
            host_data: None,
            issued_at,
            platform: PlatformClaims::Tdx(tdx),
        }
    }
}
