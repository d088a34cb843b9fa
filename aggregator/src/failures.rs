//! Which code each error of the libraries below ends with, and how to mend it.

use tributary_attest::{CheckName, Tee};
use tributary_console::{Blame, ErrorCode, Failure};
use tributary_protocol::ledger::{ExitFamily, LedgerError, Refusal};
use tributary_protocol::{
    ChannelError, CloseCode, Concern, ContractError, EndpointError, FolderError, HandshakeError,
    IdentityError, RefusalCode, SealingSecretError,
};

use crate::home::{ContractFileError, HomeError};

/// The code of a contract's own refusal.
pub(crate) fn contract_code(error: &ContractError) -> ErrorCode {
    match error {
        ContractError::Unsigned { .. } => ErrorCode::CONTRACT_UNSIGNED,
        ContractError::NotYetInForce { .. } | ContractError::Expired { .. } => {
            ErrorCode::CONTRACT_EXPIRED
        }
        _ => ErrorCode::CONTRACT_INVALID,
    }
}

/// A contract's own refusal.
pub(crate) fn contract_failure(error: ContractError) -> Failure {
    Failure::from_error(contract_code(&error), &error)
        .hint(error.hint())
        .blame(Blame::Contract)
}

/// A contract that cannot be found in the home.
pub(crate) fn contract_file_failure(error: ContractFileError) -> Failure {
    match error {
        ContractFileError::Contract(error) => contract_failure(error),
        ContractFileError::Absent { .. } => Failure::from_error(ErrorCode::CONTRACT_UNKNOWN, &error)
            .hint("register it with `aggregator contract register`, or copy its folder from the home that did")
            .blame(Blame::Configuration),
        ContractFileError::Receipt { .. } => Failure::from_error(ErrorCode::LEDGER_PROOF_REFUSED, &error)
            .hint("register the contract again: the ledger gives the same number and a new receipt"),
        ContractFileError::Io(error) => error.into(),
    }
}

/// A party's folder that cannot be made or opened.
pub(crate) fn folder_failure(error: FolderError) -> Failure {
    let (code, hint) = match &error {
        FolderError::NotAParty { .. } => (
            ErrorCode::FILE_MISSING,
            "name the folder that `aggregator init` made with --home, or make one",
        ),
        FolderError::Identity(IdentityError::Passphrase) => (
            ErrorCode::PASSPHRASE_WRONG,
            "give the file with the passphrase that `aggregator init` was called with",
        ),
        FolderError::Malformed { .. } | FolderError::OtherKey { .. } | FolderError::Identity(_) => {
            (ErrorCode::KEY_UNREADABLE, "restore the file from a backup")
        }
        FolderError::Io(_) => (ErrorCode::IO, "check the folder"),
    };
    if let FolderError::Io(_) = &error
        && let Some(failure) = Failure::from_system_cause(&error)
    {
        return failure;
    }
    Failure::from_error(code, &error)
        .hint(hint)
        .blame(Blame::Configuration)
}

/// A home that cannot be made, or whose sealing key cannot be used.
pub(crate) fn home_failure(error: HomeError) -> Failure {
    match error {
        HomeError::Folder(error) => folder_failure(error),
        HomeError::Sealing(error @ SealingSecretError::Passphrase) => {
            Failure::from_error(ErrorCode::PASSPHRASE_WRONG, &error)
                .hint("give the file with the passphrase that `aggregator init` was called with")
                .blame(Blame::Configuration)
        }
        HomeError::Io(error) => error.into(),
        error => Failure::from_error(ErrorCode::KEY_UNREADABLE, &error)
            .hint("restore sealing.json and sealing.key from a backup")
            .blame(Blame::Configuration),
    }
}

/// A ledger's refusal or silence.
pub(crate) fn ledger_failure(error: LedgerError) -> Failure {
    let code = match &error {
        LedgerError::Refused(refusal) => match refusal {
            Refusal::Unsigned { .. } => ErrorCode::CONTRACT_UNSIGNED,
            Refusal::NotYetInForce { .. } | Refusal::Expired { .. } => ErrorCode::CONTRACT_EXPIRED,
            Refusal::UnknownContract { .. } => ErrorCode::CONTRACT_UNKNOWN,
            Refusal::RunsUsedUp { .. } => ErrorCode::CONTRACT_USED_UP,
            Refusal::AuthorisationRefused { .. } => ErrorCode::AUTHORISATION_REFUSED,
            other => match other.exit() {
                ExitFamily::Contract => ErrorCode::CONTRACT_REFUSED,
                ExitFamily::Budget => ErrorCode::BUDGET_EXHAUSTED,
                ExitFamily::Unavailable => ErrorCode::LEDGER_UNAVAILABLE,
                ExitFamily::Revoked => ErrorCode::REVOKED,
            },
        },
        LedgerError::Unavailable { .. } => ErrorCode::LEDGER_UNAVAILABLE,
        LedgerError::Untrusted { .. } => ErrorCode::LEDGER_PROOF_REFUSED,
    };
    let hint = error.hint();
    Failure::from_error(code, &error).hint(hint)
}

