//! Bare quinn with an endpoint's transport settings: what the attested channel is measured against.

use std::{
    error::Error,
    sync::Arc,
    time::{Duration, Instant},
};

use ::aws_lc_rs::{rand::SystemRandom, signature::Ed25519KeyPair};
use bytes::Bytes;
use quinn::{
    ClientConfig, Connection, EndpointConfig, MtuDiscoveryConfig, ServerConfig, TokioRuntime,
    TransportConfig, VarInt,
    crypto::rustls::{QuicClientConfig, QuicServerConfig},
};
use rustls::{
    DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, aws_lc_rs, verify_tls13_signature_with_raw_key},
    pki_types::{
        CertificateDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime,
    },
    server::AlwaysResolvesServerRawPublicKeys,
    sign::CertifiedKey,
    version::TLS13,
};
use tributary_protocol::TransportOptions;

/// Both ends of a connection.
pub(crate) struct Pair {
    ends: [Connection; 2],
    // Dropped with the pair, after its ends.
    _endpoints: [quinn::Endpoint; 2],
}

impl Pair {
    pub(crate) async fn open(options: &TransportOptions) -> Result<Self, Box<dyn Error>> {
        let transport = transport(options)?;
        let (client_crypto, server_crypto) = tls()?;
        let mut server = ServerConfig::with_crypto(Arc::new(server_crypto));
        server.transport_config(transport.clone());
        let mut client = ClientConfig::new(Arc::new(client_crypto));
        client.transport_config(transport);
        let listener = endpoint(options, Some(server))?;
        let dialer = endpoint(options, None)?;
        let connecting = dialer.connect_with(client, listener.local_addr()?, "bare.invalid")?;
        let accepting = async {
            let incoming = listener.accept().await.ok_or("nobody dialled")?;
            incoming.await.map_err(|error| error.to_string())
        };
        let (dialled, accepted) = tokio::join!(connecting, accepting);
        Ok(Self {
            ends: [dialled?, accepted?],
            _endpoints: [dialer, listener],
        })
    }

    /// Sends bytes over one stream in pieces of `piece`; from the first sent to the last received.
    pub(crate) async fn stream(
        &self,
        piece: usize,
        bytes: usize,
    ) -> Result<(usize, Duration), Box<dyn Error>> {
        let [dialled, accepted] = self.ends.clone();
        let begin = Instant::now();
        let receiving = tokio::spawn(async move {
            let mut stream = accepted
                .accept_uni()
                .await
                .map_err(|error| error.to_string())?;
            let mut received = 0;
            while let Some(chunk) = stream
                .read_chunk(usize::MAX, true)
                .await
                .map_err(|error| error.to_string())?
            {
                received += chunk.bytes.len();
            }
            Ok::<_, String>(received)
        });
        let mut stream = dialled.open_uni().await?;
        let data = Bytes::from(vec![7; piece]);
        for _ in 0..bytes / piece {
            stream.write_chunk(data.clone()).await?;
        }
        stream.finish()?;
        stream.stopped().await?;
        Ok((receiving.await??, begin.elapsed()))
    }
}

fn transport(options: &TransportOptions) -> Result<Arc<TransportConfig>, Box<dyn Error>> {
    let mut discovery = MtuDiscoveryConfig::default();
    discovery.upper_bound(options.largest_packet);
    let mut config = TransportConfig::default();
    config
        .stream_receive_window(VarInt::from_u32(options.window))
        .receive_window(VarInt::from_u32(options.window))
        .send_window(options.window.into())
        .initial_mtu(1452)
        .mtu_discovery_config(Some(discovery))
        .keep_alive_interval(Some(options.keep_alive))
        .max_idle_timeout(Some(options.idle_timeout.try_into()?));
    Ok(Arc::new(config))
}

fn endpoint(
    options: &TransportOptions,
    server: Option<ServerConfig>,
) -> Result<quinn::Endpoint, Box<dyn Error>> {
    let mut config = EndpointConfig::default();
    config.max_udp_payload_size(options.largest_packet)?;
    let socket = std::net::UdpSocket::bind("127.0.0.1:0")?;
    Ok(quinn::Endpoint::new(
        config,
        server,
        socket,
        Arc::new(TokioRuntime),
    )?)
}

fn tls() -> Result<(QuicClientConfig, QuicServerConfig), Box<dyn Error>> {
    let provider = Arc::new(CryptoProvider {
        cipher_suites: vec![
            aws_lc_rs::cipher_suite::TLS13_AES_256_GCM_SHA384,
            aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256,
        ],
        ..aws_lc_rs::default_provider()
    });
    let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new())?;
    let signer = provider
        .key_provider
        .load_private_key(PrivatePkcs8KeyDer::from(pkcs8.as_ref().to_vec()).into())?;
    let spki = signer.public_key().ok_or("no public key")?;
    let key = CertifiedKey::new(vec![CertificateDer::from(spki.to_vec())], signer);
    let server = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&TLS13])?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(Arc::new(
            key,
        ))));
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(InsecureAnyKey))
        .with_no_client_auth();
    Ok((
        QuicClientConfig::try_from(client)?,
        QuicServerConfig::try_from(server)?,
    ))
}

/// Bare means bare: nothing is verified here but that TLS works.
#[derive(Debug)]
struct InsecureAnyKey;

impl ServerCertVerifier for InsecureAnyKey {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::PeerIncompatible::Tls12NotOfferedOrEnabled.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms;
        verify_tls13_signature_with_raw_key(
            message,
            &SubjectPublicKeyInfoDer::from(key.as_ref()),
            signature,
            &algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}
