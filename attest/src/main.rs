//! The program `attest`.

fn main() -> std::process::ExitCode {
    tributary_attest::cli::main()
}
