//! `aggregator contract new`.

use std::path::{Path, PathBuf};

use chrono::Utc;
use clap::{Args, ValueEnum};
use serde::Serialize;
use tributary_attest::{Measurement, Policy, SimulatedRootKey};
use tributary_console::{Blame, Console, ErrorCode, Failure, FailureContext as _};
use tributary_protocol::{
    AccountantName, ColumnName, Digest, Input, Metrics, OFFER_SIZE_LIMIT, Offer, PartyName,
    SignedContract,
};

use super::training::TrainingArgs;
use super::words::Words;
use crate::cli::files::{UnlockArgs, read_limited, read_model, write_new};
use crate::drafting::{EntityWish, Wishes, draft, validity_from};
use crate::failures::{contract_failure, home_failure};
use crate::home::ConsumerHome;
use crate::recipe::Recipe;
use crate::validation::{ModelAtHand, findings, warnings};

/// What `aggregator contract new` takes.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  aggregator contract new --home tdc --passphrase-file tdc.pass --recipe mnist \\
      --offer alice.json --offer bob.json --model mnist.onnx --epsilon 3 --purpose 'Read digits' \\
      --simulated-root federation/root.pub \\
      --aggregator-program target/release/aggregator \\
      --agent-program target/release/agent --out contract.dsse

For confidential VMs, give policies in the place of the root and the programs:
  --aggregator-policy aggregator.policy.json --agent-policy agents.policy.json

Without --recipe, say how to train: --sampling-rate 0.02 --clipping-norm 1 --steps 600
--optimiser adam --learning-rate 0.002 --divisor 255 --mean 0.13 --deviation 0.31 --delta 1e-5")]
pub(in crate::cli) struct NewArgs {
    #[command(flatten)]
    unlock: UnlockArgs,
    /// A provider's offer, as `agent dataset offer` writes it; once for each dataset.
    #[arg(long = "offer", value_name = "FILE", required = true)]
    offers: Vec<PathBuf>,
    /// The model before training: an ONNX file, as PyTorch exports it.
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    /// What the model is for, in words that every provider reads before it signs.
    #[arg(long, value_name = "TEXT")]
    purpose: String,
    /// The most epsilon that all runs together may spend on each dataset.
    #[arg(long, value_name = "E")]
    epsilon: f64,
    /// How steps are turned into epsilon.
    #[arg(long, value_enum, value_name = "NAME", default_value_t = AccountantArg::Pld)]
    accountant: AccountantArg,
    /// The file to write.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Settings that are known to work: `mnist` for the network of `aggregator model new mnist-cnn`, `mnist-scatter` for
    /// that of `aggregator model new mnist-scatter`, or a TOML file. Flags win over it.
    #[arg(long, value_name = "NAME|FILE.toml")]
    recipe: Option<Recipe>,
    #[command(flatten)]
    training: TrainingArgs,
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    attestation: AttestationArgs,
    /// How many runs the contract allows. Epsilon is for all of them together.
    #[arg(long, value_name = "N", default_value_t = 1)]
    runs: u32,
    /// For how many days from now runs may begin.
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=3660))]
    valid_days: u32,
    /// The provider that keeps the ledger; that of the first offer where left out.
    #[arg(long, value_name = "PARTY")]
    ledger: Option<PartyName>,
    /// Let no metrics of the model leave the aggregator, not even those on the consumer's own validation set.
    #[arg(long)]
    without_metrics: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum AccountantArg {
    /// By the distribution of the privacy loss: within a thousandth of the exact epsilon.
    Pld,
    /// By Rényi moments: needs more noise for the same epsilon.
    Rdp,
}

/// What is fed to it.
#[derive(Debug, Args)]
struct DataArgs {
    /// The column that feeds the model.
    #[arg(long, value_name = "COLUMN", default_value = "image")]
    input: ColumnName,
    /// The column that says what it should answer.
    #[arg(long, value_name = "COLUMN", default_value = "label")]
    label: ColumnName,
    /// How many classes the bytes of masks may be, where that column holds images of classes.
    #[arg(long, value_name = "N")]
    classes: Option<u32>,
    /// Protect entities and not records: the column that names each record's, such as its patient. It stays in the vaults.
    #[arg(long, value_name = "COLUMN", requires = "entity_rows")]
    entity: Option<ColumnName>,
    /// The most records of an entity that a step may see: where it has more, a random subset.
    #[arg(long, value_name = "N", requires = "entity")]
    entity_rows: Option<u32>,
    /// Divides each byte of the input. Declared, never fitted on the data, which would leak.
    #[arg(long, value_name = "X")]
    divisor: Option<f32>,
    /// Is taken off after that.
    #[arg(long, value_name = "X")]
    mean: Option<f32>,
    /// Divides the rest.
    #[arg(long, value_name = "X")]
    deviation: Option<f32>,
}

impl DataArgs {
    fn entity(&self) -> Option<EntityWish> {
        Some(EntityWish {
            column: self.entity.clone()?,
            rows: self.entity_rows?,
        })
    }
}

