//! `attest verify` and `attest show` with real reports, quotes and certificates, as a user calls them.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;

use chrono::{DateTime, Utc};
use serde_json::Value;
use tributary_attest_program::program_at;
use tributary_console::{Console, run_with};

use support::vectors;

/// Runs a command line in which `@` stands for the folder of vectors.
fn attest(folder: &std::path::Path, line: &str) -> (u8, Value) {
    let at = |word: &str| word.replace('@', &format!("{}/", folder.display()));
    let words = line.split_whitespace().map(at);
    let args = ["attest".to_owned(), "--json".to_owned()]
        .into_iter()
        .chain(words);
    let (console, captured) = Console::captured(true);
    let exit = run_with(args, &console, |line, console| {
        program_at(line, console, now())
    });
    let json = serde_json::from_str(&captured.stdout()).unwrap();
    (exit.code(), json)
}

/// Every certificate of the vectors is in date.
fn now() -> DateTime<Utc> {
    "2025-11-20T12:00:00Z".parse().unwrap()
}

fn check<'a>(json: &'a Value, name: &str) -> Vec<&'a Value> {
    json["data"]["checks"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|check| check["name"] == name)
        .map(|check| &check["result"])
        .collect()
}

#[test]
fn genuine_reports_and_quotes_are_accepted() {
    let Some(folder) = vectors() else { return };
    for (line, tee) in [
        (
            "--evidence @snp/milan-v2.report.bin --endorsement @snp/milan-v2.vcek.der",
            "sev-snp",
        ),
        (
            "--evidence @snp/azure-milan-v3.report.bin --endorsement @snp/azure-milan-v3.vcek.pem",
            "sev-snp",
        ),
        (
            "--evidence @snp/genoa-v5.report.bin --endorsement @snp/genoa-v5.vcek.pem",
            "sev-snp",
        ),
        (
            "--evidence @tdx/v4-uptodate.quote.bin --endorsement @tdx/v4-uptodate.collateral.json --time 1751000000",
            "tdx",
        ),
    ] {
        let (code, json) = attest(&folder, &format!("verify {line}"));
        assert_eq!(code, 0, "{line}: {json}");
        assert_eq!(json["data"]["verdict"], "accepted");
        assert_eq!(json["data"]["tee"], tee);
        assert_eq!(json["data"]["measurement"].as_str().unwrap().len(), 96);
        assert!(json["data"]["tier"].is_string());
        for open in ["measurement", "report-data"] {
            assert_eq!(check(&json, open), ["not_checked"], "{open}");
        }
    }
}

#[test]
fn what_a_default_policy_must_refuse_is_refused_by_name() {
    let Some(folder) = vectors() else { return };
    for (line, failed) in [
        (
            "--evidence @snp/milan-v2-debug.report.bin --endorsement @snp/milan-v2-debug.vcek.der",
            "debug",
        ),
        (
            "--evidence @snp/milan-v3-vlek-vmpl1.report.bin --endorsement @snp/milan-v3-vlek-vmpl1.vlek.der --endorsement @snp/milan-asvk-ark.pem",
            "vmpl",
        ),
        (
            "--evidence @snp/milan-v2.report.bin --endorsement @snp/invalid-legacy.vcek.der",
            "certificate",
        ),
        ("--evidence @snp/milan-v2.report.bin", "certificate"),
        (
            "--evidence @snp/milan-v2.report.bin --endorsement @snp/milan-v2.vcek.der --report-data 00",
            "usage",
        ),
        (
            "--evidence @tdx/v4-uptodate.quote.bin --endorsement @tdx/v4-uptodate.collateral.json --time 1761000000",
            "validity",
        ),
        (
            "--evidence @tdx/v4-uptodate.quote.bin --endorsement @tdx/v4-uptodate.collateral.json --time 1740000000",
            "validity",
        ),
        (
            "--evidence @tdx/v4-no-matching-tcb.quote.bin --endorsement @tdx/v4-no-matching-tcb.collateral.json --time 1751000000",
            "validity",
        ),
        (
            "--evidence @tdx/v4-debug-parse-only.quote.bin --time 1751000000",
            "certificate",
        ),
        (
            "--evidence @tdx/v4-no-matching-tcb.quote.bin --endorsement @tdx/v4-no-matching-tcb.collateral.json --time 2026-03-01T00:00:00Z",
            "tdx-tcb-status",
        ),
        ("--evidence @tdx/v4-spr-parse-only.quote.bin", "format"),
    ] {
        let (code, json) = attest(&folder, &format!("verify {line}"));
        if failed == "usage" {
            assert_eq!(code, 2, "{line}: {json}");
            continue;
        }
        assert_eq!(code, 10, "{line}: {json}");
        assert_eq!(json["status"], "refused");
        assert_eq!(json["data"]["verdict"], "refused");
        assert_eq!(check(&json, failed), ["fail"], "{line}: {json}");
    }
}

