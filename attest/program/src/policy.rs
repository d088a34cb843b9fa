//! `attest policy`: policies from reference values.

use std::{
    fs::OpenOptions,
    io::Write as _,
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};
use serde_json::Value;
use tributary_attest::{
    Measurement, Policy, ReferenceValues, Rtmr, SimulatedRootKey, TdxReference,
};
use tributary_console::{Blame, Console, ErrorCode, Failure, FailureContext as _};

use crate::files::read_limited;

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Write the policy that accepts the machines whose measurements are given, and no others.
    New(NewArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  attest measure snp --firmware OVMF.fd --vcpus 4 --vcpu-type EPYC-Milan --json > small.json
  attest measure snp --firmware OVMF.fd --vcpus 8 --vcpu-type EPYC-Milan --json > large.json
  attest policy new --from small.json --from large.json --out policy.json
  attest policy new --snp-measurement 0123…ef

Every criterion stands in the file: strict where it can be, else \"any\" for people to fill in.")]
pub(crate) struct NewArgs {
    /// What `attest measure … --json` printed; may be given several times.
    #[arg(long, value_name = "FILE", required_unless_present_any = ["snp_measurement", "mrtd"])]
    from: Vec<PathBuf>,
    /// A launch digest of SEV-SNP; may be given several times.
    #[arg(long, value_name = "HEX")]
    snp_measurement: Vec<Measurement>,
    /// An MRTD of TDX, with any RTMRs; may be given several times.
    #[arg(long, value_name = "HEX")]
    mrtd: Vec<Measurement>,
    /// The root of the simulated platforms, for measurements of the simulated TEE alone.
    #[arg(long, value_name = "HEX")]
    simulated_root: Option<SimulatedRootKey>,
    /// The file to write, which must not exist [default: stdout].
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

pub(crate) fn run(command: PolicyCommand, console: &Console) -> Result<(), Failure> {
    match command {
        PolicyCommand::New(args) => new(&args, console),
    }
}

fn new(args: &NewArgs, console: &Console) -> Result<(), Failure> {
    let mut references = ReferenceValues {
        snp: args.snp_measurement.clone(),
        tdx: args
            .mrtd
            .iter()
            .map(|&mrtd| TdxReference {
                mrtd,
                rtmrs: [None; 3],
            })
            .collect(),
    };
    let mut simulated = Vec::new();
    for file in &args.from {
        read_into(file, &mut references, &mut simulated, console)?;
    }
    let policy = match (args.simulated_root, simulated.is_empty()) {
        (None, true) => Policy::of_references(&references)
            .map_err(|error| invalid(error, "measure each machine with the same options"))?,
        (Some(root), false) if references == ReferenceValues::default() => {
            Policy::simulated(root, simulated)
        }
        (None, false) => {
            return Err(invalid(
                "a measurement is of the simulated TEE, and no root of it is named",
                "give --simulated-root",
            ));
        }
        (Some(_), true) => {
            return Err(invalid(
                "a simulated root is named, and no measurement is of the simulated TEE",
                "leave --simulated-root out",
            ));
        }
        (Some(_), false) => {
            return Err(invalid(
                "measurements of the simulated TEE and of hardware are given together: a policy that takes both protects nothing",
                "write a policy for each",
            ));
        }
    };
    policy
        .check()
        .map_err(|error| invalid(error, "correct the named value"))?;
    let text = serde_json::to_string_pretty(&policy).or_fail(ErrorCode::INTERNAL, "the policy")?;
    if let Some(file) = &args.out {
        let mut options = OpenOptions::new();
        options
            .write(true)
            .create_new(true)
            .open(file)
            .and_then(|mut opened| writeln!(opened, "{text}").and_then(|()| opened.sync_all()))
            .or_fail(ErrorCode::IO, file.display())?;
    }
    console.result(&policy, |out| match &args.out {
        Some(file) => writeln!(out, "wrote {}", file.display()),
        None => writeln!(out, "{text}"),
    })
}

/// Takes one output of `attest measure`.
fn read_into(
    file: &Path,
    references: &mut ReferenceValues,
    simulated: &mut Vec<Measurement>,
    console: &Console,
) -> Result<(), Failure> {
    let bytes = read_limited(file, MAX_OUTPUT)?;
    let said = |error: String| {
        invalid(
            format!("{}: {error}", file.display()),
            "give what `attest measure … --json` printed",
        )
    };
    let output: Value = serde_json::from_slice(&bytes).map_err(|error| said(error.to_string()))?;
    if output["schema_version"] != 1 || output["status"] != "ok" {
        return Err(said(
            "expected an object with schema_version 1 and status \"ok\"".to_owned(),
        ));
    }
    let data = &output["data"];
    let value = |name: &str| match &data[name] {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.as_str())),
        other => Err(said(format!(
            "expected `{name}` as hexadecimal, got {other}"
        ))),
    };
    let measurement = |name: &str| match value(name)? {
        Some(text) => text
            .parse::<Measurement>()
            .map_err(|error| said(error.to_string())),
        None => Err(said(format!("expected `{name}`, got none"))),
    };
    match data["tee"].as_str() {
        Some("simulated") => simulated.push(measurement("measurement")?),
        Some("sev-snp") => {
            references.snp.push(measurement("measurement")?);
            if data["kernel_covered"] != true {
                console.warn(format_args!(
                    "{}: the digest does not cover a kernel",
                    file.display()
                ));
            }
        }
        Some("tdx") => {
            let mut rtmrs = [None; 3];
            for (index, rtmr) in rtmrs.iter_mut().enumerate() {
                let text = value(&format!("rtmr{index}"))?;
                *rtmr = text
                    .map(str::parse::<Rtmr>)
                    .transpose()
                    .map_err(|error| said(error.to_string()))?;
                if rtmr.is_none() {
                    console.warn(format_args!(
                        "{}: rtmr{index} is not known and will be any",
                        file.display()
                    ));
                }
            }
            references.tdx.push(TdxReference {
                mrtd: measurement("mrtd")?,
                rtmrs,
            });
        }
        other => {
            return Err(said(format!(
                "expected `tee` as simulated, sev-snp or tdx, got {other:?}"
            )));
        }
    }
    Ok(())
}

fn invalid(message: impl std::fmt::Display, hint: &str) -> Failure {
    Failure::new(ErrorCode::POLICY_INVALID, message.to_string())
        .hint(hint)
        .blame(Blame::Configuration)
}

/// An event log's events make the longest outputs.
const MAX_OUTPUT: usize = 16 * 1024 * 1024;
