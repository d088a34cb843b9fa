//! A QUIC connection between two known keys, and what both ends of a handshake need besides.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use quinn::{Connection, SendStream};
use tokio::sync::watch;

use super::{
    error::{ChannelError, CloseCode},
    options::{Clock, TransportOptions},
    tls::peer_key,
};
use crate::handshake::{
    AuthorisationCheck, EXPORTER_LABEL, HandshakeError, LocalParty, Refusal, RefusalCode,
    TermsDirectory, TlsKey,
};

/// How long a refused peer may take to read why; afterwards the connection's close tells it.
const REFUSAL_LINGER: Duration = Duration::from_secs(1);

/// What all connections of an endpoint share.
pub(super) struct Context {
    pub(super) local: Arc<LocalParty>,
    pub(super) terms: Arc<dyn TermsDirectory>,
    pub(super) authorisations: Arc<dyn AuthorisationCheck>,
    pub(super) clock: Clock,
    pub(super) transport: TransportOptions,
    pub(super) tls: TlsKey,
    /// Counts how often all peers were to be judged anew.
    pub(super) judge_anew: watch::Sender<u64>,
}

impl Context {
    pub(super) fn now(&self) -> DateTime<Utc> {
        (self.clock)()
    }
}

/// One connection after TLS.
#[derive(Clone)]
pub(super) struct Link {
    pub(super) connection: Connection,
    pub(super) context: Arc<Context>,
    /// Own and the peer's.
    pub(super) keys: [TlsKey; 2],
    /// Tells that peers are to be judged anew, from before this one was judged at all: what changes while a handshake runs
    /// counts as a change.
    pub(super) judged_anew: watch::Receiver<u64>,
}

impl Link {
    pub(super) fn new(connection: Connection, context: Arc<Context>) -> Result<Self, ChannelError> {
        let Some(peer) = peer_key(&connection) else {
            // The verifier has already refused anything else.
            connection.close(CloseCode::PROTOCOL.to_wire(), b"no raw public key");
            return Err(ChannelError::Local(
                "TLS ended without the peer's raw public key",
            ));
        };
        Ok(Self {
            connection,
            keys: [context.tls, peer],
            judged_anew: context.judge_anew.subscribe(),
            context,
        })
    }

    /// RFC 8446, section 7.5: 32 bytes that only the two ends of this TLS session can compute.
    pub(super) fn exporter(&self, context: &[u8; 64]) -> Result<[u8; 32], ChannelError> {
        let mut exported = [0; 32];
        self.connection
            .export_keying_material(&mut exported, EXPORTER_LABEL, context)
            .map_err(|_| ChannelError::Local("TLS exports no keying material"))?;
        Ok(exported)
    }

    /// Tells the peer why, where this side refuses, and closes the connection for good.
    pub(super) async fn end(&self, error: &ChannelError, stream: Option<&mut SendStream>) {
        let ChannelError::Handshake(HandshakeError::Refused(refusal)) = error else {
            self.connection.close(
                CloseCode::PROTOCOL.to_wire(),
                b"the handshake did not complete",
            );
            return;
        };
        tracing::info!(peer = %self.connection.remote_address(), code = %refusal.code, "refused a peer: {refusal}");
        if let Some(stream) = stream
            && stream.write_all(&refusal.frame()).await.is_ok()
            && stream.finish().is_ok()
        {
            let told = stream.stopped();
            tokio::select! {
                _ = told => {}
                _ = self.connection.closed() => {}
                () = tokio::time::sleep(REFUSAL_LINGER) => {}
            }
        }
        self.close_refusing(refusal);
    }

    /// Closes at once, with the refusal as the reason.
    pub(super) fn close_refusing(&self, refusal: &Refusal) {
        let code = CloseCode::of_refusal(refusal.code);
        self.connection
            .close(code.to_wire(), refusal.text_for_peer().as_bytes());
    }
}

impl Refusal {
    pub(super) fn timeout(within: Duration) -> Self {
        Self::new(
            RefusalCode::Timeout,
            format_args!("a complete handshake within {within:?}"),
            "none",
            "look for a slow network or a slow attestation device, or allow more time",
        )
    }

    pub(super) fn not_a_handshake() -> Self {
        Self::new(
            RefusalCode::NotAHandshake,
            "a handshake as the first thing on the connection",
            "something else",
            "attest before anything else is sent",
        )
    }

    pub(super) fn second_handshake(got: &str) -> Self {
        Self::new(
            RefusalCode::SecondHandshake,
            "at most one handshake at a time, on an attested channel",
            got,
            "wait for the handshake under way, or open a new channel",
        )
    }
}
