//! The agents of a federation: started, watched, and started again where a signal ended one, as a service manager would.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tributary_console::{Console, ErrorCode, Failure};

use super::party::Party;
use super::process::Process;
use super::{Folder, as_owned, keys, provider};

/// How often one process is started again before its ends are taken for a fault.
pub(super) const RESTARTS: usize = 3;

/// How often agents are looked after.
const ROUND: Duration = Duration::from_millis(200);

/// Agents that serve. The first keeps the ledger.
pub(super) struct Agents<'a> {
    folder: &'a Folder,
    running: Vec<RunningAgent>,
}

struct RunningAgent {
    name: String,
    address: SocketAddr,
    /// What it is called with, besides where to listen.
    serve: Vec<String>,
    process: Process,
    restarts: usize,
}

impl<'a> Agents<'a> {
    /// Starts agents on ports that the system chooses.
    pub(super) async fn start(
        folder: &'a Folder,
        count: usize,
        console: &Console,
    ) -> Result<Self, Failure> {
        let mut running: Vec<RunningAgent> = Vec::new();
        for number in 1..=count {
            let name = provider(number);
            let mut serve = as_owned(&["serve", "--tee", "simulated"]);
            serve.extend(keys(folder, &name));
            if let Some(keeper) = running.first() {
                // The first agent keeps the ledger, and the others ask it.
                serve.extend([
                    "--ledger".to_owned(),
                    format!("{}={}", keeper.name, keeper.address),
                ]);
            }
            let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
            let (process, address) = serving(folder, &name, &serve, any_port).await?;
            console.note(format_args!(
                "{name} serves at {address}, process {}",
                process.pid()
            ));
            running.push(RunningAgent {
                name,
                address,
                serve,
                process,
                restarts: 0,
            });
        }
        Ok(Self { folder, running })
    }

    /// Who keeps the ledger, and where.
    pub(super) fn keeper(&self) -> (&str, SocketAddr) {
        let keeper = &self.running[0];
        (&keeper.name, keeper.address)
    }

    /// Each agent's name and address.
    pub(super) fn addresses(&self) -> impl Iterator<Item = (&str, SocketAddr)> {
        self.running
            .iter()
            .map(|agent| (agent.name.as_str(), agent.address))
    }

    /// Starts agents again, at their addresses, that a signal ended; returns only where that does not help.
    pub(super) async fn keep_running(&mut self, console: &Console) -> Failure {
        loop {
            for agent in &mut self.running {
                if let Err(failure) = agent.look_after(self.folder, console).await {
                    return failure;
                }
            }
            tokio::time::sleep(ROUND).await;
        }
    }

    /// The largest resident memory of each so far, in MiB.
    pub(super) fn peak_rss_mib(&self) -> Result<BTreeMap<String, f64>, Failure> {
        let peak = |agent: &RunningAgent| Ok((agent.name.clone(), agent.process.peak_rss_mib()?));
        self.running.iter().map(peak).collect()
    }

    /// Asks all to stop.
    pub(super) async fn stop(self) -> Result<(), Failure> {
        for agent in self.running {
            agent.process.stop().await?;
        }
        Ok(())
    }
}

impl RunningAgent {
    async fn look_after(&mut self, folder: &Folder, console: &Console) -> Result<(), Failure> {
        let Some(code) = self.process.ended()? else {
            return Ok(());
        };
        let Self { name, .. } = self;
        if code.is_some() || self.restarts == RESTARTS {
            let how = match code {
                Some(code) => format!("ended with exit code {code}"),
                None => format!("was ended by a signal, after {RESTARTS} restarts"),
            };
            return Err(Failure::new(ErrorCode::PEER_LOST, format!("{name} {how}"))
                .hint(format!("see {}", folder.log(name).display())));
        }
        console.warn(format_args!(
            "{name} was ended by a signal; it starts again at {}",
            self.address
        ));
        self.restarts += 1;
        (self.process, _) = serving(folder, name, &self.serve, self.address).await?;
        Ok(())
    }
}

/// Starts an agent and waits until it says where it listens.
async fn serving(
    folder: &Folder,
    name: &str,
    serve: &[String],
    listen: SocketAddr,
) -> Result<(Process, SocketAddr), Failure> {
    let mut serve = serve.to_vec();
    serve.extend(["--listen".to_owned(), listen.to_string()]);
    let mut process = Process::start(Party::Agent, &serve, &folder.log(name))?;
    let ready = process.first_result().await?;
    let address = ready
        .pointer("/listening")
        .and_then(Value::as_str)
        .and_then(|address| address.parse().ok())
        .ok_or_else(|| {
            Failure::new(
                ErrorCode::INTERNAL,
                format!("{name} did not say where it listens"),
            )
        })?;
    Ok((process, address))
}
