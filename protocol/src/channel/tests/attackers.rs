//! Peers that speak QUIC and TLS well and everything else badly.

use std::{future::Future, net::SocketAddr, pin::pin, sync::Arc, task::Poll};

use quinn::{ClientConfig, Connection, ConnectionError, ServerConfig};

use super::setup::{LOOPBACK, Net, address_of, establish};
use crate::{
    channel::{
        ChannelError,
        link::{Context, Link},
        tls::{SERVER_NAME, TlsIdentity},
    },
    handshake::{Handshake, HandshakeError, LocalParty, Nonce, RefusalCode, TermsDirectory as _},
};

/// An endpoint of quinn's own, with our TLS and no manners: it grants streams from the start.
struct Raw {
    endpoint: quinn::Endpoint,
    tls: TlsIdentity,
}

impl Raw {
    fn new() -> Self {
        let tls = TlsIdentity::generate().unwrap();
        let server = ServerConfig::with_crypto(Arc::new(tls.server().unwrap()));
        let mut endpoint = quinn::Endpoint::server(server, LOOPBACK.parse().unwrap()).unwrap();
        endpoint.set_default_client_config(ClientConfig::new(Arc::new(tls.client().unwrap())));
        Self { endpoint, tls }
    }

    fn address(&self) -> SocketAddr {
        self.endpoint.local_addr().unwrap()
    }

    async fn connect(&self, to: SocketAddr) -> Connection {
        self.endpoint
            .connect(to, SERVER_NAME)
            .unwrap()
            .await
            .unwrap()
    }

    async fn accept(&self) -> Connection {
        self.endpoint.accept().await.unwrap().await.unwrap()
    }

    /// The connection as our own handshake would see it.
    fn link(&self, net: &Net, connection: Connection, local: LocalParty) -> Link {
        let context = Context {
            local: Arc::new(local),
            terms: net.federation.clone(),
            authorisations: net.federation.clone(),
            clock: Arc::new(chrono::Utc::now),
            transport: net.transport,
            tls: self.tls.key,
            judge_anew: tokio::sync::watch::Sender::new(0),
        };
        Link::new(connection, Arc::new(context)).unwrap()
    }
}

/// The code that a connection was closed with.
async fn closed_for(connection: &Connection) -> Option<RefusalCode> {
    ChannelError::from(connection.closed().await).refusal()
}

/// Whether a future is not ready when first looked at.
async fn is_pending<F: Future>(future: F) -> bool {
    let mut future = pin!(future);
    std::future::poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_pending())).await
}

#[track_caller]
fn refused<T>(outcome: Result<T, ChannelError>) -> RefusalCode {
    match outcome {
        Err(ChannelError::Handshake(HandshakeError::Refused(refusal))) => refusal.code,
        Err(other) => panic!("expected a refusal, got {other:?}"),
        Ok(_) => panic!("expected a refusal, got a channel"),
    }
}

#[tokio::test]
async fn a_request_before_the_handshake_is_refused() {
    let net = Net::new();
    let agent = net.endpoint(net.federation.provider("bank"));
    let raw = Raw::new();
    for first in [2, 3, 0, 255] {
        let attack = async {
            let connection = raw.connect(address_of(&agent)).await;
            let (mut send, mut recv) = connection.open_bi().await.unwrap();
            send.write_all(&[first, 0, 0, 0, 1, 7]).await.unwrap();
            send.finish().unwrap();
            let answer = recv.read_to_end(100_000).await;
            // Nothing but the refusal comes back, if that arrives before the close.
            if let Ok(answer) = answer {
                assert!(String::from_utf8_lossy(&answer).contains("attest before anything else"));
            }
            closed_for(&connection).await
        };
        let (code, outcome) = tokio::join!(attack, establish(&agent));
        assert_eq!(code, Some(RefusalCode::NotAHandshake));
        assert_eq!(refused(outcome), RefusalCode::NotAHandshake);
    }
}

#[tokio::test]
async fn no_stream_but_the_handshakes_has_credit_before_accept() {
    let net = Net::new();
    let raw = Raw::new();
    // Towards an endpoint that listens.
    let agent = net.endpoint(net.federation.provider("bank"));
    let (connection, arrival) = tokio::join!(raw.connect(address_of(&agent)), async {
        agent.accept().await.unwrap().connect().await.unwrap()
    });
    let (mut send, _recv) = connection.open_bi().await.unwrap();
    send.write_all(&[1]).await.unwrap();
    assert!(is_pending(connection.open_bi()).await && is_pending(connection.open_uni()).await);
    assert!(connection.send_datagram(vec![1].into()).is_err());
    drop(arrival);

    // Towards an endpoint that dials.
    let contract = net.federation.contract;
    let (channel, connection) = tokio::join!(agent.connect(raw.address(), &contract), raw.accept());
    assert!(is_pending(connection.open_bi()).await && is_pending(connection.open_uni()).await);
    assert!(connection.send_datagram(vec![1].into()).is_err());
    drop(channel);
}

