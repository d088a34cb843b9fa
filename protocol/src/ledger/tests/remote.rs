//! The remote client against a keeper that lies.

use super::*;

/// A keeper at the other end, and what is done to its answers on the way.
struct Wire<F> {
    world: Mutex<World>,
    tamper: F,
    peer: Requester,
}

impl Ledger for Mutex<World> {
    fn submit<'a>(
        &'a self,
        peer: &'a Requester,
        request: Request,
    ) -> BoxFuture<'a, Result<Response, LedgerError>> {
        Box::pin(async move { self.lock().unwrap().answer(peer, &request) })
    }
}

impl<F: Fn(&Request, Vec<u8>) -> Vec<u8> + Send + Sync> Transport for &Wire<F> {
    async fn exchange(&self, request: Vec<u8>) -> Result<Vec<u8>, TransportError> {
        let answered = answer(&self.world, &self.peer, &request).await;
        let request = postcard::from_bytes(&request).unwrap();
        Ok((self.tamper)(&request, answered))
    }
}

fn wire<F: Fn(&Request, Vec<u8>) -> Vec<u8> + Send + Sync>(
    world: World,
    party: &str,
    tamper: F,
) -> Wire<F> {
    Wire {
        world: Mutex::new(world),
        tamper,
        peer: peer(party),
    }
}

fn client<F: Fn(&Request, Vec<u8>) -> Vec<u8> + Send + Sync>(
    wire: &Wire<F>,
) -> RemoteLedger<&Wire<F>> {
    let members = wire.world.lock().unwrap().book.state().members().clone();
    RemoteLedger::new(wire, wire.peer.clone(), members)
}

#[tokio::test]
async fn a_remote_ledger_answers_as_the_ledger_itself() {
    let wire = wire(World::running(), "alice", |_, bytes| bytes);
    let ledger = client(&wire);
    let alice = peer("alice");
    for step in 0..5 {
        let response = ledger
            .submit(&alice, lease("alice", 1, step, step + 1))
            .await
            .unwrap();
        assert!(matches!(response, Response::Leased { .. }));
    }
    assert_eq!(ledger.seen().await.unwrap().claimed().size, 7);
    let refused = ledger
        .submit(&alice, lease("alice", 1, 0, 1))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), "ledger.lease-not-contiguous");
    let view = ledger
        .submit(
            &alice,
            Request::RunState {
                contract: SequenceNumber::FIRST,
                run: run(1),
            },
        )
        .await
        .unwrap();
    assert!(matches!(view, Response::Run(view) if view.datasets[0].leased == 5));
    let other = ledger.submit(&peer("bob"), lease("bob", 1, 0, 1)).await;
    assert!(matches!(other, Err(LedgerError::Unavailable { .. })));
}

#[tokio::test]
async fn every_altered_byte_of_an_answer_with_a_receipt_is_noticed() {
    let length = {
        let wire = wire(World::running(), "alice", |_, bytes| bytes);
        let request = postcard::to_allocvec(&lease("alice", 1, 0, 10)).unwrap();
        (&wire).exchange(request).await.unwrap().len()
    };
    for position in 0..length {
        let wire = wire(World::running(), "alice", move |_, mut bytes| {
            bytes[position.min(length - 1)] ^= 1;
            bytes
        });
        let ledger = client(&wire);
        let answer = ledger
            .submit(&peer("alice"), lease("alice", 1, 0, 10))
            .await;
        assert!(answer.is_err(), "byte {position}");
    }
}

#[tokio::test]
async fn a_receipt_for_another_lease_is_not_believed() {
    let first: Mutex<Option<Vec<u8>>> = Mutex::new(None);
    let wire = wire(World::running(), "alice", move |_, bytes| {
        first.lock().unwrap().get_or_insert(bytes).clone()
    });
    let ledger = client(&wire);
    ledger
        .submit(&peer("alice"), lease("alice", 1, 0, 10))
        .await
        .unwrap();
    let replayed = ledger
        .submit(&peer("alice"), lease("alice", 1, 10, 20))
        .await;
    assert!(matches!(replayed, Err(LedgerError::Untrusted { .. })));
}

#[tokio::test]
async fn a_ledger_that_was_rolled_back_is_noticed() {
    let wire = wire(World::running(), "alice", |_, bytes| bytes);
    let ledger = client(&wire);
    let before = wire.world.lock().unwrap().book.clone();
    ledger
        .submit(&peer("alice"), lease("alice", 1, 0, 100))
        .await
        .unwrap();
    let seen = ledger.seen().await.unwrap();
    wire.world.lock().unwrap().book = before;
    let answer = ledger.submit(&peer("alice"), Request::Checkpoint).await;
    assert!(
        matches!(&answer, Err(LedgerError::Untrusted { reason }) if reason.contains("rolled back"))
    );
    // Longer again, with another entry in the place of the forgotten one.
    let answer = ledger.submit(&peer("alice"), lease("alice", 1, 0, 7)).await;
    assert!(matches!(answer, Err(LedgerError::Untrusted { .. })));
    let answer = ledger.submit(&peer("alice"), lease("alice", 1, 7, 8)).await;
    assert!(
        matches!(&answer, Err(LedgerError::Untrusted { reason }) if reason.contains("does not continue"))
    );
    assert_eq!(answer.unwrap_err().exit().code(), 13);
    // A client that starts anew and remembers notices as well.
    let again = client(&wire).remembering(seen).unwrap();
    let answer = again.submit(&peer("alice"), Request::Checkpoint).await;
    assert!(matches!(answer, Err(LedgerError::Untrusted { .. })));
}

#[tokio::test]
async fn an_answer_to_another_question_is_not_believed() {
    let wire = wire(World::running(), "alice", |_, _| {
        let reply: Result<Response, LedgerError> = Ok(Response::Consistency { proof: vec![] });
        postcard::to_allocvec(&reply).unwrap()
    });
    for request in [
        lease("alice", 1, 0, 1),
        Request::Checkpoint,
        Request::Show {
            number: SequenceNumber::FIRST,
        },
    ] {
        let answer = client(&wire).submit(&peer("alice"), request).await;
        assert!(matches!(answer, Err(LedgerError::Untrusted { .. })));
    }
}

#[tokio::test]
async fn bytes_that_are_no_request_are_refused() {
    let world = Mutex::new(World::registered());
    let mut longer = postcard::to_allocvec(&Request::Checkpoint).unwrap();
    longer.push(0);
    for bytes in [
        vec![],
        vec![0xff; 10],
        longer,
        vec![0; REQUEST_SIZE_LIMIT + 1],
    ] {
        let answered = answer(&world, &peer("tdc"), &bytes).await;
        let reply: Result<Response, LedgerError> = postcard::from_bytes(&answered).unwrap();
        assert!(matches!(
            reply,
            Err(LedgerError::Refused(Refusal::RequestUnreadable { .. }))
        ));
    }
}
