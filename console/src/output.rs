//! Where words go: the result to stdout, everything else to stderr.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use indicatif::{MultiProgress, ProgressDrawTarget};
use serde::Serialize;

use crate::code::ErrorCode;
use crate::failure::{Failure, FailureContext};

/// The version of the JSON envelope. It rises when a field changes meaning or goes away, not when one is added.
pub const SCHEMA_VERSION: u32 = 1;

/// A process's voice. Cheap to clone; all clones share one pair of streams and one set of progress bars.
#[derive(Clone)]
pub struct Console {
    inner: Arc<Inner>,
}

struct Inner {
    out: Mutex<Box<dyn Write + Send>>,
    err: Mutex<Box<dyn Write + Send>>,
    json: bool,
    terminal: bool,
    colour: bool,
    bars: MultiProgress,
}

impl Console {
    /// The console of this process. With `json`, the result is one JSON object and progress stays silent.
    pub fn of_process(json: bool) -> Self {
        let terminal = io::stderr().is_terminal();
        // https://no-color.org: set and not empty means no colour.
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let bars = MultiProgress::with_draw_target(if terminal && !json {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        });
        Console::over(
            Box::new(io::stdout()),
            Box::new(io::stderr()),
            json,
            terminal,
            terminal && !plain,
            bars,
        )
    }

    /// A console that writes to memory, for tests: no terminal, no colour.
    pub fn captured(json: bool) -> (Self, Captured) {
        let captured = Captured::default();
        let hidden = MultiProgress::with_draw_target(ProgressDrawTarget::hidden());
        let (out, err) = (Sink(captured.out.clone()), Sink(captured.err.clone()));
        (
            Console::over(Box::new(out), Box::new(err), json, false, false, hidden),
            captured,
        )
    }

    fn over(
        out: Box<dyn Write + Send>,
        err: Box<dyn Write + Send>,
        json: bool,
        terminal: bool,
        colour: bool,
        bars: MultiProgress,
    ) -> Self {
        Console {
            inner: Arc::new(Inner {
                out: Mutex::new(out),
                err: Mutex::new(err),
                json,
                terminal,
                colour,
                bars,
            }),
        }
    }

    /// Whether the result is wanted as JSON.
    pub fn json(&self) -> bool {
        self.inner.json
    }

    /// Whether a person watches: stderr is a terminal.
    pub fn on_terminal(&self) -> bool {
        self.inner.terminal
    }

    /// Whether lines on stderr may be coloured.
    pub(crate) fn coloured(&self) -> bool {
        self.inner.colour
    }

