//! From ACCEPT to the end: attesting anew, growing old, closing.

use std::time::Duration;

use bytes::Bytes;
use chrono::TimeDelta;
use tributary_attest::Policy;

use super::setup::{Net, address_of, ended_by_peer, establish};
use crate::{
    channel::{ChannelError, CloseCode},
    handshake::RefusalCode,
    handshake::tests::federation::Federation,
};

#[tokio::test]
async fn either_side_attests_anew_and_both_verdicts_are_replaced() {
    let net = Net::new();
    let [provider, aggregator] = net.records().await;
    for (begins, follows) in [(&provider, &aggregator), (&aggregator, &provider)] {
        net.hands.move_by(TimeDelta::seconds(10));
        let (renewed, at) = tokio::join!(begins.reattest(), follows.next_attestation());
        renewed.unwrap();
        assert_eq!(begins.attested_at(), at.unwrap());
        assert_eq!(begins.attestation_age(), Some(Duration::ZERO));
        assert_eq!(follows.attestation_age(), Some(Duration::ZERO));
    }
}

#[tokio::test]
async fn both_sides_may_attest_anew_at_the_same_time() {
    let net = Net::new();
    let [provider, aggregator] = net.records().await;
    let (left, right) = tokio::join!(provider.reattest(), aggregator.reattest());
    left.unwrap();
    right.unwrap();
}

#[tokio::test]
async fn records_stop_when_the_attestation_is_overdue_and_go_on_after_a_new_one() {
    let net = Net::new();
    let [provider, aggregator] = net.records().await;
    let mut batches = provider.open_batches().await.unwrap();
    batches.send(Bytes::from_static(b"in time")).await.unwrap();

    net.hands.move_by(TimeDelta::seconds(3601));
    let error = batches.send(Bytes::from_static(b"late")).await.unwrap_err();
    assert!(
        matches!(error, ChannelError::AttestationOverdue { .. }),
        "{error}"
    );
    assert!(provider.check_fresh().is_err() && aggregator.check_fresh().is_err());

    // The simulated machine's clock stands; its evidence is an hour old but made for these nonces.
    net.federation.change(|terms| {
        let any =
            |policy: &mut Policy| policy.maximum_age_seconds = tributary_attest::Criterion::Any;
        any(&mut terms.provider_policy);
        any(&mut terms.aggregator_policy);
    });
    provider.reattest().await.unwrap();
    batches.send(Bytes::from_static(b"renewed")).await.unwrap();
    let mut received = aggregator.accept_batches().await.unwrap();
    assert_eq!(received.next().await.unwrap().unwrap(), "in time");
    assert_eq!(received.next().await.unwrap().unwrap(), "renewed");
}

#[tokio::test]
async fn a_clock_set_back_makes_no_attestation_young() {
    let net = Net::new();
    let [provider, _aggregator] = net.records().await;
    net.hands.move_by(TimeDelta::seconds(-1));
    assert_eq!(provider.attestation_age(), None);
    let error = provider.open_batches().await.unwrap_err();
    assert!(matches!(
        error,
        ChannelError::AttestationOverdue { age: None, .. }
    ));
}

#[tokio::test]
async fn attesting_anew_after_the_revocation_closes_the_channel() {
    let net = Net::new();
    let [provider, aggregator] = net.records().await;
    let now = net.federation.now;
    net.federation.change(|terms| terms.revoked = Some(now));
    let error = provider.reattest().await.unwrap_err();
    assert_eq!(error.refusal(), Some(RefusalCode::ContractRevoked));
    assert_eq!(
        aggregator.closed().await.refusal(),
        Some(RefusalCode::ContractRevoked)
    );
    assert!(provider.request("?").await.is_err());
}

#[tokio::test]
async fn an_overdue_peer_is_attested_anew_by_itself() {
    let interval = Duration::from_millis(20);
    let net = Net::of(Federation::at(chrono::Utc::now(), interval));
    let [provider, aggregator] = net.records().await;
    net.hands.move_by(TimeDelta::milliseconds(15));
    tokio::select! {
        gone = provider.keep_attested() => panic!("{gone}"),
        at = aggregator.next_attestation() => assert!(at.unwrap() > net.federation.now),
    }
    assert_eq!(aggregator.attestation_age(), Some(Duration::ZERO));
}

#[tokio::test]
async fn another_policy_closes_the_channel_with_a_peer_that_does_not_meet_it() {
    let net = Net::new();
    let [provider, aggregator] = net.records().await;
    net.federation.change(|terms| {
        let other = tributary_attest::Measurement::of_bytes(b"a mended aggregator");
        terms.aggregator_policy.measurements = tributary_attest::Criterion::Stated(vec![other]);
    });
    let error = provider.keep_attested().await;
    assert_eq!(
        error.refusal(),
        Some(RefusalCode::EvidenceRefused),
        "{error}"
    );
    assert_eq!(
        aggregator.closed().await.refusal(),
        Some(RefusalCode::EvidenceRefused)
    );
    assert!(provider.open_batches().await.is_err());
}

