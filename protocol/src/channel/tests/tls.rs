//! What TLS agrees on, and with whom it agrees on nothing.

use std::sync::Arc;

use rustls::{
    CipherSuite, NamedGroup,
    crypto::{
        CryptoProvider,
        aws_lc_rs::{cipher_suite, kx_group},
    },
    quic,
};

use crate::channel::tls::{SERVER_NAME, TlsIdentity, provider};

/// Runs TLS as QUIC does, in memory.
fn handshake(
    client: rustls::ClientConfig,
    server: rustls::ServerConfig,
) -> Result<(quic::ClientConnection, quic::ServerConnection), rustls::Error> {
    let name = SERVER_NAME.try_into().unwrap();
    let mut client =
        quic::ClientConnection::new(Arc::new(client), quic::Version::V1, name, vec![])?;
    let mut server = quic::ServerConnection::new(Arc::new(server), quic::Version::V1, vec![])?;
    for _ in 0..4 {
        for flight in flights(|out| client.write_hs(out).is_some()) {
            server.read_hs(&flight)?;
        }
        for flight in flights(|out| server.write_hs(out).is_some()) {
            client.read_hs(&flight)?;
        }
    }
    Ok((client, server))
}

/// What one side has to say, cut where its keys change.
fn flights(mut write: impl FnMut(&mut Vec<u8>) -> bool) -> Vec<Vec<u8>> {
    let mut flights = Vec::new();
    loop {
        let mut flight = Vec::new();
        let keys_change = write(&mut flight);
        let silent = flight.is_empty();
        if !silent {
            flights.push(flight);
        }
        if silent && !keys_change {
            return flights;
        }
    }
}

fn ours() -> (TlsIdentity, TlsIdentity) {
    (
        TlsIdentity::generate().unwrap(),
        TlsIdentity::generate().unwrap(),
    )
}

#[test]
fn the_key_exchange_is_hybrid_and_the_cipher_is_aes_256() {
    let (left, right) = ours();
    let (client, server) = handshake(
        left.client_tls(provider()).unwrap(),
        right.server_tls(provider()).unwrap(),
    )
    .unwrap();
    let group = client.negotiated_key_exchange_group().unwrap().name();
    assert_eq!(group, NamedGroup::X25519MLKEM768);
    assert_eq!(
        server.negotiated_key_exchange_group().unwrap().name(),
        group
    );
    let suite = client.negotiated_cipher_suite().unwrap().suite();
    assert_eq!(suite, CipherSuite::TLS13_AES_256_GCM_SHA384);
    assert_eq!(
        client.peer_certificates().unwrap()[0].as_ref(),
        right.key.spki()
    );
    assert_eq!(
        server.peer_certificates().unwrap()[0].as_ref(),
        left.key.spki()
    );
}

#[test]
fn a_peer_without_the_hybrid_key_exchange_is_refused() {
    let (left, right) = ours();
    let classic = || CryptoProvider {
        kx_groups: vec![kx_group::X25519],
        ..provider()
    };
    assert!(
        handshake(
            left.client_tls(classic()).unwrap(),
            right.server_tls(provider()).unwrap()
        )
        .is_err()
    );
    assert!(
        handshake(
            left.client_tls(provider()).unwrap(),
            right.server_tls(classic()).unwrap()
        )
        .is_err()
    );
}

#[test]
fn a_peer_with_a_shorter_cipher_key_is_refused() {
    let (left, right) = ours();
    let short = || CryptoProvider {
        cipher_suites: vec![cipher_suite::TLS13_AES_128_GCM_SHA256],
        ..provider()
    };
    assert!(
        handshake(
            left.client_tls(short()).unwrap(),
            right.server_tls(provider()).unwrap()
        )
        .is_err()
    );
    assert!(
        handshake(
            left.client_tls(provider()).unwrap(),
            right.server_tls(short()).unwrap()
        )
        .is_err()
    );
}

#[test]
fn a_client_without_a_key_is_refused() {
    let (left, right) = ours();
    let mut anonymous = left.client_tls(provider()).unwrap();
    anonymous.client_auth_cert_resolver = Arc::new(NoKey);
    assert!(handshake(anonymous, right.server_tls(provider()).unwrap()).is_err());
}

#[derive(Debug)]
struct NoKey;

impl rustls::client::ResolvesClientCert for NoKey {
    fn resolve(
        &self,
        _: &[&[u8]],
        _: &[rustls::SignatureScheme],
    ) -> Option<Arc<rustls::sign::CertifiedKey>> {
        None
    }

    fn only_raw_public_keys(&self) -> bool {
        true
    }

    fn has_certs(&self) -> bool {
        false
    }
}

#[test]
fn another_application_protocol_is_refused() {
    let (left, right) = ours();
    for alpn in [vec![], vec![b"h3".to_vec()]] {
        let mut other = left.client_tls(provider()).unwrap();
        other.alpn_protocols = alpn;
        assert!(handshake(other, right.server_tls(provider()).unwrap()).is_err());
    }
}

#[test]
fn a_key_that_its_sender_does_not_have_is_refused() {
    let (left, right) = ours();
    let victim = TlsIdentity::generate().unwrap();
    let mut thief = left.client_tls(provider()).unwrap();
    thief.client_auth_cert_resolver = victim.danger_with_signer_of(&left);
    assert!(handshake(thief, right.server_tls(provider()).unwrap()).is_err());
}

#[test]
fn nothing_is_kept_to_resume_a_session_with() {
    let (left, right) = ours();
    let client = left.client_tls(provider()).unwrap();
    let server = right.server_tls(provider()).unwrap();
    assert_eq!(
        (server.send_tls13_tickets, server.max_early_data_size),
        (0, 0)
    );
    assert!(!server.session_storage.can_cache() && !client.enable_early_data);
}
