//! This program as a party: the binaries' `main`s are thin, so that it can be either of them.

use std::ffi::OsString;
use std::process::ExitCode;

use tributary_console::run_arguments;

/// The first argument with which this program becomes a party.
const AS_PARTY: &str = "as";

/// A program of the federation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Party {
    /// A provider's `agent`.
    Agent,
    /// The consumer's `aggregator`.
    Aggregator,
}

impl Party {
    /// The name of its binary.
    pub const fn program(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Aggregator => "aggregator",
        }
    }

    /// The arguments that make this program the party.
    pub(super) fn arguments(self) -> [&'static str; 2] {
        [AS_PARTY, self.program()]
    }
}

/// Where the first arguments say so, runs the party with the rest of them, and says how it ended.
pub fn act_as_party(arguments: impl Iterator<Item = OsString>) -> Option<ExitCode> {
    let mut arguments = arguments.skip(1);
    if arguments.next()? != AS_PARTY {
        return None;
    }
    let program = arguments.next()?;
    let line = std::iter::once(program.clone()).chain(arguments);
    if program == Party::Agent.program() {
        Some(run_arguments(line, tributary_agent::cli::program))
    } else if program == Party::Aggregator.program() {
        Some(run_arguments(line, tributary_aggregator::cli::program))
    } else {
        None
    }
}
