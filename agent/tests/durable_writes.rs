//! A disk that fails at any durable write leaves the old state or the new one, whole, and never less spent than served.
//!
//! In a binary of its own: a failpoint is armed for the whole process.
#![cfg(feature = "failpoints")]
#![allow(clippy::unwrap_used)]

use std::io;
use std::path::Path;
use std::sync::Arc;

use arrow_array::{ArrayRef, FixedSizeBinaryArray, RecordBatch};
use chrono::{DateTime, TimeDelta, Utc};
use fail::FailScenario;
use serde_json::json;
use tributary_agent::{
    Dataset, LeaseRequest, Meter, MeterError, Owner, StateKey, Vault, VaultError,
};
use tributary_protocol::{
    Column, ColumnType, Contract, DatasetName, DatasetRef, DatasetSchema, Digest, Identity,
    Passphrase, RunNumber, SealingKey, arrow_schema,
};

const NOW: DateTime<Utc> = DateTime::UNIX_EPOCH;

/// The points that a change of a vault or meter passes.
const POINTS: [&str; 5] = [
    "vault::part-write",
    "vault::part-sync",
    "durable::write",
    "durable::sync",
    "durable::rename",
];

struct Bench {
    folder: tempfile::TempDir,
    identity: Identity,
    vault: Vault,
}

fn passphrase() -> Passphrase {
    Passphrase::new("correct horse").unwrap()
}

fn digits() -> DatasetName {
    "digits".parse().unwrap()
}

fn schema() -> DatasetSchema {
    let column = Column {
        name: "pixels".parse().unwrap(),
        kind: ColumnType::U8Bytes { len: 784 },
    };
    DatasetSchema::new(vec![column]).unwrap()
}

/// Enough to be written in several chunks.
fn records() -> [Result<RecordBatch, io::Error>; 1] {
    let images = (0..4000_u32).map(|i| [(i % 251) as u8; 784]);
    let images: ArrayRef = Arc::new(FixedSizeBinaryArray::try_from_iter(images).unwrap());
    [Ok(RecordBatch::try_new(
        arrow_schema(&schema()),
        vec![images],
    )
    .unwrap())]
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let identity = Identity::generate();
        let owner = Owner {
            name: "hospital-1".parse().unwrap(),
            key: identity.public(),
        };
        let location = folder.path().join("vault").display().to_string();
        let vault = Vault::create(&location, &passphrase(), owner).unwrap();
        Self {
            folder,
            identity,
            vault,
        }
    }

    fn import(&self) -> Result<Dataset, VaultError> {
        self.vault
            .import(&self.identity, &digits(), &schema(), records(), NOW)
    }

    fn append(&self) -> Result<Dataset, VaultError> {
        self.vault.append(&self.identity, &digits(), records(), NOW)
    }

    /// The state as another process finds it, which must be sound.
    fn state(&self) -> Vec<Dataset> {
        let vault = Vault::open(
            &self.vault.location(),
            &passphrase(),
            self.vault.owner().clone(),
        )
        .unwrap();
        let datasets = vault.list().unwrap();
        for dataset in &datasets {
            let found = vault.verify(dataset.manifest.dataset()).unwrap();
            assert!(found.is_sound(), "{:?}", found.findings);
        }
        datasets
    }
}

/// Fails the pass after `passes` of a point, once, while `act` runs.
fn failing<T>(point: &str, passes: usize, act: impl FnOnce() -> T) -> T {
    fail::cfg(point, &format!("{passes}*off->1*return(ENOSPC)->off")).unwrap();
    let outcome = act();
    fail::remove(point);
    outcome
}

fn is_full_disk(error: &VaultError) -> bool {
    matches!(error, VaultError::Storage { source, .. } if source.kind() == io::ErrorKind::StorageFull)
}

#[test]
fn a_full_disk_while_importing_leaves_no_dataset_or_all_of_it() {
    let _scenario = FailScenario::setup();
    for point in POINTS {
        for passes in 0..4 {
            let bench = Bench::new();
            match failing(point, passes, || bench.import()) {
                Ok(dataset) => assert_eq!(bench.state(), [dataset], "{point} {passes}"),
                Err(error) => {
                    assert!(is_full_disk(&error), "{point} {passes}: {error}");
                    assert!(bench.state().is_empty(), "{point} {passes}");
                    let again = bench.import().unwrap();
                    assert_eq!(bench.state(), [again]);
                }
            }
        }
    }
}

#[test]
fn a_full_disk_while_appending_leaves_the_old_version_or_the_new_one() {
    let _scenario = FailScenario::setup();
    let bench = Bench::new();
    let mut before = bench.import().unwrap();
    let mut refused = 0;
    for point in POINTS {
        for passes in 0..3 {
            match failing(point, passes, || bench.append()) {
                Ok(dataset) => before = dataset,
                Err(error) => {
                    assert!(is_full_disk(&error), "{point} {passes}: {error}");
                    refused += 1;
                }
            }
            assert_eq!(bench.state(), [before.clone()], "{point} {passes}");
        }
    }
    assert!(
        refused >= POINTS.len(),
        "every point fails at its first pass"
    );
    let parts = std::fs::read_dir(bench.folder.path().join("vault/digits"))
        .unwrap()
        .filter(|entry| {
            let name = entry.as_ref().unwrap().file_name();
            name.to_string_lossy().starts_with("part-")
        })
        .count();
    assert_eq!(parts, before.manifest.parts().len());
}

