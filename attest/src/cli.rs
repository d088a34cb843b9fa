//! The program `attest`: makes simulated roots and platforms, measures programs, verifies evidence.

mod output;

use std::{
    ffi::OsString,
    fs::File,
    io::{self, Read, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use chrono::{DateTime, TimeDelta, Utc};
use clap::{Args, Parser, Subcommand};
use serde_json::json;

use self::output::{Failed, Outcome, print};
use crate::{
    Evidence, Measurement, PlatformConfig, Policy, Refusal, ReportData, SimulatedHardware,
    SimulatedRoot, Tee, Verdict, appraise, danger_read_unverified,
};

/// Runs the program with the process's arguments.
pub fn main() -> ExitCode {
    ExitCode::from(run(
        std::env::args_os(),
        Utc::now(),
        &mut io::stdout().lock(),
        &mut io::stderr().lock(),
    ))
}

/// Runs the program and gives its exit code: 0 done, 1 failure, 2 usage, 10 attestation refused.
pub fn run(
    args: impl IntoIterator<Item = OsString>,
    now: DateTime<Utc>,
    stdout: &mut dyn Write,
    stderr: &mut dyn Write,
) -> u8 {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are results; the rest is said on stderr. Nobody is left to tell where that fails.
            let to: &mut dyn Write = if error.use_stderr() { stderr } else { stdout };
            let _ = write!(to, "{}", error.render());
            return error.exit_code().try_into().unwrap_or(USAGE);
        }
    };
    let outcome = execute(cli.command, now);
    print(&outcome, cli.json, stdout, stderr)
}