#[test]
fn report_data_is_compared_where_it_is_given() {
    let Some(folder) = vectors() else { return };
    let report = fs::read(folder.join("snp/milan-v2.report.bin")).unwrap();
    let line = "verify --evidence @snp/milan-v2.report.bin --endorsement @snp/milan-v2.vcek.der";
    let stated = hex::encode(&report[0x50..0x90]);
    let (code, json) = attest(&folder, &format!("{line} --report-data {stated}"));
    assert_eq!(
        (code, check(&json, "report-data")),
        (0, vec![&"pass".into()])
    );
    let other = "07".repeat(64);
    let (code, json) = attest(&folder, &format!("{line} --report-data {other}"));
    assert_eq!(
        (code, check(&json, "report-data")),
        (10, vec![&"fail".into()])
    );
}

#[test]
fn evidence_of_hardware_is_as_old_as_its_report_data_is_said_to_be() {
    let Some(folder) = vectors() else { return };
    let report = fs::read(folder.join("snp/milan-v2.report.bin")).unwrap();
    let measurement = hex::encode(&report[0x90..0xc0]);
    let data = hex::encode(&report[0x50..0x90]);
    let policy = folder_with_constraint(&format!("C:{measurement} SEC:SECURE AGE:P1D"));
    let line = format!(
        "verify --evidence @snp/milan-v2.report.bin --endorsement @snp/milan-v2.vcek.der --policy {}",
        policy.path().join("policy.json").display()
    );
    for (dated, code) in [
        (String::new(), 10),
        (format!("--report-data {data}"), 10),
        (
            format!("--report-data {data} --report-data-since 2025-11-20T00:00:00Z"),
            0,
        ),
        (
            format!("--report-data {data} --report-data-since 2025-11-19T00:00:00Z"),
            10,
        ),
        ("--report-data-since 2025-11-20T00:00:00Z".to_owned(), 2),
    ] {
        let (got, json) = attest(&folder, &format!("{line} {dated}"));
        assert_eq!(got, code, "{dated}: {json}");
        if code != 2 {
            let expected = if code == 0 { "pass" } else { "fail" };
            assert_eq!(check(&json, "age"), [expected], "{dated}");
        }
    }
}

/// A folder with the policy that a constraint stands for: command lines here are split at spaces.
fn folder_with_constraint(constraint: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let policy = tributary_attest::Policy::from_constraint(constraint).unwrap();
    let json = serde_json::to_vec(&policy).unwrap();
    fs::write(folder.path().join("policy.json"), json).unwrap();
    folder
}

#[test]
fn a_quote_and_a_report_are_never_taken_for_each_other() {
    let Some(folder) = vectors() else { return };
    for line in [
        "--evidence @snp/milan-v2.vcek.der",
        "--evidence @tdx/v4-uptodate.collateral.json",
        "--evidence @snp/milan-v2.report.bin --endorsement @tdx/v4-uptodate.quote.bin",
        "--evidence @README.md",
    ] {
        let (code, json) = attest(&folder, &format!("verify {line}"));
        assert_eq!(code, 1, "{line}");
        assert_eq!(json["error"]["code"], "evidence-malformed");
    }
    for line in [
        "--evidence @snp/milan-v2.report.bin --endorsement @tdx/v4-uptodate.collateral.json",
        "--evidence @tdx/v4-uptodate.quote.bin --endorsement @snp/milan-v2.vcek.der",
    ] {
        assert_eq!(attest(&folder, &format!("verify {line}")).0, 10, "{line}");
    }
}

#[test]
fn every_vector_can_be_shown() {
    let Some(folder) = vectors() else { return };
    let mut shown = 0;
    for kind in ["snp", "tdx"] {
        for entry in fs::read_dir(folder.join(kind)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if name.ends_with(".json") {
                continue;
            }
            let (code, json) = attest(&folder, &format!("show @{kind}/{name}"));
            assert_eq!(code, 0, "{name}: {json}");
            assert_eq!(json["data"]["verified"], false);
            shown += 1;
        }
    }
    assert_eq!(shown, 16);
    let (_, json) = attest(&folder, "show @snp/milan-v2.vcek.der");
    let platform = &json["data"]["certificates"][0]["platform"];
    assert!(platform["product"].as_str().unwrap().starts_with("Milan"));
    assert_eq!(platform["hardware_id"].as_str().unwrap().len(), 128);
    let (_, json) = attest(&folder, "show @snp/milan-asvk-ark.pem");
    assert_eq!(json["data"]["certificates"].as_array().unwrap().len(), 2);
}
