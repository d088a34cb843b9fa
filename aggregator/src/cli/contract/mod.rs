//! `aggregator contract`: writing, checking, registering and reading contracts.

mod merge;
mod new;
mod register;
mod show;
mod training;
mod validate;
mod words;

use clap::Subcommand;
use tributary_console::{Console, Failure};

/// What `aggregator contract` takes.
#[derive(Debug, Subcommand)]
#[allow(clippy::large_enum_variant)]
pub(super) enum ContractCommand {
    /// Write a contract from what providers offer, and sign it as the consumer.
    New(new::NewArgs),
    /// Say everything for which registering, planning or training would refuse a contract.
    Validate(validate::ValidateArgs),
    /// Put the signatures of several copies of one contract together.
    Merge(merge::MergeArgs),
    /// Have the ledger number a contract that all parties have signed.
    Register(register::RegisterArgs),
    /// Say what a contract allows: who gets what, for how much epsilon, until when, and what leaves.
    Show(show::ShowArgs),
}

pub(super) fn run(command: ContractCommand, console: &Console) -> Result<(), Failure> {
    match command {
        ContractCommand::New(args) => new::new(args, console),
        ContractCommand::Validate(args) => validate::validate(&args, console),
        ContractCommand::Merge(args) => merge::merge(&args, console),
        ContractCommand::Register(args) => register::register(&args, console),
        ContractCommand::Show(args) => show::show(&args, console),
    }
}
