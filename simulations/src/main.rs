//! `simulations`: whole federations on one machine.

use std::process::ExitCode;

fn main() -> ExitCode {
    tributary_simulations::cli::main(std::env::args_os())
}
