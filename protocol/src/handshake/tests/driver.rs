//! Runs two handshakes against each other, frame by frame, through the hands of a man in the middle.

use std::sync::Arc;

use chrono::TimeDelta;

use super::federation::Federation;
use crate::handshake::{
    Accepted, AwaitingAccept, AwaitingHello, AwaitingProof, FRAME_HEADER, Handshake,
    HandshakeError, LocalParty, Nonce, PeerIdentity, RefusalCode, TermsDirectory as _, TlsKey,
};

/// One side, whatever it waits for.
pub(super) struct End {
    federation: Arc<Federation>,
    exporter: [u8; 32],
    waiting: Option<Waiting>,
    pub(super) outcome: Option<Result<Accepted, HandshakeError>>,
}

// A few at a time, in tests: its size does not matter.
#[allow(clippy::large_enum_variant)]
enum Waiting {
    Hello(Handshake<AwaitingHello>),
    Proof(Handshake<AwaitingProof>),
    Accept(Handshake<AwaitingAccept>),
}

/// What a side uses besides its party.
#[derive(Clone, Copy)]
pub(super) struct Link {
    pub(super) keys: [TlsKey; 2],
    pub(super) exporter: [u8; 32],
    pub(super) nonce: u8,
    /// How long before the handshake's time the nonce was drawn.
    pub(super) drawn_before: TimeDelta,
}

pub(super) const DIALER: Link = Link {
    keys: [tls(1), tls(2)],
    exporter: [3; 32],
    nonce: 4,
    drawn_before: TimeDelta::zero(),
};
pub(super) const RESPONDER: Link = Link {
    keys: [tls(2), tls(1)],
    exporter: [3; 32],
    nonce: 5,
    drawn_before: TimeDelta::zero(),
};

impl End {
    pub(super) fn dial(
        federation: &Arc<Federation>,
        local: LocalParty,
        link: Link,
        prior: Option<PeerIdentity>,
    ) -> (Self, Vec<Vec<u8>>) {
        let terms = federation.terms(&federation.contract).unwrap();
        let nonce = (
            Nonce::from_bytes([link.nonce; 32]),
            federation.now - link.drawn_before,
        );
        let dialled = Handshake::dial(Arc::new(local), &terms, link.keys, nonce, prior);
        let mut end = Self::new(federation, link);
        match dialled {
            Ok((handshake, hello)) => {
                end.waiting = Some(Waiting::Hello(handshake));
                (end, vec![hello])
            }
            Err(error) => {
                end.outcome = Some(Err(error));
                (end, Vec::new())
            }
        }
    }

    pub(super) fn respond(
        federation: &Arc<Federation>,
        local: LocalParty,
        link: Link,
        prior: Option<PeerIdentity>,
    ) -> Self {
        let nonce = (
            Nonce::from_bytes([link.nonce; 32]),
            federation.now - link.drawn_before,
        );
        let handshake = Handshake::respond(Arc::new(local), link.keys, nonce, prior);
        Self {
            waiting: Some(Waiting::Hello(handshake)),
            ..Self::new(federation, link)
        }
    }

    fn new(federation: &Arc<Federation>, link: Link) -> Self {
        Self {
            federation: federation.clone(),
            exporter: link.exporter,
            waiting: None,
            outcome: None,
        }
    }

    /// Takes one frame and gives the frames to send; a side that has ended takes nothing.
    pub(super) fn feed(&mut self, frame: &[u8]) -> Vec<Vec<u8>> {
        let body = &frame[FRAME_HEADER.min(frame.len())..];
        let Some(waiting) = self.waiting.take() else {
            return Vec::new();
        };
        self.step(waiting, body).unwrap_or_else(|error| {
            let told = match &error {
                HandshakeError::Refused(refusal) => vec![refusal.frame()],
                HandshakeError::RefusedByPeer(_) => Vec::new(),
            };
            self.outcome = Some(Err(error));
            told
        })
    }

