use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::*;

/// Two images of 2x3 grey values.
fn images() -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 3];
    bytes.extend(1..=12);
    bytes
}

/// Two labels.
fn labels() -> Vec<u8> {
    vec![0, 0, 8, 1, 0, 0, 0, 2, 5, 9]
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn put(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    }
}

/// Reads `bytes` as images and expects a refusal that names the file and says each of `words`.
fn check_refused(bytes: &[u8], words: &[&str]) {
    let folder = Folder::new();
    let path = folder.put("some-images", bytes);
    let message = read_idx_images(&path).unwrap_err().to_string();
    assert!(message.contains("some-images"), "{message}");
    for word in words {
        assert!(message.contains(word), "{word:?} is not in {message:?}");
    }
    assert!(!message.ends_with('.'), "{message}");
}

fn altered(mut bytes: Vec<u8>, at: usize, with: &[u8]) -> Vec<u8> {
    bytes[at..at + with.len()].copy_from_slice(with);
    bytes
}

#[test]
fn a_set_in_memory_holds_both_files() {
    let folder = Folder::new();
    let paths = (
        folder.put("images", &images()),
        folder.put("labels", &labels()),
    );
    let set = read_pair(&paths.0, &paths.1).unwrap();
    assert_eq!((set.rows(), set.columns()), (2, 3));
    assert_eq!(set.pixels(), (1..=12).collect::<Vec<u8>>());
    assert_eq!(set.labels(), [5, 9]);
    let other = folder.put("other", &[0, 0, 8, 1, 0, 0, 0, 1, 5]);
    assert!(matches!(
        read_pair(&paths.0, &other),
        Err(IdxError::CountsDisagree { .. })
    ));
}

#[test]
fn images_and_labels_are_read_plain_and_gzip() {
    let folder = Folder::new();
    for wrap in [<[u8]>::to_vec, gzip] {
        let read = read_idx_images(&folder.put("images", &wrap(&images()))).unwrap();
        assert_eq!((read.rows, read.columns), (2, 3));
        assert_eq!(read.pixels, (1..=12).collect::<Vec<u8>>());
        assert_eq!(
            read_idx_labels(&folder.put("labels", &wrap(&labels()))).unwrap(),
            [5, 9]
        );
    }
}

#[test]
fn a_gzip_file_of_several_members_is_read_as_one() {
    let folder = Folder::new();
    let (head, tail) = (images()[..20].to_vec(), images()[20..].to_vec());
    let path = folder.put("images", &[gzip(&head), gzip(&tail)].concat());
    assert_eq!(read_idx_images(&path).unwrap().pixels.len(), 12);
}

#[test]
fn a_pair_is_read_in_chunks_that_stay_together() {
    let folder = Folder::new();
    let mut many = vec![0, 0, 8, 3, 0, 0, 0, 7, 0, 0, 0, 1, 0, 0, 0, 2];
    many.extend(0..14);
    let mut classes = vec![0, 0, 8, 1, 0, 0, 0, 7];
    classes.extend(0..7);
    let mut pair = IdxPair::open(
        &folder.put("images", &gzip(&many)),
        &folder.put("labels", &classes),
    )
    .unwrap();
    let mut sizes = Vec::new();
    while let Some(chunk) = pair.next_chunk(3).unwrap() {
        for (pixels, label) in chunk.pixels.chunks(2).zip(&chunk.labels) {
            assert_eq!(pixels, [2 * label, 2 * label + 1]);
        }
        sizes.push(chunk.labels.len());
    }
    assert_eq!(sizes, [3, 3, 1]);
}

#[test]
fn a_file_that_is_cut_anywhere_is_refused() {
    for length in 0..images().len() {
        check_refused(
            &images()[..length],
            &["truncated", "expected", "fetch the file again"],
        );
    }
    let packed = gzip(&images());
    for length in 2..packed.len() {
        check_refused(&packed[..length], &["fetch the file again"]);
    }
}

#[test]
fn a_cut_file_is_refused_with_both_lengths() {
    check_refused(&images()[..27], &["expected 28 bytes", "got 27"]);
    check_refused(&gzip(&images()[..27]), &["expected 28 bytes", "got 27"]);
}