/// Makes and verifies evidence of what runs in a trusted execution environment.
///
/// Exit codes: 0 done, 1 failure, 2 usage, 10 attestation refused.
#[derive(Debug, Parser)]
#[command(
    name = "attest",
    version,
    after_help = "Examples:
  attest simulated new-root --out federation
  attest simulated new-platform --root federation --name agent-1 --out agent-1.platform
  attest measure simulated /usr/bin/agent
  attest verify --evidence peer.evidence --policy policy.json --report-data 07…07"
)]
struct Cli {
    /// Print one JSON object on stdout.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make roots and platforms of the simulated TEE, which protects nothing.
    #[command(subcommand)]
    Simulated(Simulated),
    /// Print the measurement of a program: the reference value that a policy names.
    #[command(after_help = "Example:\n  attest measure simulated target/release/aggregator")]
    Measure {
        /// The kind of TEE that the program will run in: simulated (sev-snp and tdx are not built yet).
        tee: Tee,
        /// The program's file.
        file: PathBuf,
    },
    /// Appraise evidence against a policy, offline, and print every check.
    #[command(after_help = "Examples:
  attest verify --evidence peer.evidence --policy policy.json --report-data $(cat expected.hex)
  attest verify --evidence old.evidence --policy policy.json --report-data 07…07 --time 2026-11-20T12:00:00Z --json")]
    Verify(VerifyArgs),
    /// Print what evidence states about itself, unverified.
    #[command(after_help = "Example:\n  attest show peer.evidence --json")]
    Show {
        /// The evidence's file.
        file: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
enum Simulated {
    /// Make the root of a federation: root.key to keep, root.pub for the contract's policy.
    #[command(after_help = "Example:\n  attest simulated new-root --out federation")]
    NewRoot {
        /// The folder for root.key and root.pub.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
    /// Make a platform that the root certifies: one file for each machine.
    #[command(after_help = "Examples:
  attest simulated new-platform --root federation --name agent-1 --out agent-1.platform
  attest simulated new-platform --root federation --name td-1 --out td-1.platform --plays tdx
  attest simulated new-platform --root federation --name old --out old.platform --hardware old-firmware.json
The hardware and the launch that --json prints name every field that such files may change.")]
    NewPlatform(NewPlatformArgs),
}

#[derive(Debug, Args)]
struct NewPlatformArgs {
    /// The root's folder.
    #[arg(long, value_name = "DIR")]
    root: PathBuf,
    /// A name for people: letters, digits and -_.@
    #[arg(long)]
    name: String,
    /// The file to write.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// The kind of TEE that it plays: sev-snp or tdx.
    #[arg(long, default_value = "sev-snp")]
    plays: Tee,
    /// A file of changes to the hardware: JSON such as {"sev-snp": {"reported_tcb": {"microcode": 0}}}.
    #[arg(long, value_name = "FILE")]
    hardware: Option<PathBuf>,
    /// A file of changes to how machines are launched: JSON such as {"sev-snp": {"vmpl": 1}}.
    #[arg(long, value_name = "FILE")]
    launch: Option<PathBuf>,
    /// Days for which the certificate is valid.
    #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=36_500))]
    days: u32,
}

#[derive(Debug, Args)]
struct VerifyArgs {
    /// The evidence's file.
    #[arg(long, value_name = "FILE")]
    evidence: PathBuf,
    /// The policy's file: a contract's appraisal policy, JSON.
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
    /// The 64 bytes that the evidence must have been made for.
    #[arg(long, value_name = "HEX")]
    report_data: ReportData,
    /// Appraise as at this time, RFC 3339 or seconds since 1970 [default: now].
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    time: Option<DateTime<Utc>>,
}

fn execute(command: Command, now: DateTime<Utc>) -> Outcome {
    let result = match command {
        Command::Simulated(Simulated::NewRoot { out }) => new_root(&out),
        Command::Simulated(Simulated::NewPlatform(args)) => new_platform(args, now),
        Command::Measure { tee, file } => measure(tee, &file),
        Command::Verify(args) => verify(&args, now),
        Command::Show { file } => show(&file),
    };
    result.unwrap_or_else(Outcome::Failed)
}

fn new_root(out: &Path) -> Result<Outcome, Failed> {
    let root = SimulatedRoot::generate()?;
    root.save(out)?;
    let key = root.public_key();
    Ok(Outcome::done(
        key.to_string(),
        json!({ "simulated_root": key, "folder": out }),
    )
    .with_note(format!(
        "wrote root.key and root.pub into {}; name the printed key in the policy's simulated_roots, keep root.key",
        out.display()
    )))
}

fn new_platform(args: NewPlatformArgs, now: DateTime<Utc>) -> Result<Outcome, Failed> {
    let root = SimulatedRoot::load(&args.root)?;
    let mut hardware = match args.plays {
        Tee::SevSnp => SimulatedHardware::random_snp()?,
        Tee::Tdx => SimulatedHardware::random_tdx()?,
        Tee::Simulated => {
            return Err(Failed {
                code: "usage",
                message: "a simulated platform plays sev-snp or tdx, got simulated".into(),
                hint: "name the kind whose fields it should state".into(),
            });
        }
    };
    if let Some(file) = &args.hardware {
        hardware = hardware.with_changes(&read_changes(file)?)?;
    }
    let mut config = PlatformConfig::on(&args.name, hardware, now);
    if let Some(file) = &args.launch {
        config.launch = config.launch.with_changes(&read_changes(file)?)?;
    }
    config.not_after = now + TimeDelta::days(args.days.into());
    let platform = root.certify(config)?;
    platform.save(&args.out)?;
    let not_after = platform.not_after();
    let identity = match platform.hardware() {
        SimulatedHardware::SevSnp(snp) => snp.chip_id.to_string(),
        SimulatedHardware::Tdx(tdx) => tdx
            .platform_instance_id
            .map_or_else(|| "no platform instance id".to_owned(), |id| id.to_string()),
    };
    let data = json!({
        "name": platform.name(),
        "identity": identity,
        "hardware": platform.hardware(),
        "launch": platform.launch_defaults(),
        "not_after": not_after,
        "simulated_root": root.public_key(),
        "file": args.out,
    });
    Ok(Outcome::done(identity, data).with_note(format!(
        "wrote {}, valid until {not_after}; what is printed is for a policy's chip_ids or platform_instance_ids",
        args.out.display()
    )))
}

fn measure(tee: Tee, file: &Path) -> Result<Outcome, Failed> {
    if tee != Tee::Simulated {
        return Err(Failed {
            code: "not-built",
            message: format!("measurements for {tee} are not built into this version"),
            hint: "measure for simulated, or use a version that predicts measurements for this TEE"
                .into(),
        });
    }
    let measurement = Measurement::of_file(file).map_err(|error| cannot_read(file, &error))?;
    let data = json!({ "tee": tee, "measurement": measurement, "file": file });
    Ok(Outcome::done(measurement.to_string(), data))
}

fn verify(args: &VerifyArgs, now: DateTime<Utc>) -> Result<Outcome, Failed> {
    let evidence = read_evidence(&args.evidence)?;
    let policy = read_policy(&args.policy)?;
    let time = args.time.unwrap_or(now);
    Ok(
        match appraise(&policy, &evidence, &args.report_data, time) {
            Ok(verdict) => accepted(&verdict),
            Err(refusal) => refused(refusal),
        },
    )
}

fn accepted(verdict: &Verdict) -> Outcome {
    let text = format!("{}accepted: {verdict}", output::table(&verdict.checks));
    Outcome::done(text, json!(verdict))
}

fn refused(refusal: Refusal) -> Outcome {
    Outcome::Refused(Box::new(refusal))
}

fn show(file: &Path) -> Result<Outcome, Failed> {
    let evidence = read_evidence(file)?;
    let claims = danger_read_unverified(&evidence).map_err(|message| Failed {
        code: "not-readable",
        message,
        hint: "have the peer make new evidence, or use a version that reads this kind".into(),
    })?;
    let endorsements: Vec<usize> = evidence.endorsements().iter().map(Vec::len).collect();
    let data = json!({
        "verified": false,
        "report_bytes": evidence.report().len(),
        "endorsement_bytes": endorsements,
        "claims": claims,
    });
    let mut text = format!("report of {} bytes, UNVERIFIED\n", evidence.report().len());
    if let Some(fields) = data["claims"].as_object() {
        for (name, value) in fields {
            let value = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            text.push_str(&format!("{name:<12} {value}\n"));
        }
    }
    if let Some(warning) = claims.tee.warning() {
        text.push_str(warning);
    }
    Ok(Outcome::done(text, data))
}

fn read_changes(file: &Path) -> Result<String, Failed> {
    String::from_utf8(read_limited(file, MAX_CHANGES)?).map_err(|error| Failed {
        code: "malformed-configuration",
        message: format!("{}: {error}", file.display()),
        hint: "write the changes as JSON".into(),
    })
}

fn read_evidence(file: &Path) -> Result<Evidence, Failed> {
    let bytes = read_limited(file, Evidence::MAX_ENCODED)?;
    Evidence::from_bytes(&bytes).map_err(|error| Failed {
        code: "malformed-evidence",
        message: format!("{}: {error}", file.display()),
        hint: "have the peer make new evidence".into(),
    })
}

fn read_policy(file: &Path) -> Result<Policy, Failed> {
    let bytes = read_limited(file, MAX_POLICY)?;
    serde_json::from_slice(&bytes).map_err(|error| Failed {
        code: "malformed-policy",
        message: format!("{}: {error}", file.display()),
        hint: "state every criterion, with \"any\" for what does not matter".into(),
    })
}

fn read_limited(file: &Path, limit: usize) -> Result<Vec<u8>, Failed> {
    let mut bytes = Vec::new();
    File::open(file)
        .and_then(|opened| opened.take(limit as u64 + 1).read_to_end(&mut bytes))
        .map_err(|error| cannot_read(file, &error))?;
    if bytes.len() > limit {
        return Err(Failed {
            code: "too-large",
            message: format!(
                "{} may have at most {limit} bytes, got more",
                file.display()
            ),
            hint: "check that it is the right file".into(),
        });
    }
    Ok(bytes)
}

fn cannot_read(file: &Path, error: &io::Error) -> Failed {
    Failed {
        code: "not-readable",
        message: format!("{} could not be read: {error}", file.display()),
        hint: "check the path and its permissions".into(),
    }
}

fn parse_time(text: &str) -> Result<DateTime<Utc>, String> {
    let seconds = text
        .parse()
        .ok()
        .and_then(|s| DateTime::from_timestamp(s, 0));
    seconds
        .or_else(|| {
            DateTime::parse_from_rfc3339(text)
                .ok()
                .map(|time| time.to_utc())
        })
        .ok_or_else(|| {
            format!(
                "expected a time as 2026-11-20T12:00:00Z or in seconds since 1970, got {text:?}"
            )
        })
}

/// A policy with all lists at their limit and every entry as long as can be takes about 2 MiB.
const MAX_POLICY: usize = 4 * 1024 * 1024;
/// Every field of a platform, with all advisories that there are, takes less.
const MAX_CHANGES: usize = 64 * 1024;
const USAGE: u8 = 2;