    fn step(&mut self, waiting: Waiting, body: &[u8]) -> Result<Vec<Vec<u8>>, HandshakeError> {
        let now = self.federation.now;
        match waiting {
            Waiting::Hello(handshake) => {
                let greeted =
                    handshake.take_hello(body, now, &*self.federation, &*self.federation)?;
                let mut frames: Vec<_> = greeted.hello().into_iter().collect();
                // As TLS does: another context gives other bytes.
                let context = greeted.exporter_context();
                let mut exporter = self.exporter;
                exporter
                    .iter_mut()
                    .zip(context.chunks(2))
                    .for_each(|(e, c)| *e ^= c[0] ^ c[1].rotate_left(1));
                let (handshake, proof) = greeted.bind(exporter).prove()?;
                frames.push(proof);
                self.waiting = Some(Waiting::Proof(handshake));
                Ok(frames)
            }
            Waiting::Proof(handshake) => {
                let (handshake, accept) = handshake.take_proof(body, now)?;
                self.waiting = Some(Waiting::Accept(handshake));
                Ok(vec![accept])
            }
            Waiting::Accept(handshake) => {
                self.outcome = Some(Ok(handshake.take_accept(body)?));
                Ok(Vec::new())
            }
        }
    }
}

/// Who sends a frame, and its number among that side's frames: Hello, Proof, Accept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum From {
    Dialer(usize),
    Responder(usize),
}

/// Passes frames between the two until both are silent; `middle` may change, drop or add.
pub(super) fn pump(
    dialer: &mut End,
    opening: Vec<Vec<u8>>,
    responder: &mut End,
    mut middle: impl FnMut(From, Vec<u8>) -> Vec<Vec<u8>>,
) {
    let (mut from_dialer, mut from_responder) = (0, 0);
    let mut to_responder = opening;
    let mut to_dialer: Vec<Vec<u8>> = Vec::new();
    while !(to_responder.is_empty() && to_dialer.is_empty()) {
        for frame in std::mem::take(&mut to_responder) {
            for frame in middle(From::Dialer(from_dialer), frame) {
                to_dialer.extend(responder.feed(&frame));
            }
            from_dialer += 1;
        }
        for frame in std::mem::take(&mut to_dialer) {
            for frame in middle(From::Responder(from_responder), frame) {
                to_responder.extend(dialer.feed(&frame));
            }
            from_responder += 1;
        }
    }
}

/// Both outcomes of an honest exchange; a side that waits for ever has none.
pub(super) fn meet(
    federation: &Arc<Federation>,
    dialer: LocalParty,
    responder: LocalParty,
) -> [Option<Result<Accepted, HandshakeError>>; 2] {
    meet_through(federation, dialer, responder, |_, frame| vec![frame])
}

pub(super) fn meet_through(
    federation: &Arc<Federation>,
    dialer: LocalParty,
    responder: LocalParty,
    middle: impl FnMut(From, Vec<u8>) -> Vec<Vec<u8>>,
) -> [Option<Result<Accepted, HandshakeError>>; 2] {
    let (mut dialer, opening) = End::dial(federation, dialer, DIALER, None);
    let mut responder = End::respond(federation, responder, RESPONDER, None);
    pump(&mut dialer, opening, &mut responder, middle);
    [dialer.outcome, responder.outcome]
}

/// The code for which a side itself refuses.
#[track_caller]
pub(super) fn refused(outcome: &Option<Result<Accepted, HandshakeError>>) -> RefusalCode {
    match outcome {
        Some(Err(HandshakeError::Refused(refusal))) => {
            for part in [&refusal.expected, &refusal.got, &refusal.mend] {
                assert!(!part.is_empty(), "{refusal}");
            }
            refusal.code
        }
        other => panic!("expected a refusal, got {other:?}"),
    }
}

pub(super) const fn tls(byte: u8) -> TlsKey {
    TlsKey::of_test(byte)
}
