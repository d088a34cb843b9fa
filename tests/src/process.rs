//! Processes that a test starts: each line they print can be waited for, every wait has a deadline, and none outlives its
//! test.

use std::io::{BufRead as _, BufReader, Read};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// A running process of one party.
pub struct Process {
    what: String,
    child: Child,
    lines: Receiver<Line>,
    streams: usize,
    out: String,
    err: String,
    deadline: Instant,
}

enum Line {
    Out(String),
    Err(String),
    End,
}

/// How a process ended, and all that it said.
#[derive(Debug)]
pub struct Ended {
    what: String,
    /// The exit code; absent where a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Its result.
    pub stdout: String,
    /// The rest.
    pub stderr: String,
}

/// A refusal as a program told it.
#[derive(Debug)]
pub struct Refused {
    /// The exit code.
    pub exit: i32,
    /// The stable code.
    pub code: String,
    /// Message and hint.
    pub text: String,
}

impl Process {
    pub(crate) fn start(mut command: Command, what: String, deadline: Instant) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{what} cannot be started: {error}"));
        let (sender, lines) = channel();
        let (out, err) = (child.stdout.take(), child.stderr.take());
        listen(out.expect("stdout is piped"), sender.clone(), Line::Out);
        listen(err.expect("stderr is piped"), sender, Line::Err);
        Self {
            what,
            child,
            lines,
            streams: 2,
            out: String::new(),
            err: String::new(),
            deadline,
        }
    }

    /// The first line, from now on, of either stream that contains all of `parts`.
    ///
    /// # Panics
    /// Where the process ends, or the deadline comes, before it.
    pub fn wait_for(&mut self, parts: &[&str]) -> String {
        loop {
            match self.next_line() {
                Some(line) if parts.iter().all(|part| line.contains(part)) => return line,
                Some(_) => {}
                None => panic!(
                    "{} ended before it said {parts:?}\n{}",
                    self.what,
                    self.said()
                ),
            }
        }
    }

    /// The process's own end.
    ///
    /// # Panics
    /// Where the deadline comes before it.
    pub fn end(mut self) -> Ended {
        while self.next_line().is_some() {}
        let status = self.child.wait().expect("a child can be waited for");
        Ended {
            what: self.what.clone(),
            code: status.code(),
            signal: status.signal(),
            stdout: std::mem::take(&mut self.out),
            stderr: std::mem::take(&mut self.err),
        }
    }

    /// Ends it as a power cut would: SIGKILL.
    pub fn kill(self) -> Ended {
        self.signal(Signal::KILL);
        self.end()
    }

    /// Asks it to stop: SIGTERM.
    pub fn stop(self) -> Ended {
        self.signal(Signal::TERM);
        self.end()
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id())
            .ok()
            .and_then(Pid::from_raw)
            .expect("a process id");
        kill_process(pid, signal)
            .unwrap_or_else(|error| panic!("{} cannot be signalled: {error}", self.what));
    }

    fn next_line(&mut self) -> Option<String> {
        while self.streams > 0 {
            let left = self.deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(Line::Out(line)) => {
                    self.out.push_str(&line);
                    return Some(line);
                }
                Ok(Line::Err(line)) => {
                    self.err.push_str(&line);
                    return Some(line);
                }
                Ok(Line::End) => self.streams -= 1,
                Err(RecvTimeoutError::Timeout) => {
                    panic!(
                        "the test's time is up, waiting for {}\n{}",
                        self.what,
                        self.said()
                    )
                }
                Err(RecvTimeoutError::Disconnected) => self.streams = 0,
            }
        }
        None
    }

    fn said(&self) -> String {
        format!("stdout:\n{}\nstderr:\n{}", self.out, self.err)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A child that was waited for is not signalled again.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn listen(stream: impl Read + Send + 'static, lines: Sender<Line>, wrap: fn(String) -> Line) {
    thread::spawn(move || {
        let mut reader = BufReader::new(stream);
        loop {
            let mut line = Vec::new();
            match reader.read_until(b'\n', &mut line) {
                Ok(1..)
                    if lines
                        .send(wrap(String::from_utf8_lossy(&line).into_owned()))
                        .is_ok() => {}
                _ => break,
            }
        }
        let _ = lines.send(Line::End);
    });
}

impl Ended {
    /// The data of a result in JSON.
    ///
    /// # Panics
    /// Where it did not end well.
    pub fn data(&self) -> Value {
        self.well();
        let mut value: Value = serde_json::from_str(self.stdout.trim())
            .unwrap_or_else(|error| panic!("{} printed no JSON: {error}\n{self:#?}", self.what));
        assert_eq!(value["status"], "ok", "{self:#?}");
        assert_eq!(value["schema_version"], 1, "{self:#?}");
        value["data"].take()
    }

    /// Expects exit code 0.
    pub fn well(&self) -> &Self {
        assert_eq!(
            self.code,
            Some(0),
            "{} did not end well\n{self:#?}",
            self.what
        );
        self
    }

    /// Expects death by SIGKILL.
    pub fn killed(&self) -> &Self {
        assert_eq!(
            self.signal,
            Some(Signal::KILL.as_raw()),
            "{} was not killed\n{self:#?}",
            self.what
        );
        self
    }

    /// Expects a refusal with this exit code and error code, whose message or hint contains all of `parts`.
    pub fn refused(&self, exit: i32, code: &str, parts: &[&str]) -> Refused {
        let refused = self.refusal();
        assert_eq!(
            (refused.exit, refused.code.as_str()),
            (exit, code),
            "{} was refused otherwise\n{self:#?}",
            self.what
        );
        for part in parts {
            assert!(
                refused.text.contains(part),
                "expected {part:?} in the refusal of {}\n{self:#?}",
                self.what
            );
        }
        refused
    }

    fn refusal(&self) -> Refused {
        let exit = self
            .code
            .unwrap_or_else(|| panic!("{} was ended by a signal\n{self:#?}", self.what));
        assert_ne!(exit, 0, "{} was not refused\n{self:#?}", self.what);
        if let Ok(value) = serde_json::from_str::<Value>(self.stdout.trim()) {
            let error = &value["error"];
            let text = |name: &str| error[name].as_str().unwrap_or_default().to_owned();
            assert_eq!(error["exit"], exit, "{self:#?}");
            return Refused {
                exit,
                code: text("code"),
                text: format!("{}\n{}", text("message"), text("hint")),
            };
        }
        let error = self
            .stderr
            .rfind("error: ")
            .map(|start| &self.stderr[start..]);
        let error = error.unwrap_or_else(|| panic!("{} told no error\n{self:#?}", self.what));
        let code = error
            .lines()
            .find_map(|line| {
                line.trim()
                    .strip_prefix("code: ")?
                    .strip_suffix(&format!(" (exit {exit})"))
            })
            .unwrap_or_else(|| panic!("{} told no code of exit {exit}\n{self:#?}", self.what));
        Refused {
            exit,
            code: code.to_owned(),
            text: error.to_owned(),
        }
    }
}
