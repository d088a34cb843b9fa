//! Which code each error of the agent's libraries ends with, and how to mend it.

use tributary_console::{Blame, ErrorCode, Failure, IntoFailure};
use tributary_protocol::{ContractError, EndpointError, FolderError, IdentityError};

use crate::contracts::BookError;
use crate::entities::EntitiesError;
use crate::import::ImportError;
use crate::ledger::LedgerOpenError;
use crate::meter::MeterError;
use crate::vault::VaultError;

/// A full disk and the like keep their own codes, whatever was being done.
fn failure(error: &(dyn std::error::Error + 'static), code: ErrorCode) -> Failure {
    Failure::from_system_cause(error).unwrap_or_else(|| Failure::from_error(code, error))
}

pub(crate) fn folder_failure(error: FolderError) -> Failure {
    match &error {
        FolderError::NotAParty { .. } => Failure::from_error(ErrorCode::FILE_MISSING, &error)
            .hint("name the folder that `agent init` made with --home, or make one")
            .blame(Blame::Configuration),
        FolderError::Malformed { .. } => Failure::from_error(ErrorCode::KEY_UNREADABLE, &error)
            .hint("restore the file from a backup")
            .blame(Blame::Configuration),
        FolderError::OtherKey { .. } => Failure::from_error(ErrorCode::KEY_UNREADABLE, &error)
            .hint("put back the identity.pem that belongs to this folder")
            .blame(Blame::Configuration),
        FolderError::Identity(IdentityError::Passphrase) => {
            Failure::from_error(ErrorCode::PASSPHRASE_WRONG, &error)
                .hint("give the file with the passphrase that `agent init` was called with")
                .blame(Blame::Configuration)
        }
        FolderError::Identity(_) => Failure::from_error(ErrorCode::KEY_UNREADABLE, &error)
            .hint("restore identity.pem from a backup")
            .blame(Blame::Configuration),
        FolderError::Io(_) => failure(&error, ErrorCode::IO),
    }
}

pub(crate) fn contract_failure(error: ContractError) -> Failure {
    let code = match &error {
        ContractError::TooLarge(_)
        | ContractError::Json(_)
        | ContractError::Field { .. }
        | ContractError::Envelope(_) => ErrorCode::CONTRACT_INVALID,
        ContractError::Unsigned { .. } => ErrorCode::CONTRACT_UNSIGNED,
        ContractError::NotYetInForce { .. } | ContractError::Expired { .. } => {
            ErrorCode::CONTRACT_EXPIRED
        }
    };
    let hint = error.hint();
    failure(&error, code).hint(hint).blame(Blame::Contract)
}

pub(crate) fn vault_failure(error: VaultError) -> Failure {
    vault_failure_of(&error)
}

pub(crate) fn entities_failure(error: EntitiesError) -> Failure {
    match error {
        EntitiesError::Vault(error) => vault_failure(error),
        error => failure(&error, ErrorCode::DATA_INVALID).blame(Blame::Configuration),
    }
}

/// The messages of the vault say themselves how to mend it.
pub(crate) fn vault_failure_of(error: &VaultError) -> Failure {
    let (code, blame) = match error {
        VaultError::NotBuiltIn { .. } | VaultError::Location(_) => {
            (ErrorCode::USAGE, Blame::Configuration)
        }
        VaultError::NoVault { .. } | VaultError::NoDataset { .. } => {
            (ErrorCode::FILE_MISSING, Blame::Configuration)
        }
        VaultError::VaultExists { .. } | VaultError::DatasetExists(_) => {
            (ErrorCode::FILE_EXISTS, Blame::Configuration)
        }
        VaultError::Passphrase => (ErrorCode::PASSPHRASE_WRONG, Blame::Configuration),
        VaultError::NotTheOwner { .. } => (ErrorCode::KEY_UNREADABLE, Blame::Configuration),
        VaultError::Damaged { .. }
        | VaultError::Manifest { .. }
        | VaultError::PartAltered { .. }
        | VaultError::PartUnreadable { .. } => (ErrorCode::VAULT_ALTERED, Blame::Hardware),
        VaultError::OutOfPlace { .. }
        | VaultError::PartMissing { .. }
        | VaultError::PartSwapped { .. }
        | VaultError::PartRows { .. }
        | VaultError::DataKey { .. } => (ErrorCode::VAULT_INCOMPLETE, Blame::Hardware),
        VaultError::RolledBack { .. } => (ErrorCode::VAULT_ROLLED_BACK, Blame::Hardware),
        VaultError::OtherManifest { .. } => (ErrorCode::CONTRACT_MISMATCH, Blame::Contract),
        VaultError::NoRecords
        | VaultError::TooManyRecords { .. }
        | VaultError::TooManyParts(_)
        | VaultError::OtherColumns { .. }
        | VaultError::Value { .. }
        | VaultError::Schema(_)
        | VaultError::Source(_)
        | VaultError::OutOfRange { .. }
        | VaultError::Batch(_) => (ErrorCode::DATA_INVALID, Blame::Configuration),
        VaultError::Locked | VaultError::Storage { .. } | VaultError::Entropy => {
            (ErrorCode::IO, Blame::Hardware)
        }
    };
    Failure::from_system_cause(error)
        .unwrap_or_else(|| Failure::from_error(code, error).blame(blame))
}

pub(crate) fn import_failure(error: ImportError) -> Failure {
    failure(&error, ErrorCode::DATA_INVALID).blame(Blame::Configuration)
}

impl IntoFailure for BookError {
    fn into_failure(self) -> Failure {
        let error = match self {
            BookError::Contract(error) => return contract_failure(error),
            error => error,
        };
        match &error {
            BookError::NotAParty { .. } => Failure::from_error(
                ErrorCode::CONTRACT_MISMATCH,
                &error,
            )
            .hint("pass the contract that was written for this party, or choose another --home")
            .blame(Blame::Contract),
            BookError::Refused { .. } => Failure::from_error(ErrorCode::CONTRACT_REFUSED, &error)
                .hint("a refusal is final: ask the consumer for a new contract")
                .blame(Blame::Contract),
            BookError::Unknown(_) => Failure::from_error(ErrorCode::CONTRACT_UNKNOWN, &error)
                .hint("sign it with `agent contract sign`")
                .blame(Blame::Contract),
            BookError::Reason(_) => {
                Failure::from_error(ErrorCode::USAGE, &error).blame(Blame::Configuration)
            }
            BookError::Contract(_) | BookError::Io(_) => failure(&error, ErrorCode::IO),
        }
    }
}

impl IntoFailure for MeterError {
    fn into_failure(self) -> Failure {
        let (code, blame) = match &self {
            MeterError::Contract { .. } | MeterError::Officer { .. } | MeterError::Units { .. } => {
                (ErrorCode::BUDGET_EXHAUSTED, Blame::Contract)
            }
            MeterError::Count { .. } => (ErrorCode::USAGE, Blame::Configuration),
            MeterError::OtherDataset(_) | MeterError::Terms { .. } => {
                (ErrorCode::CONTRACT_MISMATCH, Blame::Contract)
            }
            MeterError::Missing { .. } => (ErrorCode::FILE_MISSING, Blame::Hardware),
            MeterError::Exists { .. } => (ErrorCode::FILE_EXISTS, Blame::Configuration),
            MeterError::Damaged { .. } => (ErrorCode::VAULT_ALTERED, Blame::Hardware),
            MeterError::Storage(_) => (ErrorCode::IO, Blame::Hardware),
            MeterError::Accounting(_) => (ErrorCode::CONTRACT_INVALID, Blame::Contract),
        };
        let hint = self.hint();
        Failure::from_system_cause(&self)
            .unwrap_or_else(|| Failure::from_error(code, &self).hint(hint).blame(blame))
    }
}

/// A ledger that does not open. What is damaged is told from what is merely in use.
pub(crate) fn ledger_failure(error: &LedgerOpenError) -> Failure {
    let (code, hint) = match error {
        LedgerOpenError::InUse { .. } => (
            ErrorCode::LEDGER_UNAVAILABLE,
            "one process at a time serves a folder: stop the other, or name another --home",
        ),
        LedgerOpenError::Missing(_) => (
            ErrorCode::FILE_MISSING,
            "restore the folder from a backup; a new ledger would forget what is spent",
        ),
        LedgerOpenError::Exists(_) => (
            ErrorCode::FILE_EXISTS,
            "a ledger is never overwritten: use the one that is there",
        ),
        LedgerOpenError::Io { .. } => (ErrorCode::IO, "check the folder"),
        _ => (
            ErrorCode::LEDGER_DAMAGED,
            "restore the whole folder from its newest backup, and compare its head with the receipts that others hold",
        ),
    };
    Failure::from_system_cause(error).unwrap_or_else(|| {
        Failure::from_error(code, error)
            .hint(hint)
            .blame(Blame::Hardware)
    })
}

/// A socket or an address that cannot be used. The messages say themselves how to mend it.
pub(crate) fn endpoint_failure(error: &EndpointError) -> Failure {
    let code = match error {
        EndpointError::AddressInUse(_) => ErrorCode::ADDRESS_IN_USE,
        EndpointError::PortNotPermitted(_) => ErrorCode::PERMISSION_DENIED,
        EndpointError::AddressSyntax(_) | EndpointError::Setting { .. } => ErrorCode::USAGE,
        _ => ErrorCode::IO,
    };
    Failure::from_error(code, error).blame(Blame::Configuration)
}
