//! Evidence that real machines with SEV-SNP made: what is accepted, and what is refused for which reason.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod hardware;

use std::{fs, path::Path};

use chrono::{DateTime, Utc};
use hardware::{at, judge, package, shared};
use tributary_attest::{
    CheckName, CheckResult, Collateral, Criterion, Policy, Refusal, SnpProduct, Tee, Verdict, Vmpl,
};

fn now() -> DateTime<Utc> {
    at("2025-09-01T00:00:00Z")
}

fn snp(
    folder: &Path,
    report: &str,
    endorsements: &[&str],
    policy: &Policy,
) -> Result<Verdict, Box<Refusal>> {
    let read = |name: &str| fs::read(folder.join(name)).unwrap();
    let endorsements = endorsements.iter().map(|name| read(name)).collect();
    let collateral = Collateral::empty();
    judge(
        Tee::SevSnp,
        &read(report),
        endorsements,
        &collateral,
        policy,
        now(),
    )
}

/// The default policy, and any privilege level.
fn any_level() -> Policy {
    let mut policy = Policy::default_for_verify();
    policy.sev_snp.as_mut().unwrap().vmpls = Criterion::Any;
    policy
}

#[test]
fn reports_of_each_version_are_accepted_with_their_chips_certificate() {
    let Some(folder) = shared("vectors/snp") else {
        return;
    };
    for (report, vcek, product, version) in [
        (
            "milan-v2.report.bin",
            "milan-v2.vcek.der",
            SnpProduct::Milan,
            2,
        ),
        (
            "azure-milan-v3.report.bin",
            "azure-milan-v3.vcek.pem",
            SnpProduct::Milan,
            3,
        ),
        (
            "genoa-v5.report.bin",
            "genoa-v5.vcek.pem",
            SnpProduct::Genoa,
            5,
        ),
    ] {
        let verdict = snp(&folder, report, &[vcek], &Policy::default_for_verify());
        let verdict = verdict.unwrap_or_else(|refusal| panic!("{report}: {refusal}"));
        let claims = verdict.platform.sev_snp().unwrap();
        assert_eq!((claims.product, claims.report_version), (product, version));
        assert_eq!(verdict.tee, Tee::SevSnp);
        let revocation = verdict
            .checks
            .iter()
            .find(|check| check.name == CheckName::Revocation);
        assert_eq!(revocation.unwrap().result, CheckResult::NotChecked);
    }
}

#[test]
fn a_report_of_turin_is_bound_by_a_hardware_id_of_eight_bytes() {
    // The package has Turin's certificate and no report to it: what can be shown is that the certificate is read, and
    // its chain accepted as far as a foreign report lets it come.
    let folder = package("sev").join("tests/certs_data");
    let der = fs::read(folder.join("vcek_turin.der")).unwrap();
    let vek = tributary_attest::Vek::parse(&der).unwrap();
    assert_eq!(vek.product(), SnpProduct::Turin);
    assert!(vek.tcb().fmc.is_some());
    let tributary_attest::VekKind::Vcek { hardware_id } = vek.kind() else {
        panic!("{vek}");
    };
    assert_eq!(hardware_id.len(), 8);
    let report = hex::decode(
        fs::read_to_string(folder.join("report_milan.hex"))
            .unwrap()
            .trim(),
    );
    let refusal = judge(
        Tee::SevSnp,
        &report.unwrap(),
        vec![der],
        &Collateral::empty(),
        &any_level(),
        now(),
    )
    .unwrap_err();
    assert_eq!(refusal.check(), CheckName::ReportSignature);
    let passed = |name| {
        refusal
            .checks()
            .iter()
            .any(|check| check.name == name && check.result == CheckResult::Pass)
    };
    assert!(passed(CheckName::Root) && passed(CheckName::Certificate));
}

#[test]
fn the_report_of_the_package_sev_is_accepted() {
    let folder = package("sev").join("tests/certs_data");
    let report = fs::read_to_string(folder.join("report_milan.hex")).unwrap();
    let verdict = judge(
        Tee::SevSnp,
        &hex::decode(report.trim()).unwrap(),
        vec![
            fs::read(folder.join("vcek_milan.der")).unwrap(),
            fs::read(folder.join("cert_chain_milan")).unwrap(),
        ],
        &Collateral::empty(),
        &any_level(),
        now(),
    );
    verdict.unwrap();
}

#[test]
fn the_built_in_roots_are_those_of_the_package_sev() {
    let folder = package("sev").join("src/certs/snp/builtin");
    for product in ["milan", "genoa", "turin"] {
        let dir = tempfile::tempdir().unwrap();
        let amd = format!("{}{}", product[..1].to_uppercase(), &product[1..]);
        let target = dir.path().join("sev-snp").join(amd);
        fs::create_dir_all(&target).unwrap();
        for name in ["ark.pem", "ask.pem"] {
            fs::copy(folder.join(product).join(name), target.join(name)).unwrap();
        }
        Collateral::load(dir.path()).unwrap();
        fs::copy(folder.join(product).join("ask.pem"), target.join("ark.pem")).unwrap();
        assert!(Collateral::load(dir.path()).is_err());
    }
}

