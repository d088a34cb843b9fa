//! The accountant against other implementations, exact formulas, and what must hold of any accountant.
#![allow(clippy::unwrap_used)]

mod exact;

use exact::{exact_epsilon, phase, vectors};
use proptest::prelude::*;
use tributary_accounting::{
    Accountant, AccountingError, Delta, Epsilon, NoiseMultiplier, Phase, Rdp, RdpLedger,
    SamplingRate, Steps, calibrate_noise, largest_steps,
};

fn rdp(phases: &[Phase], delta: f64) -> f64 {
    Rdp.epsilon(phases, Delta::new(delta).unwrap())
        .unwrap()
        .get()
}

#[test]
fn epsilons_of_other_accountants_are_met() {
    let Some(vectors) = vectors() else { return };
    assert!(!vectors.settings.is_empty());
    for s in vectors.settings {
        let ours = rdp(
            &[phase(s.sampling_rate, s.noise_multiplier, s.steps)],
            s.delta,
        );
        assert!(
            (ours / s.rdp - 1.0).abs() < 1e-4,
            "q {} z {}: {ours}, expected {}",
            s.sampling_rate,
            s.noise_multiplier,
            s.rdp
        );
        // `pld` lies at most its grid's rounding above the exact value; ours must not lie below that.
        assert!(
            ours >= s.pld - 1e-3,
            "q {} z {}: {ours} below {}",
            s.sampling_rate,
            s.noise_multiplier,
            s.pld
        );
    }
}

#[test]
fn never_below_the_exact_epsilon_of_the_gaussian() {
    for z in [0.3, 0.7, 1.0, 2.0, 5.0, 20.0] {
        for steps in [1, 3, 100, 5_000] {
            for delta in [1e-3, 1e-5, 1e-9] {
                // Steps of noise z on the same direction are one step of noise z/√steps.
                let exact = exact_epsilon(1.0, z / (steps as f64).sqrt(), delta);
                let ours = rdp(&[phase(1.0, z, steps)], delta);
                assert!(
                    ours >= exact,
                    "z {z} steps {steps} delta {delta}: {ours} below {exact}"
                );
                assert!(
                    ours <= exact * 1.25 + 0.01,
                    "z {z} steps {steps} delta {delta}: {ours} far above {exact}"
                );
            }
        }
    }
}

#[test]
fn never_below_the_exact_epsilon_of_one_subsampled_step() {
    for q in [0.001, 0.01, 0.1, 0.5, 0.9] {
        for z in [0.4, 0.7, 1.0, 3.0] {
            for delta in [1e-3, 1e-5, 1e-9] {
                let exact = exact_epsilon(q, z, delta);
                let ours = rdp(&[phase(q, z, 1)], delta);
                assert!(
                    ours >= exact,
                    "q {q} z {z} delta {delta}: {ours} below {exact}"
                );
            }
        }
    }
}

#[test]
fn no_steps_cost_nothing() {
    assert_eq!(rdp(&[], 1e-5), 0.0);
    assert_eq!(rdp(&[phase(0.5, 1e-6, 0)], 1e-5), 0.0);
}

#[test]
fn noise_too_small_to_promise_anything_costs_infinitely_much() {
    assert_eq!(rdp(&[phase(0.5, 1e-200, 1)], 1e-5), f64::INFINITY);
}

#[test]
fn steps_beyond_counting_are_refused() {
    let phases = [phase(0.1, 1.0, u64::MAX), phase(0.1, 2.0, 1)];
    assert_eq!(
        Rdp.epsilon(&phases, Delta::new(1e-5).unwrap()),
        Err(AccountingError::TooManySteps)
    );
}

#[test]
fn a_ledger_comes_back_from_its_phases_and_refuses_unknown_fields() {
    let mut ledger = RdpLedger::new();
    ledger.add(phase(0.01, 1.1, 70)).unwrap();
    ledger.add(phase(0.02, 1.1, 5)).unwrap();
    ledger.add(phase(0.01, 1.1, 30)).unwrap();
    let text = serde_json::to_string(&ledger).unwrap();
    let back: RdpLedger = serde_json::from_str(&text).unwrap();
    let delta = Delta::new(1e-5).unwrap();
    assert_eq!(back, ledger);
    assert_eq!(back.epsilon(delta), ledger.epsilon(delta));
    assert_eq!(
        ledger.phases().map(|p| p.steps.get()).collect::<Vec<_>>(),
        [100, 5]
    );
    let unknown = r#"[{"sampling_rate":0.1,"noise_multiplier":1.0,"steps":1,"extra":0}]"#;
    assert!(serde_json::from_str::<RdpLedger>(unknown).is_err());
    let out_of_range = r#"[{"sampling_rate":1.1,"noise_multiplier":1.0,"steps":1}]"#;
    assert!(serde_json::from_str::<RdpLedger>(out_of_range).is_err());
}

