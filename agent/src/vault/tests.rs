//! The vault against damage, wrong keys and old states.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use arrow_array::cast::AsArray as _;
use arrow_array::types::{Float32Type, Int64Type, UInt16Type};
use arrow_array::{
    ArrayRef, FixedSizeBinaryArray, Float32Array, Int64Array, RecordBatch, StringArray, UInt16Array,
};
use chrono::DateTime;
use tempfile::TempDir;
use tributary_protocol::{
    Column, ColumnName, ColumnType, DatasetName, DatasetSchema, Identity, Passphrase, arrow_schema,
};

use super::*;

const NOW: chrono::DateTime<chrono::Utc> = DateTime::UNIX_EPOCH;
const WIDTH: usize = 1000;

struct Bench {
    folder: TempDir,
    identity: Identity,
    vault: Vault,
}

fn passphrase() -> Passphrase {
    Passphrase::new("correct horse battery staple").unwrap()
}

fn name(text: &str) -> DatasetName {
    text.parse().unwrap()
}

fn columns(names: &[&str]) -> Vec<ColumnName> {
    names.iter().map(|name| name.parse().unwrap()).collect()
}

fn schema() -> DatasetSchema {
    let column = |name: &str, kind| Column {
        name: name.parse().unwrap(),
        kind,
    };
    DatasetSchema::new(vec![
        column("image", ColumnType::U8Bytes { len: WIDTH as u32 }),
        column("label", ColumnType::Label { classes: 10 }),
        column("age", ColumnType::F32),
        column("note", ColumnType::Utf8 { max_bytes: 20 }),
        column("code", ColumnType::I64),
    ])
    .unwrap()
}

/// Records whose every value follows from their number.
fn records(from: u64, count: u64) -> RecordBatch {
    if count == 0 {
        return RecordBatch::new_empty(arrow_schema(&schema()));
    }
    let numbers = || from..from + count;
    let images = numbers().map(|i| [(i % 251) as u8; WIDTH]);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(FixedSizeBinaryArray::try_from_iter(images).unwrap()),
        Arc::new(UInt16Array::from_iter_values(
            numbers().map(|i| (i % 10) as u16),
        )),
        Arc::new(Float32Array::from_iter_values(numbers().map(|i| i as f32))),
        Arc::new(StringArray::from_iter_values(
            numbers().map(|i| format!("note {i}")),
        )),
        Arc::new(Int64Array::from_iter_values(numbers().map(|i| -(i as i64)))),
    ];
    RecordBatch::try_new(arrow_schema(&schema()), columns).unwrap()
}

fn ok(batch: RecordBatch) -> [Result<RecordBatch, io::Error>; 1] {
    [Ok(batch)]
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let identity = Identity::generate();
        let owner = Owner {
            name: "hospital-1".parse().unwrap(),
            key: identity.public(),
        };
        let location = folder.path().join("vault").display().to_string();
        let vault = Vault::create(&location, &passphrase(), owner).unwrap();
        Self {
            folder,
            identity,
            vault,
        }
    }

    fn with_dataset(count: u64) -> (Self, Dataset) {
        let bench = Self::new();
        let dataset = bench.import("digits", count).unwrap();
        (bench, dataset)
    }

    fn import(&self, dataset: &str, count: u64) -> Result<Dataset, VaultError> {
        self.vault.import(
            &self.identity,
            &name(dataset),
            &schema(),
            ok(records(0, count)),
            NOW,
        )
    }

    fn append(&self, from: u64, count: u64) -> Result<Dataset, VaultError> {
        self.vault.append(
            &self.identity,
            &name("digits"),
            ok(records(from, count)),
            NOW,
        )
    }

    fn reopen(&self) -> Result<Vault, VaultError> {
        Vault::open(
            &self.vault.location(),
            &passphrase(),
            self.vault.owner().clone(),
        )
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join("vault").join(file)
    }

    fn part_path(&self, dataset: &Dataset, part: usize) -> PathBuf {
        let file = &dataset.manifest.parts()[part].file;
        self.path(&format!("{}/{file}", dataset.manifest.dataset()))
    }

    fn open(&self, dataset: &Dataset, columns_: &[&str]) -> Result<Records, VaultError> {
        Records::open(
            &self.vault,
            dataset.manifest.dataset(),
            dataset.digest,
            &columns(columns_),
            CacheSize::mebibytes(1),
        )
    }

    fn findings(&self) -> Vec<VaultError> {
        self.vault.verify(&name("digits")).unwrap().findings
    }
}

