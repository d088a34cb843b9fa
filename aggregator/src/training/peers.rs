//! The agents of a contract: dialled or waited for, attested, attested anew in time, and taken back when they return.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tributary_protocol::Concern;
use tributary_protocol::{Attested, Channel, ChannelError, CloseCode, Endpoint, Established};
use tributary_protocol::{Contract, Digest, PartyName};

/// The first pause after a failed attempt to connect; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// A returned agent is taken back within this time.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// A channel with one agent.
pub(super) type AgentChannel = Arc<Channel<Attested>>;

/// The agents of one contract and the channels with them.
#[derive(Debug)]
pub(super) struct Peers {
    agents: BTreeMap<PartyName, watch::Sender<Presence>>,
    // Dropped with the peers, which ends the tasks.
    _tasks: JoinSet<()>,
}

/// How an agent stands.
#[derive(Debug, Clone)]
enum Presence {
    /// No channel; what went wrong last, if anything was tried.
    Absent(Option<Arc<ChannelError>>),
    /// A channel.
    Present(AgentChannel),
    /// One side refuses the other: trying again would change nothing.
    Refused(Arc<ChannelError>),
    /// Another party of the contract answers at the agent's address.
    Elsewhere {
        address: SocketAddr,
        party: PartyName,
    },
}

/// Why there is no channel with an agent.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum AgentError {
    /// The contract has no such provider.
    #[error("{0} is not a provider of this contract")]
    Unknown(PartyName),
    /// Attestation failed, on this side or the other.
    #[error("no channel with agent {agent}: {source}")]
    Refused {
        /// The agent.
        agent: PartyName,
        /// Why.
        source: Arc<ChannelError>,
    },
    /// The address is another agent's.
    #[error("expected agent {agent} at {address}, found {found}")]
    Elsewhere {
        /// Who was looked for.
        agent: PartyName,
        /// Where.
        address: SocketAddr,
        /// Who is there.
        found: PartyName,
    },
}

impl Peers {
    /// Dials the agents with an address and waits for the others to dial.
    pub(super) fn gather(
        endpoint: &Endpoint,
        contract: &Contract,
        addresses: &BTreeMap<PartyName, SocketAddr>,
    ) -> Self {
        let agents: BTreeMap<PartyName, watch::Sender<Presence>> = contract
            .providers()
            .map(|name| (name.clone(), watch::Sender::new(Presence::Absent(None))))
            .collect();
        let mut tasks = JoinSet::new();
        for (name, address) in addresses {
            if let Some(presence) = agents.get(name) {
                tasks.spawn(keep_dialling(
                    endpoint.clone(),
                    contract.digest(),
                    name.clone(),
                    *address,
                    presence.clone(),
                ));
            }
        }
        tasks.spawn(keep_accepting(
            endpoint.clone(),
            contract.digest(),
            agents.clone(),
        ));
        for presence in agents.values() {
            tasks.spawn(keep_attested(presence.clone()));
        }
        Self {
            agents,
            _tasks: tasks,
        }
    }

    /// A live channel with an agent, as soon as there is one.
    ///
    /// # Errors
    ///
    /// Where one side refuses the other. An agent that is merely away is waited for without end: the caller sets the limit.
    pub(super) async fn channel(&self, agent: &PartyName) -> Result<AgentChannel, AgentError> {
        let Some(presence) = self.agents.get(agent) else {
            return Err(AgentError::Unknown(agent.clone()));
        };
        let mut presence = presence.subscribe();
        loop {
            match &*presence.borrow_and_update() {
                Presence::Present(channel) => return Ok(Arc::clone(channel)),
                Presence::Refused(source) => {
                    return Err(AgentError::Refused {
                        agent: agent.clone(),
                        source: Arc::clone(source),
                    });
                }
                Presence::Elsewhere { address, party } => {
                    return Err(AgentError::Elsewhere {
                        agent: agent.clone(),
                        address: *address,
                        found: party.clone(),
                    });
                }
                Presence::Absent(_) => {}
            }
            if presence.changed().await.is_err() {
                return Err(AgentError::Unknown(agent.clone()));
            }
        }
    }

