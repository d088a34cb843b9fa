//! Every criterion of a policy refuses on its own: one change to what a machine states, one check that fails.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;

use serde_json::{Value, json};
use support::{Federation, Kind, any_policy, digest, expected, program, refused};
use tributary_attest::{CheckName, CheckResult, Collateral, Policy, appraise};

enum Part {
    Hardware,
    Launch,
}
use Part::{Hardware, Launch};

/// What a machine states otherwise than the policy asks, for each criterion of an SEV-SNP platform.
fn snp_cases() -> Vec<(CheckName, Part, Value)> {
    use CheckName::*;
    let with = |name: &str, change: Value| json!({ name: change });
    let guest = |name: &str, set: bool| json!({"guest_policy": {name: set}});
    let info = |name: &str, set: bool| json!({"platform_info": {name: set}});
    let mut cases = vec![
        (Vmpl, Launch, with("vmpl", json!(1))),
        (
            SnpGuestAbi,
            Launch,
            json!({"guest_policy": {"minimum_abi": "1.54"}}),
        ),
        (SnpGuestSmt, Launch, guest("smt_allowed", true)),
        (
            SnpGuestMigrationAgent,
            Launch,
            guest("migrate_ma_allowed", true),
        ),
        (
            SnpGuestSingleSocket,
            Launch,
            guest("single_socket_required", false),
        ),
        (SnpGuestCxl, Launch, guest("cxl_allowed", true)),
        (
            SnpGuestMemAes256Xts,
            Launch,
            guest("mem_aes_256_xts_required", false),
        ),
        (SnpGuestRaplDis, Launch, guest("rapl_dis_required", false)),
        (
            SnpGuestCiphertextHidingDram,
            Launch,
            guest("ciphertext_hiding_dram_required", false),
        ),
        (
            SnpGuestPageSwapDisable,
            Launch,
            guest("page_swap_disabled", false),
        ),
        (SnpPlatformSmt, Hardware, info("smt_en", false)),
        (SnpPlatformTsme, Hardware, info("tsme_en", false)),
        (SnpPlatformEcc, Hardware, info("ecc_en", false)),
        (SnpPlatformRaplDis, Hardware, info("rapl_dis", false)),
        (
            SnpPlatformCiphertextHidingDram,
            Hardware,
            info("ciphertext_hiding_dram_en", false),
        ),
        (
            SnpPlatformAliasCheckComplete,
            Hardware,
            info("alias_check_complete", false),
        ),
        (SnpPlatformTio, Hardware, info("tio_en", true)),
        (
            SnpFamilyId,
            Launch,
            with("family_id", json!("02".repeat(16))),
        ),
        (HostData, Launch, with("host_data", json!("00".repeat(32)))),
        (SnpIdKey, Launch, with("id_key_digest", json!(digest("05")))),
        (SnpIdKey, Launch, with("id_key_digest", json!(digest("00")))),
        (SnpSigningKey, Hardware, with("signing_key", json!("vlek"))),
        (
            ChipId,
            Hardware,
            with("chip_id", json!(format!("{}08", "07".repeat(63)))),
        ),
        // A platform that masks its chips' identities.
        (ChipId, Hardware, with("chip_id", json!("00".repeat(64)))),
        (
            SnpLaunchMitigations,
            Launch,
            with("launch_mit_vector", json!("0000000000000001")),
        ),
        // Reports before version 5 do not state them.
        (
            SnpLaunchMitigations,
            Launch,
            with("launch_mit_vector", Value::Null),
        ),
        (
            SnpCurrentMitigations,
            Hardware,
            with("current_mit_vector", json!("fffffffffffffffd")),
        ),
        (
            SnpCurrentMitigations,
            Hardware,
            with("current_mit_vector", Value::Null),
        ),
        (
            ProductId,
            Launch,
            with(
                "image_id",
                json!(tributary_attest::ProductId::from_number(3)),
            ),
        ),
        (SecurityVersion, Launch, with("guest_svn", json!(4))),
    ];
    for part in ["bootloader", "tee", "snp", "microcode"] {
        let older = |name: &str| with(name, with(part, json!(0)));
        cases.push((SnpReportedTcb, Hardware, older("reported_tcb")));
        cases.push((SnpLaunchTcb, Launch, older("launch_tcb")));
    }
    cases
}

