//! How Tributary's programs speak to people: what every binary shares, so that all of them feel the same.
//!
//! For: exit codes and stable error codes, the JSON envelope, layered configuration, secret files, shell completions
//! and manual pages, logs, progress, tables, sizes and durations, interruption.
//! Not for: anything a protocol, a vault or a trainer needs; no library below the binaries depends on this crate.
//!
//! A value flows like this: a binary's `main` is one call of [`run`], which reads arguments, environment and
//! configuration file into the binary's own `clap` type, starts the logs, and calls the program with a [`Console`].
//! The program prints its result with [`Console::result`] and fails with a [`Failure`], whose [`ErrorCode`] decides the
//! process's [`Exit`].
//!
//! ```
//! use tributary_console::{CommandLine, Console, Failure, GlobalArgs, run_with};
//!
//! /// Greets.
//! #[derive(clap::Parser)]
//! #[command(name = "greet", version)]
//! struct Greet {
//!     #[command(flatten)]
//!     global: GlobalArgs,
//!     /// Whom to greet.
//!     #[arg(long, env = "TRIBUTARY_GREET_NAME", default_value = "world")]
//!     name: String,
//! }
//!
//! impl CommandLine for Greet {
//!     fn global(&self) -> &GlobalArgs {
//!         &self.global
//!     }
//! }
//!
//! let (console, captured) = Console::captured(true);
//! let exit = run_with(["greet", "--json", "--name", "Ada"], &console, |greet: Greet, console| {
//!     console.result(&greet.name, |out| writeln!(out, "hello {}", greet.name))
//! });
//! assert_eq!(exit.code(), 0);
//! assert_eq!(captured.stdout(), "{\"schema_version\":1,\"status\":\"ok\",\"data\":\"Ada\"}\n");
//! ```
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod code;
mod config;
mod counter;
mod exit;
mod failure;
mod interrupt;
mod logs;
mod output;
mod progress;
mod quantity;
mod rss;
mod run;
mod secret;
mod shell;
mod table;
mod wait;

pub use code::ErrorCode;
pub use config::{CONFIG_LIMIT, with_configuration};
pub use counter::CountProgress;
pub use exit::Exit;
pub use failure::{Blame, Failure, FailureContext, IntoFailure};
pub use interrupt::interruptible;
pub use logs::start_logs;
pub use output::{Captured, Console, SCHEMA_VERSION};
pub use progress::{StepProgress, StepReport};
pub use quantity::{ByteSize, HumanDuration, QuantityError};
pub use rss::{peak_rss, peak_rss_of, restart_peak_rss};
pub use run::{CommandLine, GlobalArgs, run, run_arguments, run_with};
pub use secret::{SECRET_LIMIT, read_secret};
pub use shell::{write_completions, write_manual};
pub use table::{Align, Table};
pub use wait::wait_visibly;
