//! `agent dataset`: records in, and what the vault says of them.

use std::io::Write;
use std::path::PathBuf;

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;
use tributary_console::{
    Align, Blame, ByteSize, Console, CountProgress, ErrorCode, Failure, FailureContext as _, Table,
};
use tributary_durable::{Readers, replace};
use tributary_protocol::{
    Column, ColumnName, DatasetName, Digest, ManifestVersion, Offer, OfferedEntities,
};

use super::folder::UnlockArgs;
use crate::entities::Entities;
use crate::failures::{entities_failure, import_failure, vault_failure, vault_failure_of};
use crate::import::{IdxRecords, ImportError};
use crate::vault::{Dataset, Vault};

/// What `agent dataset` takes.
#[derive(Debug, Subcommand)]
pub(super) enum DatasetCommand {
    /// Encrypt files into a dataset of the vault.
    Import(ImportArgs),
    /// List the datasets.
    #[command(
        after_help = "Example:\n  agent dataset list --home alice --passphrase-file alice.pass"
    )]
    List(UnlockArgs),
    /// Show one dataset: its columns, its parts, and the digest by which contracts name it.
    #[command(
        after_help = "Example:\n  agent dataset show digits --home alice --passphrase-file alice.pass"
    )]
    Show(ShowArgs),
    /// Read and decrypt everything, and name each part that is missing, altered, swapped or old.
    #[command(after_help = "Examples:
  agent dataset verify --home alice --passphrase-file alice.pass
  agent dataset verify digits --home alice --passphrase-file alice.pass --json")]
    Verify(VerifyArgs),
    /// Write what a consumer needs to put a dataset into a contract: name, key and signed manifest, no record.
    #[command(
        after_help = "Examples:\n  agent dataset offer digits --out alice.offer --home alice --passphrase-file alice.pass\n  agent dataset offer scans --entity patient --out alice.offer --home alice --passphrase-file alice.pass"
    )]
    Offer(OfferArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  agent dataset import digits --format idx --images train-images-idx3-ubyte.gz --labels train-labels-idx1-ubyte.gz --home alice --passphrase-file alice.pass
  agent dataset import digits --format idx --images images --labels labels --entities writers.txt --entity-column writer --home alice --passphrase-file alice.pass
  agent dataset import scans --format idx --images images --labels labels --masks masks --home alice --passphrase-file alice.pass
  agent dataset import digits --append --format idx --images more-images --labels more-labels --home alice --passphrase-file alice.pass")]
pub(super) struct ImportArgs {
    /// The dataset's name: lower-case letters, digits and hyphens.
    name: DatasetName,
    /// What the files are.
    #[arg(long)]
    format: Format,
    /// The file of images, gzip or not.
    #[arg(long, value_name = "FILE")]
    images: PathBuf,
    /// The file of labels, gzip or not.
    #[arg(long, value_name = "FILE")]
    labels: PathBuf,
    /// How many classes there are, which the files do not say.
    #[arg(long, default_value_t = 10)]
    classes: u32,
    /// A file of images whose bytes are classes of pixels, one for each record: contracts may then have them as labels.
    #[arg(long, value_name = "FILE")]
    masks: Option<PathBuf>,
    /// The column that they go to.
    #[arg(
        long,
        value_name = "COLUMN",
        default_value = "mask",
        requires = "masks"
    )]
    mask_column: ColumnName,
    /// A text file that names the entity of each record, such as its patient, one a line: contracts may then protect entities
    /// and not records. The names stay in the vault.
    #[arg(long, value_name = "FILE")]
    entities: Option<PathBuf>,
    /// The column that they go to.
    #[arg(
        long,
        value_name = "COLUMN",
        default_value = "entity",
        requires = "entities"
    )]
    entity_column: ColumnName,
    /// Add the records to a dataset that is there, as a new version.
    #[arg(long)]
    append: bool,
    #[command(flatten)]
    unlock: UnlockArgs,
}

/// A format that can be imported.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// A file of images and one of labels, as MNIST comes.
    Idx,
}

#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    /// The dataset.
    name: DatasetName,
    #[command(flatten)]
    unlock: UnlockArgs,
}

#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// The dataset [default: all of them].
    name: Option<DatasetName>,
    #[command(flatten)]
    unlock: UnlockArgs,
}

#[derive(Debug, Args)]
pub(super) struct OfferArgs {
    /// The dataset.
    name: DatasetName,
    /// The column that names the entity of each record: the offer then says how many there are, for a contract that protects
    /// them.
    #[arg(long, value_name = "COLUMN")]
    entity: Option<ColumnName>,
    /// The file to write.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    unlock: UnlockArgs,
}

pub(super) fn run(command: &DatasetCommand, console: &Console) -> Result<(), Failure> {
    match command {
        DatasetCommand::Import(args) => import(args, console),
        DatasetCommand::List(unlock) => list(unlock, console),
        DatasetCommand::Show(args) => show(args, console),
        DatasetCommand::Verify(args) => verify(args, console),
        DatasetCommand::Offer(args) => offer(args, console),
    }
}