/// The same for a TDX platform.
fn tdx_cases() -> Vec<(CheckName, Part, Value)> {
    use CheckName::*;
    let with = |name: &str, change: Value| json!({ name: change });
    let other = || json!(digest("ff"));
    let rtmrs = |changed: usize| {
        let all: Vec<Value> = (0..4)
            .map(|at| match at == changed {
                true => other(),
                false => json!(digest(&format!("1{at}"))),
            })
            .collect();
        json!({ "rtmrs": all })
    };
    let tcb = |name: &str, change: Value| json!({"tcb": {name: change}});
    vec![
        (TdxRtmr0, Launch, rtmrs(0)),
        (TdxRtmr1, Launch, rtmrs(1)),
        (TdxRtmr2, Launch, rtmrs(2)),
        (TdxRtmr3, Launch, rtmrs(3)),
        (TdxMrConfigId, Launch, with("mr_config_id", other())),
        (TdxMrOwner, Launch, with("mr_owner", other())),
        (TdxMrOwnerConfig, Launch, with("mr_owner_config", other())),
        (TdxXfam, Launch, with("xfam", json!("e702070000000000"))),
        (
            TdxAttributes,
            Launch,
            with("td_attributes", json!("0000000000000000")),
        ),
        (TdxMrSeam, Hardware, with("mr_seam", other())),
        (TdxMrSignerSeam, Hardware, with("mr_signer_seam", other())),
        (TdxTcbStatus, Hardware, tcb("status", json!("OutOfDate"))),
        (
            TdxAdvisories,
            Hardware,
            tcb("advisory_ids", json!(["INTEL-SA-00001", "INTEL-SA-00003"])),
        ),
        (
            TdxTcbEvaluation,
            Hardware,
            tcb("evaluation_data_number", json!(16)),
        ),
        (
            TdxPlatformInstance,
            Hardware,
            with("platform_instance_id", json!("08".repeat(16))),
        ),
        (
            TdxPlatformInstance,
            Hardware,
            with("platform_instance_id", Value::Null),
        ),
    ]
}

fn cases(kind: Kind) -> Vec<(CheckName, Part, Value)> {
    match kind {
        Kind::SevSnp => snp_cases(),
        Kind::Tdx => tdx_cases(),
    }
}

#[test]
fn a_machine_that_meets_every_criterion_is_accepted() {
    for kind in Kind::BOTH {
        let federation = Federation::new(kind);
        let verdict = federation.appraise(&federation.evidence()).unwrap();
        assert_eq!(verdict.platform.kind().as_str(), kind.key());
        let open: Vec<CheckName> = verdict
            .checks
            .iter()
            .filter(|check| check.result != CheckResult::Pass)
            .map(|check| check.name)
            .collect();
        match kind {
            Kind::SevSnp => assert_eq!(open, []),
            // Nothing signs a trust domain's launch.
            Kind::Tdx => assert_eq!(
                open,
                [
                    CheckName::Signer,
                    CheckName::ProductId,
                    CheckName::SecurityVersion
                ]
            ),
        }
    }
}

#[test]
fn each_criterion_refuses_what_does_not_meet_it() {
    for kind in Kind::BOTH {
        for (name, part, changes) in cases(kind) {
            refused(kind, name, |f| match part {
                Hardware => f.change_hardware(changes),
                Launch => f.change_launch(changes),
            });
        }
    }
}

#[test]
fn each_criterion_that_says_any_is_reported_as_not_checked() {
    for kind in Kind::BOTH {
        for (name, part, changes) in cases(kind) {
            let mut federation = Federation::new(kind);
            match part {
                Hardware => federation.change_hardware(changes),
                Launch => federation.change_launch(changes),
            }
            federation.policy = any_policy(&federation.policy);
            let verdict = federation.appraise(&federation.evidence()).unwrap();
            let check = verdict
                .checks
                .iter()
                .find(|check| check.name == name)
                .unwrap();
            assert_eq!(check.result, CheckResult::NotChecked, "{name}");
            assert_eq!(check.expected, "any");
        }
    }
}

