//! The states of a channel, as types.

use std::{fmt, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::{Serialize, de::DeserializeOwned};
use tributary_attest::Verdict;

use super::{
    batches::{BatchReceiver, BatchSender},
    error::{ChannelError, CloseCode},
    frames::Kind,
    link::Link,
    opening::{self, Part, Stream},
    requests::{self, Request},
    session::{Renewal, Session},
};
use crate::{
    Digest,
    handshake::{Accepted, PeerIdentity, Refusal},
};

/// How often the terms of a channel's contract are looked at again.
const TERMS_CHECK: Duration = Duration::from_secs(1);

/// A connection to a peer. `S` says what is known of it, and so what the channel can do.
///
/// Records travel on `Channel<Attested>` only:
///
/// ```
/// # use tributary_protocol::{Attested, Channel, ChannelError};
/// async fn records(channel: Channel<Attested>) -> Result<(), ChannelError> {
///     let mut batches = channel.open_batches().await?;
///     batches.send("a batch".into()).await?;
///     batches.finish().await
/// }
/// ```
///
/// Before the handshake there is nothing to send them with:
///
/// ```compile_fail,E0599
/// # use tributary_protocol::{Channel, ChannelError, Unattested};
/// async fn records(channel: Channel<Unattested>) -> Result<(), ChannelError> {
///     let mut batches = channel.open_batches().await?;
///     batches.finish().await
/// }
/// ```
///
/// nor anything to ask with:
///
/// ```compile_fail,E0599
/// # use tributary_protocol::{Channel, ChannelError, Unattested};
/// async fn ask(channel: Channel<Unattested>) -> Result<(), ChannelError> {
///     channel.request("a request").await.map(drop)
/// }
/// ```
///
/// and a peer that proved its party but no machine gets none either:
///
/// ```compile_fail,E0599
/// # use tributary_protocol::{Channel, ChannelError, Identified};
/// async fn records(channel: Channel<Identified>) -> Result<(), ChannelError> {
///     let mut batches = channel.open_batches().await?;
///     batches.finish().await
/// }
/// ```
///
/// ```compile_fail,E0599
/// # use tributary_protocol::{Channel, ChannelError, Identified};
/// async fn records(channel: Channel<Identified>) -> Result<(), ChannelError> {
///     channel.accept_batches().await.map(drop)
/// }
/// ```
pub struct Channel<S> {
    state: S,
}

/// TLS stands, and nothing is known of the peer but a key made for the occasion.
pub struct Unattested {
    link: Link,
    part: Part,
}

/// Both sides proved machine and party. Clones are handles of one channel; the last one dropped closes it.
#[derive(Clone)]
pub struct Attested(Arc<Session>);

/// The peer proved its party, and one of the two sides has no machine to prove. Requests only.
#[derive(Clone)]
pub struct Identified(Arc<Session>);

/// What a handshake leads to.
#[derive(Debug)]
pub enum Established {
    /// Between providers, or a provider and an aggregator.
    Attested(Channel<Attested>),
    /// Between a provider and a consumer.
    Identified(Channel<Identified>),
}

impl Channel<Unattested> {
    pub(super) fn dialled(link: Link, contract: Digest) -> Self {
        Self {
            state: Unattested {
                link,
                part: Part::Dialer(contract),
            },
        }
    }

    pub(super) fn arrived(link: Link) -> Self {
        Self {
            state: Unattested {
                link,
                part: Part::Responder,
            },
        }
    }

    /// Runs the handshake. Whatever fails closes the connection.
    ///
    /// # Errors
    /// [`ChannelError::Handshake`] where one side refuses the other, and where the connection breaks.
    pub async fn attest(self) -> Result<Established, ChannelError> {
        let Unattested { link, part } = self.state;
        let within = link.context.transport.handshake_timeout;
        let mut stream = None;
        let run = first_handshake(&link, part, &mut stream);
        let outcome = tokio::time::timeout(within, run)
            .await
            .unwrap_or_else(|_| Err(ChannelError::refused(Refusal::timeout(within))));
        match outcome {
            Ok(accepted) => Ok(Established::new(link, accepted)),
            Err(error) => {
                link.end(&error, stream.as_mut().map(|stream| &mut stream.send))
                    .await;
                Err(error)
            }
        }
    }
}

async fn first_handshake(
    link: &Link,
    part: Part,
    slot: &mut Option<Stream>,
) -> Result<Accepted, ChannelError> {
    let (send, recv) = match part {
        Part::Dialer(_) => link.connection.open_bi().await?,
        Part::Responder => link.connection.accept_bi().await?,
    };
    let stream = slot.insert(Stream { send, recv });
    if let Part::Responder = part
        && Kind::read(&mut stream.recv).await? != Some(Kind::Handshake)
    {
        return Err(ChannelError::refused(Refusal::not_a_handshake()));
    }
    opening::run(link, part, None, stream).await
}

impl Established {
    fn new(link: Link, accepted: Accepted) -> Self {
        let (session, renewal) = Session::start(link, accepted);
        match renewal {
            Renewal::Possible => Self::Attested(Channel {
                state: Attested(session),
            }),
            Renewal::Refused => Self::Identified(Channel {
                state: Identified(session),
            }),
        }
    }

    /// Who the peer is.
    pub fn peer(&self) -> PeerIdentity {
        match self {
            Self::Attested(channel) => channel.peer(),
            Self::Identified(channel) => channel.peer(),
        }
    }

    /// The attested channel, where it is one.
    pub fn attested(self) -> Option<Channel<Attested>> {
        match self {
            Self::Attested(channel) => Some(channel),
            Self::Identified(_) => None,
        }
    }

    /// The identified channel, where it is one.
    pub fn identified(self) -> Option<Channel<Identified>> {
        match self {
            Self::Identified(channel) => Some(channel),
            Self::Attested(_) => None,
        }
    }
}

/// A state after the handshake. Sealed: there is no third.
pub trait Open: sealed::Open {}
impl Open for Attested {}
impl Open for Identified {}

mod sealed {
    use std::sync::Arc;

    use super::{Attested, Identified, Session};

    pub trait Open {
        #[doc(hidden)]
        #[allow(private_interfaces)]
        fn session(&self) -> &Arc<Session>;
    }

    impl Open for Attested {
        #[allow(private_interfaces)]
        fn session(&self) -> &Arc<Session> {
            &self.0
        }
    }

    impl Open for Identified {
        #[allow(private_interfaces)]
        fn session(&self) -> &Arc<Session> {
            &self.0
        }
    }
}

impl<S: Open> Channel<S> {
    /// Who the peer is.
    pub fn peer(&self) -> PeerIdentity {
        self.session().judgement().peer
    }

    /// Where the peer is.
    pub fn remote_address(&self) -> SocketAddr {
        self.session().link.connection.remote_address()
    }

    /// Asks the peer and waits for its answer, at most as long as the endpoint's options say.
    ///
    /// # Errors
    /// Where the request or the answer is over [`MESSAGE_LIMIT`](super::MESSAGE_LIMIT), no answer comes, or the channel is gone.
    pub async fn request(&self, body: impl Into<Bytes>) -> Result<Bytes, ChannelError> {
        let within = self.session().link.context.transport.request_timeout;
        self.request_within(body, within).await
    }

    /// As [`Channel::request`], with a limit of its own: for answers that the peer has to wait for.
    ///
    /// # Errors
    /// As [`Channel::request`].
    pub async fn request_within(
        &self,
        body: impl Into<Bytes>,
        within: Duration,
    ) -> Result<Bytes, ChannelError> {
        requests::ask(&self.session().link.connection, body.into(), within).await
    }

    /// Asks in postcard.
    ///
    /// # Errors
    /// As [`Channel::request`], and where the answer is no `A`.
    pub async fn ask<Q: Serialize, A: DeserializeOwned>(
        &self,
        question: &Q,
    ) -> Result<A, ChannelError> {
        let body = requests::encode(question, "a request")?;
        requests::decode(&self.request(body).await?, "an answer")
    }

    /// The next request of the peer; `None` once the channel is closed.
    pub async fn accept_request(&self) -> Option<Request> {
        self.session().accept_request().await
    }

    /// Closes the channel at once: what is under way is lost. The reason is for people, at most a few hundred bytes.
    pub fn close(&self, code: CloseCode, reason: &str) {
        self.session().close(code, reason);
    }

    /// Waits until the channel is closed, by whomever, and says why.
    pub async fn closed(&self) -> ChannelError {
        self.session().closed().await
    }

    /// Bytes of UDP payload sent and received on this channel.
    pub fn traffic(&self) -> (u64, u64) {
        let stats = self.session().link.connection.stats();
        (stats.udp_tx.bytes, stats.udp_rx.bytes)
    }

    /// The bare connection, past every check: what a peer that breaks the rules would use.
    #[cfg(test)]
    pub(super) fn danger_connection(&self) -> quinn::Connection {
        self.session().link.connection.clone()
    }

    fn session(&self) -> &Arc<Session> {
        self.state.session()
    }
}

impl Channel<Attested> {
    /// What the newest appraisal of the peer found; `None` is never seen here.
    ///
    /// # Panics
    /// Never: an attested channel has a verdict.
    pub fn verdict(&self) -> Verdict {
        #[allow(clippy::expect_used)]
        self.session()
            .judgement()
            .verdict
            .expect("an attested channel has a verdict")
    }

    /// When the peer's newest evidence was judged.
    pub fn attested_at(&self) -> DateTime<Utc> {
        self.session().judgement().at
    }

    /// How old the newest attestation is; `None` where the clock was set back behind it.
    pub fn attestation_age(&self) -> Option<Duration> {
        self.session().age()
    }

    /// Refuses where the attestation is older than the contract allows. Records check it by themselves.
    ///
    /// # Errors
    /// [`ChannelError::AttestationOverdue`].
    pub fn check_fresh(&self) -> Result<(), ChannelError> {
        self.session().check_fresh()
    }

    /// Attests anew, both ways, with fresh nonces on this connection; either side may begin.
    ///
    /// # Errors
    /// Where one side refuses the other; the channel is closed then.
    pub async fn reattest(&self) -> Result<(), ChannelError> {
        self.session().reattest().await
    }

    /// Attests anew whenever half of the contract's interval has passed, when the terms that the peer was judged by have
    /// changed (another policy, a revocation), and when [`Endpoint::judge_anew`] asks for it.
    /// Ends when the channel does, and says why.
    ///
    /// [`Endpoint::judge_anew`]: crate::Endpoint::judge_anew
    pub async fn keep_attested(&self) -> ChannelError {
        let session = self.session();
        let mut judgement = session.watch();
        let mut anew = session.judged_anew();
        loop {
            let half = judgement.borrow_and_update().interval() / 2;
            let due = tokio::time::sleep(half);
            let mut due = std::pin::pin!(due);
            let renew = loop {
                tokio::select! {
                    gone = session.closed() => return gone,
                    // The other side may have begun: count from there.
                    changed = judgement.changed() => match changed {
                        Ok(()) => break session.terms_have_changed(),
                        Err(_) => return session.why_gone(),
                    },
                    () = &mut due => break true,
                    asked = anew.changed() => match asked {
                        Ok(()) => break true,
                        Err(_) => return session.why_gone(),
                    },
                    () = tokio::time::sleep(TERMS_CHECK) => if session.terms_have_changed() {
                        break true;
                    },
                }
            };
            if renew && let Err(error) = self.reattest().await {
                return error;
            }
        }
    }

    /// Waits for the next attestation by either side and gives its time.
    ///
    /// # Errors
    /// Where the channel closes instead.
    pub async fn next_attestation(&self) -> Result<DateTime<Utc>, ChannelError> {
        let mut judgement = self.session().watch();
        tokio::select! {
            gone = self.session().closed() => Err(gone),
            changed = judgement.changed() => match changed {
                Ok(()) => Ok(judgement.borrow().at),
                Err(_) => Err(self.session().why_gone()),
            },
        }
    }

    /// Opens a stream of records to an aggregator.
    ///
    /// # Errors
    /// [`ChannelError::Direction`] unless this side is a provider and the peer an aggregator,
    /// [`ChannelError::AttestationOverdue`], and where the channel is gone.
    pub async fn open_batches(&self) -> Result<BatchSender, ChannelError> {
        BatchSender::open(self.session().clone()).await
    }

    /// Waits for a provider's next stream of records.
    ///
    /// # Errors
    /// [`ChannelError::Direction`] unless this side is an aggregator, and where the channel is gone.
    pub async fn accept_batches(&self) -> Result<BatchReceiver, ChannelError> {
        BatchReceiver::accept(self.session().clone()).await
    }
}

impl Channel<Identified> {
    /// The verdict on the provider, on the consumer's side; the provider's side has none on the consumer.
    pub fn verdict(&self) -> Option<Verdict> {
        self.session().judgement().verdict
    }
}

impl<S: Open + Clone> Clone for Channel<S> {
    fn clone(&self) -> Self {
        Self {
            state: self.state.clone(),
        }
    }
}

impl fmt::Debug for Channel<Unattested> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Channel<Unattested>({})",
            self.state.link.connection.remote_address()
        )
    }
}

impl fmt::Debug for Channel<Attested> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Channel<Attested>({})", self.peer())
    }
}

impl fmt::Debug for Channel<Identified> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Channel<Identified>({})", self.peer())
    }
}
