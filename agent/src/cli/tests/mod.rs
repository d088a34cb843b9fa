//! Every command in this process, on folders that go away afterwards.

mod budget;
mod contract;
mod dataset;
mod init;

use std::path::{Path, PathBuf};

use chrono::{TimeDelta, Utc};
use serde_json::{Value, json};
use tempfile::TempDir;
use tributary_attest::{Measurement, Policy, SimulatedRoot};
use tributary_console::{Console, Exit, run_with};
use tributary_idx::{IdxEncoding, write_idx_images, write_idx_labels};
use tributary_protocol::{Document, Identity, Offer, SealingKey, SignedContract};

/// What one command did.
#[derive(Debug)]
struct Outcome {
    exit: Exit,
    stdout: String,
    stderr: String,
}

/// A federation's folder: a simulated root, files of digits, the homes of providers.
struct Scene {
    folder: TempDir,
    consumer: Identity,
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = SimulatedRoot::generate().unwrap();
        root.save(&folder.path().join("federation")).unwrap();
        let scene = Self {
            folder,
            consumer: Identity::generate(),
        };
        for (name, secret) in [("right", "open sesame\n"), ("wrong", "open barley\n")] {
            let path = scene.path(name);
            std::fs::write(&path, secret).unwrap();
            let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
            std::fs::set_permissions(&path, private).unwrap();
        }
        scene.digits("train", 20, 20);
        scene
    }

    /// A scene in which alice has imported 20 records.
    fn with_alice() -> Self {
        let scene = Self::new();
        scene.init("alice").done();
        scene.import("alice", "digits", "train", &[]).done();
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// Writes files of images and labels, which need not agree.
    fn digits(&self, name: &str, images: usize, labels: usize) {
        let pixels = vec![7; images * 16];
        let classes: Vec<u8> = (0..labels).map(|label| (label % 10) as u8).collect();
        let path = |kind: &str| self.path(&format!("{name}-{kind}"));
        write_idx_images(&path("images"), 4, 4, &pixels, IdxEncoding::Plain).unwrap();
        write_idx_labels(&path("labels"), &classes, IdxEncoding::Plain).unwrap();
    }

    fn run(&self, words: &[&str]) -> Outcome {
        self.run_as(words, false)
    }

    fn json(&self, words: &[&str]) -> Value {
        let outcome = self.run_as(words, true);
        let value: Value = serde_json::from_str(&outcome.stdout).unwrap();
        assert_eq!(value["schema_version"], 1);
        value
    }

    fn run_as(&self, words: &[&str], json: bool) -> Outcome {
        let (console, captured) = Console::captured(json);
        let words = std::iter::once("agent").chain(words.iter().copied());
        let words = words.chain(json.then_some("--json"));
        let exit = run_with(words, &console, super::program);
        Outcome {
            exit,
            stdout: captured.stdout(),
            stderr: captured.stderr(),
        }
    }

    /// Runs a command in the home of a party, with its passphrase.
    fn of(&self, party: &str, words: &[&str]) -> Outcome {
        let (home, passphrase) = (self.text(party), self.text("right"));
        let keys = ["--home", &home, "--passphrase-file", &passphrase];
        self.run(&[words, &keys].concat())
    }

    fn json_of(&self, party: &str, words: &[&str]) -> Value {
        let (home, passphrase) = (self.text(party), self.text("right"));
        let keys = ["--home", &home, "--passphrase-file", &passphrase];
        self.json(&[words, &keys].concat())
    }

    fn init(&self, party: &str) -> Outcome {
        let root = self.text("federation");
        self.of(party, &["init", "--party", party, "--simulated", &root])
    }

    fn import(&self, party: &str, dataset: &str, files: &str, more: &[&str]) -> Outcome {
        let (images, labels) = (
            self.text(&format!("{files}-images")),
            self.text(&format!("{files}-labels")),
        );
        let words = [
            "dataset", "import", dataset, "--format", "idx", "--images", &images, "--labels",
            &labels,
        ];
        self.of(party, &[&words, more].concat())
    }

    fn offer(&self, party: &str) -> Offer {
        let file = self.text("offer");
        self.of(party, &["dataset", "offer", "digits", "--out", &file])
            .done();
        Offer::parse(&std::fs::read(file).unwrap()).unwrap()
    }

    /// What a consumer would write about alice's offer; tests change it before it is signed.
    fn document(&self) -> Value {
        let offer = self.offer("alice");
        let root = SimulatedRoot::load(&self.path("federation")).unwrap();
        let program = Measurement::of_current_exe().unwrap();
        let policy = Policy::simulated(root.public_key(), [program]);
        let now = Utc::now();
        json!({
            "version": 1,
            "purpose": "Reading digits.",
            "parties": [
                {"name": offer.party(), "role": "provider", "key": offer.key()},
                {"name": "tdc", "role": "consumer", "key": self.consumer.public()},
            ],
            "sealing_key": SealingKey { x25519: [1; 32], ml_kem_768: Box::new([2; 1184]) },
            "validity": {"not_before": now - TimeDelta::days(1), "not_after": now + TimeDelta::days(1)},
            "runs": 1,
            "datasets": [{
                "owner": offer.party(), "name": "digits", "manifest": offer.manifest_digest(),
                "records": offer.manifest().rows(), "columns": offer.manifest().schema(), "epsilon": 3.0,
            }],
            "pipeline": {
                "combine": "union",
                "input": {"column": "image", "divisor": 255.0, "mean": 0.5, "deviation": 0.5},
                "label": {"column": "label", "classes": 10},
                "model": {"onnx": tributary_protocol::Digest::of(b"onnx")},
                "loss": "cross-entropy",
                "optimiser": {"kind": "sgd", "learning_rate": 0.5, "momentum": 0.9},
                "steps": 100,
            },
            "privacy": {
                "unit": "record", "people": "disjoint", "sampling_rate": 0.02, "noise_multiplier": 1.1,
                "clipping_norm": 1.0, "delta": 1e-5, "accountant": "rdp",
            },
            "attestation": {"aggregator": policy, "agents": policy, "interval_seconds": 3600},
            "ledger": {"members": ["alice"]},
            "disclosure": {"progress": true, "metrics": "validation"},
        })
    }

    /// Signs a document for the consumer and writes it to `contract`.
    fn contract(&self, document: Value) -> SignedContract {
        let document: Document = serde_json::from_value(document).unwrap();
        let signed = SignedContract::write(&document, &self.consumer).unwrap();
        self.write_contract(&signed.envelope().to_json());
        signed
    }

    fn write_contract(&self, bytes: &[u8]) {
        std::fs::write(self.path("contract"), bytes).unwrap();
    }

    fn sign(&self, party: &str) -> Outcome {
        let contract = self.text("contract");
        self.of(party, &["contract", "sign", &contract])
    }

    /// The only part of alice's dataset.
    fn part(&self) -> PathBuf {
        let folder = self.path("alice/vault/digits");
        let is_part = |path: &PathBuf| path.extension().is_some_and(|kind| kind == "parquet");
        let mut parts = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(is_part);
        parts.next().unwrap()
    }
}

