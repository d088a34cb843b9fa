//! The meter: never above a limit, whatever happens in between.

use proptest::prelude::*;
use tributary_accounting::{Accountant as _, Delta, NoiseMultiplier, Phase, Rdp, SamplingRate};
use tributary_protocol::AccountantName;

use super::*;

fn key() -> StateKey {
    StateKey::from_bytes([7; 32])
}

fn run(number: u32) -> RunNumber {
    RunNumber::new(number).unwrap()
}

fn terms(contract: u8, limit: f64) -> Terms {
    Terms {
        contract: Digest::of(&[contract]),
        dataset: "digits".parse().unwrap(),
        entity: None,
        sampling_rate: SamplingRate::new(0.02).unwrap(),
        noise_multiplier: NoiseMultiplier::new(2.0 + f64::from(contract) / 10.0).unwrap(),
        accountant: AccountantName::Rdp,
        limit: Epsilon::new(limit).unwrap(),
        delta: Delta::new(1e-5).unwrap(),
        noise_delta: Delta::new(0.99e-5).unwrap(),
        overflow_per_step: 1e-10,
    }
}

#[test]
fn an_officers_limit_is_never_spent_in_two_units_of_privacy() {
    let patients = |contract| Terms {
        entity: Some("patient".parse().unwrap()),
        ..terms(contract, 8.0)
    };
    let (_folder, meter) = meter();
    meter.reserve_under(&terms(1, 8.0), run(1), 0, 10).unwrap();
    // Without a limit over all contracts, each has its own.
    meter.reserve_under(&patients(2), run(1), 0, 10).unwrap();
    let limit = OfficerLimit {
        epsilon: Epsilon::new(100.0).unwrap(),
        delta: Delta::new(1e-5).unwrap(),
    };
    let dataset = "digits".parse().unwrap();
    meter.set_limit(&dataset, Some(limit)).unwrap();
    for terms in [terms(1, 8.0), patients(2), patients(3)] {
        let refused = meter.reserve_under(&terms, run(1), 10, 1);
        assert!(
            matches!(refused, Err(MeterError::Units { .. })),
            "{refused:?}"
        );
    }
}

#[test]
fn a_contract_that_names_the_closer_accountant_affords_more_steps_and_keeps_its_limit() {
    let many = 1 << 20;
    let grant = |accountant| {
        let (_folder, meter) = meter();
        let terms = Terms {
            accountant,
            ..terms(0, 1.0)
        };
        let granted = meter.reserve_under(&terms, run(1), 0, many).unwrap();
        assert!(granted < many);
        assert!(terms.epsilon(granted).unwrap() <= terms.limit);
        assert!(meter.reserve_under(&terms, run(1), granted, 1).is_err());
        granted
    };
    let (moments, closer) = (grant(AccountantName::Rdp), grant(AccountantName::Pld));
    assert!(closer > moments + moments / 20, "{closer} and {moments}");
}

#[test]
fn an_account_keeps_the_accountant_that_it_began_with() {
    let (_folder, meter) = meter();
    let terms = terms(0, 1.0);
    meter.reserve_under(&terms, run(1), 0, 1).unwrap();
    let other = Terms {
        accountant: AccountantName::Pld,
        ..terms
    };
    assert!(matches!(
        meter.reserve_under(&other, run(1), 1, 1),
        Err(MeterError::Terms { .. })
    ));
}

fn limit(epsilon: f64) -> OfficerLimit {
    OfficerLimit {
        epsilon: Epsilon::new(epsilon).unwrap(),
        delta: Delta::new(1e-5).unwrap(),
    }
}

fn meter() -> (tempfile::TempDir, Meter) {
    let folder = tempfile::tempdir().unwrap();
    let meter = Meter::create(&folder.path().join("meter"), key()).unwrap();
    (folder, meter)
}

/// The most steps of a first run, found by asking for more than there are.
fn most(terms: &Terms) -> u64 {
    let (_folder, meter) = meter();
    let most = meter.reserve_under(terms, run(1), 0, 100_000).unwrap();
    assert!((100..100_000).contains(&most), "{most}");
    most
}

