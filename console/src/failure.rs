//! A failure as a person and a script see it: code, message, hint, and who is at fault.

use std::error::Error;
use std::fmt;
use std::io;

use serde::Serialize;
use serde_json::Value;

use crate::code::ErrorCode;
use crate::exit::Exit;

/// Who has to do something about a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Blame {
    /// The other side of a connection.
    Peer,
    /// What the parties signed.
    Contract,
    /// This machine's configuration, files or command line.
    Configuration,
    /// Disk, network or confidential computing hardware.
    Hardware,
    /// Tributary itself.
    Tributary,
}

impl fmt::Display for Blame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Blame::Peer => "the peer",
            Blame::Contract => "the contract",
            Blame::Configuration => "the configuration here",
            Blame::Hardware => "the machine here",
            Blame::Tributary => "tributary itself",
        })
    }
}

/// What a command ends with when it does not do what it was asked.
///
/// ```
/// use tributary_console::{Blame, ErrorCode, Exit, Failure};
/// let failure = Failure::new(ErrorCode::CONTRACT_EXPIRED, "contract 3 expired on 2026-11-01, today is 2026-11-20")
///     .hint("ask the consumer for a new contract")
///     .blame(Blame::Contract);
/// assert_eq!(failure.exit(), Exit::ContractRefused);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    code: ErrorCode,
    message: String,
    hint: Option<String>,
    blame: Option<Blame>,
    // Boxed: every `Result` of every command carries the room for it.
    details: Option<Box<Value>>,
    finding: Option<Box<Finding>>,
}

/// What a command that refuses has found out nonetheless.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) data: Value,
    pub(crate) text: String,
}

