//! What can go wrong with an endpoint and with a channel.

use std::{io, net::SocketAddr, time::Duration};

use quinn::{ConnectionError, ReadError, ReadExactError, TransportErrorCode, VarInt, WriteError};

use crate::handshake::{HandshakeError, PeerRefusal, Refusal, RefusalCode};

/// Why there is no endpoint: a fault of the own configuration or machine.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// The port is taken.
    #[error(
        "cannot listen on {0}: another program has this UDP port; stop it, or choose another port (0 lets the system choose)"
    )]
    AddressInUse(SocketAddr),
    /// The address is not one of this machine's.
    #[error(
        "cannot listen on {0}: this machine has no such address; use one that `ip address` lists, or 0.0.0.0 for all"
    )]
    AddressUnavailable(SocketAddr),
    /// The port needs a privilege.
    #[error("cannot listen on {0}: ports below 1024 need a privilege; choose a port from 1024 on")]
    PortNotPermitted(SocketAddr),
    /// Another fault of the socket.
    #[error("cannot listen on {address}")]
    Socket {
        /// Where.
        address: SocketAddr,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// A text that is no address.
    #[error("expected an address such as 127.0.0.1:7443 or agent.example:7443, got `{0}`")]
    AddressSyntax(String),
    /// A name that resolves to nothing.
    #[error("cannot resolve `{text}`; check the name and the resolver")]
    Unresolved {
        /// The text.
        text: String,
        /// What the resolver says.
        #[source]
        source: io::Error,
    },
    /// A setting out of its range.
    #[error("expected {expected} as `{setting}`, got {got}")]
    Setting {
        /// Which one.
        setting: &'static str,
        /// Its range.
        expected: String,
        /// What was set.
        got: String,
    },
    /// No TLS configuration could be made.
    #[error("cannot prepare TLS: {0}")]
    Tls(String),
}

/// Why a channel did not open, or no longer works.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ChannelError {
    /// One side refuses the other.
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    /// Nobody answers.
    #[error(
        "no answer from {address} within {within:?}; is an endpoint listening there, and does UDP pass?"
    )]
    NoAnswer {
        /// Whom.
        address: SocketAddr,
        /// The limit.
        within: Duration,
    },
    /// The address cannot be dialled.
    #[error("cannot dial {address}: {reason}")]
    Dial {
        /// Which.
        address: SocketAddr,
        /// Why not.
        reason: String,
    },
    /// TLS found no common ground: another protocol, another key exchange, another kind of key.
    #[error(
        "no TLS session with {address} ({reason}); both sides need the same version of the protocol"
    )]
    Tls {
        /// With whom.
        address: SocketAddr,
        /// What QUIC says.
        reason: String,
    },
    /// The peer closed the channel.
    #[error("the peer closed the channel (code {code}): {reason}")]
    ClosedByPeer {
        /// Its code.
        code: CloseCode,
        /// Its words.
        reason: String,
    },
    /// This side closed the channel.
    #[error("this side closed the channel")]
    Closed,
    /// The connection broke.
    #[error("the connection was lost: {0}")]
    Lost(ConnectionError),
    /// The peer gave up one stream.
    #[error("the peer stopped the stream (code {0})")]
    StreamStopped(u64),
    /// A stream ended within a message.
    #[error("expected {expected}, got the end of the stream")]
    Truncated {
        /// What was missing.
        expected: &'static str,
    },
    /// A message over its limit, on sending or receiving.
    #[error("expected {what} of at most {limit} bytes, got {got}")]
    TooLarge {
        /// Of what.
        what: &'static str,
        /// The limit.
        limit: usize,
        /// What came.
        got: usize,
    },
    /// Bytes that do not decode.
    #[error("expected {what}, got bytes that are none; use the same version on both sides")]
    Malformed {
        /// What.
        what: &'static str,
    },
    /// No answer to a request in time.
    #[error("no answer to the request within {0:?}")]
    RequestTimeout(Duration),
    /// Records flow from a provider to an aggregator only.
    #[error(
        "records flow from a provider to an aggregator only, not from this {from} to that {to}"
    )]
    Direction {
        /// The sender's role.
        from: &'static str,
        /// The receiver's role.
        to: &'static str,
    },
    /// The attestation is too old to send records on.
    #[error(
        "expected an attestation of the peer no older than {limit:?}, got one of {age:?}; attest anew first"
    )]
    AttestationOverdue {
        /// What the contract allows.
        limit: Duration,
        /// How old it is; `None` where the clock says that it lies in the future.
        age: Option<Duration>,
    },
    /// The endpoint is closed.
    #[error("the endpoint is closed")]
    EndpointClosed,
    /// The machine gives no randomness, or a task of the handshake died.
    #[error("{0}")]
    Local(&'static str),
}