#[test]
fn trailing_bytes_are_refused() {
    let longer = [images(), vec![0]].concat();
    check_refused(&longer, &["28 bytes", "got more"]);
    check_refused(&gzip(&longer), &["28 bytes", "got more"]);
    check_refused(
        &[gzip(&images()), gzip(&[0])].concat(),
        &["28 bytes", "got more"],
    );
    check_refused(&[gzip(&images()), vec![0; 20]].concat(), &["damaged"]);
}

#[test]
fn a_pair_with_trailing_bytes_is_refused_at_its_end() {
    let folder = Folder::new();
    let longer = gzip(&[labels(), vec![0]].concat());
    let mut pair = IdxPair::open(
        &folder.put("images", &images()),
        &folder.put("labels", &longer),
    )
    .unwrap();
    assert!(pair.next_chunk(10).unwrap().is_some());
    assert!(matches!(
        pair.next_chunk(10),
        Err(IdxError::TrailingBytes { expected: 10, .. })
    ));
}

#[test]
fn a_flipped_byte_in_gzip_data_is_refused() {
    let packed = gzip(&images());
    // The ten bytes of the header hold a time and flags that carry no data.
    for at in 10..packed.len() {
        let folder = Folder::new();
        let path = folder.put("images", &altered(packed.clone(), at, &[packed[at] ^ 0x10]));
        assert!(read_idx_images(&path).is_err(), "byte {at} may be flipped");
    }
}

#[test]
fn another_magic_number_is_refused() {
    check_refused(
        &labels(),
        &["0x00000803", "0x00000801", "the other way round"],
    );
    check_refused(
        &altered(images(), 2, &[9]),
        &["0x00000803", "0x00000903", "unsigned bytes"],
    );
    check_refused(b"\x89PNG\r\n\x1a\n", &["0x89504e47"]);
    let folder = Folder::new();
    let swapped = read_idx_labels(&folder.put("labels", &images()))
        .unwrap_err()
        .to_string();
    assert!(
        swapped.contains("expected IDX labels") && swapped.contains("the other way round"),
        "{swapped}"
    );
}

#[test]
fn sizes_beyond_their_limits_are_refused_before_anything_is_allocated() {
    for (at, what) in [(4, "records"), (8, "rows"), (12, "columns")] {
        check_refused(
            &altered(images(), at, &[0xff; 4]),
            &["4294967295", what, "split it"],
        );
        check_refused(&altered(images(), at, &[0; 4]), &["declares 0", what]);
    }
    // Each size is within its own limit; the product is not.
    let product = altered(
        altered(images(), 4, &[4, 0, 0, 0]),
        8,
        &[0, 0, 16, 0, 0, 0, 16, 0],
    );
    check_refused(&product, &["bytes of records", "1125899906842624"]);
}

#[test]
fn a_header_that_the_file_cannot_bear_out_is_refused_before_anything_is_allocated() {
    // A million images of a thousand bytes each, of which none is there.
    let bomb = altered(
        altered(images(), 4, &[0, 15, 66, 64]),
        8,
        &[0, 0, 0, 25, 0, 0, 0, 40],
    );
    check_refused(&bomb, &["expected 1000000016 bytes", "got 28"]);
    check_refused(
        &gzip(&bomb),
        &[
            "expected 1000000016 bytes",
            "more than a gzip file of this size can hold",
        ],
    );
}

#[test]
fn more_than_memory_should_hold_is_refused_all_at_once_and_streamed_in_chunks() {
    let folder = Folder::new();
    let path = folder.put(
        "images",
        &altered(images(), 4, &[1, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0, 8]),
    );
    // A file with a hole: 2 GiB by its length, nothing on disk.
    let length = 16 + (1 << 24) * 128;
    File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(length)
        .unwrap();
    let refused = read_idx_images(&path);
    assert!(
        matches!(
            refused,
            Err(IdxError::Size {
                got: 2_147_483_648,
                limit: MAX_IDX_BYTES_IN_MEMORY,
                ..
            })
        ),
        "{refused:?}"
    );
    let mut reader = IdxReader::open(&path, IdxKind::Images).unwrap();
    assert_eq!(reader.next_records(2).unwrap().unwrap().len(), 256);
}