/// A dataset as commands print it.
#[derive(Debug, Serialize)]
struct Described {
    dataset: DatasetName,
    version: ManifestVersion,
    manifest: Digest,
    records: u64,
    bytes: ByteSize,
    columns: Vec<Column>,
    parts: Vec<DescribedPart>,
    created: DateTime<Utc>,
}

#[derive(Debug, Serialize)]
struct DescribedPart {
    file: String,
    records: u64,
    bytes: ByteSize,
    sha256: Digest,
}

impl Described {
    fn of(dataset: &Dataset) -> Self {
        let manifest = &dataset.manifest;
        let parts: Vec<DescribedPart> = manifest
            .parts()
            .iter()
            .map(|part| DescribedPart {
                file: part.file.to_string(),
                records: part.rows,
                bytes: ByteSize::bytes(part.bytes),
                sha256: part.sha256,
            })
            .collect();
        Self {
            dataset: manifest.dataset().clone(),
            version: manifest.version(),
            manifest: dataset.digest,
            records: manifest.rows(),
            bytes: ByteSize::bytes(parts.iter().map(|part| part.bytes.as_bytes()).sum()),
            columns: manifest.schema().columns().to_vec(),
            parts,
            created: manifest.created(),
        }
    }
}

fn import(args: &ImportArgs, console: &Console) -> Result<(), Failure> {
    let Format::Idx = args.format;
    let mut records =
        IdxRecords::open(&args.images, &args.labels, args.classes).map_err(import_failure)?;
    if let Some(masks) = &args.masks {
        records = records
            .with_masks(args.mask_column.clone(), masks, &args.labels)
            .map_err(import_failure)?;
    }
    if let Some(file) = &args.entities {
        records = records
            .with_entities(args.entity_column.clone(), file)
            .map_err(import_failure)?;
    }
    let unlocked = args.unlock.open(console)?;
    let identity = unlocked.identity()?;
    let (schema, total) = (records.schema().clone(), records.records());
    let what = format!("encrypting {}", args.name);
    let progress = CountProgress::start(console, &what, "records", total);
    let records = records.inspect(|batch| {
        if let Ok(batch) = batch {
            progress.add(batch.num_rows() as u64);
        }
    });
    let (vault, name, now) = (&unlocked.vault, &args.name, Utc::now());
    let outcome = if args.append {
        vault.append(&identity, name, records, now)
    } else {
        vault.import(&identity, name, &schema, records, now)
    };
    drop(progress);
    let dataset = outcome.map_err(from_source)?;

    #[derive(Serialize)]
    struct Imported {
        added: u64,
        #[serde(flatten)]
        dataset: Described,
    }
    let imported = Imported {
        added: total,
        dataset: Described::of(&dataset),
    };
    console.result(&imported, |out| {
        let Described {
            dataset,
            version,
            manifest,
            records,
            bytes,
            ..
        } = &imported.dataset;
        writeln!(
            out,
            "{dataset}: {total} records encrypted, {records} in all, {bytes} (version {version})"
        )?;
        writeln!(out, "manifest {manifest}")
    })
}

/// What the files did wrong is said in the files' words.
fn from_source(error: crate::vault::VaultError) -> Failure {
    match error {
        crate::vault::VaultError::Source(source) => match source.downcast::<ImportError>() {
            Ok(error) => import_failure(*error),
            Err(source) => vault_failure(crate::vault::VaultError::Source(source)),
        },
        error => vault_failure(error),
    }
}

fn list(unlock: &UnlockArgs, console: &Console) -> Result<(), Failure> {
    let unlocked = unlock.open(console)?;
    let datasets = unlocked.vault.list().map_err(vault_failure)?;
    let datasets: Vec<Described> = datasets.iter().map(Described::of).collect();
    console.result(&datasets, |out| {
        if datasets.is_empty() {
            return writeln!(out, "no datasets yet: `agent dataset import` makes one");
        }
        let mut table = Table::new([
            ("dataset", Align::Left),
            ("version", Align::Right),
            ("records", Align::Right),
            ("parts", Align::Right),
            ("encrypted", Align::Right),
            ("manifest", Align::Left),
        ]);
        for dataset in &datasets {
            table.row([
                dataset.dataset.to_string(),
                dataset.version.to_string(),
                dataset.records.to_string(),
                dataset.parts.len().to_string(),
                dataset.bytes.to_string(),
                dataset.manifest.to_string(),
            ]);
        }
        write!(out, "{table}")
    })
}

fn show(args: &ShowArgs, console: &Console) -> Result<(), Failure> {
    let unlocked = args.unlock.open(console)?;
    let dataset = unlocked.vault.show(&args.name).map_err(vault_failure)?;
    let dataset = Described::of(&dataset);
    console.result(&dataset, |out| describe(&dataset, out))
}