#[test]
fn records_come_back_in_any_order_and_projection() {
    let (bench, dataset) = Bench::with_dataset(1000);
    let records = bench
        .open(&dataset, &["code", "image", "note", "label", "age"])
        .unwrap();
    assert_eq!(records.len(), 1000);
    for indices in [
        vec![],
        vec![999],
        vec![0, 0, 60, 61, 62, 500],
        vec![999, 3, 500, 3],
        (0..1000).rev().collect(),
    ] {
        let taken = records.take(&indices).unwrap();
        assert_eq!(taken.num_rows(), indices.len());
        for (row, index) in indices.iter().enumerate() {
            let index = u64::from(*index);
            let [code, image, note, label, age] = taken.columns() else {
                panic!("five columns")
            };
            assert_eq!(code.as_primitive::<Int64Type>().value(row), -(index as i64));
            assert_eq!(
                image.as_fixed_size_binary().value(row),
                [(index % 251) as u8; WIDTH]
            );
            assert_eq!(note.as_string::<i32>().value(row), format!("note {index}"));
            assert_eq!(
                label.as_primitive::<UInt16Type>().value(row),
                (index % 10) as u16
            );
            assert_eq!(age.as_primitive::<Float32Type>().value(row), index as f32);
        }
    }
    assert!(matches!(
        records.take(&[1000]),
        Err(VaultError::OutOfRange { index: 1000, .. })
    ));
}

#[test]
fn a_scan_gives_all_records_once_in_the_columns_asked_for() {
    let (bench, _) = Bench::with_dataset(500);
    let dataset = bench.append(500, 250).unwrap();
    let records = bench.open(&dataset, &["age", "label"]).unwrap();
    let mut next = 0;
    for batch in records.scan() {
        let batch = batch.unwrap();
        assert_eq!(batch.schema().field(0).name(), "age");
        for age in batch.column(0).as_primitive::<Float32Type>().values() {
            assert_eq!(*age, next as f32);
            next += 1;
        }
    }
    assert_eq!(next, 750);
}

#[test]
fn a_small_cache_gives_the_same_records_as_a_large_one() {
    let (bench, dataset) = Bench::with_dataset(2000);
    let indices: Vec<u32> = (0..2000).step_by(7).collect();
    let expected = bench
        .open(&dataset, &["image"])
        .unwrap()
        .take(&indices)
        .unwrap();
    for bytes in [0, 100_000, 500_000] {
        let records = Records::open(
            &bench.vault,
            &name("digits"),
            dataset.digest,
            &columns(&["image"]),
            CacheSize::bytes(bytes),
        )
        .unwrap();
        for _ in 0..3 {
            assert_eq!(records.take(&indices).unwrap(), expected);
        }
    }
}

#[test]
fn nothing_readable_is_on_the_disk() {
    let bench = Bench::new();
    let marker = b"a very private diagnosis";
    let mut image = [0_u8; WIDTH];
    image[..marker.len()].copy_from_slice(marker);
    let mut batch = records(0, 1);
    let mut changed = batch.columns().to_vec();
    changed[0] = Arc::new(FixedSizeBinaryArray::try_from_iter([image].iter()).unwrap());
    batch = RecordBatch::try_new(batch.schema(), changed).unwrap();
    let dataset = bench
        .vault
        .import(&bench.identity, &name("digits"), &schema(), ok(batch), NOW)
        .unwrap();
    let stored = std::fs::read(bench.part_path(&dataset, 0)).unwrap();
    assert!(!stored.windows(marker.len()).any(|bytes| bytes == marker));
    assert!(!stored.windows(6).any(|bytes| bytes == b"note 0"));
    assert_eq!(&stored[..4], b"PARE");
}

