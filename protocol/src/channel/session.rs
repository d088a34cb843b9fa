//! An open channel's inside: who the peer is, how old its attestation is, and what it opens.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use chrono::{DateTime, Utc};
use quinn::{RecvStream, SendStream};
use tokio::{
    sync::{Mutex, mpsc, watch},
    task::{AbortHandle, JoinSet},
};
use tributary_attest::Verdict;

use super::{
    error::{ChannelError, CloseCode},
    frames::Kind,
    link::Link,
    opening::{self, Part, Stream},
    requests::Request,
    transport::{self, Credit},
};
use crate::{
    Role,
    handshake::{Accepted, Outcome, PeerIdentity, Refusal, Terms},
};

/// The newest judgement of the peer.
#[derive(Debug, Clone)]
pub(super) struct Judgement {
    pub(super) peer: PeerIdentity,
    /// `None` where the peer has no TEE.
    pub(super) verdict: Option<Verdict>,
    pub(super) at: DateTime<Utc>,
    /// The terms that it was judged by.
    pub(super) terms: Arc<Terms>,
}

impl Judgement {
    pub(super) fn interval(&self) -> Duration {
        self.terms.attestation_interval
    }
}

/// What a renewal changes, whichever side begins it.
struct Standing {
    judgement: watch::Sender<Judgement>,
    /// Why the channel ended: the first reason is the true one.
    ended: OnceLock<ChannelError>,
}

/// Closes its connection when dropped.
pub(super) struct Session {
    pub(super) link: Link,
    standing: Arc<Standing>,
    requests: Mutex<mpsc::Receiver<Request>>,
    /// One renewal begun here at a time.
    renewing: Mutex<()>,
    router: AbortHandle,
}

/// Whether the channel carries records, and so must be able to attest anew.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Renewal {
    Possible,
    Refused,
}

impl Session {
    /// Begins with what the handshake accepted: from now on the peer has credit for streams.
    pub(super) fn start(link: Link, accepted: Accepted) -> (Arc<Self>, Renewal) {
        let judgement = Judgement::from(accepted.clone());
        let renewal = match accepted.outcome {
            Outcome::Attested(_) => Renewal::Possible,
            Outcome::Identified(_) => Renewal::Refused,
        };
        let options = &link.context.transport;
        let records = receives_records(link.context.local.role(), judgement.peer.role);
        let credit = Credit {
            // One more than requests, so that an attestation need not wait for an answer.
            requests: options.open_requests + 1,
            batch_streams: if records {
                options.open_batch_streams
            } else {
                0
            },
            window: options.window,
        };
        let (judgement, _) = watch::channel(judgement);
        let standing = Arc::new(Standing {
            judgement,
            ended: OnceLock::new(),
        });
        let (sender, requests) = mpsc::channel(options.open_requests as usize);
        let router = Router {
            link: link.clone(),
            standing: standing.clone(),
            requests: sender,
            renewal,
            renewing: Arc::default(),
        };
        let task = tokio::spawn(router.run());
        transport::open(&link.connection, credit);
        let session = Self {
            link,
            standing,
            requests: Mutex::new(requests),
            renewing: Mutex::default(),
            router: task.abort_handle(),
        };
        (Arc::new(session), renewal)
    }

    pub(super) fn judgement(&self) -> Judgement {
        self.standing.judgement.borrow().clone()
    }

    pub(super) fn watch(&self) -> watch::Receiver<Judgement> {
        self.standing.judgement.subscribe()
    }

    /// The next request of the peer; `None` once the channel is closed.
    pub(super) async fn accept_request(&self) -> Option<Request> {
        self.requests.lock().await.recv().await
    }

    /// A new handshake on this connection; a failure closes it.
    pub(super) async fn reattest(&self) -> Result<(), ChannelError> {
        let _one_at_a_time = self.renewing.lock().await;
        let prior = self.judgement().peer;
        let contract = prior.contract;
        let (send, recv) = self.link.connection.open_bi().await?;
        let stream = Stream { send, recv };
        renew(
            &self.link,
            Part::Dialer(contract),
            prior,
            stream,
            &self.standing,
        )
        .await
    }

    /// Whether the peer was judged by other terms than there are now: the contract was revoked, or asks for other
    /// evidence than it did. One that this side no longer has is closed by who took it away, with the reason.
    pub(super) fn terms_have_changed(&self) -> bool {
        let judgement = self.standing.judgement.borrow();
        let (then, role) = (&judgement.terms, judgement.peer.role);
        self.link
            .context
            .terms
            .terms(&then.contract)
            .is_some_and(|now| {
                now.revoked != then.revoked
                    || now.policy_for(role) != then.policy_for(role)
                    || now.attestation_interval != then.attestation_interval
            })
    }

    /// Changes whenever the endpoint's owner wants every peer judged anew, as happened once already where it was while this
    /// channel opened.
    pub(super) fn judged_anew(&self) -> watch::Receiver<u64> {
        self.link.judged_anew.clone()
    }

    /// How old the peer's attestation is; `None` where the clock says that it was made in the future.
    pub(super) fn age(&self) -> Option<Duration> {
        let at = self.standing.judgement.borrow().at;
        (self.link.context.now() - at).to_std().ok()
    }

    /// Refuses where the attestation is older than the contract allows; a clock set back refuses as well.
    pub(super) fn check_fresh(&self) -> Result<(), ChannelError> {
        let limit = self.standing.judgement.borrow().interval();
        match self.age() {
            Some(age) if age <= limit => Ok(()),
            age => Err(ChannelError::AttestationOverdue { limit, age }),
        }
    }

