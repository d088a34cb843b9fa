//! A collateral folder that is read again when it changes.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use super::{Collateral, CollateralError};

/// A folder of collateral that a service holds for months: what it judges by must not be older than what lies there.
///
/// ```
/// # use tributary_attest::CollateralFolder;
/// let dir = tempfile::tempdir()?;
/// let (mut folder, collateral) = CollateralFolder::open(dir.path())?;
/// assert_eq!(collateral.to_string(), "an empty collateral folder");
/// assert!(folder.read_if_changed()?.is_none());
/// std::fs::create_dir(dir.path().join("tdx"))?;
/// assert!(folder.read_if_changed()?.is_some());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct CollateralFolder {
    path: PathBuf,
    /// How the folder looked when it was last read with success.
    seen: Option<Vec<Look>>,
}

/// By what a changed file is told from an unchanged one without being read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Look {
    path: PathBuf,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl CollateralFolder {
    /// Reads the folder for the first time.
    ///
    /// # Errors
    /// As [`Collateral::load`].
    pub fn open(path: impl Into<PathBuf>) -> Result<(Self, Collateral), CollateralError> {
        let mut folder = Self {
            path: path.into(),
            seen: None,
        };
        let collateral = folder.read()?;
        Ok((folder, collateral))
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the folder, changed or not.
    ///
    /// # Errors
    /// As [`Collateral::load`]; the folder then counts as not read, and the caller keeps what it has.
    pub fn read(&mut self) -> Result<Collateral, CollateralError> {
        // Before the reading, so that what changes meanwhile is read the next time.
        let looks = look(&self.path).ok();
        let collateral = Collateral::load(&self.path)?;
        self.seen = looks;
        Ok(collateral)
    }

    /// Reads the folder if a file in it was added, removed or written since it was last read with success.
    ///
    /// # Errors
    /// As [`CollateralFolder::read`].
    pub fn read_if_changed(&mut self) -> Result<Option<Collateral>, CollateralError> {
        match look(&self.path) {
            Ok(looks) if self.seen.as_ref() == Some(&looks) => Ok(None),
            // A folder that cannot be looked through cannot be read either, and the reading says why.
            _ => self.read().map(Some),
        }
    }
}

/// Every entry below the folder that a reading would see.
fn look(folder: &Path) -> io::Result<Vec<Look>> {
    let mut looks = Vec::new();
    let mut folders = vec![(folder.to_owned(), 0)];
    while let Some((folder, depth)) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with('.') {
                continue;
            }
            if looks.len() == MAX_LOOKS || depth == MAX_DEPTH {
                return Err(io::ErrorKind::InvalidData.into());
            }
            let path = entry.path();
            // Of what a link leads to: that is what is read.
            let metadata = fs::metadata(&path)?;
            if metadata.is_dir() {
                folders.push((path.clone(), depth + 1));
            }
            looks.push(Look {
                path,
                inode: metadata.ino(),
                size: metadata.size(),
                modified: (metadata.mtime(), metadata.mtime_nsec()),
                changed: (metadata.ctime(), metadata.ctime_nsec()),
            });
        }
    }
    looks.sort_unstable();
    Ok(looks)
}

/// More than the layout has room for: a reading refuses such a folder.
const MAX_LOOKS: usize = 32 * 1024;
/// The layout has three levels of folders below the first.
const MAX_DEPTH: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SimulatedRoot;
    use chrono::{TimeDelta, Utc};

    fn put(folder: &Path, file: &str, content: &[u8]) {
        let path = folder.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        // By another name first, as whoever fills a folder does.
        let new = path.with_file_name(".new");
        fs::write(&new, content).unwrap();
        fs::rename(new, path).unwrap();
    }

    fn list(seed: u8) -> Vec<u8> {
        let now = Utc::now();
        let root = SimulatedRoot::from_seed(&[seed; 32]);
        root.revoke([], now, now + TimeDelta::days(1)).unwrap()
    }

    #[test]
    fn each_change_is_read_once() {
        let dir = tempfile::tempdir().unwrap();
        let (mut folder, _) = CollateralFolder::open(dir.path()).unwrap();
        let mut changed = || {
            folder
                .read_if_changed()
                .unwrap()
                .map(|read| read.to_string())
        };
        assert_eq!(changed(), None);
        put(dir.path(), "simulated/a.crl", &list(1));
        assert!(changed().unwrap().contains("of 1 simulated roots"));
        assert_eq!(changed(), None);
        // Of the same length, in the same second.
        put(dir.path(), "simulated/a.crl", &list(2));
        assert!(changed().is_some());
        assert_eq!(changed(), None);
        put(dir.path(), "simulated/.hidden", b"anything");
        fs::remove_file(dir.path().join("simulated/a.crl")).unwrap();
        assert_eq!(changed().unwrap(), "an empty collateral folder");
        assert_eq!(changed(), None);
    }

    #[test]
    fn a_broken_folder_is_refused_until_it_is_mended() {
        let dir = tempfile::tempdir().unwrap();
        let (mut folder, _) = CollateralFolder::open(dir.path()).unwrap();
        put(dir.path(), "simulated/a.crl", b"cut");
        for _ in 0..2 {
            let error = folder.read_if_changed().unwrap_err();
            assert!(error.path().ends_with("simulated/a.crl"), "{error}");
        }
        put(dir.path(), "simulated/a.crl", &list(1));
        assert!(folder.read_if_changed().unwrap().is_some());
        fs::remove_dir_all(dir.path()).unwrap();
        assert!(folder.read_if_changed().is_err());
        assert!(folder.read().is_err());
    }
}
