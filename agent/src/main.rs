//! The program `agent`.

fn main() -> std::process::ExitCode {
    tributary_console::run(tributary_agent::cli::program)
}