#[test]
fn counts_that_disagree_are_refused_with_both_files_and_counts() {
    let folder = Folder::new();
    let three = altered([labels(), vec![1]].concat(), 7, &[3]);
    let refused = IdxPair::open(
        &folder.put("the-images", &images()),
        &folder.put("the-labels", &three),
    );
    let message = refused.unwrap_err().to_string();
    for word in ["the-images", "2 images", "the-labels", "3 labels"] {
        assert!(message.contains(word), "{word:?} is not in {message:?}");
    }
}

#[test]
fn what_is_no_file_is_refused() {
    let folder = Folder::new();
    assert!(matches!(
        read_idx_images(folder.0.path()),
        Err(IdxError::NotAFile { .. })
    ));
    let absent = read_idx_images(&folder.0.path().join("absent")).unwrap_err();
    assert!(matches!(absent, IdxError::Read { .. }));
    assert!(absent.to_string().contains("absent"), "{absent}");
}

#[test]
fn pixels_do_not_show_in_debug_output() {
    let images = IdxImages {
        rows: 1,
        columns: 1,
        pixels: vec![213],
    };
    assert!(!format!("{images:?}").contains("213"));
    let chunk = IdxChunk {
        pixels: vec![213],
        labels: vec![187],
    };
    let shown = format!("{chunk:?}");
    assert!(!shown.contains("213") && !shown.contains("187"), "{shown}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_bytes_are_read_or_refused(start in 0usize..17, noise in proptest::collection::vec(any::<u8>(), 0..64), pack in any::<bool>()) {
        let bytes = [&images()[..start.min(16)], &noise].concat();
        let folder = Folder::new();
        let path = folder.put("images", &if pack { gzip(&bytes) } else { bytes.clone() });
        if let Ok(read) = read_idx_images(&path) {
            prop_assert_eq!(bytes.len(), 16 + read.pixels.len());
            prop_assert_eq!(&bytes[16..], &read.pixels);
        }
        let _ = read_idx_labels(&path);
    }
}

/// The folder of real data, or `None` where it is not there, which only a machine that is not CI may do without.
fn mnist() -> Option<PathBuf> {
    let shared = std::env::var_os("TRIBUTARY_SHARED").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared"),
        PathBuf::from,
    );
    let folder = shared.join("data/mnist");
    if folder.is_dir() {
        return Some(folder);
    }
    assert!(
        std::env::var_os("CI").is_none(),
        "{} is not there",
        folder.display()
    );
    println!("skipped: {} is not there", folder.display());
    None
}

#[test]
fn the_real_mnist_files_are_read_to_the_last_byte() {
    let Some(folder) = mnist() else { return };
    // SHA-256 of the decompressed files, taken with sha256sum from files whose MD5 sums are the published ones.
    let sets = [
        (
            "train",
            60_000,
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        ),
        (
            "t10k",
            10_000,
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
    ];
    for (name, count, image_sum, label_sum) in sets {
        let images = folder.join(format!("{name}-images-idx3-ubyte.gz"));
        let labels = folder.join(format!("{name}-labels-idx1-ubyte.gz"));
        let mut pair = IdxPair::open(&images, &labels).unwrap();
        assert_eq!(
            (pair.records(), pair.rows(), pair.columns()),
            (count, 28, 28)
        );
        let size = u32::try_from(count).unwrap().to_be_bytes();
        let mut image_hash = Sha256::new().chain_update([0, 0, 8, 3]).chain_update(size);
        image_hash.update([0, 0, 0, 28, 0, 0, 0, 28]);
        let mut label_hash = Sha256::new().chain_update([0, 0, 8, 1]).chain_update(size);
        while let Some(chunk) = pair.next_chunk(1_024).unwrap() {
            assert!(chunk.labels.iter().all(|label| *label < 10));
            image_hash.update(&chunk.pixels);
            label_hash.update(&chunk.labels);
        }
        assert_eq!(hex::encode(image_hash.finalize()), image_sum);
        assert_eq!(hex::encode(label_hash.finalize()), label_sum);
    }
}