fn describe(dataset: &Described, out: &mut dyn Write) -> std::io::Result<()> {
    writeln!(
        out,
        "{}: {} records, {}, version {} of {}",
        dataset.dataset,
        dataset.records,
        dataset.bytes,
        dataset.version,
        dataset.created.format("%Y-%m-%d %H:%M UTC")
    )?;
    writeln!(out, "manifest {}\n", dataset.manifest)?;
    let mut columns = Table::new([("column", Align::Left), ("holds", Align::Left)]);
    for column in &dataset.columns {
        columns.row([column.name.to_string(), column.kind.to_string()]);
    }
    writeln!(out, "{columns}")?;
    let mut parts = Table::new([
        ("part", Align::Left),
        ("records", Align::Right),
        ("encrypted", Align::Right),
    ]);
    for part in &dataset.parts {
        parts.row([
            part.file.clone(),
            part.records.to_string(),
            part.bytes.to_string(),
        ]);
    }
    write!(out, "{parts}")
}

#[derive(Debug, Serialize)]
struct Verified {
    dataset: DatasetName,
    version: ManifestVersion,
    manifest: Digest,
    records: u64,
    parts: usize,
}

fn verify(args: &VerifyArgs, console: &Console) -> Result<(), Failure> {
    let unlocked = args.unlock.open(console)?;
    let names = match &args.name {
        Some(name) => vec![name.clone()],
        None => {
            let datasets = unlocked.vault.list().map_err(vault_failure)?;
            datasets
                .iter()
                .map(|dataset| dataset.manifest.dataset().clone())
                .collect()
        }
    };
    let progress = CountProgress::start(console, "verifying", "datasets", names.len() as u64);
    let mut verified = Vec::new();
    for name in &names {
        verified.push(verify_one(&unlocked.vault, name)?);
        progress.add(1);
    }
    drop(progress);
    console.result(&verified, |out| {
        for dataset in &verified {
            writeln!(
                out,
                "{}: sound, {} records, version {}, manifest {}",
                dataset.dataset, dataset.records, dataset.version, dataset.manifest
            )?;
        }
        if verified.is_empty() {
            writeln!(out, "no datasets yet: nothing to verify")?;
        }
        Ok(())
    })
}

fn verify_one(vault: &Vault, name: &DatasetName) -> Result<Verified, Failure> {
    let verification = vault.verify(name).map_err(vault_failure)?;
    let Some(first) = verification.findings.first() else {
        let manifest = &verification.dataset.manifest;
        return Ok(Verified {
            dataset: name.clone(),
            version: manifest.version(),
            manifest: verification.dataset.digest,
            records: manifest.rows(),
            parts: manifest.parts().len(),
        });
    };
    // The first finding decides the code; all of them are said.
    let code = vault_failure_of(first).code();
    let findings: Vec<String> = verification
        .findings
        .iter()
        .map(|finding| vault_failure_of(finding).message().to_owned())
        .collect();
    Err(Failure::new(code, findings.join("\n"))
        .hint("nothing of this dataset is served until it is restored; other datasets are unharmed")
        .blame(Blame::Hardware))
}

fn offer(args: &OfferArgs, console: &Console) -> Result<(), Failure> {
    let unlocked = args.unlock.open(console)?;
    let dataset = unlocked.vault.show(&args.name).map_err(vault_failure)?;
    let envelope = dataset.manifest.sign(&unlocked.identity()?);
    // Signed anew, since the vault hands out the manifest and not its file: the bytes must be the ones it published.
    if envelope.payload_digest() != dataset.digest {
        return Err(Failure::new(
            ErrorCode::INTERNAL,
            format!(
                "expected the manifest {}, wrote {}",
                dataset.digest,
                envelope.payload_digest()
            ),
        )
        .blame(Blame::Tributary));
    }
    let mut offer = Offer::new(unlocked.home.party().key(), envelope)
        .or_fail(ErrorCode::INTERNAL, "the offer")?;
    let entities = match &args.entity {
        None => None,
        Some(column) => {
            let count = Entities::count(&unlocked.vault, &args.name, dataset.digest, column)
                .map_err(entities_failure)?;
            let column = column.clone();
            offer = offer
                .with_entities(OfferedEntities { column, count })
                .or_fail(ErrorCode::INTERNAL, "the offer")?;
            Some(count)
        }
    };
    replace(&args.out, &offer.to_json(), Readers::Anyone)?;

    #[derive(Serialize)]
    struct Offered<'a> {
        file: &'a PathBuf,
        dataset: &'a DatasetName,
        manifest: Digest,
        records: u64,
        entities: Option<u64>,
    }
    let offered = Offered {
        file: &args.out,
        dataset: &args.name,
        manifest: dataset.digest,
        records: dataset.manifest.rows(),
        entities,
    };
    console.result(&offered, |out| {
        writeln!(
            out,
            "wrote {}: {} with {} records{}, for the consumer to put into a contract",
            offered.file.display(),
            offered.dataset,
            offered.records,
            entities.map_or_else(String::new, |count| format!(" of {count} entities"))
        )
    })
}
