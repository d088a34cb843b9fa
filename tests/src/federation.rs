//! A federation of processes that belongs to one test.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use tributary_protocol::{Document, Identity, PartyFolder, SignedContract};

use crate::ledger::LedgerOnDisk;
use crate::process::{Ended, Process};
use crate::template::{Installation, PROVIDERS, clean_environment};

/// The consumer's name.
pub const CONSUMER: &str = "tdc";

/// No test takes longer: where something hangs, it fails and says what it waited for.
const TEST_TIME: Duration = Duration::from_secs(300);

/// A federation of one test: homes, vaults, and a contract that is signed by all and registered as number 1.
pub struct Federation<'a> {
    installation: &'a Installation,
    folder: TempDir,
    /// A loopback address that no other test uses, so that an agent that was killed finds its port free.
    host: String,
    deadline: Instant,
}

/// An agent that serves.
pub struct Serving {
    /// Its party.
    pub party: String,
    /// Where it listens; none where it only dials.
    pub address: Option<SocketAddr>,
    /// The process.
    pub process: Process,
}

/// A command in the making.
pub struct Line<'a> {
    federation: &'a Federation<'a>,
    program: PathBuf,
    words: Vec<String>,
    environment: Vec<(String, String)>,
    json: bool,
}

impl<'a> Federation<'a> {
    /// A copy of the founded federation.
    ///
    /// # Panics
    /// Where it cannot be copied.
    pub fn new(installation: &'a Installation) -> Self {
        static NEXT: AtomicU16 = AtomicU16::new(1);
        let folder = tempfile::tempdir().expect("a temporary folder");
        copy(&installation.template(), folder.path());
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let process = std::process::id();
        let host = format!(
            "127.{}.{}.{}",
            1 + process % 250,
            process / 250 % 250,
            number % 250 + 1
        );
        Self {
            installation,
            folder,
            host,
            deadline: Instant::now() + TEST_TIME,
        }
    }

    /// A path in the federation's folder.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A loopback address of this federation, with a port of the system's choice.
    pub fn any_port(&self) -> String {
        format!("{}:0", self.host)
    }

    /// The identity of a party.
    pub fn identity(&self, party: &str) -> Arc<Identity> {
        self.installation.identity(party)
    }

    /// The contract that is registered as number 1.
    pub fn contract(&self) -> &SignedContract {
        self.installation.contract()
    }

