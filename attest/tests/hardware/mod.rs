//! Where the tests find evidence that real machines made.
#![allow(dead_code)]

use std::{path::PathBuf, process::Command};

use chrono::{DateTime, Utc};
use tributary_attest::{
    Collateral, Evidence, Policy, Refusal, Tee, Verdict, danger_appraise_any_report_data,
};

/// A folder of the shared files: under `TRIBUTARY_SHARED`, or beside the workspace. `None`, said aloud, where they are
/// absent; on continuous integration that is a failure.
pub fn shared(folder: &str) -> Option<PathBuf> {
    let default = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let path = std::env::var_os("TRIBUTARY_SHARED")
        .map_or_else(default, PathBuf::from)
        .join(folder);
    if path.is_dir() {
        return Some(path);
    }
    assert!(
        std::env::var_os("CI").is_none(),
        "{} is absent",
        path.display()
    );
    println!("skipped: {} is absent", path.display());
    None
}

/// The folder of a package's source, as cargo has it.
pub fn package(name: &str) -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version=1", "--offline", "--locked"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let found = packages.iter().find(|package| package["name"] == name);
    let manifest = found.unwrap()["manifest_path"].as_str().unwrap();
    PathBuf::from(manifest).parent().unwrap().to_owned()
}

/// Appraises for any report data: real evidence was made for other occasions.
pub fn judge(
    tee: Tee,
    report: &[u8],
    endorsements: Vec<Vec<u8>>,
    collateral: &Collateral,
    policy: &Policy,
    now: DateTime<Utc>,
) -> Result<Verdict, Box<Refusal>> {
    let evidence = Evidence::new(tee, report.to_vec(), endorsements).unwrap();
    danger_appraise_any_report_data(policy, &evidence, collateral, now).map_err(Box::new)
}

pub fn at(time: &str) -> DateTime<Utc> {
    time.parse().unwrap()
}
