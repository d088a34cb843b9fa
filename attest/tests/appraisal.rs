//! What the appraisal accepts and refuses: one federation, one change at a time.
#![allow(clippy::unwrap_used)]

use chrono::{DateTime, TimeDelta, Utc};
use tributary_attest::{
    Attester, CheckName, CheckResult, ChipId, Criterion, DebugRule, Evidence, EvidenceAge,
    HostData, LaunchConfig, Measurement, PlatformConfig, Policy, ProductId, Refusal, ReportData,
    SecurityVersion, SignerDigest, SimulatedPlatform, SimulatedRoot, Tcb, Tee, Vmpl, appraise,
    danger_read_unverified,
};

/// A federation in which every criterion is stated and the machine meets every one.
struct Federation {
    root: SimulatedRoot,
    platform_config: PlatformConfig,
    launch: LaunchConfig,
    policy: Policy,
    now: DateTime<Utc>,
    issued_at: DateTime<Utc>,
}

impl Federation {
    fn new() -> Self {
        let now = DateTime::from_timestamp(1_795_000_000, 0).unwrap();
        let root = SimulatedRoot::from_seed(&[1; 32]);
        let chip_id = ChipId::new(&[7; 64]).unwrap();
        let tcb: Tcb = "bootloader=3,tee=0,snp=8,microcode=115".parse().unwrap();
        let launch = LaunchConfig {
            host_data: HostData::new([2; 32]),
            svn: SecurityVersion(5),
            product_id: ProductId::new([3; 16]),
            signer: SignerDigest::new([4; 48]),
            ..LaunchConfig::default()
        };
        let policy = Policy {
            signers: Criterion::Stated(vec![launch.signer]),
            product_id: Criterion::Stated(launch.product_id),
            minimum_svn: Criterion::Stated(launch.svn),
            minimum_tcb: Criterion::Stated(tcb),
            host_data: Criterion::Stated(launch.host_data),
            chip_ids: Criterion::Stated(vec![chip_id.clone()]),
            ..Policy::simulated(root.public_key(), [program()])
        };
        Self {
            root,
            platform_config: PlatformConfig {
                name: "agent-1".to_owned(),
                chip_id,
                tcb,
                not_before: now - TimeDelta::days(1),
                not_after: now + TimeDelta::days(1),
            },
            launch,
            policy,
            now,
            issued_at: now,
        }
    }

    fn platform(&self) -> SimulatedPlatform {
        self.root.certify(self.platform_config.clone()).unwrap()
    }

    fn evidence(&self) -> Evidence {
        self.evidence_of(program(), &expected())
    }

    fn evidence_of(&self, program: Measurement, report_data: &ReportData) -> Evidence {
        let issued_at = self.issued_at;
        self.platform()
            .launch(program, self.launch.clone())
            .with_clock(move || issued_at)
            .attest(report_data)
            .unwrap()
    }

    fn appraise(&self, evidence: &Evidence) -> Result<tributary_attest::Verdict, Refusal> {
        appraise(&self.policy, evidence, &expected(), self.now)
    }
}

fn program() -> Measurement {
    Measurement::of_bytes(b"the program")
}

fn expected() -> ReportData {
    ReportData::new([9; 64])
}

/// Applies one change; exactly the named check must fail, and the refusal must say what and how to mend.
fn refused(name: CheckName, change: impl FnOnce(&mut Federation)) -> Refusal {
    let mut federation = Federation::new();
    change(&mut federation);
    let refusal = federation.appraise(&federation.evidence()).unwrap_err();
    assert_refused_by(name, &refusal);
    refusal
}

fn assert_refused_by(name: CheckName, refusal: &Refusal) {
    let failed: Vec<CheckName> = refusal
        .checks()
        .iter()
        .filter(|check| check.result == CheckResult::Fail)
        .map(|check| check.name)
        .collect();
    assert_eq!(failed, [name], "{refusal}");
    assert_eq!(refusal.check(), name);
    assert_eq!(refusal.code(), format!("attestation-{name}"));
    assert_eq!(refusal.exit_code(), 10);
    let said = refusal.to_string();
    for part in [refusal.expected(), refusal.got(), refusal.mend()] {
        assert!(!part.is_empty() && said.contains(part), "{said}");
    }
    assert_ne!(refusal.expected(), refusal.got());
}

#[test]
fn a_machine_that_meets_every_criterion_is_accepted() {
    let federation = Federation::new();
    let verdict = federation.appraise(&federation.evidence()).unwrap();
    assert_eq!(verdict.tee, Tee::Simulated);
    assert_eq!(verdict.measurement, program());
    assert_eq!(verdict.chip_id, Some(federation.platform_config.chip_id));
    assert_eq!(verdict.issued_at, Some(federation.now));
    assert!(
        verdict
            .checks
            .iter()
            .all(|check| check.result == CheckResult::Pass)
    );
    assert!(verdict.to_string().contains("SIMULATED"), "{verdict}");
}

