//! Logs: to stderr, above any progress bar.

use std::io::{self, Write};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::code::ErrorCode;
use crate::failure::{Blame, Failure};
use crate::output::Console;

/// Starts the process's logs. Where JSON is wanted, each line of the log is a JSON object too.
///
/// # Errors
/// Where `filter` is no filter of `tracing`, or the process has logs already.
pub fn start_logs(filter: &str, console: &Console) -> Result<(), Failure> {
    let filter = parse(filter)?;
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(AboveBars(console.clone()))
        .with_ansi(console.coloured());
    let started = if console.json() {
        logs.json().try_init()
    } else {
        logs.try_init()
    };
    started.map_err(|error| {
        Failure::new(
            ErrorCode::INTERNAL,
            format!("cannot start the logs: {error}"),
        )
    })
}

fn parse(filter: &str) -> Result<EnvFilter, Failure> {
    EnvFilter::builder().parse(filter).map_err(|error| {
        Failure::new(ErrorCode::USAGE, format!("{filter:?} is no filter for logs: {error}"))
            .hint("give a level (error, warn, info, debug, trace), or parts such as tributary_agent=debug,warn")
            .blame(Blame::Configuration)
    })
}

#[derive(Clone)]
struct AboveBars(Console);

impl<'a> MakeWriter<'a> for AboveBars {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line {
            console: self.0.clone(),
            bytes: Vec::new(),
        }
    }
}

/// Collects one line, so that it reaches stderr in one piece.
struct Line {
    console: Console,
    bytes: Vec<u8>,
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.console
            .write_err(&String::from_utf8_lossy(&self.bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_is_none_is_refused_with_examples() {
        let failure = parse("tributary=loudly").unwrap_err();
        assert_eq!(failure.code(), ErrorCode::USAGE);
        assert!(failure.hint_text().unwrap().contains("debug"));
    }

    #[test]
    fn log_lines_arrive_whole_on_stderr() {
        let (console, captured) = Console::captured(false);
        let logs = tracing_subscriber::fmt()
            .with_env_filter(parse("info").unwrap())
            .with_writer(AboveBars(console))
            .with_ansi(false)
            .finish();
        tracing::subscriber::with_default(logs, || {
            tracing::info!(step = 3, "leased");
            tracing::debug!("not shown");
        });
        assert!(
            captured.stderr().trim_end().ends_with("leased step=3"),
            "{}",
            captured.stderr()
        );
        assert_eq!(captured.stdout(), "");
    }
}
