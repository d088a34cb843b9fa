//! Small files that survive a crash: a file is replaced whole or not at all, and is on the disk when the call returns.
//!
//! For: manifests, meters, checkpoints, contracts. Not for: logs and data, which have formats of their own.
//!
//! Each write passes the failpoints `durable::write`, `durable::sync` and `durable::rename`, by which tests with the
//! feature `failpoints` stand in for a full disk, a failing one, and a crash between two steps.

#![cfg_attr(test, allow(clippy::unwrap_used))]

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Who may read a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readers {
    /// Its owner alone: keys, shares, meters.
    Owner,
    /// Whoever the process's mask allows.
    Anyone,
}

impl Readers {
    const fn mode(self) -> u32 {
        match self {
            Self::Owner => 0o600,
            Self::Anyone => 0o644,
        }
    }
}

/// Writes `bytes` to `path`, in place of what was there.
///
/// The bytes go to a file beside it, which is synced and renamed; then the folder is synced.
/// A crash at any moment leaves the old file or the new one.
///
/// ```
/// use tributary_durable::{Readers, replace};
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("meter");
/// replace(&path, b"7", Readers::Owner)?;
/// assert_eq!(std::fs::read(&path)?, b"7");
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
///
/// Those of the file system, with the path in words. The old file is untouched then.
pub fn replace(path: &Path, bytes: &[u8], readers: Readers) -> io::Result<()> {
    let beside = beside(path)?;
    let outcome = write_and_rename(&beside, path, bytes, readers);
    if outcome.is_err() {
        // A left-over would only take room; the next replacement overwrites it.
        let _ = std::fs::remove_file(&beside);
    }
    outcome.map_err(|error| naming(path, error))
}

/// Creates `path` with `bytes`; refuses where something is there already.
///
/// # Errors
///
/// [`io::ErrorKind::AlreadyExists`], and those of the file system.
pub fn create(path: &Path, bytes: &[u8], readers: Readers) -> io::Result<()> {
    if path.symlink_metadata().is_ok() {
        let error = io::Error::new(io::ErrorKind::AlreadyExists, "there is a file already");
        return Err(naming(path, error));
    }
    replace(path, bytes, readers)
}

/// Creates a folder that only its owner may enter, and those above it.
///
/// # Errors
///
/// Those of the file system.
pub fn create_private_folder(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| naming(path, error))
}

/// Makes the names in a folder survive a crash.
///
/// # Errors
///
/// Those of the file system.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn write_and_rename(beside: &Path, path: &Path, bytes: &[u8], readers: Readers) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(readers.mode())
        .open(beside)?;
    failpoint("durable::write")?;
    file.write_all(bytes)?;
    failpoint("durable::sync")?;
    file.sync_all()?;
    drop(file);
    failpoint("durable::rename")?;
    std::fs::rename(beside, path)?;
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => sync_folder(folder),
        _ => sync_folder(Path::new(".")),
    }
}

fn beside(path: &Path) -> io::Result<PathBuf> {
    let mut name = path
        .file_name()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "expected the path of a file"))?
        .to_owned();
    name.push(".new");
    Ok(path.with_file_name(name))
}

fn naming(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// A place where tests make the disk fail: `return(ENOSPC)` is a full one, any other text a broken one.
#[cfg_attr(not(feature = "failpoints"), allow(unused_variables))]
fn failpoint(name: &str) -> io::Result<()> {
    fail::fail_point!(name, |what| Err(injected(what.as_deref())));
    Ok(())
}

#[cfg_attr(not(feature = "failpoints"), allow(dead_code))]
fn injected(what: Option<&str>) -> io::Error {
    match what {
        Some("ENOSPC") => rustix::io::Errno::NOSPC.into(),
        _ => rustix::io::Errno::IO.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_there_is_replaced_whole_and_nothing_is_left_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        replace(&path, b"long before", Readers::Anyone).unwrap();
        replace(&path, b"now", Readers::Anyone).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"now");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn secrets_are_for_their_owner_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        replace(&path, b"x", Readers::Owner).unwrap();
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }

    #[test]
    fn creating_over_a_file_is_refused_and_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        create(&path, b"a", Readers::Anyone).unwrap();
        let error = create(&path, b"b", Readers::Anyone).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert!(error.to_string().contains("file"));
        assert_eq!(std::fs::read(&path).unwrap(), b"a");
    }
}
