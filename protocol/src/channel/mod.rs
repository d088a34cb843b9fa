//! The attested channel: a QUIC connection that carries nothing until both ends have been verified.
//!
//! ```text
//! Endpoint::connect / accept --TLS--> Channel<Unattested> --attest--> Established
//!                                                                      |- Channel<Attested>     requests, batches
//!                                                                      '- Channel<Identified>   requests
//! ```
//!
//! Only [`Channel<Attested>`](Channel) has methods that carry records; a [`Channel`] of another state
//! cannot be turned into one but by the handshake. Until ACCEPT a peer has credit for one stream, the
//! handshake's, and QUIC itself closes a connection that opens another (RFC 9000, section 4.6).
//!
//! Files, simplest first: `error`, `options`, `tls`, `transport`, `frames`, `link`, `opening`,
//! `requests`, `batches`, `session`, `states`, `endpoint`, `upkeep`.

mod batches;
mod endpoint;
mod error;
mod frames;
mod link;
mod opening;
mod options;
mod requests;
mod session;
mod states;
mod tls;
mod transport;
mod upkeep;

pub use batches::{BATCH_LIMIT, BatchReceiver, BatchSender};
pub use endpoint::{Arrival, Endpoint};
pub use error::{ChannelError, CloseCode, EndpointError};
pub use options::{Clock, EndpointOptions, TransportOptions};
pub use requests::{MESSAGE_LIMIT, Request};
pub use states::{Attested, Channel, Established, Identified, Open, Unattested};
pub use upkeep::{COLLATERAL_LOOK, CollateralNews, follow_collateral};

#[cfg(test)]
mod tests;