#[test]
fn a_rotation_that_a_full_disk_stops_is_completed_by_the_next() {
    let _scenario = FailScenario::setup();
    let point = "durable::write";
    for passes in 0..5 {
        let mut bench = Bench::new();
        let dataset = bench.import().unwrap();
        let (vault, identity) = (&mut bench.vault, &bench.identity);
        let stopped = failing(point, passes, || vault.rotate(identity, &passphrase(), NOW));
        if let Err(error) = stopped {
            assert!(is_full_disk(&error), "{passes}: {error}");
            assert_eq!(bench.state().len(), 1);
            bench
                .vault
                .rotate(&bench.identity, &passphrase(), NOW)
                .unwrap();
        }
        let [after] = &bench.state()[..] else {
            panic!("one dataset")
        };
        let key = |dataset: &Dataset| dataset.manifest.parts()[0].key.vault_key;
        assert!(key(after) > key(&dataset));
    }
}

fn contract() -> Contract {
    let policy = tributary_attest::Policy::simulated(
        tributary_attest::SimulatedRoot::generate()
            .unwrap()
            .public_key(),
        [tributary_attest::Measurement::of_bytes(b"program")],
    );
    let now = Utc::now();
    let document = json!({
        "version": 1,
        "purpose": "Digits.",
        "parties": [
            {"name": "alice", "role": "provider", "key": Identity::generate().public()},
            {"name": "tdc", "role": "consumer", "key": Identity::generate().public()},
        ],
        "sealing_key": SealingKey { x25519: [1; 32], ml_kem_768: Box::new([2; 1184]) },
        "validity": {"not_before": now - TimeDelta::days(1), "not_after": now + TimeDelta::days(1)},
        "runs": 2,
        "datasets": [{
            "owner": "alice", "name": "digits", "manifest": Digest::of(b"a"), "records": 15000, "epsilon": 3.0,
            "columns": [
                {"name": "image", "type": {"image-u8": {"height": 28, "width": 28, "channels": 1}}},
                {"name": "label", "type": {"label": {"classes": 10}}}
            ],
        }],
        "pipeline": {
            "combine": "union",
            "input": {"column": "image", "divisor": 255.0, "mean": 0.5, "deviation": 0.5},
            "label": {"column": "label", "classes": 10},
            "model": {"onnx": Digest::of(b"onnx")},
            "loss": "cross-entropy",
            "optimiser": {"kind": "sgd", "learning_rate": 0.5, "momentum": 0.9},
            "steps": 500,
        },
        "privacy": {
            "unit": "record", "people": "disjoint", "sampling_rate": 0.02, "noise_multiplier": 1.1,
            "clipping_norm": 1.0, "delta": 1e-5, "accountant": "rdp",
        },
        "attestation": {"aggregator": policy, "agents": policy, "interval_seconds": 3600},
        "ledger": {"members": ["alice"]},
        "disclosure": {"progress": true, "metrics": "validation"},
    });
    Contract::parse(document.to_string().as_bytes()).unwrap()
}

/// Reserves until nothing is left, with the disk failing at a point every second time; the steps that were granted.
fn spend(folder: &Path, point: &str, contract: &Contract) -> u64 {
    let key = || StateKey::from_bytes([7; 32]);
    Meter::create(folder, key()).unwrap();
    let mut granted = 0;
    let mut next = 0;
    for attempt in 0.. {
        // A process that failed is started anew.
        let meter = Meter::open(folder, key()).unwrap();
        let request = LeaseRequest {
            contract: contract.clone(),
            dataset: DatasetRef {
                owner: "alice".parse().unwrap(),
                name: digits(),
            },
            run: RunNumber::FIRST,
            first_step: next,
            count: 64,
        };
        let outcome = if attempt % 2 == 0 {
            failing(point, 0, || meter.reserve(&request))
        } else {
            meter.reserve(&request)
        };
        match outcome {
            Ok(steps) => {
                granted += steps;
                next += steps;
            }
            Err(error) if error.is_budget() => break,
            Err(MeterError::Storage(error)) => {
                assert_eq!(error.kind(), io::ErrorKind::StorageFull);
            }
            Err(error) => panic!("{error}"),
        }
    }
    granted
}

#[test]
fn a_full_disk_never_lets_the_meter_grant_more() {
    let _scenario = FailScenario::setup();
    let contract = contract();
    let undisturbed = {
        let folder = tempfile::tempdir().unwrap();
        spend(&folder.path().join("meter"), "none", &contract)
    };
    assert!(undisturbed > 64);
    for point in ["durable::write", "durable::sync", "durable::rename"] {
        let folder = tempfile::tempdir().unwrap();
        let granted = spend(&folder.path().join("meter"), point, &contract);
        assert_eq!(granted, undisturbed, "{point}");
    }
}
