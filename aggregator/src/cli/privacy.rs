//! `aggregator privacy`: what steps cost, and what may be had for an epsilon. Reads no contract and spends nothing.

use std::io::{self, Write};
use std::str::FromStr;

use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use serde::Serialize;
use tributary_accounting::{
    Accountant, AccountingError, Delta, Epsilon, NoiseMultiplier, OutOfRange, Phase, Pld, Rdp,
    SamplingRate, Steps, calibrate_noise, calibrate_rate, largest_steps,
};
use tributary_console::{Align, Blame, Console, ErrorCode, Failure, Table};

/// What `aggregator privacy` takes.
#[derive(Debug, Subcommand)]
pub(super) enum PrivacyCommand {
    /// Say the epsilon of private steps, by both accountants. The smaller one holds as well as the larger.
    Epsilon(EpsilonArgs),
    /// Find the least noise, the most steps or the highest rate that keeps within an epsilon.
    Calibrate(CalibrateArgs),
}

#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("what").required(true).multiple(true).args(["sampling_rate", "phase"]),
    after_help = "Examples:
  aggregator privacy epsilon --sampling-rate 0.01 --noise-multiplier 1.1 --steps 10000 --delta 1e-5
  aggregator privacy epsilon --phase 0.01,1.1,9000 --phase 0.02,1.5,1000 --delta 1e-5 --json

