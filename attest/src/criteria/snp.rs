//! What a policy asks of an SEV-SNP platform.

use super::compare::{check_bit, check_claim, check_least, check_listed, check_one};
use crate::{
    check::CheckList,
    check_name::CheckName,
    claims::{MitigationVector, SnpClaims, SnpProduct, SnpTcb},
    policy::{Criterion, SnpPolicy, SnpTcbFloors},
};

/// What no policy can waive: *SEV Secure Nested Paging Firmware ABI Specification* (56860), sections 3.3 and 8.6,
/// SNP_COMMIT and SNP_CONFIG, keep reported ≤ committed ≤ current, and a guest is launched by firmware that is not newer
/// than what runs.
pub(super) fn check_always(claims: &SnpClaims, checks: &mut CheckList) {
    let SnpClaims {
        reported_tcb,
        committed_tcb,
        current_tcb,
        launch_tcb,
        ..
    } = claims;
    let fit = [reported_tcb, committed_tcb, current_tcb, launch_tcb]
        .iter()
        .all(|tcb| tcb.fits(claims.product));
    let holds = fit
        && committed_tcb.meets(reported_tcb)
        && current_tcb.meets(committed_tcb)
        && current_tcb.meets(launch_tcb);
    checks.record(
        CheckName::SnpTcbOrder,
        holds,
        "reported at most committed, committed and launch at most current",
        format!(
            "reported {reported_tcb}; committed {committed_tcb}; launch {launch_tcb}; current {current_tcb}"
        ),
    );
}

pub(super) fn check(policy: &SnpPolicy, claims: &SnpClaims, checks: &mut CheckList) {
    let floor = |name, floors: &Criterion<SnpTcbFloors>, tcb: SnpTcb, checks: &mut CheckList| {
        check_floor(name, floors, claims.product, tcb, checks);
    };
    let reported = &policy.minimum_reported_tcb;
    floor(
        CheckName::SnpReportedTcb,
        reported,
        claims.reported_tcb,
        checks,
    );
    let committed = &policy.minimum_committed_tcb;
    floor(
        CheckName::SnpCommittedTcb,
        committed,
        claims.committed_tcb,
        checks,
    );
    let launch = &policy.minimum_launch_tcb;
    floor(CheckName::SnpLaunchTcb, launch, claims.launch_tcb, checks);
    check_listed(CheckName::Vmpl, &policy.vmpls, Some(&claims.vmpl), checks);
    check_guest_policy(policy, claims, checks);
    check_platform_info(policy, claims, checks);
    check_identity(policy, claims, checks);
    check_mitigations(
        CheckName::SnpLaunchMitigations,
        &policy.launch_mitigations,
        claims.launch_mit_vector,
        checks,
    );
    check_mitigations(
        CheckName::SnpCurrentMitigations,
        &policy.current_mitigations,
        claims.current_mit_vector,
        checks,
    );
}

fn check_floor(
    name: CheckName,
    criterion: &Criterion<SnpTcbFloors>,
    product: SnpProduct,
    tcb: SnpTcb,
    checks: &mut CheckList,
) {
    let got = format!("{product} with {tcb}");
    check_claim(
        name,
        criterion,
        Some(&got),
        |floors, _| floors.floor(product).is_some_and(|floor| tcb.meets(floor)),
        |floors| format!("{floors}, or later in each part"),
        checks,
    );
}

fn check_guest_policy(policy: &SnpPolicy, claims: &SnpClaims, checks: &mut CheckList) {
    let (rules, guest) = (&policy.guest_policy, &claims.guest_policy);
    check_least(
        CheckName::SnpGuestAbi,
        &rules.minimum_abi,
        Some(&guest.minimum_abi),
        checks,
    );
    for (name, rule, set) in [
        (CheckName::SnpGuestSmt, rules.smt, guest.smt_allowed),
        (
            CheckName::SnpGuestMigrationAgent,
            rules.migration_agent,
            guest.migrate_ma_allowed,
        ),
        (
            CheckName::SnpGuestSingleSocket,
            rules.single_socket,
            guest.single_socket_required,
        ),
        (CheckName::SnpGuestCxl, rules.cxl, guest.cxl_allowed),
        (
            CheckName::SnpGuestMemAes256Xts,
            rules.mem_aes_256_xts,
            guest.mem_aes_256_xts_required,
        ),
        (
            CheckName::SnpGuestRaplDis,
            rules.rapl_dis,
            guest.rapl_dis_required,
        ),
        (
            CheckName::SnpGuestCiphertextHidingDram,
            rules.ciphertext_hiding_dram,
            guest.ciphertext_hiding_dram_required,
        ),
        (
            CheckName::SnpGuestPageSwapDisable,
            rules.page_swap_disable,
            guest.page_swap_disabled,
        ),
    ] {
        check_bit(name, rule, set, checks);
    }
}

fn check_platform_info(policy: &SnpPolicy, claims: &SnpClaims, checks: &mut CheckList) {
    let (rules, info) = (&policy.platform_info, &claims.platform_info);
    for (name, rule, set) in [
        (CheckName::SnpPlatformSmt, rules.smt, info.smt_en),
        (CheckName::SnpPlatformTsme, rules.tsme, info.tsme_en),
        (CheckName::SnpPlatformEcc, rules.ecc, info.ecc_en),
        (CheckName::SnpPlatformRaplDis, rules.rapl_dis, info.rapl_dis),
        (
            CheckName::SnpPlatformCiphertextHidingDram,
            rules.ciphertext_hiding_dram,
            info.ciphertext_hiding_dram_en,
        ),
        (
            CheckName::SnpPlatformAliasCheckComplete,
            rules.alias_check_complete,
            info.alias_check_complete,
        ),
        (CheckName::SnpPlatformTio, rules.tio, info.tio_en),
    ] {
        check_bit(name, rule, set, checks);
    }
}

/// Who made the machine, and which one it is.
fn check_identity(policy: &SnpPolicy, claims: &SnpClaims, checks: &mut CheckList) {
    check_one(
        CheckName::SnpFamilyId,
        &policy.family_id,
        Some(&claims.family_id),
        checks,
    );
    check_one(
        CheckName::HostData,
        &policy.host_data,
        Some(&claims.host_data),
        checks,
    );
    check_listed(
        CheckName::SnpIdKey,
        &policy.id_keys,
        Some(&claims.id_key_digest).filter(|digest| !digest.is_zero()),
        checks,
    );
    // Without AUTHOR_KEY_EN the digest is not what signed the id key.
    check_listed(
        CheckName::SnpAuthorKey,
        &policy.author_keys,
        Some(&claims.author_key_digest).filter(|_| claims.author_key_en),
        checks,
    );
    check_listed(
        CheckName::SnpSigningKey,
        &policy.signing_keys,
        Some(&claims.signing_key),
        checks,
    );
    // A platform that masks its chips' identities states zeros.
    check_listed(
        CheckName::ChipId,
        &policy.chip_ids,
        Some(&claims.chip_id).filter(|chip| !chip.is_zero()),
        checks,
    );
}

fn check_mitigations(
    name: CheckName,
    criterion: &Criterion<MitigationVector>,
    claim: Option<MitigationVector>,
    checks: &mut CheckList,
) {
    check_claim(
        name,
        criterion,
        claim.as_ref(),
        |wanted, got| got.contains(*wanted),
        |wanted| format!("all of {wanted}"),
        checks,
    );
}
