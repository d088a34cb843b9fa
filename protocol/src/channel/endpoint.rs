//! One UDP socket that dials and listens.

use std::{fmt, io, net::SocketAddr, sync::Arc, time::Duration};

use quinn::{ClientConfig, ConnectionError, Incoming, ServerConfig, TokioRuntime};
use tributary_attest::Collateral;

use super::{
    error::{ChannelError, CloseCode, EndpointError},
    link::{Context, Link},
    options::EndpointOptions,
    states::{Channel, Established, Unattested},
    tls::{SERVER_NAME, TlsIdentity},
    transport::{self, End},
};
use crate::{
    Digest,
    handshake::{Refusal, TlsKey},
};

/// From this many open connections on, a newcomer must first show that packets reach its address (RFC 9000, section 8.1.2).
const UNPROVED_ADDRESSES: usize = 64;

/// Bytes that the kernel may hold for the socket in each direction: the windows of several peers that send at once.
/// With the usual 208 KiB four agents overrun an aggregator's socket, and loss slows each of them a hundredfold.
const SOCKET_BUFFER: usize = 4 << 20;

/// Dials peers and is dialled, on one UDP socket, with a TLS key pair of its own.
///
/// A clone is a handle of the same endpoint.
///
/// ```no_run
/// # use tributary_protocol::*;
/// # async fn example(options: EndpointOptions, contract: Digest) -> Result<(), Box<dyn std::error::Error>> {
/// let endpoint = Endpoint::bind("127.0.0.1:0".parse()?, options)?;
/// let agent = Endpoint::resolve("agent.example:7443").await?;
/// match endpoint.dial(agent, &contract).await? {
///     Established::Attested(channel) => println!("{}: {}", channel.peer(), channel.verdict()),
///     Established::Identified(channel) => println!("{}", channel.peer()),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Endpoint {
    quinn: quinn::Endpoint,
    client: ClientConfig,
    context: Arc<Context>,
}

impl Endpoint {
    /// Binds the socket. Port 0 lets the system choose. Needs a tokio runtime.
    ///
    /// # Errors
    /// [`EndpointError`] where the address cannot be had or a setting is out of range.
    pub fn bind(address: SocketAddr, options: EndpointOptions) -> Result<Self, EndpointError> {
        let EndpointOptions {
            local,
            terms,
            authorisations,
            clock,
            transport,
        } = options;
        transport.check()?;
        let tls = TlsIdentity::generate()?;
        let mut client = ClientConfig::new(Arc::new(tls.client()?));
        client.transport_config(Arc::new(transport::unverified(&transport, End::Dialer)?));
        let mut server = ServerConfig::with_crypto(Arc::new(tls.server()?));
        server.transport_config(Arc::new(transport::unverified(&transport, End::Responder)?));

        let socket =
            std::net::UdpSocket::bind(address).map_err(|error| cannot_bind(address, error))?;
        enlarge_buffers(&socket);
        let config = transport::endpoint(&transport)?;
        let quinn = quinn::Endpoint::new(config, Some(server), socket, Arc::new(TokioRuntime))
            .map_err(|source| EndpointError::Socket { address, source })?;
        let context = Context {
            local: Arc::new(local),
            terms,
            authorisations,
            clock,
            transport,
            tls: tls.key,
            judge_anew: tokio::sync::watch::Sender::new(0),
        };
        Ok(Self {
            quinn,
            client,
            context: Arc::new(context),
        })
    }

    /// The address of `host:port` or `ip:port`.
    ///
    /// # Errors
    /// [`EndpointError::AddressSyntax`] and [`EndpointError::Unresolved`].
    pub async fn resolve(text: &str) -> Result<SocketAddr, EndpointError> {
        if let Ok(address) = text.parse() {
            return Ok(address);
        }
        let shape = text.rsplit_once(':').is_some_and(|(host, port)| {
            !host.is_empty() && !host.contains(['/', ' ']) && port.parse::<u16>().is_ok()
        });
        if !shape {
            return Err(EndpointError::AddressSyntax(
                text.chars().take(200).collect(),
            ));
        }
        let refuse = |source| EndpointError::Unresolved {
            text: text.to_owned(),
            source,
        };
        let mut found = tokio::net::lookup_host(text).await.map_err(refuse)?;
        found
            .next()
            .ok_or_else(|| refuse(io::Error::from(io::ErrorKind::NotFound)))
    }

    /// Connects and attests under a contract that this side has.
    ///
    /// # Errors
    /// As [`Endpoint::connect`] and [`Channel::attest`].
    pub async fn dial(
        &self,
        peer: SocketAddr,
        contract: &Digest,
    ) -> Result<Established, ChannelError> {
        self.connect(peer, contract).await?.attest().await
    }

    /// Connects without attesting yet.
    ///
    /// # Errors
    /// [`ChannelError::NoAnswer`], [`ChannelError::Dial`], [`ChannelError::Tls`], and a refusal where this side
    /// does not have the contract.
    pub async fn connect(
        &self,
        peer: SocketAddr,
        contract: &Digest,
    ) -> Result<Channel<Unattested>, ChannelError> {
        if self.context.terms.terms(contract).is_none() {
            return Err(ChannelError::refused(Refusal::unknown_contract_here(
                contract,
            )));
        }
        let connecting = self
            .quinn
            .connect_with(self.client.clone(), peer, SERVER_NAME)
            .map_err(|error| match error {
                quinn::ConnectError::EndpointStopping => ChannelError::EndpointClosed,
                error => ChannelError::Dial {
                    address: peer,
                    reason: error.to_string(),
                },
            })?;
        let connection = self.within(peer, connecting).await?;
        Ok(Channel::dialled(
            Link::new(connection, self.context.clone())?,
            *contract,
        ))
    }

