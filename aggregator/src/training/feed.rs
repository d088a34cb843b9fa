//! Batches of one dataset, fetched ahead: while one trains, the next ones travel.
//!
//! A feed leases some steps at a time, receives their batches and holds a few of them ready.
//! When its agent dies it waits for it to return, joins the run again, and goes on with steps that were never leased:
//! what the agent had leased and not delivered is spent and lost, never sent twice.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tributary_console::{Console, HumanDuration, wait_visibly};
use tributary_protocol::ChannelError;
use tributary_protocol::{
    AgentRequest, AgentResponse, Batch, BatchError, BatchFormat, BatchHeader, DatasetRef, Digest,
    KeyShare, RunNumber, SequenceNumber, ServiceRefusal, ServiceRefusalCode,
};

use super::peers::{AgentChannel, AgentError, Peers};

/// Batches held ready: enough to hide one lease, few enough for a small VM.
const BATCHES_AHEAD: usize = 3;

/// Between two attempts at what an agent refuses for the time being.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// What a feed needs to know.
#[derive(Clone)]
pub(super) struct FeedTerms {
    /// The contract's number.
    pub contract: SequenceNumber,
    /// The run.
    pub run: RunNumber,
    /// The digest of the consumer's authorisation, as the ledger recorded it.
    pub authorisation: Digest,
    /// Which dataset.
    pub dataset: DatasetRef,
    /// The form of its batches.
    pub format: BatchFormat,
    /// Steps of the run.
    pub steps: u64,
    /// Steps leased at a time.
    pub window: u64,
    /// How long to wait for the agent.
    pub patience: Duration,
}

/// A dataset whose agent takes part in the run. Nothing is leased yet.
pub(super) struct JoinedFeed {
    fetcher: Fetcher,
    channel: AgentChannel,
    share: KeyShare,
    first_step: u64,
}

/// The receiving end of a feed.
pub(super) struct Feed {
    /// Which dataset.
    pub dataset: DatasetRef,
    /// The agent's share of the run's checkpoint key.
    pub share: KeyShare,
    /// The dataset's step with which it began.
    pub first_step: u64,
    batches: mpsc::Receiver<Result<FedBatch, FeedError>>,
    settlements: mpsc::Sender<Settlement>,
    task: tokio::task::JoinHandle<()>,
}

/// One step's batch.
pub(super) struct FedBatch {
    /// The dataset's step.
    pub step: u64,
    /// The records.
    pub batch: Batch,
    /// Bytes that travelled.
    pub bytes: u64,
}

struct Settlement {
    through: u64,
    checkpoint: Option<Digest>,
    done: oneshot::Sender<Result<(), FeedError>>,
}

/// Why a feed ends early.
#[derive(Debug, thiserror::Error)]
pub(super) enum FeedError {
    /// The agent did not come (back) in time.
    #[error("expected agent {agent} within {}, it did not come{}", HumanDuration(*.waited), last_words(.last))]
    Away {
        /// The agent.
        agent: tributary_protocol::PartyName,
        /// How long it was waited for.
        waited: Duration,
        /// What went wrong last.
        last: Option<Arc<ChannelError>>,
    },
    /// There can be no channel with it.
    #[error(transparent)]
    Agent(#[from] AgentError),
    /// The agent refuses.
    #[error("agent {agent} refuses: {refusal}")]
    Refused {
        /// The agent.
        agent: tributary_protocol::PartyName,
        /// Why.
        refusal: ServiceRefusal,
    },
    /// The agent does not keep to the protocol.
    #[error("agent {agent} does not keep to the protocol: expected {expected}, got {got}")]
    Protocol {
        /// The agent.
        agent: tributary_protocol::PartyName,
        /// What should have come.
        expected: &'static str,
        /// What came.
        got: String,
    },
    /// A batch that is none.
    #[error("a batch of {dataset}: {source}")]
    Batch {
        /// Whose.
        dataset: DatasetRef,
        /// Why.
        source: BatchError,
    },
}

fn last_words(error: &Option<Arc<ChannelError>>) -> String {
    error
        .as_ref()
        .map(|error| format!(" (last: {error})"))
        .unwrap_or_default()
}

impl JoinedFeed {
    /// Joins the run at the dataset's agent, which may refuse.
    pub(super) async fn join(
        peers: Arc<Peers>,
        terms: FeedTerms,
        console: Console,
    ) -> Result<Self, FeedError> {
        let mut fetcher = Fetcher {
            peers,
            terms,
            console,
        };
        let (channel, share, first_step) = fetcher.join().await?;
        Ok(Self {
            fetcher,
            channel,
            share,
            first_step,
        })
    }

