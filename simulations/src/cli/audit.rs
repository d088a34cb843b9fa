//! `simulations audit`.

use std::io::{self, Write};

use clap::Args;
use rand_chacha::ChaCha20Rng;
use rand_core::{OsRng, SeedableRng, TryRngCore as _};
use tributary_accounting::{Delta, NoiseMultiplier, SamplingRate};
use tributary_console::{Align, Blame, Console, ErrorCode, Failure, FailureContext as _, Table};

use crate::audit::{Audit, AuditError, AuditPlan, TrainerSubject, audit};

/// How hard to attack.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  simulations audit
  simulations audit --noise-multiplier 1 --sampling-rate 0.2 --steps 20 --json
  simulations audit --canaries 5000 --runs 10000 --confidence 0.99

Lower bounds above what the accountant claims prove a fault, and the command fails. Bounds below prove nothing wrong.")]
pub(super) struct AuditArgs {
    /// The probability with which each record takes part in a step.
    #[arg(long, value_name = "Q", default_value_t = 0.5)]
    sampling_rate: f64,
    /// The noise's standard deviation, in clipping norms.
    #[arg(long, value_name = "S", default_value_t = 2.0)]
    noise_multiplier: f64,
    /// Steps of a training run.
    #[arg(long, value_name = "T", default_value_t = 4)]
    steps: u32,
    /// The probability that epsilon does not bound.
    #[arg(long, value_name = "D", default_value_t = 1e-5)]
    delta: f64,
    /// Records that the one run may or may not contain.
    #[arg(long, value_name = "N", default_value_t = 1000)]
    canaries: u32,
    /// Runs with the canary, and as many without.
    #[arg(long, value_name = "N", default_value_t = 2000)]
    runs: u32,
    /// The probability with which each lower bound holds.
    #[arg(long, value_name = "P", default_value_t = 0.95)]
    confidence: f64,
}

pub(super) fn run(args: &AuditArgs, console: &Console) -> Result<(), Failure> {
    let found = attack(args).map_err(failure)?;
    if !found.holds {
        return Err(Failure::new(
            ErrorCode::INTERNAL,
            format!(
                "the accountant claims epsilon {:.3}; the attacks prove {:.3} and {:.3} at confidence {}",
                found.claimed, found.one_run.epsilon, found.two_worlds.epsilon, found.confidence
            ),
        )
        .hint("audit again with a higher --confidence; if it fails too, do not use this build and report it")
        .blame(Blame::Tributary));
    }
    console.result(&found, |out| print(out, &found))
}

fn attack(args: &AuditArgs) -> Result<Audit, AuditFailure> {
    let range = |error| AuditFailure::of(AuditError::Accounting(error));
    let plan = AuditPlan {
        sampling_rate: SamplingRate::new(args.sampling_rate).map_err(|e| range(e.into()))?,
        noise_multiplier: NoiseMultiplier::new(args.noise_multiplier)
            .map_err(|e| range(e.into()))?,
        steps: args.steps,
        delta: Delta::new(args.delta).map_err(|e| range(e.into()))?,
        canaries: args.canaries,
        runs: args.runs,
        confidence: args.confidence,
    };
    let mut seed = [0; 32];
    OsRng
        .try_fill_bytes(&mut seed)
        .or_fail(ErrorCode::INTERNAL, "drawing a seed")
        .map_err(AuditFailure::Console)?;
    let mut subject = TrainerSubject::new(plan.noise_multiplier).map_err(AuditFailure::of)?;
    audit(&plan, &mut subject, &mut ChaCha20Rng::from_seed(seed)).map_err(AuditFailure::of)
}

enum AuditFailure {
    Audit(Box<AuditError>),
    Console(Failure),
}

impl AuditFailure {
    fn of(error: AuditError) -> Self {
        Self::Audit(Box::new(error))
    }
}

fn failure(failure: AuditFailure) -> Failure {
    match failure {
        AuditFailure::Console(failure) => failure,
        AuditFailure::Audit(error) => {
            let code = match *error {
                AuditError::Plan { .. }
                | AuditError::Accounting(_)
                | AuditError::NoClaim
                | AuditError::Setup(_)
                | AuditError::Privacy(_) => ErrorCode::USAGE,
                _ => ErrorCode::INTERNAL,
            };
            Failure::from_error(code, &error)
        }
    }
}

fn print(out: &mut dyn Write, found: &Audit) -> io::Result<()> {
    writeln!(
        out,
        "claimed: epsilon {:.3} at delta {:e}; proven, each at confidence {}:",
        found.claimed, found.delta, found.confidence
    )?;
    let mut table = Table::new([
        ("attack", Align::Left),
        ("outcome", Align::Left),
        ("epsilon at least", Align::Right),
    ]);
    let (one, two) = (found.one_run, found.two_worlds);
    table.row([
        format!("{} canaries in one run", one.canaries),
        format!("{} of {} guesses right", one.correct, one.guesses),
        format!("{:.3}", one.epsilon),
    ]);
    table.row([
        format!("one canary in {} runs", 2 * two.runs),
        format!(
            "{} of {} found with it, {} without",
            two.true_positives, two.runs, two.false_positives
        ),
        format!("{:.3}", two.epsilon),
    ]);
    write!(out, "{table}")
}

#[cfg(test)]
mod tests {
    use tributary_console::{Console, Exit, run_with};

    fn audit(more: &[&str]) -> (Exit, serde_json::Value) {
        let (console, captured) = Console::captured(true);
        let words = ["simulations", "audit", "--json"].iter().chain(more);
        let exit = run_with(words, &console, crate::cli::program);
        (exit, serde_json::from_str(&captured.stdout()).unwrap())
    }

    /// Noise comes from the system here, so the bound is asked for at a confidence that chance does not reach.
    #[test]
    fn the_trainer_as_it_runs_keeps_its_claim() {
        let (exit, value) = audit(&[
            "--canaries",
            "200",
            "--runs",
            "100",
            "--confidence",
            "0.999999999",
        ]);
        assert_eq!(exit, Exit::Done, "{value:#}");
        let data = &value["data"];
        assert_eq!(data["holds"], true);
        assert!(data["claimed"].as_f64().unwrap() > 0.5);
        assert_eq!(data["one_run"]["guesses"], 20);
        assert_eq!(data["two_worlds"]["runs"], 50);
    }

    #[test]
    fn plans_out_of_range_are_refused() {
        for more in [
            ["--sampling-rate", "0"],
            ["--noise-multiplier", "-1"],
            ["--noise-multiplier", "1e-200"],
            ["--delta", "1"],
            ["--steps", "0"],
            ["--canaries", "3"],
            ["--runs", "1"],
            ["--confidence", "1"],
        ] {
            let (exit, value) = audit(&more);
            assert_eq!(exit, Exit::Usage, "{more:?}: {value:#}");
        }
    }
}