#[test]
fn steps_are_granted_up_to_the_limit_and_then_refused_with_the_numbers() {
    let (_folder, meter) = meter();
    let terms = terms(0, 1.5);
    let all = most(&terms);
    let granted = meter.reserve_under(&terms, run(1), 0, all - 10).unwrap();
    assert_eq!(granted, all - 10);
    assert_eq!(
        meter.reserve_under(&terms, run(1), all - 10, 100).unwrap(),
        10
    );
    let refusal = meter.reserve_under(&terms, run(1), all, 1).unwrap_err();
    assert!(refusal.is_budget());
    match &refusal {
        MeterError::Contract {
            spent,
            with,
            limit,
            fit,
            ..
        } => {
            assert!(spent <= limit && with > limit);
            assert_eq!(fit.get(), 0);
        }
        other => panic!("{other}"),
    }
    assert!(
        refusal.to_string().contains("0 more steps fit"),
        "{refusal}"
    );
}

#[test]
fn a_run_that_cannot_be_finished_is_refused_before_anything_is_spent() {
    let (_folder, meter) = meter();
    let terms = terms(0, 1.5);
    let all = most(&terms);
    meter
        .expect_room_under(&terms, run(1), Steps::new(all))
        .unwrap();
    let refusal = meter
        .expect_room_under(&terms, run(1), Steps::new(all + 1))
        .unwrap_err();
    assert!(
        matches!(&refusal, MeterError::Contract { fit, .. } if fit.get() == all),
        "{refusal}"
    );
    meter.reserve_under(&terms, run(1), 0, 10).unwrap();
    assert!(
        meter
            .expect_room_under(&terms, run(2), Steps::new(all))
            .is_err()
    );
}

#[test]
fn runs_of_one_contract_share_its_limit() {
    let (_folder, meter) = meter();
    let terms = terms(0, 1.5);
    let all = most(&terms);
    meter.reserve_under(&terms, run(1), 0, all / 2).unwrap();
    let rest = meter.reserve_under(&terms, run(2), 0, all).unwrap();
    assert_eq!(rest, all - all / 2);
    assert!(matches!(
        meter.reserve_under(&terms, run(3), 0, 1),
        Err(MeterError::Contract { .. })
    ));
}

#[test]
fn the_officers_limit_holds_over_all_contracts() {
    let (_folder, meter) = meter();
    let (first, second) = (terms(0, 3.0), terms(1, 3.0));
    let digits = &first.dataset;
    meter.set_limit(digits, Some(limit(1.5))).unwrap();
    let all = meter.reserve_under(&first, run(1), 0, 100_000).unwrap();
    assert!(matches!(
        meter.reserve_under(&first, run(1), all, 1),
        Err(MeterError::Officer { .. })
    ));
    assert!(matches!(
        meter.expect_room_under(&second, run(1), Steps::new(all)),
        Err(MeterError::Officer { .. })
    ));
    meter.set_limit(digits, Some(limit(0.1))).unwrap();
    assert!(meter.reserve_under(&second, run(1), 0, 1).is_err());
    meter.set_limit(digits, None).unwrap();
    assert_eq!(meter.reserve_under(&second, run(1), 0, 10).unwrap(), 10);
}

#[test]
fn a_reservation_that_is_repeated_costs_again() {
    let (_folder, meter) = meter();
    let terms = terms(0, 1.5);
    let all = most(&terms);
    meter.reserve_under(&terms, run(1), 0, 50).unwrap();
    // The ledger never heard of the fifty steps; the aggregator asks for them again.
    meter.reserve_under(&terms, run(1), 0, 50).unwrap();
    let rest = meter.reserve_under(&terms, run(1), 50, all).unwrap();
    assert_eq!(rest, all - 100);
}

#[test]
fn steps_before_the_first_count_even_where_the_meter_did_not_see_them() {
    let (_folder, meter) = meter();
    let terms = terms(0, 1.5);
    let all = most(&terms);
    assert_eq!(
        meter.reserve_under(&terms, run(1), all - 5, 100).unwrap(),
        5
    );
    for (first, count) in [(0, 0), (u64::MAX, 1)] {
        assert!(matches!(
            meter.reserve_under(&terms, run(1), first, count),
            Err(MeterError::Count { .. })
        ));
    }
}

