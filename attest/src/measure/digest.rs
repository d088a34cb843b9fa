//! Digests of the files that a machine is started with.

use std::io::{self, Read};

use sha2::{Digest, Sha256, Sha384};

/// SHA-256 and SHA-384 of a file, taken in one pass: SEV-SNP's table of hashes wants the one, TDX's registers the other.
///
/// ```
/// # use tributary_attest::FileDigest;
/// let initrd = FileDigest::of_reader(&b"abc"[..])?;
/// assert_eq!(hex::encode(initrd.sha256()).get(..8), Some("ba7816bf"));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileDigest {
    sha256: [u8; 32],
    sha384: [u8; 48],
}

impl FileDigest {
    /// The digests of all that the reader gives.
    ///
    /// # Errors
    /// What reading returns.
    pub fn of_reader(mut reader: impl Read) -> io::Result<Self> {
        let (mut sha256, mut sha384) = (Sha256::new(), Sha384::new());
        let mut piece = vec![0; 256 * 1024];
        loop {
            match reader.read(&mut piece) {
                Ok(0) => break,
                Ok(n) => {
                    sha256.update(&piece[..n]);
                    sha384.update(&piece[..n]);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Self {
            sha256: sha256.finalize().into(),
            sha384: sha384.finalize().into(),
        })
    }

    /// The digests of the bytes.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self {
            sha256: Sha256::digest(bytes).into(),
            sha384: Sha384::digest(bytes).into(),
        }
    }

    /// SHA-256.
    pub const fn sha256(&self) -> &[u8; 32] {
        &self.sha256
    }

    /// SHA-384.
    pub const fn sha384(&self) -> &[u8; 48] {
        &self.sha384
    }
}

/// Why a kernel's command line was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CommandLineError {
    /// It holds the byte that ends it.
    #[error(
        "the command line has a NUL at byte {at}, where the kernel would stop reading: remove it"
    )]
    Nul {
        /// Where.
        at: usize,
    },
    /// It holds a line's end.
    #[error(
        "the command line has a line's end at byte {at}: the machine is started with it or without, and the measurement \
         differs; hand in exactly what the VMM is given"
    )]
    LineEnd {
        /// Where.
        at: usize,
    },
    /// Its text could be encoded in more ways than one.
    #[error(
        "the command line has a byte outside ASCII at {at}, whose form in the firmware is not predicted: remove it"
    )]
    NotAscii {
        /// Where.
        at: usize,
    },
    /// It is longer than a kernel reads.
    #[error("the command line may have at most {max} bytes, got {got}")]
    TooLong {
        /// The most.
        max: usize,
        /// How many it has.
        got: usize,
    },
}

/// Checks what both TEEs ask of a command line.
pub(super) fn check_command_line(text: &str) -> Result<(), CommandLineError> {
    /// `COMMAND_LINE_SIZE` of Linux on x86 is 2048; other kernels take more.
    const MAX: usize = 64 * 1024;
    if text.len() > MAX {
        return Err(CommandLineError::TooLong {
            max: MAX,
            got: text.len(),
        });
    }
    match text
        .bytes()
        .enumerate()
        .find(|(_, byte)| matches!(byte, 0 | b'\n' | b'\r' | 0x80..))
    {
        None => Ok(()),
        Some((at, 0)) => Err(CommandLineError::Nul { at }),
        Some((at, b'\n' | b'\r')) => Err(CommandLineError::LineEnd { at }),
        Some((at, _)) => Err(CommandLineError::NotAscii { at }),
    }
}
