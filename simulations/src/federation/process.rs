//! Processes of the federation: started, listened to, and ended by the one that started them.

use std::fs::File;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rand_core::{OsRng, TryRngCore as _};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tributary_console::{Console, ErrorCode, Exit, Failure, FailureContext as _, peak_rss_of};

use super::party::Party;

/// A result of a command is a few KiB.
const RESULT_SIZE_LIMIT: u64 = 4 << 20;

/// How long a party may take to come up, and to stop.
const PATIENCE: Duration = Duration::from_secs(60);

/// A party's process that runs until it is stopped.
pub(super) struct Process {
    child: Child,
    pid: u32,
    party: Party,
    log: std::path::PathBuf,
}

/// Runs one command of a party to its end and gives its result.
pub(super) async fn command(party: Party, arguments: &[String]) -> Result<Value, Failure> {
    let mut child = start(party, arguments)?
        .arg("--json")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut errors = child.stderr.take();
    let (out, _) = tokio::join!(read(child.stdout.take()), async {
        // Warnings are repeated by whoever starts to serve; here they would repeat on every line.
        if let Some(errors) = &mut errors {
            let mut sink = Vec::new();
            let _ = errors.take(RESULT_SIZE_LIMIT).read_to_end(&mut sink).await;
        }
    });
    let status = child.wait().await?;
    result(party, arguments, &out?, status.code())
}

/// How a command ended that did not fail by itself.
pub(super) enum Ended {
    /// It did what it was asked.
    Well,
    /// Somebody, or the system, ended it.
    BySignal,
}

/// Runs a command whose progress a person should see, while its words are kept in a log.
pub(super) async fn run_visibly(
    party: Party,
    arguments: &[String],
    console: &Console,
    log: &Path,
) -> Result<Ended, Failure> {
    let mut command = start(party, arguments)?;
    command.stdout(Stdio::null());
    if console.json() {
        command.stderr(File::options().create(true).append(true).open(log)?);
    } else {
        command.stderr(Stdio::inherit());
    }
    let status = command.spawn()?.wait().await?;
    match status.code() {
        Some(0) => Ok(Ended::Well),
        Some(code) => Err(failed(party, arguments, Some(code), None)),
        None => Ok(Ended::BySignal),
    }
}

impl Process {
    /// Starts a party that serves; its log goes to a file.
    pub(super) fn start(party: Party, arguments: &[String], log: &Path) -> Result<Self, Failure> {
        let child = start(party, arguments)?
            .arg("--json")
            .stdout(Stdio::piped())
            // What a process that is started again said before stays.
            .stderr(File::options().create(true).append(true).open(log)?)
            .spawn()?;
        let pid = child
            .id()
            .ok_or_else(|| Failure::new(ErrorCode::INTERNAL, "a process ended as it began"))?;
        Ok(Self {
            child,
            pid,
            party,
            log: log.to_owned(),
        })
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// The first line that it prints: what it says when it is ready.
    pub(super) async fn first_result(&mut self) -> Result<Value, Failure> {
        let Some(out) = self.child.stdout.as_mut() else {
            return Err(Failure::new(
                ErrorCode::INTERNAL,
                "a process without output",
            ));
        };
        let mut line = String::new();
        let mut lines = BufReader::new(out.take(RESULT_SIZE_LIMIT));
        match tokio::time::timeout(PATIENCE, lines.read_line(&mut line)).await {
            Ok(read) => {
                read?;
            }
            Err(_) => {
                return Err(Failure::new(
                    ErrorCode::TIMEOUT,
                    format!(
                        "{} did not come up within {PATIENCE:?}",
                        self.party.program()
                    ),
                )
                .hint(format!("see {}", self.log.display())));
            }
        }
        let status = if line.is_empty() {
            self.child.wait().await?.code()
        } else {
            Some(0)
        };
        result(self.party, &["serve".to_owned()], &line, status)
            .map_err(|failure| failure.hint(format!("see {}", self.log.display())))
    }

    /// How it ended, if it did: its exit code, or none where a signal ended it.
    pub(super) fn ended(&mut self) -> Result<Option<Option<i32>>, Failure> {
        Ok(self.child.try_wait()?.map(|status| status.code()))
    }

    /// The largest resident memory so far, in MiB.
    pub(super) fn peak_rss_mib(&self) -> Result<f64, Failure> {
        Ok(peak_rss_of(self.pid)?.as_mib())
    }

    /// Asks it to stop, and ends it if it does not.
    pub(super) async fn stop(mut self) -> Result<(), Failure> {
        if let Some(pid) = i32::try_from(self.pid)
            .ok()
            .and_then(rustix::process::Pid::from_raw)
        {
            rustix::process::kill_process(pid, rustix::process::Signal::TERM)
                .map_err(std::io::Error::from)?;
        }
        if tokio::time::timeout(PATIENCE, self.child.wait())
            .await
            .is_err()
        {
            self.child.kill().await?;
        }
        Ok(())
    }
}

/// A passphrase that nobody has to type.
pub(super) fn random_passphrase() -> Result<String, Failure> {
    let mut bytes = [0; 24];
    OsRng
        .try_fill_bytes(&mut bytes)
        .or_fail(ErrorCode::INTERNAL, "the operating system's randomness")?;
    Ok(bytes
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect::<String>()
        + "\n")
}

fn start(party: Party, arguments: &[String]) -> Result<Command, Failure> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args(party.arguments())
        .args(arguments)
        .stdin(Stdio::null())
        // Settings for this program are not meant for the parties.
        .env_remove("TRIBUTARY_CONFIG")
        .kill_on_drop(true);
    Ok(command)
}

async fn read(stream: Option<impl AsyncRead + Unpin>) -> Result<String, Failure> {
    let mut text = String::new();
    if let Some(stream) = stream {
        stream
            .take(RESULT_SIZE_LIMIT)
            .read_to_string(&mut text)
            .await?;
    }
    Ok(text)
}

/// The data of a command's JSON, or the failure that it tells.
fn result(
    party: Party,
    arguments: &[String],
    text: &str,
    status: Option<i32>,
) -> Result<Value, Failure> {
    let mut value: Value = serde_json::from_str(text.trim()).unwrap_or_default();
    if status == Some(0) && value["status"] == "ok" {
        return Ok(value["data"].take());
    }
    Err(failed(party, arguments, status, value.get("error")))
}

fn failed(
    party: Party,
    arguments: &[String],
    status: Option<i32>,
    error: Option<&Value>,
) -> Failure {
    let text = |name: &str| {
        error
            .and_then(|error| error[name].as_str())
            .unwrap_or_default()
    };
    let code = ErrorCode::ALL
        .iter()
        .copied()
        .find(|code| code.name() == text("code"))
        .or_else(|| {
            let exit = Exit::from_code(status?)?;
            ErrorCode::ALL
                .iter()
                .copied()
                .find(|code| code.exit() == exit)
        })
        .unwrap_or(ErrorCode::INTERNAL);
    let words: Vec<&str> = arguments
        .iter()
        .map(String::as_str)
        .take_while(|word| !word.starts_with("--"))
        .collect();
    let what = format!("`{} {}`", party.program(), words.join(" "));
    let message = match text("message") {
        "" => match status {
            Some(status) => format!("{what} ended with exit code {status}"),
            None => format!("{what} was ended by a signal"),
        },
        message => format!("{what}: {message}"),
    };
    let failure = Failure::new(code, message);
    match text("hint") {
        "" => failure,
        hint => failure.hint(hint),
    }
}