/// A socket or an address that cannot be used.
pub(crate) fn endpoint_failure(error: &EndpointError) -> Failure {
    let code = match error {
        EndpointError::AddressInUse(_) => ErrorCode::ADDRESS_IN_USE,
        EndpointError::PortNotPermitted(_) => ErrorCode::PERMISSION_DENIED,
        EndpointError::AddressSyntax(_) | EndpointError::Setting { .. } => ErrorCode::USAGE,
        _ => ErrorCode::IO,
    };
    Failure::from_error(code, error).blame(Blame::Configuration)
}

/// A channel that did not open, or broke.
pub(crate) fn channel_failure(error: &ChannelError) -> Failure {
    let (code, blame) = match error {
        ChannelError::ClosedByPeer { code, .. } if *code == CloseCode::REVOKED => {
            (ErrorCode::REVOKED, Blame::Contract)
        }
        ChannelError::Handshake(error @ HandshakeError::RefusedByPeer(_)) => {
            (refused_by_peer(error), Blame::Configuration)
        }
        ChannelError::Handshake(HandshakeError::Refused(refusal)) => {
            let code = match &refusal.appraisal {
                Some(appraisal) if refusal.code == RefusalCode::EvidenceRefused => {
                    attestation_code(appraisal)
                }
                _ => refused_here(refusal.code),
            };
            (code, Blame::Peer)
        }
        ChannelError::NoAnswer { .. } | ChannelError::Dial { .. } => {
            (ErrorCode::PEER_ABSENT, Blame::Peer)
        }
        ChannelError::RequestTimeout(_) => (ErrorCode::TIMEOUT, Blame::Peer),
        ChannelError::Malformed { .. }
        | ChannelError::TooLarge { .. }
        | ChannelError::Truncated { .. } => (ErrorCode::PEER_MISBEHAVED, Blame::Peer),
        ChannelError::Local(_) | ChannelError::EndpointClosed => {
            (ErrorCode::INTERNAL, Blame::Tributary)
        }
        _ => (ErrorCode::PEER_LOST, Blame::Peer),
    };
    Failure::from_error(code, error).blame(blame)
}

/// What an appraisal refused.
pub(crate) fn attestation_code(refusal: &tributary_attest::Refusal) -> ErrorCode {
    match refusal.check() {
        CheckName::Measurement => ErrorCode::MEASUREMENT_REFUSED,
        CheckName::TeeAllowed if refusal.got().contains(&Tee::Simulated.to_string()) => {
            ErrorCode::SIMULATED_REFUSED
        }
        CheckName::ReportData => ErrorCode::EVIDENCE_NOT_BOUND,
        _ => ErrorCode::ATTESTATION_REFUSED,
    }
}

fn refused_by_peer(error: &HandshakeError) -> ErrorCode {
    match error.code() {
        None => ErrorCode::REFUSED_BY_PEER,
        Some(code) if code.concern() == Concern::Attestation => ErrorCode::REFUSED_BY_PEER,
        Some(code) => refused_here(code),
    }
}

fn refused_here(code: RefusalCode) -> ErrorCode {
    match code {
        RefusalCode::PartySignature
        | RefusalCode::PartyKeyMismatch
        | RefusalCode::IdentityChanged => ErrorCode::PARTY_REFUSED,
        RefusalCode::AuthorisationRefused => ErrorCode::AUTHORISATION_REFUSED,
        RefusalCode::ContractNotInForce => ErrorCode::CONTRACT_EXPIRED,
        RefusalCode::EvidenceMissing => ErrorCode::ATTESTATION_MISSING,
        RefusalCode::EvidenceNotForThisChannel | RefusalCode::Reflection => {
            ErrorCode::EVIDENCE_NOT_BOUND
        }
        code => match code.concern() {
            Concern::Contract | Concern::Local => ErrorCode::CONTRACT_MISMATCH,
            Concern::Revocation => ErrorCode::REVOKED,
            Concern::Attestation => ErrorCode::ATTESTATION_REFUSED,
            Concern::Protocol => ErrorCode::PEER_MISBEHAVED,
            Concern::Timeout => ErrorCode::TIMEOUT,
        },
    }
}
