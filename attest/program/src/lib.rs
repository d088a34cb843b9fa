//! The program `attest`: what an operator and an auditor type.
//!
//! For: simulated roots and platforms, measurements, the appraisal of evidence that lies in a file, and what evidence
//! states. Not for: the appraisal itself, which is the library `tributary-attest`, and opens no socket.
//!
//! A file for each family of commands; the readers of files that somebody else wrote are public, so that they can be fuzzed. Every command is a function of its arguments, a time and a console, so that tests
//! call it in their own process.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod collateral;
mod doctor;
mod failures;
mod files;
mod input;
mod measure;
mod policy;
mod show;
mod simulated;
mod table;
mod time;
mod verify;

pub use collateral::amd_intermediate;
pub use input::Input;
pub use show::describe_certificates;

use chrono::{DateTime, Utc};
use clap::{Parser, Subcommand};
use tributary_console::{CommandLine, Console, Failure, GlobalArgs};

/// Makes and verifies evidence of what runs in a trusted execution environment.
#[derive(Debug, Parser)]
#[command(
    name = "attest",
    version,
    after_help = "Examples:
  attest simulated new-root --out federation
  attest simulated new-platform --root federation --name agent-1 --out agent-1.platform
  attest measure simulated /usr/bin/agent
  attest policy new --from measurement.json --out policy.json
  attest verify --evidence report.bin --endorsement vcek.der
  attest verify --evidence peer.evidence --policy policy.json --report-data 07…07
  attest collateral fetch --collateral collateral --evidence report.bin
  attest show report.bin
  attest doctor

Exit codes: 0 done or accepted, 1 failure, 2 usage, 10 refused; docs/exit-codes.md explains each."
)]
pub struct AttestLine {
    #[command(flatten)]
    global: GlobalArgs,
    #[command(subcommand)]
    command: Command,
}

impl CommandLine for AttestLine {
    fn global(&self) -> &GlobalArgs {
        &self.global
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make roots and platforms of the simulated TEE, which protects nothing.
    #[command(subcommand)]
    Simulated(simulated::SimulatedCommand),
    /// Print the measurement of a program or an image: the reference value that a policy names.
    #[command(subcommand)]
    Measure(measure::MeasureCommand),
    /// Write policies from measurements.
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
    /// Appraise evidence against a policy, offline, and print every check.
    Verify(verify::VerifyArgs),
    /// Print what evidence states about itself, unverified.
    Show(show::ShowArgs),
    /// Fill the folder of certificates, revocation lists and TCB documents that `verify` and the services read.
    #[command(subcommand)]
    Collateral(collateral::CollateralCommand),
    /// Say what evidence this machine produces, and what it lacks.
    Doctor(doctor::DoctorArgs),
}

/// Runs one command.
///
/// ```
/// use tributary_attest_program::program;
/// use tributary_console::{Console, Exit, run_with};
/// let (console, captured) = Console::captured(false);
/// let exit = run_with(["attest", "show", "/nowhere"], &console, program);
/// assert_eq!(exit, Exit::Failure);
/// assert!(captured.stderr().contains("/nowhere"));
/// ```
///
/// # Errors
/// What the command fails with, as a person sees it.
pub fn program(line: AttestLine, console: &Console) -> Result<(), Failure> {
    program_at(line, console, Utc::now())
}

/// [`program`] as at another time than now.
///
/// # Errors
/// What the command fails with, as a person sees it.
pub fn program_at(line: AttestLine, console: &Console, now: DateTime<Utc>) -> Result<(), Failure> {
    match line.command {
        Command::Simulated(command) => simulated::run(command, console, now),
        Command::Measure(command) => measure::run(command, console),
        Command::Policy(command) => policy::run(command, console),
        Command::Verify(args) => verify::run(&args, console, now),
        Command::Show(args) => show::run(&args, console),
        Command::Collateral(command) => collateral::run(&command, console, now),
        Command::Doctor(args) => doctor::run(&args, console),
    }
}
