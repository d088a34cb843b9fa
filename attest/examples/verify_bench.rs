//! Measures what verifying evidence of hardware costs: `cargo run --release -p tributary-attest --example verify_bench`.
//!
//! It reads real evidence from `../shared/vectors` or the folder that `TRIBUTARY_SHARED` names, and appraises it in
//! full under the default policy, decoding of the container included.

use std::{error::Error, fs, path::PathBuf, time::Instant};

use chrono::{DateTime, Utc};
use tributary_attest::{
    Collateral, Evidence, Policy, ReportData, Tee, appraise, danger_read_unverified,
};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::var_os("TRIBUTARY_SHARED").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared"),
        PathBuf::from,
    );
    let read = |name: &str| fs::read(folder.join("vectors").join(name));
    let snp = Case::new(
        Tee::SevSnp,
        read("snp/genoa-v5.report.bin")?,
        read("snp/genoa-v5.vcek.pem")?,
        "2025-09-01T00:00:00Z",
    )?;
    let shared = Collateral::empty();
    let cached = median(|| snp.accepted(&shared));
    let uncached = median(|| snp.accepted(&Collateral::empty()));
    println!(
        "SEV-SNP report: median of {RUNS}: chain cached {cached:.2} ms, not cached {uncached:.2} ms"
    );
    let tdx = Case::new(
        Tee::Tdx,
        read("tdx/v4-uptodate.quote.bin")?,
        read("tdx/v4-uptodate.collateral.json")?,
        "2025-06-27T04:53:20Z",
    )?;
    let quote = median(|| tdx.accepted(&shared));
    println!("TDX quote: median of {RUNS}: {quote:.2} ms");
    Ok(())
}

struct Case {
    encoded: Vec<u8>,
    report_data: ReportData,
    policy: Policy,
    now: DateTime<Utc>,
}

impl Case {
    fn new(
        tee: Tee,
        report: Vec<u8>,
        endorsement: Vec<u8>,
        now: &str,
    ) -> Result<Self, Box<dyn Error>> {
        let evidence = Evidence::new(tee, report, vec![endorsement])?;
        Ok(Self {
            encoded: evidence.to_bytes(),
            // Recorded evidence was made for another occasion: what it states is what is expected here.
            report_data: danger_read_unverified(&evidence)?.report_data,
            policy: Policy::default_for_verify(),
            now: now.parse()?,
        })
    }

    fn accepted(&self, collateral: &Collateral) -> bool {
        Evidence::from_bytes(&self.encoded).is_ok_and(|evidence| {
            appraise(
                &self.policy,
                &evidence,
                &self.report_data,
                collateral,
                self.now,
            )
            .is_ok()
        })
    }
}

/// The median of the run's wall time in milliseconds.
fn median(run: impl Fn() -> bool) -> f64 {
    assert!(run());
    let mut times: Vec<f64> = (0..RUNS)
        .map(|_| {
            let start = Instant::now();
            assert!(run());
            start.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[RUNS / 2]
}

const RUNS: usize = 501;
