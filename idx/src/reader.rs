//! Reads IDX files, the format that MNIST comes in, gzip or not.
//!
//! The layout is that of <http://yann.lecun.com/exdb/mnist/>: a big-endian magic number `0x0000_08NN` (unsigned bytes in
//! `NN` dimensions), `NN` big-endian 32-bit sizes, then the bytes.
//!
//! The header is believed only as far as the file can bear it out: sizes are held against named limits, and against the
//! length of the file, before anything is allocated. No more is ever decompressed than the header declares, and one byte:
//! the one that would be too many.

use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;

/// Records in one file, at most: MNIST and its extended relatives hold less than a million.
pub const MAX_IDX_RECORDS: u64 = 1 << 26;

/// Rows, or columns, of an image, at most: a record must fit well into a page of the vault and a batch on the wire.
pub const MAX_IDX_SIDE: u64 = 1 << 12;

/// Bytes of records in one file, at most (64 GiB), which bounds the time that a decompression bomb can take.
pub const MAX_IDX_BYTES: u64 = 1 << 36;

/// Bytes of records that [`read_idx_images`] and [`read_idx_labels`] hold in memory, at most; larger files are streamed.
pub const MAX_IDX_BYTES_IN_MEMORY: u64 = 1 << 30;

const LABELS_MAGIC: u32 = 0x0000_0801;
const IMAGES_MAGIC: u32 = 0x0000_0803;
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// Deflate cannot shrink further: 258 bytes, its longest match, for two bits.
const MAX_DEFLATE_RATIO: u64 = 258 * 8 / 2;

/// Why an IDX file was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdxError {
    /// The file cannot be opened or read.
    #[error("cannot read {path}: {source}; check that the file exists and may be read", path = .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The path leads to a folder, pipe or device.
    #[error("{path} is not a regular file; give the path of an IDX file", path = .path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// The gzip stream is damaged.
    #[error("{path} is damaged: {source}; fetch the file again", path = .path.display())]
    DamagedGzip {
        /// The file.
        path: PathBuf,
        /// What the decompressor said.
        source: io::Error,
    },
    /// The file is of another kind.
    #[error("{path}: expected IDX {kind} (magic number {expected:#010x}), got {got:#010x}{hint}", path = .path.display())]
    WrongMagic {
        /// The file.
        path: PathBuf,
        /// What the file should hold.
        kind: IdxKind,
        /// Magic number of that kind.
        expected: u32,
        /// First four bytes of the file.
        got: u32,
        /// How to mend it.
        hint: &'static str,
    },
    /// A size in the header is zero or beyond its limit.
    #[error("{path}: the header declares {got} {what}; expected 1 to {limit}: fetch the file again, or split it", path = .path.display())]
    Size {
        /// The file.
        path: PathBuf,
        /// Which size.
        what: &'static str,
        /// The size.
        got: u64,
        /// The named limit.
        limit: u64,
    },
    /// The file ends before the header's sizes are filled.
    #[error("{path} is truncated: expected {expected} bytes{measure}, got {got}; fetch the file again", path = .path.display())]
    Truncated {
        /// The file.
        path: PathBuf,
        /// Bytes that the header declares, itself included.
        expected: u64,
        /// Bytes that came, or that the file can hold at most.
        got: u64,
        /// What is counted.
        measure: &'static str,
    },
    /// More follows than the header declares.
    #[error("{path}: expected the end after the {expected} bytes that its header declares, got more; fetch the file again, or cut it there", path = .path.display())]
    TrailingBytes {
        /// The file.
        path: PathBuf,
        /// Bytes that the header declares, itself included.
        expected: u64,
    },
    /// The two files do not belong together.
    #[error("{images} holds {image_count} images, {labels} holds {label_count} labels; expected as many of each: give the two files of one set", images = .images.display(), labels = .labels.display())]
    CountsDisagree {
        /// File of the images.
        images: PathBuf,
        /// Number of images.
        image_count: u64,
        /// File of the labels.
        labels: PathBuf,
        /// Number of labels.
        label_count: u64,
    },
}

/// What an IDX file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdxKind {
    /// Grey images: three dimensions.
    Images,
    /// Classes: one dimension.
    Labels,
}

impl std::fmt::Display for IdxKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Images => "images",
            Self::Labels => "labels",
        })
    }
}

