//! Records: large frames on a stream in one direction, from a provider to an aggregator.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use quinn::{RecvStream, SendStream};

use super::{
    error::ChannelError,
    frames::{self, Kind, Limit},
    session::Session,
};
use crate::batch::FRAME_SIZE_LIMIT;

/// No batch is longer: the limit of the frames in which records travel.
pub const BATCH_LIMIT: usize = FRAME_SIZE_LIMIT as usize;

const BATCH: Limit = Limit {
    what: "a batch",
    bytes: BATCH_LIMIT,
};

/// Below requests (0), so that a revocation does not queue behind megabytes of records.
const PRIORITY: i32 = -1;

/// Sends batches in order. Waits while the receiver's window is full.
///
/// Dropped before [`BatchSender::finish`] it resets the stream: the receiver gets an error and never takes
/// what came so far for all there is.
pub struct BatchSender {
    session: Arc<Session>,
    stream: SendStream,
    finished: bool,
}

/// The code of a stream whose sender gave up.
const GIVEN_UP: u32 = 1;

impl BatchSender {
    pub(super) async fn open(session: Arc<Session>) -> Result<Self, ChannelError> {
        session.check_may_send_records()?;
        let mut stream = session.link.connection.open_uni().await?;
        stream
            .set_priority(PRIORITY)
            .map_err(|_| ChannelError::Closed)?;
        stream.write_chunk(Kind::Batches.byte()).await?;
        Ok(Self {
            session,
            stream,
            finished: false,
        })
    }

    /// Hands one batch to the connection, without copying it.
    ///
    /// # Errors
    /// [`ChannelError::AttestationOverdue`] where the receiver's attestation is older than the contract
    /// allows, [`ChannelError::TooLarge`] over [`BATCH_LIMIT`], or where the channel is gone.
    pub async fn send(&mut self, batch: Bytes) -> Result<(), ChannelError> {
        self.session.check_may_send_records()?;
        frames::write(&mut self.stream, batch, BATCH).await
    }

    /// Says that no more come, and waits until the peer's transport has them all.
    ///
    /// # Errors
    /// Where the peer stopped the stream or the channel is gone.
    pub async fn finish(mut self) -> Result<(), ChannelError> {
        self.stream.finish().map_err(|_| ChannelError::Closed)?;
        self.finished = true;
        match self.stream.stopped().await {
            Ok(None) => Ok(()),
            Ok(Some(code)) => Err(ChannelError::StreamStopped(code.into_inner())),
            Err(_) => Err(self.session.why_gone()),
        }
    }
}

impl Drop for BatchSender {
    fn drop(&mut self) {
        // quinn ends a dropped stream as if all had been said.
        if !self.finished {
            let _ = self.stream.reset(GIVEN_UP.into());
        }
    }
}

impl fmt::Debug for BatchSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BatchSender({})", self.stream.id())
    }
}

/// Receives batches in order. What is not read yet holds the sender back.
pub struct BatchReceiver {
    /// Keeps the channel open as long as its records are read.
    _session: Arc<Session>,
    stream: RecvStream,
}

impl BatchReceiver {
    /// Takes a stream of batches; the peer's first byte says that it is one.
    pub(super) async fn accept(session: Arc<Session>) -> Result<Self, ChannelError> {
        session.check_may_receive_records()?;
        let mut stream = session.link.connection.accept_uni().await?;
        match Kind::read(&mut stream).await? {
            Some(Kind::Batches) => Ok(Self {
                _session: session,
                stream,
            }),
            _ => Err(ChannelError::Malformed {
                what: "a stream of batches",
            }),
        }
    }

    /// The next batch; `None` after the last.
    ///
    /// # Errors
    /// Where the stream breaks off within a batch, a batch is over [`BATCH_LIMIT`], or the channel is gone.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ChannelError> {
        frames::read(&mut self.stream, BATCH).await
    }
}

impl fmt::Debug for BatchReceiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BatchReceiver({})", self.stream.id())
    }
}
