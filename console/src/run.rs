//! `main` of every binary: arguments in, exit code out.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Args, Parser};

use crate::code::ErrorCode;
use crate::config::with_configuration;
use crate::exit::Exit;
use crate::failure::{Blame, Failure};
use crate::logs::start_logs;
use crate::output::Console;
use crate::shell;

/// The options that all commands of all binaries take.
#[derive(Args, Clone, Debug)]
pub struct GlobalArgs {
    /// Print one JSON object on stdout, for programs.
    #[arg(long, global = true)]
    pub json: bool,
    /// Which logs to write to stderr, such as `info` or `tributary_agent=debug,warn`.
    #[arg(
        long,
        global = true,
        env = "TRIBUTARY_LOG",
        value_name = "FILTER",
        default_value = "warn"
    )]
    pub log: String,
    /// A TOML file whose keys are the long options; a table for each subcommand.
    #[arg(long, global = true, env = "TRIBUTARY_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// A binary's command line: a `clap` type that flattens [`GlobalArgs`].
pub trait CommandLine: Parser {
    /// The options that all commands take.
    fn global(&self) -> &GlobalArgs;
}

/// Runs a binary: reads the command line (flag, then `TRIBUTARY_…` variable, then configuration file, then default),
/// starts the logs, calls `program`, prints its failure if it fails. Adds the subcommands `completions` and `man`.
pub fn run<C: CommandLine>(program: impl FnOnce(C, &Console) -> Result<(), Failure>) -> ExitCode {
    run_arguments(std::env::args_os(), program)
}

/// [`run`] with given arguments, the binary's name first: for a program that can be several.
pub fn run_arguments<C: CommandLine>(
    arguments: impl IntoIterator<Item = OsString>,
    program: impl FnOnce(C, &Console) -> Result<(), Failure>,
) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let console = Console::of_process(wants_json(&arguments));
    let start = |filter: &str| start_logs(filter, &console);
    execute(
        &arguments,
        std::env::var_os("TRIBUTARY_CONFIG"),
        &console,
        start,
        program,
    )
    .into()
}

/// [`run`] with given arguments, the binary's name first, over a given console, without logs: for tests, and for a
/// program that runs another's commands in its own process.
pub fn run_with<C: CommandLine, A: Into<OsString>>(
    arguments: impl IntoIterator<Item = A>,
    console: &Console,
    program: impl FnOnce(C, &Console) -> Result<(), Failure>,
) -> Exit {
    let arguments: Vec<OsString> = arguments.into_iter().map(Into::into).collect();
    execute(&arguments, None, console, |_| Ok(()), program)
}

fn execute<C: CommandLine>(
    arguments: &[OsString],
    configured: Option<OsString>,
    console: &Console,
    logs: impl FnOnce(&str) -> Result<(), Failure>,
    program: impl FnOnce(C, &Console) -> Result<(), Failure>,
) -> Exit {
    let outcome = match read_arguments::<C>(arguments, configured, console) {
        Ok(Some(line)) => logs(&line.global().log).and_then(|()| program(line, console)),
        Ok(None) => Ok(()),
        Err(failure) => Err(failure),
    };
    match outcome {
        Ok(()) => Exit::Done,
        Err(failure) => {
            console.failure(&failure);
            failure.exit()
        }
    }
}

/// The binary's own arguments, or `None` where `--help`, `--version`, `completions` or `man` answered already.
fn read_arguments<C: CommandLine>(
    arguments: &[OsString],
    configured: Option<OsString>,
    console: &Console,
) -> Result<Option<C>, Failure> {
    let mut command = shell::with_subcommands(C::command());
    if let Some(path) = config_path(arguments).or(configured) {
        command = with_configuration(command, &PathBuf::from(path))?;
    }
    let mut matches = match command.clone().try_get_matches_from(arguments) {
        Ok(matches) => matches,
        Err(error) => return answered(&error, console),
    };
    if shell::answered(&matches, command.clone(), console)? {
        return Ok(None);
    }
    C::from_arg_matches_mut(&mut matches)
        .map(Some)
        .or_else(|error| answered(&error.format(&mut command), console))
}

/// `--help` and `--version` are results; everything else that `clap` says is a failure.
fn answered<T>(error: &clap::Error, console: &Console) -> Result<Option<T>, Failure> {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            let rendered = error.render();
            let text = if console.on_terminal() {
                rendered.ansi().to_string()
            } else {
                rendered.to_string()
            };
            if console.json() {
                console.result(&rendered.to_string(), |_| Ok(()))?;
            } else {
                console.write_out(text.as_bytes())?;
            }
            Ok(None)
        }
        _ => {
            let text = error.render().to_string();
            let (message, hint) = split_usage(&text);
            let failure = Failure::new(ErrorCode::USAGE, message).blame(Blame::Configuration);
            Err(match hint {
                Some(hint) => failure.hint(hint),
                None => failure.hint("add --help to see what the command takes"),
            })
        }
    }
}

/// `clap` writes "error: what is wrong", then usage and tips. The first paragraph is the message, the rest the hint.
fn split_usage(text: &str) -> (String, Option<String>) {
    let text = text.trim().strip_prefix("error: ").unwrap_or(text.trim());
    match text.split_once("\n\n") {
        Some((message, rest)) => (message.trim().to_owned(), Some(rest.trim().to_owned())),
        None => (text.to_owned(), None),
    }
}

