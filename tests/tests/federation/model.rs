//! Sealed models and receipts that were altered, and keys that do not open them.

use std::fs;
use std::path::Path;

use serde_json::Value;
use tributary_tests::{CONSUMER, Federation};

use crate::{federation, stop, trained};

const UNSEAL: [&str; 8] = [
    "aggregator",
    "unseal",
    "--contract",
    "1",
    "--run",
    "1",
    "--out",
    "model",
];

fn with_model(federation: &Federation<'_>) {
    let agents = federation.agents();
    trained(federation.train(&[&agents[0], &agents[1]]).start());
    stop(agents);
}

fn alter(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_model_that_was_altered_truncated_or_extended_does_not_open_and_writes_nothing() {
    let federation = federation();
    with_model(&federation);
    let path = federation.run_file(1, 1, "model.sealed");
    let whole = fs::read(&path).unwrap();
    let check = |change: fn(&mut Vec<u8>)| {
        alter(&path, change);
        federation
            .unlocked(CONSUMER, &UNSEAL)
            .run()
            .refused(1, "sealed-altered", &["aggregator"]);
        assert!(
            !federation.path("model").exists(),
            "nothing of a model is written that is not whole"
        );
        fs::write(&path, &whole).unwrap();
    };
    check(|bytes| {
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
    });
    check(|bytes| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x80;
    });
    check(|bytes| bytes.truncate(bytes.len() - 1));
    check(|bytes| bytes.truncate(bytes.len() / 2));
    check(|bytes| bytes.push(0));
    check(|bytes| bytes.truncate(3));
    check(Vec::clear);
    federation.unlocked(CONSUMER, &UNSEAL).run().data();
}

#[test]
fn a_wrong_passphrase_opens_nothing() {
    let federation = federation();
    with_model(&federation);
    fs::write(federation.path("passphrases/wrong"), "not the passphrase\n").unwrap();
    let wrong = |words: &[&str], home: &str| {
        federation
            .line(words)
            .home(home)
            .passphrase("wrong")
            .run()
            .refused(1, "passphrase-wrong", &["passphrase"]);
    };
    wrong(&UNSEAL, CONSUMER);
    assert!(!federation.path("model").exists());
    wrong(
        &["agent", "serve", "--listen", &federation.any_port()],
        "tdp-1",
    );
    wrong(&["agent", "dataset", "list"], "tdp-1");
    wrong(&["agent", "contract", "sign", "contract.dsse"], "tdp-1");
    wrong(
        &["aggregator", "train", "--contract", "1", "--wait", "1"],
        CONSUMER,
    );
}

#[test]
fn another_homes_key_does_not_open_a_model() {
    let federation = federation();
    with_model(&federation);
    fs::write(federation.path("passphrases/other"), "passphrase\n").unwrap();
    federation
        .unlocked("other", &["aggregator", "init", "--party", "other"])
        .run()
        .data();
    let sealed = federation
        .run_file(1, 1, "model.sealed")
        .display()
        .to_string();
    let unseal = [
        "aggregator",
        "unseal",
        &sealed,
        "--contract",
        "contract.dsse",
        "--out",
        "model",
    ];
    federation
        .unlocked("other", &unseal)
        .run()
        .refused(1, "sealed-wrong-key", &["key"]);
    assert!(!federation.path("model").exists());
}

#[test]
fn a_receipt_that_was_altered_holds_nothing() {
    let federation = federation();
    with_model(&federation);
    let path = federation.run_file(1, 1, "receipt.dsse");
    let whole = fs::read(&path).unwrap();
    let receipt = path.display().to_string();
    let verify = || {
        federation
            .line(&[
                "aggregator",
                "receipt",
                "verify",
                &receipt,
                "--contract",
                "contract.dsse",
            ])
            .run()
    };
    verify().data();

    let original: Value = serde_json::from_slice(&whole).unwrap();
    let replaced = |field: &str, from: char, to: char| {
        let mut json = original.clone();
        let text = json[field].as_str().unwrap();
        let position = text
            .char_indices()
            .filter(|(_, c)| *c == from)
            .nth(100)
            .unwrap()
            .0;
        let mut text = text.to_owned();
        text.replace_range(position..=position, &to.to_string());
        json[field] = text.into();
        serde_json::to_vec(&json).unwrap()
    };
    for (from, to) in [('a', 'b'), ('M', 'N'), ('Z', 'Y')] {
        fs::write(&path, replaced("payload", from, to)).unwrap();
        let refused = verify();
        assert_ne!(refused.code, Some(0));
        refused.refused(1, "receipt-refused", &[]);
    }
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    verify().refused(1, "receipt-refused", &["receipt"]);
    federation
        .unlocked(CONSUMER, &UNSEAL)
        .run()
        .refused(1, "receipt-refused", &[]);
    assert!(!federation.path("model").exists());
}

#[test]
fn a_receipt_of_another_contract_is_told_from_it() {
    let federation = federation();
    with_model(&federation);
    federation.contract_signed_by("other.dsse", &["tdc", "tdp-1", "tdp-2"], |document| {
        document.runs = 2
    });
    let receipt = federation
        .run_file(1, 1, "receipt.dsse")
        .display()
        .to_string();
    let verify = [
        "aggregator",
        "receipt",
        "verify",
        &receipt,
        "--contract",
        "other.dsse",
    ];
    federation
        .line(&verify)
        .run()
        .refused(1, "receipt-refused", &["contract"]);
}
