//! `attest measure`: reference values for policies.

mod boot_files;
mod snp;
mod tdx;

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::json;
use tributary_attest::{Measurement, Tee};
use tributary_console::{Blame, Console, ErrorCode, Failure, FailureContext as _};

#[derive(Debug, Subcommand)]
pub(crate) enum MeasureCommand {
    /// Measure a program's file, as the simulated TEE does.
    #[command(after_help = "Example:\n  attest measure simulated target/release/aggregator")]
    Simulated {
        /// The program's file.
        file: PathBuf,
    },
    /// Predict the launch digest of an SEV-SNP machine that QEMU starts.
    Snp(snp::SnpArgs),
    /// Predict MRTD, RTMR1 and RTMR2 of a TDX machine that QEMU starts, or replay its event log.
    Tdx(tdx::TdxArgs),
}

pub(crate) fn run(command: MeasureCommand, console: &Console) -> Result<(), Failure> {
    match command {
        MeasureCommand::Simulated { file } => {
            let measurement = Measurement::of_file(&file).or_fail(ErrorCode::IO, file.display())?;
            let data = json!({ "tee": Tee::Simulated, "measurement": measurement, "file": file });
            console.result(&data, |out| writeln!(out, "{measurement}"))
        }
        MeasureCommand::Snp(args) => snp::run(&args, console),
        MeasureCommand::Tdx(args) => tdx::run(&args, console),
    }
}

/// What was handed in is not what it should be, or does not fit together.
fn unfit(error: impl std::fmt::Display, hint: &str) -> Failure {
    Failure::new(ErrorCode::DATA_INVALID, error.to_string())
        .hint(hint)
        .blame(Blame::Configuration)
}
