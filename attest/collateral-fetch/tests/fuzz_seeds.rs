//! The seeds of the fuzz targets of services' answers, replayed.
#![allow(clippy::unwrap_used)]

use std::{fs, path::Path};

#[path = "../../fuzz/fetch_targets.rs"]
#[allow(unreachable_pub)]
mod fetch_targets;

/// Runs the target on each seed, and on each with one byte changed or its end cut off.
fn replay(name: &str, target: fn(&[u8])) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fuzz/seeds")
        .join(name);
    let entries = fs::read_dir(folder).unwrap();
    let seeds: Vec<Vec<u8>> = entries
        .map(|entry| fs::read(entry.unwrap().path()).unwrap())
        .collect();
    assert!(!seeds.is_empty(), "{name}");
    for seed in &seeds {
        target(seed);
        for at in 0..seed.len() {
            let mut changed = seed.clone();
            changed[at] ^= 0x81;
            target(&changed);
            target(&seed[..at]);
        }
    }
    seeds
}

#[test]
fn seeds_of_answers_of_intels_service() {
    let seeds = replay("pcs_answers", fetch_targets::pcs_answers);
    assert!(seeds.iter().all(|seed| fetch_targets::read(seed).is_ok()));
}

#[test]
fn seeds_of_requests_for_patience() {
    let now = chrono::DateTime::from_timestamp(1_795_000_000, 0).unwrap();
    for seed in replay("retry_header", fetch_targets::retry_header) {
        let value = String::from_utf8(seed).unwrap();
        assert!(tributary_collateral_fetch::retry_after(&value, now).is_some());
    }
}
