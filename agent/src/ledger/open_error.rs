//! Why a ledger does not open. All of these end in exit code 13: without a ledger, nothing is served.

use std::io;
use std::path::PathBuf;

use tributary_protocol::ledger::{ApplyError, CheckpointError, EntryError, LedgerError};

/// Why a ledger was not opened or made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LedgerOpenError {
    /// Something is there already.
    #[error("expected no ledger in {0}, found one")]
    Exists(PathBuf),
    /// Nothing is there.
    #[error("expected a ledger in {0}, found none")]
    Missing(PathBuf),
    /// Another process has it open.
    #[error("the ledger in {folder} is open in another process ({holder})")]
    InUse {
        /// The folder.
        folder: PathBuf,
        /// The process, as far as it is known.
        holder: String,
    },
    /// The disk fails.
    #[error("cannot use {path}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system says.
        #[source]
        source: io::Error,
    },
    /// The signed head is not one, or not of this agent.
    #[error("expected the ledger's head, signed by this agent, in {path}")]
    Head {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: CheckpointError,
    },
    /// The log is damaged where entries were answered for.
    #[error("the ledger's log is damaged: {0}")]
    Damaged(String),
    /// A record that does not follow the one before, or is not signed by this agent.
    #[error("record {index} of the ledger's log is not this ledger's: {what}")]
    Record {
        /// Its number, from 1.
        index: u64,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A record that holds no entry.
    #[error("record {index} of the ledger's log holds no entry")]
    Entry {
        /// Its number, from 1.
        index: u64,
        /// What is wrong with it.
        #[source]
        source: EntryError,
    },
    /// Entries that were answered for are gone.
    #[error(
        "expected at least {expected} entries in the ledger's log, as its signed head says, found {found}: it was cut or rolled back"
    )]
    Truncated {
        /// Entries that the head covers.
        expected: u64,
        /// Entries in the log.
        found: u64,
    },
    /// The head is older than a crash explains.
    #[error(
        "expected at most one entry more than the {expected} that the ledger's signed head covers, found {found} entries: the head was rolled back"
    )]
    HeadBehind {
        /// Entries that the head covers.
        expected: u64,
        /// Entries in the log.
        found: u64,
    },
    /// Other entries than the head was signed over.
    #[error("the ledger's log holds other entries than its signed head of {size} entries covers")]
    OtherEntries {
        /// Entries that the head covers.
        size: u64,
    },
    /// Entries that break the rules.
    #[error(transparent)]
    Rules(#[from] ApplyError),
}

impl LedgerOpenError {
    /// A name for programs that no later version changes.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Exists(_) => "ledger.exists",
            Self::Missing(_) => "ledger.missing",
            Self::InUse { .. } => "ledger.in-use",
            Self::Io { .. } => "ledger.disk",
            Self::Head { .. } => "ledger.head",
            Self::Damaged(_) | Self::Record { .. } | Self::Entry { .. } => "ledger.damaged",
            Self::Truncated { .. } | Self::HeadBehind { .. } => "ledger.rolled-back",
            Self::OtherEntries { .. } | Self::Rules(_) => "ledger.altered",
        }
    }

    /// What a person can do about it.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Exists(_) => "use it, or name another folder; a ledger is never overwritten",
            Self::Missing(_) => {
                "check the folder; if the ledger was lost, its contracts are over: a new ledger must not forget what they spent"
            }
            Self::InUse { .. } => "stop the other process, or ask it",
            Self::Io { .. } => "free space or mend the disk, then start again",
            Self::Head { .. } => {
                "use the identity that made this ledger; if the file was changed, keep the folder as evidence"
            }
            Self::Damaged(_)
            | Self::Record { .. }
            | Self::Entry { .. }
            | Self::Truncated { .. }
            | Self::HeadBehind { .. }
            | Self::OtherEntries { .. }
            | Self::Rules(_) => {
                "keep the folder as it is, and mend the disk's content if you can; otherwise have new contracts signed \
                 on a new ledger, because this one can no longer say what was spent"
            }
        }
    }
}

impl From<LedgerOpenError> for LedgerError {
    fn from(error: LedgerOpenError) -> Self {
        Self::Unavailable {
            reason: format!("{error}; {}", error.hint()),
        }
    }
}