    /// What went wrong with an agent last, for the message when waiting ends.
    pub(super) fn last_error(&self, agent: &PartyName) -> Option<Arc<ChannelError>> {
        match &*self.agents.get(agent)?.borrow() {
            Presence::Absent(error) => error.clone(),
            Presence::Refused(error) => Some(Arc::clone(error)),
            Presence::Present(_) | Presence::Elsewhere { .. } => None,
        }
    }

    /// Forgets a channel that failed, so that the agent is connected to anew.
    pub(super) fn lost(&self, agent: &PartyName, channel: &AgentChannel) {
        if let Some(presence) = self.agents.get(agent) {
            forget(presence, channel);
        }
    }
}

/// Replaces this very channel, and no later one, by absence.
fn forget(presence: &watch::Sender<Presence>, channel: &AgentChannel) {
    presence.send_if_modified(|now| match now {
        Presence::Present(present) if Arc::ptr_eq(present, channel) => {
            *now = Presence::Absent(None);
            true
        }
        _ => false,
    });
}

async fn keep_dialling(
    endpoint: Endpoint,
    contract: Digest,
    agent: PartyName,
    address: SocketAddr,
    presence: watch::Sender<Presence>,
) {
    let mut changes = presence.subscribe();
    let mut pause = FIRST_PAUSE;
    loop {
        let absent = |now: &Presence| matches!(now, Presence::Absent(_));
        if changes.wait_for(absent).await.is_err() {
            return;
        }
        match endpoint.dial(address, &contract).await {
            Ok(Established::Attested(channel)) if channel.peer().party == agent => {
                pause = FIRST_PAUSE;
                presence.send_replace(Presence::Present(Arc::new(channel)));
            }
            Ok(other) => {
                presence.send_replace(Presence::Elsewhere {
                    address,
                    party: other.peer().party,
                });
                return;
            }
            Err(error) if is_final(&error) => {
                presence.send_replace(Presence::Refused(Arc::new(error)));
                return;
            }
            Err(error) => {
                tracing::debug!(%agent, %address, %error, "no channel yet");
                presence.send_if_modified(|now| {
                    let absent = matches!(now, Presence::Absent(_));
                    if absent {
                        *now = Presence::Absent(Some(Arc::new(error)));
                    }
                    absent
                });
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

/// Takes agents that dial, because a firewall lets nothing in to them.
async fn keep_accepting(
    endpoint: Endpoint,
    contract: Digest,
    agents: BTreeMap<PartyName, watch::Sender<Presence>>,
) {
    let mut handshakes = JoinSet::new();
    loop {
        tokio::select! {
            arrival = endpoint.accept() => {
                let Some(arrival) = arrival else { return };
                handshakes.spawn(async move { arrival.establish().await });
            }
            Some(outcome) = handshakes.join_next(), if !handshakes.is_empty() => {
                match outcome {
                    Ok(Ok(Established::Attested(channel))) if channel.peer().contract == contract => {
                        if let Some(presence) = agents.get(&channel.peer().party) {
                            presence.send_replace(Presence::Present(Arc::new(channel)));
                        }
                    }
                    Ok(Ok(_)) => {}
                    Ok(Err(error)) => tracing::warn!(%error, "a peer that dialled was not attested"),
                    Err(error) => tracing::error!(%error, "a handshake ended unexpectedly"),
                }
            }
        }
    }
}

/// Attests each channel anew before the contract's interval ends, and notices when one closes.
async fn keep_attested(presence: watch::Sender<Presence>) {
    let mut changes = presence.subscribe();
    loop {
        let channel = match changes
            .wait_for(|now| matches!(now, Presence::Present(_)))
            .await
            .as_deref()
        {
            Ok(Presence::Present(channel)) => Arc::clone(channel),
            Ok(_) => continue,
            Err(_) => return,
        };
        let error = channel.keep_attested().await;
        tracing::info!(%error, "a channel with an agent ended");
        if is_final(&error) {
            presence.send_replace(Presence::Refused(Arc::new(error)));
            return;
        }
        forget(&presence, &channel);
    }
}

/// Whether trying again would change nothing: one side judged the other, and did not merely miss it.
fn is_final(error: &ChannelError) -> bool {
    if let ChannelError::ClosedByPeer { code, .. } = error {
        return *code == CloseCode::REVOKED;
    }
    error
        .refusal()
        .is_some_and(|code| !matches!(code.concern(), Concern::Timeout | Concern::Protocol))
}
