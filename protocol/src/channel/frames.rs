//! Messages on streams: a first byte that says what the stream is for, then lengths and bytes.

use bytes::{Bytes, BytesMut};
use quinn::{RecvStream, SendStream};

use super::error::ChannelError;

/// What a stream is for: its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Handshake = 1,
    Request = 2,
    Batches = 3,
}

impl Kind {
    /// The first byte of a stream.
    pub(super) fn byte(self) -> Bytes {
        Bytes::copy_from_slice(&[self as u8])
    }

    /// Reads the first byte; `None` for one that this version does not know.
    pub(super) async fn read(stream: &mut RecvStream) -> Result<Option<Self>, ChannelError> {
        let mut byte = [0];
        stream.read_exact(&mut byte).await?;
        let kinds = [Self::Handshake, Self::Request, Self::Batches];
        Ok(kinds.into_iter().find(|kind| *kind as u8 == byte[0]))
    }
}

/// What a frame is, for errors, and the most bytes that it may have.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limit {
    pub(super) what: &'static str,
    pub(super) bytes: usize,
}

impl Limit {
    pub(super) fn check(self, got: usize) -> Result<(), ChannelError> {
        let Self { what, bytes: limit } = self;
        match got <= limit {
            true => Ok(()),
            false => Err(ChannelError::TooLarge { what, limit, got }),
        }
    }
}

/// Writes one frame; the payload is handed over and not copied.
pub(super) async fn write(
    stream: &mut SendStream,
    payload: Bytes,
    limit: Limit,
) -> Result<(), ChannelError> {
    limit.check(payload.len())?;
    let header = Bytes::copy_from_slice(&(payload.len() as u32).to_be_bytes());
    stream.write_all_chunks(&mut [header, payload]).await?;
    Ok(())
}

/// Reads one frame; `None` where the stream ends before it.
pub(super) async fn read(
    stream: &mut RecvStream,
    limit: Limit,
) -> Result<Option<Bytes>, ChannelError> {
    let mut header = [0; 4];
    let mut have = 0;
    while have < header.len() {
        match stream.read(&mut header[have..]).await? {
            Some(count) => have += count,
            None if have == 0 => return Ok(None),
            None => {
                return Err(ChannelError::Truncated {
                    expected: limit.what,
                });
            }
        }
    }
    let length = u32::from_be_bytes(header) as usize;
    limit.check(length)?;
    // A length is only a claim: memory is taken as bytes arrive, doubling from here.
    let mut payload = BytesMut::with_capacity(length.min(FIRST_ALLOCATION));
    while payload.len() < length {
        let wanted = length - payload.len();
        let Some(chunk) = stream.read_chunk(wanted, true).await? else {
            return Err(ChannelError::Truncated {
                expected: limit.what,
            });
        };
        payload.extend_from_slice(&chunk.bytes);
    }
    Ok(Some(payload.freeze()))
}

/// Reads the end of the stream.
pub(super) async fn read_end(
    stream: &mut RecvStream,
    what: &'static str,
) -> Result<(), ChannelError> {
    match stream.read(&mut [0]).await? {
        None => Ok(()),
        Some(_) => Err(ChannelError::Malformed { what }),
    }
}

/// Most batches fit; what is larger shows that it is being sent before it is paid for.
const FIRST_ALLOCATION: usize = 1 << 20;