/// Failures of the command line itself must be JSON too, before there are parsed arguments that could say so.
fn wants_json(arguments: &[OsString]) -> bool {
    arguments
        .iter()
        .skip(1)
        .take_while(|argument| *argument != "--")
        .any(|argument| argument == "--json")
}

/// The file must be read before the arguments, because it supplies their defaults.
fn config_path(arguments: &[OsString]) -> Option<OsString> {
    let mut arguments = arguments
        .iter()
        .skip(1)
        .take_while(|argument| *argument != "--");
    while let Some(argument) = arguments.next() {
        if argument == "--config" {
            return arguments.next().cloned();
        }
        if let Some(path) = argument
            .to_str()
            .and_then(|text| text.strip_prefix("--config="))
        {
            return Some(path.into());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Subcommand;

    #[derive(Parser, Debug)]
    #[command(name = "ferry", version = "0.1.0", about = "Carries things over")]
    struct Ferry {
        #[command(flatten)]
        global: GlobalArgs,
        #[command(subcommand)]
        action: Action,
    }

    #[derive(Subcommand, Debug)]
    enum Action {
        /// Serves.
        Serve {
            #[arg(long, default_value = "127.0.0.1:0")]
            listen: String,
            #[arg(long)]
            dial: Vec<String>,
            #[arg(long)]
            seats: u16,
            #[arg(long)]
            quiet: bool,
        },
    }

    impl CommandLine for Ferry {
        fn global(&self) -> &GlobalArgs {
            &self.global
        }
    }

    fn serve(arguments: &[&str], json: bool) -> (Exit, String, String) {
        let (console, captured) = Console::captured(json);
        let exit = run_with(
            arguments.iter().copied(),
            &console,
            |ferry: Ferry, console| {
                let Action::Serve {
                    listen,
                    dial,
                    seats,
                    quiet,
                } = ferry.action;
                let line = format!("{listen} {dial:?} {seats} {quiet}");
                console.result(&line, |out| writeln!(out, "{line}"))
            },
        );
        (exit, captured.stdout(), captured.stderr())
    }

    fn config(text: &str) -> (tempfile::TempDir, String) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ferry.toml");
        std::fs::write(&path, text).unwrap();
        let path = path.to_str().unwrap().to_owned();
        (folder, path)
    }

    #[test]
    fn a_flag_beats_the_file_and_the_file_beats_the_default() {
        let (_folder, path) = config(
            "[serve]\nlisten = \"0.0.0.0:7\"\nseats = 12\nquiet = true\ndial = [\"a:1\", \"b:2\"]\n",
        );
        let (exit, out, _) = serve(&["ferry", "--config", &path, "serve"], false);
        assert_eq!(
            (exit, out.as_str()),
            (Exit::Done, "0.0.0.0:7 [\"a:1\", \"b:2\"] 12 true\n")
        );
        let (_, out, _) = serve(
            &[
                "ferry",
                "serve",
                "--seats",
                "4",
                &format!("--config={path}"),
            ],
            false,
        );
        assert_eq!(out, "0.0.0.0:7 [\"a:1\", \"b:2\"] 4 true\n");
        let (_, out, _) = serve(&["ferry", "serve", "--seats", "4"], false);
        assert_eq!(out, "127.0.0.1:0 [] 4 false\n");
    }

    #[test]
    fn an_environment_variable_beats_the_file() {
        // `env` of clap is read where the command is built; PATH is set on every machine that runs tests.
        #[derive(Parser)]
        #[command(name = "walk")]
        struct Walk {
            #[command(flatten)]
            global: GlobalArgs,
            #[arg(long, env = "PATH")]
            path: String,
        }
        impl CommandLine for Walk {
            fn global(&self) -> &GlobalArgs {
                &self.global
            }
        }
        let (_folder, file) = config("path = \"from the file\"\n");
        let (console, _) = Console::captured(false);
        let mut seen = String::new();
        let exit = run_with(["walk", "--config", &file], &console, |walk: Walk, _| {
            seen = walk.path;
            Ok(())
        });
        assert_eq!(exit, Exit::Done);
        assert_eq!(seen, std::env::var("PATH").unwrap());
    }

    #[test]
    fn a_wrong_command_line_is_usage_and_json_where_asked() {
        let (exit, out, err) = serve(&["ferry", "serve", "--seats", "many"], false);
        assert_eq!((exit, out.as_str()), (Exit::Usage, ""));
        assert!(
            err.contains("invalid value 'many' for '--seats <SEATS>'"),
            "{err}"
        );
        let (exit, out, _) = serve(&["ferry", "--json", "swim"], true);
        let value: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!(
            (exit, &value["error"]["code"]),
            (Exit::Usage, &"usage".into())
        );
    }

    #[test]
    fn help_and_version_are_results() {
        let (exit, out, err) = serve(&["ferry", "--version"], false);
        assert_eq!(
            (exit, out.as_str(), err.as_str()),
            (Exit::Done, "ferry 0.1.0\n", "")
        );
        let (exit, out, _) = serve(&["ferry", "serve", "--help"], false);
        assert_eq!(exit, Exit::Done);
        assert!(out.contains("--listen"), "{out}");
    }

    #[test]
    fn json_is_recognised_before_the_end_of_options_only() {
        let os = |arguments: &[&str]| arguments.iter().map(OsString::from).collect::<Vec<_>>();
        assert!(wants_json(&os(&["ferry", "serve", "--json"])));
        assert!(!wants_json(&os(&["ferry", "serve", "--", "--json"])));
        assert!(!wants_json(&os(&["--json"])));
    }
}