#[test]
fn a_vault_reopens_with_its_passphrase_and_no_other() {
    let (bench, dataset) = Bench::with_dataset(100);
    let again = bench.reopen().unwrap();
    assert_eq!(again.list().unwrap(), [dataset]);
    assert!(again.verify(&name("digits")).unwrap().is_sound());
    let wrong = Passphrase::new("wrong").unwrap();
    assert!(matches!(
        Vault::open(&bench.vault.location(), &wrong, bench.vault.owner().clone()),
        Err(VaultError::Passphrase)
    ));
    assert!(matches!(
        Vault::create(
            &bench.vault.location(),
            &passphrase(),
            bench.vault.owner().clone()
        ),
        Err(VaultError::VaultExists { .. })
    ));
    std::fs::remove_file(bench.path("vault.json")).unwrap();
    assert!(matches!(bench.reopen(), Err(VaultError::NoVault { .. })));
}

#[test]
fn a_flipped_byte_anywhere_in_any_file_is_noticed() {
    let (bench, dataset) = Bench::with_dataset(70);
    let check = |path: PathBuf, step: usize| {
        let good = std::fs::read(&path).unwrap();
        for position in (0..good.len()).step_by(step) {
            let mut bad = good.clone();
            bad[position] ^= 0x01;
            std::fs::write(&path, &bad).unwrap();
            let noticed = match bench.vault.verify(&name("digits")) {
                Ok(found) => !found.is_sound(),
                Err(_) => true,
            };
            assert!(noticed, "byte {position} of {}", path.display());
        }
        std::fs::write(&path, &good).unwrap();
    };
    check(bench.part_path(&dataset, 0), 997);
    check(bench.path("digits/high-water.json"), 1);
    // Only the payload and the signature are believed; the rest of the envelope is spelling.
    let path = bench.path("digits/manifest-00000001.dsse");
    let good = std::fs::read_to_string(&path).unwrap();
    for field in ["\"payload\": \"", "\"sig\": \""] {
        let start = good.find(field).unwrap() + field.len();
        for position in (start..start + 80).step_by(7) {
            let mut bad = good.clone().into_bytes();
            bad[position] = if bad[position] == b'A' { b'B' } else { b'A' };
            std::fs::write(&path, &bad).unwrap();
            assert!(bench.vault.show(&name("digits")).is_err());
        }
    }
    std::fs::write(&path, &good).unwrap();
    assert!(bench.findings().is_empty());
}

#[test]
fn a_page_altered_after_opening_is_not_served() {
    let (bench, dataset) = Bench::with_dataset(70);
    let records = bench.open(&dataset, &["image"]).unwrap();
    let path = bench.part_path(&dataset, 0);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[30_000] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    assert!(matches!(
        records.take(&[0, 69]),
        Err(VaultError::PartUnreadable { .. })
    ));
}

#[test]
fn missing_swapped_truncated_and_foreign_parts_are_named() {
    let (bench, _) = Bench::with_dataset(100);
    let dataset = bench.append(100, 100).unwrap();
    let first = bench.part_path(&dataset, 0);
    let second = bench.part_path(&dataset, 1);
    let (one, two) = (
        std::fs::read(&first).unwrap(),
        std::fs::read(&second).unwrap(),
    );

    std::fs::remove_file(&first).unwrap();
    assert!(
        matches!(&bench.findings()[..], [VaultError::PartMissing { part, .. }] if part.get() == 1)
    );
    assert!(matches!(
        bench.open(&dataset, &["image"]),
        Err(VaultError::PartMissing { .. })
    ));

    std::fs::write(&first, &two).unwrap();
    std::fs::write(&second, &one).unwrap();
    let findings = bench.findings();
    assert_eq!(findings.len(), 2);
    for (finding, expected) in findings.iter().zip([2, 1]) {
        assert!(
            matches!(finding, VaultError::PartSwapped { holds, .. } if holds.get() == expected)
        );
    }

    std::fs::write(&first, &one[..one.len() - 1]).unwrap();
    std::fs::write(&second, &two).unwrap();
    assert!(matches!(
        &bench.findings()[..],
        [VaultError::PartAltered { .. }]
    ));

    let other = bench.import("others", 100).unwrap();
    std::fs::copy(bench.part_path(&other, 0), &first).unwrap();
    assert!(matches!(
        bench.open(&dataset, &["image"]),
        Err(VaultError::PartAltered { .. })
    ));
}