#[tokio::test]
async fn another_policy_that_the_peer_meets_is_met_on_the_same_channel() {
    let net = Net::new();
    let [provider, aggregator] = net.records().await;
    net.federation.change(|terms| {
        for policy in [&mut terms.aggregator_policy, &mut terms.provider_policy] {
            policy.maximum_age_seconds = tributary_attest::Criterion::Any;
        }
    });
    tokio::select! {
        gone = provider.keep_attested() => panic!("{gone}"),
        at = aggregator.next_attestation() => at.unwrap(),
    };
    let checks = aggregator.verdict().checks;
    let age = checks
        .iter()
        .find(|check| check.name == tributary_attest::CheckName::Age)
        .unwrap();
    assert_eq!(age.result, tributary_attest::CheckResult::NotChecked);
}

#[tokio::test]
async fn a_revocation_closes_the_channel_without_waiting_for_the_interval() {
    let net = Net::new();
    let [provider, aggregator] = net.records().await;
    let now = net.federation.now;
    net.federation.change(|terms| terms.revoked = Some(now));
    let error = provider.keep_attested().await;
    assert_eq!(
        error.refusal(),
        Some(RefusalCode::ContractRevoked),
        "{error}"
    );
    assert!(aggregator.request("?").await.is_err());
}

#[tokio::test]
async fn an_endpoint_that_judges_anew_does_so_at_once() {
    let net = Net::new();
    let f = &net.federation;
    let (here, there) = (
        net.endpoint(f.provider("hospital")),
        net.endpoint(f.aggregator()),
    );
    let address = address_of(&there);
    let (provider, aggregator) = tokio::join!(here.dial(address, &f.contract), establish(&there));
    let provider = provider.unwrap().attested().unwrap();
    let aggregator = aggregator.unwrap().attested().unwrap();
    let kept = tokio::spawn(async move { provider.keep_attested().await });
    // The task runs until it waits, so that it is asked and does not merely begin.
    tokio::task::yield_now().await;
    here.judge_anew();
    aggregator.next_attestation().await.unwrap();
    kept.abort();
}

#[tokio::test]
async fn a_handshake_on_an_identified_channel_is_refused() {
    let net = Net::new();
    let f = &net.federation;
    let [consumer, provider] = net.meet(f.consumer(), f.provider("bank")).await;
    let consumer = consumer.unwrap().identified().unwrap();
    let (mut send, _recv) = consumer.danger_connection().open_bi().await.unwrap();
    send.write_all(&[1]).await.unwrap();
    assert_eq!(
        consumer.closed().await.refusal(),
        Some(RefusalCode::SecondHandshake)
    );
    drop(provider);
}

#[tokio::test]
async fn a_second_handshake_while_one_is_under_way_is_refused() {
    let net = Net::new();
    let [provider, aggregator] = net.records().await;
    let connection = provider.danger_connection();
    let mut streams = Vec::new();
    for _ in 0..2 {
        let (mut send, recv) = connection.open_bi().await.unwrap();
        send.write_all(&[1]).await.unwrap();
        streams.push((send, recv));
    }
    assert_eq!(
        provider.closed().await.refusal(),
        Some(RefusalCode::SecondHandshake)
    );
    drop(aggregator);
}

#[tokio::test]
async fn closing_says_why_to_the_peer_and_cuts_the_records() {
    let net = Net::new();
    let [provider, aggregator] = net.records().await;
    let mut batches = provider.open_batches().await.unwrap();
    batches.send(Bytes::from_static(b"a batch")).await.unwrap();
    let mut received = aggregator.accept_batches().await.unwrap();
    received.next().await.unwrap().unwrap();
    provider.close(CloseCode::REVOKED, "the hospital revoked\x1b[2J contract 3");
    let error = received.next().await.unwrap_err();
    assert!(ended_by_peer(&error, CloseCode::REVOKED), "{error}");
    if let ChannelError::ClosedByPeer { reason, .. } = &error {
        assert_eq!(reason, "the hospital revoked [2J contract 3");
    }
    assert!(matches!(
        batches.send(Bytes::new()).await,
        Err(ChannelError::Closed)
    ));
    assert!(aggregator.accept_request().await.is_none());
}

#[tokio::test]
async fn the_last_handle_dropped_closes_the_channel() {
    let net = Net::new();
    let [provider, aggregator] = net.records().await;
    let another = provider.clone();
    drop(provider);
    let (answer, ()) = tokio::join!(another.request("still there?"), async {
        aggregator
            .accept_request()
            .await
            .unwrap()
            .answer("yes")
            .await
            .unwrap();
    });
    assert_eq!(answer.unwrap(), "yes");
    drop(another);
    let error = aggregator.closed().await;
    assert!(ended_by_peer(&error, CloseCode::DONE), "{error}");
}

#[test]
fn applications_cannot_close_with_a_refusals_code() {
    assert!(CloseCode::new(CloseCode::REFUSALS).is_none());
    assert_eq!(CloseCode::new(77).unwrap().get(), 77);
}
