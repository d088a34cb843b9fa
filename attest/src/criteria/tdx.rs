//! What a policy asks of a TDX platform.

use super::compare::{check_claim, check_least, check_listed};
use crate::{
    check::CheckList,
    check_name::CheckName,
    claims::{AdvisoryId, TdxClaims},
    policy::{Criterion, TdxPolicy},
};

pub(super) fn check(policy: &TdxPolicy, claims: &TdxClaims, checks: &mut CheckList) {
    check_code(policy, claims, checks);
    check_launch(policy, claims, checks);
    check_listed(
        CheckName::TdxMrSeam,
        &policy.mr_seam,
        Some(&claims.mr_seam),
        checks,
    );
    check_listed(
        CheckName::TdxMrSignerSeam,
        &policy.mr_signer_seam,
        Some(&claims.mr_signer_seam),
        checks,
    );
    check_tcb(policy, claims, checks);
    check_listed(
        CheckName::TdxPlatformInstance,
        &policy.platform_instance_ids,
        claims.platform_instance_id.as_ref(),
        checks,
    );
}

fn check_code(policy: &TdxPolicy, claims: &TdxClaims, checks: &mut CheckList) {
    check_listed(CheckName::TdxMrtd, &policy.mrtd, Some(&claims.mrtd), checks);
    let [rtmr0, rtmr1, rtmr2, rtmr3] = &claims.rtmrs;
    for (name, criterion, rtmr) in [
        (CheckName::TdxRtmr0, &policy.rtmr0, rtmr0),
        (CheckName::TdxRtmr1, &policy.rtmr1, rtmr1),
        (CheckName::TdxRtmr2, &policy.rtmr2, rtmr2),
        (CheckName::TdxRtmr3, &policy.rtmr3, rtmr3),
    ] {
        check_listed(name, criterion, Some(rtmr), checks);
    }
}

fn check_launch(policy: &TdxPolicy, claims: &TdxClaims, checks: &mut CheckList) {
    check_listed(
        CheckName::TdxMrConfigId,
        &policy.mr_config_id,
        Some(&claims.mr_config_id),
        checks,
    );
    check_listed(
        CheckName::TdxMrOwner,
        &policy.mr_owner,
        Some(&claims.mr_owner),
        checks,
    );
    check_listed(
        CheckName::TdxMrOwnerConfig,
        &policy.mr_owner_config,
        Some(&claims.mr_owner_config),
        checks,
    );
    check_listed(CheckName::TdxXfam, &policy.xfam, Some(&claims.xfam), checks);
    check_listed(
        CheckName::TdxAttributes,
        &policy.td_attributes,
        Some(&claims.td_attributes),
        checks,
    );
}

fn check_tcb(policy: &TdxPolicy, claims: &TdxClaims, checks: &mut CheckList) {
    let tcb = claims.tcb.as_ref();
    check_listed(
        CheckName::TdxTcbStatus,
        &policy.tcb_statuses,
        tcb.map(|tcb| &tcb.status),
        checks,
    );
    check_advisories(
        &policy.advisory_ids,
        tcb.map(|tcb| tcb.advisory_ids.as_slice()),
        checks,
    );
    check_least(
        CheckName::TdxTcbEvaluation,
        &policy.minimum_tcb_evaluation_data_number,
        tcb.map(|tcb| &tcb.evaluation_data_number),
        checks,
    );
}

/// Every advisory that applies must be one that the policy accepts.
fn check_advisories(
    criterion: &Criterion<Vec<AdvisoryId>>,
    apply: Option<&[AdvisoryId]>,
    checks: &mut CheckList,
) {
    let words = |list: &[AdvisoryId]| {
        if list.is_empty() {
            return "none".to_owned();
        }
        let names: Vec<&str> = list.iter().map(AdvisoryId::as_str).collect();
        names.join(", ")
    };
    check_claim(
        CheckName::TdxAdvisories,
        criterion,
        apply.map(words).as_ref(),
        |accepted, _| {
            apply.is_some_and(|apply| apply.iter().all(|advisory| accepted.contains(advisory)))
        },
        |accepted| match accepted.as_slice() {
            [] => "none".to_owned(),
            accepted => format!("none but {}", words(accepted)),
        },
        checks,
    );
}