#[test]
fn the_larger_memory_counts() {
    let terms = terms(0, 1.5);
    let all = most(&terms);
    let left = |reconcile: &[(u32, u64, u64)]| {
        let (_folder, meter) = meter();
        meter.reserve_under(&terms, run(1), 0, 10).unwrap();
        for (number, leased, in_all) in reconcile {
            meter
                .reconcile_under(&terms, run(*number), *leased, *in_all)
                .unwrap();
        }
        all - meter.reserve_under(&terms, run(3), 0, all).unwrap()
    };
    assert_eq!(left(&[]), 10);
    assert_eq!(left(&[(1, 7, 7)]), 10);
    assert_eq!(left(&[(1, 30, 30)]), 30);
    // A run that this meter has forgotten is in the sum of all, and is not counted twice when it is named.
    assert_eq!(left(&[(2, 5, 70)]), 70);
    assert_eq!(left(&[(2, 5, 70), (1, 65, 70)]), 70);
    let (_folder, meter) = meter();
    meter
        .reconcile_under(&terms, run(1), u64::MAX, u64::MAX)
        .unwrap();
    assert!(
        meter
            .reserve_under(&terms, run(2), 0, 1)
            .unwrap_err()
            .is_budget()
    );
}

#[test]
fn other_terms_under_one_digest_are_refused() {
    let (_folder, meter) = meter();
    let terms = terms(0, 3.0);
    meter.reserve_under(&terms, run(1), 0, 10).unwrap();
    let mut other = terms.clone();
    other.limit = Epsilon::new(9.0).unwrap();
    assert!(matches!(
        meter.reserve_under(&other, run(1), 10, 1),
        Err(MeterError::Terms { .. })
    ));
}

#[test]
fn a_meter_that_is_missing_altered_or_another_agents_is_refused() {
    let (folder, meter) = meter();
    let path = folder.path().join("meter");
    meter.reserve_under(&terms(0, 3.0), run(1), 0, 10).unwrap();
    let file = path.join(FILE);
    let good = std::fs::read(&file).unwrap();
    for position in 0..good.len() {
        let mut bad = good.clone();
        bad[position] ^= 1;
        std::fs::write(&file, bad).unwrap();
        assert!(matches!(
            meter.reserve_under(&terms(0, 3.0), run(1), 10, 1),
            Err(MeterError::Damaged { .. })
        ));
    }
    std::fs::write(&file, &good[..good.len() - 1]).unwrap();
    assert!(matches!(
        Meter::open(&path, key()),
        Err(MeterError::Damaged { .. })
    ));
    std::fs::write(&file, &good).unwrap();
    assert!(matches!(
        Meter::open(&path, StateKey::from_bytes([8; 32])),
        Err(MeterError::Damaged { .. })
    ));
    assert!(matches!(
        Meter::create(&path, key()),
        Err(MeterError::Exists { .. })
    ));
    std::fs::remove_file(&file).unwrap();
    assert!(matches!(
        Meter::open(&path, key()),
        Err(MeterError::Missing { .. })
    ));
    assert!(matches!(
        Meter::open(&folder.path().join("absent"), key()),
        Err(MeterError::Missing { .. })
    ));
}

#[test]
fn a_report_says_what_is_spent_leased_and_left() {
    let (_folder, meter) = meter();
    let terms = terms(0, 1.5);
    let all = most(&terms);
    meter.set_limit(&terms.dataset, Some(limit(2.0))).unwrap();
    meter.reserve_under(&terms, run(1), 0, 30).unwrap();
    let settle = |through| {
        meter
            .settle(&terms.dataset, &terms.contract, run(1), through)
            .unwrap();
    };
    settle(20);
    settle(10);
    let report = meter.report().unwrap();
    let [dataset] = &report[..] else {
        panic!("one dataset")
    };
    let [contract] = &dataset.contracts[..] else {
        panic!("one contract")
    };
    assert_eq!(contract.spent, terms.epsilon(30).unwrap());
    assert_eq!(contract.settled, terms.epsilon(20).unwrap());
    assert_eq!(contract.remaining.get(), all - 30);
    assert_eq!(
        contract.runs,
        [RunReport {
            run: run(1),
            settled: Steps::new(20),
            leased: Steps::new(10)
        }]
    );
    assert!(dataset.spent > Epsilon::ZERO && dataset.spent < contract.limit);
    // No more is settled than was spent.
    settle(1000);
    let report = meter.report().unwrap();
    assert_eq!(report[0].contracts[0].runs[0].leased, Steps::new(0));
}

