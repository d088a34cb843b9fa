//! `agent init`: a folder with an identity, an empty vault, a budget at zero and, in a rehearsal, a simulated platform.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use clap::Args;
use serde::Serialize;
use tributary_attest::{PlatformConfig, SimulatedError, SimulatedPlatform, SimulatedRoot, Tee};
use tributary_console::{Blame, Console, ErrorCode, Failure, FailureContext as _};
use tributary_protocol::{PartyKey, PartyName, Passphrase};

use super::folder::{METER_KEY, owner, passphrase, vault_location};
use crate::failures::{folder_failure, vault_failure};
use crate::home::AgentHome;
use crate::ledger::{EmbeddedLedger, EpsilonLimit, system_clock};
use crate::meter::Meter;
use crate::vault::Vault;

/// What `agent init` takes.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  agent init --home alice --party alice --passphrase-file alice.pass --simulated federation
  agent init --home /var/lib/tributary-agent --party hospital-a --passphrase-file /run/secrets/passphrase --json")]
pub(super) struct InitArgs {
    /// The folder to make; it may be there already where it is empty.
    #[arg(long, env = "TRIBUTARY_HOME", value_name = "DIR")]
    home: PathBuf,
    /// This party's name, as contracts will write it: lower-case letters, digits and hyphens.
    #[arg(long, value_name = "NAME")]
    party: PartyName,
    /// A file whose first line will open the private key and the vault.
    #[arg(long, env = "TRIBUTARY_PASSPHRASE_FILE", value_name = "FILE")]
    passphrase_file: PathBuf,
    /// The folder of a federation's simulated root, made by `attest simulated new-root`: certifies a platform that
    /// protects nothing, for rehearsals without a TEE.
    #[arg(long, value_name = "DIR")]
    simulated: Option<PathBuf>,
}

#[derive(Debug, Serialize)]
struct Made {
    party: PartyName,
    key: PartyKey,
    home: PathBuf,
    simulated: bool,
}

pub(super) fn init(args: &InitArgs, console: &Console) -> Result<(), Failure> {
    let passphrase = passphrase(&args.passphrase_file, console)?;
    let platform = args
        .simulated
        .as_deref()
        .map(|root| platform(root, &args.party, Utc::now()))
        .transpose()?;
    expect_empty(&args.home)?;
    let home = make(args, &passphrase, platform.as_ref()).inspect_err(|_| empty(&args.home))?;
    if platform.is_some()
        && let Some(warning) = Tee::Simulated.warning()
    {
        console.warn(warning);
    }
    let made = Made {
        party: home.party().party().clone(),
        key: home.party().key(),
        home: args.home.clone(),
        simulated: platform.is_some(),
    };
    console.result(&made, |out| {
        writeln!(out, "{} {}", made.party, made.key)?;
        writeln!(
            out,
            "made {}; keep it and its passphrase apart, and back up both",
            made.home.display()
        )
    })
}

/// An empty ledger. Only here: to make one where one was lost would forget what was spent.
fn create_ledger(home: &AgentHome, passphrase: &Passphrase) -> Result<(), Failure> {
    let party = home.party();
    let identity = Arc::new(party.identity(passphrase).map_err(folder_failure)?);
    EmbeddedLedger::create(
        &home.ledger(),
        party.party(),
        identity,
        system_clock(),
        Arc::new(EpsilonLimit),
    )
    .or_fail(ErrorCode::IO, "the ledger")?;
    Ok(())
}

fn make(
    args: &InitArgs,
    passphrase: &Passphrase,
    platform: Option<&SimulatedPlatform>,
) -> Result<AgentHome, Failure> {
    let home =
        AgentHome::create(&args.home, args.party.clone(), passphrase).map_err(folder_failure)?;
    let vault =
        Vault::create(&vault_location(&home)?, passphrase, owner(&home)).map_err(vault_failure)?;
    Meter::create(&home.meter(), vault.state_key(METER_KEY))?;
    create_ledger(&home, passphrase)?;
    if let Some(platform) = platform {
        home.party()
            .set_platform(platform)
            .map_err(folder_failure)?;
    }
    Ok(home)
}

fn platform(
    root: &Path,
    party: &PartyName,
    now: DateTime<Utc>,
) -> Result<SimulatedPlatform, Failure> {
    let certify = || -> Result<_, SimulatedError> {
        SimulatedRoot::load(root)?.certify(PlatformConfig::new(party.as_str(), now)?)
    };
    certify().map_err(|error| {
        Failure::from_system_cause(&error)
            .unwrap_or_else(|| Failure::from_error(ErrorCode::KEY_UNREADABLE, &error))
            .hint("make a root with `attest simulated new-root --out DIR` and give that folder with --simulated")
            .blame(Blame::Configuration)
    })
}

/// An identity is never overwritten, and what is in the way is not this program's to remove.
fn expect_empty(folder: &Path) -> Result<(), Failure> {
    let occupied = match std::fs::read_dir(folder) {
        Ok(mut entries) => entries.next().is_some(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
        Err(error) => return Err(error.into()),
    };
    if occupied {
        return Err(Failure::new(
            ErrorCode::FILE_EXISTS,
            format!(
                "expected {} to be absent or empty, it holds files; nothing was changed",
                folder.display()
            ),
        )
        .hint("name another folder with --home, or use what is there")
        .blame(Blame::Configuration));
    }
    Ok(())
}

/// Half a folder would be in the way of the next try. All in it was made by this call.
fn empty(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        let removed = match entry.file_type() {
            Ok(kind) if kind.is_dir() => std::fs::remove_dir_all(&path),
            _ => std::fs::remove_file(&path),
        };
        if let Err(error) = removed {
            tracing::warn!(path = %path.display(), %error, "left behind");
        }
    }
}
