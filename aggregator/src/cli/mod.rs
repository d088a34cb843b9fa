//! The program `aggregator`: what a data scientist types.
//!
//! A file for each family of commands. Every command is a function of its arguments and a console, so that tests and
//! simulations call it in their own process.

mod authorise;
mod contract;
mod evaluate;
mod files;
mod init;
mod keeper;
mod model;
mod period;
mod plan;
mod privacy;
mod receipt;
mod reference;
#[cfg(test)]
mod tests;
mod train;
mod unseal;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tributary_console::{CommandLine, Console, Failure, GlobalArgs};

use crate::training::TrainArgs;

/// Trains a model on data that its holders do not hand over: writes the contract, plans and runs the training, opens the
/// model, checks the receipt.
#[derive(Debug, Parser)]
#[command(
    name = "aggregator",
    version,
    after_help = "Examples, in the order of a first run:
  aggregator init --home tdc --party tdc --passphrase-file tdc.pass --simulated federation
  aggregator model new mnist-cnn --out mnist.onnx
  aggregator contract new --recipe mnist --offer alice.json --offer bob.json \\
      --model mnist.onnx --epsilon 3 --purpose 'Read digits' \\
      --simulated-root federation/root.pub \\
      --aggregator-program target/release/aggregator \\
      --agent-program target/release/agent --out contract.dsse
  aggregator contract validate contract.dsse
  aggregator contract register --contract contract.dsse --ledger 127.0.0.1:7001
  aggregator plan --contract 1
  aggregator train --contract 1 --agent alice=127.0.0.1:7001 --agent bob=127.0.0.1:7002
  aggregator unseal --contract 1 --run 1 --out model

Exit codes: docs/exit-codes.md. TRIBUTARY_HOME and TRIBUTARY_PASSPHRASE_FILE save repeating --home and --passphrase-file."
)]
pub struct AggregatorLine {
    #[command(flatten)]
    global: GlobalArgs,
    #[command(subcommand)]
    command: Command,
}

impl CommandLine for AggregatorLine {
    fn global(&self) -> &GlobalArgs {
        &self.global
    }
}

#[derive(Debug, Subcommand)]
#[allow(clippy::large_enum_variant)]
enum Command {
    /// Make a consumer's folder: an identity and the key that opens models.
    Init(init::InitArgs),
    /// Make models to begin with.
    #[command(subcommand)]
    Model(model::ModelCommand),
    /// Write, check, register and read contracts.
    #[command(subcommand)]
    Contract(contract::ContractCommand),
    /// Say what a run would cost in privacy, bytes and time, and what would refuse it. Spends nothing.
    Plan(plan::PlanArgs),
    /// Compute with privacy: epsilon, noise, steps and rates. Needs no contract.
    #[command(subcommand)]
    Privacy(privacy::PrivacyCommand),
    /// Allow one run of a contract to another party's machine, once.
    Authorise(authorise::AuthoriseArgs),
    /// Train under a contract: join the agents, train with differential privacy, seal the model.
    Train(TrainArgs),
    /// Open a sealed model with this home's key, after its receipt verified.
    Unseal(unseal::UnsealArgs),
    /// Measure a model on data of your own.
    Evaluate(evaluate::EvaluateArgs),
    /// Check receipts.
    #[command(subcommand)]
    Receipt(receipt::ReceiptCommand),
}

/// The program over the process's streams, with given arguments, the program's name first.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    tributary_console::run_arguments(arguments, program)
}

/// Runs one command.
///
/// ```
/// use tributary_aggregator::cli;
/// use tributary_console::{Console, Exit, run_with};
/// let folder = tempfile::tempdir()?;
/// let out = folder.path().join("mnist.onnx");
/// let (console, captured) = Console::captured(false);
/// let line = ["aggregator", "model", "new", "mnist-cnn", "--out", &out.display().to_string()];
/// assert_eq!(run_with(line, &console, cli::program), Exit::Done);
/// assert!(captured.stdout().contains("26010 parameters") && out.exists());
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
/// What the command fails with, as a person sees it.
pub fn program(line: AggregatorLine, console: &Console) -> Result<(), Failure> {
    match line.command {
        Command::Init(args) => init::init(&args, console),
        Command::Model(command) => model::run(&command, console),
        Command::Contract(command) => contract::run(command, console),
        Command::Privacy(command) => privacy::run(&command, console),
        Command::Plan(args) => plan::plan(&args, console),
        Command::Authorise(args) => authorise::authorise(&args, console),
        Command::Train(args) => train::train(&args, console),
        Command::Unseal(args) => unseal::unseal(&args, console),
        Command::Evaluate(args) => evaluate::run(&args, console),
        Command::Receipt(command) => receipt::run(&command, console),
    }
}