#[test]
fn a_machine_under_debugging_is_refused() {
    let Some(folder) = shared("vectors/snp") else {
        return;
    };
    let (report, vcek) = ("milan-v2-debug.report.bin", "milan-v2-debug.vcek.der");
    let refusal = snp(&folder, report, &[vcek], &Policy::default_for_verify()).unwrap_err();
    assert_eq!(refusal.check(), CheckName::Debug);
}

#[test]
fn a_providers_key_is_verified_through_the_asvk_and_the_level_refused() {
    let Some(folder) = shared("vectors/snp") else {
        return;
    };
    let report = "milan-v3-vlek-vmpl1.report.bin";
    let both = ["milan-v3-vlek-vmpl1.vlek.der", "milan-asvk-ark.pem"];
    let refusal = snp(&folder, report, &both, &Policy::default_for_verify()).unwrap_err();
    let failed: Vec<_> = refusal
        .checks()
        .iter()
        .filter(|check| check.result == CheckResult::Fail)
        .collect();
    assert_eq!(failed.len(), 1, "{refusal}");
    assert!(failed[0].got.contains('1'), "{refusal}");
    let passed = |name| {
        let mut checks = refusal.checks().iter();
        checks.any(|check| check.name == name && check.result == CheckResult::Pass)
    };
    for name in [
        CheckName::Root,
        CheckName::Certificate,
        CheckName::ReportSignature,
        CheckName::Validity,
    ] {
        assert!(passed(name), "{name}");
    }

    let mut policy = any_level();
    let level = Vmpl::try_from(1).unwrap();
    policy.sev_snp.as_mut().unwrap().vmpls = Criterion::Stated(vec![level]);
    let accepted = snp(&folder, report, &both, &policy);
    accepted.unwrap_or_else(|refusal| panic!("{refusal}"));

    let without = snp(&folder, report, &both[..1], &policy).unwrap_err();
    assert_eq!(without.check(), CheckName::Certificate);
}

#[test]
fn a_providers_certificate_is_refused_after_its_end() {
    let Some(folder) = shared("vectors/snp") else {
        return;
    };
    let read = |name: &str| fs::read(folder.join(name)).unwrap();
    let judge_at = |time| {
        judge(
            Tee::SevSnp,
            &read("milan-v3-vlek-vmpl1.report.bin"),
            vec![
                read("milan-v3-vlek-vmpl1.vlek.der"),
                read("milan-asvk-ark.pem"),
            ],
            &Collateral::empty(),
            &any_level(),
            at(time),
        )
    };
    judge_at("2025-12-10T00:00:00Z").unwrap();
    for time in ["2025-12-11T00:00:00Z", "2024-12-10T00:00:00Z"] {
        let refusal = judge_at(time).unwrap_err();
        assert_eq!(refusal.check(), CheckName::Validity, "{time}");
    }
}

#[test]
fn certificates_of_other_reports_are_refused() {
    let Some(folder) = shared("vectors/snp") else {
        return;
    };
    let policy = any_level();
    for (vcek, name) in [
        ("invalid-legacy.vcek.der", None),
        ("milan-v2-debug.vcek.der", Some(CheckName::ReportSignature)),
        ("genoa-v5.vcek.pem", Some(CheckName::ReportSignature)),
        ("milan-v3-vlek-vmpl1.vlek.der", Some(CheckName::Certificate)),
        ("milan-asvk-ark.pem", Some(CheckName::Certificate)),
    ] {
        let refusal = snp(&folder, "milan-v2.report.bin", &[vcek], &policy).unwrap_err();
        if let Some(name) = name {
            assert_eq!(refusal.check(), name, "{vcek}");
        }
    }
    let refusal = snp(&folder, "milan-v2.report.bin", &[], &policy).unwrap_err();
    assert_eq!(refusal.check(), CheckName::Certificate);
}