#[test]
fn every_check_is_made_once_and_in_order() {
    let federation = Federation::new();
    let verdict = federation.appraise(&federation.evidence()).unwrap();
    let made: Vec<CheckName> = verdict.checks.iter().map(|check| check.name).collect();
    let all: Vec<CheckName> = CheckName::ALL
        .iter()
        .copied()
        // Recorded only where it fails: there is nothing to show where it passes.
        .filter(|name| *name != CheckName::VerifierBuilt)
        .collect();
    assert_eq!(made, all);
}

#[test]
fn what_the_policy_calls_any_is_reported_as_not_checked() {
    let mut federation = Federation::new();
    federation.policy = Policy {
        measurements: Criterion::Any,
        signers: Criterion::Any,
        product_id: Criterion::Any,
        minimum_svn: Criterion::Any,
        debug: DebugRule::Allowed,
        minimum_tcb: Criterion::Any,
        vmpls: Criterion::Any,
        host_data: Criterion::Any,
        chip_ids: Criterion::Any,
        maximum_age_seconds: Criterion::Any,
        ..federation.policy
    };
    federation.launch.debug = true;
    federation.launch.vmpl = Vmpl::try_from(3).unwrap();
    let verdict = federation.appraise(&federation.evidence()).unwrap();
    let not_checked = verdict
        .checks
        .iter()
        .filter(|c| c.result == CheckResult::NotChecked);
    assert_eq!(not_checked.count(), 10);
    assert!(verdict.debug);
    assert!(verdict.to_string().contains("UNDER DEBUGGING"), "{verdict}");
}

#[test]
fn another_program_is_refused() {
    let federation = Federation::new();
    let evidence = federation.evidence_of(Measurement::of_bytes(b"another program"), &expected());
    let refusal = federation.appraise(&evidence).unwrap_err();
    assert_refused_by(CheckName::Measurement, &refusal);
    assert_eq!(refusal.expected(), program().to_string());
    assert_eq!(
        refusal.got(),
        Measurement::of_bytes(b"another program").to_string()
    );
}

#[test]
fn evidence_made_for_another_connection_is_refused() {
    let federation = Federation::new();
    for byte in 0..64 {
        let mut other = *expected().as_bytes();
        other[byte] ^= 1;
        let evidence = federation.evidence_of(program(), &ReportData::new(other));
        assert_refused_by(
            CheckName::ReportData,
            &federation.appraise(&evidence).unwrap_err(),
        );
    }
}

#[test]
fn a_machine_under_debugging_is_refused() {
    refused(CheckName::Debug, |f| f.launch.debug = true);
}

#[test]
fn another_signer_is_refused() {
    refused(CheckName::Signer, |f| {
        f.launch.signer = SignerDigest::new([5; 48])
    });
}

#[test]
fn another_product_is_refused() {
    refused(CheckName::ProductId, |f| {
        f.launch.product_id = ProductId::new([0; 16])
    });
}

#[test]
fn an_old_security_version_is_refused_and_a_newer_one_accepted() {
    let refusal = refused(CheckName::SecurityVersion, |f| {
        f.launch.svn = SecurityVersion(4)
    });
    assert_eq!((refusal.expected(), refusal.got()), ("5 or later", "4"));
    let mut federation = Federation::new();
    federation.launch.svn = SecurityVersion(6);
    federation.appraise(&federation.evidence()).unwrap();
}

#[test]
fn firmware_with_one_older_part_is_refused_whatever_the_others_are() {
    for older in [
        "bootloader=2,tee=9,snp=9,microcode=255",
        "bootloader=9,tee=9,snp=7,microcode=255",
        "bootloader=9,tee=9,snp=9,microcode=114",
    ] {
        refused(CheckName::Tcb, |f| {
            f.platform_config.tcb = older.parse().unwrap()
        });
    }
    let mut federation = Federation::new();
    federation.platform_config.tcb = "bootloader=4,tee=1,snp=9,microcode=200".parse().unwrap();
    federation.appraise(&federation.evidence()).unwrap();
}

#[test]
fn another_privilege_level_is_refused() {
    refused(CheckName::Vmpl, |f| {
        f.launch.vmpl = Vmpl::try_from(1).unwrap()
    });
}

#[test]
fn other_host_data_is_refused() {
    refused(CheckName::HostData, |f| {
        f.launch.host_data = HostData::new([0; 32])
    });
}

