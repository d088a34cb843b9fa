//! A contract in a scientist's words.

use std::io::{self, Write};

use serde::Serialize;
use tributary_attest::{CodeRule, Criterion, Policy};
use tributary_console::{Align, ErrorCode, Failure, FailureContext as _, Table};
use tributary_protocol::{
    Clipping, Digest, Document, Metrics, PartyName, PartyRole, Schedule, SequenceNumber,
    SignedContract, Unit,
};

use crate::validation::warnings;

/// What a contract says, for people and for programs.
#[derive(Debug, Serialize)]
pub(super) struct Words<'a> {
    digest: Digest,
    number: Option<SequenceNumber>,
    /// Parties without a valid signature.
    missing: Vec<PartyName>,
    spending: Vec<Spending>,
    /// What is added to a sum of gradients, in clipping norms.
    gradient_noise: f64,
    warnings: Vec<String>,
    document: &'a Document,
}

/// What a dataset would pay.
#[derive(Debug, Serialize)]
struct Spending {
    dataset: String,
    records: u64,
    /// Where they are the unit of privacy.
    entities: Option<u64>,
    limit: f64,
    one_run: f64,
    all_runs: f64,
}

impl<'a> Words<'a> {
    pub(super) fn of(
        signed: &'a SignedContract,
        number: Option<SequenceNumber>,
    ) -> Result<Self, Failure> {
        let contract = signed.contract();
        let plan = contract
            .plan()
            .or_fail(ErrorCode::CONTRACT_INVALID, "the contract's epsilon")?;
        let spending = plan
            .datasets
            .iter()
            .map(|plan| Spending {
                dataset: plan.dataset.to_string(),
                records: contract
                    .dataset(&plan.dataset)
                    .map_or(0, |dataset| dataset.records),
                entities: contract
                    .dataset(&plan.dataset)
                    .and_then(|dataset| dataset.entities),
                limit: plan.limit.get(),
                one_run: plan.run.get(),
                all_runs: plan.all_runs.get(),
            })
            .collect();
        Ok(Self {
            digest: contract.digest(),
            number,
            missing: signed.missing(),
            spending,
            gradient_noise: contract.gradient_noise().get(),
            warnings: warnings(contract),
            document: contract.document(),
        })
    }

    pub(super) fn warnings(&self) -> &[String] {
        &self.warnings
    }

