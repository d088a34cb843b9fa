//! The configuration file: defaults for the command line, from TOML.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use clap::{Arg, Command};
use toml::{Table, Value};

use crate::code::ErrorCode;
use crate::failure::{Blame, Failure, FailureContext};

/// The largest configuration file that is read, in bytes: a thousand options of a line each.
pub const CONFIG_LIMIT: u64 = 64 * 1024;

/// Gives options the values of a TOML file as their defaults. Keys are long option names; a subcommand's options stand
/// in a table of its name. So a flag and an environment variable still win, and every value passes the option's own
/// parser.
///
/// # Errors
/// Where the file cannot be read, is not TOML, or has a key that is no option of this program.
///
/// ```
/// use tributary_console::with_configuration;
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("agent.toml");
/// std::fs::write(&path, "[serve]\nlisten = \"127.0.0.1:7000\"\n")?;
/// let command = clap::Command::new("agent")
///     .subcommand(clap::Command::new("serve").arg(clap::Arg::new("listen").long("listen")));
/// let matches = with_configuration(command, &path).unwrap().get_matches_from(["agent", "serve"]);
/// let serve = matches.subcommand_matches("serve").unwrap();
/// assert_eq!(serve.get_one::<String>("listen").unwrap(), "127.0.0.1:7000");
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn with_configuration(command: Command, path: &Path) -> Result<Command, Failure> {
    let text = read(path)?;
    let table: Table = text.parse().map_err(|error: toml::de::Error| {
        Failure::new(
            ErrorCode::CONFIG_UNREADABLE,
            format!("{} is not TOML: {error}", path.display()),
        )
        .blame(Blame::Configuration)
    })?;
    Layer { path }.apply(command, table, "")
}

/// Options that a file cannot set: it would name itself, or take a choice from whoever calls.
const NOT_IN_FILE: [&str; 4] = ["config", "json", "help", "version"];

fn read(path: &Path) -> Result<String, Failure> {
    let what = format!("cannot read the configuration {}", path.display());
    let mut text = String::new();
    let read =
        File::open(path).and_then(|file| file.take(CONFIG_LIMIT + 1).read_to_string(&mut text));
    read.or_fail(ErrorCode::CONFIG_UNREADABLE, what)
        .map_err(|failure| {
            Failure::new(ErrorCode::CONFIG_UNREADABLE, failure.message())
                .blame(Blame::Configuration)
        })?;
    if text.len() as u64 > CONFIG_LIMIT {
        return Err(Failure::new(
            ErrorCode::CONFIG_UNREADABLE,
            format!(
                "the configuration {} is larger than {CONFIG_LIMIT} bytes",
                path.display()
            ),
        )
        .blame(Blame::Configuration));
    }
    Ok(text)
}

struct Layer<'a> {
    path: &'a Path,
}

impl Layer<'_> {
    /// `prefix` is the dotted path of the table, for messages.
    fn apply(&self, mut command: Command, table: Table, prefix: &str) -> Result<Command, Failure> {
        for (key, value) in table {
            let name = if prefix.is_empty() {
                key.clone()
            } else {
                format!("{prefix}.{key}")
            };
            if let Value::Table(inner) = value {
                let Some(subcommand) = command
                    .find_subcommand(&key)
                    .map(Command::get_name)
                    .map(str::to_owned)
                else {
                    return Err(self.unknown(&command, &name));
                };
                let mut outcome = Ok(());
                command = command.mut_subcommand(subcommand, |subcommand| {
                    self.apply(subcommand.clone(), inner, &name)
                        .unwrap_or_else(|failure| {
                            outcome = Err(failure);
                            subcommand
                        })
                });
                outcome?;
                continue;
            }
            let Some(id) = settable(&command)
                .find(|arg| arg.get_long() == Some(&key))
                .map(Arg::get_id)
                .cloned()
            else {
                return Err(self.unknown(&command, &name));
            };
            let values = self.texts(&name, value)?;
            command = command.mut_arg(id, |arg| arg.default_values(values).required(false));
        }
        Ok(command)
    }

    fn unknown(&self, command: &Command, name: &str) -> Failure {
        let mut known: Vec<String> = settable(command)
            .filter_map(Arg::get_long)
            .map(str::to_owned)
            .collect();
        known.extend(
            command
                .get_subcommands()
                .map(|subcommand| format!("[{}]", subcommand.get_name())),
        );
        Failure::new(
            ErrorCode::CONFIG_UNKNOWN_KEY,
            format!("{} has an unknown key {name:?}", self.path.display()),
        )
        .hint(format!(
            "keys that `{}` knows: {}",
            command.get_name(),
            known.join(", ")
        ))
        .blame(Blame::Configuration)
    }

    /// A scalar as one text, an array of scalars as several. `clap` keeps defaults for the life of the process and
    /// wants them `'static`; a file is read once, so the leak is bounded by [`CONFIG_LIMIT`].
    fn texts(&self, name: &str, value: Value) -> Result<Vec<&'static str>, Failure> {
        let values = match value {
            Value::Array(values) => values,
            scalar => vec![scalar],
        };
        values
            .into_iter()
            .map(|value| {
                let text = match value {
                    Value::String(text) => text,
                    Value::Integer(number) => number.to_string(),
                    Value::Float(number) => number.to_string(),
                    Value::Boolean(truth) => truth.to_string(),
                    Value::Datetime(time) => time.to_string(),
                    Value::Array(_) | Value::Table(_) => {
                        return Err(Failure::new(
                            ErrorCode::CONFIG_INVALID,
                            format!("{}: {name} is nested too deeply", self.path.display()),
                        )
                        .hint("give a string, a number, true or false, or a list of them")
                        .blame(Blame::Configuration));
                    }
                };
                Ok(&*Box::leak(text.into_boxed_str()))
            })
            .collect()
    }
}

