//! Which contracts are registered.

use super::*;

#[test]
fn a_contract_gets_the_next_number_and_the_same_contract_the_same_one() {
    let mut world = World::new();
    let first = world.contract(|_| {});
    let second = world.contract(|document| document["purpose"] = "Others.".into());
    for (party, envelope, expected) in [
        ("tdc", &first, 1),
        ("bob", &second, 2),
        ("alice", &first, 1),
        ("tdc", &second, 2),
    ] {
        let request = Request::Register {
            envelope: envelope.clone(),
        };
        let Response::Registered { number, receipt } = world.does(party, request) else {
            panic!()
        };
        assert_eq!(number.get(), expected);
        let proven = receipt.verify(world.book.state().members()).unwrap();
        assert_eq!(proven.index, expected - 1);
    }
    assert_eq!(world.book.tree().len(), 2);
}

#[test]
fn a_contract_without_a_partys_signature_is_refused_and_the_party_named() {
    let world = World::new();
    let mut signed = SignedContract::write(&world.document(|_| {}), &world.tdc).unwrap();
    signed.sign(&world.alice);
    let envelope = signed.envelope().clone();
    let refusal = world.refusal("tdc", Request::Register { envelope });
    assert_eq!(
        refusal,
        Refusal::Unsigned {
            missing: vec![name("bob")]
        }
    );
    assert_eq!(refusal.exit(), ExitFamily::Contract);
}

#[test]
fn what_is_not_a_contract_is_refused() {
    let world = World::new();
    let nonsense = Envelope::sign(crate::CONTRACT_TYPE, b"{}".to_vec(), &world.tdc);
    let other = Envelope::sign("text/plain", b"{}".to_vec(), &world.tdc);
    for envelope in [nonsense, other] {
        let refusal = world.refusal("tdc", Request::Register { envelope });
        assert!(matches!(refusal, Refusal::ContractUnreadable { .. }));
    }
}

#[test]
fn a_contract_out_of_its_time_is_not_registered() {
    let mut world = World::new();
    let envelope = world.contract(|_| {});
    world.now += TimeDelta::days(2);
    let request = Request::Register { envelope };
    assert!(matches!(
        world.refusal("tdc", request.clone()),
        Refusal::Expired { .. }
    ));
    world.now -= TimeDelta::days(4);
    assert!(matches!(
        world.refusal("tdc", request),
        Refusal::NotYetInForce { .. }
    ));
}

#[test]
fn a_contract_of_another_ledger_or_with_another_key_of_its_keeper_is_refused() {
    let mut world = World::new();
    let elsewhere = world.contract(|document| document["ledger"]["members"] = json!(["bob"]));
    assert!(matches!(
        world.refusal(
            "tdc",
            Request::Register {
                envelope: elsewhere
            }
        ),
        Refusal::OtherLedger { .. }
    ));
    let envelope = world.contract(|_| {});
    world.book = Book::new(Members::single(
        name("alice"),
        Identity::generate().public(),
    ));
    assert_eq!(
        world.refusal("tdc", Request::Register { envelope }),
        Refusal::MemberKey(name("alice"))
    );
}

#[test]
fn a_stranger_registers_nothing() {
    let world = World::new();
    let envelope = world.contract(|_| {});
    assert!(matches!(
        world.refusal("mallory", Request::Register { envelope }),
        Refusal::WrongRequester { .. }
    ));
}
