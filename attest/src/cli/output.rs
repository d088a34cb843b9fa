//! How a result reaches people and programs: text or one JSON object, and the exit code.

use std::{fmt::Write as _, io::Write};

use serde_json::{Value, json};

use crate::{Check, CheckResult, Refusal, SimulatedError};

/// What a command came to.
pub(super) enum Outcome {
    Done {
        text: String,
        note: Option<String>,
        data: Value,
    },
    Refused(Box<Refusal>),
    Failed(Failed),
}

/// A command that could not do its work.
pub(super) struct Failed {
    pub(super) code: &'static str,
    pub(super) message: String,
    pub(super) hint: String,
}

impl Outcome {
    pub(super) fn done(text: String, data: Value) -> Self {
        Self::Done {
            text,
            note: None,
            data,
        }
    }

    /// Adds what a person wants to know besides the result.
    pub(super) fn with_note(mut self, said: String) -> Self {
        if let Self::Done { note, .. } = &mut self {
            *note = Some(said);
        }
        self
    }

    fn exit_code(&self) -> u8 {
        match self {
            Self::Done { .. } => 0,
            Self::Failed(_) => 1,
            Self::Refused(refusal) => refusal.exit_code(),
        }
    }
}

/// Prints the outcome and gives the exit code; a result that cannot be written is a failure.
pub(super) fn print(
    outcome: &Outcome,
    as_json: bool,
    stdout: &mut dyn Write,
    stderr: &mut dyn Write,
) -> u8 {
    let written = if as_json {
        writeln!(stdout, "{}", envelope(outcome))
    } else {
        print_text(outcome, stdout, stderr)
    };
    match written.and_then(|()| stdout.flush()) {
        Ok(()) => outcome.exit_code(),
        Err(error) => {
            let _ = writeln!(stderr, "error: the result could not be written: {error}");
            1
        }
    }
}

/// The checks as a table, one a line.
pub(super) fn table(checks: &[Check]) -> String {
    let mut out = String::new();
    for check in checks {
        // Writing to a string does not fail.
        let _ = write!(
            out,
            "{:<11}  {:<34}  {}",
            check.result, check.name, check.got
        );
        if check.result != CheckResult::NotChecked && check.expected != check.got {
            let _ = write!(out, "  (expected {})", check.expected);
        }
        out.push('\n');
    }
    out
}

fn print_text(
    outcome: &Outcome,
    stdout: &mut dyn Write,
    stderr: &mut dyn Write,
) -> std::io::Result<()> {
    match outcome {
        Outcome::Done { text, note, .. } => {
            writeln!(stdout, "{}", text.trim_end())?;
            note.iter().try_for_each(|note| writeln!(stderr, "{note}"))
        }
        Outcome::Refused(refusal) => {
            write!(stdout, "{}", table(refusal.checks()))?;
            writeln!(stderr, "refused: {refusal}")
        }
        Outcome::Failed(failed) => {
            writeln!(
                stderr,
                "error: {}; to mend: {}",
                failed.message, failed.hint
            )
        }
    }
}

fn envelope(outcome: &Outcome) -> Value {
    match outcome {
        Outcome::Done { data, .. } => json!({
            "schema_version": SCHEMA_VERSION,
            "status": "ok",
            "data": data,
        }),
        Outcome::Refused(refusal) => json!({
            "schema_version": SCHEMA_VERSION,
            "status": "refused",
            "data": refusal,
            "error": {
                "code": refusal.code(),
                "message": refusal.to_string(),
                "hint": refusal.mend(),
            },
        }),
        Outcome::Failed(Failed {
            code,
            message,
            hint,
        }) => json!({
            "schema_version": SCHEMA_VERSION,
            "status": "error",
            "error": { "code": code, "message": message, "hint": hint },
        }),
    }
}

impl From<SimulatedError> for Failed {
    fn from(error: SimulatedError) -> Self {
        let (code, hint) = match error {
            SimulatedError::Random(_) => ("no-randomness", "check the system's random generator"),
            SimulatedError::Encoding(_) => ("internal", "report this as a fault of the program"),
            SimulatedError::Exists { .. } => {
                ("exists", "choose another place: nothing is overwritten")
            }
            SimulatedError::Io { .. } => {
                ("io", "check the path, its permissions and the space left")
            }
            SimulatedError::Content { .. } => ("malformed-file", "check that it is the right file"),
            SimulatedError::Configuration { .. } => (
                "malformed-configuration",
                "name fields as `attest simulated new-platform --json` prints them",
            ),
            SimulatedError::Platform { .. } => ("usage", "correct the named value"),
        };
        let message = match std::error::Error::source(&error) {
            None => error.to_string(),
            Some(source) => format!("{error}: {source}"),
        };
        Self {
            code,
            message,
            hint: hint.to_owned(),
        }
    }
}

const SCHEMA_VERSION: u32 = 1;
