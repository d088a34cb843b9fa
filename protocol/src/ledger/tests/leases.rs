//! Which steps are leased, to whom, and what is settled of them.

use super::*;

#[test]
fn leases_follow_each_other_and_count_over_all_runs() {
    let mut world = World::running();
    world.does("alice", lease("alice", 1, 0, 100));
    world.does("alice", lease("alice", 1, 100, 150));
    world.does("bob", lease("bob", 1, 0, 30));
    let request = world.opening(2);
    world.does("tdc", request);
    world.does("alice", lease("alice", 2, 0, 7));
    let state = world.book.state();
    assert_eq!(state.leased(SequenceNumber::FIRST, &of("alice")), 157);
    assert_eq!(state.leased(SequenceNumber::FIRST, &of("bob")), 30);
    let view = world.view(2);
    assert_eq!(view.datasets[0].leased, 7);
    assert_eq!(view.datasets[0].leased_in_all_runs, 157);
    assert_eq!(view.datasets[1].leased, 0);
}

#[test]
fn a_lease_with_a_gap_an_overlap_or_a_wrong_length_is_refused() {
    let mut world = World::running();
    world.does("alice", lease("alice", 1, 0, 100));
    for first in [0, 50, 99, 101, u64::MAX] {
        assert_eq!(
            world.refusal("alice", lease("alice", 1, first, first.saturating_add(10))),
            Refusal::LeaseNotContiguous {
                expected: 100,
                got: first
            }
        );
    }
    for end in [100, 99, 0, 101 + STEPS, u64::MAX] {
        assert!(matches!(
            world.refusal("alice", lease("alice", 1, 100, end)),
            Refusal::LeaseLength { limit: STEPS, .. }
        ));
    }
    world.does("alice", lease("alice", 1, 100, 100 + STEPS));
}

#[test]
fn only_the_owners_agent_leases_and_settles() {
    let mut world = World::running();
    world.does("alice", lease("alice", 1, 0, 10));
    for request in [lease("alice", 1, 10, 20), settle("alice", 1, 5, None)] {
        for party in ["bob", "tdc"] {
            assert!(matches!(
                world.refusal(party, request.clone()),
                Refusal::WrongRequester { .. }
            ));
        }
    }
    let aggregator = Requester {
        party: name("alice"),
        role: Role::Aggregator,
    };
    let state = world.book.state();
    assert!(matches!(
        state.check(
            &aggregator,
            &lease("alice", 1, 10, 20),
            world.now,
            &world.limit
        ),
        Err(Refusal::WrongRequester { .. })
    ));
}

#[test]
fn a_lease_of_a_dataset_outside_the_contract_is_refused() {
    let world = World::running();
    let dataset = DatasetRef {
        owner: name("alice"),
        name: "other".parse().unwrap(),
    };
    let request = Request::Lease {
        contract: SequenceNumber::FIRST,
        run: run(1),
        dataset,
        first_step: 0,
        end_step: 1,
    };
    assert!(matches!(
        world.refusal("alice", request),
        Refusal::UnknownDataset { .. }
    ));
}

#[test]
fn a_lease_without_a_contract_or_a_run_is_refused() {
    let mut world = World::registered();
    assert!(matches!(
        world.refusal("alice", lease("alice", 1, 0, 1)),
        Refusal::UnknownRun { .. }
    ));
    let request = world.opening(1);
    world.does("tdc", request);
    world.does("tdc", close(1, b"receipt"));
    assert!(matches!(
        world.refusal("alice", lease("alice", 1, 0, 1)),
        Refusal::RunOver { .. }
    ));
    let request = Request::Lease {
        contract: SequenceNumber::new(9).unwrap(),
        run: run(1),
        dataset: of("alice"),
        first_step: 0,
        end_step: 1,
    };
    assert!(matches!(
        world.refusal("alice", request),
        Refusal::UnknownContract { registered: 1, .. }
    ));
}

#[test]
fn no_lease_is_given_after_the_contracts_time() {
    let mut world = World::running();
    world.now += TimeDelta::hours(25);
    assert!(matches!(
        world.refusal("alice", lease("alice", 1, 0, 1)),
        Refusal::Expired { .. }
    ));
}

#[test]
fn the_lease_that_would_exceed_the_budget_is_refused_over_all_runs() {
    let mut world = World::running();
    world.limit = StepLimit(120);
    world.does("alice", lease("alice", 1, 0, 100));
    let request = world.opening(2);
    world.does("tdc", request);
    let refusal = world.refusal("alice", lease("alice", 2, 0, 21));
    assert_eq!(refusal.exit().code(), 12);
    world.does("alice", lease("alice", 2, 0, 20));
    assert!(matches!(
        world.refusal("alice", lease("alice", 2, 20, 21)),
        Refusal::Budget { .. }
    ));
    world.does("bob", lease("bob", 2, 0, 120));
}

#[test]
fn settlements_move_forward_and_never_beyond_the_lease() {
    let mut world = World::running();
    assert!(matches!(
        world.refusal("alice", settle("alice", 1, 1, None)),
        Refusal::SettlementBeyondLease { leased: 0, got: 1 }
    ));
    world.does("alice", lease("alice", 1, 0, 100));
    world.does("alice", settle("alice", 1, 40, None));
    assert!(matches!(
        world.refusal("alice", settle("alice", 1, 39, None)),
        Refusal::SettlementBackwards {
            settled: 40,
            got: 39
        }
    ));
    assert!(matches!(
        world.refusal("alice", settle("alice", 1, 101, None)),
        Refusal::SettlementBeyondLease {
            leased: 100,
            got: 101
        }
    ));
    world.does("alice", settle("alice", 1, 40, None));
    world.does("alice", settle("alice", 1, 100, None));
    assert_eq!(world.view(1).datasets[0].settled, 100);
}

#[test]
fn steps_that_a_crash_left_unsettled_stay_spent() {
    let mut world = World::running();
    world.does("alice", lease("alice", 1, 0, 100));
    world.does("alice", settle("alice", 1, 40, None));
    assert!(matches!(
        world.refusal("alice", lease("alice", 1, 40, 60)),
        Refusal::LeaseNotContiguous {
            expected: 100,
            got: 40
        }
    ));
    assert_eq!(
        world
            .book
            .state()
            .leased(SequenceNumber::FIRST, &of("alice")),
        100
    );
}

#[test]
fn the_newest_checkpoint_is_the_last_new_one_and_a_late_old_one_does_not_move_it_back() {
    let mut world = World::running();
    let (old, new) = (Digest::of(b"50"), Digest::of(b"100"));
    for party in ["alice", "bob"] {
        world.does(party, lease(party, 1, 0, 100));
    }
    world.does("alice", settle("alice", 1, 50, Some(old)));
    assert_eq!(world.view(1).checkpoint, Some(old));
    world.does("alice", settle("alice", 1, 100, Some(new)));
    world.does("bob", settle("bob", 1, 50, Some(old)));
    assert_eq!(world.view(1).checkpoint, Some(new));
    world.does("bob", settle("bob", 1, 100, None));
    assert_eq!(world.view(1).checkpoint, Some(new));
}

#[test]
fn what_was_served_is_settled_after_the_end_and_for_unknown_runs_nothing() {
    let mut world = World::running();
    world.does("alice", lease("alice", 1, 0, 100));
    world.does("tdc", close(1, b"receipt"));
    world.now += TimeDelta::days(3);
    world.does("alice", settle("alice", 1, 100, None));
    assert!(matches!(
        world.refusal("alice", settle("alice", 2, 1, None)),
        Refusal::UnknownRun { .. }
    ));
}