#[test]
fn every_changed_byte_of_every_real_report_is_refused() {
    let Some(folder) = shared("vectors/snp") else {
        return;
    };
    let read = |name: &str| fs::read(folder.join(name)).unwrap();
    let collateral = Collateral::empty();
    let mut policy = any_level();
    policy.debug = tributary_attest::DebugRule::Allowed;
    for (report, endorsements) in [
        ("milan-v2.report.bin", vec![read("milan-v2.vcek.der")]),
        (
            "milan-v2-debug.report.bin",
            vec![read("milan-v2-debug.vcek.der")],
        ),
        (
            "milan-v3-vlek-vmpl1.report.bin",
            vec![
                read("milan-v3-vlek-vmpl1.vlek.der"),
                read("milan-asvk-ark.pem"),
            ],
        ),
        (
            "azure-milan-v3.report.bin",
            vec![read("azure-milan-v3.vcek.pem")],
        ),
        ("genoa-v5.report.bin", vec![read("genoa-v5.vcek.pem")]),
    ] {
        let bytes = read(report);
        let genuine = [
            CheckName::ReportVersion,
            CheckName::Format,
            CheckName::Root,
            CheckName::Certificate,
            CheckName::ReportSignature,
            CheckName::PlatformBinding,
        ];
        judge(
            Tee::SevSnp,
            &bytes,
            endorsements.clone(),
            &collateral,
            &policy,
            now(),
        )
        .unwrap();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << (at % 8);
            let refusal = judge(
                Tee::SevSnp,
                &changed,
                endorsements.clone(),
                &collateral,
                &policy,
                now(),
            )
            .unwrap_err();
            // By what makes a report genuine, and not by what it then says.
            assert!(
                genuine.contains(&refusal.check()),
                "{report} {at:#x}: {refusal}"
            );
        }
    }
}

#[test]
fn a_collateral_folder_stands_in_for_endorsements() {
    let Some(folder) = shared("vectors/snp") else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let milan = dir.path().join("sev-snp/Milan");
    fs::create_dir_all(milan.join("vcek")).unwrap();
    fs::create_dir_all(milan.join("vlek")).unwrap();
    for name in ["milan-v2.vcek.der", "milan-v2-debug.vcek.der"] {
        fs::copy(folder.join(name), milan.join("vcek").join(name)).unwrap();
    }
    let pem = "azure-milan-v3.vcek.pem";
    fs::copy(folder.join(pem), milan.join("vcek").join(pem)).unwrap();
    let vlek = "milan-v3-vlek-vmpl1.vlek.der";
    fs::copy(folder.join(vlek), milan.join("vlek").join(vlek)).unwrap();
    let chain = fs::read_to_string(folder.join("milan-asvk-ark.pem")).unwrap();
    let end = "-----END CERTIFICATE-----\n";
    let (asvk, ark) = chain.split_at(chain.find(end).unwrap() + end.len());
    fs::write(milan.join("asvk.pem"), asvk).unwrap();
    fs::write(milan.join("ark.pem"), ark).unwrap();

    let collateral = Collateral::load(dir.path()).unwrap();
    assert_eq!(
        collateral.to_string(),
        "collateral with 4 SEV-SNP certificates, 0 revocation lists and 0 TDX platforms"
    );
    for report in [
        "milan-v2.report.bin",
        "azure-milan-v3.report.bin",
        "milan-v3-vlek-vmpl1.report.bin",
    ] {
        let bytes = fs::read(folder.join(report)).unwrap();
        let verdict = judge(
            Tee::SevSnp,
            &bytes,
            vec![],
            &collateral,
            &any_level(),
            now(),
        );
        verdict.unwrap_or_else(|refusal| panic!("{report}: {refusal}"));
    }
    let genoa = fs::read(folder.join("genoa-v5.report.bin")).unwrap();
    let refusal = judge(
        Tee::SevSnp,
        &genoa,
        vec![],
        &collateral,
        &any_level(),
        now(),
    )
    .unwrap_err();
    assert_eq!(refusal.check(), CheckName::Certificate);

    // What comes with the evidence goes first, and is not replaced where it does not fit.
    let bytes = fs::read(folder.join("milan-v2.report.bin")).unwrap();
    let other = fs::read(folder.join("milan-v2-debug.vcek.der")).unwrap();
    let refusal = judge(
        Tee::SevSnp,
        &bytes,
        vec![other],
        &collateral,
        &any_level(),
        now(),
    )
    .unwrap_err();
    assert_eq!(refusal.check(), CheckName::ReportSignature);
}

#[test]
fn evidence_of_one_kind_is_not_taken_for_another() {
    let (Some(snp), Some(tdx)) = (shared("vectors/snp"), shared("vectors/tdx")) else {
        return;
    };
    let report = fs::read(snp.join("milan-v2.report.bin")).unwrap();
    let quote = fs::read(tdx.join("v4-uptodate.quote.bin")).unwrap();
    let collateral = Collateral::empty();
    let policy = Policy::default_for_verify();
    for (tee, bytes) in [(Tee::SevSnp, &quote), (Tee::Tdx, &report)] {
        let refusal = judge(tee, bytes, vec![], &collateral, &policy, now()).unwrap_err();
        assert_eq!(refusal.check(), CheckName::ReportVersion);
    }
    for bytes in [&quote, &report] {
        let refusal =
            judge(Tee::Simulated, bytes, vec![], &collateral, &policy, now()).unwrap_err();
        assert_eq!(refusal.check(), CheckName::TeeAllowed);
    }
}