#[test]
fn another_chip_is_refused() {
    // The prefix of an allowed identity is another identity.
    for other in [vec![8; 64], vec![7; 63], vec![7; 32]] {
        refused(CheckName::ChipId, |f| {
            f.platform_config.chip_id = ChipId::new(&other).unwrap()
        });
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
        let mut federation = Federation::new();
        federation.issued_at = federation.now + TimeDelta::seconds(seconds);
        federation.appraise(&federation.evidence()).unwrap();
    }
}

#[test]
fn a_platform_whose_certificate_has_expired_or_is_not_yet_valid_is_refused() {
    let second = TimeDelta::seconds(1);
    refused(CheckName::Validity, |f| {
        f.platform_config.not_after = f.now - second
    });
    refused(CheckName::Validity, |f| {
        f.platform_config.not_before = f.now + second;
        f.issued_at = f.now + second;
    });
    // Valid now, but not when the report says it was made.
    refused(CheckName::Validity, |f| {
        f.platform_config.not_before = f.now - second;
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
    let mut federation = Federation::new();
    let second = SimulatedRoot::from_seed(&[2; 32]);
    federation.policy.simulated_roots.push(second.public_key());
    federation.appraise(&federation.evidence()).unwrap();
    federation.root = second;
    federation.appraise(&federation.evidence()).unwrap();
}

#[test]
fn a_report_of_an_unknown_layout_is_refused() {
    let refusal = refused(CheckName::ReportVersion, |f| f.launch.report_version = 2);
    assert_eq!((refusal.expected(), refusal.got()), ("1", "2"));
}

#[test]
fn a_policy_that_makes_no_sense_accepts_nothing() {
    refused(CheckName::Policy, |f| f.policy.tees.clear());
    refused(CheckName::Policy, |f| f.policy.simulated_roots.clear());
    refused(CheckName::Policy, |f| {
        f.policy.measurements = Criterion::Stated(vec![])
    });
}

#[test]
fn evidence_of_hardware_is_refused_as_not_built_even_where_the_policy_names_it() {
    let federation = Federation::new();
    let simulated = federation.evidence();
    for tee in [Tee::SevSnp, Tee::Tdx] {
        // A genuine simulated report under another label must not pass either.
        let evidence = Evidence::new(
            tee,
            simulated.report().to_vec(),
            simulated.endorsements().to_vec(),
        )
        .unwrap();
        for tees in [vec![tee], vec![tee, Tee::Simulated], Tee::ALL.to_vec()] {
            let mut policy = federation.policy.clone();
            policy.tees = tees;
            let refusal = appraise(&policy, &evidence, &expected(), federation.now).unwrap_err();
            assert_refused_by(CheckName::VerifierBuilt, &refusal);
            assert_eq!(refusal.code(), "attestation-not-built");
            // Nor does such a policy let simulated evidence in.
            assert!(appraise(&policy, &simulated, &expected(), federation.now).is_err());
        }
        let refusal = federation.appraise(&evidence).unwrap_err();
        assert_refused_by(CheckName::TeeAllowed, &refusal);
        assert_eq!(
            (refusal.expected(), refusal.got()),
            ("simulated", tee.as_str())
        );
        assert!(danger_read_unverified(&evidence).is_err());
    }
}

#[test]
fn a_genuine_report_with_several_faults_lists_them_all() {
    let mut federation = Federation::new();
    federation.launch.debug = true;
    federation.launch.svn = SecurityVersion(0);
    federation.launch.host_data = HostData::new([0; 32]);
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
    let federation = Federation::new();
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
    let federation = Federation::new();
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
fn every_flipped_bit_of_the_evidence_is_refused() {
    let federation = Federation::new();
    let bytes = federation.evidence().to_bytes();
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << bit;
            if let Ok(evidence) = Evidence::from_bytes(&flipped) {
                let refusal = federation.appraise(&evidence).unwrap_err();
                assert!(
                    refusal.check() <= CheckName::ReportSignature,
                    "byte {at} bit {bit} came as far as: {refusal}"
                );
            }
        }
    }
}

#[test]
fn every_truncated_report_or_certificate_is_refused() {
    let federation = Federation::new();
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
    let mut federation = Federation::new();
    federation.policy.maximum_age_seconds = Criterion::Stated(EvidenceAge(0));
    federation.appraise(&federation.evidence()).unwrap();
    federation.now += TimeDelta::seconds(1);
    let refusal = appraise(
        &federation.policy,
        &Federation::new().evidence(),
        &expected(),
        federation.now,
    );
    assert_eq!(refusal.unwrap_err().check(), CheckName::Age);
}

#[test]
fn unverified_claims_are_what_the_report_states() {
    let federation = Federation::new();
    let claims = danger_read_unverified(&federation.evidence()).unwrap();
    assert_eq!(claims.measurement, program());
    assert_eq!(claims.report_data, expected());
    assert_eq!(claims.svn, Some(SecurityVersion(5)));
}
