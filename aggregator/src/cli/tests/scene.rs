//! A folder with a simulated root, two providers' keys and offers, and the consumer's home.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};
use tempfile::TempDir;
use tributary_attest::{Measurement, SimulatedRoot};
use tributary_console::{Console, Exit, run_with};
use tributary_protocol::{
    Column, ColumnType, DatasetSchema, Digest, Identity, Manifest, ManifestParts, Offer,
    SignedContract,
};

use crate::cli::program;

/// What the contract's policy calls the aggregator's program.
pub(super) const AGGREGATOR_PROGRAM: &[u8] = b"the aggregator's program";
/// And the agents'.
pub(super) const AGENT_PROGRAM: &[u8] = b"the agent's program";

pub(super) struct Scene {
    folder: TempDir,
    pub(super) root: SimulatedRoot,
    pub(super) alice: Arc<Identity>,
    pub(super) bob: Arc<Identity>,
}

/// How a command ended.
#[derive(Debug)]
pub(super) struct Ran {
    pub(super) exit: Exit,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

impl Ran {
    /// The result of a command that was run with `--json`.
    pub(super) fn data(&self) -> Value {
        assert_eq!(self.exit, Exit::Done, "{}{}", self.stdout, self.stderr);
        let value: Value = serde_json::from_str(&self.stdout).unwrap();
        assert_eq!(value["status"], "ok");
        value["data"].clone()
    }

    /// The failure of a command that was run with `--json`, which must have this code.
    pub(super) fn error(&self, exit: Exit, code: &str) -> Value {
        let value: Value =
            serde_json::from_str(&self.stdout).unwrap_or_else(|_| panic!("{self:?}"));
        assert_eq!(value["error"]["code"], code, "{value:#}");
        assert_eq!(self.exit, exit, "{value:#}");
        assert!(!value["error"]["message"].as_str().unwrap().is_empty());
        value["error"].clone()
    }
}

impl Scene {
    /// Everything but the consumer's home.
    pub(super) fn bare() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = SimulatedRoot::generate().unwrap();
        let scene = Self {
            root,
            folder,
            alice: Arc::new(Identity::generate()),
            bob: Arc::new(Identity::generate()),
        };
        scene.root.save(&scene.path("federation")).unwrap();
        scene.put("pass", b"correct horse\n");
        scene.put("aggregator-program", AGGREGATOR_PROGRAM);
        scene.put("agent-program", AGENT_PROGRAM);
        scene.put(
            "alice.json",
            &offer("alice", &scene.alice, 400, 28).to_json(),
        );
        scene.put("bob.json", &offer("bob", &scene.bob, 600, 28).to_json());
        scene
    }

    /// With the consumer `tdc` and the built-in model.
    pub(super) fn new() -> Self {
        let scene = Self::bare();
        scene.ok("init --home HOME --party tdc --passphrase-file PASS --simulated ROOT");
        scene.ok("model new mnist-cnn --seed 1 --out DIR/mnist.onnx");
        scene
    }

    /// With a contract that all parties signed, as `contract.dsse`. Further flags may follow the usual ones.
    pub(super) fn with_contract(flags: &str) -> Self {
        let scene = Self::new();
        scene.ok(&format!("{NEW} {flags}"));
        scene.sign("contract.dsse");
        scene
    }

    /// Has both providers sign.
    pub(super) fn sign(&self, file: &str) {
        let mut signed = self.contract(file);
        signed.sign(&self.alice);
        signed.sign(&self.bob);
        self.put(file, &signed.envelope().to_json());
    }

    pub(super) fn contract(&self, file: &str) -> SignedContract {
        SignedContract::from_json(&std::fs::read(self.path(file)).unwrap()).unwrap()
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(super) fn put(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    pub(super) fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    /// Runs a command with `--json`. `DIR`, `HOME`, `PASS` and `ROOT` stand for the scene's folder, the consumer's home,
    /// the passphrase's file and the root's folder; `_` within a word for a space.
    pub(super) fn run(&self, line: &str) -> Ran {
        self.run_as(line, true)
    }

    /// The same without `--json`.
    pub(super) fn say(&self, line: &str) -> Ran {
        self.run_as(line, false)
    }

    /// The same for a command that must succeed.
    pub(super) fn ok(&self, line: &str) -> Value {
        self.run(line).data()
    }

    fn run_as(&self, line: &str, json: bool) -> Ran {
        let shown = |path: &Path| path.display().to_string();
        let words = line.split_whitespace().map(|word| {
            word.replace('_', " ")
                .replace("HOME", &shown(&self.path("tdc")))
                .replace("PASS", &shown(&self.path("pass")))
                .replace("ROOT", &shown(&self.path("federation")))
                .replace("DIR", &shown(self.folder.path()))
        });
        let (console, captured) = Console::captured(json);
        let mut arguments = vec!["aggregator".to_owned()];
        arguments.extend(json.then(|| "--json".to_owned()));
        arguments.extend(words);
        let exit = run_with(arguments, &console, program);
        Ran {
            exit,
            stdout: captured.stdout(),
            stderr: captured.stderr(),
        }
    }
}

/// The usual way to write a contract.
pub(super) const NEW: &str = "contract new --home HOME --passphrase-file PASS --recipe mnist --purpose Read_digits \
     --offer DIR/alice.json --offer DIR/bob.json --model DIR/mnist.onnx --epsilon 3 --out DIR/contract.dsse \
     --simulated-root ROOT/root.pub --aggregator-program DIR/aggregator-program --agent-program DIR/agent-program";

pub(super) fn measurement(program: &[u8]) -> Measurement {
    Measurement::of_bytes(program)
}

/// An offer of `rows` square images with labels.
pub(super) fn offer(owner: &str, identity: &Identity, rows: u64, side: u32) -> Offer {
    let part = json!({
        "number": 1, "file": "part-1.parquet", "sha256": Digest::of(owner.as_bytes()), "bytes": 4, "rows": rows,
        "key": {"vault_key": 1, "nonce": "00".repeat(12), "sealed": "00".repeat(48)},
    });
    let column = |name: &str, kind| Column {
        name: name.parse().unwrap(),
        kind,
    };
    let image = ColumnType::ImageU8 {
        height: side,
        width: side,
        channels: 1,
    };
    let manifest = Manifest::new(ManifestParts {
        dataset: "digits".parse().unwrap(),
        owner: owner.parse().unwrap(),
        id: serde_json::from_value("00".repeat(16).into()).unwrap(),
        version: serde_json::from_value(1.into()).unwrap(),
        previous: None,
        schema: DatasetSchema::new(vec![
            column("image", image),
            column("label", ColumnType::Label { classes: 10 }),
            column("note", ColumnType::Utf8 { max_bytes: 80 }),
        ])
        .unwrap(),
        parts: vec![serde_json::from_value(part).unwrap()],
        created: chrono::Utc::now(),
    })
    .unwrap();
    Offer::new(identity.public(), manifest.sign(identity)).unwrap()
}