#[test]
fn an_old_state_of_the_folder_is_refused() {
    let (bench, first) = Bench::with_dataset(100);
    bench.append(100, 50).unwrap();
    let newest = bench.path("digits/manifest-00000002.dsse");
    let kept = std::fs::read(&newest).unwrap();
    std::fs::remove_file(&newest).unwrap();
    let error = bench.vault.show(&name("digits")).unwrap_err();
    assert!(matches!(&error, VaultError::RolledBack { expected, .. } if expected.get() == 2));
    assert!(bench.vault.verify(&name("digits")).is_err());
    assert!(bench.open(&first, &["image"]).is_err());

    std::fs::remove_file(bench.path("digits/manifest-00000001.dsse")).unwrap();
    assert!(matches!(
        bench.vault.show(&name("digits")),
        Err(VaultError::RolledBack {
            got: Version(None),
            ..
        })
    ));
    std::fs::remove_file(bench.path("digits/high-water.json")).unwrap();
    std::fs::write(&newest, kept).unwrap();
    assert!(matches!(
        bench.vault.show(&name("digits")),
        Err(VaultError::Damaged { .. })
    ));
}

#[test]
fn the_whole_folder_rolled_back_is_not_what_a_later_contract_names() {
    let (bench, _) = Bench::with_dataset(100);
    let files = ["high-water.json", "manifest-00000001.dsse"];
    let old: Vec<_> = files
        .iter()
        .map(|file| std::fs::read(bench.path(&format!("digits/{file}"))).unwrap())
        .collect();
    let second = bench.append(100, 50).unwrap();
    std::fs::remove_file(bench.path("digits/manifest-00000002.dsse")).unwrap();
    for (file, bytes) in files.iter().zip(old) {
        std::fs::write(bench.path(&format!("digits/{file}")), bytes).unwrap();
    }
    assert!(bench.vault.show(&name("digits")).is_ok());
    assert!(matches!(
        bench.open(&second, &["image"]),
        Err(VaultError::OtherManifest { newest, .. }) if newest.get() == 1
    ));
}

#[test]
fn contracts_on_an_earlier_version_go_on_after_appending_and_rotating() {
    let (mut bench, first) = Bench::with_dataset(100);
    let second = bench.append(100, 50).unwrap();
    let rewrapped = bench
        .vault
        .rotate(&bench.identity, &passphrase(), NOW)
        .unwrap();
    assert_eq!(rewrapped, 1);
    let third = bench.vault.show(&name("digits")).unwrap();
    assert_eq!(third.manifest.version().get(), 3);
    bench.vault = bench.reopen().unwrap();
    for (dataset, expected) in [(&first, 100), (&second, 150), (&third, 150)] {
        let records = bench.open(dataset, &["code"]).unwrap();
        assert_eq!(records.len(), expected);
        let last = u32::try_from(expected).unwrap() - 1;
        let taken = records.take(&[last]).unwrap();
        assert_eq!(
            taken.column(0).as_primitive::<Int64Type>().value(0),
            -i64::from(last)
        );
    }
    assert!(bench.findings().is_empty());
    let parts = |dataset: &Dataset| {
        let parts = dataset.manifest.parts().iter();
        parts.map(|part| part.key.vault_key).collect::<Vec<_>>()
    };
    assert_eq!((parts(&second), parts(&third)), (vec![1, 1], vec![2, 2]));
}

