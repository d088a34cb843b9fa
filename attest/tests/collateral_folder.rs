//! What a collateral folder may hold, and what is refused by name.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod hardware;

use std::{fs, path::Path};

use hardware::package;
use tempfile::TempDir;
use tributary_attest::Collateral;

/// A folder with one file in it, and its ancestors.
fn with(file: &str, content: &[u8]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), file, content);
    dir
}

fn put(folder: &Path, file: &str, content: &[u8]) {
    let path = folder.join(file);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

/// Refused, naming the file and the reason.
fn refused(file: &str, content: &[u8], reason: &str) {
    let dir = with(file, content);
    let error = Collateral::load(dir.path()).unwrap_err();
    assert!(error.path().starts_with(dir.path()), "{error}");
    let said = error.to_string();
    assert!(said.contains(reason), "{file}: {said}");
}

fn amd(product: &str, name: &str) -> Vec<u8> {
    let folder = package("sev").join("src/certs/snp/builtin");
    fs::read(folder.join(product).join(name)).unwrap()
}

fn vcek() -> Vec<u8> {
    fs::read(package("sev").join("tests/certs_data/vcek_milan.der")).unwrap()
}

#[test]
fn an_empty_folder_and_hidden_files_are_taken() {
    let dir = tempfile::tempdir().unwrap();
    let empty = Collateral::load(dir.path()).unwrap();
    assert_eq!(empty.to_string(), "an empty collateral folder");
    for file in [
        ".fetched",
        "sev-snp/.keep",
        "sev-snp/Milan/vcek/.keep",
        "tdx/.lock",
    ] {
        put(dir.path(), file, b"anything");
    }
    Collateral::load(dir.path()).unwrap();
}

#[test]
fn a_folder_that_is_not_there_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    assert!(Collateral::load(&dir.path().join("none")).is_err());
    let file = with("file", b"x");
    assert!(Collateral::load(&file.path().join("file")).is_err());
}

#[test]
fn what_the_layout_does_not_know_is_refused() {
    for file in [
        "readme",
        "sev-snp/milan/ark.der",
        "sev-snp/Milan-B0/ark.der",
        "sev-snp/Venice/ark.der",
        "sev-snp/Milan/ark.crt",
        "sev-snp/Milan/crl.der",
        "sev-snp/Milan/vcek/a.crt",
        "tdx/00806f050000.txt",
        "tdx/00806F050000.json",
        "tdx/00806f05.json",
        "simulated/list.txt",
    ] {
        refused(file, b"x", "expected");
        refused(file, b"x", "docs/collateral.md");
    }
}

#[test]
fn a_folder_in_place_of_a_file_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("sev-snp/Milan/ark.der")).unwrap();
    let error = Collateral::load(dir.path()).unwrap_err().to_string();
    assert!(error.contains("ark.der"), "{error}");
}

#[test]
fn malformed_and_oversize_files_are_refused() {
    refused("sev-snp/Milan/vcek/a.der", b"no certificate", "neither DER");
    refused(
        "sev-snp/Milan/vcek/a.der",
        &[0x30; 9000],
        "at most 8192 bytes",
    );
    refused(
        "sev-snp/Milan/vcek.crl",
        &[0x30; 300 * 1024],
        "at most 262144 bytes",
    );
    refused("sev-snp/Milan/vcek.crl", &[0x30], "malformed");
    refused("tdx/00806f050000.json", b"{}", "malformed TDX collateral");
    refused(
        "tdx/00806f050000.json",
        &[b' '; 200 * 1024],
        "at most 131072 bytes",
    );
}

#[test]
fn lists_of_simulated_roots_are_held_against_the_root_that_they_name() {
    let now = chrono::Utc::now();
    let list = |seed: u8| {
        let root = tributary_attest::SimulatedRoot::from_seed(&[seed; 32]);
        root.revoke([], now, now + chrono::TimeDelta::days(1))
            .unwrap()
    };
    let dir = with("simulated/a.crl", &list(1));
    put(dir.path(), "simulated/b.crl", &list(2));
    let two = Collateral::load(dir.path()).unwrap();
    assert!(two.to_string().contains("of 2 simulated roots"), "{two}");
    put(dir.path(), "simulated/c.crl", &list(1));
    let error = Collateral::load(dir.path()).unwrap_err().to_string();
    assert!(error.contains("a second list of the root"), "{error}");
    let mut changed = list(1);
    changed[20] ^= 1;
    refused("simulated/a.crl", &changed, "have the root's holder");
    refused("simulated/a.crl", &vec![0; 200 * 1024], "at most 131");
}

#[test]
fn a_file_is_put_where_it_would_lie_and_nowhere_else() {
    let mut collateral = Collateral::empty();
    collateral.put("sev-snp/Milan/vcek/a.der", &vcek()).unwrap();
    assert!(collateral.to_string().contains("1 SEV-SNP"), "{collateral}");
    for place in [
        "",
        "/",
        "sev-snp",
        "sev-snp/Milan",
        "sev-snp/Milan/vcek",
        "sev-snp/Milan/ark.der/a.der",
        "sev-snp/Venice/ark.der",
        "other/a",
    ] {
        let error = collateral.put(place, b"x").unwrap_err();
        assert!(error.to_string().contains("expected"), "{place}: {error}");
    }
    let large = collateral.put("sev-snp/Milan/ark.der", &[0x30; 9000]);
    assert!(large.unwrap_err().to_string().contains("at most 8192"));
}

#[test]
fn certificates_in_the_wrong_place_are_refused() {
    let file = "sev-snp/Milan/vcek/a.der";
    Collateral::load(with(file, &vcek()).path()).unwrap();
    refused("sev-snp/Milan/vlek/a.der", &vcek(), "a VLEK for Milan");
    refused("sev-snp/Genoa/vcek/a.der", &vcek(), "a VCEK for Genoa");
    refused(
        "sev-snp/Milan/ark.pem",
        &amd("genoa", "ark.pem"),
        "AMD's root for Milan",
    );
    refused(
        "sev-snp/Milan/ask.pem",
        &amd("milan", "ark.pem"),
        "SEV-Milan",
    );
    refused(
        "sev-snp/Milan/asvk.pem",
        &amd("milan", "ask.pem"),
        "SEV-VLEK-Milan",
    );
    let both = [amd("milan", "ask.pem"), amd("milan", "ark.pem")].concat();
    refused("sev-snp/Milan/ask.pem", &both, "must be 1, got 2");
    for product in ["milan", "genoa", "turin"] {
        let name = format!("{}{}", product[..1].to_uppercase(), &product[1..]);
        let dir = with(&format!("sev-snp/{name}/ask.pem"), &amd(product, "ask.pem"));
        put(
            dir.path(),
            &format!("sev-snp/{name}/ark.pem"),
            &amd(product, "ark.pem"),
        );
        Collateral::load(dir.path()).unwrap();
    }
}
