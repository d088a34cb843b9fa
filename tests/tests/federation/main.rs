//! Whole federations: every party a process of its own, driven by the commands that people type, killed and tampered with.

#![allow(clippy::unwrap_used)]

mod absence;
mod attestation;
mod authorisation;
mod budget;
mod clipping;
mod contracts;
mod crashes;
mod disks;
mod entities;
mod masks;
mod model;
mod simulated;
mod vaults;
mod whole_path;

use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde_json::Value;
use tributary_tests::{CONSUMER, Federation, Installation, Line, Process, Serving};

/// A federation of the test's own.
fn federation() -> Federation<'static> {
    static INSTALLATION: OnceLock<Installation> = OnceLock::new();
    let parties = Path::new(env!("CARGO_BIN_EXE_tributary-parties"));
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR"));
    Federation::new(INSTALLATION.get_or_init(|| Installation::found(parties, scratch)))
}

/// A port of the federation's address that nobody listens at.
fn free_address(federation: &Federation<'_>) -> String {
    UdpSocket::bind(federation.any_port())
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string()
}

/// The same agent again, at the same address, after its process ended.
fn restarted<'a>(
    federation: &'a Federation<'a>,
    party: &str,
    listen: &str,
    keeper: Option<&Serving>,
) -> Serving {
    federation.agent_at(party, listen, keeper, |line| line)
}

/// A program that does the same and measures otherwise: one byte more at its end.
fn other_program(federation: &Federation<'_>, name: &str) -> PathBuf {
    let path = federation.path(name);
    // By another process: a file that this one had open for writing could not be run while another test forks.
    let copied = std::process::Command::new("sh")
        .args([
            "-c",
            "cat \"$0\" > \"$1\" && printf x >> \"$1\" && chmod 755 \"$1\"",
        ])
        .args([Path::new(env!("CARGO_BIN_EXE_tributary-parties")), &path])
        .status()
        .unwrap();
    assert!(copied.success());
    path
}

/// Stops agents as an operator would, the keeper last.
fn stop(agents: Vec<Serving>) {
    for agent in agents.into_iter().rev() {
        agent.process.stop().well();
    }
}

/// A number in a JSON object.
fn number(value: &Value, pointer: &str) -> f64 {
    value
        .pointer(pointer)
        .and_then(Value::as_f64)
        .unwrap_or_else(|| panic!("no number at {pointer} of {value:#}"))
}

/// Ends a run that is under way, and expects it to end well.
fn trained(process: Process) {
    process.end().well();
}

/// The consumer's command that trains with these agents.
fn train<'a>(federation: &'a Federation<'a>, seq: u64, agents: &[Serving]) -> Line<'a> {
    let seq = seq.to_string();
    let train = ["aggregator", "train", "--contract", &seq, "--threads", "1"];
    let mut line = federation.unlocked(CONSUMER, &train);
    for agent in agents {
        line = line.words(&["--agent", &agent.named()]);
    }
    line
}
