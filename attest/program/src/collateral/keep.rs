//! Verifying what came, and putting it in its place.

use std::{
    fs,
    path::{Path, PathBuf},
};

use chrono::{DateTime, Utc};
use tributary_attest::{
    Check, CheckName, CheckResult, Collateral, Evidence, Policy, TdxCollateral, TdxCollateralError,
    danger_appraise_any_report_data,
};
use tributary_console::{Blame, ErrorCode, Failure, FailureContext as _};
use tributary_durable::{Readers, replace};

use super::{fetch::Fetched, plan::Plan};
use crate::failures::collateral_failure;

/// Writes the files below the folder, once all of them verify; gives the places where they lie.
///
/// They are laid out in a folder beside and read as any collateral is, which holds certificates and lists against AMD's
/// root; Intel's documents are held against its root; and the evidence that they were fetched for is appraised with them.
pub(super) fn keep(
    folder: &Path,
    files: Vec<Fetched>,
    plan: &Plan,
    now: DateTime<Utc>,
) -> Result<Vec<PathBuf>, Failure> {
    fs::create_dir_all(folder).or_fail(ErrorCode::IO, folder.display())?;
    // The name begins with a dot, which a reader of the folder passes over.
    let staging = tempfile::Builder::new()
        .prefix(".fetching-")
        .tempdir_in(folder)
        .or_fail(ErrorCode::IO, folder.display())?;
    for file in &files {
        write(staging.path(), file)?;
    }
    let staged = Collateral::load(staging.path()).map_err(|error| {
        Failure::from_error(ErrorCode::COLLATERAL_UNAVAILABLE, &error)
            .hint("what the service sent does not verify, and nothing was kept: check its address, or try again later")
            .blame(Blame::Peer)
    })?;
    if let Some(outdated) = staged.outdated(now) {
        return Err(not_kept(format!("what came is not in date: {outdated}")));
    }
    for file in files.iter().filter(|file| file.path.starts_with("tdx")) {
        check_intel(file, plan, now)?;
    }
    for (path, evidence) in &plan.evidence {
        check(path, evidence, &staged, now)?;
    }
    // A folder that cannot be read holds nothing to be kept: what comes may be what mends it.
    if let Ok(held) = Collateral::load(folder)
        && let Some(setback) = staged.predates(&held)
    {
        return Err(not_kept(format!("what came is no news: {setback}"))
            .hint("nothing was kept: ask another service, or remove what is in the folder if it is at fault"));
    }
    let mut written = Vec::new();
    for file in &files {
        written.push(write(folder, file)?);
    }
    // What was there before may be at fault: better said now than when a service starts.
    Collateral::load(folder).map_err(collateral_failure)?;
    Ok(written)
}

fn write(folder: &Path, file: &Fetched) -> Result<PathBuf, Failure> {
    let path = folder.join(&file.path);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).or_fail(ErrorCode::IO, parent.display())?;
    }
    replace(&path, &file.bytes, Readers::Anyone).or_fail(ErrorCode::IO, "the collateral")?;
    Ok(path)
}

/// AMD's lists were held against its root when they were read; Intel's documents are, with or without a quote, before they
/// take the place of others.
fn check_intel(file: &Fetched, plan: &Plan, now: DateTime<Utc>) -> Result<(), Failure> {
    let fault = |error| not_kept(format!("what came for {}: {error}", file.path.display()));
    let unsigned = |error: TdxCollateralError| fault(error.to_string());
    let collateral = TdxCollateral::parse(&file.bytes).map_err(unsigned)?;
    collateral.check_signed(now).map_err(unsigned)?;
    let authority = collateral.platform_authority().map_err(unsigned)?;
    let fmspc = collateral.fmspc();
    let asked = plan
        .platforms
        .iter()
        .filter(|(own, _)| own.0 == *fmspc.as_bytes());
    for (_, ca) in asked {
        if !authority.to_lowercase().contains(&format!("pck {ca} ca")) {
            return Err(fault(format!(
                "expected the revocation list of Intel's authority for {ca} certificates, got that of {authority}"
            )));
        }
    }
    Ok(())
}

fn not_kept(message: String) -> Failure {
    Failure::new(ErrorCode::COLLATERAL_UNAVAILABLE, message)
        .hint("nothing was kept: check the service's address and this machine's clock")
        .blame(Blame::Peer)
}

/// Evidence that is refused for what it states, such as debugging, shows all the same that its signer is certified.
fn check(
    path: &Path,
    evidence: &Evidence,
    staged: &Collateral,
    now: DateTime<Utc>,
) -> Result<(), Failure> {
    let policy = Policy::default_for_verify();
    let checks = match danger_appraise_any_report_data(&policy, evidence, staged, now) {
        Ok(verdict) => verdict.checks,
        Err(refusal) => refusal.checks().to_vec(),
    };
    match checks.iter().find(|check| is_fault(check)) {
        None => Ok(()),
        Some(check) => Err(Failure::new(
            ErrorCode::COLLATERAL_UNAVAILABLE,
            format!(
                "what came does not verify {}: at the check `{}` expected {}, got {}",
                path.display(),
                check.name,
                check.expected,
                check.got
            ),
        )
        .hint("nothing was kept: check the evidence and the service's address")
        .blame(Blame::Peer)),
    }
}

fn is_fault(check: &Check) -> bool {
    check.result == CheckResult::Fail && GENUINENESS.contains(&check.name)
}

const GENUINENESS: [CheckName; 8] = [
    CheckName::ReportVersion,
    CheckName::Format,
    CheckName::Root,
    CheckName::Certificate,
    CheckName::ReportSignature,
    CheckName::PlatformBinding,
    CheckName::Validity,
    CheckName::Revocation,
];
