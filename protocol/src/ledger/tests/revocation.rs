//! What a revocation ends, and who may sign one.

use super::*;

#[test]
fn after_a_revocation_nothing_begins_and_the_exit_code_says_so() {
    let mut world = World::running();
    world.does("alice", lease("alice", 1, 0, 100));
    let request = revocation(&world, "bob", &world.bob);
    world.does("bob", request.clone());
    for (party, request) in [
        ("alice", lease("alice", 1, 100, 101)),
        ("tdc", world.opening(1)),
        ("tdc", world.opening(2)),
        ("alice", revocation(&world, "alice", &world.alice)),
    ] {
        let refusal = world.refusal(party, request);
        assert!(matches!(&refusal, Refusal::Revoked { by, .. } if *by == name("bob")));
        assert_eq!(refusal.exit().code(), 14);
    }
    let size = world.book.tree().len();
    world.does("bob", request);
    assert_eq!(
        world.book.tree().len(),
        size,
        "revoking again records nothing"
    );
    world.does("alice", settle("alice", 1, 100, None));
    let Response::Contract(view) = world.does(
        "alice",
        Request::Show {
            number: SequenceNumber::FIRST,
        },
    ) else {
        panic!()
    };
    assert_eq!(view.revoked.unwrap().reason, "consent withdrawn");
}

#[test]
fn a_revocation_takes_the_partys_own_signature() {
    let world = World::registered();
    for (party, request) in [
        ("bob", revocation(&world, "bob", &world.alice)),
        ("bob", revocation(&world, "alice", &world.alice)),
    ] {
        assert!(matches!(
            world.refusal(party, request),
            Refusal::RevocationRefused { .. }
        ));
    }
    let mallory = Identity::generate();
    assert!(matches!(
        world.refusal("mallory", revocation(&world, "mallory", &mallory)),
        Refusal::NotAParty { .. }
    ));
}