#[test]
fn the_largest_number_of_steps_fits_and_one_more_does_not() {
    let delta = Delta::new(1e-5).unwrap();
    let target = Epsilon::new(3.0).unwrap();
    for before in [vec![], vec![phase(0.02, 1.3, 200)]] {
        let next = phase(0.017, 1.05, 0);
        let ask = |at_most| {
            let (q, z) = (next.sampling_rate, next.noise_multiplier);
            largest_steps(&Rdp, &before, q, z, target, delta, Steps::new(at_most))
                .unwrap()
                .get()
        };
        let fits = ask(1_000_000);
        let with = |steps| {
            rdp(
                &[before.as_slice(), &[phase(0.017, 1.05, steps)]].concat(),
                1e-5,
            )
        };
        assert!(with(fits) <= 3.0 && with(fits + 1) > 3.0, "{fits}");
        assert_eq!(ask(fits - 1), fits - 1);
        assert_eq!(ask(0), 0);
    }
    let spent = [phase(0.5, 0.5, 1_000)];
    let (q, z) = (
        SamplingRate::new(0.1).unwrap(),
        NoiseMultiplier::new(1.0).unwrap(),
    );
    assert_eq!(
        largest_steps(&Rdp, &spent, q, z, target, delta, Steps::new(9)).unwrap(),
        Steps::new(0)
    );
}

#[test]
fn calibrated_noise_keeps_the_target_and_a_little_less_does_not() {
    let (delta, rate, steps) = (
        Delta::new(1e-5).unwrap(),
        SamplingRate::new(0.02).unwrap(),
        Steps::new(1_000),
    );
    for target in [0.5, 3.0, 8.0] {
        let z = calibrate_noise(&Rdp, Epsilon::new(target).unwrap(), delta, rate, steps)
            .unwrap()
            .get();
        assert!(rdp(&[phase(0.02, z, 1_000)], 1e-5) <= target);
        assert!(rdp(&[phase(0.02, z * 0.999_99, 1_000)], 1e-5) > target);
    }
    let refused = calibrate_noise(&Rdp, Epsilon::ZERO, delta, rate, steps).unwrap_err();
    assert!(
        refused.to_string().contains("allow a larger epsilon"),
        "{refused}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn epsilon_grows_with_steps_and_rate_and_shrinks_with_noise_and_delta(
        q in 0.0005f64..0.5, z in 0.5f64..4.0, steps in 1u64..3_000, factor in 1.05f64..1.9
    ) {
        let base = rdp(&[phase(q, z, steps)], 1e-5);
        prop_assert!(rdp(&[phase(q, z, steps + 1)], 1e-5) >= base);
        prop_assert!(rdp(&[phase(q * factor, z, steps)], 1e-5) >= base * (1.0 - 1e-9));
        prop_assert!(rdp(&[phase(q, z * factor, steps)], 1e-5) <= base * (1.0 + 1e-9));
        prop_assert!(rdp(&[phase(q, z, steps)], 1e-6) >= base);
    }

    #[test]
    fn composition_does_not_depend_on_order_or_on_how_steps_are_cut(
        q in 0.001f64..0.2, z in 0.6f64..3.0, a in 1u64..500, b in 1u64..500
    ) {
        let other = phase(0.03, 1.7, 40);
        let whole = rdp(&[phase(q, z, a + b), other], 1e-5);
        let cut = rdp(&[phase(q, z, a), other, phase(q, z, b)], 1e-5);
        prop_assert_eq!(whole, cut);
        let turned = rdp(&[other, phase(q, z, a + b)], 1e-5);
        prop_assert!((whole - turned).abs() <= 1e-9 * whole);
        prop_assert!(whole >= rdp(&[other], 1e-5));
    }

    #[test]
    fn sampling_never_costs_more_than_taking_all(q in 0.001f64..0.999, z in 0.4f64..4.0, steps in 1u64..200) {
        prop_assert!(rdp(&[phase(q, z, steps)], 1e-5) <= rdp(&[phase(1.0, z, steps)], 1e-5) * (1.0 + 1e-8));
    }
}
