//! Writes IDX files, for data that is drawn: agents import it as they would MNIST itself.
//!
//! The layout is that of <http://yann.lecun.com/exdb/mnist/>: a big-endian magic number `0x0000_08NN` (unsigned bytes in
//! `NN` dimensions), `NN` big-endian 32-bit sizes, then the bytes.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;

const LABELS_MAGIC: u32 = 0x0000_0801;
const IMAGES_MAGIC: u32 = 0x0000_0803;

/// How the file is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum IdxEncoding {
    /// As it is.
    Plain,
    /// As a gzip file of one member, without a time stamp: equal data give equal files.
    Gzip,
}

/// Why an IDX file was not written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdxWriteError {
    /// The pixels are not a whole number of images.
    #[error(
        "{got} bytes of pixels are no whole number of images of {rows}x{columns} bytes; give rows * columns bytes for each image"
    )]
    RaggedImages {
        /// Bytes given.
        got: usize,
        /// Rows of an image.
        rows: u32,
        /// Columns of an image.
        columns: u32,
    },
    /// More records than the 32-bit size in the header can say.
    #[error(
        "{got} records do not fit in one IDX file, which holds at most 4294967295; write several files"
    )]
    TooMany {
        /// Records given.
        got: usize,
    },
    /// The file could not be written.
    #[error("cannot write {path}: {source}", path = .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Writes images of `rows` times `columns` grey values each, rows first, one image after the other.
///
/// An existing file is replaced.
///
/// # Errors
///
/// Where the pixels are no whole number of images, are too many, or the file cannot be written.
///
/// ```
/// use tributary_idx::{IdxEncoding, read_idx_images, write_idx_images};
///
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("images.gz");
/// write_idx_images(&path, 2, 3, &[7; 12], IdxEncoding::Gzip)?;
/// assert_eq!(read_idx_images(&path)?.pixels, [7; 12]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn write_idx_images(
    path: &Path,
    rows: u32,
    columns: u32,
    pixels: &[u8],
    encoding: IdxEncoding,
) -> Result<(), IdxWriteError> {
    let ragged = || IdxWriteError::RaggedImages {
        got: pixels.len(),
        rows,
        columns,
    };
    let image = (rows as usize)
        .checked_mul(columns as usize)
        .filter(|bytes| *bytes > 0)
        .ok_or_else(ragged)?;
    if !pixels.len().is_multiple_of(image) {
        return Err(ragged());
    }
    let count = count_of(pixels.len() / image)?;
    write(
        path,
        &[IMAGES_MAGIC, count, rows, columns],
        pixels,
        encoding,
    )
}

/// Writes labels, one byte each.
///
/// An existing file is replaced.
///
/// # Errors
///
/// Where the labels are too many, or the file cannot be written.
pub fn write_idx_labels(
    path: &Path,
    labels: &[u8],
    encoding: IdxEncoding,
) -> Result<(), IdxWriteError> {
    write(
        path,
        &[LABELS_MAGIC, count_of(labels.len())?],
        labels,
        encoding,
    )
}

fn count_of(records: usize) -> Result<u32, IdxWriteError> {
    u32::try_from(records).map_err(|_| IdxWriteError::TooMany { got: records })
}

fn write(
    path: &Path,
    header: &[u32],
    data: &[u8],
    encoding: IdxEncoding,
) -> Result<(), IdxWriteError> {
    let go = || -> io::Result<()> {
        let file = BufWriter::new(File::create(path)?);
        match encoding {
            IdxEncoding::Plain => put(file, header, data)?,
            // Level 1 is several times faster than the default, and noisy images hardly shrink at any.
            IdxEncoding::Gzip => {
                put(GzEncoder::new(file, Compression::fast()), header, data)?.finish()?
            }
        }
        .into_inner()?
        .sync_all()
    };
    go().map_err(|source| IdxWriteError::Write {
        path: path.to_owned(),
        source,
    })
}

fn put<W: Write>(mut out: W, header: &[u32], data: &[u8]) -> io::Result<W> {
    for word in header {
        out.write_all(&word.to_be_bytes())?;
    }
    out.write_all(data)?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{read_idx_images, read_idx_labels};
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_is_written_is_read_back(
            rows in 1u32..9,
            columns in 1u32..9,
            records in proptest::collection::vec((any::<u8>(), proptest::collection::vec(any::<u8>(), 64)), 1..20),
            gzip in any::<bool>(),
        ) {
            let encoding = if gzip { IdxEncoding::Gzip } else { IdxEncoding::Plain };
            let folder = tempfile::tempdir().unwrap();
            let (images, labels) = (folder.path().join("images"), folder.path().join("labels"));
            let side = (rows * columns) as usize;
            let pixels: Vec<u8> = records.iter().flat_map(|record| &record.1[..side]).copied().collect();
            let classes: Vec<u8> = records.iter().map(|record| record.0).collect();
            write_idx_images(&images, rows, columns, &pixels, encoding).unwrap();
            write_idx_labels(&labels, &classes, encoding).unwrap();

            let read = read_idx_images(&images).unwrap();
            prop_assert_eq!((read.rows, read.columns, read.pixels), (rows, columns, pixels));
            prop_assert_eq!(read_idx_labels(&labels).unwrap(), classes);
        }
    }

    #[test]
    fn pixels_that_are_no_whole_number_of_images_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("images");
        for (rows, columns, bytes) in [(28, 28, 783), (0, 28, 0), (u32::MAX, u32::MAX, 1)] {
            let refused =
                write_idx_images(&path, rows, columns, &vec![0; bytes], IdxEncoding::Plain);
            assert!(
                matches!(refused, Err(IdxWriteError::RaggedImages { .. })),
                "{refused:?}"
            );
            assert!(!path.exists());
        }
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("absent").join("labels");
        let message = write_idx_labels(&path, &[1], IdxEncoding::Gzip)
            .unwrap_err()
            .to_string();
        assert!(message.contains(&path.display().to_string()), "{message}");
    }

    #[test]
    fn equal_data_give_equal_files() {
        let folder = tempfile::tempdir().unwrap();
        let written = ["a", "b"].map(|name| {
            let path = folder.path().join(name);
            write_idx_labels(&path, &[1, 2, 3], IdxEncoding::Gzip).unwrap();
            std::fs::read(path).unwrap()
        });
        assert_eq!(written[0], written[1]);
    }
}