/// Who may take part.
#[derive(Debug, Args)]
struct AttestationArgs {
    /// The public key of the federation's simulated root, root.pub: platforms that it certified are accepted. They
    /// protect nothing. For SEV-SNP and TDX give policies.
    #[arg(
        long,
        value_name = "FILE",
        required_unless_present_all = ["aggregator_policy", "agent_policy"]
    )]
    simulated_root: Option<PathBuf>,
    /// What aggregators must show: an appraisal policy, as `attest policy new` writes it.
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = ["aggregator_program", "aggregator_measurement"]
    )]
    aggregator_policy: Option<PathBuf>,
    /// What agents must show: an appraisal policy.
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = ["agent_program", "agent_measurement"]
    )]
    agent_policy: Option<PathBuf>,
    /// The program that aggregators must run: its measurement goes into the contract.
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with = "aggregator_measurement",
        required_unless_present_any = ["aggregator_measurement", "aggregator_policy"]
    )]
    aggregator_program: Option<PathBuf>,
    /// The same, as the measurement that `attest measure` prints; several for several programs.
    #[arg(long, value_name = "HEX")]
    aggregator_measurement: Vec<Measurement>,
    /// The program that agents must run.
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with = "agent_measurement",
        required_unless_present_any = ["agent_measurement", "agent_policy"]
    )]
    agent_program: Option<PathBuf>,
    /// The same, as measurements.
    #[arg(long, value_name = "HEX")]
    agent_measurement: Vec<Measurement>,
    /// Seconds after which a channel must be attested anew.
    #[arg(long, value_name = "S", default_value_t = 3600)]
    reattest_seconds: u32,
}

#[derive(Debug, Serialize)]
struct Written<'a> {
    file: &'a Path,
    digest: Digest,
    noise_multiplier: f64,
    missing: Vec<PartyName>,
    warnings: Vec<String>,
    contract: &'a tributary_protocol::Document,
}

pub(in crate::cli) fn new(args: NewArgs, console: &Console) -> Result<(), Failure> {
    let (home, identity) = args.unlock.open(console)?;
    let onnx = read_model(&args.model)?;
    let model = ModelAtHand::read(Some(&onnx));
    if let ModelAtHand::Unusable(error) = &model {
        return Err(Failure::from_error(ErrorCode::MODEL_UNSUPPORTED, error)
            .hint("export the model without what is named; nothing was written")
            .blame(Blame::Configuration));
    }
    let offers = args
        .offers
        .iter()
        .map(|path| read_offer(path))
        .collect::<Result<Vec<_>, _>>()?;
    let now = Utc::now();
    let wishes = args.wishes(&home, Digest::of(&onnx), now)?;
    let document = draft(wishes, &offers).map_err(|error| {
        let hint = error.hint();
        Failure::from_error(ErrorCode::CONTRACT_INVALID, &error).hint(hint)
    })?;
    let signed = SignedContract::write(&document, &identity).map_err(contract_failure)?;
    // Signatures of the providers are what comes next, all else would be in vain.
    let refusals: Vec<_> = findings(&signed, &model, now)
        .into_iter()
        .filter(|finding| finding.code != ErrorCode::CONTRACT_UNSIGNED.name())
        .collect();
    super::validate::refuse(&refusals, "the contract was not written")?;
    home.keep_model(&onnx)?;
    write_new(&args.out, &signed.envelope().to_json())?;
    tell(&args.out, &signed, console)
}

fn tell(file: &Path, signed: &SignedContract, console: &Console) -> Result<(), Failure> {
    let contract = signed.contract();
    let written = Written {
        file,
        digest: contract.digest(),
        noise_multiplier: contract.noise_multiplier().get(),
        missing: signed.missing(),
        warnings: warnings(contract),
        contract: contract.document(),
    };
    for warning in &written.warnings {
        console.warn(warning);
    }
    let words = Words::of(signed, None)?;
    console.result(&written, |out| {
        words.print(out)?;
        let missing: Vec<&str> = written.missing.iter().map(PartyName::as_str).collect();
        writeln!(out, "\nwrote {}", file.display())?;
        writeln!(
            out,
            "next: compare the keys above with their owners over another way, send the file to {}, each of whom runs\n  \
             agent contract sign {}\nthen `aggregator contract merge` if they signed copies, and `aggregator contract register`",
            missing.join(", "),
            file.display()
        )
    })
}

fn read_offer(path: &Path) -> Result<Offer, Failure> {
    let bytes = read_limited(path, OFFER_SIZE_LIMIT)?;
    Offer::parse(&bytes)
        .or_fail(ErrorCode::CONTRACT_INVALID, path.display())
        .map_err(|failure| {
            failure
                .hint("ask the provider to run `agent dataset offer` again")
                .blame(Blame::Peer)
        })
}