/// Images held in memory.
#[derive(Clone, PartialEq, Eq)]
pub struct IdxImages {
    /// Rows of an image.
    pub rows: u32,
    /// Columns of an image.
    pub columns: u32,
    /// Grey values, rows first, `rows * columns` bytes an image.
    pub pixels: Vec<u8>,
}

impl std::fmt::Debug for IdxImages {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IdxImages")
            .field("rows", &self.rows)
            .field("columns", &self.columns)
            .finish_non_exhaustive()
    }
}

/// Reads all images of a file.
///
/// # Errors
///
/// [`IdxError`] where the file is not what its header says, or holds more than [`MAX_IDX_BYTES_IN_MEMORY`].
///
/// ```
/// use tributary_idx::read_idx_images;
///
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("images");
/// std::fs::write(&path, [0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 2, 7, 9])?;
/// let images = read_idx_images(&path)?;
/// assert_eq!((images.rows, images.columns, images.pixels), (1, 2, vec![7, 9]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn read_idx_images(path: &Path) -> Result<IdxImages, IdxError> {
    let mut reader = IdxReader::open(path, IdxKind::Images)?;
    let (rows, columns) = (reader.rows, reader.columns);
    Ok(IdxImages {
        rows,
        columns,
        pixels: reader.read_all()?,
    })
}

/// Reads all labels of a file, one byte each.
///
/// # Errors
///
/// As [`read_idx_images`].
pub fn read_idx_labels(path: &Path) -> Result<Vec<u8>, IdxError> {
    IdxReader::open(path, IdxKind::Labels)?.read_all()
}

/// A set in memory: images and the label of each.
#[derive(Clone, PartialEq, Eq)]
pub struct IdxSet {
    images: IdxImages,
    labels: Vec<u8>,
}

impl IdxSet {
    /// Rows of an image.
    #[must_use]
    pub fn rows(&self) -> u32 {
        self.images.rows
    }

    /// Columns of an image.
    #[must_use]
    pub fn columns(&self) -> u32 {
        self.images.columns
    }

    /// Grey values, rows first, `rows * columns` bytes an image.
    #[must_use]
    pub fn pixels(&self) -> &[u8] {
        &self.images.pixels
    }

    /// Classes, one byte an image.
    #[must_use]
    pub fn labels(&self) -> &[u8] {
        &self.labels
    }
}

impl std::fmt::Debug for IdxSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IdxSet")
            .field("records", &self.labels.len())
            .finish_non_exhaustive()
    }
}

/// Reads both files of a set.
///
/// # Errors
///
/// [`IdxError`] where a file is not what its header says, the counts disagree, or one holds more than
/// [`MAX_IDX_BYTES_IN_MEMORY`].
pub fn read_pair(images: &Path, labels: &Path) -> Result<IdxSet, IdxError> {
    let mut pair = IdxPair::open(images, labels)?;
    Ok(IdxSet {
        images: IdxImages {
            rows: pair.rows(),
            columns: pair.columns(),
            pixels: pair.images.read_all()?,
        },
        labels: pair.labels.read_all()?,
    })
}

/// Images and labels that belong together, read side by side, a chunk at a time.
///
/// ```
/// use tributary_idx::IdxPair;
///
/// let folder = tempfile::tempdir()?;
/// let (images, labels) = (folder.path().join("images"), folder.path().join("labels"));
/// std::fs::write(&images, [0, 0, 8, 3, 0, 0, 0, 3, 0, 0, 0, 1, 0, 0, 0, 1, 10, 11, 12])?;
/// std::fs::write(&labels, [0, 0, 8, 1, 0, 0, 0, 3, 0, 1, 2])?;
/// let mut pair = IdxPair::open(&images, &labels)?;
/// assert_eq!((pair.records(), pair.rows(), pair.columns()), (3, 1, 1));
/// let mut seen = 0;
/// while let Some(chunk) = pair.next_chunk(2)? {
///     seen += chunk.labels.len();
/// }
/// assert_eq!(seen, 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct IdxPair {
    images: IdxReader,
    labels: IdxReader,
}

/// A few images with their labels.
#[derive(Clone, PartialEq, Eq)]
pub struct IdxChunk {
    /// Grey values, rows first, `rows * columns` bytes an image.
    pub pixels: Vec<u8>,
    /// Classes, one byte an image.
    pub labels: Vec<u8>,
}

impl std::fmt::Debug for IdxChunk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IdxChunk")
            .field("records", &self.labels.len())
            .finish_non_exhaustive()
    }
}

