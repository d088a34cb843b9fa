//! From IDX files through the vault and the sampler to what an aggregator decodes.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;

use arrow_array::cast::AsArray as _;
use arrow_array::types::UInt16Type;
use chrono::DateTime;
use tempfile::TempDir;
use tributary_accounting::SamplingRate;
use tributary_agent::{
    CacheSize, Dataset, IdxRecords, ImportError, Owner, Records, Sampler, SamplerError, Vault,
    VaultError, padded_batch,
};
use tributary_idx::{IdxEncoding, write_idx_images, write_idx_labels};
use tributary_protocol::{BatchFormat, ColumnName, DatasetName, Identity, Passphrase};

const SIDE: u32 = 8;

struct Bench {
    _folder: TempDir,
    vault: Vault,
    dataset: Dataset,
}

fn digits() -> DatasetName {
    "digits".parse().unwrap()
}

fn columns(names: &[&str]) -> Vec<ColumnName> {
    names.iter().map(|name| name.parse().unwrap()).collect()
}

/// An image whose every pixel, and label, follow from its number.
fn image(number: u32) -> Vec<u8> {
    let bytes = number.to_le_bytes();
    bytes.repeat((SIDE * SIDE) as usize / bytes.len())
}

fn files(folder: &TempDir, count: u32) -> (PathBuf, PathBuf) {
    let (images, labels) = (folder.path().join("images"), folder.path().join("labels"));
    let pixels: Vec<u8> = (0..count).flat_map(image).collect();
    write_idx_images(&images, SIDE, SIDE, &pixels, IdxEncoding::Gzip).unwrap();
    let numbers: Vec<u8> = (0..count).map(|number| (number % 10) as u8).collect();
    write_idx_labels(&labels, &numbers, IdxEncoding::Plain).unwrap();
    (images, labels)
}

fn import(count: u32, classes: u32) -> Result<Bench, VaultError> {
    let folder = tempfile::tempdir().unwrap();
    let identity = Identity::generate();
    let owner = Owner {
        name: "hospital-1".parse().unwrap(),
        key: identity.public(),
    };
    let passphrase = Passphrase::new("correct horse").unwrap();
    let location = folder.path().join("vault").display().to_string();
    let vault = Vault::create(&location, &passphrase, owner)?;
    let (images, labels) = files(&folder, count);
    let records = IdxRecords::open(&images, &labels, classes).unwrap();
    assert_eq!(records.records(), u64::from(count));
    let schema = records.schema().clone();
    let now = DateTime::UNIX_EPOCH;
    let dataset = vault.import(&identity, &digits(), &schema, records, now)?;
    Ok(Bench {
        _folder: folder,
        vault,
        dataset,
    })
}

impl Bench {
    fn open(&self, names: &[&str]) -> Records {
        let cache = CacheSize::mebibytes(1);
        Records::open(
            &self.vault,
            &digits(),
            self.dataset.digest,
            &columns(names),
            cache,
        )
        .unwrap()
    }
}

fn rate(rate: f64) -> SamplingRate {
    SamplingRate::new(rate).unwrap()
}

#[test]
fn what_is_decoded_are_records_of_the_sample_in_order_without_padding() {
    let bench = import(3000, 10).unwrap();
    let records = bench.open(&["label", "image"]);
    let format = BatchFormat::new(records.schema().clone(), 600).unwrap();
    let mut sampler = Sampler::new(records.len(), rate(0.1), 600).unwrap();
    for _ in 0..20 {
        let sample = sampler.draw();
        let frame = padded_batch(&records, &format, &sample).unwrap();
        let batch = format.decode(frame).unwrap();
        assert_eq!(batch.present(), sample.len());
        let (labels, images) = (batch.records().column(0), batch.records().column(1));
        let mut last = None;
        for row in 0..batch.present() {
            let pixels = images.as_fixed_size_binary().value(row);
            let number = u32::from_le_bytes(pixels[..4].try_into().unwrap());
            assert_eq!(pixels, image(number));
            let label = labels.as_primitive::<UInt16Type>().value(row);
            assert_eq!(u32::from(label), number % 10);
            assert!(last < Some(number), "ascending, and none twice");
            last = Some(number);
        }
    }
}

#[test]
fn at_rate_one_a_batch_is_the_dataset() {
    let bench = import(500, 10).unwrap();
    let records = bench.open(&["image", "label"]);
    let format = BatchFormat::new(records.schema().clone(), 500).unwrap();
    let sample = Sampler::new(500, rate(1.0), 500).unwrap().draw();
    let frame = padded_batch(&records, &format, &sample).unwrap();
    let all: Vec<u32> = (0..500).collect();
    assert_eq!(
        *format.decode(frame).unwrap().records(),
        records.take(&all).unwrap()
    );
}

#[test]
fn all_frames_of_a_run_have_one_length_the_empty_and_the_cut_sample_included() {
    let bench = import(300, 10).unwrap();
    let records = bench.open(&["image", "label"]);
    let format = BatchFormat::new(records.schema().clone(), 40).unwrap();
    let mut sizes = std::collections::BTreeSet::new();
    for sampling_rate in [1e-12, 0.01, 0.1, 0.5, 1.0] {
        let mut sampler = Sampler::new(300, rate(sampling_rate), 40).unwrap();
        for _ in 0..10 {
            let sample = sampler.draw();
            sizes.insert(sample.len());
            let frame = padded_batch(&records, &format, &sample).unwrap();
            assert_eq!(frame.len(), format.frame_len());
            assert_eq!(format.decode(frame).unwrap().present(), sample.len());
        }
    }
    assert!(sizes.contains(&0) && sizes.contains(&40), "{sizes:?}");
    assert_eq!(sizes.last(), Some(&40));
}

#[test]
fn a_sample_beyond_the_batch_and_other_columns_are_refused() {
    let bench = import(100, 10).unwrap();
    let records = bench.open(&["image", "label"]);
    let sample = Sampler::new(100, rate(1.0), 100).unwrap().draw();
    let narrow = BatchFormat::new(records.schema().clone(), 99).unwrap();
    assert!(matches!(
        padded_batch(&records, &narrow, &sample),
        Err(SamplerError::Overflow {
            capacity: 99,
            got: 100
        })
    ));
    let labels = bench.open(&["label"]);
    let format = BatchFormat::new(labels.schema().clone(), 100).unwrap();
    assert!(matches!(
        padded_batch(&records, &format, &sample),
        Err(SamplerError::OtherColumns)
    ));
}

#[test]
fn a_label_beyond_the_classes_is_refused_with_its_record() {
    assert!(matches!(
        import(100, 9),
        Err(VaultError::Value { record: 9, .. })
    ));
}

#[test]
fn files_that_disagree_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (images, labels) = files(&folder, 100);
    write_idx_labels(&labels, &[1; 99], IdxEncoding::Plain).unwrap();
    assert!(matches!(
        IdxRecords::open(&images, &labels, 10),
        Err(ImportError::Idx(_))
    ));
    assert!(matches!(
        IdxRecords::open(&labels, &images, 10),
        Err(ImportError::Idx(_))
    ));
}