    /// Begins to fetch, and thereby to spend.
    pub(super) fn start(self) -> Feed {
        let Self {
            mut fetcher,
            channel,
            share,
            first_step,
        } = self;
        let dataset = fetcher.terms.dataset.clone();
        let (batch_sender, batches) = mpsc::channel(BATCHES_AHEAD);
        let (settlements, settlement_receiver) = mpsc::channel(1);
        let task = tokio::spawn(async move {
            fetcher
                .run(channel, first_step, batch_sender, settlement_receiver)
                .await;
        });
        Feed {
            dataset,
            share,
            first_step,
            batches,
            settlements,
            task,
        }
    }
}

impl Feed {
    /// The next step's batch; `None` where the run's steps, or the budget, are used up.
    pub(super) async fn next(&mut self) -> Option<Result<FedBatch, FeedError>> {
        self.batches.recv().await
    }

    /// States on the ledger that the steps before `through` were trained on.
    pub(super) async fn settle(
        &self,
        through: u64,
        checkpoint: Option<Digest>,
    ) -> Result<(), FeedError> {
        let (done, answer) = oneshot::channel();
        let gone = || FeedError::Protocol {
            agent: self.dataset.owner.clone(),
            expected: "a feed that still runs",
            got: "one that ended".to_owned(),
        };
        self.settlements
            .send(Settlement {
                through,
                checkpoint,
                done,
            })
            .await
            .map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Fetcher {
    peers: Arc<Peers>,
    terms: FeedTerms,
    console: Console,
}

impl Fetcher {
    /// Fetches until steps or budget end, then serves settlements until nobody wants more.
    async fn run(
        &mut self,
        mut channel: AgentChannel,
        mut next: u64,
        batches: mpsc::Sender<Result<FedBatch, FeedError>>,
        mut settlements: mpsc::Receiver<Settlement>,
    ) {
        let mut stall = Stall::default();
        while next < self.terms.steps {
            let asked = next;
            let fetched = {
                let fetch = self.fetch(&channel, &mut next, &batches);
                let mut fetch = std::pin::pin!(fetch);
                loop {
                    tokio::select! {
                        outcome = &mut fetch => break outcome,
                        Some(settlement) = settlements.recv() => {
                            self.settle(&channel, settlement).await;
                        }
                    }
                }
            };
            let interrupted = match fetched {
                Ok(Fetched::All) => {
                    stall.over();
                    continue;
                }
                Ok(Fetched::NoMore) => break,
                Err(Interrupted::Reader) => return,
                Err(interrupted) => interrupted,
            };
            if next > asked {
                stall.over();
            }
            match self.take_up(interrupted, &channel, &mut stall).await {
                Ok((again, next_step)) => (channel, next) = (again, next_step),
                Err(error) => {
                    // The reader may be gone; then nobody needs the error.
                    let _ = batches.send(Err(error)).await;
                    break;
                }
            }
        }
        drop(batches);
        while let Some(settlement) = settlements.recv().await {
            self.settle_persistently(&mut channel, settlement).await;
        }
    }

    /// Joins the run again after an interruption, as long as that may mend it.
    async fn take_up(
        &mut self,
        interrupted: Interrupted,
        channel: &AgentChannel,
        stall: &mut Stall,
    ) -> Result<(AgentChannel, u64), FeedError> {
        match interrupted {
            Interrupted::Fatal(error) => return Err(error),
            Interrupted::Refused(refusal) => {
                let begins = stall.0.is_none();
                let left = stall.left(self.terms.patience);
                if left.is_zero() {
                    return Err(self.refused(refusal));
                }
                if begins {
                    let agent = &self.terms.dataset.owner;
                    self.console.warn(format_args!(
                        "agent {agent} holds the run up: {refusal}; asking again for {}",
                        HumanDuration(left)
                    ));
                }
                tokio::time::sleep(RETRY_PAUSE.min(left)).await;
            }
            Interrupted::Connection(error) => {
                tracing::info!(dataset = %self.terms.dataset, %error, "the run is interrupted at this agent");
                self.peers.lost(&self.terms.dataset.owner, channel);
            }
            // Whoever took up the run for it has noticed.
            Interrupted::Reader => {}
        }
        let (channel, _, next) = self.join().await?;
        Ok((channel, next))
    }

    /// Finds the agent, waiting visibly, and takes part in the run.
    async fn join(&mut self) -> Result<(AgentChannel, KeyShare, u64), FeedError> {
        let agent = self.terms.dataset.owner.clone();
        let patience = self.terms.patience;
        // The agent is there and its ledger is not: then the ledger is what was waited for in vain.
        let silent_ledger = std::sync::Mutex::new(None);
        let attempt = async {
            loop {
                let channel = self.peers.channel(&agent).await?;
                let request = AgentRequest::Join {
                    contract: self.terms.contract,
                    run: self.terms.run,
                    authorisation: self.terms.authorisation,
                };
                match ask(&channel, &request).await {
                    Ok(AgentResponse::Joined(joined)) => {
                        let ours = joined
                            .datasets
                            .iter()
                            .find(|dataset| dataset.dataset == self.terms.dataset.name)
                            .ok_or_else(|| {
                                self.unexpected("the dataset of the contract", "others")
                            })?;
                        if ours.capacity != u64::from(self.terms.format.capacity()) {
                            return Err(self.unexpected(
                                "batches of the capacity that the contract implies",
                                &format!("a capacity of {}", ours.capacity),
                            ));
                        }
                        return Ok((channel, joined.share.clone(), ours.next_step));
                    }
                    Ok(AgentResponse::Refused(refusal))
                        if refusal.code == ServiceRefusalCode::Ledger =>
                    {
                        // The ledger's keeper may be the one that is away: ask again.
                        remember(&silent_ledger, Some(refusal));
                        tokio::time::sleep(RETRY_PAUSE).await;
                    }
                    Ok(AgentResponse::Refused(refusal)) => return Err(self.refused(refusal)),
                    Ok(other) => return Err(self.unexpected("Joined", kind(&other))),
                    Err(_) => {
                        remember(&silent_ledger, None);
                        self.peers.lost(&agent, &channel);
                    }
                }
            }
        };
        let what = format!("agent {agent}");
        match wait_visibly(&self.console, what, patience, attempt).await {
            Some(outcome) => outcome,
            None => Err(match remember(&silent_ledger, None) {
                Some(refusal) => self.refused(refusal),
                None => FeedError::Away {
                    last: self.peers.last_error(&agent),
                    agent,
                    waited: patience,
                },
            }),
        }
    }

    /// One lease and its batches.
    async fn fetch(
        &self,
        channel: &AgentChannel,
        next: &mut u64,
        batches: &mpsc::Sender<Result<FedBatch, FeedError>>,
    ) -> Result<Fetched, Interrupted> {
        let request = AgentRequest::Stream {
            run: self.terms.run,
            dataset: self.terms.dataset.name.clone(),
            first_step: *next,
            count: self.terms.window.min(self.terms.steps - *next),
        };
        let (first_step, count) = match ask(channel, &request).await? {
            AgentResponse::Streaming { first_step, count } => (first_step, count),
            AgentResponse::Refused(refusal) if refusal.code == ServiceRefusalCode::Budget => {
                return Ok(Fetched::NoMore);
            }
            AgentResponse::Refused(refusal) => return Err(self.interruption(refusal)),
            other => return Err(self.unexpected("Streaming", kind(&other)).into()),
        };
        if first_step != *next || count == 0 || count > self.terms.window {
            return Err(self
                .unexpected("the steps that were asked for", "others")
                .into());
        }
        let mut stream = channel.accept_batches().await.map_err(connection)?;
        let header = stream.next().await.map_err(connection)?.unwrap_or_default();
        let expected = BatchHeader {
            run: self.terms.run,
            dataset: self.terms.dataset.name.clone(),
            first_step,
            count,
        };
        if postcard::from_bytes::<BatchHeader>(&header).ok().as_ref() != Some(&expected) {
            return Err(self
                .unexpected("a stream of the steps that were leased", "another")
                .into());
        }
        for step in first_step..first_step + count {
            let frame = stream
                .next()
                .await
                .map_err(connection)?
                .ok_or_else(|| Interrupted::Connection("the stream ended early".to_owned()))?;
            // From here on the step counts as received, whatever becomes of it.
            *next = step + 1;
            let bytes = frame.len() as u64;
            let batch = self
                .terms
                .format
                .decode(frame)
                .map_err(|source| FeedError::Batch {
                    dataset: self.terms.dataset.clone(),
                    source,
                })?;
            batches
                .send(Ok(FedBatch { step, batch, bytes }))
                .await
                .map_err(|_| Interrupted::Reader)?;
        }
        Ok(Fetched::All)
    }

    async fn settle(&self, channel: &AgentChannel, settlement: Settlement) {
        let outcome = self.settle_once(channel, &settlement).await;
        // While batches flow, a settlement that fails is made up for by the next.
        let _ = settlement.done.send(outcome.or_else(|failed| match failed {
            Interrupted::Fatal(error) => Err(error),
            Interrupted::Connection(_) | Interrupted::Refused(_) | Interrupted::Reader => Ok(()),
        }));
    }

    /// The last settlement is worth waiting for the agent.
    async fn settle_persistently(&mut self, channel: &mut AgentChannel, settlement: Settlement) {
        let mut stall = Stall::default();
        let outcome = loop {
            let interrupted = match self.settle_once(channel, &settlement).await {
                Ok(()) => break Ok(()),
                Err(interrupted) => interrupted,
            };
            match self.take_up(interrupted, channel, &mut stall).await {
                Ok((again, _)) => *channel = again,
                Err(error) => break Err(error),
            }
        };
        let _ = settlement.done.send(outcome);
    }

    async fn settle_once(
        &self,
        channel: &AgentChannel,
        settlement: &Settlement,
    ) -> Result<(), Interrupted> {
        let request = AgentRequest::Settle {
            run: self.terms.run,
            dataset: self.terms.dataset.name.clone(),
            through: settlement.through,
            checkpoint: settlement.checkpoint,
        };
        match ask(channel, &request).await? {
            AgentResponse::Settled => Ok(()),
            AgentResponse::Refused(refusal) => Err(self.interruption(refusal)),
            other => Err(self.unexpected("Settled", kind(&other)).into()),
        }
    }

    /// The ledger's keeper may be away, or agent and ledger remember different leases after a crash: then joining again
    /// may mend it.
    fn interruption(&self, refusal: ServiceRefusal) -> Interrupted {
        match refusal.code {
            ServiceRefusalCode::Ledger | ServiceRefusalCode::Rejoin => {
                Interrupted::Refused(refusal)
            }
            _ => Interrupted::Fatal(self.refused(refusal)),
        }
    }

    fn refused(&self, refusal: ServiceRefusal) -> FeedError {
        FeedError::Refused {
            agent: self.terms.dataset.owner.clone(),
            refusal,
        }
    }

    fn unexpected(&self, expected: &'static str, got: &str) -> FeedError {
        FeedError::Protocol {
            agent: self.terms.dataset.owner.clone(),
            expected,
            got: got.to_owned(),
        }
    }
}

enum Fetched {
    All,
    NoMore,
}

enum Interrupted {
    /// The agent may come back.
    Connection(String),
    /// The agent is there, and joining again may change its answer.
    Refused(ServiceRefusal),
    /// Nothing that waiting would mend.
    Fatal(FeedError),
    /// Nobody reads any more.
    Reader,
}

impl From<FeedError> for Interrupted {
    fn from(error: FeedError) -> Self {
        Self::Fatal(error)
    }
}

fn connection(error: ChannelError) -> Interrupted {
    Interrupted::Connection(error.to_string())
}

async fn ask(channel: &AgentChannel, request: &AgentRequest) -> Result<AgentResponse, Interrupted> {
    let bytes = postcard::to_allocvec(request)
        .map_err(|error| Interrupted::Connection(error.to_string()))?;
    let answer = channel.request(bytes).await.map_err(connection)?;
    postcard::from_bytes(&answer).map_err(|error| Interrupted::Connection(error.to_string()))
}

fn remember(
    slot: &std::sync::Mutex<Option<ServiceRefusal>>,
    refusal: Option<ServiceRefusal>,
) -> Option<ServiceRefusal> {
    let mut slot = slot
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    std::mem::replace(&mut slot, refusal)
}

/// Since when an agent that is there has refused, one answer after the other: joining may succeed each time and mend
/// nothing, as where the ledger's disk is full.
#[derive(Default)]
struct Stall(Option<Instant>);

impl Stall {
    /// What is left of the patience with it; the first call begins it.
    fn left(&mut self, patience: Duration) -> Duration {
        patience.saturating_sub(self.0.get_or_insert_with(Instant::now).elapsed())
    }

    fn over(&mut self) {
        self.0 = None;
    }
}

const fn kind(response: &AgentResponse) -> &'static str {
    match response {
        AgentResponse::Joined(_) => "Joined",
        AgentResponse::Streaming { .. } => "Streaming",
        AgentResponse::Settled => "Settled",
        AgentResponse::Ledger(_) => "Ledger",
        AgentResponse::Refused(_) => "Refused",
    }
}
