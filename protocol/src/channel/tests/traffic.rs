//! What an open channel carries, and what it does not.

use bytes::Bytes;

use super::setup::{Net, ended_by_peer};
use crate::{
    Role,
    channel::{BATCH_LIMIT, ChannelError, CloseCode, MESSAGE_LIMIT},
};

#[tokio::test]
async fn requests_go_both_ways_over_an_attested_channel() {
    let net = Net::new();
    let [provider, aggregator] = net.records().await;
    assert_eq!(provider.peer().role, Role::Aggregator);
    assert_eq!(aggregator.peer().role, Role::Provider);
    for (asks, answers) in [(&provider, &aggregator), (&aggregator, &provider)] {
        let serve = async {
            let request = answers.accept_request().await.unwrap();
            let number: u32 = request.parse().unwrap();
            request.answer_with(&(number + 1)).await.unwrap();
        };
        let (answer, ()) = tokio::join!(asks.ask::<u32, u32>(&41), serve);
        assert_eq!(answer.unwrap(), 42);
    }
}

#[tokio::test]
async fn batches_arrive_in_order_and_whole_whoever_dialled() {
    let net = Net::new();
    let f = &net.federation;
    for swap in [false, true] {
        let (left, right) = match swap {
            false => (f.provider("hospital"), f.aggregator()),
            true => (f.aggregator(), f.provider("hospital")),
        };
        let [left, right] = net
            .meet(left, right)
            .await
            .map(|end| end.unwrap().attested().unwrap());
        let (provider, aggregator) = if swap { (right, left) } else { (left, right) };
        // Ten times the window: the sender has to wait for the receiver.
        let sent: Vec<Bytes> = (0..10_u8)
            .map(|i| vec![i; (4 << 20) + usize::from(i)].into())
            .collect();
        let send = async {
            let mut batches = provider.open_batches().await.unwrap();
            for batch in &sent {
                batches.send(batch.clone()).await.unwrap();
            }
            batches.finish().await.unwrap();
        };
        let receive = async {
            let mut batches = aggregator.accept_batches().await.unwrap();
            let mut received = Vec::new();
            while let Some(batch) = batches.next().await.unwrap() {
                received.push(batch);
            }
            received
        };
        let ((), received) = tokio::join!(send, receive);
        assert!(received == sent);
    }
}

#[tokio::test]
async fn records_flow_from_a_provider_to_an_aggregator_only() {
    let net = Net::new();
    let f = &net.federation;
    let [provider, aggregator] = net.records().await;
    let direction = |error| assert!(matches!(error, ChannelError::Direction { .. }), "{error}");
    direction(aggregator.open_batches().await.unwrap_err());
    direction(provider.accept_batches().await.unwrap_err());
    let providers = net.meet(f.provider("hospital"), f.provider("bank")).await;
    for channel in providers.map(|end| end.unwrap().attested().unwrap()) {
        direction(channel.open_batches().await.unwrap_err());
        direction(channel.accept_batches().await.unwrap_err());
    }
}

#[tokio::test]
async fn a_consumer_gets_a_channel_for_requests_and_a_verdict_on_the_provider() {
    let net = Net::new();
    let f = &net.federation;
    let [consumer, provider] = net.meet(f.consumer(), f.provider("bank")).await;
    let consumer = consumer.unwrap().identified().unwrap();
    let provider = provider.unwrap().identified().unwrap();
    assert!(consumer.verdict().is_some() && provider.verdict().is_none());
    let serve = async {
        let request = provider.accept_request().await.unwrap();
        assert_eq!(&**request.body(), b"which contracts?");
        request.answer("these").await.unwrap();
    };
    let (answer, ()) = tokio::join!(consumer.request("which contracts?"), serve);
    assert_eq!(answer.unwrap(), "these");
}

#[tokio::test]
async fn more_requests_than_credit_wait_their_turn() {
    let mut net = Net::new();
    net.transport.open_requests = 2;
    let [provider, aggregator] = net.records().await;
    let serve = tokio::spawn(async move {
        for _ in 0..20 {
            let request = aggregator.accept_request().await.unwrap();
            let body = request.body().clone();
            request.answer(body).await.unwrap();
        }
        aggregator
    });
    let asks: Vec<_> = (0..20_u8)
        .map(|i| {
            let provider = provider.clone();
            tokio::spawn(async move { provider.request(vec![i]).await.unwrap() })
        })
        .collect();
    for (i, ask) in asks.into_iter().enumerate() {
        assert_eq!(*ask.await.unwrap(), [i as u8]);
    }
    serve.await.unwrap();
}