#[test]
fn no_criterion_of_a_platform_lacks_a_case_that_it_refuses() {
    use CheckName::*;
    let elsewhere = BTreeSet::from([SnpTcbOrder, SnpCommittedTcb, SnpAuthorKey, TdxMrtd, Tier]);
    let refused: BTreeSet<CheckName> = Kind::BOTH
        .into_iter()
        .flat_map(cases)
        .map(|(name, ..)| name)
        .collect();
    for name in CheckName::ALL.iter().filter(|name| **name > Platform) {
        assert_ne!(refused.contains(name), elsewhere.contains(name), "{name}");
    }
}

#[test]
fn committed_firmware_that_is_too_old_is_refused() {
    for part in ["bootloader", "tee", "snp", "microcode"] {
        let mut federation = Federation::new(Kind::SevSnp);
        // Reported firmware is never newer than committed.
        federation.change_hardware(json!({"committed_tcb": {part: 0}, "reported_tcb": {part: 0}}));
        let refusal = federation.appraise(&federation.evidence()).unwrap_err();
        let failed: Vec<CheckName> = refusal
            .checks()
            .iter()
            .filter(|check| check.result == CheckResult::Fail)
            .map(|check| check.name)
            .collect();
        assert_eq!(
            failed,
            [CheckName::SnpReportedTcb, CheckName::SnpCommittedTcb]
        );
    }
}

#[test]
fn firmware_newer_in_each_part_is_accepted_and_a_generation_without_minimum_is_not() {
    let newer = json!({"bootloader": 4, "tee": 2, "snp": 9, "microcode": 200});
    let mut federation = Federation::new(Kind::SevSnp);
    federation.change_hardware(
        json!({"current_tcb": newer, "committed_tcb": newer, "reported_tcb": newer}),
    );
    federation.change_launch(json!({"launch_tcb": newer}));
    federation.appraise(&federation.evidence()).unwrap();

    federation.change_hardware(json!({"product": "genoa"}));
    let refusal = federation.appraise(&federation.evidence()).unwrap_err();
    assert_eq!(refusal.check(), CheckName::SnpReportedTcb);
    assert!(refusal.got().starts_with("genoa with"), "{refusal}");
}

#[test]
fn firmware_in_an_order_that_the_firmware_never_has_is_refused_by_every_policy() {
    let tcb = |microcode: u8| json!({"bootloader": 3, "tee": 1, "snp": 8, "microcode": microcode});
    for (reported, committed, launch, current) in [
        (116, 115, 115, 120),
        (115, 121, 115, 120),
        (115, 115, 121, 120),
    ] {
        let mut federation = Federation::new(Kind::SevSnp);
        federation.change_hardware(json!({
            "reported_tcb": tcb(reported),
            "committed_tcb": tcb(committed),
            "current_tcb": tcb(current),
        }));
        federation.change_launch(json!({"launch_tcb": tcb(launch)}));
        federation.policy = any_policy(&federation.policy);
        let refusal = federation.appraise(&federation.evidence()).unwrap_err();
        support::assert_refused_by(CheckName::SnpTcbOrder, &refusal);
    }
    // Provisional firmware runs, and may have launched the machine; that is in order.
    let mut federation = Federation::new(Kind::SevSnp);
    federation.change_hardware(json!({"current_tcb": tcb(120)}));
    federation.change_launch(json!({"launch_tcb": tcb(118)}));
    federation.appraise(&federation.evidence()).unwrap();
}

#[test]
fn a_launch_firmware_with_parts_of_another_generation_is_refused() {
    let mut federation = Federation::new(Kind::SevSnp);
    federation.change_launch(json!({"launch_tcb": {"fmc": 1}}));
    federation.policy = any_policy(&federation.policy);
    let refusal = federation.appraise(&federation.evidence()).unwrap_err();
    support::assert_refused_by(CheckName::SnpTcbOrder, &refusal);
}