impl Outcome {
    fn done(self) -> Self {
        assert_eq!(self.exit, Exit::Done, "{}", self.stderr);
        self
    }

    /// Failed with this stable code, and said these words.
    fn refused(&self, code: &str, words: &[&str]) {
        let line = format!("code: {code} (exit {})", self.exit.code());
        assert!(self.stderr.contains(&line), "{}", self.stderr);
        assert_ne!(self.exit, Exit::Done);
        assert_eq!(self.stdout, "");
        for word in words {
            assert!(self.stderr.contains(word), "{word:?} in {}", self.stderr);
        }
    }
}

fn flip(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn every_command_has_help_with_an_example() {
    let scene = Scene::new();
    for words in [
        &["init"][..],
        &["dataset", "import"],
        &["dataset", "list"],
        &["dataset", "show"],
        &["dataset", "verify"],
        &["dataset", "offer"],
        &["contract", "show"],
        &["contract", "sign"],
        &["contract", "refuse"],
        &["contract", "list"],
        &["budget"],
        &["budget", "set"],
    ] {
        let outcome = scene.run(&[words, &["--help"]].concat()).done();
        let example = format!("  agent {}", words.join(" "));
        assert!(
            outcome.stdout.contains(&example),
            "{words:?}: {}",
            outcome.stdout
        );
    }
}
