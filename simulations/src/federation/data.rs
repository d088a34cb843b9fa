//! The digits of a federation: drawn, or read from the four files of MNIST, and shared out among the providers.

use std::path::{Path, PathBuf};

use tributary_console::{Console, ErrorCode, Failure, FailureContext as _};
use tributary_idx::{
    IdxEncoding, read_idx_images, read_idx_labels, write_idx_images, write_idx_labels,
};

use crate::digits::{Digits, PIXELS, SIDE};

/// Where digits come from.
#[derive(Debug, Clone)]
pub enum DataSource {
    /// The program draws them.
    Drawn {
        /// Training images, of all providers together.
        train: usize,
        /// Test images, of the consumer.
        test: usize,
    },
    /// A folder with the four IDX files of MNIST, gzip or not.
    Folder(PathBuf),
}

/// A pair of IDX files.
#[derive(Debug, Clone)]
pub struct Files {
    /// Images.
    pub images: PathBuf,
    /// Labels.
    pub labels: PathBuf,
    /// How many.
    pub records: usize,
}

/// The digits of a federation, as files.
#[derive(Debug, Clone)]
pub struct Data {
    /// What they are called in the contract.
    pub name: &'static str,
    /// One for each provider.
    pub shards: Vec<Files>,
    /// The consumer's, for the curve while training.
    pub validation: Files,
    /// The consumer's, for the accuracy in the end.
    pub test: Files,
}

/// Images and labels in memory.
struct Set {
    images: Vec<u8>,
    labels: Vec<u8>,
}

impl Data {
    /// Draws or reads the digits and shares out those for training.
    pub fn prepare(
        source: &DataSource,
        seed: u64,
        providers: usize,
        folder: &Path,
        console: &Console,
    ) -> Result<Self, Failure> {
        let (name, train, test) = match source {
            DataSource::Drawn { train, test } => {
                console.note(format_args!("drawing {train} + {test} digits, seed {seed}"));
                let training = Digits::draw(seed, *train, 0);
                let testing = Digits::draw(seed, *test, *train as u64);
                ("drawn digits", training.into(), testing.into())
            }
            DataSource::Folder(path) => (
                "MNIST",
                read_set(path, "train-images-idx3-ubyte", "train-labels-idx1-ubyte")?,
                read_set(path, "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")?,
            ),
        };
        let records: usize = train.labels.len();
        if providers == 0 || providers > records {
            return Err(Failure::new(
                ErrorCode::USAGE,
                format!(
                    "expected 1 to {records} agents for {records} training images, got {providers}"
                ),
            ));
        }
        let mut shards = Vec::new();
        for number in 0..providers {
            let range = records * number / providers..records * (number + 1) / providers;
            let shard = Set {
                images: train.images[range.start * PIXELS..range.end * PIXELS].to_vec(),
                labels: train.labels[range].to_vec(),
            };
            shards.push(shard.write(folder, &format!("tdp-{}", number + 1))?);
        }
        let test = test.write(folder, "test")?;
        Ok(Self {
            name,
            shards,
            validation: test.clone(),
            test,
        })
    }
}

fn read_set(folder: &Path, images: &str, labels: &str) -> Result<Set, Failure> {
    let images_path = plain_or_gzip(folder, images)?;
    let labels_path = plain_or_gzip(folder, labels)?;
    let images = read_idx_images(&images_path).or_fail(ErrorCode::DATA_INVALID, "--data")?;
    let labels = read_idx_labels(&labels_path).or_fail(ErrorCode::DATA_INVALID, "--data")?;
    if (images.rows as usize, images.columns as usize) != (SIDE, SIDE) {
        return Err(Failure::new(
            ErrorCode::DATA_INVALID,
            format!(
                "{}: expected images of {SIDE} x {SIDE}, got {} x {}",
                images_path.display(),
                images.rows,
                images.columns
            ),
        ));
    }
    if images.pixels.len() != labels.len() * PIXELS {
        return Err(Failure::new(
            ErrorCode::DATA_INVALID,
            format!(
                "expected a label for each image, got {} images in {} and {} labels in {}",
                images.pixels.len() / PIXELS,
                images_path.display(),
                labels.len(),
                labels_path.display()
            ),
        ));
    }
    Ok(Set {
        images: images.pixels,
        labels,
    })
}

fn plain_or_gzip(folder: &Path, name: &str) -> Result<PathBuf, Failure> {
    let plain = folder.join(name);
    let gzip = folder.join(format!("{name}.gz"));
    [plain, gzip]
        .into_iter()
        .find(|path| path.is_file())
        .ok_or_else(|| {
            Failure::new(
                ErrorCode::FILE_MISSING,
                format!("expected {name} or {name}.gz in {}", folder.display()),
            )
            .hint("--data names a folder with the four files of MNIST")
        })
}

impl Set {
    fn write(&self, folder: &Path, name: &str) -> Result<Files, Failure> {
        let images = folder.join(format!("{name}-images.idx"));
        let labels = folder.join(format!("{name}-labels.idx"));
        let side = SIDE as u32;
        write_idx_images(&images, side, side, &self.images, IdxEncoding::Plain)
            .or_fail(ErrorCode::IO, "the digits")?;
        write_idx_labels(&labels, &self.labels, IdxEncoding::Plain)
            .or_fail(ErrorCode::IO, "the digits")?;
        Ok(Files {
            images,
            labels,
            records: self.labels.len(),
        })
    }
}

impl From<Digits> for Set {
    fn from(digits: Digits) -> Self {
        Self {
            images: digits.images,
            labels: digits.labels,
        }
    }
}
