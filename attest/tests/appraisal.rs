//! What the appraisal accepts and refuses whatever the kind of platform: one federation, one change at a time.
#![allow(clippy::unwrap_used)]

mod support;

use chrono::TimeDelta;
use serde_json::json;
use support::{Federation, Kind, any_policy, assert_refused_by, expected, program};
use tributary_attest::{
    CheckName, CheckResult, CodeRule, Collateral, Criterion, Evidence, EvidenceAge, Measurement,
    Policy, Refusal, ReportData, SecurityTier, SecurityVersion, SignerDigest, SimulatedRoot, Tee,
    appraise, danger_appraise_any_report_data, danger_read_unverified,
};

fn refused(name: CheckName, change: impl FnOnce(&mut Federation)) -> Refusal {
    support::refused(Kind::SevSnp, name, change)
}

fn federation() -> Federation {
    Federation::new(Kind::SevSnp)
}

#[test]
fn a_verdict_says_whom_it_describes() {
    let federation = federation();
    let verdict = federation.appraise(&federation.evidence()).unwrap();
    assert_eq!(verdict.tee, Tee::Simulated);
    assert_eq!(verdict.measurement, program());
    assert_eq!(verdict.svn, Some(SecurityVersion(5)));
    assert_eq!(verdict.issued_at, Some(federation.now));
    assert_eq!(verdict.tier, SecurityTier::Insecure);
    assert!(verdict.to_string().contains("SIMULATED"), "{verdict}");
    let json = json!(verdict);
    assert_eq!(json["verdict"], "accepted");
    assert_eq!(json["tee"], "simulated");
    assert_eq!(json["measurement"], program().to_string());
    assert_eq!(json["tier"], "INSECURE");
    assert!(json["platform"]["sev-snp"]["chip_id"].is_string());
    assert_eq!(
        json["checks"][0],
        json!({
            "name": "policy",
            "result": "pass",
            "expected": "a policy that this version enforces",
            "got": "a policy that this version enforces",
        })
    );
}

