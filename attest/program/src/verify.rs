//! `attest verify`: the appraisal of evidence that lies in a file.

use std::path::PathBuf;

use chrono::{DateTime, Utc};
use clap::Args;
use serde_json::json;
use tributary_attest::{Collateral, Evidence, Refusal, ReportData, Verdict, appraise};
use tributary_console::{Console, Failure};

use crate::{
    failures::refusal_failure,
    files::{malformed, read_limited, read_policy},
    table::table,
    time::parse_time,
};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  attest verify --evidence peer.evidence --policy policy.json --report-data $(cat expected.hex)
  attest verify --evidence old.evidence --policy policy.json --report-data 07…07 --time 2026-11-20T12:00:00Z --json")]
pub(crate) struct VerifyArgs {
    /// The evidence's file.
    #[arg(long, value_name = "FILE")]
    evidence: PathBuf,
    /// The policy's file: a contract's appraisal policy, JSON.
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
    /// The 64 bytes that the evidence must have been made for.
    #[arg(long, value_name = "HEX")]
    report_data: ReportData,
    /// The folder of collateral by which evidence of hardware is judged, as `attest collateral fetch` fills it.
    #[arg(long, env = "TRIBUTARY_COLLATERAL", value_name = "DIR")]
    collateral: Option<PathBuf>,
    /// Appraise as at this time, RFC 3339 or seconds since 1970 [default: now].
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    time: Option<DateTime<Utc>>,
}

pub(crate) fn run(args: &VerifyArgs, console: &Console, now: DateTime<Utc>) -> Result<(), Failure> {
    let bytes = read_limited(&args.evidence, Evidence::MAX_ENCODED)?;
    let evidence =
        Evidence::from_bytes(&bytes).map_err(|error| malformed(&args.evidence, error))?;
    let policy = read_policy(&args.policy)?;
    let time = args.time.unwrap_or(now);
    let collateral = match &args.collateral {
        Some(folder) => Collateral::load(folder).map_err(|error| malformed(folder, error))?,
        None => Collateral::empty(),
    };
    match appraise(&policy, &evidence, &args.report_data, &collateral, time) {
        Ok(verdict) => accept(&verdict, console),
        Err(refusal) => Err(refuse(&refusal)),
    }
}

fn accept(verdict: &Verdict, console: &Console) -> Result<(), Failure> {
    console.result(verdict, |out| {
        writeln!(out, "{}accepted: {verdict}", table(&verdict.checks))
    })
}

fn refuse(refusal: &Refusal) -> Failure {
    refusal_failure(refusal).finding(json!(refusal), table(refusal.checks()))
}
