//! Measures what one appraisal of simulated evidence costs: `cargo run --release -p tributary-attest --example appraisal_cost`.

use std::time::Instant;

use chrono::Utc;
use tributary_attest::{
    Attester, Collateral, Evidence, LaunchConfig, Measurement, PlatformConfig, Policy, ReportData,
    SimulatedRoot, appraise,
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let now = Utc::now();
    let root = SimulatedRoot::generate()?;
    let measurement = Measurement::of_current_exe()?;
    let machine = root
        .certify(PlatformConfig::new("bench", now)?)?
        .launch(measurement, LaunchConfig::default());
    let policy = Policy::simulated(root.public_key(), [measurement]);
    let report_data = ReportData::new([7; 64]);
    let encoded = machine.attest(&report_data)?.to_bytes();

    let collateral = Collateral::empty();
    let attest = median(|| machine.attest(&report_data).is_ok());
    let verify = median(|| {
        Evidence::from_bytes(&encoded).is_ok_and(|evidence| {
            appraise(&policy, &evidence, &report_data, &collateral, now).is_ok()
        })
    });
    let bytes = encoded.len();
    println!(
        "evidence {bytes} bytes; median of {RUNS}: attest {attest:.0} us, decode and appraise {verify:.0} us"
    );
    Ok(())
}

/// The median of the run's wall time in microseconds.
fn median(run: impl Fn() -> bool) -> f64 {
    let mut times: Vec<f64> = (0..RUNS)
        .map(|_| {
            let start = Instant::now();
            assert!(run());
            start.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[RUNS / 2]
}

const RUNS: usize = 2001;