    /// Prints a command's result, once: as `{"schema_version":1,"status":"ok","data":…}` where JSON is wanted, else in
    /// the words that `human` writes.
    ///
    /// # Errors
    /// Where stdout cannot be written, or `data` has no JSON form. A reader that went away is no error.
    pub fn result<T: Serialize + ?Sized>(
        &self,
        data: &T,
        human: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<(), Failure> {
        let mut bytes = Vec::new();
        if self.inner.json {
            let envelope = Envelope {
                schema_version: SCHEMA_VERSION,
                status: "ok",
                data: Some(data),
                error: None,
            };
            serde_json::to_writer(&mut bytes, &envelope)
                .or_fail(ErrorCode::INTERNAL, "cannot write the result")?;
            bytes.push(b'\n');
        } else {
            human(&mut bytes)?;
        }
        match self.write_out(&bytes) {
            // `agent dataset list | head -1`: whoever reads has read enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            outcome => outcome.or_fail(ErrorCode::IO, "cannot write the result to stdout"),
        }
    }

    /// Tells why a command failed: to people on stderr, or, where JSON is wanted, as
    /// `{"schema_version":1,"status":"error","error":{"code","message","hint"}}` on stdout. A failure with a finding
    /// has the status `refused` and the finding as `data`; people read it on stdout.
    pub fn failure(&self, failure: &Failure) {
        if self.inner.json {
            let error = Reported {
                code: failure.code().name(),
                message: failure.message(),
                hint: failure.hint_text(),
                at_fault: failure.at_fault().map(|blame| blame.to_string()),
                details: failure.detail(),
                exit: failure.exit().code(),
            };
            let finding = failure.found();
            let envelope = Envelope {
                schema_version: SCHEMA_VERSION,
                status: if finding.is_some() {
                    "refused"
                } else {
                    "error"
                },
                data: finding.map(|finding| &finding.data),
                error: Some(error),
            };
            if let Ok(mut bytes) = serde_json::to_vec(&envelope) {
                bytes.push(b'\n');
                // The process fails in any case; a closed stdout leaves nobody to tell.
                let _ = self.write_out(&bytes);
            }
            return;
        }
        if let Some(finding) = failure.found() {
            // As above: the failure that follows is told in any case.
            let _ = self.write_out(printable(&finding.text).as_bytes());
        }
        let mut text = format!(
            "{} {}\n",
            self.paint(Colour::Red, "error:"),
            printable(failure.message())
        );
        if let Some(blame) = failure.at_fault() {
            text.push_str(&format!("  at fault: {blame}\n"));
        }
        if let Some(hint) = failure.hint_text() {
            text.push_str(&format!(
                "  {} {}\n",
                self.paint(Colour::Cyan, "to mend it:"),
                printable(hint)
            ));
        }
        text.push_str(&format!(
            "  code: {} (exit {})\n",
            failure.code(),
            failure.exit().code()
        ));
        self.write_err(&text);
    }

    /// Says what happens, to people: a line on stderr, above any progress bar. Silent where JSON is wanted.
    pub fn note(&self, line: impl fmt::Display) {
        if !self.inner.json {
            self.write_err(&format!("{}\n", printable(&line.to_string())));
        }
    }

    /// Warns, on stderr, in every mode.
    pub fn warn(&self, line: impl fmt::Display) {
        let text = format!(
            "{} {}\n",
            self.paint(Colour::Yellow, "warning:"),
            printable(&line.to_string())
        );
        self.write_err(&text);
    }

    /// The progress bars, which share the terminal with all other lines.
    pub(crate) fn bars(&self) -> &MultiProgress {
        &self.inner.bars
    }

    /// Writes bytes to stderr as they are, above any progress bar.
    pub(crate) fn write_err(&self, text: &str) {
        self.inner.bars.suspend(|| {
            let mut err = lock(&self.inner.err);
            // Nobody is left to tell that stderr is closed.
            let _ = err.write_all(text.as_bytes()).and_then(|()| err.flush());
        });
    }

    pub(crate) fn write_out(&self, bytes: &[u8]) -> io::Result<()> {
        self.inner.bars.suspend(|| {
            let mut out = lock(&self.inner.out);
            out.write_all(bytes)?;
            out.flush()
        })
    }

    fn paint(&self, colour: Colour, text: &str) -> String {
        if self.inner.colour {
            format!("\x1b[1;{}m{text}\x1b[0m", colour as u8)
        } else {
            text.to_owned()
        }
    }
}

impl fmt::Debug for Console {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Console")
            .field("json", &self.inner.json)
            .field("terminal", &self.inner.terminal)
            .finish()
    }
}

/// What a captured console has written so far.
#[derive(Clone, Default)]
pub struct Captured {
    out: Arc<Mutex<Vec<u8>>>,
    err: Arc<Mutex<Vec<u8>>>,
}

impl Captured {
    /// All of stdout.
    pub fn stdout(&self) -> String {
        String::from_utf8_lossy(&lock(&self.out)).into_owned()
    }

    /// All of stderr.
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&lock(&self.err)).into_owned()
    }
}

impl fmt::Debug for Captured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Captured")
    }
}

struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        lock(&self.0).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[derive(Serialize)]
struct Envelope<'a, T: Serialize + ?Sized> {
    schema_version: u32,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a T>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Reported<'a>>,
}

#[derive(Serialize)]
struct Reported<'a> {
    code: &'static str,
    message: &'a str,
    hint: Option<&'a str>,
    at_fault: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<&'a serde_json::Value>,
    exit: u8,
}

