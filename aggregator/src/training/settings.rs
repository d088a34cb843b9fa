//! What a run needs to be told.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use tributary_attest::TeeChoice;
use tributary_protocol::{PartyName, RunNumber, SequenceNumber};

use tributary_console_collateral::CollateralArgs;

/// Trains under a contract.
///
/// Begins a run, or resumes the one that is open: joins the agents, trains with differential privacy on what they stream, and seals the model to the consumer's key.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  aggregator train --home tdc --passphrase-file tdc.pass --contract 1 \\
      --agent alice=127.0.0.1:7001 --agent bob=127.0.0.1:7002
  aggregator train --home tdc --passphrase-file tdc.pass --contract 1 --resume --listen 0.0.0.0:7100 --tee sev-snp")]
pub struct TrainArgs {
    /// The consumer's folder, made by `aggregator init`.
    #[arg(long, env = "TRIBUTARY_HOME", value_name = "DIR")]
    pub home: PathBuf,
    /// A file whose first line opens the private key.
    #[arg(long, env = "TRIBUTARY_PASSPHRASE_FILE", value_name = "FILE")]
    pub passphrase_file: PathBuf,
    /// The contract's number on the ledger.
    #[arg(long, value_name = "SEQ")]
    pub contract: SequenceNumber,
    /// The run to begin or resume; the next one, or the open one, where left out.
    #[arg(long, value_name = "N")]
    pub run: Option<RunNumber>,
    /// Go on with the run that is open, from its newest checkpoint.
    #[arg(long)]
    pub resume: bool,
    /// An agent and where it listens. Agents without an address must dial (see `--listen`).
    #[arg(long = "agent", value_name = "NAME=ADDR", value_parser = parse_agent)]
    pub agents: Vec<(PartyName, SocketAddr)>,
    /// Where agents that dial reach this aggregator.
    #[arg(
        long,
        env = "TRIBUTARY_LISTEN",
        value_name = "ADDR",
        default_value = "127.0.0.1:0"
    )]
    pub listen: SocketAddr,
    /// The consumer's authorisation of this run; made on the spot where this home holds the consumer's contract key.
    #[arg(long, value_name = "FILE")]
    pub authorisation: Option<PathBuf>,
    /// Seconds to wait for agents at the start.
    #[arg(
        long,
        env = "TRIBUTARY_WAIT",
        value_name = "SECONDS",
        default_value_t = 60
    )]
    pub wait: u64,
    /// Seconds to wait for an agent that left during the run.
    #[arg(
        long,
        env = "TRIBUTARY_PATIENCE",
        value_name = "SECONDS",
        default_value_t = 600
    )]
    pub patience: u64,
    /// Threads that train; one for each core where left out.
    #[arg(long, env = "TRIBUTARY_THREADS", value_name = "N")]
    pub threads: Option<NonZeroUsize>,
    /// IDX images of the consumer's own validation set, if the contract discloses metrics on one.
    #[arg(long, value_name = "FILE", requires = "validation_targets")]
    pub validation_images: Option<PathBuf>,
    /// IDX labels of the validation set.
    #[arg(
        long,
        value_name = "FILE",
        requires = "validation_images",
        group = "validation_targets"
    )]
    pub validation_labels: Option<PathBuf>,
    /// IDX images whose bytes are classes, where the contract's labels are such masks.
    #[arg(
        long,
        value_name = "FILE",
        requires = "validation_images",
        group = "validation_targets"
    )]
    pub validation_masks: Option<PathBuf>,
    /// What vouches for this program: auto, sev-snp, tdx or simulated. `auto` takes what the machine offers and never the
    /// simulated TEE [default: simulated in a home made with `init --simulated`, else auto].
    #[arg(long, env = "TRIBUTARY_TEE", value_name = "TEE")]
    pub tee: Option<TeeChoice>,
    /// Where the collateral lies by which evidence of hardware is judged.
    #[command(flatten)]
    pub collateral: CollateralArgs,
}

impl TrainArgs {
    pub(super) fn addresses(&self) -> BTreeMap<PartyName, SocketAddr> {
        self.agents.iter().cloned().collect()
    }

    pub(super) fn wait(&self) -> Duration {
        Duration::from_secs(self.wait)
    }

    pub(super) fn patience(&self) -> Duration {
        Duration::from_secs(self.patience)
    }

    pub(super) fn threads(&self) -> NonZeroUsize {
        self.threads
            .or_else(|| std::thread::available_parallelism().ok())
            .unwrap_or(NonZeroUsize::MIN)
    }
}

fn parse_agent(text: &str) -> Result<(PartyName, SocketAddr), String> {
    let (name, address) = text
        .split_once('=')
        .ok_or_else(|| format!("expected NAME=ADDR such as alice=127.0.0.1:7001, got `{text}`"))?;
    let name = name.parse().map_err(|error| format!("{error}"))?;
    let address = address
        .parse()
        .map_err(|_| format!("expected an address such as 127.0.0.1:7001, got `{address}`"))?;
    Ok((name, address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agents_are_a_name_and_an_address() {
        let (name, address) = parse_agent("alice=127.0.0.1:7001").unwrap();
        assert_eq!((name.as_str(), address.port()), ("alice", 7001));
        for bad in [
            "alice",
            "=127.0.0.1:1",
            "alice=",
            "alice=localhost",
            "Alice=127.0.0.1:1",
        ] {
            assert!(parse_agent(bad).is_err(), "{bad}");
        }
    }
}