impl IdxPair {
    /// Opens both files and holds their headers against each other.
    ///
    /// # Errors
    ///
    /// [`IdxError`] where a header is refused, or the counts disagree.
    pub fn open(images: &Path, labels: &Path) -> Result<Self, IdxError> {
        let pair = Self {
            images: IdxReader::open(images, IdxKind::Images)?,
            labels: IdxReader::open(labels, IdxKind::Labels)?,
        };
        if pair.images.records != pair.labels.records {
            return Err(IdxError::CountsDisagree {
                images: images.to_owned(),
                image_count: pair.images.records,
                labels: labels.to_owned(),
                label_count: pair.labels.records,
            });
        }
        Ok(pair)
    }

    /// Number of images, and of labels.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.images.records
    }

    /// Rows of an image.
    #[must_use]
    pub fn rows(&self) -> u32 {
        self.images.rows
    }

    /// Columns of an image.
    #[must_use]
    pub fn columns(&self) -> u32 {
        self.images.columns
    }

    /// The next `most` records, or as many as are left; `None` once both files have ended where they should.
    ///
    /// # Errors
    ///
    /// [`IdxError`] where a file ends early, goes on after its last record, or is damaged.
    pub fn next_chunk(&mut self, most: usize) -> Result<Option<IdxChunk>, IdxError> {
        let pixels = self.images.next_records(most)?;
        let labels = self.labels.next_records(most)?;
        Ok(pixels
            .zip(labels)
            .map(|(pixels, labels)| IdxChunk { pixels, labels }))
    }
}

/// One file, its header read and checked.
struct IdxReader {
    path: PathBuf,
    source: Source,
    records: u64,
    /// Rows of a record; 1 for labels.
    rows: u32,
    /// Columns of a record; 1 for labels.
    columns: u32,
    /// Bytes read so far, the header included.
    position: u64,
    /// Bytes of the whole file, uncompressed, as the header declares.
    length: u64,
}

impl std::fmt::Debug for IdxReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IdxReader")
            .field("path", &self.path)
            .field("records", &self.records)
            .finish_non_exhaustive()
    }
}

impl IdxReader {
    fn open(path: &Path, kind: IdxKind) -> Result<Self, IdxError> {
        let (source, stored) = Source::open(path)?;
        let mut reader = Self {
            path: path.to_owned(),
            source,
            records: 0,
            rows: 1,
            columns: 1,
            position: 0,
            length: 4,
        };
        reader.read_header(kind)?;
        reader.check_stored(stored)?;
        Ok(reader)
    }

    fn read_header(&mut self, kind: IdxKind) -> Result<(), IdxError> {
        let got = self.word()?;
        let (expected, dimensions) = match kind {
            IdxKind::Images => (IMAGES_MAGIC, 3),
            IdxKind::Labels => (LABELS_MAGIC, 1),
        };
        if got != expected {
            let hint = match got {
                IMAGES_MAGIC => ", which are images: give images and labels the other way round",
                LABELS_MAGIC => ", which are labels: give images and labels the other way round",
                _ => "; give an IDX file of unsigned bytes, gzip or not",
            };
            return Err(IdxError::WrongMagic {
                path: self.path.clone(),
                kind,
                expected,
                got,
                hint,
            });
        }
        self.length += 4 * dimensions;
        self.records = u64::from(self.word()?);
        self.check_size("records", self.records, MAX_IDX_RECORDS)?;
        if kind == IdxKind::Images {
            self.rows = self.word()?;
            self.check_size("rows", u64::from(self.rows), MAX_IDX_SIDE)?;
            self.columns = self.word()?;
            self.check_size("columns", u64::from(self.columns), MAX_IDX_SIDE)?;
        }
        // At most 2²⁶ · 2¹² · 2¹², so this cannot overflow.
        let bytes = self.records * self.record_bytes();
        self.check_size("bytes of records", bytes, MAX_IDX_BYTES)?;
        self.length += bytes;
        Ok(())
    }

    fn check_size(&self, what: &'static str, got: u64, limit: u64) -> Result<(), IdxError> {
        if (1..=limit).contains(&got) {
            return Ok(());
        }
        Err(IdxError::Size {
            path: self.path.clone(),
            what,
            got,
            limit,
        })
    }

