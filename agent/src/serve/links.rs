//! Channels that come and channels that are sought: the roles of the handshake do not depend on who dials.

use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tributary_attest::CollateralFolder;
use tributary_console::Console;
use tributary_console_collateral::follow;
use tributary_protocol::{CloseCode, Digest, Endpoint, Established, Role};

use super::runs::Runs;
use super::session::{serve_attested, serve_identified};

/// How long an aggregator that does not answer is left alone before it is tried again.
const DIAL_PAUSE: Duration = Duration::from_secs(1);

/// Serves until the process is told to stop.
pub(super) async fn run(
    runs: Arc<Runs>,
    endpoint: Endpoint,
    dial: &[String],
    folder: Option<CollateralFolder>,
    console: &Console,
) {
    let mut tasks = JoinSet::new();
    let reread = folder.map(|folder| {
        let reread = Arc::<Notify>::default();
        let (endpoint, asked) = (endpoint.clone(), Arc::clone(&reread));
        tasks.spawn(follow(endpoint, folder, asked, console.clone()));
        reread
    });
    for address in dial {
        tasks.spawn(keep_dialling(
            Arc::clone(&runs),
            endpoint.clone(),
            address.clone(),
            console.clone(),
        ));
    }
    let stop = stop_signal();
    let mut stop = std::pin::pin!(stop);
    let mut hang_up = HangUp::new();
    loop {
        tokio::select! {
            arrival = endpoint.accept() => {
                let Some(arrival) = arrival else { break };
                let (runs, console) = (Arc::clone(&runs), console.clone());
                tasks.spawn(async move {
                    let from = arrival.remote_address();
                    match arrival.establish().await {
                        Ok(established) => serve(runs, established, &console).await,
                        Err(error) => console.warn(format_args!("a peer at {from} was not served: {error}")),
                    }
                });
            }
            Some(done) = tasks.join_next(), if !tasks.is_empty() => {
                if let Err(error) = done && !error.is_cancelled() {
                    tracing::error!(%error, "a task ended unexpectedly");
                }
            }
            () = hang_up.next() => match &reread {
                Some(reread) => reread.notify_one(),
                None => {
                    console.note("every peer is judged anew");
                    endpoint.judge_anew();
                }
            },
            () = &mut stop => break,
        }
    }
    tasks.abort_all();
    endpoint
        .close(CloseCode::SHUTTING_DOWN, "the agent stops")
        .await;
}

async fn serve(runs: Arc<Runs>, established: Established, console: &Console) {
    let peer = established.peer();
    match established {
        Established::Attested(channel) => {
            console.note(format_args!(
                "{} of {} attested this agent and was attested: {}",
                peer.role,
                peer.party,
                channel.verdict()
            ));
            serve_attested(runs, Arc::new(channel)).await;
        }
        Established::Identified(channel) => {
            console.note(format_args!(
                "{} of {} proved its key; it may ask the ledger and gets no records",
                peer.role, peer.party
            ));
            serve_identified(runs, channel).await;
        }
    }
}

/// Offers every contract in force to an aggregator, which takes the one it runs.
async fn keep_dialling(runs: Arc<Runs>, endpoint: Endpoint, address: String, console: Console) {
    loop {
        for contract in contracts_in_force(&runs) {
            let peer = match Endpoint::resolve(&address).await {
                Ok(peer) => peer,
                Err(error) => {
                    tracing::debug!(%address, %error, "an aggregator's address does not resolve");
                    break;
                }
            };
            match endpoint.dial(peer, &contract).await {
                Ok(established) if established.peer().role == Role::Aggregator => {
                    serve(Arc::clone(&runs), established, &console).await;
                }
                Ok(_) => {}
                Err(error) => tracing::debug!(%address, %error, "an aggregator was not reached"),
            }
        }
        tokio::time::sleep(DIAL_PAUSE).await;
    }
}

fn contracts_in_force(runs: &Runs) -> Vec<Digest> {
    let now = Utc::now();
    let mut digests = runs.book.digests().unwrap_or_else(|error| {
        tracing::error!(%error, "the contracts cannot be listed");
        Vec::new()
    });
    digests.retain(|digest| {
        runs.book
            .get(digest)
            .is_ok_and(|signed| signed.contract().in_force(now).is_ok())
    });
    digests
}

/// SIGHUP, by which an operator says that what peers are judged by has changed.
struct HangUp(Option<tokio::signal::unix::Signal>);

impl HangUp {
    fn new() -> Self {
        Self(tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup()).ok())
    }

    /// The next one; never where the system gives no signals.
    async fn next(&mut self) {
        let came = match &mut self.0 {
            Some(signals) => signals.recv().await,
            None => None,
        };
        if came.is_none() {
            std::future::pending().await
        }
    }
}

/// Ctrl-C, or the system's request to stop.
async fn stop_signal() {
    let interrupt = tokio::signal::ctrl_c();
    match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
        Ok(mut terminate) => {
            tokio::select! {
                _ = interrupt => {}
                _ = terminate.recv() => {}
            }
        }
        Err(_) => {
            let _ = interrupt.await;
        }
    }
}
