//! The program `attest`.

fn main() -> std::process::ExitCode {
    tributary_console::run(tributary_attest_program::program)
}