#[test]
fn a_changed_passphrase_opens_and_the_old_one_does_not() {
    let (bench, dataset) = Bench::with_dataset(10);
    let new = Passphrase::new("another").unwrap();
    bench.vault.change_passphrase(&new).unwrap();
    assert!(matches!(bench.reopen(), Err(VaultError::Passphrase)));
    let vault = Vault::open(&bench.vault.location(), &new, bench.vault.owner().clone()).unwrap();
    assert_eq!(vault.list().unwrap(), [dataset]);
}

#[test]
fn manifests_of_another_signer_and_another_dataset_are_refused() {
    let (bench, dataset) = Bench::with_dataset(10);
    let stranger = Identity::generate();
    let path = bench.path("digits/manifest-00000001.dsse");
    std::fs::write(&path, dataset.manifest.sign(&stranger).to_json()).unwrap();
    assert!(matches!(
        bench.vault.show(&name("digits")),
        Err(VaultError::Manifest { .. })
    ));
    bench.import("others", 10).unwrap();
    std::fs::copy(bench.path("others/manifest-00000001.dsse"), &path).unwrap();
    assert!(matches!(
        bench.vault.show(&name("digits")),
        Err(VaultError::OutOfPlace { .. })
    ));
    assert!(matches!(
        bench
            .vault
            .import(&stranger, &name("mine"), &schema(), ok(records(0, 1)), NOW),
        Err(VaultError::NotTheOwner { .. })
    ));
}

#[test]
fn a_refused_import_leaves_the_vault_as_it_was() {
    let (bench, dataset) = Bench::with_dataset(10);
    let files = || {
        let mut files: Vec<_> = std::fs::read_dir(bench.path("digits"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        files.sort();
        files
    };
    let before = files();
    assert!(matches!(
        bench.import("digits", 1),
        Err(VaultError::DatasetExists(_))
    ));
    assert!(matches!(bench.append(0, 0), Err(VaultError::NoRecords)));
    let failing = [
        Ok(records(0, 5000)),
        Err(io::Error::other("the source failed")),
    ];
    assert!(matches!(
        bench
            .vault
            .append(&bench.identity, &name("digits"), failing, NOW),
        Err(VaultError::Source(_))
    ));
    let mut columns = records(0, 3).columns().to_vec();
    columns[1] = Arc::new(UInt16Array::from(vec![1, 10, 2]));
    let bad = RecordBatch::try_new(arrow_schema(&schema()), columns).unwrap();
    assert!(matches!(
        bench.vault.append(
            &bench.identity,
            &name("digits"),
            [Ok::<_, io::Error>(records(0, 7)), Ok(bad)],
            NOW
        ),
        Err(VaultError::Value { record: 8, .. })
    ));
    let narrow = records(0, 3).project(&[0, 1]).unwrap();
    assert!(matches!(
        bench
            .vault
            .append(&bench.identity, &name("digits"), ok(narrow), NOW),
        Err(VaultError::OtherColumns { .. })
    ));
    assert_eq!(files(), before);
    assert_eq!(bench.vault.list().unwrap(), [dataset]);
    assert!(matches!(
        bench.vault.show(&name("absent")),
        Err(VaultError::NoDataset { known, .. }) if known == "`digits`"
    ));
}

#[test]
fn an_import_that_failed_can_be_repeated_under_its_name() {
    let bench = Bench::new();
    let failing = [
        Ok(records(0, 5000)),
        Err(io::Error::other("the source failed")),
    ];
    assert!(
        bench
            .vault
            .import(&bench.identity, &name("digits"), &schema(), failing, NOW)
            .is_err()
    );
    assert!(bench.vault.list().unwrap().is_empty());
    bench.import("digits", 10).unwrap();
    assert!(bench.findings().is_empty());
}

#[test]
fn secrets_and_records_do_not_print() {
    let (bench, dataset) = Bench::with_dataset(10);
    let shown = format!(
        "{:?} {:?}",
        bench.vault,
        bench.open(&dataset, &["note"]).unwrap()
    );
    assert!(!shown.contains("note 1"));
}
