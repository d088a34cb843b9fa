//! `attest simulated`: the root and the platforms of a federation that rehearses without a TEE.

use std::path::{Path, PathBuf};

use chrono::{DateTime, TimeDelta, Utc};
use clap::{Args, Subcommand};
use serde_json::json;
use tributary_attest::{
    PlatformConfig, SimulatedHardware, SimulatedPlatform, SimulatedPlatformKey, SimulatedRoot, Tee,
};
use tributary_console::{Blame, Console, ErrorCode, Failure, FailureContext as _};
use tributary_durable::{Readers, replace};

use crate::{
    failures::simulated_failure,
    files::{malformed, read_limited},
    input::Input,
};

#[derive(Debug, Subcommand)]
pub(crate) enum SimulatedCommand {
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
    /// Take platforms back: a list for the folder `simulated` of the collateral of those who judge.
    #[command(after_help = "Examples:
  attest simulated revoke --root federation --platform agent-1.platform --out collateral/simulated/federation.crl
  attest simulated revoke --root federation --evidence peer.evidence --days 7 --out collateral/simulated/federation.crl

A list replaces the one before, names all platforms that are taken back, and must be renewed before its days are over.")]
    Revoke(RevokeArgs),
}

#[derive(Debug, Args)]
pub(crate) struct RevokeArgs {
    /// The root's folder.
    #[arg(long, value_name = "DIR")]
    root: PathBuf,
    /// The file of a platform that is taken back. May be repeated; with none at all the list is empty.
    #[arg(long = "platform", value_name = "FILE")]
    platforms: Vec<PathBuf>,
    /// Evidence of a platform that is taken back, where its file is not at hand. May be repeated.
    #[arg(long = "evidence", value_name = "FILE")]
    evidence: Vec<PathBuf>,
    /// The file to write; replaced where it is there.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Days for which the list counts: evidence is refused by one that is older.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=36_500))]
    days: u32,
}

#[derive(Debug, Args)]
pub(crate) struct NewPlatformArgs {
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
    #[arg(long, value_name = "TEE", default_value = "sev-snp")]
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

pub(crate) fn run(
    command: SimulatedCommand,
    console: &Console,
    now: DateTime<Utc>,
) -> Result<(), Failure> {
    match command {
        SimulatedCommand::NewRoot { out } => new_root(&out, console),
        SimulatedCommand::NewPlatform(args) => new_platform(args, console, now),
        SimulatedCommand::Revoke(args) => revoke(&args, console, now),
    }
}

fn new_root(out: &Path, console: &Console) -> Result<(), Failure> {
    let root = SimulatedRoot::generate().map_err(simulated_failure)?;
    root.save(out).map_err(simulated_failure)?;
    let key = root.public_key();
    let data = json!({ "simulated_root": key, "folder": out });
    console.result(&data, |to| writeln!(to, "{key}"))?;
    console.note(format!(
        "wrote root.key and root.pub into {}; name the printed key in the policy's simulated_roots, keep root.key",
        out.display()
    ));
    Ok(())
}

fn new_platform(
    args: NewPlatformArgs,
    console: &Console,
    now: DateTime<Utc>,
) -> Result<(), Failure> {
    let root = SimulatedRoot::load(&args.root).map_err(simulated_failure)?;
    let mut hardware = match args.plays {
        Tee::SevSnp => SimulatedHardware::random_snp(),
        Tee::Tdx => SimulatedHardware::random_tdx(),
        Tee::Simulated => {
            return Err(Failure::new(
                ErrorCode::USAGE,
                "a simulated platform plays sev-snp or tdx, got simulated",
            )
            .hint("name the kind whose fields it should state")
            .blame(Blame::Configuration));
        }
    }
    .map_err(simulated_failure)?;
    if let Some(file) = &args.hardware {
        hardware = hardware
            .with_changes(&read_changes(file)?)
            .map_err(simulated_failure)?;
    }
    let mut config = PlatformConfig::on(&args.name, hardware, now);
    if let Some(file) = &args.launch {
        config.launch = config
            .launch
            .with_changes(&read_changes(file)?)
            .map_err(simulated_failure)?;
    }
    config.not_after = now + TimeDelta::days(args.days.into());
    let platform = root.certify(config).map_err(simulated_failure)?;
    platform.save(&args.out).map_err(simulated_failure)?;
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
    console.result(&data, |to| writeln!(to, "{identity}"))?;
    console.note(format!(
        "wrote {}, valid until {not_after}; what is printed is for a policy's chip_ids or platform_instance_ids",
        args.out.display()
    ));
    Ok(())
}

fn revoke(args: &RevokeArgs, console: &Console, now: DateTime<Utc>) -> Result<(), Failure> {
    let root = SimulatedRoot::load(&args.root).map_err(simulated_failure)?;
    let mut platforms = Vec::new();
    for file in &args.platforms {
        let platform = SimulatedPlatform::load(file).map_err(simulated_failure)?;
        platforms.push(platform.public_key());
    }
    for file in &args.evidence {
        let key = Input::read(file)?
            .into_evidence(Vec::new())
            .and_then(|evidence| SimulatedPlatformKey::danger_read_unverified(&evidence))
            .map_err(|reason| malformed(file, reason))?;
        platforms.push(key);
    }
    let until = now + TimeDelta::days(args.days.into());
    let list = root
        .revoke(platforms.iter().copied(), now, until)
        .map_err(simulated_failure)?;
    replace(&args.out, &list, Readers::Anyone).or_fail(ErrorCode::IO, args.out.display())?;
    let data = json!({
        "simulated_root": root.public_key(),
        "platforms": platforms,
        "not_after": until,
        "file": args.out,
    });
    console.result(&data, |to| {
        platforms.iter().try_for_each(|key| writeln!(to, "{key}"))
    })?;
    console.note(format!(
        "wrote {}, which counts until {until}; evidence judged with it then is refused until there is a newer one",
        args.out.display()
    ));
    Ok(())
}

fn read_changes(file: &Path) -> Result<String, Failure> {
    String::from_utf8(read_limited(file, MAX_CHANGES)?).map_err(|error| malformed(file, error))
}

/// Every field of a platform, with all advisories that there are, takes less.
const MAX_CHANGES: usize = 64 * 1024;