#[derive(Clone, Copy)]
enum Colour {
    Red = 31,
    Yellow = 33,
    Cyan = 36,
}

/// Replaces control characters, which a peer's or a file's name could use to repaint a person's terminal. Line breaks
/// stay.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c.is_control() && c != '\n' {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect()
}

/// A thread that panicked while it wrote leaves a stream that is still good to write to.
fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Blame;

    fn refused() -> Failure {
        Failure::new(
            ErrorCode::CONTRACT_UNSIGNED,
            "contract 3 lacks the signature of hospital-b",
        )
        .hint("ask hospital-b to run `agent contract sign`")
        .blame(Blame::Contract)
    }

    #[test]
    fn json_results_are_one_object_on_stdout() {
        let (console, captured) = Console::captured(true);
        console.note("not for machines");
        console.result(&[1, 2], |_| unreachable!()).unwrap();
        assert_eq!(
            captured.stdout(),
            "{\"schema_version\":1,\"status\":\"ok\",\"data\":[1,2]}\n"
        );
        assert_eq!(captured.stderr(), "");
    }

    #[test]
    fn json_failures_are_one_object_on_stdout() {
        let (console, captured) = Console::captured(true);
        console.failure(&refused());
        let value: serde_json::Value = serde_json::from_str(&captured.stdout()).unwrap();
        assert_eq!(value["status"], "error");
        assert_eq!(value["error"]["code"], "contract-unsigned");
        assert_eq!(
            value["error"]["hint"],
            "ask hospital-b to run `agent contract sign`"
        );
        assert_eq!(value["error"]["exit"], 11);
        assert!(value.get("data").is_none());
    }

    #[test]
    fn a_refusal_with_a_finding_is_result_and_failure_in_one() {
        let failure = refused().finding(serde_json::json!({ "checks": 3 }), "checks\x1b: 3\n");
        let (console, captured) = Console::captured(true);
        console.failure(&failure);
        let value: serde_json::Value = serde_json::from_str(&captured.stdout()).unwrap();
        assert_eq!(captured.stdout().lines().count(), 1);
        assert_eq!(value["status"], "refused");
        assert_eq!(value["data"]["checks"], 3);
        assert_eq!(value["error"]["code"], "contract-unsigned");

        let (console, captured) = Console::captured(false);
        console.failure(&failure);
        assert_eq!(captured.stdout(), "checks\u{fffd}: 3\n");
        assert!(captured.stderr().starts_with("error: contract 3"));
    }

    #[test]
    fn people_read_failures_on_stderr() {
        let (console, captured) = Console::captured(false);
        console.failure(&refused());
        assert_eq!(captured.stdout(), "");
        assert_eq!(
            captured.stderr(),
            "error: contract 3 lacks the signature of hospital-b\n  at fault: the contract\n  \
             to mend it: ask hospital-b to run `agent contract sign`\n  code: contract-unsigned (exit 11)\n"
        );
    }

    #[test]
    fn a_reader_that_went_away_is_no_error_and_a_full_disk_is() {
        struct Broken(io::ErrorKind);
        impl Write for Broken {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(self.0.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let print = |kind| {
            let hidden = MultiProgress::with_draw_target(ProgressDrawTarget::hidden());
            let (out, err) = (Box::new(Broken(kind)), Box::new(io::sink()));
            let console = Console::over(out, err, true, false, false, hidden);
            console
                .result(&1, |_| Ok(()))
                .map_err(|failure| failure.code())
        };
        assert_eq!(print(io::ErrorKind::BrokenPipe), Ok(()));
        assert_eq!(print(io::ErrorKind::StorageFull), Err(ErrorCode::DISK_FULL));
    }

    #[test]
    fn escape_sequences_in_messages_do_not_reach_the_terminal() {
        let (console, captured) = Console::captured(false);
        console.warn("party \x1b[2Jmallory\r\x07");
        assert_eq!(
            captured.stderr(),
            "warning: party \u{fffd}[2Jmallory\u{fffd}\u{fffd}\n"
        );
    }
}
