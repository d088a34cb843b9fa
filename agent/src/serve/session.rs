//! One channel with one peer: its requests, and the streams of batches that they cause.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::Utc;
use tokio::task::JoinSet;
use tributary_protocol::ledger::{Requester, answer};
use tributary_protocol::{
    AgentRequest, AgentResponse, BatchHeader, DatasetName, Digest, Envelope, RunNumber,
    ServiceRefusal, ServiceRefusalCode,
};
use tributary_protocol::{Attested, Channel, ChannelError, CloseCode, Identified, Request};

use super::refusals::{internal, of_book, refuse};
use super::runs::{Draw, LeasedSteps, Runs};

/// How often an open channel is held against the officer's refusals.
const REFUSAL_CHECK: Duration = Duration::from_secs(1);

/// Serves a peer whose evidence was accepted, until the channel closes.
pub(super) async fn serve_attested(runs: Arc<Runs>, channel: Arc<Channel<Attested>>) {
    let peer = channel.peer();
    let me = Requester {
        party: peer.party.clone(),
        role: peer.role,
    };
    let mut tasks = JoinSet::new();
    let mut check = tokio::time::interval(REFUSAL_CHECK);
    // The aggregator attests anew in time; this side begins where what it judges by has changed.
    let kept = channel.keep_attested();
    let mut kept = std::pin::pin!(kept);
    loop {
        tokio::select! {
            request = channel.accept_request() => {
                let Some(request) = request else { break };
                let (runs, channel, me) = (Arc::clone(&runs), Arc::clone(&channel), me.clone());
                tasks.spawn(async move { handle(&runs, &channel, &me, request).await });
            }
            _ = check.tick() => {
                if let Err(error) = runs.book.get(&peer.contract) {
                    channel.close(CloseCode::REVOKED, &of_book(error).message);
                    break;
                }
            }
            error = &mut kept => {
                tracing::info!(%error, "a channel ended");
                break;
            }
            Some(done) = tasks.join_next(), if !tasks.is_empty() => log(done),
        }
    }
    // What streams now is leased and spent; the peer is gone or no longer welcome.
    tasks.abort_all();
}

/// Serves a consumer's workstation, which has proved its key and nothing else: the ledger, and never a record.
pub(super) async fn serve_identified(runs: Arc<Runs>, channel: Channel<Identified>) {
    let peer = channel.peer();
    let me = Requester {
        party: peer.party,
        role: peer.role,
    };
    while let Some(request) = channel.accept_request().await {
        let response = match request.parse() {
            Ok(AgentRequest::Ledger(body)) => ledger(&runs, &peer.contract, &me, &body).await,
            Ok(_) => AgentResponse::Refused(refuse(
                ServiceRefusalCode::Request,
                "expected a request to the ledger: this peer is identified and not attested",
                "run `aggregator train` in a TEE",
            )),
            Err(error) => AgentResponse::Refused(unreadable(&error)),
        };
        if let Err(error) = request.answer_with(&response).await {
            tracing::debug!(%error, "an answer was not taken");
        }
    }
}

async fn handle(
    runs: &Runs,
    channel: &Arc<Channel<Attested>>,
    me: &Requester,
    request: Request,
) -> Result<(), ChannelError> {
    let contract = channel.peer().contract;
    let question = match request.parse() {
        Ok(question) => question,
        Err(error) => {
            return request
                .answer_with(&AgentResponse::Refused(unreadable(&error)))
                .await;
        }
    };
    if let AgentRequest::Ledger(body) = question {
        return request
            .answer_with(&ledger(runs, &contract, me, &body).await)
            .await;
    }
    if let Err(refusal) = expect_aggregator(channel, me) {
        return request.answer_with(&AgentResponse::Refused(refusal)).await;
    }
    match question {
        AgentRequest::Join {
            contract: number,
            run,
            authorisation,
        } => {
            let joined = match expect_own_authorisation(channel, &authorisation) {
                Ok(()) => {
                    runs.join(&contract, number, run, authorisation, Utc::now())
                        .await
                }
                Err(refusal) => Err(refusal),
            };
            let response = joined.map_or_else(AgentResponse::Refused, AgentResponse::Joined);
            request.answer_with(&response).await
        }
        AgentRequest::Stream {
            run,
            dataset,
            first_step,
            count,
        } => {
            let leased = runs
                .lease(&contract, run, &dataset, first_step, count, Utc::now())
                .await;
            match leased {
                Err(refusal) => request.answer_with(&AgentResponse::Refused(refusal)).await,
                Ok(leased) => {
                    let response = AgentResponse::Streaming {
                        first_step: leased.first_step,
                        count: leased.count,
                    };
                    request.answer_with(&response).await?;
                    stream(channel, run, dataset, leased).await
                }
            }
        }
        AgentRequest::Settle {
            run,
            dataset,
            through,
            checkpoint,
        } => {
            let settled = runs
                .settle(&contract, run, &dataset, through, checkpoint)
                .await;
            let response = settled.map_or_else(AgentResponse::Refused, |()| AgentResponse::Settled);
            request.answer_with(&response).await
        }
        AgentRequest::Ledger(_) => Ok(()),
    }
}