    /// The next peer that dials; `None` once the endpoint is closed.
    ///
    /// Nothing of the peer is read here: give the arrival to a task of its own, so that a slow one delays nobody.
    pub async fn accept(&self) -> Option<Arrival> {
        loop {
            let incoming = self.quinn.accept().await?;
            let crowded = self.quinn.open_connections() >= UNPROVED_ADDRESSES;
            if crowded && !incoming.remote_address_validated() && incoming.may_retry() {
                // Fails where no retry may be asked for, which has just been checked.
                let _ = incoming.retry();
                continue;
            }
            return Some(Arrival {
                incoming,
                endpoint: self.clone(),
            });
        }
    }

    /// Where this endpoint listens.
    ///
    /// # Errors
    /// [`io::Error`] where the socket is gone.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.quinn.local_addr()
    }

    /// The TLS key that this endpoint proves to have.
    pub fn tls_key(&self) -> TlsKey {
        self.context.tls
    }

    /// Has every channel that keeps itself attested judge its peer anew, at once: for what a peer's evidence is judged by
    /// has changed. A peer that no longer meets it is refused and its channel closed.
    pub fn judge_anew(&self) {
        self.context.judge_anew.send_modify(|count| *count += 1);
    }

    /// Judges evidence by this collateral from now on, and has every channel judge its peer anew by it, as
    /// [`Endpoint::judge_anew`] does: a peer whose certificate a newer list takes back loses its channel.
    pub fn judge_by(&self, collateral: Arc<Collateral>) {
        self.context.local.replace_collateral(collateral);
        self.judge_anew();
    }

    /// What evidence is judged by.
    pub(super) fn collateral(&self) -> Arc<Collateral> {
        self.context.local.collateral()
    }

    /// Closes all channels, tells their peers, and waits until that is out.
    pub async fn close(&self, code: CloseCode, reason: &str) {
        self.quinn.close(code.to_wire(), reason.as_bytes());
        self.quinn.wait_idle().await;
    }

    async fn within(
        &self,
        peer: SocketAddr,
        connecting: quinn::Connecting,
    ) -> Result<quinn::Connection, ChannelError> {
        let within: Duration = self.context.transport.handshake_timeout;
        let no_answer = ChannelError::NoAnswer {
            address: peer,
            within,
        };
        match tokio::time::timeout(within, connecting).await {
            Err(_) | Ok(Err(ConnectionError::TimedOut)) => Err(no_answer),
            Ok(outcome) => outcome.map_err(|error| tls_failure(peer, error)),
        }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("address", &self.quinn.local_addr().ok())
            .field("local", &self.context.local)
            .finish()
    }
}

/// A peer that dials, of which nothing is known yet.
#[derive(Debug)]
pub struct Arrival {
    incoming: Incoming,
    endpoint: Endpoint,
}

impl Arrival {
    /// Where it says that it is.
    pub fn remote_address(&self) -> SocketAddr {
        self.incoming.remote_address()
    }

    /// Connects and attests.
    ///
    /// # Errors
    /// As [`Arrival::connect`] and [`Channel::attest`].
    pub async fn establish(self) -> Result<Established, ChannelError> {
        self.connect().await?.attest().await
    }

    /// Connects without attesting yet.
    ///
    /// # Errors
    /// [`ChannelError::Tls`] where no session comes about.
    pub async fn connect(self) -> Result<Channel<Unattested>, ChannelError> {
        let peer = self.incoming.remote_address();
        let connecting = self
            .incoming
            .accept()
            .map_err(|error| tls_failure(peer, error))?;
        let connection = self.endpoint.within(peer, connecting).await?;
        Ok(Channel::arrived(Link::new(
            connection,
            self.endpoint.context.clone(),
        )?))
    }
}

fn tls_failure(address: SocketAddr, error: ConnectionError) -> ChannelError {
    match error {
        ConnectionError::TransportError(_)
        | ConnectionError::ConnectionClosed(_)
        | ConnectionError::VersionMismatch => ChannelError::Tls {
            address,
            reason: error.to_string(),
        },
        other => other.into(),
    }
}

fn cannot_bind(address: SocketAddr, source: io::Error) -> EndpointError {
    match source.kind() {
        io::ErrorKind::AddrInUse => EndpointError::AddressInUse(address),
        io::ErrorKind::AddrNotAvailable => EndpointError::AddressUnavailable(address),
        io::ErrorKind::PermissionDenied => EndpointError::PortNotPermitted(address),
        _ => EndpointError::Socket { address, source },
    }
}

/// Asks for more room than the kernel gives unasked. It gives as much as the administrator allows
/// (`net.core.rmem_max`, `wmem_max`), and less is slower, not wrong.
fn enlarge_buffers(socket: &std::net::UdpSocket) {
    let socket = socket2::SockRef::from(socket);
    for enlarged in [
        socket.set_recv_buffer_size(SOCKET_BUFFER),
        socket.set_send_buffer_size(SOCKET_BUFFER),
    ] {
        if let Err(error) = enlarged {
            tracing::debug!(%error, "the socket keeps its usual buffers");
        }
    }
}