impl Failure {
    /// A failure without hint. The message says what was expected and what came.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Failure {
            code,
            message: message.into(),
            hint: None,
            blame: None,
            details: None,
            finding: None,
        }
    }

    /// A failure whose message is an error and its sources, joined by colons.
    pub fn from_error(code: ErrorCode, error: &(dyn Error + 'static)) -> Self {
        Failure::new(code, message_of(error))
    }

    /// A full disk, a port in use, a missing file or a missing permission somewhere in the sources of `error`; `None`
    /// where no such thing is the cause.
    pub fn from_system_cause(error: &(dyn Error + 'static)) -> Option<Self> {
        let mut cause: Option<&(dyn Error + 'static)> = Some(error);
        while let Some(current) = cause {
            if let Some(io) = current.downcast_ref::<io::Error>()
                && let Some((code, hint)) = system_code(io.kind())
            {
                return Some(
                    Failure::from_error(code, error)
                        .hint(hint)
                        .blame(Blame::Hardware),
                );
            }
            cause = current.source();
        }
        None
    }

    /// Says how to mend it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Says who is at fault.
    #[must_use]
    pub fn blame(mut self, blame: Blame) -> Self {
        self.blame = Some(blame);
        self
    }

    /// Adds what a program may want to know beyond the message; it shows in JSON only.
    #[must_use]
    pub fn details(mut self, details: impl Into<Value>) -> Self {
        self.details = Some(Box::new(details.into()));
        self
    }

    /// Adds a result: a verification that refuses has looked, and what it saw is its result. It goes to stdout as any
    /// result does, `data` beside the error where JSON is wanted, else `text`.
    ///
    /// ```
    /// use tributary_console::{Console, ErrorCode, Failure};
    /// let (console, captured) = Console::captured(true);
    /// let failure = Failure::new(ErrorCode::ATTESTATION_REFUSED, "debugging is on").finding(7, "debug: on");
    /// console.failure(&failure);
    /// assert!(captured.stdout().starts_with("{\"schema_version\":1,\"status\":\"refused\",\"data\":7,\"error\":{"));
    /// ```
    #[must_use]
    pub fn finding(mut self, data: impl Into<Value>, text: impl Into<String>) -> Self {
        self.finding = Some(Box::new(Finding {
            data: data.into(),
            text: text.into(),
        }));
        self
    }

    pub(crate) fn found(&self) -> Option<&Finding> {
        self.finding.as_deref()
    }

    /// The stable code.
    pub fn code(&self) -> ErrorCode {
        self.code
    }

    /// The exit that the code leads to.
    pub fn exit(&self) -> Exit {
        self.code.exit()
    }

    /// What happened.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// How to mend it, where that is known.
    pub fn hint_text(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// What programs are told beyond the message.
    pub fn detail(&self) -> Option<&Value> {
        self.details.as_deref()
    }

    /// Who is at fault, where that is known.
    pub fn at_fault(&self) -> Option<Blame> {
        self.blame
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// An error of a binary's own that knows its code and hint. `?` turns it into a [`Failure`].
///
/// A library's error is foreign to the binary: wrap it in an error of your own, or use [`FailureContext`].
pub trait IntoFailure {
    /// The failure that a person sees.
    fn into_failure(self) -> Failure;
}

impl<E: IntoFailure> From<E> for Failure {
    fn from(error: E) -> Failure {
        error.into_failure()
    }
}

impl IntoFailure for io::Error {
    fn into_failure(self) -> Failure {
        Failure::from_system_cause(&self)
            .unwrap_or_else(|| Failure::from_error(ErrorCode::IO, &self))
    }
}

/// Turns the error of a `Result` into a [`Failure`] where it happens.
///
/// ```
/// use tributary_console::{ErrorCode, Failure, FailureContext};
/// let failure: Failure = "x".parse::<u32>().or_fail(ErrorCode::DATA_INVALID, "label of row 7").unwrap_err();
/// assert_eq!(failure.message(), "label of row 7: invalid digit found in string");
/// ```
pub trait FailureContext<T> {
    /// Fails with this code; the message is `what`, then the error and its sources. A full disk, a port in use and the
    /// like keep their own codes, whatever was being done.
    ///
    /// # Errors
    /// The error of `self`, as a failure.
    fn or_fail(self, code: ErrorCode, what: impl fmt::Display) -> Result<T, Failure>;
}

impl<T, E: Error + 'static> FailureContext<T> for Result<T, E> {
    fn or_fail(self, code: ErrorCode, what: impl fmt::Display) -> Result<T, Failure> {
        self.map_err(|error| {
            let mut failure = Failure::from_system_cause(&error)
                .unwrap_or_else(|| Failure::from_error(code, &error));
            failure.message = format!("{what}: {}", failure.message);
            failure
        })
    }
}

/// An error and its sources. A source that its parent's message already repeats is left out.
fn message_of(error: &(dyn Error + 'static)) -> String {
    let mut message = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let text = error.to_string();
        if !message.ends_with(&text) {
            message.push_str(": ");
            message.push_str(&text);
        }
        source = error.source();
    }
    message
}

fn system_code(kind: io::ErrorKind) -> Option<(ErrorCode, &'static str)> {
    Some(match kind {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => (
            ErrorCode::DISK_FULL,
            "free some space, then run the same command again: what was there is unharmed",
        ),
        io::ErrorKind::AddrInUse => (
            ErrorCode::ADDRESS_IN_USE,
            "stop the process that listens there, or choose another port; port 0 lets the system choose",
        ),
        io::ErrorKind::AlreadyExists => (
            ErrorCode::FILE_EXISTS,
            "name another place, or move away what is there",
        ),
        io::ErrorKind::NotFound => (ErrorCode::FILE_MISSING, "check the path"),
        io::ErrorKind::PermissionDenied => (
            ErrorCode::PERMISSION_DENIED,
            "check the owner and the mode of the file or folder",
        ),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot append part 3")]
    struct Append(#[source] io::Error);

    #[derive(Debug, thiserror::Error)]
    #[error("import failed: {0}")]
    struct Import(#[from] Append);

    #[test]
    fn a_full_disk_keeps_its_code_however_deep_it_lies() {
        let error = Import(Append(io::Error::from(io::ErrorKind::StorageFull)));
        let failure = Err::<(), _>(error)
            .or_fail(ErrorCode::DATA_INVALID, "dataset digits")
            .unwrap_err();
        assert_eq!(failure.code(), ErrorCode::DISK_FULL);
        assert!(
            failure
                .message()
                .starts_with("dataset digits: import failed: cannot append part 3: ")
        );
        assert_eq!(failure.message().matches("cannot append").count(), 1);
        assert!(failure.hint_text().unwrap().contains("free some space"));
    }

    #[test]
    fn a_port_in_use_says_which_hint() {
        let failure = io::Error::from(io::ErrorKind::AddrInUse).into_failure();
        assert_eq!(failure.code(), ErrorCode::ADDRESS_IN_USE);
        assert_eq!(failure.exit(), Exit::Failure);
    }

    #[test]
    fn other_errors_take_the_callers_code() {
        let failure = "x"
            .parse::<u8>()
            .or_fail(ErrorCode::USAGE, "flag")
            .unwrap_err();
        assert_eq!(failure.code(), ErrorCode::USAGE);
        assert_eq!(failure.exit().code(), 2);
    }

    #[test]
    fn question_mark_turns_own_errors_into_failures() {
        struct Own;
        impl IntoFailure for Own {
            fn into_failure(self) -> Failure {
                Failure::new(ErrorCode::REVOKED, "contract 4 was revoked")
            }
        }
        fn fails() -> Result<(), Failure> {
            Err(Own)?;
            Ok(())
        }
        assert_eq!(fails().unwrap_err().exit(), Exit::Revoked);
    }
}
