//! What a TDX quote states besides what all kinds of TEE do.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::tdx_tcb::TdxTcb;
use crate::{fixed_bytes::fixed_bytes, measurement::Measurement};

/// What a quote states: *Intel TDX DCAP Quoting Library API*, appendix A.3, TD quote body; and what Intel says of the
/// platform.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TdxClaims {
    /// The version of the quote's layout: 4 or 5.
    pub quote_version: u16,
    /// The version of the body.
    pub td_version: TdVersion,
    /// MRTD: the trust domain's initial contents.
    pub mrtd: Measurement,
    /// RTMR0 to RTMR3: what was measured while it booted and ran.
    pub rtmrs: [Rtmr; 4],
    /// MRCONFIGID.
    pub mr_config_id: MrConfigId,
    /// MROWNER.
    pub mr_owner: MrOwner,
    /// MROWNERCONFIG.
    pub mr_owner_config: MrOwnerConfig,
    /// XFAM: the processor features that the trust domain may use.
    pub xfam: Xfam,
    /// ATTRIBUTES of the trust domain.
    pub td_attributes: TdAttributes,
    /// MRSEAM: the TDX module.
    pub mr_seam: MrSeam,
    /// MRSIGNERSEAM: who signed the module; zeros for Intel's own.
    pub mr_signer_seam: MrSignerSeam,
    /// TEE_TCB_SVN: the security versions of the module's parts.
    pub tee_tcb_svn: TeeTcbSvn,
    /// MR_SERVICETD: the service domain that is bound to this one; only version 1.5 has it.
    pub mr_service_td: Option<MrServiceTd>,
    /// FMSPC: the platform's model, from its certificate.
    pub fmspc: Option<Fmspc>,
    /// The platform instance, from its certificate; only multi-package platforms have it.
    pub platform_instance_id: Option<PlatformInstanceId>,
    /// What Intel says of the platform's security versions: nothing where no collateral was looked at.
    pub tcb: Option<TdxTcb>,
}

/// The version of a quote's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum TdVersion {
    /// TDX 1.0.
    #[serde(rename = "1.0")]
    Td10,
    /// TDX 1.5, which may replace its module while it runs.
    #[serde(rename = "1.5")]
    Td15,
}

impl fmt::Display for TdVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Td10 => "1.0",
            Self::Td15 => "1.5",
        })
    }
}

fixed_bytes!(
    /// RTMR: a register that was extended while the trust domain booted or ran.
    Rtmr,
    48,
    "an RTMR"
);

fixed_bytes!(
    /// MRCONFIGID: the configuration that the host stated at launch.
    MrConfigId,
    48,
    "an MRCONFIGID"
);

fixed_bytes!(
    /// MROWNER: the owner that the host stated at launch.
    MrOwner,
    48,
    "an MROWNER"
);

fixed_bytes!(
    /// MROWNERCONFIG: the owner's configuration that the host stated at launch.
    MrOwnerConfig,
    48,
    "an MROWNERCONFIG"
);

fixed_bytes!(
    /// MRSEAM: SHA-384 of the TDX module.
    MrSeam,
    48,
    "an MRSEAM"
);

fixed_bytes!(
    /// MRSIGNERSEAM: SHA-384 of the key that signed the TDX module; zeros for Intel's.
    MrSignerSeam,
    48,
    "an MRSIGNERSEAM"
);

fixed_bytes!(
    /// MR_SERVICETD: the service domain bound to a trust domain; zeros for none.
    MrServiceTd,
    48,
    "an MR_SERVICETD"
);

fixed_bytes!(
    /// TEE_TCB_SVN: security versions of the TDX module's parts, in the order of a quote.
    TeeTcbSvn,
    16,
    "a TEE_TCB_SVN"
);

fixed_bytes!(
    /// XFAM: a mask of processor features, in the byte order of a quote.
    Xfam,
    8,
    "an XFAM"
);

fixed_bytes!(
    /// ATTRIBUTES of a trust domain, in the byte order of a quote.
    TdAttributes,
    8,
    "TD attributes"
);

impl TdAttributes {
    /// Whether the host may look into the trust domain (TUD.DEBUG, bit 0).
    pub const fn is_debug(&self) -> bool {
        self.0[0] & 1 == 1
    }
}

fixed_bytes!(
    /// FMSPC: family, model, stepping, platform and custom SKU of a platform.
    Fmspc,
    6,
    "an FMSPC"
);

fixed_bytes!(
    /// The identity of one platform instance.
    PlatformInstanceId,
    16,
    "a platform instance id"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_lowest_bit_of_the_attributes_is_debug() {
        for bit in 0..64_u32 {
            let attributes = TdAttributes::new((1_u64 << bit).to_le_bytes());
            assert_eq!(attributes.is_debug(), bit == 0, "{bit}");
        }
    }
}
