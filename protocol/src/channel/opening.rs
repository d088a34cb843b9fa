//! The handshake over a stream of a connection.

use bytes::Bytes;
use quinn::{RecvStream, SendStream};

use super::{
    error::ChannelError,
    frames::{self, Kind},
    link::Link,
};
use crate::{
    Digest,
    handshake::{
        Accepted, AwaitingHello, FRAME_HEADER, Handshake, HandshakeError, Nonce, PeerIdentity,
        Refusal, RefusalCode, frame_length,
    },
};

/// What one side brings to a handshake.
#[derive(Clone, Copy)]
pub(super) enum Part {
    /// It opened the stream and names the contract.
    Dialer(Digest),
    /// It answers; the first byte of the stream has been read.
    Responder,
}

/// Both halves of the handshake's stream.
pub(super) struct Stream {
    pub(super) send: SendStream,
    pub(super) recv: RecvStream,
}

/// Runs one handshake to its end; on an error nothing has been told to the peer yet.
///
/// `prior` is the peer's identity where a channel attests anew.
pub(super) async fn run(
    link: &Link,
    part: Part,
    prior: Option<PeerIdentity>,
    stream: &mut Stream,
) -> Result<Accepted, ChannelError> {
    let handshake = begin(link, part, prior, stream).await?;
    let frame = read_frame(stream).await?;
    let context = &link.context;
    let greeted = handshake
        .take_hello(
            &frame,
            context.now(),
            &*context.terms,
            &*context.authorisations,
        )
        .map_err(ChannelError::from)?;
    if let Some(hello) = greeted.hello() {
        stream.send.write_chunk(hello.into()).await?;
    }
    let exporter = link.exporter(&greeted.exporter_context())?;
    let proving = greeted.bind(exporter);
    // Devices take milliseconds to sign a report: not on the threads that move packets.
    let (handshake, proof) = aside(move || proving.prove()).await?;
    stream.send.write_chunk(proof.into()).await?;

    let frame = read_frame(stream).await?;
    let now = context.now();
    let (handshake, accept) = aside(move || handshake.take_proof(&frame, now)).await?;
    stream.send.write_chunk(accept.into()).await?;
    // What fails from here on is told by the connection's close.
    stream.send.finish().map_err(|_| ChannelError::Closed)?;

    let frame = read_frame(stream).await?;
    let accepted = handshake.take_accept(&frame)?;
    match frames::read_end(&mut stream.recv, "the end of the handshake").await {
        Err(ChannelError::Malformed { .. }) => {
            Err(ChannelError::refused(Refusal::trailing_bytes(1)))
        }
        other => other.map(|()| accepted),
    }
}

async fn begin(
    link: &Link,
    part: Part,
    prior: Option<PeerIdentity>,
    stream: &mut Stream,
) -> Result<Handshake<AwaitingHello>, ChannelError> {
    // Before the nonce, so that nothing made for it can seem younger than it is.
    let drawn = link.context.now();
    let nonce = Nonce::draw().ok_or(ChannelError::Local("the system gives no randomness"))?;
    let nonce = (nonce, drawn);
    let local = link.context.local.clone();
    let contract = match part {
        Part::Dialer(contract) => contract,
        Part::Responder => return Ok(Handshake::respond(local, link.keys, nonce, prior)),
    };
    let terms = link
        .context
        .terms
        .terms(&contract)
        .ok_or_else(|| ChannelError::refused(Refusal::unknown_contract_here(&contract)))?;
    let (handshake, hello) = Handshake::dial(local, &terms, link.keys, nonce, prior)?;
    let mut opening = Kind::Handshake.byte().to_vec();
    opening.extend(hello);
    stream.send.write_chunk(opening.into()).await?;
    Ok(handshake)
}

/// Takes a step that may block or compute for milliseconds on a thread of its own.
async fn aside<T: Send + 'static>(
    step: impl FnOnce() -> Result<T, HandshakeError> + Send + 'static,
) -> Result<T, ChannelError> {
    match tokio::task::spawn_blocking(step).await {
        Ok(outcome) => outcome.map_err(ChannelError::from),
        Err(_) => Err(ChannelError::Local("a step of the handshake ended early")),
    }
}

/// Reads the body of one frame of the handshake.
async fn read_frame(stream: &mut Stream) -> Result<Bytes, ChannelError> {
    match read_body(stream).await {
        Err(ChannelError::Truncated { .. }) => Err(ChannelError::refused(Refusal::cut_short())),
        other => other,
    }
}

async fn read_body(stream: &mut Stream) -> Result<Bytes, ChannelError> {
    let mut header = [0; FRAME_HEADER];
    stream.recv.read_exact(&mut header).await?;
    let length = frame_length(header).map_err(ChannelError::refused)?;
    let mut body = vec![0; length];
    stream.recv.read_exact(&mut body).await?;
    Ok(body.into())
}

impl Refusal {
    fn cut_short() -> Self {
        Self::new(
            RefusalCode::WrongOrder,
            "the next message of the handshake",
            "the end of the stream",
            "use the same protocol version on both sides",
        )
    }

    pub(super) fn unknown_contract_here(contract: &Digest) -> Self {
        Self::new(
            RefusalCode::UnknownContract,
            "a contract that this side has",
            contract,
            "take part in the contract first",
        )
    }
}
