//! The federation that is founded once for all tests of a process, by the commands that people use, and copied for each.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tributary_idx::{IdxEncoding, write_idx_images, write_idx_labels};
use tributary_protocol::{Identity, PartyFolder, Passphrase, SignedContract};
use tributary_simulations::{Digits, SIDE};

use crate::federation::CONSUMER;
use crate::process::{Ended, Process};

/// The providers, the ledger's keeper first.
pub const PROVIDERS: [&str; 2] = ["tdp-1", "tdp-2"];

/// Steps of a run under the template's contract: a lease each, and a checkpoint each.
pub const STEPS: u64 = 24;

/// Founding it takes some twenty commands, while other tests may compile or run beside it.
const FOUNDING_TIME: Duration = Duration::from_secs(600);

const IMAGES_OF_A_PROVIDER: usize = 300;
const VALIDATION_IMAGES: usize = 100;

/// The programs under the names that people call them by, and a founded federation.
pub struct Installation {
    folder: PathBuf,
    identities: Vec<(&'static str, Arc<Identity>)>,
    contract: SignedContract,
}

impl Installation {
    /// Founds a federation under `scratch`, with `parties` as all its programs.
    ///
    /// # Panics
    /// Where a command fails.
    pub fn found(parties: &Path, scratch: &Path) -> Self {
        remove_those_of_ended_processes(scratch);
        let folder = scratch.join(format!("{FOLDER}{}", std::process::id()));
        fs::create_dir_all(folder.join("bin")).expect("a folder for tests");
        for program in ["agent", "aggregator", "attest", "simulations"] {
            symlink(parties, folder.join("bin").join(program)).expect("a link to the programs");
        }
        let founding = Founding {
            folder: folder.clone(),
            deadline: Instant::now() + FOUNDING_TIME,
        };
        founding.make();
        let home = |party: &str| folder.join("template").join(party);
        let passphrase =
            |party: &str| Passphrase::read(&folder.join("template/passphrases").join(party));
        let identities = PROVIDERS
            .into_iter()
            .chain([CONSUMER])
            .map(|party| {
                let opened = PartyFolder::open(&home(party)).expect("a party's folder");
                let identity = opened
                    .identity(&passphrase(party).expect("a passphrase"))
                    .expect("a private key");
                (party, Arc::new(identity))
            })
            .collect();
        let contract = fs::read(folder.join("template/contract.dsse")).expect("the contract");
        let contract = SignedContract::from_json(&contract).expect("a contract");
        Self {
            folder,
            identities,
            contract,
        }
    }

    pub(crate) fn bin(&self) -> PathBuf {
        self.folder.join("bin")
    }

    pub(crate) fn template(&self) -> PathBuf {
        self.folder.join("template")
    }

    pub(crate) fn identity(&self, party: &str) -> Arc<Identity> {
        let found = self.identities.iter().find(|(name, _)| *name == party);
        Arc::clone(&found.expect("a party of the federation").1)
    }

