//! The seeds of the fuzz targets of this area, replayed.

use std::{fs, path::Path};

#[path = "../../fuzz/measure_targets.rs"]
mod measure_targets;

/// Runs the target on each seed, on each with one byte changed and on each beginning of it.
fn replay(name: &str, target: fn(&[u8]), parses: fn(&[u8]) -> bool) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/seeds")
        .join(name);
    let mut seeds = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let seed = fs::read(entry.unwrap().path()).unwrap();
        assert!(
            parses(&seed),
            "a seed of {name} is no input that the parser takes"
        );
        target(&seed);
        for at in 0..seed.len() {
            let mut changed = seed.clone();
            changed[at] ^= 0x81;
            target(&changed);
            target(&seed[..at]);
        }
        seeds += 1;
    }
    assert!(seeds > 0);
}

/// As the target does.
fn image(data: &[u8]) -> Vec<u8> {
    [&vec![0; 4096 - data.len()][..], data].concat()
}

#[test]
fn seeds_of_firmware_for_snp() {
    replay("ovmf", measure_targets::ovmf, |data| {
        tributary_attest::SnpFirmware::parse(&image(data)).is_ok()
    });
}

#[test]
fn seeds_of_firmware_for_tdx() {
    replay("tdvf", measure_targets::tdvf, |data| {
        tributary_attest::TdxFirmware::parse(&image(data)).is_ok()
    });
}

#[test]
fn seeds_of_event_logs() {
    replay("ccel", measure_targets::ccel, |data| {
        tributary_attest::EventLog::parse(data).is_ok()
    });
}

#[test]
fn seeds_of_kernels() {
    replay("kernel_image", measure_targets::kernel_image, |data| {
        tributary_attest::authenticode_sha384(data).is_ok()
    });
}