#[test]
fn an_author_who_did_not_sign_does_not_count() {
    let failed = |changes: Value| {
        let mut federation = Federation::new(Kind::SevSnp);
        federation.change_launch(changes);
        let refusal = federation.appraise(&federation.evidence()).unwrap_err();
        let failed: Vec<CheckName> = refusal
            .checks()
            .iter()
            .filter(|check| check.result == CheckResult::Fail)
            .map(|check| check.name)
            .collect();
        failed
    };
    let both = [CheckName::Signer, CheckName::SnpAuthorKey];
    // The digest is there, and the flag that says that it signed is not: the id key answers then.
    assert_eq!(failed(json!({"author_key_en": false})), both);
    assert_eq!(failed(json!({"author_key_digest": digest("05")})), both);
}

#[test]
fn another_initial_content_is_refused_by_measurement_and_by_mrtd() {
    let mut federation = Federation::new(Kind::Tdx);
    federation.program = tributary_attest::Measurement::of_bytes(b"another program");
    let evidence = federation.evidence();
    let refusal = federation.appraise(&evidence).unwrap_err();
    assert_eq!(refusal.check(), CheckName::Measurement);
    federation.policy.measurements = tributary_attest::Criterion::Any;
    let refusal = federation.appraise(&evidence).unwrap_err();
    support::assert_refused_by(CheckName::TdxMrtd, &refusal);
}

#[test]
fn fewer_advisories_than_accepted_are_accepted_and_none_means_none() {
    let mut federation = Federation::new(Kind::Tdx);
    for apply in [json!([]), json!(["INTEL-SA-00002"])] {
        federation.change_hardware(json!({"tcb": {"advisory_ids": apply}}));
        federation.appraise(&federation.evidence()).unwrap();
    }
    let none = tributary_attest::Criterion::Stated(vec![]);
    federation.policy.tdx.as_mut().unwrap().advisory_ids = none;
    let refusal = federation.appraise(&federation.evidence()).unwrap_err();
    support::assert_refused_by(CheckName::TdxAdvisories, &refusal);
    assert_eq!(
        (refusal.expected(), refusal.got()),
        ("none", "INTEL-SA-00002")
    );
    federation.change_hardware(json!({"tcb": {"advisory_ids": []}}));
    federation.appraise(&federation.evidence()).unwrap();
}

#[test]
fn a_platform_of_whose_firmware_nobody_has_said_anything_meets_no_demand() {
    let mut federation = Federation::new(Kind::Tdx);
    federation.change_hardware(json!({"tcb": null}));
    let refusal = federation.appraise(&federation.evidence()).unwrap_err();
    let failed: Vec<CheckName> = refusal
        .checks()
        .iter()
        .filter(|check| check.result == CheckResult::Fail)
        .map(|check| check.name)
        .collect();
    use CheckName::*;
    assert_eq!(failed, [TdxTcbStatus, TdxAdvisories, TdxTcbEvaluation]);
}

#[test]
fn a_kind_of_platform_without_a_section_is_refused() {
    for (kind, other) in [(Kind::SevSnp, Kind::Tdx), (Kind::Tdx, Kind::SevSnp)] {
        let federation = Federation::new(kind);
        let policy = Policy {
            sev_snp: Federation::new(other).policy.sev_snp,
            tdx: Federation::new(other).policy.tdx,
            ..any_policy(&federation.policy)
        };
        let evidence = federation.evidence();
        let refusal = appraise(
            &policy,
            &evidence,
            &expected(),
            &Collateral::empty(),
            federation.now,
        )
        .unwrap_err();
        support::assert_refused_by(CheckName::Platform, &refusal);
        assert_eq!(
            (refusal.expected(), refusal.got()),
            (other.key(), kind.key())
        );
        assert_eq!(refusal.measurement(), Some(program()));
    }
}
