//! The program `aggregator`.

use std::process::ExitCode;

fn main() -> ExitCode {
    tributary_aggregator::cli::main(std::env::args_os())
}
