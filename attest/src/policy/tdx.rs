//! What a TDX platform must show.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Policy, criterion::Criterion};
use crate::{
    claims::{
        AdvisoryId, MrConfigId, MrOwner, MrOwnerConfig, MrSeam, MrSignerSeam, PlatformInstanceId,
        Rtmr, TcbEvaluationDataNumber, TdAttributes, TdxTcbStatus, Xfam,
    },
    measurement::Measurement,
};

/// What a TDX quote must show, besides what a policy asks of every kind of TEE.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TdxPolicy {
    /// The initial contents that are accepted: MRTD.
    #[schemars(extend("minItems" = 1, "maxItems" = Policy::MAX_ENTRIES, "uniqueItems" = true))]
    pub mrtd: Criterion<Vec<Measurement>>,
    /// What RTMR0 may be: the virtual firmware's configuration.
    #[schemars(extend("minItems" = 1, "maxItems" = Policy::MAX_ENTRIES, "uniqueItems" = true))]
    pub rtmr0: Criterion<Vec<Rtmr>>,
    /// What RTMR1 may be: the loader and the kernel.
    #[schemars(extend("minItems" = 1, "maxItems" = Policy::MAX_ENTRIES, "uniqueItems" = true))]
    pub rtmr1: Criterion<Vec<Rtmr>>,
    /// What RTMR2 may be: the command line and the initial file system.
    #[schemars(extend("minItems" = 1, "maxItems" = Policy::MAX_ENTRIES, "uniqueItems" = true))]
    pub rtmr2: Criterion<Vec<Rtmr>>,
    /// What RTMR3 may be: what the running system measured.
    #[schemars(extend("minItems" = 1, "maxItems" = Policy::MAX_ENTRIES, "uniqueItems" = true))]
    pub rtmr3: Criterion<Vec<Rtmr>>,
    /// What MRCONFIGID may be.
    #[schemars(extend("minItems" = 1, "maxItems" = Policy::MAX_ENTRIES, "uniqueItems" = true))]
    pub mr_config_id: Criterion<Vec<MrConfigId>>,
    /// What MROWNER may be.
    #[schemars(extend("minItems" = 1, "maxItems" = Policy::MAX_ENTRIES, "uniqueItems" = true))]
    pub mr_owner: Criterion<Vec<MrOwner>>,
    /// What MROWNERCONFIG may be.
    #[schemars(extend("minItems" = 1, "maxItems" = Policy::MAX_ENTRIES, "uniqueItems" = true))]
    pub mr_owner_config: Criterion<Vec<MrOwnerConfig>>,
    /// The masks of processor features that are accepted.
    #[schemars(extend("minItems" = 1, "maxItems" = Policy::MAX_ENTRIES, "uniqueItems" = true))]
    pub xfam: Criterion<Vec<Xfam>>,
    /// The attributes that are accepted, as a whole.
    #[schemars(extend("minItems" = 1, "maxItems" = Policy::MAX_ENTRIES, "uniqueItems" = true))]
    pub td_attributes: Criterion<Vec<TdAttributes>>,
    /// The TDX modules that are accepted.
    #[schemars(extend("minItems" = 1, "maxItems" = Policy::MAX_ENTRIES, "uniqueItems" = true))]
    pub mr_seam: Criterion<Vec<MrSeam>>,
    /// Who may have signed the module; zeros for Intel.
    #[schemars(extend("minItems" = 1, "maxItems" = Policy::MAX_ENTRIES, "uniqueItems" = true))]
    pub mr_signer_seam: Criterion<Vec<MrSignerSeam>>,
    /// The statuses that Intel may give the platform.
    #[schemars(extend("minItems" = 1, "maxItems" = Policy::MAX_ENTRIES, "uniqueItems" = true))]
    pub tcb_statuses: Criterion<Vec<TdxTcbStatus>>,
    /// The advisories that may apply to the platform; an empty list for none.
    #[schemars(extend("maxItems" = Policy::MAX_ENTRIES, "uniqueItems" = true))]
    pub advisory_ids: Criterion<Vec<AdvisoryId>>,
    /// The oldest of Intel's evaluations by which the platform may be judged.
    pub minimum_tcb_evaluation_data_number: Criterion<TcbEvaluationDataNumber>,
    /// The platform instances that are accepted. Without it, evidence of the right program on a stolen machine passes.
    #[schemars(extend("minItems" = 1, "maxItems" = Policy::MAX_ENTRIES, "uniqueItems" = true))]
    pub platform_instance_ids: Criterion<Vec<PlatformInstanceId>>,
}

impl TdxPolicy {
    /// Nothing but what every genuine quote shows.
    pub fn any() -> Self {
        Self {
            mrtd: Criterion::Any,
            rtmr0: Criterion::Any,
            rtmr1: Criterion::Any,
            rtmr2: Criterion::Any,
            rtmr3: Criterion::Any,
            mr_config_id: Criterion::Any,
            mr_owner: Criterion::Any,
            mr_owner_config: Criterion::Any,
            xfam: Criterion::Any,
            td_attributes: Criterion::Any,
            mr_seam: Criterion::Any,
            mr_signer_seam: Criterion::Any,
            tcb_statuses: Criterion::Any,
            advisory_ids: Criterion::Any,
            minimum_tcb_evaluation_data_number: Criterion::Any,
            platform_instance_ids: Criterion::Any,
        }
    }

    /// A platform that Intel calls up to date; the rest any.
    pub fn baseline() -> Self {
        Self {
            tcb_statuses: Criterion::Stated(vec![TdxTcbStatus::UpToDate]),
            ..Self::any()
        }
    }
}
