//! What both accountants say, and how long it takes them.
//!
//! `cargo run --release -p tributary-accounting --example epsilon -- DELTA Q SIGMA STEPS [Q SIGMA STEPS]…`

use std::time::Instant;

use tributary_accounting::{
    Accountant, AccountingError, Delta, NoiseMultiplier, Phase, Pld, Rdp, SamplingRate, Steps,
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let numbers = std::env::args()
        .skip(1)
        .map(|argument| argument.parse())
        .collect::<Result<Vec<f64>, _>>()?;
    let Some((delta, phases)) = numbers.split_first() else {
        return Err("usage: epsilon DELTA Q SIGMA STEPS [Q SIGMA STEPS]…".into());
    };
    let phases = phases
        .chunks(3)
        .map(|phase| match phase {
            [rate, noise, steps] => Ok(Phase {
                sampling_rate: SamplingRate::new(*rate)?,
                noise_multiplier: NoiseMultiplier::new(*noise)?,
                steps: Steps::new(*steps as u64),
            }),
            _ => Err("expected three numbers for each phase: rate, noise multiplier, steps".into()),
        })
        .collect::<Result<Vec<_>, Box<dyn std::error::Error>>>()?;
    let delta = Delta::new(*delta)?;
    for accountant in [&Rdp as &dyn Accountant, &Pld] {
        print(accountant, &phases, delta)?;
    }
    Ok(())
}

fn print(
    accountant: &dyn Accountant,
    phases: &[Phase],
    delta: Delta,
) -> Result<(), AccountingError> {
    let start = Instant::now();
    let epsilon = accountant.epsilon(phases, delta)?;
    println!(
        "{} {:.6} in {:.1} ms",
        accountant.name(),
        epsilon.get(),
        start.elapsed().as_secs_f64() * 1e3
    );
    Ok(())
}
