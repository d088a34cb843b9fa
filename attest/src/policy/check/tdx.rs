//! What makes the section `tdx` one.

use super::lists::{check_list, check_stated};
use crate::policy::{error::PolicyError, tdx::TdxPolicy};

pub(super) fn check_tdx(tdx: &TdxPolicy) -> Result<(), PolicyError> {
    check_stated("tdx.mrtd", &tdx.mrtd)?;
    check_stated("tdx.rtmr0", &tdx.rtmr0)?;
    check_stated("tdx.rtmr1", &tdx.rtmr1)?;
    check_stated("tdx.rtmr2", &tdx.rtmr2)?;
    check_stated("tdx.rtmr3", &tdx.rtmr3)?;
    check_stated("tdx.mr_config_id", &tdx.mr_config_id)?;
    check_stated("tdx.mr_owner", &tdx.mr_owner)?;
    check_stated("tdx.mr_owner_config", &tdx.mr_owner_config)?;
    check_stated("tdx.xfam", &tdx.xfam)?;
    check_stated("tdx.td_attributes", &tdx.td_attributes)?;
    check_stated("tdx.mr_seam", &tdx.mr_seam)?;
    check_stated("tdx.mr_signer_seam", &tdx.mr_signer_seam)?;
    check_stated("tdx.tcb_statuses", &tdx.tcb_statuses)?;
    if let Some(advisories) = tdx.advisory_ids.stated().filter(|list| !list.is_empty()) {
        check_list("tdx.advisory_ids", advisories)?;
    }
    check_stated("tdx.platform_instance_ids", &tdx.platform_instance_ids)
}