    /// A command, such as `agent contract show`. Relative paths are in the federation's folder.
    pub fn line(&'a self, words: &[&str]) -> Line<'a> {
        Line {
            federation: self,
            program: self.installation.bin().join(words[0]),
            words: words[1..].iter().map(|&word| word.to_owned()).collect(),
            environment: Vec::new(),
            json: true,
        }
    }

    /// A command for a party, with its folder and passphrase.
    pub fn unlocked(&'a self, party: &str, words: &[&str]) -> Line<'a> {
        self.line(words).home(party).passphrase(party)
    }

    /// `agent serve`, without the options that a caller adds.
    pub fn serve(&'a self, party: &str) -> Line<'a> {
        self.unlocked(party, &["agent", "serve"])
    }

    /// Starts an agent at a port of the system's choice; all but the first ask the first one's ledger.
    pub fn agent(&'a self, party: &str, keeper: Option<&Serving>) -> Serving {
        self.agent_at(party, &self.any_port(), keeper, |line| line)
    }

    /// Starts an agent at an address.
    pub fn agent_at(
        &'a self,
        party: &str,
        listen: &str,
        keeper: Option<&Serving>,
        change: impl FnOnce(Line<'a>) -> Line<'a>,
    ) -> Serving {
        let mut line = self.serve(party).words(&["--listen", listen]);
        if let Some(keeper) = keeper {
            line = line.words(&["--ledger", &keeper.named()]);
        }
        self.ready(party, change(line).start())
    }

    /// Waits until an agent says that it can be reached.
    pub fn ready(&self, party: &str, mut process: Process) -> Serving {
        let ready = process.wait_for(&["\"listening\""]);
        let ready: Value =
            serde_json::from_str(&ready).expect("what an agent says when it is ready");
        assert_eq!(ready["data"]["party"], party);
        let address = ready["data"]["listening"]
            .as_str()
            .map(|address| address.parse().expect("an address"));
        Serving {
            party: party.to_owned(),
            address,
            process,
        }
    }

    /// Starts every agent.
    pub fn agents(&'a self) -> Vec<Serving> {
        let mut agents: Vec<Serving> = Vec::new();
        for party in PROVIDERS {
            agents.push(self.agent(party, agents.first()));
        }
        agents
    }

    /// `aggregator train` of contract 1, in words rather than JSON, so that a test can wait for what it says.
    pub fn train(&'a self, agents: &[&Serving]) -> Line<'a> {
        self.train_at(&agents.iter().map(|agent| agent.named()).collect::<Vec<_>>())
    }

    /// The same with agents as `NAME=ADDR`.
    pub fn train_at(&'a self, agents: &[String]) -> Line<'a> {
        let mut line = self
            .unlocked(
                CONSUMER,
                &["aggregator", "train", "--contract", "1", "--threads", "1"],
            )
            .aloud();
        for agent in agents {
            line = line.words(&["--agent", agent]);
        }
        line
    }

    /// A file of a run's folder.
    pub fn run_file(&self, contract: u64, run: u32, name: &str) -> PathBuf {
        self.path(CONSUMER)
            .join("runs")
            .join(format!("{contract}-{run}"))
            .join(name)
    }

    /// `report.json` of a run.
    pub fn report(&self, contract: u64, run: u32) -> Value {
        let path = self.run_file(contract, run, "report.json");
        let bytes = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        serde_json::from_slice(&bytes).expect("report.json")
    }

    /// The ledger of the first agent, which must not run now.
    pub fn ledger(&self) -> LedgerOnDisk {
        let keeper = PROVIDERS[0];
        LedgerOnDisk::open(
            &self.path(keeper).join("ledger"),
            &keeper.parse().expect("a name"),
            self.identity(keeper),
        )
    }

    /// The contract with changes, signed by `signers`, as a file.
    pub fn contract_signed_by(
        &self,
        name: &str,
        signers: &[&str],
        change: impl FnOnce(&mut Document),
    ) -> PathBuf {
        let mut document = self.contract().contract().document().clone();
        change(&mut document);
        let mut signed = SignedContract::write(&document, &self.identity(signers[0]))
            .expect("a contract that makes sense");
        for signer in &signers[1..] {
            signed.sign(&self.identity(signer));
        }
        let path = self.path(name);
        fs::write(&path, signed.envelope().to_json()).expect("the contract's file");
        path
    }

    /// The contract with changes, signed by all and in the books of both agents, as if their officers had signed it in time.
    pub fn agreed(&self, name: &str, change: impl FnOnce(&mut Document)) -> PathBuf {
        let path = self.contract_signed_by(name, &[CONSUMER, PROVIDERS[0], PROVIDERS[1]], change);
        let bytes = fs::read(&path).expect("the contract's file");
        let signed = SignedContract::from_json(&bytes).expect("a contract");
        let digest = signed.contract().digest().to_string();
        let file = format!("{}.dsse", digest.trim_start_matches("sha256:"));
        for party in PROVIDERS {
            fs::write(self.path(party).join("contracts").join(&file), &bytes)
                .expect("a contract in a book");
        }
        path
    }

    /// Registers a contract with the agent that keeps the ledger, and gives its number.
    pub fn register(&'a self, contract: &Path, keeper: &Serving) -> u64 {
        self.try_register(contract, keeper).data()["number"]
            .as_u64()
            .expect("a number")
    }

    /// The same, where a refusal is expected.
    pub fn try_register(&'a self, contract: &Path, keeper: &Serving) -> Ended {
        let contract = contract.display().to_string();
        let ledger = keeper.address.expect("an agent that listens").to_string();
        self.unlocked(
            CONSUMER,
            &[
                "aggregator",
                "contract",
                "register",
                "--contract",
                &contract,
                "--ledger",
                &ledger,
            ],
        )
        .run()
    }

    /// What the party's folder says about it.
    pub fn party(&self, party: &str) -> PartyFolder {
        PartyFolder::open(&self.path(party)).expect("a party's folder")
    }
}

impl Serving {
    /// `NAME=ADDR`.
    ///
    /// # Panics
    /// Where it only dials.
    pub fn named(&self) -> String {
        format!(
            "{}={}",
            self.party,
            self.address.expect("an agent that listens")
        )
    }

    /// Its address, as it is given to `--listen`.
    ///
    /// # Panics
    /// Where it only dials.
    pub fn listen(&self) -> String {
        self.address.expect("an agent that listens").to_string()
    }
}

impl Line<'_> {
    /// Adds arguments.
    #[must_use]
    pub fn words(mut self, words: &[&str]) -> Self {
        self.words.extend(words.iter().map(|&word| word.to_owned()));
        self
    }

    /// Names a party's folder.
    #[must_use]
    pub fn home(self, party: &str) -> Self {
        self.words(&["--home", party])
    }

    /// Gives a party's passphrase.
    #[must_use]
    pub fn passphrase(self, party: &str) -> Self {
        let file = format!("passphrases/{party}");
        self.words(&["--passphrase-file", &file])
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Dies without a word at the `pass`-th pass of a failpoint.
    #[must_use]
    pub fn dies_at(self, point: &str, pass: u64) -> Self {
        self.environment("TRIBUTARY_PARTIES_DIES_AT", &format!("{point} {pass}"))
    }

    /// Finds the disk full from the `pass`-th write of a small file on.
    #[must_use]
    pub fn disk_full_from(self, pass: u64) -> Self {
        let before = pass.saturating_sub(1);
        let actions = if before == 0 {
            "durable::write=return(ENOSPC)".to_owned()
        } else {
            format!("durable::write={before}*off->return(ENOSPC)")
        };
        self.environment("FAILPOINTS", &actions)
    }

    /// Runs another program in place of the installed one.
    #[must_use]
    pub fn program(mut self, program: &Path) -> Self {
        self.program = program.to_owned();
        self
    }

    /// Speaks to people: no `--json`.
    #[must_use]
    pub fn aloud(mut self) -> Self {
        self.json = false;
        self
    }

    /// Starts it.
    pub fn start(self) -> Process {
        let mut command = Command::new(&self.program);
        clean_environment(&mut command);
        command
            .args(&self.words)
            .current_dir(self.federation.folder.path());
        if self.json {
            command.arg("--json");
        }
        command.envs(self.environment);
        let what = format!("{} {}", self.program.display(), self.words.join(" "));
        Process::start(command, what, self.federation.deadline)
    }

    /// Runs it to its end.
    pub fn run(self) -> Ended {
        self.start().end()
    }
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).expect("a folder to copy") {
        let entry = entry.expect("an entry of a folder");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a kind of file").is_dir() {
            fs::create_dir_all(&target).expect("a folder");
            fs::set_permissions(&target, entry.metadata().expect("metadata").permissions())
                .expect("permissions");
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), &target).expect("a copy");
        }
    }
}