    pub(super) fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        match self.number {
            Some(number) => writeln!(out, "contract {number}, {}", self.digest)?,
            None => writeln!(out, "contract {}", self.digest)?,
        }
        writeln!(
            out,
            "for: {}\n",
            self.document.purpose.trim().replace(['\n', '\r'], " ")
        )?;
        self.print_parties(out)?;
        self.print_spending(out)?;
        self.print_training(out)?;
        self.print_rules(out)
    }

    fn print_parties(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut table = Table::new([
            ("who", Align::Left),
            ("does", Align::Left),
            ("key", Align::Left),
            ("signed", Align::Left),
        ]);
        for party in &self.document.parties {
            let does = match party.role {
                PartyRole::Provider => "gives data",
                PartyRole::Consumer => "gets the model",
            };
            let signed = if self.missing.contains(&party.name) {
                "NO"
            } else {
                "yes"
            };
            table.row([
                party.name.to_string(),
                does.to_owned(),
                party.key.to_string(),
                signed.to_owned(),
            ]);
        }
        writeln!(out, "{table}")
    }

    fn print_spending(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut table = Table::new([
            ("dataset", Align::Left),
            ("records", Align::Right),
            ("epsilon of a run", Align::Right),
            ("of all runs", Align::Right),
            ("at most", Align::Right),
        ]);
        for spending in &self.spending {
            table.row([
                spending.dataset.clone(),
                match spending.entities {
                    None => spending.records.to_string(),
                    Some(entities) => format!("{} of {entities} entities", spending.records),
                },
                format!("{:.3}", spending.one_run),
                format!("{:.3}", spending.all_runs),
                spending.limit.to_string(),
            ]);
        }
        writeln!(out, "{table}")
    }

    fn print_training(&self, out: &mut dyn Write) -> io::Result<()> {
        let (pipeline, privacy) = (&self.document.pipeline, &self.document.privacy);
        let input = &pipeline.input;
        writeln!(
            out,
            "training: {} steps a run, {} run(s); `{}`, as (byte / {} - {}) / {}, to the {} classes of `{}`",
            pipeline.steps,
            self.document.runs,
            input.column,
            input.divisor,
            input.mean,
            input.deviation,
            pipeline.label.classes,
            pipeline.label.column
        )?;
        writeln!(out, "model: ONNX file {}", pipeline.model.onnx)?;
        // The contract's own JSON: all of it is shown, whatever it may come to hold.
        let json = |value: Result<String, serde_json::Error>| value.map_err(std::io::Error::other);
        writeln!(
            out,
            "loss: {}",
            json(serde_json::to_string(&pipeline.loss))?
        )?;
        let optimiser = json(serde_json::to_string(&pipeline.optimiser))?;
        writeln!(out, "optimiser: {optimiser}")?;
        if pipeline.schedule != Schedule::default() {
            let schedule = json(serde_json::to_string(&pipeline.schedule))?;
            writeln!(out, "learning rate: {schedule}")?;
        }
        if let Some(average) = pipeline.average {
            writeln!(out, "weights: averaged, {} kept in a step", average.decay)?;
        }
        if privacy.clipping != Clipping::Flat {
            let clipping = json(serde_json::to_string(&privacy.clipping))?;
            writeln!(out, "clipping: {clipping}")?;
        }
        writeln!(
            out,
            "privacy: each {} of a dataset, by sampling at {:.6}, clipping to {} and noise of {:.4} clipping norms; \
             delta {:e}, counted by {}; nobody is in two datasets",
            match &privacy.unit {
                Unit::Record => "record".to_owned(),
                Unit::Entity(entity) => format!(
                    "entity by `{}`, with at most {} records in a step,",
                    entity.column.name, entity.rows
                ),
            },
            privacy.sampling_rate,
            privacy.clipping_norm,
            self.gradient_noise,
            privacy.delta,
            privacy.accountant.accountant().name()
        )
    }

    fn print_rules(&self, out: &mut dyn Write) -> io::Result<()> {
        let document = self.document;
        let leaves = match document.disclosure.metrics {
            Metrics::Validation => ", and metrics on the consumer's own validation set",
            Metrics::None => "",
        };
        let progress = if document.disclosure.progress {
            ", step and epsilon while it trains"
        } else {
            ""
        };
        writeln!(
            out,
            "what leaves: the model, sealed to the consumer's key, and its receipt{progress}{leaves}"
        )?;
        writeln!(
            out,
            "valid: {} to {}",
            document.validity.not_before.format("%Y-%m-%d %H:%M UTC"),
            document.validity.not_after.format("%Y-%m-%d %H:%M UTC")
        )?;
        let ledger: Vec<&str> = document
            .ledger
            .members
            .iter()
            .map(PartyName::as_str)
            .collect();
        writeln!(out, "ledger: kept by {}", ledger.join(", "))?;
        for (who, policy) in [
            ("aggregator", &document.attestation.aggregator),
            ("agents", &document.attestation.agents),
        ] {
            writeln!(out, "{who}: {}", programs(policy))?;
            for line in policy.words() {
                writeln!(out, "  {line}")?;
            }
        }
        Ok(())
    }
}

/// Which programs a policy lets in, on which machines.
fn programs(policy: &Policy) -> String {
    let tees: Vec<String> = policy.tees.iter().map(ToString::to_string).collect();
    let programs = match (&policy.measurements, &policy.signers) {
        (Criterion::Any, Criterion::Any) => "any program".to_owned(),
        (Criterion::Any, Criterion::Stated(_)) => "any program of the signers below".to_owned(),
        (Criterion::Stated(measurements), signers) => {
            let mut programs: Vec<String> = measurements.iter().map(ToString::to_string).collect();
            if policy.code == CodeRule::MeasurementOrSigner && *signers != Criterion::Any {
                programs.push("any program of the signers below".to_owned());
            }
            programs.join(" or ")
        }
    };
    format!("{} on {}", programs, tees.join(" or "))
}