#[tokio::test]
async fn a_peer_that_says_nothing_is_refused_in_time() {
    let net = Net::new().impatient();
    let agent = net.endpoint(net.federation.provider("bank"));
    let raw = Raw::new();
    let (connection, outcome) = tokio::join!(raw.connect(address_of(&agent)), establish(&agent));
    assert_eq!(refused(outcome), RefusalCode::Timeout);
    assert_eq!(closed_for(&connection).await, Some(RefusalCode::Timeout));
}

#[tokio::test]
async fn malformed_frames_are_refused() {
    let net = Net::new();
    let agent = net.endpoint(net.federation.provider("bank"));
    let raw = Raw::new();
    let huge = [&[1], u32::MAX.to_be_bytes().as_slice()].concat();
    let empty = vec![1, 0, 0, 0, 0];
    let garbage = vec![1, 0, 0, 0, 3, 9, 9, 9];
    let short = vec![1, 0, 0, 0, 200, 0];
    for (bytes, code) in [
        (huge, RefusalCode::TooLarge),
        (empty, RefusalCode::TooLarge),
        (garbage, RefusalCode::Malformed),
        (short, RefusalCode::WrongOrder),
    ] {
        let attack = async {
            let connection = raw.connect(address_of(&agent)).await;
            let (mut send, _recv) = connection.open_bi().await.unwrap();
            send.write_all(&bytes).await.unwrap();
            send.finish().unwrap();
            closed_for(&connection).await
        };
        let (told, outcome) = tokio::join!(attack, establish(&agent));
        assert_eq!(refused(outcome), code);
        assert_eq!(told, Some(code));
    }
}

