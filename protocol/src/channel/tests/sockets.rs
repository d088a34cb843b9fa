//! Addresses, ports and silence.

use std::{sync::Arc, time::Duration};

use super::setup::{LOOPBACK, Net, address_of, ended_by_peer, establish};
use crate::{
    Digest,
    channel::{
        ChannelError, CloseCode, Endpoint, EndpointError, EndpointOptions, TransportOptions,
    },
    handshake::RefusalCode,
};

fn bind(net: &Net, address: &str) -> Result<Endpoint, EndpointError> {
    let options = EndpointOptions::new(net.federation.provider("bank"), net.federation.clone());
    Endpoint::bind(address.parse().unwrap(), options)
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let net = Net::new();
    let first = bind(&net, LOOPBACK).unwrap();
    let address = address_of(&first).to_string();
    let error = bind(&net, &address).unwrap_err();
    assert!(matches!(error, EndpointError::AddressInUse(_)));
    assert!(error.to_string().contains(&address), "{error}");
}

#[tokio::test]
async fn an_address_of_another_machine_is_named() {
    // TEST-NET-1 (RFC 5737) belongs to nobody.
    let error = bind(&Net::new(), "192.0.2.1:0").unwrap_err();
    assert!(
        matches!(error, EndpointError::AddressUnavailable(_)),
        "{error}"
    );
}

#[tokio::test]
async fn addresses_are_resolved_or_refused() {
    assert_eq!(
        Endpoint::resolve("127.0.0.1:7443").await.unwrap().port(),
        7443
    );
    assert_eq!(
        Endpoint::resolve("[::1]:1").await.unwrap().to_string(),
        "[::1]:1"
    );
    for wrong in [
        "",
        "agent",
        "agent:",
        ":7443",
        "agent:70000",
        "https://agent:7443",
        "a b:1",
    ] {
        let error = Endpoint::resolve(wrong).await.unwrap_err();
        assert!(
            matches!(error, EndpointError::AddressSyntax(_)),
            "{wrong}: {error}"
        );
    }
}

#[tokio::test]
async fn settings_out_of_range_are_named() {
    let net = Net::new();
    let usual = TransportOptions::default();
    for (wrong, name) in [
        (
            TransportOptions {
                largest_packet: 9000,
                ..usual
            },
            "largest_packet",
        ),
        (TransportOptions { window: 1, ..usual }, "window"),
        (
            TransportOptions {
                keep_alive: usual.idle_timeout,
                ..usual
            },
            "keep_alive",
        ),
        (
            TransportOptions {
                handshake_timeout: Duration::ZERO,
                ..usual
            },
            "handshake_timeout",
        ),
        (
            TransportOptions {
                open_requests: 0,
                ..usual
            },
            "open_requests",
        ),
        (
            TransportOptions {
                open_batch_streams: 0,
                ..usual
            },
            "open_batch_streams",
        ),
    ] {
        let options = EndpointOptions {
            transport: wrong,
            ..EndpointOptions::new(net.federation.provider("bank"), net.federation.clone())
        };
        let error = Endpoint::bind(LOOPBACK.parse().unwrap(), options).unwrap_err();
        assert!(
            matches!(error, EndpointError::Setting { setting, .. } if setting == name),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_silent_address_gives_no_answer() {
    let net = Net::new().impatient();
    let silent = std::net::UdpSocket::bind(LOOPBACK).unwrap();
    let endpoint = net.endpoint(net.federation.provider("bank"));
    let address = silent.local_addr().unwrap();
    let error = endpoint
        .dial(address, &net.federation.contract)
        .await
        .unwrap_err();
    assert!(matches!(error, ChannelError::NoAnswer { .. }), "{error}");
}

#[tokio::test]
async fn an_address_that_cannot_be_dialled_is_named() {
    let net = Net::new();
    let endpoint = net.endpoint(net.federation.provider("bank"));
    for address in ["127.0.0.1:0", "[::1]:7443"] {
        let error = endpoint
            .dial(address.parse().unwrap(), &net.federation.contract)
            .await;
        assert!(matches!(error, Err(ChannelError::Dial { .. })));
    }
}

#[tokio::test]
async fn a_contract_that_this_side_does_not_have_is_not_dialled() {
    let net = Net::new();
    let endpoint = net.endpoint(net.federation.provider("bank"));
    let error = endpoint
        .dial("127.0.0.1:1".parse().unwrap(), &Digest::of(b"?"))
        .await
        .unwrap_err();
    assert_eq!(error.refusal(), Some(RefusalCode::UnknownContract));
}

#[tokio::test]
async fn one_socket_dials_and_listens() {
    let net = Net::new();
    let f = &net.federation;
    let hospital = net.endpoint(f.provider("hospital"));
    let bank = net.endpoint(f.provider("bank"));
    for (from, to) in [(&hospital, &bank), (&bank, &hospital)] {
        let (left, right) = tokio::join!(from.dial(address_of(to), &f.contract), establish(to));
        let seen = right.unwrap().attested().unwrap().remote_address();
        assert_eq!(seen, address_of(from));
        left.unwrap();
    }
}

#[tokio::test]
async fn a_slow_arrival_delays_nobody() {
    let net = Net::new();
    let f = &net.federation;
    let bank = net.endpoint(f.provider("bank"));
    let [slow, quick] = [
        net.endpoint(f.aggregator()),
        net.endpoint(f.provider("hospital")),
    ];
    let (stuck, arrival) = tokio::join!(slow.connect(address_of(&bank), &f.contract), async {
        bank.accept().await.unwrap().connect().await.unwrap()
    });
    let waiting = tokio::spawn(arrival.attest());
    let (left, right) = tokio::join!(quick.dial(address_of(&bank), &f.contract), establish(&bank));
    left.unwrap();
    right.unwrap();
    let late = stuck.unwrap().attest().await.unwrap();
    waiting.await.unwrap().unwrap();
    drop(late);
}

#[tokio::test]
async fn closing_the_endpoint_closes_its_channels_and_ends_accept() {
    let net = Net::new();
    let f = &net.federation;
    let bank = net.endpoint(f.provider("bank"));
    let hospital = net.endpoint(f.provider("hospital"));
    let (left, right) = tokio::join!(
        hospital.dial(address_of(&bank), &f.contract),
        establish(&bank)
    );
    let left = left.unwrap().attested().unwrap();
    bank.close(CloseCode::SHUTTING_DOWN, "maintenance").await;
    let gone = left.closed().await;
    assert!(ended_by_peer(&gone, CloseCode::SHUTTING_DOWN), "{gone}");
    assert!(bank.accept().await.is_none());
    assert!(matches!(
        bank.dial(address_of(&hospital), &f.contract).await,
        Err(ChannelError::EndpointClosed)
    ));
    drop((right, Arc::clone(f)));
}
