//! `attest verify`: the appraisal of evidence that lies in a file.

use std::path::PathBuf;

use chrono::{DateTime, Utc};
use clap::Args;
use serde_json::json;
use tributary_attest::{
    Collateral, DatedReportData, Evidence, Policy, Refusal, ReportData, Verdict, appraise,
    appraise_dated, danger_appraise_any_report_data,
};
use tributary_console::{Blame, Console, ErrorCode, Failure};

use crate::{
    failures::{collateral_failure, refusal_failure},
    files::{malformed, read_policy},
    input::Input,
    table::table,
    time::parse_time,
};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  attest verify --evidence report.bin --endorsement vcek.der
  attest verify --evidence quote.bin --endorsement collateral.json --time 2025-06-27T04:53:20Z
  attest verify --evidence peer.evidence --collateral /var/lib/tributary/collateral \\
      --policy policy.json --report-data $(cat expected.hex) --json
  attest verify --evidence report.bin --endorsement vcek.der --constraint 'C:<measurement> SEC:SECURE'

Exit code 0: accepted. 10: refused, with every check that was made.")]
pub(crate) struct VerifyArgs {
    /// The evidence: an SEV-SNP report, a TDX quote, or this project's own container; told by content.
    #[arg(long, value_name = "FILE")]
    evidence: PathBuf,
    /// What vouches for the evidence's signer: certificates in DER or PEM, or TDX collateral as JSON. May be repeated.
    #[arg(long = "endorsement", value_name = "FILE")]
    endorsements: Vec<PathBuf>,
    /// A folder of certificates, revocation lists and TCB documents, as docs/collateral.md lays it out.
    #[arg(long, env = "TRIBUTARY_COLLATERAL", value_name = "DIR")]
    collateral: Option<PathBuf>,
    /// The policy's file, JSON [default: genuine hardware, in date, not debugged, VMPL 0, consistent firmware].
    #[arg(long, value_name = "FILE", conflicts_with = "constraint")]
    policy: Option<PathBuf>,
    /// A policy in one line, such as "C:<measurement> S:<signer> PROD:1 SVN:3 SEC:SECURE AGE:P30D".
    #[arg(long, value_name = "STR")]
    constraint: Option<String>,
    /// The 64 bytes that the evidence must have been made for; not checked where left out.
    #[arg(long, value_name = "HEX")]
    report_data: Option<ReportData>,
    /// Since when these 64 bytes could be known, such as when a nonce in them was drawn: dates evidence that holds no time.
    #[arg(long, value_name = "TIME", value_parser = parse_time, requires = "report_data")]
    report_data_since: Option<DateTime<Utc>>,
    /// Appraise as at this time, RFC 3339 or seconds since 1970 [default: now].
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    time: Option<DateTime<Utc>>,
}

pub(crate) fn run(args: &VerifyArgs, console: &Console, now: DateTime<Utc>) -> Result<(), Failure> {
    let evidence = evidence(args)?;
    let policy = policy(args)?;
    let collateral = match &args.collateral {
        Some(folder) => Collateral::load(folder).map_err(collateral_failure)?,
        None => Collateral::empty(),
    };
    let time = args.time.unwrap_or(now);
    let outcome = match (args.report_data, args.report_data_since) {
        (Some(report_data), Some(since)) => {
            let expected = DatedReportData { report_data, since };
            appraise_dated(&policy, &evidence, &expected, &collateral, time)
        }
        (Some(expected), None) => appraise(&policy, &evidence, &expected, &collateral, time),
        // Nobody connects to a file: what it was made for may be unknown, and the output says that it was not checked.
        (None, _) => danger_appraise_any_report_data(&policy, &evidence, &collateral, time),
    };
    match outcome {
        Ok(verdict) => accept(&verdict, console),
        Err(refusal) => Err(refuse(&refusal)),
    }
}

fn evidence(args: &VerifyArgs) -> Result<Evidence, Failure> {
    let endorsements = args
        .endorsements
        .iter()
        .map(|file| {
            Input::read(file)?
                .into_endorsement()
                .map_err(|reason| malformed(file, reason))
        })
        .collect::<Result<_, _>>()?;
    Input::read(&args.evidence)?
        .into_evidence(endorsements)
        .map_err(|reason| malformed(&args.evidence, reason))
}

fn policy(args: &VerifyArgs) -> Result<Policy, Failure> {
    match (&args.policy, &args.constraint) {
        (Some(file), _) => read_policy(file),
        (None, Some(line)) => Policy::from_constraint(line).map_err(|error| {
            Failure::from_error(ErrorCode::POLICY_INVALID, &error)
                .hint("write it as C:<measurement> S:<signer> PROD:1 SVN:3 SEC:SECURE AGE:P30D")
                .blame(Blame::Configuration)
        }),
        (None, None) => Ok(Policy::default_for_verify()),
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
