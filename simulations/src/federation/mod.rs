//! A whole federation on one machine: every party a process of its own, with its own folder, keys and data.
//!
//! The parties do what people would do by hand: each step is a command of `agent` or `aggregator`, run by this very
//! program, which starts itself as either party (see [`party`]). Nothing goes from one party to another but files that the
//! walk-through passes on, too, and what they say to each other over attested channels on loopback.

mod agents;
mod data;
mod outcome;
mod party;
mod process;

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Instant;

use serde_json::Value;
use tributary_attest::SimulatedRoot;
use tributary_console::{Console, ErrorCode, Failure, FailureContext as _, peak_rss};
use tributary_durable::create_private_folder;
use tributary_trainer::read_onnx;

pub use data::{Data, DataSource};
pub use outcome::Outcome;
pub use party::{Party, act_as_party};

use agents::{Agents, RESTARTS};
use process::{Ended, command};

/// What to simulate.
#[derive(Debug, Clone)]
pub struct Plan {
    /// How many agents.
    pub agents: usize,
    /// Where the digits come from.
    pub data: DataSource,
    /// The most epsilon that each dataset may spend.
    pub epsilon: f64,
    /// The probability that epsilon does not bound.
    pub delta: f64,
    /// Fixes drawn data and initial weights; never sampling or noise.
    pub seed: u64,
    /// Steps; the recipe's where left out.
    pub steps: Option<u64>,
    /// What is trained.
    pub network: NetworkSource,
    /// How: a recipe's name, or its file.
    pub recipe: String,
    /// Where everything is kept.
    pub out: PathBuf,
}

/// Where the network comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NetworkSource {
    /// `aggregator model new` writes the one of this name.
    BuiltIn(String),
    /// An ONNX file.
    File(PathBuf),
}

/// Networks that come with the project and take images of 28x28.
pub const NETWORKS: [&str; 3] = ["mnist-cnn", "mnist-cnn-relu", "mnist-scatter"];

impl FromStr for NetworkSource {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if NETWORKS.contains(&text) {
            return Ok(Self::BuiltIn(text.to_owned()));
        }
        let path = PathBuf::from(text);
        if text.ends_with(".onnx") && path.is_file() {
            return Ok(Self::File(path));
        }
        Err(format!(
            "expected {}, or an ONNX file that is there",
            NETWORKS.join(", ")
        ))
    }
}

/// The federation's folder.
#[derive(Debug, Clone)]
struct Folder(PathBuf);

impl Folder {
    fn root(&self) -> PathBuf {
        self.0.join("simulated-root")
    }

    fn home(&self, party: &str) -> PathBuf {
        self.0.join(party)
    }

    fn passphrase(&self, party: &str) -> PathBuf {
        self.0.join("passphrases").join(party)
    }

