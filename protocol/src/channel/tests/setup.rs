//! Endpoints of a federation on loopback.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};

use crate::{
    channel::{
        Attested, Channel, ChannelError, CloseCode, Endpoint, EndpointOptions, Established,
        TransportOptions,
    },
    handshake::LocalParty,
    handshake::tests::federation::Federation,
};

pub(super) const LOOPBACK: &str = "127.0.0.1:0";

/// A clock that moves when told to.
#[derive(Clone)]
pub(super) struct Hands(Arc<Mutex<DateTime<Utc>>>);

impl Hands {
    pub(super) fn move_by(&self, delta: TimeDelta) {
        *self.0.lock().unwrap() += delta;
    }
}

pub(super) struct Net {
    pub(super) federation: Arc<Federation>,
    pub(super) hands: Hands,
    pub(super) transport: TransportOptions,
}

impl Net {
    pub(super) fn new() -> Self {
        Self::of(Federation::new())
    }

    pub(super) fn of(federation: Arc<Federation>) -> Self {
        let hands = Hands(Arc::new(Mutex::new(federation.now)));
        Self {
            federation,
            hands,
            transport: TransportOptions::default(),
        }
    }

    pub(super) fn impatient(mut self) -> Self {
        self.transport.handshake_timeout = Duration::from_millis(200);
        self
    }

    pub(super) fn endpoint(&self, local: LocalParty) -> Endpoint {
        let hands = self.hands.clone();
        let options = EndpointOptions {
            authorisations: self.federation.clone(),
            clock: Arc::new(move || *hands.0.lock().unwrap()),
            transport: self.transport,
            ..EndpointOptions::new(local, self.federation.clone())
        };
        Endpoint::bind(LOOPBACK.parse().unwrap(), options).unwrap()
    }

    /// Both ends of a connection between two parties.
    pub(super) async fn meet(
        &self,
        dialer: LocalParty,
        responder: LocalParty,
    ) -> [Result<Established, ChannelError>; 2] {
        let (dialer, responder) = (self.endpoint(dialer), self.endpoint(responder));
        let address = responder.local_addr().unwrap();
        let (left, right) = tokio::join!(
            dialer.dial(address, &self.federation.contract),
            establish(&responder)
        );
        [left, right]
    }

    /// An attested channel from a provider, which dials, to an aggregator.
    pub(super) async fn records(&self) -> [Channel<Attested>; 2] {
        let f = &self.federation;
        self.meet(f.provider("hospital"), f.aggregator())
            .await
            .map(|end| end.unwrap().attested().unwrap())
    }
}

pub(super) async fn establish(endpoint: &Endpoint) -> Result<Established, ChannelError> {
    endpoint.accept().await.unwrap().establish().await
}

/// Whether the peer ended the channel with this code.
///
/// A peer that has closed forgets the connection after three probe timeouts (RFC 9000, section 10.2) and resets whoever
/// still speaks on it. Where this thread was held up for as long, quinn takes the close and the reset at once, and gives
/// the reset alone as the reason; a program then connects again and is told why on the next attempt.
pub(super) fn ended_by_peer(error: &ChannelError, expected: CloseCode) -> bool {
    match error {
        ChannelError::ClosedByPeer { code, .. } => *code == expected,
        ChannelError::Lost(lost) => *lost == quinn::ConnectionError::Reset,
        _ => false,
    }
}

pub(super) fn address_of(endpoint: &Endpoint) -> SocketAddr {
    endpoint.local_addr().unwrap()
}
