//! The commands as people run them, in this process, with the files and peers that they would meet.

mod federation;
mod ledger;
mod models;
mod privacy;
mod scene;
mod writing;

use clap::{Command, CommandFactory as _};

use super::AggregatorLine;

/// Calls `check` with each command that does something, and its words.
fn each_leaf(command: &Command, words: &str, check: &mut dyn FnMut(&Command, &str)) {
    if command.get_subcommands().next().is_none() {
        check(command, words);
    }
    for inner in command.get_subcommands() {
        each_leaf(inner, &format!("{words} {}", inner.get_name()), check);
    }
}

#[test]
fn the_help_of_every_command_has_an_example_of_itself() {
    let line = AggregatorLine::command();
    line.clone().debug_assert();
    let mut leaves = 0;
    each_leaf(&line, "aggregator", &mut |command, words| {
        leaves += 1;
        let help = command
            .get_after_help()
            .map(ToString::to_string)
            .unwrap_or_default();
        assert!(
            help.contains(words),
            "`{words} --help` has no example: {help:?}"
        );
    });
    assert!(leaves >= 11, "{leaves} commands");
}

#[test]
fn secrets_are_no_arguments() {
    each_leaf(
        &AggregatorLine::command(),
        "aggregator",
        &mut |command, words| {
            for argument in command.get_arguments() {
                let name = argument.get_id().as_str();
                assert!(
                    !["passphrase", "password", "secret", "key"].contains(&name),
                    "`{words}` takes {name}"
                );
            }
        },
    );
}
