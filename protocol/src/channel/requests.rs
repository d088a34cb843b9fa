//! Questions and answers: one stream for each.

use std::time::Duration;

use bytes::Bytes;
use quinn::{Connection, RecvStream, SendStream};
use serde::{Serialize, de::DeserializeOwned};

use super::{
    error::ChannelError,
    frames::{self, Kind, Limit},
};

/// No request and no answer is longer: a model's ONNX file is the longest thing that travels this way.
pub const MESSAGE_LIMIT: usize = 16 << 20;

const REQUEST: Limit = Limit {
    what: "a request",
    bytes: MESSAGE_LIMIT,
};
const ANSWER: Limit = Limit {
    what: "an answer",
    bytes: MESSAGE_LIMIT,
};

/// A request of the peer, to be answered; dropped, it tells the peer that no answer comes.
#[derive(Debug)]
pub struct Request {
    body: Bytes,
    send: SendStream,
}

impl Request {
    /// The request's bytes.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// Decodes the request from postcard, all of it.
    ///
    /// # Errors
    /// [`ChannelError::Malformed`] where it is no `T`, or has bytes behind it.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, ChannelError> {
        decode(&self.body, "a request")
    }

    /// Answers.
    ///
    /// # Errors
    /// Where the answer is over [`MESSAGE_LIMIT`], or the peer is gone.
    pub async fn answer(mut self, body: impl Into<Bytes>) -> Result<(), ChannelError> {
        frames::write(&mut self.send, body.into(), ANSWER).await?;
        self.send.finish().map_err(|_| ChannelError::Closed)
    }

    /// Answers in postcard.
    ///
    /// # Errors
    /// As [`Request::answer`].
    pub async fn answer_with<T: Serialize>(self, answer: &T) -> Result<(), ChannelError> {
        let body = encode(answer, "an answer")?;
        self.answer(body).await
    }

    /// Reads a request whose first byte has been read.
    pub(super) async fn read(send: SendStream, mut recv: RecvStream) -> Result<Self, ChannelError> {
        let body = frames::read(&mut recv, REQUEST)
            .await?
            .ok_or(ChannelError::Truncated {
                expected: "a request",
            })?;
        frames::read_end(&mut recv, "one request a stream").await?;
        Ok(Self { body, send })
    }
}

/// Sends a request on a stream of its own and waits for the answer.
pub(super) async fn ask(
    connection: &Connection,
    body: Bytes,
    within: Duration,
) -> Result<Bytes, ChannelError> {
    let exchange = async {
        REQUEST.check(body.len())?;
        let (mut send, mut recv) = connection.open_bi().await?;
        send.write_chunk(Kind::Request.byte()).await?;
        frames::write(&mut send, body, REQUEST).await?;
        send.finish().map_err(|_| ChannelError::Closed)?;
        let answer = frames::read(&mut recv, ANSWER)
            .await?
            .ok_or(ChannelError::Truncated {
                expected: "an answer",
            })?;
        frames::read_end(&mut recv, "one answer a stream").await?;
        Ok(answer)
    };
    match tokio::time::timeout(within, exchange).await {
        Ok(outcome) => outcome,
        Err(_) => Err(ChannelError::RequestTimeout(within)),
    }
}

pub(super) fn encode<T: Serialize>(value: &T, what: &'static str) -> Result<Vec<u8>, ChannelError> {
    postcard::to_allocvec(value).map_err(|_| ChannelError::Malformed { what })
}

pub(super) fn decode<T: DeserializeOwned>(
    bytes: &[u8],
    what: &'static str,
) -> Result<T, ChannelError> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        _ => Err(ChannelError::Malformed { what }),
    }
}
