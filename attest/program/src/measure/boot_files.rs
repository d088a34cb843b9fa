//! Kernel, initrd and command line, as both TEEs take them.

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use clap::Args;
use tributary_attest::FileDigest;
use tributary_console::{ErrorCode, Failure, FailureContext as _};

use crate::files::read_limited;

#[derive(Debug, Args)]
pub(super) struct BootFiles {
    /// The kernel that the VMM is given (`-kernel`).
    #[arg(long, value_name = "FILE")]
    pub(super) kernel: Option<PathBuf>,
    /// The initrd that it is given with the kernel (`-initrd`).
    #[arg(long, value_name = "FILE", requires = "kernel")]
    initrd: Option<PathBuf>,
    /// The command line that it is given with the kernel (`-append`), exactly.
    #[arg(long, value_name = "TEXT", requires = "kernel")]
    cmdline: Option<String>,
    /// A file that holds the command line and nothing else; one newline at its end is left out.
    #[arg(
        long,
        value_name = "FILE",
        requires = "kernel",
        conflicts_with = "cmdline"
    )]
    cmdline_file: Option<PathBuf>,
}

impl BootFiles {
    /// The initrd's digests.
    pub(super) fn initrd(&self) -> Result<Option<FileDigest>, Failure> {
        self.initrd.as_deref().map(digest).transpose()
    }

    /// The command line, empty where there is none.
    pub(super) fn command_line(&self) -> Result<String, Failure> {
        let Some(file) = &self.cmdline_file else {
            return Ok(self.cmdline.clone().unwrap_or_default());
        };
        let bytes = read_limited(file, MAX_COMMAND_LINE)?;
        let text = String::from_utf8(bytes).or_fail(ErrorCode::DATA_INVALID, file.display())?;
        // Editors and `echo` end a file so; QEMU's -append never does.
        Ok(text
            .strip_suffix('\n')
            .map_or_else(|| text.clone(), str::to_owned))
    }
}

/// The digests of a file of any size.
pub(super) fn digest(file: &Path) -> Result<FileDigest, Failure> {
    File::open(file)
        .and_then(FileDigest::of_reader)
        .or_fail(ErrorCode::IO, file.display())
}

/// More than any kernel takes; the library says which length is too much.
const MAX_COMMAND_LINE: usize = 1024 * 1024;
