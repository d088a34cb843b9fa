//! Completions for shells, and manual pages, from the command line's own description.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Arg, ArgMatches, Command, value_parser};
use clap_complete::Shell;

use crate::failure::Failure;
use crate::output::Console;

/// Writes the completions of `command` for one shell.
///
/// # Errors
/// Where `out` cannot be written.
pub fn write_completions(
    mut command: Command,
    shell: Shell,
    out: &mut dyn Write,
) -> io::Result<()> {
    let name = command.get_name().to_owned();
    // The generator panics where its writer fails; memory does not.
    let mut bytes = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut bytes);
    out.write_all(&bytes)
}

/// Writes a manual page for `command` and each of its subcommands into `folder`, which is made where it is not there.
///
/// # Errors
/// Where the folder or a page cannot be written.
pub fn write_manual(command: Command, folder: &Path) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    clap_mangen::generate_to(command, folder)
}

pub(crate) fn with_subcommands(command: Command) -> Command {
    // A binary without subcommands of its own may have required options, which these two do not need.
    let command = if command.has_subcommands() {
        command
    } else {
        command.subcommand_negates_reqs(true)
    };
    command
        .subcommand(
            Command::new(COMPLETIONS)
                .about("Print completions for a shell")
                .arg(
                    Arg::new("shell")
                        .required(true)
                        .value_name("SHELL")
                        .value_parser(value_parser!(Shell)),
                ),
        )
        .subcommand(
            Command::new(MANUAL)
                .about("Write manual pages into a folder")
                .arg(
                    Arg::new("out")
                        .long("out")
                        .required(true)
                        .value_name("DIR")
                        .help("The folder, made where it is not there")
                        .value_parser(value_parser!(PathBuf)),
                ),
        )
}

/// Whether one of the two subcommands was asked for and has been answered.
pub(crate) fn answered(
    matches: &ArgMatches,
    command: Command,
    console: &Console,
) -> Result<bool, Failure> {
    match matches.subcommand() {
        Some((COMPLETIONS, matches)) => {
            if let Some(shell) = matches.get_one::<Shell>("shell") {
                let mut bytes = Vec::new();
                write_completions(command, *shell, &mut bytes)?;
                let text = String::from_utf8_lossy(&bytes);
                console.result(&text, |out| out.write_all(text.as_bytes()))?;
            }
            Ok(true)
        }
        Some((MANUAL, matches)) => {
            if let Some(folder) = matches.get_one::<PathBuf>("out") {
                write_manual(command, folder)?;
                let folder = folder.display().to_string();
                console.result(&folder, |out| writeln!(out, "{folder}"))?;
            }
            Ok(true)
        }
        _ => Ok(false),
    }
}

const COMPLETIONS: &str = "completions";
const MANUAL: &str = "man";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CommandLine, Exit, GlobalArgs, run_with};

    #[derive(clap::Parser)]
    #[command(name = "ferry", about = "Carries things over")]
    struct Ferry {
        #[command(flatten)]
        global: GlobalArgs,
        /// How many.
        #[arg(long)]
        seats: Option<u8>,
    }

    impl CommandLine for Ferry {
        fn global(&self) -> &GlobalArgs {
            &self.global
        }
    }

    fn ferry(arguments: &[&str]) -> (Exit, String) {
        let (console, captured) = Console::captured(false);
        let exit = run_with(arguments.iter().copied(), &console, |_: Ferry, _| {
            panic!("the program must not run")
        });
        (exit, captured.stdout())
    }

    #[test]
    fn completions_know_the_options() {
        for shell in ["bash", "zsh", "fish"] {
            let (exit, text) = ferry(&["ferry", "completions", shell]);
            assert_eq!(exit, Exit::Done);
            assert!(text.contains("seats"), "{shell}: {text}");
        }
        assert_eq!(ferry(&["ferry", "completions", "dos"]).0, Exit::Usage);
    }

    #[test]
    fn manual_pages_land_in_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("man1");
        let (exit, _) = ferry(&["ferry", "man", "--out", out.to_str().unwrap()]);
        assert_eq!(exit, Exit::Done);
        assert!(
            std::fs::read_to_string(out.join("ferry.1"))
                .unwrap()
                .contains("Carries things over")
        );
        assert!(out.join("ferry-completions.1").exists());
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_a_failure() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert_eq!(
            ferry(&["ferry", "man", "--out", file.join("x").to_str().unwrap()]).0,
            Exit::Failure
        );
    }
}
