//! When a run opens and closes, and by whom.

use super::*;

#[test]
fn a_run_opens_with_the_consumers_authorisation_and_is_taken_up_again() {
    let mut world = World::registered();
    let request = world.opening(1);
    let Response::RunOpened {
        resumed, run: view, ..
    } = world.does("tdc", request.clone())
    else {
        panic!()
    };
    assert!(!resumed);
    assert_eq!(view.status, RunStatus::Open);
    let size = world.book.tree().len();
    let Response::RunOpened { resumed, .. } = world.does("tdc", request.clone()) else {
        panic!()
    };
    assert!(resumed);
    assert_eq!(world.book.tree().len(), size, "nothing new was recorded");
    let another = world.opening(1);
    let Response::RunOpened {
        resumed, run: view, ..
    } = world.does("tdc", another)
    else {
        panic!()
    };
    assert!(resumed);
    assert_eq!(world.book.tree().len(), size + 1);
    assert_ne!(view.authorisation, Some(authorisation_of(&request)));
    assert!(matches!(
        world.refusal("tdc", request),
        Refusal::AuthorisationRefused { .. }
    ));
}

#[test]
fn authorisations_of_others_of_other_runs_or_past_their_time_are_refused() {
    let mut world = World::registered();
    let expires = world.now + TimeDelta::hours(1);
    let digest = world.contract_digest();
    let issue = |contract, number, runner, identity| Request::OpenRun {
        contract: SequenceNumber::FIRST,
        run: run(1),
        authorisation: Authorisation::issue(contract, run(number), runner, expires, identity)
            .unwrap(),
    };
    let tdc = world.tdc.public();
    for (request, what) in [
        (issue(digest, 1, tdc, &world.bob), "signed by bob"),
        (issue(digest, 2, tdc, &world.tdc), "of run 2"),
        (
            issue(Digest::of(b"x"), 1, tdc, &world.tdc),
            "of another contract",
        ),
    ] {
        let refusal = world.refusal("tdc", request);
        assert!(
            matches!(refusal, Refusal::AuthorisationRefused { .. }),
            "{what}: {refusal}"
        );
    }
    let late = world.opening(1);
    world.now += TimeDelta::hours(1);
    assert!(matches!(
        world.refusal("tdc", late),
        Refusal::AuthorisationRefused { .. }
    ));
}

#[test]
fn runs_open_in_their_turn_and_no_more_than_the_contract_allows() {
    let mut world = World::registered();
    assert!(matches!(
        world.refusal("tdc", world.opening(2)),
        Refusal::RunOutOfOrder { next, .. } if next == run(1)
    ));
    for number in [1, 2] {
        let request = world.opening(number);
        world.does("tdc", request);
        world.does("tdc", close(number, b"receipt"));
    }
    let refusal = world.refusal("tdc", world.opening(3));
    assert!(matches!(refusal, Refusal::RunsUsedUp { runs: 2, .. }));
    assert_eq!(refusal.code(), "contract.runs-used-up");
    assert!(matches!(
        world.refusal("tdc", world.opening(2)),
        Refusal::RunOver { .. }
    ));
}

#[test]
fn opening_the_next_run_abandons_the_one_before() {
    let mut world = World::running();
    let request = world.opening(2);
    world.does("tdc", request);
    assert_eq!(world.view(1).status, RunStatus::Abandoned);
    assert!(matches!(
        world.refusal("alice", lease("alice", 1, 0, 10)),
        Refusal::RunOver { .. }
    ));
    assert!(matches!(
        world.refusal("tdc", close(1, b"r")),
        Refusal::RunOver { .. }
    ));
}

#[test]
fn only_the_consumers_side_opens_and_closes_runs() {
    let world = World::running();
    let provider_named_tdc = Requester {
        party: name("tdc"),
        role: Role::Provider,
    };
    for request in [world.opening(1), close(1, b"r")] {
        assert!(matches!(
            world.refusal("bob", request.clone()),
            Refusal::WrongRequester { .. }
        ));
        let state = world.book.state();
        let refusal = state.check(&provider_named_tdc, &request, world.now, &world.limit);
        assert!(matches!(refusal, Err(Refusal::WrongRequester { .. })));
    }
}

#[test]
fn no_run_opens_before_or_after_the_contracts_time() {
    let mut world = World::registered();
    world.now += TimeDelta::hours(25);
    assert!(matches!(
        world.refusal("tdc", world.opening(1)),
        Refusal::Expired { .. }
    ));
}

#[test]
fn a_clock_set_back_does_not_revive_an_expired_contract() {
    let mut world = World::running();
    let other = world.contract(|document| {
        document["validity"]["not_after"] = json!(world.now + TimeDelta::days(90));
    });
    world.now += TimeDelta::hours(25);
    world.does("tdc", Request::Register { envelope: other });
    world.now -= TimeDelta::hours(25);
    assert!(matches!(
        world.refusal("alice", lease("alice", 1, 0, 10)),
        Refusal::Expired { .. }
    ));
}

#[test]
fn a_run_is_closed_once() {
    let mut world = World::running();
    world.does("tdc", close(1, b"receipt"));
    let size = world.book.tree().len();
    world.does("tdc", close(1, b"receipt"));
    assert_eq!(world.book.tree().len(), size);
    assert!(matches!(
        world.refusal("tdc", close(1, b"other")),
        Refusal::OtherReceipt { .. }
    ));
    assert!(matches!(
        world.refusal("tdc", close(2, b"other")),
        Refusal::UnknownRun { .. }
    ));
    assert!(matches!(world.view(1).status, RunStatus::Closed { .. }));
}

fn authorisation_of(request: &Request) -> Digest {
    let Request::OpenRun { authorisation, .. } = request else {
        panic!()
    };
    authorisation.payload_digest()
}