fn settable(command: &Command) -> impl Iterator<Item = &Arg> {
    command.get_arguments().filter(|arg| {
        arg.get_long()
            .is_some_and(|long| !NOT_IN_FILE.contains(&long))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ArgAction;

    fn check(text: &str, expect: Result<&str, ErrorCode>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.toml");
        std::fs::write(&path, text).unwrap();
        let command = Command::new("agent")
            .arg(Arg::new("log").long("log").global(true))
            .subcommand(
                Command::new("serve")
                    .arg(Arg::new("listen").long("listen").required(true))
                    .arg(Arg::new("loud").long("loud").action(ArgAction::SetTrue))
                    .subcommand(Command::new("once").arg(Arg::new("port").long("port"))),
            );
        let outcome = with_configuration(command, &path).map(|command| {
            let matches = command.get_matches_from(["agent", "serve"]);
            let serve = matches.subcommand_matches("serve").unwrap();
            serve.get_one::<String>("listen").unwrap().clone()
        });
        assert_eq!(
            outcome.as_deref().map_err(|failure| failure.code()),
            expect,
            "{text}"
        );
    }

    #[test]
    fn keys_are_the_options_and_tables_the_subcommands() {
        check(
            "log = \"info\"\n[serve]\nlisten = \"a\"\nloud = false\n",
            Ok("a"),
        );
        check("serve.listen = 7\n[serve.once]\nport = 80\n", Ok("7"));
    }

    #[test]
    fn unknown_keys_and_tables_are_refused() {
        check("lgo = \"info\"\n", Err(ErrorCode::CONFIG_UNKNOWN_KEY));
        check("listen = \"a\"\n", Err(ErrorCode::CONFIG_UNKNOWN_KEY));
        check(
            "[sevre]\nlisten = \"a\"\n",
            Err(ErrorCode::CONFIG_UNKNOWN_KEY),
        );
        check(
            "[serve.twice]\nport = 1\n",
            Err(ErrorCode::CONFIG_UNKNOWN_KEY),
        );
        check("json = true\n", Err(ErrorCode::CONFIG_UNKNOWN_KEY));
    }

    #[test]
    fn what_is_not_toml_or_too_deep_or_too_large_is_refused() {
        check("listen: a", Err(ErrorCode::CONFIG_UNREADABLE));
        check("[serve]\nlisten = [[1]]\n", Err(ErrorCode::CONFIG_INVALID));
        check(
            &format!("# {}\n", "x".repeat(CONFIG_LIMIT as usize)),
            Err(ErrorCode::CONFIG_UNREADABLE),
        );
    }

    #[test]
    fn a_missing_file_is_a_usage_error_that_names_it() {
        let failure = with_configuration(Command::new("agent"), Path::new("/nowhere/agent.toml"))
            .unwrap_err();
        assert_eq!(failure.code(), ErrorCode::CONFIG_UNREADABLE);
        assert!(failure.message().contains("/nowhere/agent.toml"));
    }
}