impl NewArgs {
    fn wishes(
        &self,
        home: &ConsumerHome,
        model: Digest,
        now: chrono::DateTime<Utc>,
    ) -> Result<Wishes, Failure> {
        let (training, recipe) = (&self.training, self.recipe.as_ref());
        let mut missing = Missing::default();
        let sampling_rate = missing.or(
            "--sampling-rate",
            training.sampling_rate,
            recipe.map(|r| r.sampling_rate),
        );
        let clipping_norm = missing.or(
            "--clipping-norm",
            training.clipping_norm,
            recipe.map(|r| r.clipping_norm),
        );
        let steps = missing.or("--steps", training.steps, recipe.map(|r| r.steps));
        let delta = missing.or("--delta", training.delta, recipe.map(|r| r.delta));
        let divisor = missing.or("--divisor", self.data.divisor, recipe.map(|r| r.divisor));
        let mean = missing.or("--mean", self.data.mean, recipe.map(|r| r.mean));
        let deviation = missing.or(
            "--deviation",
            self.data.deviation,
            recipe.map(|r| r.deviation),
        );
        let optimiser = training.optimiser(recipe, &mut missing);
        missing.check()?;
        let attestation = &self.attestation;
        Ok(Wishes {
            purpose: self.purpose.clone(),
            consumer: home.party().party().clone(),
            key: home.party().key(),
            sealing_key: home.sealing_key().map_err(home_failure)?,
            validity: validity_from(now, self.valid_days),
            runs: self.runs,
            epsilon: self.epsilon,
            delta,
            accountant: match self.accountant {
                AccountantArg::Pld => AccountantName::Pld,
                AccountantArg::Rdp => AccountantName::Rdp,
            },
            sampling_rate,
            noise_multiplier: training.noise_multiplier,
            clipping_norm,
            clipping: training.clipping(recipe),
            steps,
            loss: training.loss(recipe),
            optimiser,
            schedule: training.schedule(recipe),
            average: training.average(recipe),
            input: Input {
                column: self.data.input.clone(),
                divisor,
                mean,
                deviation,
            },
            label: self.data.label.clone(),
            classes: self.data.classes,
            entity: self.data.entity(),
            model,
            aggregator: attestation.policy(
                attestation.aggregator_policy.as_deref(),
                attestation.aggregator_program.as_deref(),
                &attestation.aggregator_measurement,
            )?,
            agents: attestation.policy(
                attestation.agent_policy.as_deref(),
                attestation.agent_program.as_deref(),
                &attestation.agent_measurement,
            )?,
            reattest_seconds: attestation.reattest_seconds,
            ledger: self.ledger.clone(),
            metrics: if self.without_metrics {
                Metrics::None
            } else {
                Metrics::Validation
            },
        })
    }
}

/// Collects what neither flag nor recipe gives, to name it all at once.
#[derive(Debug, Default)]
pub(super) struct Missing(Vec<&'static str>);

impl Missing {
    pub(super) fn or<T: Default>(
        &mut self,
        flag: &'static str,
        given: Option<T>,
        recipe: Option<T>,
    ) -> T {
        given.or(recipe).unwrap_or_else(|| {
            self.0.push(flag);
            T::default()
        })
    }

    fn check(self) -> Result<(), Failure> {
        if self.0.is_empty() {
            return Ok(());
        }
        Err(Failure::new(
            ErrorCode::USAGE,
            format!("expected also {}", self.0.join(", ")),
        )
        .hint("give them, or a --recipe that supplies them, such as --recipe mnist")
        .blame(Blame::Configuration))
    }
}

impl AttestationArgs {
    /// The policy of a file, or that of simulated platforms which run these programs.
    fn policy(
        &self,
        file: Option<&Path>,
        program: Option<&Path>,
        stated: &[Measurement],
    ) -> Result<Policy, Failure> {
        if let Some(file) = file {
            return read_policy(file);
        }
        let Some(root) = &self.simulated_root else {
            return Err(
                Failure::new(ErrorCode::USAGE, "expected also --simulated-root")
                    .hint("give the federation's root.pub, or policies for aggregators and agents")
                    .blame(Blame::Configuration),
            );
        };
        let root =
            SimulatedRootKey::load(root).or_fail(ErrorCode::KEY_UNREADABLE, root.display())?;
        let measurements = match program {
            Some(program) => {
                vec![Measurement::of_file(program).or_fail(ErrorCode::IO, program.display())?]
            }
            None => stated.to_vec(),
        };
        Ok(Policy::simulated(root, measurements))
    }
}

fn read_policy(file: &Path) -> Result<Policy, Failure> {
    let bytes = read_limited(file, Policy::MAX_JSON)?;
    let policy = Policy::from_json(&bytes)
        .and_then(|policy| policy.check().map(|()| policy))
        .or_fail(ErrorCode::CONTRACT_INVALID, file.display());
    policy.map_err(|failure| {
        failure
            .hint("correct the policy; `attest policy new` writes one to begin with")
            .blame(Blame::Configuration)
    })
}