impl ChannelError {
    /// The code where one side refused the other.
    pub fn refusal(&self) -> Option<RefusalCode> {
        match self {
            Self::Handshake(error) => error.code(),
            _ => None,
        }
    }

    pub(super) fn refused(refusal: Refusal) -> Self {
        Self::Handshake(HandshakeError::Refused(refusal))
    }
}

impl Refusal {
    /// For what QUIC itself has closed the connection for (RFC 9000, section 4.6).
    fn early_stream() -> Self {
        Self::new(
            RefusalCode::EarlyStream,
            "no more streams than this side gave credit for, one until both have accepted",
            "another one",
            "wait for ACCEPT before opening streams",
        )
    }
}

impl From<ConnectionError> for ChannelError {
    fn from(error: ConnectionError) -> Self {
        match error {
            ConnectionError::ApplicationClosed(close) => {
                let code = CloseCode::from_wire(close.error_code);
                let reason = String::from_utf8_lossy(&close.reason);
                match code.refusal() {
                    Some(number) => Self::Handshake(HandshakeError::RefusedByPeer(
                        PeerRefusal::new(number, &reason),
                    )),
                    // Cleaned as a refusal's text is.
                    None => Self::ClosedByPeer {
                        code,
                        reason: PeerRefusal::new(0, &reason).text().to_owned(),
                    },
                }
            }
            ConnectionError::LocallyClosed => Self::Closed,
            ConnectionError::TransportError(error)
                if error.code == TransportErrorCode::STREAM_LIMIT_ERROR =>
            {
                Self::refused(Refusal::early_stream())
            }
            other => Self::Lost(other),
        }
    }
}

impl From<ReadError> for ChannelError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Reset(code) => Self::StreamStopped(code.into_inner()),
            ReadError::ConnectionLost(lost) => lost.into(),
            ReadError::ClosedStream
            | ReadError::IllegalOrderedRead
            | ReadError::ZeroRttRejected => Self::Closed,
        }
    }
}

impl From<ReadExactError> for ChannelError {
    fn from(error: ReadExactError) -> Self {
        match error {
            ReadExactError::FinishedEarly(_) => Self::Truncated {
                expected: "a whole message",
            },
            ReadExactError::ReadError(error) => error.into(),
        }
    }
}

impl From<WriteError> for ChannelError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Stopped(code) => Self::StreamStopped(code.into_inner()),
            WriteError::ConnectionLost(lost) => lost.into(),
            WriteError::ClosedStream | WriteError::ZeroRttRejected => Self::Closed,
        }
    }
}

/// The number with which a channel is closed.
///
/// Below [`CloseCode::REFUSALS`] they are free for applications; above stand the refusals of the handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CloseCode(u32);

impl CloseCode {
    /// All said.
    pub const DONE: Self = Self(0);
    /// The contract was revoked.
    pub const REVOKED: Self = Self(1);
    /// The program is ending and may come back.
    pub const SHUTTING_DOWN: Self = Self(2);
    /// The peer broke the protocol after the handshake.
    pub const PROTOCOL: Self = Self(3);
    /// The first number that stands for a refusal: this plus [`RefusalCode::number`].
    pub const REFUSALS: u32 = 0x1000;

    /// A code of an application's own.
    ///
    /// `None` for [`Self::REFUSALS`] and above, which only the handshake may say.
    pub const fn new(code: u32) -> Option<Self> {
        if code < Self::REFUSALS {
            Some(Self(code))
        } else {
            None
        }
    }

    /// The number.
    pub const fn get(self) -> u32 {
        self.0
    }

    pub(super) const fn of_refusal(code: RefusalCode) -> Self {
        Self(Self::REFUSALS + code.number() as u32)
    }

    fn refusal(self) -> Option<u16> {
        self.0
            .checked_sub(Self::REFUSALS)
            .and_then(|number| number.try_into().ok())
    }

    pub(super) fn to_wire(self) -> VarInt {
        VarInt::from_u32(self.0)
    }

    fn from_wire(code: VarInt) -> Self {
        Self(code.into_inner().try_into().unwrap_or(u32::MAX))
    }
}

impl std::fmt::Display for CloseCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_without_credit_is_named_as_such() {
        let closed = ConnectionError::TransportError(TransportErrorCode::STREAM_LIMIT_ERROR.into());
        let error = ChannelError::from(closed);
        assert_eq!(error.refusal(), Some(RefusalCode::EarlyStream));
        let other = ConnectionError::TransportError(TransportErrorCode::INTERNAL_ERROR.into());
        assert!(matches!(ChannelError::from(other), ChannelError::Lost(_)));
    }
}
