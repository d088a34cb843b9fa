//! A log that is replayed gives the same book, and one that breaks the rules none.

use super::*;

#[test]
fn entries_that_break_the_rules_are_not_replayed() {
    let mut world = World::running();
    let entry = |author: &str, event| Entry::new(name(author), world.now, event);
    let forged = Event::Lease {
        contract: SequenceNumber::FIRST,
        run: run(1),
        dataset: of("alice"),
        first_step: 5,
        end_step: 10,
    };
    let by_other = Event::Lease {
        contract: SequenceNumber::FIRST,
        run: run(1),
        dataset: of("alice"),
        first_step: 0,
        end_step: 10,
    };
    let renumbered = Event::ContractRegistered {
        number: SequenceNumber::new(3).unwrap(),
        envelope: world
            .contract(|document| document["purpose"] = "x".into())
            .to_json(),
    };
    let entries = [
        entry("alice", forged),
        entry("bob", by_other),
        entry("tdc", renumbered),
    ];
    let before = format!("{:?}", world.book);
    for entry in entries {
        assert!(matches!(
            world.book.append(&entry),
            Err(ApplyError::Refused { index: 2, .. })
        ));
    }
    let early = Entry::new(
        name("alice"),
        world.now - TimeDelta::seconds(1),
        Event::Lease {
            contract: SequenceNumber::FIRST,
            run: run(1),
            dataset: of("alice"),
            first_step: 0,
            end_step: 10,
        },
    );
    assert!(matches!(
        world.book.append(&early),
        Err(ApplyError::Time { index: 2, .. })
    ));
    assert_eq!(format!("{:?}", world.book), before);
}

/// What a party tries next; most attempts are refused, and that is part of the test.
#[derive(Debug, Clone)]
enum Attempt {
    Open(u32),
    Lease(bool, u32, u64, u64),
    Settle(bool, u32, u64, Option<u8>),
    Close(u32, u8),
    Wait(i64),
    Revoke,
}

fn attempts() -> impl Strategy<Value = Vec<Attempt>> {
    let attempt = prop_oneof![
        3 => (1u32..4).prop_map(Attempt::Open),
        8 => (any::<bool>(), 1u32..3, 0u64..4, 1u64..40)
            .prop_map(|(alice, run, gap, more)| Attempt::Lease(alice, run, gap.saturating_sub(2), more)),
        5 => (any::<bool>(), 1u32..3, 0u64..60, prop::option::of(0u8..4))
            .prop_map(|(alice, run, served, checkpoint)| Attempt::Settle(alice, run, served, checkpoint)),
        1 => (1u32..3, any::<u8>()).prop_map(|(run, receipt)| Attempt::Close(run, receipt % 2)),
        2 => (0i64..1000).prop_map(Attempt::Wait),
        1 => Just(Attempt::Revoke),
    ];
    prop::collection::vec(attempt, 0..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn replaying_the_log_gives_the_same_book_and_no_step_is_leased_twice(attempts in attempts()) {
        let mut world = World::registered();
        world.limit = StepLimit(200);
        let registered = world.book.state().contract(SequenceNumber::FIRST).unwrap();
        let mut log = vec![Entry::decode(&registered.registered.entry.encode()).unwrap()];
        let mut leased: std::collections::BTreeMap<(DatasetRef, RunNumber), u64> = Default::default();
        for attempt in attempts {
            let (party, request) = match attempt {
                Attempt::Open(number) => ("tdc", world.opening(number)),
                Attempt::Lease(alice, number, gap, more) => {
                    let party = if alice { "alice" } else { "bob" };
                    let at = leased.get(&(of(party), run(number))).copied().unwrap_or(0) + gap;
                    (party, lease(party, number, at, at + more))
                }
                Attempt::Settle(alice, number, served, checkpoint) => {
                    let party = if alice { "alice" } else { "bob" };
                    (party, settle(party, number, served, checkpoint.map(|c| Digest::of(&[c]))))
                }
                Attempt::Close(number, receipt) => ("tdc", close(number, &[receipt])),
                Attempt::Wait(seconds) => {
                    world.now += TimeDelta::seconds(seconds);
                    continue;
                }
                Attempt::Revoke => ("bob", revocation(&world, "bob", &world.bob)),
            };
            if let Ok(Verdict::Append(entry)) = world.check(party, &request) {
                if let Event::Lease { run, dataset, first_step, end_step, .. } = &entry.event {
                    let end = leased.entry((dataset.clone(), *run)).or_default();
                    prop_assert_eq!(*end, *first_step);
                    *end = *end_step;
                }
                world.book.append(&entry).unwrap();
                log.push(Entry::decode(&entry.encode()).unwrap());
            }
        }
        for party in ["alice", "bob"] {
            let total: u64 = leased.iter().filter(|((d, _), _)| *d == of(party)).map(|(_, end)| end).sum();
            prop_assert_eq!(world.book.state().leased(SequenceNumber::FIRST, &of(party)), total);
            prop_assert!(total <= 200);
        }
        let mut replayed = Book::new(world.book.state().members().clone());
        for entry in &log {
            replayed.append(entry).unwrap();
        }
        prop_assert_eq!(format!("{replayed:?}"), format!("{:?}", world.book));
        prop_assert_eq!(replayed.head(), world.book.head());
    }
}
