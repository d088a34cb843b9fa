//! The seeds of the fuzz targets of the program's own readers, replayed.
#![allow(clippy::unwrap_used)]

use std::{fs, path::Path};

#[path = "../../fuzz/program_targets.rs"]
#[allow(unreachable_pub)]
mod program_targets;

/// Runs the target on each seed, and on each with one byte changed or its end cut off.
fn replay(name: &str, target: fn(&[u8]), reads: fn(&[u8]) -> bool) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fuzz/seeds")
        .join(name);
    let mut replayed = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let seed = fs::read(entry.unwrap().path()).unwrap();
        assert!(reads(&seed), "a seed of {name} is no input that is read");
        target(&seed);
        for at in 0..seed.len() {
            let mut changed = seed.clone();
            changed[at] ^= 0x81;
            target(&changed);
            target(&seed[..at]);
        }
        replayed += 1;
    }
    assert!(replayed > 0, "{name}");
}

#[test]
fn seeds_of_files_of_any_kind() {
    replay("input_kind", program_targets::input_kind, |data| {
        tributary_attest_program::Input::of(data.to_vec()).is_ok()
    });
}

#[test]
fn seeds_of_certificates_that_are_shown() {
    replay("certificates", program_targets::certificates, |data| {
        tributary_attest_program::describe_certificates(data).is_ok()
    });
}

#[test]
fn seeds_of_chains_of_amds_service() {
    replay("kds_chain", program_targets::kds_chain, |data| {
        let text = std::str::from_utf8(data).unwrap();
        tributary_attest_program::amd_intermediate(text).is_ok()
    });
}