#[test]
fn a_refusal_says_what_is_genuine_and_no_more() {
    let mut federation = federation();
    federation.platform.launch = federation
        .platform
        .launch
        .with_changes(r#"{"sev-snp": {"vmpl": 2}}"#)
        .unwrap();
    let refusal = federation.appraise(&federation.evidence()).unwrap_err();
    let json = json!(refusal);
    assert_eq!(json["verdict"], "refused");
    assert_eq!(json["measurement"], program().to_string());
    assert_eq!(json["tier"], "INSECURE");

    federation.root = SimulatedRoot::from_seed(&[2; 32]);
    let forged = federation.appraise(&federation.evidence()).unwrap_err();
    let json = json!(forged);
    assert_eq!(
        (&json["tee"], &json["verdict"]),
        (&json!("simulated"), &json!("refused"))
    );
    for unknown in ["measurement", "tier", "tier_reasons"] {
        assert!(json[unknown].is_null(), "{json}");
    }
}

#[test]
fn every_check_is_made_once_and_in_order() {
    let mut made_by_either: Vec<CheckName> = Vec::new();
    for kind in Kind::BOTH {
        let federation = Federation::new(kind);
        let verdict = federation.appraise(&federation.evidence()).unwrap();
        let made: Vec<CheckName> = verdict.checks.iter().map(|check| check.name).collect();
        assert!(made.is_sorted_by(|one, next| one < next), "{made:?}");
        made_by_either.extend(made);
    }
    made_by_either.sort_unstable();
    made_by_either.dedup();
    for name in CheckName::ALL
        .iter()
        .filter(|name| **name <= CheckName::ReportSignature)
    {
        assert!(made_by_either.contains(name), "{name}");
    }
    for name in CheckName::ALL
        .iter()
        .filter(|name| **name >= CheckName::Age)
    {
        assert!(made_by_either.contains(name), "{name}");
    }
}

#[test]
fn what_the_policy_calls_any_is_reported_as_not_checked() {
    let mut federation = federation();
    federation.policy = any_policy(&federation.policy);
    federation.change_launch(json!({"guest_policy": {"debug_allowed": true}, "vmpl": 3}));
    let verdict = federation.appraise(&federation.evidence()).unwrap();
    let open: Vec<CheckName> = verdict
        .checks
        .iter()
        .filter(|check| check.result == CheckResult::NotChecked)
        .map(|check| check.name)
        .collect();
    use CheckName::*;
    for name in [
        Age,
        Debug,
        Measurement,
        Signer,
        ProductId,
        SecurityVersion,
        Vmpl,
        ChipId,
        Tier,
    ] {
        assert!(open.contains(&name), "{name}");
    }
    assert!(!open.contains(&ReportData));
    assert!(verdict.debug);
    assert!(verdict.to_string().contains("UNDER DEBUGGING"), "{verdict}");
}

#[test]
fn report_data_that_nobody_expects_is_said_to_be_unchecked() {
    let federation = federation();
    let evidence = federation.evidence_for(&ReportData::new([1; 64]));
    assert!(federation.appraise(&evidence).is_err());
    let verdict = danger_appraise_any_report_data(
        &federation.policy,
        &evidence,
        &Collateral::empty(),
        federation.now,
    )
    .unwrap();
    let check = verdict
        .checks
        .iter()
        .find(|check| check.name == CheckName::ReportData)
        .unwrap();
    assert_eq!(check.result, CheckResult::NotChecked);
    assert_eq!(check.got, ReportData::new([1; 64]).to_string());
    // All else is checked as ever.
    let mut other = Federation::new(Kind::SevSnp);
    other.change_launch(json!({"vmpl": 1}));
    let refusal = danger_appraise_any_report_data(
        &other.policy,
        &other.evidence(),
        &Collateral::empty(),
        other.now,
    )
    .unwrap_err();
    assert_refused_by(CheckName::Vmpl, &refusal);
}

#[test]
fn another_program_is_refused() {
    let refusal = refused(CheckName::Measurement, |f| {
        f.program = Measurement::of_bytes(b"another program")
    });
    assert_eq!(refusal.expected(), program().to_string());
    assert_eq!(
        refusal.got(),
        Measurement::of_bytes(b"another program").to_string()
    );
}

#[test]
fn evidence_made_for_another_connection_is_refused() {
    let federation = federation();
    for byte in 0..64 {
        let mut other = *expected().as_bytes();
        other[byte] ^= 1;
        let evidence = federation.evidence_for(&ReportData::new(other));
        assert_refused_by(
            CheckName::ReportData,
            &federation.appraise(&evidence).unwrap_err(),
        );
    }
}

#[test]
fn a_machine_under_debugging_is_refused() {
    refused(CheckName::Debug, |f| {
        f.change_launch(json!({"guest_policy": {"debug_allowed": true}}))
    });
    support::refused(Kind::Tdx, CheckName::Debug, |f| {
        f.change_launch(json!({"td_attributes": "0100001000000000"}));
        f.policy.tdx.as_mut().unwrap().td_attributes = Criterion::Any;
    });
}

#[test]
fn another_signer_is_refused_and_so_is_none() {
    let by = |byte: u8| Criterion::Stated(vec![SignerDigest::new([byte; 48])]);
    refused(CheckName::Signer, |f| f.policy.signers = by(5));
    // The id key signed too, but the author answers for it.
    refused(CheckName::Signer, |f| f.policy.signers = by(3));
    support::refused(Kind::Tdx, CheckName::Signer, |f| f.policy.signers = by(4));
}

#[test]
fn what_nobody_signed_is_not_stated() {
    let unsigned = json!({
        "id_key_digest": "00".repeat(48),
        "author_key_en": false,
        "author_key_digest": "00".repeat(48),
    });
    let mut federation = federation();
    federation.change_launch(unsigned);
    federation.policy.sev_snp = Some(tributary_attest::SnpPolicy::any());
    let refusal = federation.appraise(&federation.evidence()).unwrap_err();
    let failed = refusal
        .checks()
        .iter()
        .filter(|check| check.result == CheckResult::Fail);
    let failed: Vec<CheckName> = failed.map(|check| check.name).collect();
    use CheckName::*;
    assert_eq!(failed, [Signer, ProductId, SecurityVersion]);
}

#[test]
fn a_newer_security_version_is_accepted() {
    let refusal = refused(CheckName::SecurityVersion, |f| {
        f.change_launch(json!({"guest_svn": 4}))
    });
    assert_eq!((refusal.expected(), refusal.got()), ("5 or later", "4"));
    let mut federation = federation();
    federation.change_launch(json!({"guest_svn": 6}));
    federation.appraise(&federation.evidence()).unwrap();
}

#[test]
fn measurement_or_signer_takes_either_and_refuses_neither() {
    let other = || Criterion::Stated(vec![Measurement::of_bytes(b"another program")]);
    let stranger = || Criterion::Stated(vec![SignerDigest::new([0xee; 48])]);
    let result = |change: &dyn Fn(&mut Policy)| {
        let mut federation = federation();
        federation.policy.code = CodeRule::MeasurementOrSigner;
        change(&mut federation.policy);
        let of = |checks: &[tributary_attest::Check], name| {
            checks
                .iter()
                .find(|check| check.name == name)
                .unwrap()
                .result
        };
        match federation.appraise(&federation.evidence()) {
            Ok(verdict) => (
                of(&verdict.checks, CheckName::Measurement),
                of(&verdict.checks, CheckName::Signer),
            ),
            Err(refusal) => (
                of(refusal.checks(), CheckName::Measurement),
                of(refusal.checks(), CheckName::Signer),
            ),
        }
    };
    use CheckResult::{Fail, NotChecked, Pass};
    assert_eq!(result(&|_| ()), (Pass, Pass));
    assert_eq!(result(&|p| p.signers = stranger()), (Pass, NotChecked));
    assert_eq!(result(&|p| p.measurements = other()), (NotChecked, Pass));
    assert_eq!(
        result(&|p| {
            p.measurements = other();
            p.signers = stranger();
        }),
        (Fail, Fail)
    );
    // Without the word, both are asked for.
    refused(CheckName::Signer, |f| f.policy.signers = stranger());
    refused(CheckName::Measurement, |f| f.policy.measurements = other());
}

#[test]
fn a_tier_other_than_demanded_is_refused_with_its_reasons() {
    for demanded in [SecurityTier::Secure, SecurityTier::Stale] {
        let refusal = refused(CheckName::Tier, |f| {
            f.policy.tier = Criterion::Stated(demanded)
        });
        assert_eq!(refusal.expected(), demanded.as_str());
        assert!(
            refusal
                .got()
                .starts_with("INSECURE: the platform is simulated"),
            "{refusal}"
        );
    }
}

#[test]
fn evidence_that_is_too_old_or_from_the_future_is_refused() {
    refused(CheckName::Age, |f| {
        f.issued_at = f.now - TimeDelta::seconds(301)
    });
    refused(CheckName::Age, |f| {
        f.issued_at = f.now + TimeDelta::seconds(61)
    });
    for seconds in [-300, 60] {
        let mut federation = federation();
        federation.issued_at = federation.now + TimeDelta::seconds(seconds);
        federation.appraise(&federation.evidence()).unwrap();
    }
}

#[test]
fn a_platform_whose_certificate_has_expired_or_is_not_yet_valid_is_refused() {
    let second = TimeDelta::seconds(1);
    refused(CheckName::Validity, |f| {
        f.platform.not_after = f.now - second
    });
    refused(CheckName::Validity, |f| {
        f.platform.not_before = f.now + second;
        f.issued_at = f.now + second;
    });
    // Valid now, but not when the report says it was made.
    refused(CheckName::Validity, |f| {
        f.platform.not_before = f.now - second;
        f.issued_at = f.now - second * 2;
    });
}

#[test]
fn a_platform_of_another_federations_root_is_refused() {
    let refusal = refused(CheckName::Root, |f| {
        f.root = SimulatedRoot::from_seed(&[2; 32])
    });
    let other = SimulatedRoot::from_seed(&[2; 32]).public_key();
    assert_eq!(refusal.got(), other.to_string());
}

#[test]
fn a_platform_of_any_named_root_is_accepted() {
    let mut federation = federation();
    let second = SimulatedRoot::from_seed(&[2; 32]);
    federation.policy.simulated_roots.push(second.public_key());
    federation.appraise(&federation.evidence()).unwrap();
    federation.root = second;
    federation.appraise(&federation.evidence()).unwrap();
}

#[test]
fn a_report_of_an_unknown_layout_is_refused() {
    let refusal = refused(CheckName::ReportVersion, |f| f.report_layout = 1);
    assert_eq!((refusal.expected(), refusal.got()), ("2", "1"));
}

#[test]
fn a_policy_that_makes_no_sense_accepts_nothing() {
    refused(CheckName::Policy, |f| f.policy.tees.clear());
    refused(CheckName::Policy, |f| f.policy.simulated_roots.clear());
    refused(CheckName::Policy, |f| {
        f.policy.measurements = Criterion::Stated(vec![])
    });
    refused(CheckName::Policy, |f| f.policy.sev_snp = None);
}

#[test]
fn evidence_of_one_kind_is_never_taken_for_another() {
    let federation = federation();
    let simulated = federation.evidence();
    for tee in [Tee::SevSnp, Tee::Tdx] {
        // A genuine simulated report under another label.
        let evidence = Evidence::new(
            tee,
            simulated.report().to_vec(),
            simulated.endorsements().to_vec(),
        )
        .unwrap();
        let refusal = federation.appraise(&evidence).unwrap_err();
        assert_refused_by(CheckName::TeeAllowed, &refusal);
        assert_eq!(
            (refusal.expected(), refusal.got()),
            ("simulated", tee.as_str())
        );
        assert!(danger_read_unverified(&evidence).is_err());
        // Nor does a policy that names the other kind let it in, whether this build verifies that kind or not.
        let policy = Policy {
            tees: Tee::ALL.to_vec(),
            tdx: Some(tributary_attest::TdxPolicy::any()),
            sev_snp: Some(tributary_attest::SnpPolicy::any()),
            maximum_age_seconds: Criterion::Any,
            ..federation.policy.clone()
        };
        let refusal = appraise(
            &policy,
            &evidence,
            &expected(),
            &Collateral::empty(),
            federation.now,
        )
        .unwrap_err();
        assert!(refusal.check() < CheckName::Age, "{refusal}");
    }
}

#[test]
fn a_genuine_report_with_several_faults_lists_them_all() {
    let mut federation = federation();
    federation.change_launch(json!({
        "guest_policy": {"debug_allowed": true},
        "guest_svn": 0,
        "host_data": "00".repeat(32),
    }));
    let refusal = federation.appraise(&federation.evidence()).unwrap_err();
    assert_eq!(refusal.check(), CheckName::Debug);
    let failed = refusal
        .checks()
        .iter()
        .filter(|c| c.result == CheckResult::Fail);
    let failed: Vec<&str> = failed.map(|c| c.name.as_str()).collect();
    assert_eq!(failed, ["debug", "svn", "host-data"]);
}

#[test]
fn the_endorsements_must_be_exactly_one_certificate() {
    let federation = federation();
    let genuine = federation.evidence();
    let certificate = genuine.endorsements()[0].clone();
    for endorsements in [
        vec![],
        vec![certificate.clone(); 2],
        vec![genuine.report().to_vec()],
    ] {
        let evidence =
            Evidence::new(Tee::Simulated, genuine.report().to_vec(), endorsements).unwrap();
        assert_refused_by(
            CheckName::Format,
            &federation.appraise(&evidence).unwrap_err(),
        );
    }
}

#[test]
fn a_report_with_another_platforms_certificate_is_refused() {
    let federation = federation();
    let (one, other) = (federation.evidence(), federation.evidence());
    let mixed = Evidence::new(
        Tee::Simulated,
        one.report().to_vec(),
        other.endorsements().to_vec(),
    )
    .unwrap();
    assert_refused_by(
        CheckName::ReportSignature,
        &federation.appraise(&mixed).unwrap_err(),
    );
}

#[test]
fn every_flipped_byte_of_the_evidence_is_refused() {
    let federation = federation();
    let bytes = federation.evidence().to_bytes();
    for at in 0..bytes.len() {
        // One bit of each byte, and each bit in turn.
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        if let Ok(evidence) = Evidence::from_bytes(&flipped) {
            let refusal = federation.appraise(&evidence).unwrap_err();
            assert!(
                refusal.check() <= CheckName::ReportSignature,
                "byte {at} came as far as: {refusal}"
            );
        }
    }
}

#[test]
fn every_truncated_report_or_certificate_is_refused() {
    let federation = federation();
    let genuine = federation.evidence();
    let (report, certificate) = (genuine.report(), &genuine.endorsements()[0]);
    let check = |report: &[u8], certificate: &[u8]| {
        let evidence =
            Evidence::new(Tee::Simulated, report.to_vec(), vec![certificate.to_vec()]).unwrap();
        assert!(federation.appraise(&evidence).is_err());
    };
    for end in 1..report.len() {
        check(&report[..end], certificate);
    }
    for end in 1..certificate.len() {
        check(report, &certificate[..end]);
    }
    check(&[report, &[0]].concat(), certificate);
    check(report, &[certificate.as_slice(), &[0]].concat());
}

#[test]
fn maximum_age_of_zero_still_takes_evidence_of_this_second() {
    let mut federation = federation();
    federation.policy.maximum_age_seconds = Criterion::Stated(EvidenceAge(0));
    let evidence = federation.evidence();
    federation.appraise(&evidence).unwrap();
    federation.now += TimeDelta::seconds(1);
    let refusal = federation.appraise(&evidence).unwrap_err();
    assert_refused_by(CheckName::Age, &refusal);
}

#[test]
fn unverified_claims_are_what_the_report_states() {
    let federation = federation();
    let claims = danger_read_unverified(&federation.evidence()).unwrap();
    assert_eq!(claims.measurement, program());
    assert_eq!(claims.report_data, expected());
    assert_eq!(claims.svn, Some(SecurityVersion(5)));
}
