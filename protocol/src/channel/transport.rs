//! How QUIC is set up: before ACCEPT for one stream, after it for traffic.

use std::sync::Arc;

use quinn::{
    EndpointConfig, IdleTimeout, MtuDiscoveryConfig, TransportConfig, VarInt,
    congestion::CubicConfig,
};

use super::{error::EndpointError, options::TransportOptions};

/// What a peer that is not verified may make this side buffer: the longest message of the handshake and some.
const UNVERIFIED_WINDOW: u32 = 128 << 10;

/// The first packet size tried; larger ones are discovered. An initial size of 16 KiB or more never connects.
const INITIAL_MTU: u16 = 1452;

/// Which end of the connection a configuration is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Dialer,
    Responder,
}

/// The state before ACCEPT: the responder takes one stream, the handshake's; the dialer takes none.
pub(super) fn unverified(
    options: &TransportOptions,
    end: End,
) -> Result<TransportConfig, EndpointError> {
    let idle = IdleTimeout::try_from(options.idle_timeout).map_err(|_| EndpointError::Setting {
        setting: "idle_timeout",
        expected: "a duration that QUIC can say".to_owned(),
        got: format!("{:?}", options.idle_timeout),
    })?;
    let mut discovery = MtuDiscoveryConfig::default();
    discovery.upper_bound(options.largest_packet);
    let mut config = TransportConfig::default();
    config
        .max_concurrent_bidi_streams(match end {
            End::Dialer => VarInt::from_u32(0),
            End::Responder => VarInt::from_u32(1),
        })
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(None)
        .receive_window(VarInt::from_u32(UNVERIFIED_WINDOW))
        .stream_receive_window(VarInt::from_u32(options.window))
        .send_window(u64::from(options.window) * 4)
        .initial_mtu(INITIAL_MTU.min(options.largest_packet))
        .mtu_discovery_config(Some(discovery))
        .congestion_controller_factory(Arc::new(CubicConfig::default()))
        .keep_alive_interval(Some(options.keep_alive))
        .max_idle_timeout(Some(idle));
    Ok(config)
}

/// What a verified peer may do.
#[derive(Debug, Clone, Copy)]
pub(super) struct Credit {
    pub(super) requests: u32,
    pub(super) batch_streams: u32,
    /// Bytes that may be under way on one stream.
    pub(super) window: u32,
}

impl Credit {
    /// Room for every stream of batches at its limit and one more: were the connection's window no larger than a stream's,
    /// batches that the application has not read yet would hold back the answers that it is waiting for.
    fn connection_window(self) -> u32 {
        self.window
            .saturating_mul(self.batch_streams.saturating_add(1))
    }
}

/// After ACCEPT.
pub(super) fn open(connection: &quinn::Connection, credit: Credit) {
    connection.set_receive_window(VarInt::from_u32(credit.connection_window()));
    connection.set_max_concurrent_bi_streams(VarInt::from_u32(credit.requests));
    connection.set_max_concurrent_uni_streams(VarInt::from_u32(credit.batch_streams));
}

pub(super) fn endpoint(options: &TransportOptions) -> Result<EndpointConfig, EndpointError> {
    let mut config = EndpointConfig::default();
    config
        .max_udp_payload_size(options.largest_packet.max(INITIAL_MTU))
        .map_err(|error| EndpointError::Tls(error.to_string()))?;
    Ok(config)
}
