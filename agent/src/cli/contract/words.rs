//! A contract in an officer's words.

use std::fmt::Display;
use std::io::{self, Write};
use std::time::Duration;

use chrono::{DateTime, Utc};
use tributary_attest::{CodeRule, Policy};
use tributary_console::{Align, HumanDuration, Table};
use tributary_protocol::{Clipping, Optimiser, PartyRole, Unit};

use super::view::{DatasetView, SignatureState, View};

pub(super) fn write(view: &View, out: &mut dyn Write) -> io::Result<()> {
    let document = &view.document;
    writeln!(out, "contract {}", view.digest)?;
    writeln!(out, "  {}\n", indented(document.purpose.trim()))?;
    who_gets_what(view, out)?;
    what_is_given(view, out)?;
    how_it_is_trained(view, out)?;
    writeln!(out, "what leaves the aggregator")?;
    for item in &view.leaves {
        writeln!(out, "  {item}")?;
    }
    let validity = document.validity;
    writeln!(
        out,
        "\nuntil when\n  from {} to {}, at most {}\n",
        moment(validity.not_before),
        moment(validity.not_after),
        count(u64::from(document.runs), "run", "runs")
    )?;
    which_programs(view, out)?;
    if view.warnings.is_empty() {
        return writeln!(out, "warnings: none");
    }
    writeln!(out, "warnings")?;
    for warning in &view.warnings {
        writeln!(out, "  ! {}", indented(warning))?;
    }
    Ok(())
}

fn who_gets_what(view: &View, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "who gets what")?;
    let mut table = Table::new([
        ("  party", Align::Left),
        ("key", Align::Left),
        ("signature", Align::Left),
        ("part", Align::Left),
    ]);
    for signature in &view.signatures {
        let mut gives: Vec<String> = view
            .datasets
            .iter()
            .filter(|dataset| dataset.dataset.owner == signature.party)
            .map(|dataset| dataset.dataset.name.to_string())
            .collect();
        gives.sort();
        let part = match signature.role {
            PartyRole::Consumer => "gets the model".to_owned(),
            PartyRole::Provider => format!("streams {}", gives.join(", ")),
        };
        let keeps = view.document.ledger.members.contains(&signature.party);
        let you = view
            .you
            .as_ref()
            .is_some_and(|you| you.party == signature.party && you.role == Some(signature.role));
        table.row([
            format!("  {}{}", signature.party, if you { " (you)" } else { "" }),
            // Whole: people compare it over another way, and a prefix can be searched for.
            signature.key.to_string(),
            match signature.state {
                SignatureState::Signed => "signed",
                SignatureState::Missing => "missing",
                SignatureState::Invalid => "INVALID",
            }
            .to_owned(),
            format!("{part}{}", if keeps { ", keeps the ledger" } else { "" }),
        ]);
    }
    writeln!(out, "{table}")
}

fn what_is_given(view: &View, out: &mut dyn Write) -> io::Result<()> {
    let delta = view.document.privacy.delta;
    writeln!(
        out,
        "what of each dataset, for how much epsilon (at delta {delta:e})"
    )?;
    for dataset in &view.datasets {
        writeln!(
            out,
            "  {}: {} of {}{}",
            dataset.dataset,
            dataset.columns.join(", "),
            count(dataset.records, "record", "records"),
            match dataset.entities {
                None => String::new(),
                Some(entities) => format!(" of {}", count(entities, "entity", "entities")),
            }
        )?;
        writeln!(
            out,
            "    at most {} over all runs; one run spends {}",
            dataset.epsilon_limit, dataset.epsilon_of_one_run
        )?;
        yours(view, dataset, out)?;
    }
    writeln!(out)
}

fn yours(view: &View, dataset: &DatasetView, out: &mut dyn Write) -> io::Result<()> {
    let Some(you) = &view.you else {
        return Ok(());
    };
    if you.party != dataset.dataset.owner {
        return Ok(());
    }
    let Some(vault) = &you.vault else {
        return writeln!(
            out,
            "    give --passphrase-file to compare it with the vault and with what is left"
        );
    };
    let Some(here) = vault.get(dataset.dataset.name.as_str()) else {
        return Ok(());
    };
    match &here.differs {
        None => writeln!(out, "    it is the data in your vault")?,
        Some(difference) => writeln!(out, "    NOT the data in your vault: {difference}")?,
    }
    match &here.budget {
        Some(budget) => writeln!(out, "    {budget}"),
        None => Ok(()),
    }
}

