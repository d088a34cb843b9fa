//! The program `attest`, called as its `main` calls it.
#![allow(clippy::unwrap_used)]

use std::{fs, path::Path};

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;
use tributary_attest::{
    Attester, LaunchConfig, Measurement, Policy, ReportData, SimulatedPlatform, SimulatedRoot,
    SimulatedRootKey,
};
use tributary_attest_program::program_at;
use tributary_console::{Console, run_with};

struct Ran {
    code: u8,
    stdout: String,
    stderr: String,
}

impl Ran {
    fn json(&self) -> Value {
        let json: Value = serde_json::from_str(&self.stdout).unwrap();
        assert_eq!(json["schema_version"], 1);
        assert_eq!(self.stdout.lines().count(), 1);
        json
    }
}

fn attest(folder: &Path, line: &str) -> Ran {
    let at = |word: &str| word.replace("@", &format!("{}/", folder.display()));
    let args = std::iter::once("attest".to_owned()).chain(line.split_whitespace().map(at));
    let (console, captured) = Console::captured(line.contains("--json"));
    let exit = run_with(args, &console, |line, console| {
        program_at(line, console, now())
    });
    Ran {
        code: exit.code(),
        stdout: captured.stdout(),
        stderr: captured.stderr(),
    }
}

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_795_000_000, 0).unwrap()
}

/// A folder with a root, a platform, evidence of a program and a policy that accepts it.
fn federation() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    assert_eq!(attest(path, "simulated new-root --out @fed").code, 0);
    assert_eq!(
        attest(
            path,
            "simulated new-platform --root @fed --name agent-1 --out @platform"
        )
        .code,
        0
    );
    fs::write(path.join("program"), "a program").unwrap();
    let measurement = Measurement::of_bytes(b"a program");
    let evidence = SimulatedPlatform::load(&path.join("platform"))
        .unwrap()
        .launch(measurement, LaunchConfig::default())
        .with_clock(now)
        .attest(&ReportData::new([7; 64]))
        .unwrap();
    fs::write(path.join("evidence"), evidence.to_bytes()).unwrap();
    let root = SimulatedRootKey::load(&path.join("fed/root.pub")).unwrap();
    let policy = serde_json::to_vec(&Policy::simulated(root, [measurement])).unwrap();
    fs::write(path.join("policy"), policy).unwrap();
    folder
}

fn verify(data: u8) -> String {
    let data = hex::encode([data; 64]);
    format!("verify --evidence @evidence --policy @policy --report-data {data}")
}

#[test]
fn verify_accepts_what_the_policy_accepts() {
    let folder = federation();
    let ran = attest(folder.path(), &verify(7));
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    assert!(
        ran.stdout.contains("pass         measurement"),
        "{}",
        ran.stdout
    );
    assert!(
        ran.stdout.contains("not checked  chip-id"),
        "{}",
        ran.stdout
    );
    assert!(
        ran.stdout.contains("SIMULATED: no hardware vouches"),
        "{}",
        ran.stdout
    );

    let json = attest(folder.path(), &format!("{} --json", verify(7))).json();
    assert_eq!(json["status"], "ok");
    assert_eq!(json["data"]["verdict"], "accepted");
    assert_eq!(json["data"]["tier"], "INSECURE");
    assert_eq!(json["data"]["tee"], "simulated");
    assert_eq!(
        json["data"]["measurement"],
        Measurement::of_bytes(b"a program").to_string()
    );
}

#[test]
fn verify_refuses_with_code_10_and_says_why() {
    let folder = federation();
    let ran = attest(folder.path(), &verify(8));
    assert_eq!(ran.code, 10);
    assert!(
        ran.stderr
            .starts_with("error: attestation refused at the check `report-data`")
    );
    assert!(
        ran.stdout.contains("FAIL         report-data"),
        "{}",
        ran.stdout
    );

    let ran = attest(folder.path(), &format!("{} --json", verify(8)));
    let json = ran.json();
    assert_eq!((ran.code, ran.stderr.as_str()), (10, ""));
    assert_eq!(json["status"], "refused");
    assert_eq!(json["data"]["verdict"], "refused");
    assert_eq!(json["error"]["code"], "evidence-not-bound");
    assert_eq!(
        json["error"]["details"]["refusal"],
        "attestation-report-data"
    );
    assert!(
        json["error"]["hint"]
            .as_str()
            .unwrap()
            .contains("connect anew")
    );
    assert_eq!(json["data"]["verdict"], "refused");
    assert!(json["data"]["checks"].as_array().unwrap().len() > 10);
}

