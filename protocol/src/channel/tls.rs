//! TLS 1.3 with raw public keys (RFC 7250) on both sides.

use std::sync::Arc;

use ::aws_lc_rs::{
    rand::SystemRandom,
    signature::{Ed25519KeyPair, KeyPair as _},
};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme,
    client::{
        AlwaysResolvesClientRawPublicKeys, Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{
        CryptoProvider,
        aws_lc_rs::{self, cipher_suite, kx_group},
        verify_tls13_signature_with_raw_key,
    },
    pki_types::{
        CertificateDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime,
    },
    server::{
        AlwaysResolvesServerRawPublicKeys, NoServerSessionStorage,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    sign::CertifiedKey,
    version::TLS13,
};

use super::error::EndpointError;
use crate::handshake::TlsKey;

/// Both sides must name it, so that no other protocol is ever taken for this one (RFC 7301).
const ALPN: &[u8] = b"tributary/1";

/// What the dialer passes as the server's name; it is not sent, and keys have no names.
pub(super) const SERVER_NAME: &str = "tributary.invalid";

/// A TLS key pair made for this endpoint, which lives no longer than it.
pub(super) struct TlsIdentity {
    pub(super) key: TlsKey,
    certified: Arc<CertifiedKey>,
}

impl TlsIdentity {
    pub(super) fn generate() -> Result<Self, EndpointError> {
        let refuse = |what: &str| EndpointError::Tls(format!("no {what}"));
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new())
            .map_err(|_| refuse("key pair: the system gives no randomness"))?;
        let pair =
            Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).map_err(|_| refuse("usable key pair"))?;
        let public = pair.public_key().as_ref();
        let secret = PrivatePkcs8KeyDer::from(pkcs8.as_ref().to_vec()).into();
        let signer = aws_lc_rs::default_provider()
            .key_provider
            .load_private_key(secret)
            .map_err(|error| EndpointError::Tls(error.to_string()))?;
        let spki = signer.public_key().ok_or_else(|| refuse("public key"))?;
        let key = TlsKey::from_spki(&spki)
            .filter(|key| key.spki().ends_with(public))
            .ok_or_else(|| refuse("Ed25519 key"))?;
        let chain = vec![CertificateDer::from(spki.to_vec())];
        Ok(Self {
            key,
            certified: Arc::new(CertifiedKey::new(chain, signer)),
        })
    }

    /// This key with another's signature: what a thief of a public key would present.
    #[cfg(test)]
    pub(super) fn danger_with_signer_of(
        &self,
        other: &Self,
    ) -> Arc<dyn rustls::client::ResolvesClientCert> {
        let stolen = CertifiedKey::new(self.certified.cert.clone(), other.certified.key.clone());
        Arc::new(AlwaysResolvesClientRawPublicKeys::new(Arc::new(stolen)))
    }

    pub(super) fn client(&self) -> Result<QuicClientConfig, EndpointError> {
        quic_client(self.client_tls(provider())?)
    }

    pub(super) fn server(&self) -> Result<QuicServerConfig, EndpointError> {
        quic_server(self.server_tls(provider())?)
    }

    pub(super) fn client_tls(
        &self,
        provider: CryptoProvider,
    ) -> Result<rustls::ClientConfig, EndpointError> {
        let mut config = rustls::ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| EndpointError::Tls(error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyKeyWhichTheHandshakeBinds))
            .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(
                self.certified.clone(),
            )));
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.enable_sni = false;
        config.enable_early_data = false;
        config.resumption = Resumption::disabled();
        Ok(config)
    }

    pub(super) fn server_tls(
        &self,
        provider: CryptoProvider,
    ) -> Result<rustls::ServerConfig, EndpointError> {
        let mut config = rustls::ServerConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| EndpointError::Tls(error.to_string()))?
            .with_client_cert_verifier(Arc::new(AnyKeyWhichTheHandshakeBinds))
            .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(
                self.certified.clone(),
            )));
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.max_early_data_size = 0;
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(config)
    }
}

pub(super) fn quic_client(config: rustls::ClientConfig) -> Result<QuicClientConfig, EndpointError> {
    QuicClientConfig::with_initial(Arc::new(config), initial_suite()?)
        .map_err(|error| EndpointError::Tls(error.to_string()))
}

pub(super) fn quic_server(config: rustls::ServerConfig) -> Result<QuicServerConfig, EndpointError> {
    QuicServerConfig::with_initial(Arc::new(config), initial_suite()?)
        .map_err(|error| EndpointError::Tls(error.to_string()))
}

/// The key at the other end of a connection.
pub(super) fn peer_key(connection: &quinn::Connection) -> Option<TlsKey> {
    let chain = connection
        .peer_identity()?
        .downcast::<Vec<CertificateDer<'static>>>()
        .ok()?;
    match chain.as_slice() {
        [key] => TlsKey::from_spki(key),
        _ => None,
    }
}

/// One key exchange and one cipher: there is nothing weaker to be talked into.
pub(super) fn provider() -> CryptoProvider {
    CryptoProvider {
        cipher_suites: vec![cipher_suite::TLS13_AES_256_GCM_SHA384],
        kx_groups: vec![kx_group::X25519MLKEM768],
        ..aws_lc_rs::default_provider()
    }
}

/// QUIC protects its first packets with AES-128-GCM under a key that everybody knows (RFC 9001, section 5.2).
/// Given apart from the provider, it cannot be negotiated for anything else.
fn initial_suite() -> Result<rustls::quic::Suite, EndpointError> {
    cipher_suite::TLS13_AES_128_GCM_SHA256
        .tls13()
        .and_then(|suite| suite.quic_suite())
        .ok_or_else(|| EndpointError::Tls("no AES-128-GCM for QUIC's first packets".to_owned()))
}

/// Takes any Ed25519 key whose owner proves to have it, because a bare key says nothing about its owner.
///
/// Nothing rests on this acceptance: the connection carries one handshake, in which evidence and the
/// party's signature must name this very key and this very session, or it is closed.
#[derive(Debug)]
struct AnyKeyWhichTheHandshakeBinds;

impl AnyKeyWhichTheHandshakeBinds {
    fn check_kind(key: &CertificateDer<'_>, others: &[CertificateDer<'_>]) -> Result<(), Error> {
        match TlsKey::from_spki(key) {
            Some(_) if others.is_empty() => Ok(()),
            _ => Err(Error::InvalidCertificate(CertificateError::BadEncoding)),
        }
    }

    fn check_possession(
        message: &[u8],
        key: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if signature.scheme != SignatureScheme::ED25519 {
            return Err(Error::InvalidCertificate(CertificateError::BadSignature));
        }
        verify_tls13_signature_with_raw_key(
            message,
            &SubjectPublicKeyInfoDer::from(key.as_ref()),
            signature,
            &aws_lc_rs::default_provider().signature_verification_algorithms,
        )
    }
}

/// TLS 1.2 is not offered; should it ever come to this, it fails.
const NO_TLS12: Error = Error::PeerIncompatible(rustls::PeerIncompatible::Tls12NotOfferedOrEnabled);

impl ServerCertVerifier for AnyKeyWhichTheHandshakeBinds {
    fn verify_server_cert(
        &self,
        key: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Self::check_kind(key, others).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(NO_TLS12)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Self::check_possession(message, key, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

impl ClientCertVerifier for AnyKeyWhichTheHandshakeBinds {
    fn client_auth_mandatory(&self) -> bool {
        true
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        key: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Self::check_kind(key, others).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(NO_TLS12)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Self::check_possession(message, key, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}