#[test]
fn an_overflow_that_uses_up_delta_ends_the_budget() {
    let (_folder, meter) = meter();
    let mut terms = terms(0, 1e6);
    terms.overflow_per_step = 1e-7;
    let fit = meter.reserve_under(&terms, run(1), 0, 100_000).unwrap();
    assert!(fit <= 100, "{fit} steps of 1e-7 exceed a delta of 1e-5");
}

#[derive(Debug, Clone)]
enum Act {
    /// Reserves from the step that the aggregator believes to be next, and serves all that is granted.
    Reserve {
        contract: usize,
        run: u32,
        count: u64,
    },
    /// As `Reserve`, and then the agent dies before the ledger or the aggregator hears of it.
    ReserveAndCrash {
        contract: usize,
        run: u32,
        count: u64,
    },
    Reopen,
    Settle {
        through: u64,
    },
    /// The ledger's memory of a run, at least what was served.
    Reconcile {
        more: u64,
    },
}

fn act() -> impl Strategy<Value = Act> {
    let steps = || (0_usize..3, 1_u32..3, 1_u64..400);
    prop_oneof![
        4 => steps().prop_map(|(contract, run, count)| Act::Reserve { contract, run, count }),
        2 => steps()
            .prop_map(|(contract, run, count)| Act::ReserveAndCrash { contract, run, count }),
        1 => Just(Act::Reopen),
        1 => (0_u64..2000).prop_map(|through| Act::Settle { through }),
        1 => (0_u64..900).prop_map(|more| Act::Reconcile { more }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// What was really served, over all contracts and runs, is within every limit, whatever the order of reservations,
    /// crashes, restarts and settlements.
    #[test]
    fn no_interleaving_serves_more_than_a_limit(acts in proptest::collection::vec(act(), 1..30)) {
        let (folder, mut meter) = meter();
        let path = folder.path().join("meter");
        let all: Vec<Terms> = (0..3).map(|contract| terms(contract, 1.2)).collect();
        let officer = limit(1.6);
        meter.set_limit(&all[0].dataset, Some(officer)).unwrap();
        let mut served = [0_u64; 3];
        // The run's next step, as ledger and aggregator know it.
        let mut next = [[0_u64; 3]; 3];
        for act in acts {
            match act {
                Act::Reserve { contract, run: number, count } => {
                    let next = &mut next[contract][number as usize];
                    let outcome = meter.reserve_under(&all[contract], run(number), *next, count);
                    if let Ok(granted) = outcome {
                        served[contract] += granted;
                        *next += granted;
                    }
                }
                Act::ReserveAndCrash { contract, run: number, count } => {
                    let next = next[contract][number as usize];
                    let outcome = meter.reserve_under(&all[contract], run(number), next, count);
                    // Whatever left before the crash is served, at worst everything.
                    served[contract] += outcome.unwrap_or(0);
                    meter = Meter::open(&path, key()).unwrap();
                }
                Act::Reopen => meter = Meter::open(&path, key()).unwrap(),
                Act::Settle { through } => {
                    let terms = &all[0];
                    meter.settle(&terms.dataset, &terms.contract, run(1), through).unwrap();
                }
                Act::Reconcile { more } => {
                    let leased = &mut next[1][1];
                    *leased += more;
                    let leased = *leased;
                    meter.reconcile_under(&all[1], run(1), leased, leased).unwrap();
                }
            }
            let phases: Vec<Phase> = all
                .iter()
                .zip(served)
                .filter(|(_, steps)| *steps > 0)
                .map(|(terms, steps)| Phase {
                    sampling_rate: terms.sampling_rate,
                    noise_multiplier: terms.noise_multiplier,
                    steps: Steps::new(steps),
                })
                .collect();
            let delta = Delta::new(1e-5).unwrap();
            for phase in &phases {
                prop_assert!(Rdp.epsilon(&[*phase], delta).unwrap() <= all[0].limit);
            }
            if !phases.is_empty() {
                prop_assert!(Rdp.epsilon(&phases, delta).unwrap() <= officer.epsilon);
            }
        }
    }
}