    /// Holds what the header declares against the length of the file on disk.
    fn check_stored(&self, stored: u64) -> Result<(), IdxError> {
        let (holds, measure) = match self.source {
            Source::Plain(_) if stored > self.length => {
                return Err(IdxError::TrailingBytes {
                    path: self.path.clone(),
                    expected: self.length,
                });
            }
            Source::Plain(_) => (stored, ""),
            Source::Gzip(_) => (
                stored.saturating_mul(MAX_DEFLATE_RATIO),
                ", more than a gzip file of this size can hold",
            ),
        };
        if holds < self.length {
            return Err(self.truncated(holds, measure));
        }
        Ok(())
    }

    fn record_bytes(&self) -> u64 {
        u64::from(self.rows) * u64::from(self.columns)
    }

    fn read_all(&mut self) -> Result<Vec<u8>, IdxError> {
        self.check_size(
            "bytes of records",
            self.length - self.position,
            MAX_IDX_BYTES_IN_MEMORY,
        )?;
        let all = self
            .next_records(self.records as usize)?
            .unwrap_or_default();
        self.expect_end()?;
        Ok(all)
    }

    /// The next `most` records, or as many as are left; `None` at the end, which is checked.
    fn next_records(&mut self, most: usize) -> Result<Option<Vec<u8>>, IdxError> {
        if self.position == self.length {
            self.expect_end()?;
            return Ok(None);
        }
        let wished = self.record_bytes().saturating_mul(most.max(1) as u64);
        let mut records = vec![0; wished.min(self.length - self.position) as usize];
        self.fill(&mut records)?;
        Ok(Some(records))
    }

    /// Reads on to the end, which a gzip stream needs to be told that its checksum is right.
    fn expect_end(&mut self) -> Result<(), IdxError> {
        match self.read_some(&mut [0])? {
            0 => Ok(()),
            _ => Err(IdxError::TrailingBytes {
                path: self.path.clone(),
                expected: self.length,
            }),
        }
    }

    fn word(&mut self) -> Result<u32, IdxError> {
        let mut bytes = [0; 4];
        self.fill(&mut bytes)?;
        Ok(u32::from_be_bytes(bytes))
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), IdxError> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.read_some(&mut buffer[filled..])? {
                0 => return Err(self.truncated(self.position, "")),
                some => {
                    filled += some;
                    self.position += some as u64;
                }
            }
        }
        Ok(())
    }

    fn read_some(&mut self, buffer: &mut [u8]) -> Result<usize, IdxError> {
        loop {
            match self.source.read(buffer) {
                Ok(some) => return Ok(some),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.unreadable(error)),
            }
        }
    }

    fn unreadable(&self, source: io::Error) -> IdxError {
        let path = self.path.clone();
        match (&self.source, source.kind()) {
            (Source::Gzip(_), io::ErrorKind::UnexpectedEof) if self.position < self.length => {
                self.truncated(self.position, " uncompressed")
            }
            // The end of the file after all records means that the checksum is cut.
            (
                Source::Gzip(_),
                io::ErrorKind::InvalidInput
                | io::ErrorKind::InvalidData
                | io::ErrorKind::UnexpectedEof,
            ) => IdxError::DamagedGzip { path, source },
            _ => IdxError::Read { path, source },
        }
    }

    fn truncated(&self, got: u64, measure: &'static str) -> IdxError {
        IdxError::Truncated {
            path: self.path.clone(),
            expected: self.length,
            got,
            measure,
        }
    }
}

/// The bytes of a file, decompressed where it is gzip.
enum Source {
    Plain(BufReader<File>),
    Gzip(Box<MultiGzDecoder<BufReader<File>>>),
}

impl Source {
    /// Opens a file; also gives its length on disk.
    fn open(path: &Path) -> Result<(Self, u64), IdxError> {
        let failed = |source| IdxError::Read {
            path: path.to_owned(),
            source,
        };
        // Asked before opening: to open a pipe would wait for its other end.
        if !fs::metadata(path).map_err(failed)?.is_file() {
            return Err(IdxError::NotAFile {
                path: path.to_owned(),
            });
        }
        let file = File::open(path).map_err(failed)?;
        let stored = file.metadata().map_err(failed)?.len();
        let mut bytes = BufReader::with_capacity(1 << 16, file);
        let start = io::BufRead::fill_buf(&mut bytes).map_err(failed)?;
        if start.starts_with(&GZIP_MAGIC) {
            return Ok((Self::Gzip(Box::new(MultiGzDecoder::new(bytes))), stored));
        }
        Ok((Self::Plain(bytes), stored))
    }
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(bytes) => bytes.read(buffer),
            Self::Gzip(bytes) => bytes.read(buffer),
        }
    }
}

#[cfg(test)]
mod tests;