#[tokio::test]
async fn a_stream_reset_in_the_middle_ends_the_handshake() {
    let net = Net::new();
    let agent = net.endpoint(net.federation.provider("bank"));
    let raw = Raw::new();
    let attack = async {
        let connection = raw.connect(address_of(&agent)).await;
        let (mut send, recv) = connection.open_bi().await.unwrap();
        send.write_all(&[1]).await.unwrap();
        send.reset(9_u32.into()).unwrap();
        connection.closed().await;
        drop(recv);
    };
    let ((), outcome) = tokio::join!(attack, establish(&agent));
    assert!(
        matches!(outcome, Err(ChannelError::StreamStopped(9))),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn bytes_behind_accept_are_refused() {
    let net = Net::new();
    let f = &net.federation;
    let agent = net.endpoint(f.provider("bank"));
    let raw = Raw::new();
    let attack = async {
        let link = raw.link(&net, raw.connect(address_of(&agent)).await, f.aggregator());
        let (mut send, mut recv) = link.connection.open_bi().await.unwrap();
        let terms = f.terms(&f.contract).unwrap();
        let nonce = (Nonce::draw().unwrap(), f.now);
        let (handshake, hello) =
            Handshake::dial(link.context.local.clone(), &terms, link.keys, nonce, None).unwrap();
        send.write_all(&[1]).await.unwrap();
        send.write_all(&hello).await.unwrap();
        let greeted = handshake
            .take_hello(&frame(&mut recv).await, f.now, &**f, &**f)
            .unwrap();
        let exporter = link.exporter(&greeted.exporter_context()).unwrap();
        let (handshake, proof) = greeted.bind(exporter).prove().unwrap();
        send.write_all(&proof).await.unwrap();
        let (_, accept) = handshake
            .take_proof(&frame(&mut recv).await, f.now)
            .unwrap();
        send.write_all(&[&accept[..], b"and a first request"].concat())
            .await
            .unwrap();
        send.finish().unwrap();
        closed_for(&link.connection).await
    };
    let (told, outcome) = tokio::join!(attack, establish(&agent));
    assert_eq!(refused(outcome), RefusalCode::TrailingBytes);
    assert_eq!(told, Some(RefusalCode::TrailingBytes));
}

async fn frame(recv: &mut quinn::RecvStream) -> Vec<u8> {
    let mut header = [0; 4];
    recv.read_exact(&mut header).await.unwrap();
    let mut body = vec![0; u32::from_be_bytes(header) as usize];
    recv.read_exact(&mut body).await.unwrap();
    body
}

/// A man in the middle ends TLS on both sides and passes on every byte of the handshake.
#[tokio::test]
async fn a_handshake_relayed_between_two_tls_sessions_is_refused_by_both() {
    let net = Net::new();
    let f = &net.federation;
    let agent = net.endpoint(f.provider("bank"));
    let aggregator = net.endpoint(f.aggregator());
    let middle = Raw::new();
    let relay = async {
        let from = middle.accept().await;
        let to = middle.connect(address_of(&agent)).await;
        let (mut from_send, mut from_recv) = from.accept_bi().await.unwrap();
        let (mut to_send, mut to_recv) = to.open_bi().await.unwrap();
        tokio::join!(
            pass(&mut from_recv, &mut to_send),
            pass(&mut to_recv, &mut from_send)
        );
        from.closed().await;
        to.closed().await;
    };
    let (dialled, arrived, ()) = tokio::join!(
        aggregator.dial(middle.address(), &f.contract),
        establish(&agent),
        relay
    );
    for outcome in [dialled, arrived] {
        assert_eq!(
            outcome.unwrap_err().refusal(),
            Some(RefusalCode::PartySignature)
        );
    }
}

async fn pass(from: &mut quinn::RecvStream, to: &mut quinn::SendStream) {
    while let Ok(Some(chunk)) = from.read_chunk(usize::MAX, true).await {
        if to.write_chunk(chunk.bytes).await.is_err() {
            return;
        }
    }
    let _ = to.finish();
}

/// The middle cannot do without the evidence either: it speaks for itself, with a machine of another build.
#[tokio::test]
async fn a_man_in_the_middle_with_a_machine_of_his_own_is_refused() {
    let net = Net::new();
    let f = &net.federation;
    let agent = net.endpoint(f.provider("bank"));
    let impostor = net.endpoint(LocalParty::aggregator(
        "lab".parse().unwrap(),
        f.consumer.clone(),
        f.machine(b"an aggregator that keeps the records"),
        crate::handshake::tests::federation::noise(7),
    ));
    let (dialled, arrived) = tokio::join!(
        impostor.dial(address_of(&agent), &f.contract),
        establish(&agent)
    );
    assert_eq!(refused(arrived), RefusalCode::EvidenceRefused);
    let told = dialled.unwrap_err();
    assert_eq!(told.refusal(), Some(RefusalCode::EvidenceRefused));
    assert!(told.to_string().contains("expected"), "{told}");
}

#[tokio::test]
async fn an_echo_of_our_own_handshake_is_refused() {
    let net = Net::new();
    let aggregator = net.endpoint(net.federation.provider("bank"));
    let mirror = Raw::new();
    let echo = async {
        let connection = mirror.accept().await;
        let (mut send, mut recv) = connection.accept_bi().await.unwrap();
        recv.read_exact(&mut [0]).await.unwrap();
        pass(&mut recv, &mut send).await;
        connection.closed().await
    };
    let contract = net.federation.contract;
    let (dialled, closed) = tokio::join!(aggregator.dial(mirror.address(), &contract), echo);
    assert_eq!(refused(dialled), RefusalCode::Reflection);
    assert!(matches!(closed, ConnectionError::ApplicationClosed(_)));
}

#[tokio::test]
async fn refusals_reach_the_peer_with_code_and_text() {
    let net = Net::new();
    let f = &net.federation;
    for (dialer, responder, code) in [
        (
            f.runner(b"bad"),
            f.provider("bank"),
            RefusalCode::AuthorisationRefused,
        ),
        (f.aggregator(), f.aggregator(), RefusalCode::RolePair),
        (f.consumer(), f.consumer(), RefusalCode::RolePair),
    ] {
        let [left, right] = net.meet(dialer, responder).await;
        let (left, right) = (left.unwrap_err(), right.unwrap_err());
        assert_eq!((left.refusal(), right.refusal()), (Some(code), Some(code)));
        let told = if refused_by_peer(&left) { left } else { right };
        assert!(told.to_string().contains("to mend it"), "{told}");
    }
}

fn refused_by_peer(error: &ChannelError) -> bool {
    matches!(
        error,
        ChannelError::Handshake(HandshakeError::RefusedByPeer(_))
    )
}
