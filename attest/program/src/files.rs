//! Files that people hand in, read up to a limit.

use std::{fs::File, io::Read, path::Path};

use tributary_attest::Policy;
use tributary_console::{Blame, ErrorCode, Failure, FailureContext as _};

/// The bytes of a file of at most `limit` bytes.
pub(crate) fn read_limited(file: &Path, limit: usize) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    File::open(file)
        .and_then(|opened| opened.take(limit as u64 + 1).read_to_end(&mut bytes))
        .or_fail(ErrorCode::IO, file.display())?;
    if bytes.len() > limit {
        return Err(malformed(
            file,
            format!("expected at most {limit} bytes, got more"),
        ));
    }
    Ok(bytes)
}

/// A file that is not what it should be.
pub(crate) fn malformed(file: &Path, reason: impl std::fmt::Display) -> Failure {
    Failure::new(
        ErrorCode::EVIDENCE_MALFORMED,
        format!("{}: {reason}", file.display()),
    )
    .hint("check that it is the right file, or have the peer make new evidence")
    .blame(Blame::Configuration)
}

/// A policy: the part of a contract that says what evidence must show.
pub(crate) fn read_policy(file: &Path) -> Result<Policy, Failure> {
    let bytes = read_limited(file, MAX_POLICY)?;
    serde_json::from_slice(&bytes).map_err(|error| {
        Failure::new(
            ErrorCode::POLICY_INVALID,
            format!("{}: {error}", file.display()),
        )
        .hint("state every criterion, with \"any\" for what does not matter")
        .blame(Blame::Configuration)
    })
}

/// A policy with all lists at their limit and every entry as long as can be takes about 2 MiB.
const MAX_POLICY: usize = 4 * 1024 * 1024;