fn how_it_is_trained(view: &View, out: &mut dyn Write) -> io::Result<()> {
    let (pipeline, privacy) = (&view.document.pipeline, &view.document.privacy);
    writeln!(out, "how it is trained")?;
    writeln!(
        out,
        "  {} a run; each {} takes part in a step with probability {}",
        count(pipeline.steps, "step", "steps"),
        unit(&privacy.unit),
        privacy.sampling_rate
    )?;
    writeln!(
        out,
        "  {}; steps are counted by {}",
        clipping(view),
        privacy.accountant.accountant().name()
    )?;
    let optimiser = match pipeline.optimiser {
        Optimiser::Sgd {
            learning_rate,
            momentum,
            ..
        } => format!("gradient descent at {learning_rate}, momentum {momentum}"),
        Optimiser::Adam { learning_rate, .. } => format!("Adam at {learning_rate}"),
        Optimiser::AdamW { learning_rate, .. } => format!("AdamW at {learning_rate}"),
        Optimiser::RmsProp { learning_rate, .. } => format!("RMSprop at {learning_rate}"),
    };
    writeln!(out, "  {optimiser}; model {}", pipeline.model.onnx)?;
    match &privacy.unit {
        Unit::Record => writeln!(out, "  the unit of privacy is one record of one dataset")?,
        Unit::Entity(entity) => writeln!(
            out,
            "  the unit of privacy is one entity of one dataset, by the column `{}`, which stays in the vault; a step sees \
             at most {} of each",
            entity.column.name,
            count(entity.rows.into(), "record", "records")
        )?,
    }
    writeln!(out, "  nobody is taken to be in two datasets\n")
}

fn unit(unit: &Unit) -> &'static str {
    match unit {
        Unit::Record => "record",
        Unit::Entity(_) => "entity",
    }
}

fn clipping(view: &View) -> String {
    let privacy = &view.document.privacy;
    let unit = unit(&privacy.unit);
    let (norm, whole, noise) = (
        privacy.clipping_norm,
        privacy.noise_multiplier,
        view.gradient_noise,
    );
    match privacy.clipping {
        Clipping::Flat => format!(
            "each {unit}'s gradient is cut to {norm}, and noise of {noise:.4} times that is added to each sum"
        ),
        Clipping::PerLayer => format!(
            "each {unit}'s gradient is cut to {norm}, layer by layer, and noise of {noise:.4} times that is added to each sum"
        ),
        Clipping::Automatic { .. } => format!(
            "each {unit}'s gradient is scaled to at most {norm}, and noise of {noise:.4} times that is added to each sum"
        ),
        Clipping::Adaptive(adaptive) => format!(
            "each {unit}'s gradient is cut to a length that begins at {norm} and follows the {} quantile of all, and noise of \
             {noise:.4} times that is added to each sum; how many were shorter is counted, with noise of {:.4}, which \
             together costs what noise of {whole:.4} costs",
            adaptive.quantile, adaptive.count_noise
        ),
    }
}

fn which_programs(view: &View, out: &mut dyn Write) -> io::Result<()> {
    let attestation = &view.document.attestation;
    writeln!(out, "which programs")?;
    for (who, policy) in [
        ("aggregator", &attestation.aggregator),
        ("agents", &attestation.agents),
    ] {
        writeln!(
            out,
            "  {who} on {}: {}",
            join(&policy.tees),
            programs(policy)
        )?;
        for line in policy.words() {
            writeln!(out, "    {line}")?;
        }
    }
    if let Some(you) = &view.you {
        let named = if you.program_is_named {
            "named"
        } else {
            "NOT named"
        };
        writeln!(out, "  this agent's program {} is {named}", you.program)?;
    }
    let interval = Duration::from_secs(attestation.interval_seconds.into());
    writeln!(
        out,
        "  attested at the start and every {}\n",
        HumanDuration(interval)
    )
}

fn programs(policy: &Policy) -> String {
    let either = policy.code == CodeRule::MeasurementOrSigner;
    match (policy.measurements.stated(), policy.signers.stated()) {
        (None, None) => "ANY program".to_owned(),
        (None, Some(signers)) => format!("any program signed by {}", join(signers)),
        (Some(measurements), Some(signers)) if either => {
            format!(
                "{}, or any program signed by {}",
                join(measurements),
                join(signers)
            )
        }
        (Some(measurements), _) => join(measurements),
    }
}

pub(super) fn join<T: Display>(items: &[T]) -> String {
    let items: Vec<String> = items.iter().map(ToString::to_string).collect();
    items.join(", ")
}

pub(super) fn day(time: DateTime<Utc>) -> String {
    time.format("%Y-%m-%d").to_string()
}

pub(super) fn first_line(text: &str) -> String {
    let line = text.trim().lines().next().unwrap_or_default();
    let mut cut: String = line.chars().take(60).collect();
    if cut.len() < text.trim().len() {
        cut.push('…');
    }
    cut
}

fn moment(time: DateTime<Utc>) -> String {
    time.format("%Y-%m-%d %H:%M UTC").to_string()
}

fn count(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// Text that others wrote must not look like a line of this page. The console takes control characters out of lines on
/// stderr; this goes to stdout.
fn indented(text: &str) -> String {
    let lines: Vec<String> = text
        .lines()
        .map(|line| {
            line.chars()
                .map(|c| if c.is_control() { '\u{fffd}' } else { c })
                .collect()
        })
        .collect();
    lines.join("\n  ")
}
