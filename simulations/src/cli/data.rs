//! `simulations data`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde::Serialize;
use tributary_console::{Align, Console, ErrorCode, Failure, FailureContext as _, Table};

use crate::federation::{Data, DataSource};

/// What to make.
#[derive(Debug, Args)]
pub(super) struct DataArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Draws digits into IDX files, as MNIST comes: a pair for each provider, and one for the consumer.
    #[command(after_help = "Examples:
  simulations data digits --out digits
  simulations data digits --out digits --train 4000 --test 1000 --shards 2 --seed 7 --json")]
    Digits(DigitsArgs),
}

#[derive(Debug, Args)]
struct DigitsArgs {
    /// The folder to write into; made where it is not there. Files of the same names are replaced.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Training images, of all providers together.
    #[arg(long, value_name = "N", default_value_t = 4000, value_parser = images())]
    train: u32,
    /// Test images, of the consumer.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = images())]
    test: u32,
    /// How many providers share the training images.
    #[arg(long, value_name = "K", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..))]
    shards: u32,
    /// The same seed draws the same digits.
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
}

/// Some 0.8 GB of pixels, all of which are in memory at once.
const IMAGES_LIMIT: i64 = 1_000_000;

fn images() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=IMAGES_LIMIT)
}

#[derive(Debug, Serialize)]
struct Written {
    images: PathBuf,
    labels: PathBuf,
    records: usize,
}

pub(super) fn run(args: &DataArgs, console: &Console) -> Result<(), Failure> {
    let What::Digits(args) = &args.what;
    std::fs::create_dir_all(&args.out).or_fail(ErrorCode::IO, args.out.display())?;
    let source = DataSource::Drawn {
        train: args.train as usize,
        test: args.test as usize,
    };
    let data = Data::prepare(&source, args.seed, args.shards as usize, &args.out, console)?;
    let files = data.shards.into_iter().chain([data.test]);
    let written: Vec<Written> = files
        .map(|files| Written {
            images: files.images,
            labels: files.labels,
            records: files.records,
        })
        .collect();
    console.result(&written, |out| {
        let mut table = Table::new([
            ("images", Align::Left),
            ("labels", Align::Left),
            ("records", Align::Right),
        ]);
        for files in &written {
            table.row([
                files.images.display().to_string(),
                files.labels.display().to_string(),
                files.records.to_string(),
            ]);
        }
        write!(out, "{table}")
    })
}

#[cfg(test)]
mod tests {
    use tributary_console::{Console, Exit, run_with};

    fn digits(more: &[&str]) -> (Exit, String) {
        let (console, captured) = Console::captured(true);
        let words = ["simulations", "data", "digits", "--json"]
            .iter()
            .chain(more);
        let exit = run_with(words, &console, crate::cli::program);
        (exit, captured.stdout())
    }

    #[test]
    fn shards_share_out_the_training_images() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("digits");
        let out = out.to_str().unwrap();
        let (exit, stdout) =
            digits(&["--out", out, "--train", "7", "--test", "3", "--shards", "2"]);
        assert_eq!(exit, Exit::Done);
        let value: serde_json::Value = serde_json::from_str(&stdout).unwrap();
        let records: Vec<_> = (0..3)
            .map(|i| value["data"][i]["records"].as_u64())
            .collect();
        assert_eq!(records, [Some(3), Some(4), Some(3)]);
        let labels = value["data"][1]["labels"].as_str().unwrap();
        let read = tributary_idx::read_idx_labels(std::path::Path::new(labels)).unwrap();
        assert_eq!(read.len(), 4);
    }

    #[test]
    fn more_shards_than_images_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().to_str().unwrap();
        assert_eq!(
            digits(&["--out", out, "--train", "2", "--shards", "3"]).0,
            Exit::Usage
        );
        assert_eq!(digits(&["--out", out, "--train", "0"]).0, Exit::Usage);
        assert_eq!(digits(&["--out", out, "--shards", "0"]).0, Exit::Usage);
    }
}
