//! The agent's folder as commands name it, and what a passphrase opens in it.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::Args;
use tributary_console::{Blame, Console, ErrorCode, Failure, FailureContext as _, read_secret};
use tributary_protocol::{Identity, Passphrase};

use crate::failures::{folder_failure, vault_failure};
use crate::home::AgentHome;
use crate::meter::Meter;
use crate::vault::{Owner, Vault};

/// The purpose of the key under which the meter keeps its file; `agent serve` opens it with the same.
pub(super) const METER_KEY: &str = "meter";

/// Which agent.
#[derive(Debug, Clone, Args)]
pub(super) struct HomeArgs {
    /// The agent's folder, made by `agent init`.
    #[arg(long, env = "TRIBUTARY_HOME", value_name = "DIR")]
    home: PathBuf,
}

/// Which agent, and what opens its key and its vault.
#[derive(Debug, Clone, Args)]
pub(super) struct UnlockArgs {
    #[command(flatten)]
    home: HomeArgs,
    /// A file whose first line opens the private key and the vault.
    #[arg(long, env = "TRIBUTARY_PASSPHRASE_FILE", value_name = "FILE")]
    passphrase_file: PathBuf,
}

/// An agent's folder whose vault is open.
#[derive(Debug)]
pub(super) struct Unlocked {
    pub(super) home: AgentHome,
    pub(super) vault: Vault,
    passphrase: Passphrase,
}

impl HomeArgs {
    pub(super) fn open(&self) -> Result<AgentHome, Failure> {
        open_home(&self.home)
    }
}

impl UnlockArgs {
    pub(super) fn open(&self, console: &Console) -> Result<Unlocked, Failure> {
        unlock(&self.home.home, &self.passphrase_file, console)
    }
}

impl Unlocked {
    /// What of the datasets' privacy is spent.
    pub(super) fn meter(&self) -> Result<Meter, Failure> {
        Ok(Meter::open(
            &self.home.meter(),
            self.vault.state_key(METER_KEY),
        )?)
    }

    /// Opens the private key, which takes as long as opening the vault: only commands that sign ask for it.
    pub(super) fn identity(&self) -> Result<Identity, Failure> {
        self.home
            .party()
            .identity(&self.passphrase)
            .map_err(folder_failure)
    }
}

pub(super) fn open_home(folder: &Path) -> Result<AgentHome, Failure> {
    AgentHome::open(folder).map_err(folder_failure)
}

pub(super) fn unlock(
    folder: &Path,
    passphrase_file: &Path,
    console: &Console,
) -> Result<Unlocked, Failure> {
    let home = open_home(folder)?;
    let passphrase = passphrase(passphrase_file, console)?;
    let vault =
        Vault::open(&vault_location(&home)?, &passphrase, owner(&home)).map_err(vault_failure)?;
    Ok(Unlocked {
        home,
        vault,
        passphrase,
    })
}

pub(super) fn passphrase(file: &Path, console: &Console) -> Result<Passphrase, Failure> {
    let text = read_secret(file, console)?;
    Passphrase::new(&text).ok_or_else(|| {
        Failure::new(
            ErrorCode::KEY_UNREADABLE,
            format!("the secret {} is empty", file.display()),
        )
    })
}

/// Where the vault is. The storage takes texts, since it takes URLs too.
pub(super) fn vault_location(home: &AgentHome) -> Result<String, Failure> {
    let path = home.vault();
    path.to_str().map(str::to_owned).ok_or_else(|| {
        Failure::new(
            ErrorCode::USAGE,
            format!(
                "expected a folder whose name is UTF-8, got {}",
                path.display()
            ),
        )
        .blame(Blame::Configuration)
    })
}

pub(super) fn owner(home: &AgentHome) -> Owner {
    Owner {
        name: home.party().party().clone(),
        key: home.party().key(),
    }
}

/// Reads a file of at most `limit` bytes.
pub(super) fn read_limited(path: &Path, limit: usize) -> Result<Vec<u8>, Failure> {
    let shown = path.display();
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(limit as u64 + 1).read_to_end(&mut bytes))
        .or_fail(ErrorCode::IO, format_args!("cannot read {shown}"))?;
    if bytes.len() > limit {
        return Err(Failure::new(
            ErrorCode::DATA_INVALID,
            format!("expected {shown} to have at most {limit} bytes, it has more"),
        )
        .hint("check the path: this is another kind of file")
        .blame(Blame::Configuration));
    }
    Ok(bytes)
}