/// Records go to an aggregator alone, and only while its attestation is fresh.
fn expect_aggregator(channel: &Channel<Attested>, me: &Requester) -> Result<(), ServiceRefusal> {
    if me.role != tributary_protocol::Role::Aggregator {
        return Err(refuse(
            ServiceRefusalCode::Request,
            format_args!("expected an aggregator, got {} as {}", me.party, me.role),
            "run `aggregator train`",
        ));
    }
    channel.check_fresh().map_err(|error| {
        refuse(
            ServiceRefusalCode::Attestation,
            &error,
            "attest the channel anew",
        )
    })
}

/// A runner that is not the consumer takes part in the run that its own authorisation opened, and in no other's.
fn expect_own_authorisation(
    channel: &Channel<Attested>,
    opened_with: &Digest,
) -> Result<(), ServiceRefusal> {
    let Some(envelope) = channel.peer().authorisation else {
        return Ok(());
    };
    match Envelope::from_json(&envelope) {
        Ok(envelope) if envelope.payload_digest() == *opened_with => Ok(()),
        _ => Err(refuse(
            ServiceRefusalCode::Run,
            format_args!(
                "expected the run to be opened with the authorisation by which its runner proved itself, got {opened_with}"
            ),
            "begin the run with the authorisation that names this runner",
        )),
    }
}

async fn ledger(runs: &Runs, contract: &Digest, me: &Requester, body: &[u8]) -> AgentResponse {
    let signed = match runs.book.get(contract) {
        Ok(signed) => signed,
        Err(error) => return AgentResponse::Refused(of_book(error)),
    };
    if !runs.ledgers.keeps(signed.contract()) {
        return AgentResponse::Refused(refuse(
            ServiceRefusalCode::Ledger,
            format_args!(
                "expected agent {}, which keeps this contract's ledger, got {}",
                signed.contract().document().ledger.members[0],
                runs.party
            ),
            "ask that agent",
        ));
    }
    AgentResponse::Ledger(answer(runs.ledgers.kept_here(), me, body).await)
}

/// Draws and sends the batches of leased steps, one ahead of the wire.
async fn stream(
    channel: &Channel<Attested>,
    run: RunNumber,
    dataset: DatasetName,
    leased: LeasedSteps,
) -> Result<(), ChannelError> {
    let LeasedSteps {
        draw,
        first_step,
        count,
    } = leased;
    let mut sender = channel.open_batches().await?;
    let header = BatchHeader {
        run,
        dataset,
        first_step,
        count,
    };
    let header = postcard::to_allocvec(&header).unwrap_or_default();
    sender.send(Bytes::from(header)).await?;
    let mut next = tokio::task::spawn_blocking({
        let draw = Arc::clone(&draw);
        move || draw_batch(&draw)
    });
    for step in 0..count {
        let frame = match next.await {
            Ok(Ok(frame)) => frame,
            Ok(Err(error)) => return Err(stop(channel, &error)),
            Err(error) => return Err(stop(channel, &error)),
        };
        next = tokio::task::spawn_blocking({
            let draw = Arc::clone(&draw);
            let last = step + 1 == count;
            move || {
                if last {
                    Ok(Bytes::new())
                } else {
                    draw_batch(&draw)
                }
            }
        });
        sender.send(frame).await?;
    }
    sender.finish().await
}

fn draw_batch(draw: &Draw) -> Result<Bytes, Box<dyn std::error::Error + Send + Sync>> {
    let sample = draw
        .sampler
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
        .draw();
    Ok(crate::sampler::padded_batch(
        &draw.records,
        &draw.format,
        &sample,
    )?)
}

/// A dataset that fails while it streams is this agent's fault: the peer sees the stream end.
fn stop(channel: &Channel<Attested>, error: &dyn std::fmt::Display) -> ChannelError {
    let refusal = internal(error);
    channel.close(CloseCode::PROTOCOL, &refusal.message);
    ChannelError::Closed
}

fn unreadable(error: &ChannelError) -> ServiceRefusal {
    refuse(
        ServiceRefusalCode::Request,
        format_args!("expected a request, got bytes that are none: {error}"),
        "use the same version on both sides",
    )
}

fn log(done: Result<Result<(), ChannelError>, tokio::task::JoinError>) {
    match done {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a request was not served to its end"),
        Err(error) if error.is_cancelled() => {}
        Err(error) => tracing::error!(%error, "serving a request ended unexpectedly"),
    }
}