#[tokio::test]
async fn what_is_over_a_limit_is_not_sent() {
    let net = Net::new();
    let [provider, _aggregator] = net.records().await;
    let error = provider
        .request(vec![0; MESSAGE_LIMIT + 1])
        .await
        .unwrap_err();
    assert!(matches!(
        error,
        ChannelError::TooLarge {
            limit: MESSAGE_LIMIT,
            ..
        }
    ));
    let mut batches = provider.open_batches().await.unwrap();
    let error = batches
        .send(vec![0; BATCH_LIMIT + 1].into())
        .await
        .unwrap_err();
    assert!(matches!(
        error,
        ChannelError::TooLarge {
            limit: BATCH_LIMIT,
            ..
        }
    ));
}

#[tokio::test]
async fn what_claims_to_be_over_a_limit_is_not_read() {
    let net = Net::new();
    let [provider, aggregator] = net.records().await;
    let connection = provider.danger_connection();
    let mut batches = connection.open_uni().await.unwrap();
    batches.write_all(&[3]).await.unwrap();
    batches
        .write_all(&(BATCH_LIMIT as u32 + 1).to_be_bytes())
        .await
        .unwrap();
    let error = aggregator
        .accept_batches()
        .await
        .unwrap()
        .next()
        .await
        .unwrap_err();
    assert!(matches!(
        error,
        ChannelError::TooLarge {
            limit: BATCH_LIMIT,
            ..
        }
    ));

    let (mut send, mut recv) = connection.open_bi().await.unwrap();
    send.write_all(&[2]).await.unwrap();
    send.write_all(&(MESSAGE_LIMIT as u32 + 1).to_be_bytes())
        .await
        .unwrap();
    // Given up without an answer: the stream ends with nothing on it.
    assert_eq!(recv.read(&mut [0]).await.unwrap(), None);
}

#[tokio::test]
async fn an_unanswered_request_ends_with_an_error() {
    let net = Net::new();
    let [provider, aggregator] = net.records().await;
    let (answer, ()) = tokio::join!(provider.request("?"), async {
        drop(aggregator.accept_request().await.unwrap());
    });
    assert!(matches!(
        answer.unwrap_err(),
        ChannelError::Truncated { .. }
    ));
}

#[tokio::test]
async fn bytes_behind_a_request_or_in_another_shape_are_refused() {
    let net = Net::new();
    let [provider, aggregator] = net.records().await;
    let serve = async {
        let request = aggregator.accept_request().await.unwrap();
        assert!(matches!(
            request.parse::<u32>(),
            Err(ChannelError::Malformed { .. })
        ));
        request.answer_with(&7_u64).await.unwrap();
    };
    let (answer, ()) = tokio::join!(provider.ask::<(u32, u32), (u64, u64)>(&(1, 2)), serve);
    assert!(matches!(answer, Err(ChannelError::Malformed { .. })));
}

#[tokio::test]
async fn a_stream_of_an_unknown_kind_closes_the_channel() {
    let net = Net::new();
    for kind in [0, 3, 9] {
        let [provider, aggregator] = net.records().await;
        let (mut send, _recv) = provider.danger_connection().open_bi().await.unwrap();
        send.write_all(&[kind]).await.unwrap();
        let error = provider.closed().await;
        assert!(ended_by_peer(&error, CloseCode::PROTOCOL), "{error}");
        assert!(aggregator.accept_request().await.is_none());
    }
}

#[tokio::test]
async fn a_sender_that_gives_up_is_not_taken_for_one_that_is_done() {
    let net = Net::new();
    let [provider, aggregator] = net.records().await;
    let mut batches = provider.open_batches().await.unwrap();
    batches
        .send(Bytes::from_static(b"the first of two"))
        .await
        .unwrap();
    let mut received = aggregator.accept_batches().await.unwrap();
    received.next().await.unwrap().unwrap();
    drop(batches);
    let error = received.next().await.unwrap_err();
    assert!(matches!(error, ChannelError::StreamStopped(_)), "{error}");
}

#[tokio::test]
async fn answers_arrive_while_batches_wait_to_be_read() {
    let net = Net::new();
    let [provider, aggregator] = net.records().await;
    let mut batches = provider.open_batches().await.unwrap();
    let flood = async {
        // More than a stream's window: this blocks until the aggregator reads, which it does not.
        let _ = batches.send(vec![7; 8 << 20].into()).await;
    };
    let serve = async {
        let request = provider.accept_request().await.unwrap();
        let number: u32 = request.parse().unwrap();
        request.answer_with(&(number + 1)).await.unwrap();
        std::future::pending::<()>().await;
    };
    let ask = async {
        let _unread = aggregator.accept_batches().await.unwrap();
        // The flood fills its window first.
        tokio::task::yield_now().await;
        aggregator.ask::<u32, u32>(&41).await.unwrap()
    };
    tokio::select! {
        answer = ask => assert_eq!(answer, 42),
        () = flood => panic!("the flood fits into the window"),
        () = serve => {}
    }
}