For add-or-remove-one adjacency and Poisson sampling. docs/privacy.md says what that means."
)]
pub(super) struct EpsilonArgs {
    /// The probability with which each record takes part in a step.
    #[arg(long, value_name = "Q", value_parser = rate, requires_all = ["noise_multiplier", "steps"])]
    sampling_rate: Option<SamplingRate>,
    /// The noise's standard deviation, in clipping norms.
    #[arg(long, value_name = "S", value_parser = noise, requires = "sampling_rate")]
    noise_multiplier: Option<NoiseMultiplier>,
    /// How many steps.
    #[arg(long, value_name = "T", requires = "sampling_rate")]
    steps: Option<u64>,
    /// The probability that epsilon does not bound.
    #[arg(long, value_name = "D", value_parser = delta)]
    delta: Delta,
    /// Further steps, of another rate or noise. May be given several times, and alone.
    #[arg(long, value_name = "Q,S,T", value_parser = phase)]
    phase: Vec<Phase>,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  aggregator privacy calibrate --epsilon 3 --delta 1e-5 --sampling-rate 0.01 --steps 10000
  aggregator privacy calibrate --epsilon 3 --delta 1e-5 --sampling-rate 0.01 --noise-multiplier 1 --json
  aggregator privacy calibrate --epsilon 3 --delta 1e-5 --noise-multiplier 1 --steps 10000

Give two of --sampling-rate, --noise-multiplier and --steps; the third is found.")]
pub(super) struct CalibrateArgs {
    /// The most epsilon that may be spent.
    #[arg(long, value_name = "E", value_parser = epsilon)]
    epsilon: Epsilon,
    /// The probability that epsilon does not bound.
    #[arg(long, value_name = "D", value_parser = delta)]
    delta: Delta,
    /// The probability with which each record takes part in a step.
    #[arg(long, value_name = "Q", value_parser = rate)]
    sampling_rate: Option<SamplingRate>,
    /// The noise's standard deviation, in clipping norms.
    #[arg(long, value_name = "S", value_parser = noise)]
    noise_multiplier: Option<NoiseMultiplier>,
    /// How many steps.
    #[arg(long, value_name = "T")]
    steps: Option<u64>,
    /// Which accountant must agree.
    #[arg(long, value_enum, default_value_t = Which::Pld)]
    accountant: Which,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Which {
    /// By the distribution of the privacy loss: within a thousandth of the exact epsilon.
    Pld,
    /// By Rényi moments: some 7 to 20 % above it.
    Rdp,
}

#[derive(Debug, Serialize)]
struct Cost {
    /// Absent where the moments are all infinite.
    rdp: Option<f64>,
    pld: f64,
    delta: f64,
    phases: Vec<Phase>,
}

#[derive(Debug, Serialize)]
struct Calibrated {
    sampling_rate: f64,
    noise_multiplier: f64,
    steps: u64,
    epsilon: f64,
    delta: f64,
    accountant: &'static str,
    found: &'static str,
}

/// More steps than any run takes: where even these fit, they are the answer.
const MOST_STEPS: u64 = 1 << 40;

pub(super) fn run(command: &PrivacyCommand, console: &Console) -> Result<(), Failure> {
    match command {
        PrivacyCommand::Epsilon(args) => cost(args, console),
        PrivacyCommand::Calibrate(args) => calibrate(args, console),
    }
}

fn cost(args: &EpsilonArgs, console: &Console) -> Result<(), Failure> {
    let mut phases = Vec::new();
    if let (Some(sampling_rate), Some(noise_multiplier), Some(steps)) =
        (args.sampling_rate, args.noise_multiplier, args.steps)
    {
        phases.push(Phase {
            sampling_rate,
            noise_multiplier,
            steps: Steps::new(steps),
        });
    }
    phases.extend(&args.phase);
    let rdp = Rdp.epsilon(&phases, args.delta).map_err(refusal)?;
    let pld = Pld.epsilon(&phases, args.delta).map_err(refusal)?;
    if pld.get().is_infinite() {
        return Err(unbounded(args.delta));
    }
    let cost = Cost {
        rdp: rdp.get().is_finite().then_some(rdp.get()),
        pld: pld.get(),
        delta: args.delta.get(),
        phases,
    };
    console.result(&cost, |out| print_cost(out, &cost, rdp, pld))
}

fn print_cost(out: &mut dyn Write, cost: &Cost, rdp: Epsilon, pld: Epsilon) -> io::Result<()> {
    let mut table = Table::new([
        ("accountant", Align::Left),
        ("epsilon", Align::Right),
        ("delta", Align::Right),
    ]);
    for (name, epsilon) in [(Rdp.name(), rdp), (Pld.name(), pld)] {
        table.row([
            name.to_owned(),
            epsilon.to_string(),
            format!("{:e}", cost.delta),
        ]);
    }
    write!(out, "{table}")
}

fn calibrate(args: &CalibrateArgs, console: &Console) -> Result<(), Failure> {
    let accountant: &dyn Accountant = match args.accountant {
        Which::Pld => &Pld,
        Which::Rdp => &Rdp,
    };
    let (target, delta) = (args.epsilon, args.delta);
    let given = (
        args.sampling_rate,
        args.noise_multiplier,
        args.steps.map(Steps::new),
    );
    let (phase, found) = match given {
        (Some(sampling_rate), None, Some(steps)) => {
            let noise_multiplier = calibrate_noise(accountant, target, delta, sampling_rate, steps)
                .map_err(refusal)?;
            let phase = Phase {
                sampling_rate,
                noise_multiplier,
                steps,
            };
            (phase, "noise_multiplier")
        }
        (Some(sampling_rate), Some(noise_multiplier), None) => {
            let steps = largest_steps(
                accountant,
                &[],
                sampling_rate,
                noise_multiplier,
                target,
                delta,
                Steps::new(MOST_STEPS),
            )
            .map_err(refusal)?;
            if steps == Steps::new(0) {
                return Err(not_one_step(target));
            }
            let phase = Phase {
                sampling_rate,
                noise_multiplier,
                steps,
            };
            (phase, "steps")
        }
        (None, Some(noise_multiplier), Some(steps)) => {
            let sampling_rate = calibrate_rate(accountant, target, delta, noise_multiplier, steps)
                .map_err(refusal)?;
            let phase = Phase {
                sampling_rate,
                noise_multiplier,
                steps,
            };
            (phase, "sampling_rate")
        }
        _ => return Err(not_two()),
    };
    let epsilon = accountant.epsilon(&[phase], delta).map_err(refusal)?;
    let calibrated = Calibrated {
        sampling_rate: phase.sampling_rate.get(),
        noise_multiplier: phase.noise_multiplier.get(),
        steps: phase.steps.get(),
        epsilon: epsilon.get(),
        delta: delta.get(),
        accountant: accountant.name(),
        found,
    };
    console.result(&calibrated, |out| {
        writeln!(
            out,
            "sampling rate {}, noise multiplier {}, {} steps: epsilon {epsilon} at delta {:e} ({})",
            calibrated.sampling_rate,
            calibrated.noise_multiplier,
            calibrated.steps,
            calibrated.delta,
            calibrated.accountant
        )
    })
}

fn refusal(error: AccountingError) -> Failure {
    Failure::from_error(ErrorCode::USAGE, &error).blame(Blame::Configuration)
}

fn unbounded(delta: Delta) -> Failure {
    Failure::new(
        ErrorCode::USAGE,
        format!("no accountant gives a finite epsilon at delta {delta} for so little noise"),
    )
    .hint("give a larger --noise-multiplier or a larger --delta")
    .blame(Blame::Configuration)
}

fn not_one_step(target: Epsilon) -> Failure {
    Failure::new(
        ErrorCode::USAGE,
        format!("not one step keeps within epsilon {target}"),
    )
    .hint("allow a larger --epsilon or --delta, a lower --sampling-rate or more noise")
    .blame(Blame::Configuration)
}

fn not_two() -> Failure {
    Failure::new(
        ErrorCode::USAGE,
        "expected two of --sampling-rate, --noise-multiplier and --steps",
    )
    .hint("leave out the one that is to be found")
    .blame(Blame::Configuration)
}

fn number<T>(text: &str, make: fn(f64) -> Result<T, OutOfRange>) -> Result<T, String> {
    let number = f64::from_str(text).map_err(|_| format!("expected a number, got {text}"))?;
    make(number).map_err(|error| error.to_string())
}

fn rate(text: &str) -> Result<SamplingRate, String> {
    number(text, SamplingRate::new)
}

fn noise(text: &str) -> Result<NoiseMultiplier, String> {
    number(text, NoiseMultiplier::new)
}

fn delta(text: &str) -> Result<Delta, String> {
    number(text, Delta::new)
}

fn epsilon(text: &str) -> Result<Epsilon, String> {
    let epsilon = number(text, Epsilon::new)?;
    if epsilon.get() > 0.0 && epsilon.get().is_finite() {
        Ok(epsilon)
    } else {
        Err(format!("epsilon must be above 0 and finite, got {text}"))
    }
}

fn phase(text: &str) -> Result<Phase, String> {
    let parts: Vec<&str> = text.split(',').map(str::trim).collect();
    let [q, s, t] = parts[..] else {
        return Err(format!(
            "expected a sampling rate, a noise multiplier and a number of steps, such as 0.01,1.1,1000, got {text}"
        ));
    };
    let steps = t
        .parse()
        .map_err(|_| format!("expected a whole number of steps, got {t}"))?;
    Ok(Phase {
        sampling_rate: rate(q)?,
        noise_multiplier: noise(s)?,
        steps: Steps::new(steps),
    })
}
