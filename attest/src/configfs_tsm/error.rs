//! Why configfs-tsm gave no report; the fault is in the own machine.

use std::{io, path::PathBuf};

/// Why the kernel's report interface gave no usable report.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TsmError {
    /// The folder of the interface is not there.
    #[error(
        "expected the kernel's report interface at {}, found none: mount configfs and load sev-guest or tdx-guest, with Linux 6.7 or later", folder.display()
    )]
    Absent {
        /// The folder.
        folder: PathBuf,
    },
    /// The interface is there, and no driver serves it.
    #[error(
        "the kernel's report interface has no provider: load the driver sev-guest or tdx-guest, inside a confidential machine"
    )]
    NoProvider,
    /// Another kind of machine answers than the one that was asked.
    #[error("expected reports of the provider {expected}, this machine's provider is {got:?}")]
    Provider {
        /// The provider that was asked for.
        expected: &'static str,
        /// The provider that answered.
        got: String,
    },
    /// The privilege level is above the program's own.
    #[error(
        "expected a privilege level of {floor} to 3, which this machine may state, got {asked}: ask for one of these"
    )]
    PrivilegeLevel {
        /// The level that was asked for.
        asked: u8,
        /// The least number that the kernel takes.
        floor: u8,
    },
    /// The request's folder cannot be made or removed.
    #[error("a request under {} could not be {done}: run as a user who may write there", folder.display())]
    Folder {
        /// The folder of the interface.
        folder: PathBuf,
        /// What was tried.
        done: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// An attribute cannot be read or written.
    #[error("the kernel's report attribute {attribute} could not be {done}")]
    Attribute {
        /// The attribute.
        attribute: &'static str,
        /// What was tried.
        done: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// An attribute holds more than a report can have.
    #[error(
        "expected at most {limit} bytes in the kernel's report attribute {attribute}, got more"
    )]
    TooLarge {
        /// The attribute.
        attribute: &'static str,
        /// The most bytes that are read.
        limit: usize,
    },
    /// An attribute holds something else than the interface states.
    #[error("expected {expected} in the kernel's report attribute {attribute}, got {got:?}")]
    Malformed {
        /// The attribute.
        attribute: &'static str,
        /// What the interface states.
        expected: &'static str,
        /// What came.
        got: String,
    },
    /// Somebody else wrote into the request's folder, or a write did not arrive.
    #[error(
        "expected generation {expected} of the own request, got {got}: another process writes into it, or the kernel dropped a write"
    )]
    Raced {
        /// The generation that the own writes lead to.
        expected: u64,
        /// The generation that was read.
        got: u64,
    },
}

impl TsmError {
    /// Whether a new request may succeed where this one did not.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::Raced { .. } => true,
            Self::Folder { source, .. } => source.kind() == io::ErrorKind::AlreadyExists,
            // The host throttles requests of SEV-SNP guests, and Intel's quoting service takes one at a time.
            Self::Attribute { source, .. } => matches!(
                source.kind(),
                io::ErrorKind::ResourceBusy
                    | io::ErrorKind::WouldBlock
                    | io::ErrorKind::Interrupted
                    | io::ErrorKind::TimedOut
            ),
            _ => false,
        }
    }
}
