//! The program `agent`: what a data officer types.
//!
//! A file for each family of commands. Every command is a function of its arguments and a console, so that tests and
//! simulations call it in their own process.

mod budget;
mod contract;
mod dataset;
mod folder;
mod init;
mod serve;
#[cfg(test)]
mod tests;

use clap::{Parser, Subcommand};
use tributary_console::{CommandLine, Console, Failure, GlobalArgs};

use crate::serve::ServeArgs;

/// Holds a provider's data encrypted, and streams it only to programs that it has verified, under contracts that its
/// officer has signed.
#[derive(Debug, Parser)]
#[command(
    name = "agent",
    version,
    after_help = "Examples:
  agent init --home alice --party alice --passphrase-file alice.pass --simulated federation
  agent dataset import digits --format idx --images train-images.gz --labels train-labels.gz
  agent contract show contract.dsse
  agent contract sign contract.dsse
  agent budget digits

Exit codes: docs/exit-codes.md. TRIBUTARY_HOME and TRIBUTARY_PASSPHRASE_FILE save repeating --home and --passphrase-file."
)]
pub struct AgentLine {
    #[command(flatten)]
    global: GlobalArgs,
    #[command(subcommand)]
    command: Command,
}

impl CommandLine for AgentLine {
    fn global(&self) -> &GlobalArgs {
        &self.global
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make an agent's folder: an identity and an empty vault.
    Init(init::InitArgs),
    /// Import, list and check the datasets of the vault.
    #[command(subcommand)]
    Dataset(dataset::DatasetCommand),
    /// Read, sign and refuse contracts.
    #[command(subcommand)]
    Contract(contract::ContractCommand),
    /// Serve this party's datasets under the contracts that it has signed, and keep the ledger where a contract says so.
    Serve(ServeArgs),
    /// Show what has been spent of each dataset's privacy, or set the most that may be.
    Budget(budget::BudgetArgs),
}

/// Runs one command.
///
/// ```
/// use tributary_agent::cli;
/// use tributary_console::{Console, Exit, run_with};
/// let (console, captured) = Console::captured(false);
/// let exit = run_with(["agent", "dataset", "list", "--home", "/nowhere", "--passphrase-file", "p"], &console, cli::program);
/// assert_eq!(exit, Exit::Failure);
/// assert!(captured.stderr().contains("agent init"));
/// ```
///
/// # Errors
/// What the command fails with, as a person sees it.
pub fn program(line: AgentLine, console: &Console) -> Result<(), Failure> {
    match line.command {
        Command::Init(args) => init::init(&args, console),
        Command::Dataset(command) => dataset::run(&command, console),
        Command::Contract(command) => contract::run(&command, console),
        Command::Serve(args) => serve::run(&args, console),
        Command::Budget(args) => budget::run(&args, console),
    }
}