    pub(super) fn check_may_send_records(&self) -> Result<(), ChannelError> {
        let (own, peer) = self.roles();
        match receives_records(peer, own) {
            true => self.check_fresh(),
            false => Err(ChannelError::Direction {
                from: own.as_str(),
                to: peer.as_str(),
            }),
        }
    }

    pub(super) fn check_may_receive_records(&self) -> Result<(), ChannelError> {
        let (own, peer) = self.roles();
        match receives_records(own, peer) {
            true => Ok(()),
            false => Err(ChannelError::Direction {
                from: peer.as_str(),
                to: own.as_str(),
            }),
        }
    }

    fn roles(&self) -> (Role, Role) {
        (
            self.link.context.local.role(),
            self.standing.judgement.borrow().peer.role,
        )
    }

    pub(super) fn close(&self, code: CloseCode, reason: &str) {
        self.link
            .connection
            .close(code.to_wire(), reason.as_bytes());
    }

    /// Waits for the end of the channel.
    pub(super) async fn closed(&self) -> ChannelError {
        self.link.connection.closed().await;
        self.why_gone()
    }

    /// Why the channel is gone: its own refusal says more than that this side closed it.
    pub(super) fn why_gone(&self) -> ChannelError {
        match self.standing.ended.get() {
            Some(reason) => reason.clone(),
            None => self
                .link
                .connection
                .close_reason()
                .map_or(ChannelError::Closed, ChannelError::from),
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.router.abort();
        self.close(CloseCode::DONE, "");
    }
}

impl From<Accepted> for Judgement {
    fn from(accepted: Accepted) -> Self {
        let verdict = match accepted.outcome {
            Outcome::Attested(verdict) => Some(verdict),
            Outcome::Identified(verdict) => verdict,
        };
        Self {
            peer: accepted.peer,
            verdict,
            at: accepted.at,
            terms: accepted.terms,
        }
    }
}

fn receives_records(receiver: Role, sender: Role) -> bool {
    receiver == Role::Aggregator && sender == Role::Provider
}

/// Takes the streams that the peer opens in both directions and sorts them by their first byte.
struct Router {
    link: Link,
    standing: Arc<Standing>,
    requests: mpsc::Sender<Request>,
    renewal: Renewal,
    /// One renewal begun by the peer at a time.
    renewing: Arc<Mutex<()>>,
}

impl Router {
    async fn run(self) {
        let router = Arc::new(self);
        // As many at once as the peer has credit for; all end with the router.
        let mut streams = JoinSet::new();
        loop {
            match router.link.connection.accept_bi().await {
                Ok((send, recv)) => {
                    let router = router.clone();
                    streams.spawn(async move { router.take(send, recv).await });
                    while streams.try_join_next().is_some() {}
                }
                Err(lost) => {
                    // Now, because quinn forgets the peer's reason if a stateless reset follows it.
                    let _ = router.standing.ended.set(lost.into());
                    return;
                }
            }
        }
    }

    async fn take(&self, send: SendStream, mut recv: RecvStream) {
        match Kind::read(&mut recv).await {
            Ok(Some(Kind::Request)) => self.take_request(send, recv).await,
            Ok(Some(Kind::Handshake)) => self.take_renewal(Stream { send, recv }).await,
            Ok(Some(Kind::Batches) | None) => self.link.connection.close(
                CloseCode::PROTOCOL.to_wire(),
                b"expected a request or a handshake on this stream",
            ),
            // The peer gave the stream up.
            Err(_) => {}
        }
    }

    async fn take_request(&self, send: SendStream, recv: RecvStream) {
        let within = self.link.context.transport.request_timeout;
        match tokio::time::timeout(within, Request::read(send, recv)).await {
            Ok(Ok(request)) => {
                // Fails only when the channel is being closed.
                let _ = self.requests.send(request).await;
            }
            Ok(Err(error)) => tracing::debug!(%error, "dropped a request"),
            Err(_) => tracing::debug!("dropped a request that did not arrive in time"),
        }
    }

    async fn take_renewal(&self, stream: Stream) {
        if self.renewal == Renewal::Refused {
            let refusal = Refusal::second_handshake("one on a channel that carries no records");
            return self.refuse(refusal, stream).await;
        }
        let Ok(_one_at_a_time) = self.renewing.try_lock() else {
            return self
                .refuse(Refusal::second_handshake("another"), stream)
                .await;
        };
        let prior = self.standing.judgement.borrow().peer.clone();
        // A failure has been told to the peer and has closed the connection.
        let _ = renew(&self.link, Part::Responder, prior, stream, &self.standing).await;
    }

    async fn refuse(&self, refusal: Refusal, mut stream: Stream) {
        let error = ChannelError::refused(refusal);
        let _ = self.standing.ended.set(error.clone());
        self.link.end(&error, Some(&mut stream.send)).await;
    }
}

async fn renew(
    link: &Link,
    part: Part,
    prior: PeerIdentity,
    mut stream: Stream,
    standing: &Standing,
) -> Result<(), ChannelError> {
    let within = link.context.transport.handshake_timeout;
    let run = opening::run(link, part, Some(prior), &mut stream);
    let outcome = tokio::time::timeout(within, run)
        .await
        .unwrap_or_else(|_| Err(ChannelError::refused(Refusal::timeout(within))));
    match outcome {
        Ok(accepted) => {
            standing.judgement.send_replace(accepted.into());
            Ok(())
        }
        Err(error) => {
            let _ = standing.ended.set(error.clone());
            link.end(&error, Some(&mut stream.send)).await;
            Err(error)
        }
    }
}
