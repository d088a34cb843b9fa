//! Refusals of the service, with the rule that each follows.

use tributary_protocol::ledger::{ExitFamily, LedgerError, Refusal};
use tributary_protocol::{ContractError, ServiceRefusal, ServiceRefusalCode};

use crate::contracts::BookError;

pub(super) fn refuse(
    code: ServiceRefusalCode,
    message: impl std::fmt::Display,
    hint: impl std::fmt::Display,
) -> ServiceRefusal {
    ServiceRefusal {
        code,
        message: message.to_string(),
        hint: hint.to_string(),
    }
}

pub(super) fn of_book(error: BookError) -> ServiceRefusal {
    match &error {
        BookError::Refused { .. } => refuse(
            ServiceRefusalCode::Revoked,
            &error,
            "talk to the provider; a new contract is needed",
        ),
        BookError::Contract(inner) => of_contract(inner),
        BookError::Io(_) => internal(&error),
        _ => refuse(
            ServiceRefusalCode::Contract,
            &error,
            "have the provider's officer run `agent contract sign`",
        ),
    }
}

pub(super) fn of_contract(error: &ContractError) -> ServiceRefusal {
    refuse(ServiceRefusalCode::Contract, error, error.hint())
}

pub(super) fn of_ledger(error: &LedgerError) -> ServiceRefusal {
    let code = match error.exit() {
        ExitFamily::Contract => ServiceRefusalCode::Run,
        ExitFamily::Budget => ServiceRefusalCode::Budget,
        ExitFamily::Unavailable => ServiceRefusalCode::Ledger,
        ExitFamily::Revoked => ServiceRefusalCode::Revoked,
    };
    refuse(code, error, error.hint())
}

/// A lease that the ledger refuses. Where it ended in a crash of the ledger's keeper, it may stand there without an answer
/// here: then the run goes on after it.
pub(super) fn of_lease(error: &LedgerError) -> ServiceRefusal {
    match error {
        LedgerError::Refused(Refusal::LeaseNotContiguous { .. }) => {
            refuse(ServiceRefusalCode::Rejoin, error, "join the run again")
        }
        _ => of_ledger(error),
    }
}

/// Faults of this agent: its log has the details, the peer gets the outline.
pub(super) fn internal(error: &dyn std::fmt::Display) -> ServiceRefusal {
    tracing::error!(%error, "this agent cannot serve");
    refuse(
        ServiceRefusalCode::Internal,
        format_args!("this agent cannot serve now: {error}"),
        "see the agent's log",
    )
}
