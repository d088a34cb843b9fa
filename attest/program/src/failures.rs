//! Which code each error of the library ends with.

use tributary_attest::{CheckName, CollateralError, Refusal, SimulatedError, Tee};
use tributary_console::{Blame, ErrorCode, Failure};

pub(crate) fn simulated_failure(error: SimulatedError) -> Failure {
    let (code, blame, hint) = match &error {
        SimulatedError::Random(_) => (
            ErrorCode::IO,
            Blame::Hardware,
            "check the system's random generator",
        ),
        SimulatedError::Exists { .. } => (
            ErrorCode::FILE_EXISTS,
            Blame::Configuration,
            "choose another place: nothing is overwritten",
        ),
        SimulatedError::Io { .. } => (
            ErrorCode::IO,
            Blame::Hardware,
            "check the path, its permissions and the space left",
        ),
        SimulatedError::Content { .. } => (
            ErrorCode::KEY_UNREADABLE,
            Blame::Configuration,
            "check that it is the right file",
        ),
        SimulatedError::Configuration { .. } => (
            ErrorCode::USAGE,
            Blame::Configuration,
            "name fields as `attest simulated new-platform --json` prints them",
        ),
        SimulatedError::Platform { .. } => (
            ErrorCode::USAGE,
            Blame::Configuration,
            "correct the named value",
        ),
        _ => (
            ErrorCode::INTERNAL,
            Blame::Tributary,
            "report this as a fault of the program",
        ),
    };
    Failure::from_system_cause(&error)
        .unwrap_or_else(|| Failure::from_error(code, &error))
        .hint(hint)
        .blame(blame)
}

/// A folder of collateral that cannot be used.
pub(crate) fn collateral_failure(error: CollateralError) -> Failure {
    Failure::from_system_cause(&error)
        .unwrap_or_else(|| Failure::from_error(ErrorCode::COLLATERAL_UNAVAILABLE, &error))
        .hint("mend or remove the named file: docs/collateral.md has the layout")
        .blame(Blame::Configuration)
}

/// A refusal without its checks.
pub(crate) fn refusal_failure(refusal: &Refusal) -> Failure {
    // How to mend it has a line of its own.
    let message = format!(
        "attestation refused at the check `{}`: expected {}, got {}",
        refusal.check(),
        refusal.expected(),
        refusal.got()
    );
    Failure::new(code_of(refusal), message)
        .hint(refusal.mend())
        .blame(Blame::Peer)
        .details(serde_json::json!({
            "check": refusal.check(),
            "refusal": refusal.code(),
        }))
}

fn code_of(refusal: &Refusal) -> ErrorCode {
    match refusal.check() {
        CheckName::Measurement => ErrorCode::MEASUREMENT_REFUSED,
        CheckName::TeeAllowed if refusal.got().contains(Tee::Simulated.as_str()) => {
            ErrorCode::SIMULATED_REFUSED
        }
        CheckName::ReportData => ErrorCode::EVIDENCE_NOT_BOUND,
        _ => ErrorCode::ATTESTATION_REFUSED,
    }
}
