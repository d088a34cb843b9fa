//! The seeds of the fuzz targets, replayed as ordinary tests.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

use std::{fs, path::Path};

use tributary_attest::{CertificateTable, Evidence, SnpReport, TdxCollateral, TdxQuote, Vek};

#[path = "../fuzz/targets.rs"]
mod targets;

/// Runs the target on each seed and on each with one byte changed or its end cut off.
fn replay(name: &str, target: fn(&[u8]), parses: fn(&[u8]) -> bool) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/seeds")
        .join(name);
    let seeds: Vec<Vec<u8>> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| fs::read(entry.unwrap().path()).unwrap())
        .collect();
    assert!(!seeds.is_empty());
    for seed in seeds {
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
    }
}

#[test]
fn seeds_of_reports() {
    replay("snp_report", targets::snp_report, |data| {
        SnpReport::parse(data).is_ok()
    });
}

#[test]
fn seeds_of_certificate_tables() {
    replay("certificate_table", targets::certificate_table, |data| {
        CertificateTable::parse(data).is_ok()
    });
}

#[test]
fn seeds_of_endorsement_keys() {
    replay("vek", targets::vek, |data| Vek::parse(data).is_ok());
}

#[test]
fn seeds_of_quotes() {
    replay("tdx_quote", targets::tdx_quote, |data| {
        TdxQuote::parse(data).is_ok()
    });
}

#[test]
fn seeds_of_collateral() {
    replay("tdx_collateral", targets::tdx_collateral, |data| {
        TdxCollateral::parse(data).is_ok()
    });
}

#[test]
fn seeds_of_evidence() {
    replay("evidence", targets::evidence, |data| {
        Evidence::from_bytes(data).is_ok()
    });
}

#[test]
fn seeds_of_files_of_the_collateral_folder() {
    // Nobody signed the lists and certificates, so what is asked of them is that they are read as far as that.
    replay("collateral_file", targets::collateral_file, |data| {
        let place = targets::PLACES[usize::from(data[0])];
        let error = tributary_attest::Collateral::empty().put(place, &data[1..]);
        error.err().is_none_or(|error| {
            let error = error.to_string();
            ["common name", "key must", "signer", "signature"]
                .iter()
                .any(|said| error.contains(said))
        })
    });
}
