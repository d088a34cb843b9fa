//! The seeds of the fuzz targets for policies and simulated evidence, replayed.
#![allow(clippy::unwrap_used)]

#[path = "../fuzz/policy_targets.rs"]
#[allow(unreachable_pub)]
mod policy_targets;

use std::path::Path;

fn replay(target: &str, run: fn(&[u8])) {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/seeds")
        .join(target);
    let mut replayed = 0;
    for entry in std::fs::read_dir(seeds).unwrap() {
        run(&std::fs::read(entry.unwrap().path()).unwrap());
        replayed += 1;
    }
    assert!(replayed > 0, "{target}");
}

#[test]
fn no_seed_breaks_its_target() {
    replay("policy", policy_targets::policy);
    replay("constraint", policy_targets::constraint);
    replay("simulated_report", policy_targets::simulated_report);
    replay(
        "simulated_certificate",
        policy_targets::simulated_certificate,
    );
}

#[test]
fn the_seeds_that_should_be_read_are_read() {
    let seed = |name: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds");
        std::fs::read(path.join(name)).unwrap()
    };
    use tributary_attest::{Evidence, Policy, SimulatedPlatformKey, Tee};
    assert!(Policy::from_json(&seed("policy/hardware")).is_ok());
    let certificate = seed("simulated_certificate/snp");
    let evidence = Evidence::new(Tee::Simulated, vec![0], vec![certificate]).unwrap();
    SimulatedPlatformKey::danger_read_unverified(&evidence).unwrap();
    assert!(Policy::from_json(&seed("policy/null-section")).is_err());
    for name in ["constraint/whole", "constraint/insecure"] {
        let line = String::from_utf8(seed(name)).unwrap();
        Policy::from_constraint(&line).unwrap();
    }
}
