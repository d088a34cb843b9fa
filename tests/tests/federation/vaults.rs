//! Data that is not, or no longer, what the contract names.

use std::fs;
use std::path::{Path, PathBuf};

use tributary_tests::{Federation, PROVIDERS};

use crate::{federation, restarted, stop, trained};

/// The encrypted parts of a party's only dataset.
fn parts(federation: &Federation<'_>, party: &str) -> Vec<PathBuf> {
    fn find(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                find(&path, found);
            } else if path
                .extension()
                .is_some_and(|extension| extension == "parquet")
            {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    find(&federation.path(party).join("vault"), &mut found);
    assert!(!found.is_empty(), "a vault has parts");
    found
}

/// Does something to a vault while its agent is down; then the agent does not join a run, and says which dataset it is.
fn check(code: &str, tamper: impl FnOnce(&Federation<'_>)) {
    let federation = federation();
    tamper(&federation);
    let verified = federation
        .unlocked(PROVIDERS[1], &["agent", "dataset", "verify", "digits"])
        .run();
    verified.refused(1, code, &["digits"]);
    let agents = federation.agents();
    let refused = federation.train(&[&agents[0], &agents[1]]).run();
    refused.refused(
        11,
        "contract-refused",
        &[PROVIDERS[1], "digits", "agent dataset verify"],
    );
    stop(agents);
    let ledger = federation.ledger();
    assert!(
        ledger
            .contract(1)
            .leased
            .iter()
            .all(|spent| spent.steps == 0),
        "nothing was leased"
    );
}

#[test]
fn a_part_with_a_flipped_byte_is_not_served() {
    check("vault-altered", |federation| {
        let part = &parts(federation, PROVIDERS[1])[0];
        let mut bytes = fs::read(part).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(part, bytes).unwrap();
    });
}

#[test]
fn a_part_that_is_missing_is_noticed() {
    check("vault-incomplete", |federation| {
        fs::remove_file(&parts(federation, PROVIDERS[1])[0]).unwrap()
    });
}

#[test]
fn a_truncated_part_is_not_served() {
    check("vault-altered", |federation| {
        let part = &parts(federation, PROVIDERS[1])[0];
        let bytes = fs::read(part).unwrap();
        fs::write(part, &bytes[..bytes.len() - 100]).unwrap();
    });
}

#[test]
fn a_dataset_that_grew_is_served_as_the_contract_names_it() {
    let federation = federation();
    let import = [
        "agent", "dataset", "import", "digits", "--append", "--format", "idx",
    ];
    let data = [
        "--images",
        "data/validation-images.idx",
        "--labels",
        "data/validation-labels.idx",
    ];
    let grown = federation
        .unlocked(PROVIDERS[1], &import)
        .words(&data)
        .run()
        .data();
    assert_eq!(
        (&grown["version"], &grown["records"]),
        (&2.into(), &400.into())
    );
    let agents = federation.agents();
    trained(federation.train(&[&agents[0], &agents[1]]).start());
    stop(agents);
    let receipt = federation
        .run_file(1, 1, "receipt.dsse")
        .display()
        .to_string();
    let verify = federation.line(&[
        "aggregator",
        "receipt",
        "verify",
        &receipt,
        "--contract",
        "contract.dsse",
    ]);
    let verified = verify.run().data();
    assert_ne!(
        verified["datasets"][1]["manifest"], grown["manifest"],
        "the records that were added are not in it"
    );
}

#[test]
fn a_vault_that_was_altered_while_its_agent_was_down_stops_a_run_until_it_is_restored() {
    let federation = federation();
    let part = parts(&federation, PROVIDERS[1]).remove(0);
    let whole = fs::read(&part).unwrap();
    let keeper = federation.agent(PROVIDERS[0], None);
    let any = federation.any_port();
    let dying = federation.agent_at(PROVIDERS[1], &any, Some(&keeper), |line| {
        line.dies_at("durable::rename", 11)
    });
    let mut training = federation.train(&[&keeper, &dying]).start();
    let address = dying.listen();
    dying.process.end().killed();
    training.wait_for(&["waiting for agent", PROVIDERS[1]]);
    let mut altered = whole.clone();
    let middle = altered.len() / 2;
    altered[middle] ^= 1;
    fs::write(&part, altered).unwrap();
    let back = restarted(&federation, PROVIDERS[1], &address, Some(&keeper));
    training
        .end()
        .refused(11, "contract-refused", &[PROVIDERS[1], "digits"]);
    back.process.stop().well();

    fs::write(&part, whole).unwrap();
    let back = restarted(&federation, PROVIDERS[1], &address, Some(&keeper));
    federation
        .train(&[&keeper, &back])
        .words(&["--resume"])
        .run()
        .well();
    stop(vec![keeper, back]);
}
