//! The command line of `simulations`.

mod audit;
mod data;
mod run;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tributary_console::{CommandLine, Console, Failure, GlobalArgs};

use crate::federation::act_as_party;

/// Whole federations on one machine: the real programs and protocol, each party a process of its own.
#[derive(Debug, Parser)]
#[command(name = "simulations", version)]
struct Simulations {
    #[command(flatten)]
    global: GlobalArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs a federation from nothing to an opened model.
    Run(run::RunArgs),
    /// Makes data for federations that are run by hand.
    Data(data::DataArgs),
    /// Attacks the trainer's privacy, and says what epsilon the attacks prove.
    Audit(audit::AuditArgs),
}

impl CommandLine for Simulations {
    fn global(&self) -> &GlobalArgs {
        &self.global
    }
}

/// The program: this command line, or a party's where the first argument is `as`.
pub fn main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    match act_as_party(arguments) {
        Some(exit) => exit,
        None => tributary_console::run(program),
    }
}

fn program(line: Simulations, console: &Console) -> Result<(), Failure> {
    match line.command {
        Command::Run(args) => run::run(&args, console),
        Command::Data(args) => data::run(&args, console),
        Command::Audit(args) => audit::run(&args, console),
    }
}
