//! The home and other files as commands name them.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use clap::Args;
use tributary_console::{Blame, Console, ErrorCode, Failure, FailureContext as _, read_secret};
use tributary_durable::{Readers, create};
use tributary_protocol::{ENVELOPE_SIZE_LIMIT, Identity, Passphrase, SignedContract};
use tributary_trainer::{ModelFileError, OnnxError, read_onnx};

use crate::failures::{contract_failure, folder_failure};
use crate::home::ConsumerHome;

/// Which consumer.
#[derive(Debug, Clone, Args)]
pub(super) struct HomeArgs {
    /// The consumer's folder, made by `aggregator init`.
    #[arg(long, env = "TRIBUTARY_HOME", value_name = "DIR")]
    pub(super) home: PathBuf,
}

/// Which consumer, and what opens its keys.
#[derive(Debug, Clone, Args)]
pub(super) struct UnlockArgs {
    #[command(flatten)]
    pub(super) home: HomeArgs,
    /// A file whose first line opens the private keys.
    #[arg(long, env = "TRIBUTARY_PASSPHRASE_FILE", value_name = "FILE")]
    passphrase_file: PathBuf,
}

/// A consumer, where a command can do without.
#[derive(Debug, Clone, Args)]
pub(super) struct MaybeHomeArgs {
    /// The consumer's folder, made by `aggregator init`.
    #[arg(long, env = "TRIBUTARY_HOME", value_name = "DIR")]
    home: Option<PathBuf>,
}

/// What opens a consumer's keys, where a command can do without.
#[derive(Debug, Clone, Args)]
pub(super) struct MaybePassphraseArgs {
    /// A file whose first line opens the private keys.
    #[arg(long, env = "TRIBUTARY_PASSPHRASE_FILE", value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

impl HomeArgs {
    pub(super) fn open(&self) -> Result<ConsumerHome, Failure> {
        ConsumerHome::open(&self.home).map_err(folder_failure)
    }
}

impl UnlockArgs {
    pub(super) fn passphrase(&self, console: &Console) -> Result<Passphrase, Failure> {
        passphrase(&self.passphrase_file, console)
    }

    /// The home and its private key.
    pub(super) fn open(&self, console: &Console) -> Result<(ConsumerHome, Identity), Failure> {
        let home = self.home.open()?;
        let identity = home
            .party()
            .identity(&self.passphrase(console)?)
            .map_err(folder_failure)?;
        Ok((home, identity))
    }
}

impl MaybeHomeArgs {
    pub(super) fn open(&self) -> Result<Option<ConsumerHome>, Failure> {
        self.home
            .as_deref()
            .map(|home| ConsumerHome::open(home).map_err(folder_failure))
            .transpose()
    }
}

impl MaybePassphraseArgs {
    /// The private key of a home.
    pub(super) fn identity(
        &self,
        home: &ConsumerHome,
        console: &Console,
    ) -> Result<Identity, Failure> {
        let file = self.passphrase_file.as_deref().ok_or_else(|| {
            Failure::new(
                ErrorCode::USAGE,
                "expected --passphrase-file: asking the ledger takes this home's key",
            )
            .hint("pass --passphrase-file FILE, or set TRIBUTARY_PASSPHRASE_FILE")
            .blame(Blame::Configuration)
        })?;
        let passphrase = passphrase(file, console)?;
        home.party().identity(&passphrase).map_err(folder_failure)
    }
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

/// Reads a file of at most `limit` bytes.
pub(super) fn read_limited(path: &Path, limit: usize) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(limit as u64 + 1).read_to_end(&mut bytes))
        .or_fail(
            ErrorCode::IO,
            format_args!("cannot read {}", path.display()),
        )?;
    if bytes.len() > limit {
        return Err(Failure::new(
            ErrorCode::DATA_INVALID,
            format!(
                "expected {} to have at most {limit} bytes, it has more",
                path.display()
            ),
        )
        .hint("check the path: this is another kind of file")
        .blame(Blame::Configuration));
    }
    Ok(bytes)
}

/// Reads an ONNX model, with the weights that it keeps in files of its folder, as one file: what contracts name by digest
/// is the whole of it.
pub(super) fn read_model(path: &Path) -> Result<Vec<u8>, Failure> {
    match read_onnx(path) {
        Ok(onnx) => Ok(onnx),
        Err(ModelFileError::File { source, .. }) => Err(source).or_fail(
            ErrorCode::IO,
            format_args!("cannot read {}", path.display()),
        ),
        Err(error @ ModelFileError::Onnx(OnnxError::TooLarge(_))) => {
            Err(Failure::from_error(ErrorCode::DATA_INVALID, &error)
                .hint("check the path: this is another kind of file")
                .blame(Blame::Configuration))
        }
        Err(error) => Err(Failure::from_error(ErrorCode::MODEL_UNSUPPORTED, &error)
            .hint("change the model where the reason says so, and export it again")),
    }
}

/// Reads a contract's envelope; signatures may be missing.
pub(super) fn read_contract(path: &Path) -> Result<SignedContract, Failure> {
    SignedContract::from_json(&read_limited(path, ENVELOPE_SIZE_LIMIT)?).map_err(|error| {
        let failure = contract_failure(error);
        let told = Failure::new(
            failure.code(),
            format!("{}: {}", path.display(), failure.message()),
        );
        match failure.hint_text() {
            Some(hint) => told.hint(hint),
            None => told,
        }
        .blame(Blame::Contract)
    })
}

/// Writes a new file for everybody to read; what is there is never overwritten.
pub(super) fn write_new(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    create(path, bytes, Readers::Anyone).map_err(|error: io::Error| {
        let failure = Failure::from_system_cause(&error)
            .unwrap_or_else(|| Failure::from_error(ErrorCode::IO, &error));
        let hint = failure.hint_text().unwrap_or("check the path").to_owned();
        Failure::new(
            failure.code(),
            format!("cannot write {}: {}", path.display(), failure.message()),
        )
        .hint(hint)
    })
}
