//! `attest measure`: reference values for policies.

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::json;
use tributary_attest::{Measurement, Tee};
use tributary_console::{Console, ErrorCode, Failure, FailureContext as _};

#[derive(Debug, Subcommand)]
pub(crate) enum MeasureCommand {
    /// Measure a program's file, as the simulated TEE does.
    #[command(after_help = "Example:\n  attest measure simulated target/release/aggregator")]
    Simulated {
        /// The program's file.
        file: PathBuf,
    },
}

pub(crate) fn run(command: MeasureCommand, console: &Console) -> Result<(), Failure> {
    match command {
        MeasureCommand::Simulated { file } => {
            let measurement = Measurement::of_file(&file).or_fail(ErrorCode::IO, file.display())?;
            let data = json!({ "tee": Tee::Simulated, "measurement": measurement, "file": file });
            console.result(&data, |out| writeln!(out, "{measurement}"))
        }
    }
}