    pub(crate) fn contract(&self) -> &SignedContract {
        &self.contract
    }
}

const FOLDER: &str = "federation-";

/// Nobody drops a static, so what earlier runs left is removed here.
fn remove_those_of_ended_processes(scratch: &Path) {
    for entry in fs::read_dir(scratch).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| name.strip_prefix(FOLDER));
        if process.is_some_and(|process| !Path::new("/proc").join(process).exists()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

struct Founding {
    folder: PathBuf,
    deadline: Instant,
}

impl Founding {
    fn make(&self) {
        for folder in ["template/passphrases", "template/data"] {
            fs::create_dir_all(self.folder.join(folder)).expect("a folder for tests");
        }
        self.command(&["attest", "simulated", "new-root", "--out", "simulated-root"])
            .well();
        self.command(&["attest", "simulated", "new-root", "--out", "other-root"])
            .well();
        self.init("aggregator", CONSUMER);
        let mut offers = Vec::new();
        for (index, party) in PROVIDERS.into_iter().enumerate() {
            self.init("agent", party);
            let (images, labels) =
                self.digits(party, IMAGES_OF_A_PROVIDER, index * IMAGES_OF_A_PROVIDER);
            let import = [
                "agent", "dataset", "import", "digits", "--format", "idx", "--images", &images,
                "--labels", &labels,
            ];
            self.unlocked(&import, party);
            let offer = format!("{party}.offer.json");
            self.unlocked(
                &["agent", "dataset", "offer", "digits", "--out", &offer],
                party,
            );
            offers.push(offer);
        }
        self.digits(
            "validation",
            VALIDATION_IMAGES,
            PROVIDERS.len() * IMAGES_OF_A_PROVIDER,
        );
        let model = [
            "aggregator",
            "model",
            "new",
            "mnist-cnn",
            "--seed",
            "1",
            "--out",
            "initial.onnx",
        ];
        self.command(&model).data();
        self.write_contract(&offers);
        for party in PROVIDERS {
            self.unlocked(&["agent", "contract", "sign", "contract.dsse"], party);
        }
        self.register();
    }

    fn init(&self, program: &str, party: &str) {
        let file = self.folder.join("template/passphrases").join(party);
        fs::write(&file, format!("passphrase of {party}\n")).expect("a passphrase");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("its owner alone");
        let init = [
            program,
            "init",
            "--party",
            party,
            "--simulated",
            "simulated-root",
        ];
        self.unlocked(&init, party);
    }

    fn write_contract(&self, offers: &[String]) {
        let steps = STEPS.to_string();
        let program = self.folder.join("bin/agent").display().to_string();
        let mut new = vec![
            "aggregator",
            "contract",
            "new",
            "--recipe",
            "mnist",
            "--model",
            "initial.onnx",
        ];
        new.extend([
            "--purpose",
            "Reading drawn digits",
            "--epsilon",
            "20",
            "--sampling-rate",
            "0.05",
        ]);
        new.extend([
            "--steps",
            &steps,
            "--simulated-root",
            "simulated-root/root.pub",
        ]);
        new.extend([
            "--aggregator-program",
            &program,
            "--agent-program",
            &program,
            "--out",
            "contract.dsse",
        ]);
        for offer in offers {
            new.extend(["--offer", offer]);
        }
        self.unlocked(&new, CONSUMER);
    }

    fn register(&self) {
        let keeper = PROVIDERS[0];
        let mut serving =
            self.start(&self.with_keys(&["agent", "serve", "--listen", "127.0.0.1:0"], keeper));
        let ready: Value = serde_json::from_str(&serving.wait_for(&["listening"]))
            .expect("what an agent says when it is ready");
        let address = ready["data"]["listening"]
            .as_str()
            .expect("an address")
            .to_owned();
        let register = [
            "aggregator",
            "contract",
            "register",
            "--contract",
            "contract.dsse",
            "--ledger",
            &address,
        ];
        assert_eq!(self.unlocked(&register, CONSUMER)["number"], 1);
        serving.stop();
    }

    /// Draws a set and gives the names of its two files.
    fn digits(&self, name: &str, count: usize, first: usize) -> (String, String) {
        let digits = Digits::draw(7, count, first as u64);
        let (images, labels) = (
            format!("data/{name}-images.idx"),
            format!("data/{name}-labels.idx"),
        );
        let side = SIDE as u32;
        let template = self.folder.join("template");
        write_idx_images(
            &template.join(&images),
            side,
            side,
            &digits.images,
            IdxEncoding::Plain,
        )
        .expect("images");
        write_idx_labels(&template.join(&labels), &digits.labels, IdxEncoding::Plain)
            .expect("labels");
        (images, labels)
    }

    fn unlocked(&self, words: &[&str], party: &str) -> Value {
        self.command(&self.with_keys(words, party)).data()
    }

    fn with_keys<'a>(&self, words: &[&'a str], party: &'a str) -> Vec<String> {
        let mut words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
        words.extend(["--home".to_owned(), party.to_owned()]);
        words.extend([
            "--passphrase-file".to_owned(),
            format!("passphrases/{party}"),
        ]);
        words
    }

    fn command(&self, words: &[impl AsRef<str>]) -> Ended {
        self.start(words).end()
    }

    fn start(&self, words: &[impl AsRef<str>]) -> Process {
        let words: Vec<&str> = words.iter().map(AsRef::as_ref).collect();
        let mut command = Command::new(self.folder.join("bin").join(words[0]));
        command
            .args(&words[1..])
            .arg("--json")
            .current_dir(self.folder.join("template"));
        clean_environment(&mut command);
        Process::start(command, words.join(" "), self.deadline)
    }
}

/// Settings of whoever runs the tests are not meant for the parties.
pub(crate) fn clean_environment(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name
            .to_str()
            .is_some_and(|name| name.starts_with("TRIBUTARY_"))
        {
            command.env_remove(&name);
        }
    }
}