    fn log(&self, party: &str) -> PathBuf {
        self.0.join("logs").join(format!("{party}.log"))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

/// The consumer's name.
const CONSUMER: &str = "tdc";

/// The name of a provider, counted from 1.
fn provider(number: usize) -> String {
    format!("tdp-{number}")
}

/// Runs a federation from nothing to an opened model.
///
/// # Errors
///
/// Whatever a party refuses; its own words are on stderr.
pub async fn run_mnist(plan: &Plan, console: &Console) -> Result<Outcome, Failure> {
    let begun = Instant::now();
    let folder = prepare_folder(plan)?;
    let data = Data::prepare(
        &plan.data,
        plan.seed,
        plan.agents,
        &folder.file("data"),
        console,
    )?;
    found(&folder, plan, &data, console).await?;
    write_contract(&folder, plan, &data, console).await?;
    let mut agents = Agents::start(&folder, plan.agents, console).await?;
    let number = register(&folder, &agents, console).await?;
    let report = train(&folder, &mut agents, number, &data, console).await?;
    let opened = open_model(&folder, number, console).await?;
    let accuracy = evaluate(&folder, &opened, number, &data).await?;
    let mut peak_rss_mib = agents.peak_rss_mib()?;
    let aggregator = number_at(&report, "/peak_rss_mib")?;
    peak_rss_mib.insert("aggregator".to_owned(), aggregator);
    peak_rss_mib.insert("simulations".to_owned(), peak_rss()?.as_mib());
    agents.stop().await?;
    Outcome::new(
        &report,
        accuracy,
        opened,
        peak_rss_mib,
        begun.elapsed(),
        &folder.0,
    )
}

fn prepare_folder(plan: &Plan) -> Result<Folder, Failure> {
    if std::fs::read_dir(&plan.out).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(Failure::new(
            ErrorCode::FILE_EXISTS,
            format!(
                "expected an empty folder for --out, got {}",
                plan.out.display()
            ),
        )
        .hint("name another folder: what a federation left is never overwritten"));
    }
    for inner in ["", "data", "passphrases", "logs"] {
        create_private_folder(&plan.out.join(inner))?;
    }
    Ok(Folder(plan.out.clone()))
}

/// Makes the simulated hardware, every party's home, and every provider's vault.
async fn found(
    folder: &Folder,
    plan: &Plan,
    data: &Data,
    console: &Console,
) -> Result<(), Failure> {
    let root = SimulatedRoot::generate().or_fail(ErrorCode::INTERNAL, "the simulated root")?;
    root.save(&folder.root())
        .or_fail(ErrorCode::IO, "the simulated root")?;
    init(folder, Party::Aggregator, CONSUMER).await?;
    for (number, shard) in (1..=plan.agents).zip(&data.shards) {
        let name = provider(number);
        init(folder, Party::Agent, &name).await?;
        let import = ["dataset", "import", "digits", "--format", "idx"];
        let mut import = as_owned(&import);
        import.extend(["--images".into(), shard.images.display().to_string()]);
        import.extend(["--labels".into(), shard.labels.display().to_string()]);
        import.extend(keys(folder, &name));
        command(Party::Agent, &import).await?;
        let offer = folder.file(&format!("{name}.offer.json"));
        let mut export = as_owned(&["dataset", "offer", "digits", "--out"]);
        export.push(offer.display().to_string());
        export.extend(keys(folder, &name));
        command(Party::Agent, &export).await?;
        console.note(format_args!(
            "{name}: {} records, encrypted in its vault",
            shard.records
        ));
    }
    Ok(())
}

async fn init(folder: &Folder, party: Party, name: &str) -> Result<(), Failure> {
    std::fs::write(folder.passphrase(name), process::random_passphrase()?)?;
    let mut init = as_owned(&["init", "--party", name, "--simulated"]);
    init.push(folder.root().display().to_string());
    init.extend(keys(folder, name));
    command(party, &init).await?;
    Ok(())
}

/// The network before training, as a file of the federation.
async fn write_network(folder: &Folder, plan: &Plan) -> Result<String, Failure> {
    let file = folder.file("initial.onnx");
    let model = file.display().to_string();
    match &plan.network {
        NetworkSource::BuiltIn(name) => {
            let seed = plan.seed.to_string();
            let new = as_owned(&["model", "new", name, "--seed", &seed, "--out", &model]);
            command(Party::Aggregator, &new).await?;
        }
        NetworkSource::File(own) => {
            // With what it keeps in files beside it, which the federation's folder does not have.
            let onnx = read_onnx(own).or_fail(ErrorCode::USAGE, own.display())?;
            std::fs::write(&file, onnx).or_fail(ErrorCode::IO, file.display())?;
        }
    }
    Ok(model)
}

/// The consumer writes the contract, and every provider signs it.
async fn write_contract(
    folder: &Folder,
    plan: &Plan,
    data: &Data,
    console: &Console,
) -> Result<(), Failure> {
    let model = write_network(folder, plan).await?;
    let program = std::env::current_exe()?.display().to_string();
    let contract = folder.file("contract.dsse").display().to_string();
    let root = folder.root().join("root.pub").display().to_string();
    let (epsilon, delta) = (plan.epsilon.to_string(), plan.delta.to_string());
    let purpose = format!("Reading {}", data.name);
    let mut new = as_owned(&["contract", "new", "--recipe", &plan.recipe]);
    new.extend(as_owned(&["--model", &model]));
    new.extend(as_owned(&[
        "--purpose",
        &purpose,
        "--epsilon",
        &epsilon,
        "--delta",
        &delta,
    ]));
    new.extend(as_owned(&["--simulated-root", &root]));
    new.extend(as_owned(&[
        "--aggregator-program",
        &program,
        "--agent-program",
        &program,
    ]));
    new.extend(as_owned(&["--out", &contract]));
    if let Some(steps) = plan.steps {
        new.extend(as_owned(&["--steps", &steps.to_string()]));
    }
    for number in 1..=plan.agents {
        let offer = folder.file(&format!("{}.offer.json", provider(number)));
        new.extend(["--offer".to_owned(), offer.display().to_string()]);
    }
    new.extend(keys(folder, CONSUMER));
    command(Party::Aggregator, &new).await?;
    for number in 1..=plan.agents {
        let name = provider(number);
        let mut sign = as_owned(&["contract", "sign", &contract]);
        sign.extend(keys(folder, &name));
        command(Party::Agent, &sign).await?;
        console.note(format_args!("{name} signed the contract"));
    }
    Ok(())
}

async fn register(folder: &Folder, agents: &Agents<'_>, console: &Console) -> Result<u64, Failure> {
    let contract = folder.file("contract.dsse").display().to_string();
    let (keeper, address) = agents.keeper();
    let address = address.to_string();
    let mut register = as_owned(&[
        "contract",
        "register",
        "--contract",
        &contract,
        "--ledger",
        &address,
    ]);
    register.extend(keys(folder, CONSUMER));
    let registered = command(Party::Aggregator, &register).await?;
    let number = registered
        .pointer("/number")
        .and_then(Value::as_u64)
        .ok_or_else(|| Failure::new(ErrorCode::INTERNAL, "the ledger gave no number"))?;
    console.note(format_args!(
        "contract {number} is on the ledger of {keeper}"
    ));
    Ok(number)
}

async fn train(
    folder: &Folder,
    agents: &mut Agents<'_>,
    number: u64,
    data: &Data,
    console: &Console,
) -> Result<Value, Failure> {
    let mut train = as_owned(&[
        "train",
        "--contract",
        &number.to_string(),
        "--tee",
        "simulated",
    ]);
    for (name, address) in agents.addresses() {
        train.extend(["--agent".to_owned(), format!("{name}={address}")]);
    }
    train.extend([
        "--validation-images".to_owned(),
        data.validation.images.display().to_string(),
    ]);
    train.extend([
        "--validation-labels".to_owned(),
        data.validation.labels.display().to_string(),
    ]);
    train.extend(keys(folder, CONSUMER));
    let log = folder.log("aggregator");
    let mut restarts = 0;
    loop {
        let run = process::run_visibly(Party::Aggregator, &train, console, &log);
        let ended = tokio::select! {
            ended = run => ended?,
            failure = agents.keep_running(console) => return Err(failure),
        };
        match ended {
            Ended::Well => break,
            Ended::BySignal if restarts < RESTARTS => {
                restarts += 1;
                console.warn(
                    "the aggregator was ended by a signal; it resumes from its newest checkpoint",
                );
                if !train.iter().any(|word| word == "--resume") {
                    train.push("--resume".to_owned());
                }
            }
            Ended::BySignal => {
                return Err(Failure::new(
                    ErrorCode::INTERRUPTED,
                    format!("the aggregator was ended by a signal, after {restarts} restarts"),
                ));
            }
        }
    }
    let report = folder
        .home(CONSUMER)
        .join("runs")
        .join(format!("{number}-1"))
        .join("report.json");
    let report = std::fs::read(&report).or_fail(ErrorCode::FILE_MISSING, report.display())?;
    serde_json::from_slice(&report).or_fail(ErrorCode::INTERNAL, "report.json")
}

async fn open_model(folder: &Folder, number: u64, console: &Console) -> Result<PathBuf, Failure> {
    let out = folder.file("model");
    let mut unseal = as_owned(&[
        "unseal",
        "--contract",
        &number.to_string(),
        "--run",
        "1",
        "--out",
    ]);
    unseal.push(out.display().to_string());
    unseal.extend(keys(folder, CONSUMER));
    command(Party::Aggregator, &unseal).await?;
    console.note("opened the model with the consumer's key; its receipt verified");
    Ok(out)
}

async fn evaluate(folder: &Folder, model: &Path, number: u64, data: &Data) -> Result<f64, Failure> {
    let mut evaluate = as_owned(&["evaluate", "--contract", &number.to_string(), "--model"]);
    evaluate.push(model.join("model.onnx").display().to_string());
    evaluate.extend([
        "--images".to_owned(),
        data.test.images.display().to_string(),
    ]);
    evaluate.extend([
        "--labels".to_owned(),
        data.test.labels.display().to_string(),
    ]);
    evaluate.extend([
        "--home".to_owned(),
        folder.home(CONSUMER).display().to_string(),
    ]);
    let metrics = command(Party::Aggregator, &evaluate).await?;
    number_at(&metrics, "/accuracy")
}

fn keys(folder: &Folder, party: &str) -> Vec<String> {
    vec![
        "--home".to_owned(),
        folder.home(party).display().to_string(),
        "--passphrase-file".to_owned(),
        folder.passphrase(party).display().to_string(),
    ]
}

fn as_owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

fn number_at(value: &Value, pointer: &str) -> Result<f64, Failure> {
    value
        .pointer(pointer)
        .and_then(Value::as_f64)
        .ok_or_else(|| {
            Failure::new(
                ErrorCode::INTERNAL,
                format!("expected a number at {pointer} of a result"),
            )
        })
}
