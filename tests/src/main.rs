//! Every program of Tributary in one binary, for tests: `cargo test` builds it on a clean checkout, and a test finds it as
//! `env!("CARGO_BIN_EXE_tributary-parties")`.
//!
//! Which program it is follows from the name by which it was called, so a folder of links named `agent`, `aggregator`,
//! `attest` and `simulations` stands in for an installation; called by its own name, its first argument says. Evidence
//! measures the file behind the link: here, all parties have one measurement.
//!
//! Two environment variables make the disk fail where `tributary-durable` writes, if its failpoints are built in:
//! `FAILPOINTS` as the crate `fail` reads it, and [`DIES_AT`].

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};

use tributary_console::run_arguments;

/// `POINT N`: at the N-th pass of a failpoint the process ends as by a power cut, with no word and no clean-up.
const DIES_AT: &str = "TRIBUTARY_PARTIES_DIES_AT";

fn main() -> ExitCode {
    let _scenario = fail::FailScenario::setup();
    if let Err(reason) = arm_death() {
        eprintln!("{DIES_AT}: {reason}");
        return ExitCode::from(2);
    }
    let mut line: Vec<OsString> = std::env::args_os().collect();
    if let Some(exit) = act(&line) {
        return exit;
    }
    // `tributary-parties agent …`, and `tributary-parties as agent …`, as a simulation starts its parties.
    line.remove(0);
    if line.first().is_some_and(|word| word == "as") {
        line.remove(0);
    }
    act(&line).unwrap_or_else(|| {
        eprintln!("expected to be called as agent, aggregator, attest or simulations, or with one of them as first argument");
        ExitCode::from(2)
    })
}

/// Runs the program that the first word names.
fn act(line: &[OsString]) -> Option<ExitCode> {
    let program = Path::new(line.first()?).file_name()?.to_str()?;
    let words = line.iter().cloned();
    match program {
        "agent" => Some(run_arguments(words, tributary_agent::cli::program)),
        "aggregator" => Some(run_arguments(words, tributary_aggregator::cli::program)),
        "simulations" => Some(tributary_simulations::cli::main(words)),
        "attest" => Some(run_arguments(words, tributary_attest_program::program)),
        _ => None,
    }
}

fn arm_death() -> Result<(), String> {
    let Ok(at) = std::env::var(DIES_AT) else {
        return Ok(());
    };
    let parsed = at
        .split_once(' ')
        .and_then(|(point, pass)| Some((point, pass.parse::<u64>().ok()?)));
    let (point, last) = parsed.ok_or_else(|| format!("expected `POINT N`, got `{at}`"))?;
    let passes = AtomicU64::new(0);
    fail::cfg_callback(point, move || {
        if passes.fetch_add(1, Ordering::SeqCst) + 1 == last {
            // SIGKILL cannot be caught: this line is the process's last.
            let _ = rustix::process::kill_process(
                rustix::process::getpid(),
                rustix::process::Signal::KILL,
            );
        }
    })
}