#[test]
fn verify_takes_the_time_in_both_spellings() {
    let folder = federation();
    let later = now() + TimeDelta::seconds(301);
    for (time, code) in [
        (now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true), 0),
        (now().timestamp().to_string(), 0),
        (later.timestamp().to_string(), 10),
        ("yesterday".to_owned(), 2),
    ] {
        let ran = attest(folder.path(), &format!("{} --time {time}", verify(7)));
        assert_eq!(ran.code, code, "{time}: {}", ran.stderr);
    }
}

#[test]
fn files_that_are_not_what_they_should_be_are_failures() {
    let folder = federation();
    let path = folder.path();
    fs::write(path.join("evidence"), [0; 100]).unwrap();
    let ran = attest(path, &format!("{} --json", verify(7)));
    assert_eq!(
        (ran.code, ran.json()["error"]["code"].as_str()),
        (1, Some("evidence-malformed"))
    );

    fs::write(path.join("evidence"), vec![0; 70_000]).unwrap();
    let ran = attest(path, &format!("{} --json", verify(7)));
    assert_eq!(
        (ran.code, ran.json()["error"]["code"].as_str()),
        (1, Some("evidence-malformed"))
    );

    fs::remove_file(path.join("evidence")).unwrap();
    assert_eq!(attest(path, "show @evidence").code, 1);

    let folder = federation();
    fs::write(folder.path().join("policy"), "{}").unwrap();
    let ran = attest(folder.path(), &verify(7));
    assert_eq!(ran.code, 1);
    assert!(
        ran.stderr.contains("missing field `tees`"),
        "{}",
        ran.stderr
    );
}

#[test]
fn show_says_that_nothing_is_verified() {
    let folder = federation();
    let ran = attest(folder.path(), "show @evidence");
    assert_eq!(ran.code, 0);
    assert!(
        ran.stdout.contains("UNVERIFIED") && ran.stdout.contains("SIMULATED"),
        "{}",
        ran.stdout
    );
    let json = attest(folder.path(), "show @evidence --json").json();
    assert_eq!(json["data"]["verified"], false);
    assert_eq!(json["data"]["claims"]["platform"]["sev-snp"]["vmpl"], 0);
}

#[test]
fn measure_prints_the_reference_value() {
    let folder = federation();
    let ran = attest(folder.path(), "measure simulated @program");
    assert_eq!(
        ran.stdout,
        format!("{}\n", Measurement::of_bytes(b"a program"))
    );
    assert_eq!(attest(folder.path(), "measure sgx @program").code, 2);
}

#[test]
fn nothing_is_overwritten() {
    let folder = federation();
    let before = fs::read(folder.path().join("fed/root.key")).unwrap();
    let ran = attest(folder.path(), "simulated new-root --out @fed --json");
    assert_eq!(
        (ran.code, ran.json()["error"]["code"].as_str()),
        (1, Some("file-exists"))
    );
    assert_eq!(
        fs::read(folder.path().join("fed/root.key")).unwrap(),
        before
    );
    let again = "simulated new-platform --root @fed --name agent-1 --out @platform";
    assert_eq!(attest(folder.path(), again).code, 1);
}

#[cfg(unix)]
#[test]
fn private_keys_are_for_their_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let folder = federation();
    for file in ["fed/root.key", "platform"] {
        let mode = fs::metadata(folder.path().join(file))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
}

#[test]
fn a_platform_is_made_as_asked() {
    let folder = federation();
    let path = folder.path();
    let chip = "0b".repeat(64);
    fs::write(
        path.join("hardware"),
        format!(r#"{{"sev-snp": {{"chip_id": "{chip}", "reported_tcb": {{"microcode": 0}}}}}}"#),
    )
    .unwrap();
    fs::write(path.join("launch"), r#"{"sev-snp": {"vmpl": 2}}"#).unwrap();
    let line = "simulated new-platform --root @fed --name other --out @other --hardware @hardware \
                --launch @launch --days 2 --json";
    let json = attest(path, line).json();
    assert_eq!(json["data"]["identity"], chip);
    assert_eq!(json["data"]["not_after"], "2026-11-20T11:06:40Z");
    assert_eq!(json["data"]["launch"]["sev-snp"]["vmpl"], 2);
    let loaded = SimulatedPlatform::load(&path.join("other")).unwrap();
    assert_eq!(loaded.name(), "other");
    assert_eq!(
        serde_json::json!(loaded.hardware()),
        json["data"]["hardware"]
    );
    assert_eq!(
        serde_json::json!(loaded.launch_defaults()),
        json["data"]["launch"]
    );
    assert_eq!(loaded.not_after(), now() + TimeDelta::days(2));

    let tdx = "simulated new-platform --root @fed --name td --out @td --plays tdx --json";
    let json = attest(path, tdx).json();
    assert!(
        json["data"]["hardware"]["tdx"]["tcb"]["status"] == "UpToDate",
        "{json}"
    );

    fs::write(path.join("unfit"), r#"{"sev-snp": {"product": "turin"}}"#).unwrap();
    fs::write(path.join("unknown"), r#"{"sev-snp": {"surprise": 1}}"#).unwrap();
    for wrong in [
        "--name a/b",
        "--name ok --plays simulated",
        "--name ok --plays tdx --hardware @hardware",
        "--name ok --plays tdx --launch @launch",
        "--name ok --hardware @unfit",
        "--name ok --hardware @unknown",
        "--name ok --launch @unknown",
        "--name ok --launch @nothing",
    ] {
        let line = format!("simulated new-platform --root @fed --out @third {wrong}");
        let code = attest(path, &line).code;
        assert!([1, 2].contains(&code), "{wrong}: {code}");
        assert!(!path.join("third").exists());
    }
}

#[test]
fn a_platform_file_with_another_key_or_a_cut_end_is_refused() {
    let folder = federation();
    let path = folder.path();
    let platform = fs::read_to_string(path.join("platform")).unwrap();
    let root_key = fs::read_to_string(path.join("fed/root.key")).unwrap();
    let (_, certificate) = platform.split_once("-----END PRIVATE KEY-----\n").unwrap();
    for (text, said) in [
        (
            format!("{root_key}{certificate}"),
            "a certificate for another key",
        ),
        (root_key.clone(), "no certificate"),
        (
            platform[..platform.len() - 2].to_owned(),
            "a launch without end",
        ),
        (
            platform.replace("END TRIBUTARY SIMULATED PLATFORM", "END"),
            "a certificate without end",
        ),
        (format!("x{platform}"), ""),
    ] {
        fs::write(path.join("changed"), text).unwrap();
        let error = SimulatedPlatform::load(&path.join("changed"))
            .unwrap_err()
            .to_string();
        assert!(error.contains(said), "{error}");
    }
}

#[test]
fn a_root_reads_back() {
    let folder = federation();
    let root = SimulatedRoot::load(&folder.path().join("fed")).unwrap();
    let public = SimulatedRootKey::load(&folder.path().join("fed/root.pub")).unwrap();
    assert_eq!(root.public_key(), public);
    assert_eq!(format!("{root:?}"), "SimulatedRoot");
    assert!(SimulatedRootKey::load(&folder.path().join("fed/root.key")).is_err());
    assert!(SimulatedRoot::load(folder.path()).is_err());
}

#[test]
fn help_is_a_result_and_usage_an_error() {
    let folder = tempfile::tempdir().unwrap();
    for line in ["--help", "verify --help", "simulated new-root --help"] {
        let ran = attest(folder.path(), line);
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
        assert!(ran.stdout.contains("Example"), "{line}");
    }
    let ran = attest(folder.path(), "verify --policy only");
    assert_eq!((ran.code, ran.stdout.as_str()), (2, ""));
}

/// How the check of this name ended.
fn result(json: &Value, name: &str) -> Option<String> {
    let checks = json["data"]["checks"].as_array()?;
    let check = checks.iter().find(|check| check["name"] == name)?;
    check["result"].as_str().map(str::to_owned)
}

#[test]
fn report_data_that_nobody_names_is_said_to_be_unchecked() {
    let folder = federation();
    let line = "verify --evidence @evidence --policy @policy --json";
    let ran = attest(folder.path(), line);
    assert_eq!(ran.code, 0, "{}", ran.stdout);
    assert_eq!(result(&ran.json(), "report-data").unwrap(), "not_checked");
}

#[test]
fn without_a_policy_hardware_is_asked_for() {
    let folder = federation();
    let ran = attest(folder.path(), "verify --evidence @evidence --json");
    let json = ran.json();
    assert_eq!(
        (ran.code, result(&json, "tee").unwrap().as_str()),
        (10, "fail")
    );
    assert_eq!(json["error"]["code"], "simulated-refused");
    assert_eq!(json["data"]["verdict"], "refused");
}

#[test]
fn a_platform_that_is_taken_back_is_refused_by_whoever_has_the_list() {
    let dir = federation();
    let revoke = "simulated revoke --root @fed --out @held/simulated/federation.crl";
    let judged = |folder: &Path| attest(folder, &format!("{} --collateral @held", verify(7)));
    fs::create_dir_all(dir.path().join("held/simulated")).unwrap();
    assert_eq!(attest(dir.path(), revoke).code, 0);
    assert_eq!(judged(dir.path()).code, 0);
    for named in ["--platform @platform", "--evidence @evidence"] {
        let ran = attest(dir.path(), &format!("{revoke} {named} --json"));
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        assert_eq!(ran.json()["data"]["platforms"].as_array().unwrap().len(), 1);
        let ran = judged(dir.path());
        assert_eq!(ran.code, 10, "{}", ran.stderr);
        assert!(ran.stderr.contains("revocation"), "{}", ran.stderr);
    }
    // A list counts for its days only.
    assert_eq!(attest(dir.path(), &format!("{revoke} --days 1")).code, 0);
    assert_eq!(judged(dir.path()).code, 0);
    let later = format!("{} --collateral @held --time 1795086401", verify(7));
    let ran = attest(dir.path(), &later);
    assert_eq!(ran.code, 10);
    let said = "a revocation list that is current";
    assert!(ran.stderr.contains(said), "{}", ran.stderr);
}

#[test]
fn a_constraint_is_a_policy_in_one_line() {
    let folder = federation();
    let root = fs::read_to_string(folder.path().join("fed/root.pub")).unwrap();
    let measurement = Measurement::of_bytes(b"a program");
    let verify = |constraint: &str| {
        let (console, captured) = Console::captured(true);
        let evidence = folder.path().join("evidence").display().to_string();
        let args = ["attest", "verify", "--json", "--evidence", &evidence];
        let args = args.into_iter().chain(["--constraint", constraint]);
        let exit = run_with(args, &console, |line, console| {
            program_at(line, console, now())
        });
        (exit.code(), captured.stdout())
    };
    let root = root.trim();
    let (code, out) = verify(&format!("C:{measurement} SEC:INSECURE ROOT:{root}"));
    assert_eq!(code, 0, "{out}");
    let (code, out) = verify(&format!("C:{measurement} SEC:SECURE"));
    assert_eq!(code, 10, "{out}");
    let (code, out) = verify("C:nothing");
    assert_eq!(code, 1, "{out}");
    assert!(out.contains("policy-invalid"), "{out}");
    let both = attest(
        folder.path(),
        "verify --evidence @evidence --policy @policy --constraint C:00",
    );
    assert_eq!(both.code, 2);
}

#[test]
fn doctor_says_what_the_machine_produces() {
    let folder = tempfile::tempdir().unwrap();
    let ran = attest(folder.path(), "doctor --json --root @");
    let json = ran.json();
    assert_eq!((ran.code, &json["data"]["produces"]), (0, &Value::Null));
    let findings = json["data"]["findings"].as_array().unwrap();
    assert!(findings.iter().any(|finding| {
        finding["name"] == "configfs"
            && finding["state"] == "absent"
            && finding["mend"].as_str().unwrap().starts_with("mount")
    }));
    let ran = attest(folder.path(), "doctor --root @");
    assert!(
        ran.stdout.contains("produces no evidence"),
        "{}",
        ran.stdout
    );
}

#[test]
fn files_of_another_kind_are_refused_by_name() {
    let folder = federation();
    fs::write(folder.path().join("text"), "no evidence").unwrap();
    for line in [
        "verify --evidence @text",
        "verify --evidence @evidence --policy @policy --endorsement @text",
        "verify --evidence @evidence --policy @policy --endorsement @evidence",
        "verify --evidence @policy --policy @policy",
        "show @text",
        "show @policy",
    ] {
        let ran = attest(folder.path(), &format!("{line} --json"));
        assert_eq!(ran.code, 1, "{line}");
        assert_eq!(ran.json()["error"]["code"], "evidence-malformed", "{line}");
    }
}
