//! The seam between the protocol of configfs-tsm and a file system that speaks it.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

/// What the protocol needs of the kernel, so that tests can stand in for it.
pub(crate) trait TsmFilesystem: Send + Sync {
    /// The folder of the interface, for messages.
    fn folder(&self) -> &Path;

    /// Makes the folder of a request; the kernel fills it with attributes.
    fn create(&self, request: &str) -> io::Result<()>;

    /// Removes the folder of a request, attributes and all.
    fn remove(&self, request: &str) -> io::Result<()>;

    /// Reads an attribute, at most one byte more than the limit.
    fn read(&self, request: &str, attribute: &str, limit: usize) -> io::Result<Vec<u8>>;

    /// Writes an attribute in one call.
    fn write(&self, request: &str, attribute: &str, bytes: &[u8]) -> io::Result<()>;

    /// Waits before another try.
    fn wait(&self, time: Duration);
}

/// The kernel's own folder, or a folder that behaves as it.
#[derive(Debug, Clone)]
pub(crate) struct KernelFolder {
    root: PathBuf,
}

impl KernelFolder {
    pub(crate) const DEFAULT: &str = "/sys/kernel/config/tsm/report";

    pub(crate) fn at(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }

    fn attribute(&self, request: &str, attribute: &str) -> PathBuf {
        self.root.join(request).join(attribute)
    }
}

impl TsmFilesystem for KernelFolder {
    fn folder(&self) -> &Path {
        &self.root
    }

    fn create(&self, request: &str) -> io::Result<()> {
        fs::create_dir(self.root.join(request))
    }

    fn remove(&self, request: &str) -> io::Result<()> {
        // Attributes of configfs go with their folder, and cannot be removed one by one.
        fs::remove_dir(self.root.join(request))
    }

    fn read(&self, request: &str, attribute: &str, limit: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(self.attribute(request, attribute))?
            .take(limit as u64 + 1)
            .read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn write(&self, request: &str, attribute: &str, bytes: &[u8]) -> io::Result<()> {
        // Neither created nor cut: an attribute that the kernel did not make must not appear.
        OpenOptions::new()
            .write(true)
            .open(self.attribute(request, attribute))?
            .write_all(bytes)
    }

    fn wait(&self, time: Duration) {
        std::thread::sleep(time);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_made_filled_by_the_other_side_and_removed() {
        let root = tempfile::tempdir().unwrap();
        let folder = KernelFolder::at(root.path());
        folder.create("r").unwrap();
        assert_eq!(
            folder.create("r").unwrap_err().kind(),
            io::ErrorKind::AlreadyExists
        );
        let missing = folder.write("r", "inblob", &[1]).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
        assert!(!root.path().join("r/inblob").exists());

        fs::write(root.path().join("r/inblob"), [0; 2]).unwrap();
        folder.write("r", "inblob", &[7; 2]).unwrap();
        assert_eq!(folder.read("r", "inblob", 8).unwrap(), [7; 2]);
        fs::write(root.path().join("r/outblob"), [0; 100]).unwrap();
        assert_eq!(folder.read("r", "outblob", 8).unwrap().len(), 9);

        fs::remove_file(root.path().join("r/inblob")).unwrap();
        fs::remove_file(root.path().join("r/outblob")).unwrap();
        folder.remove("r").unwrap();
        assert!(!root.path().join("r").exists());
    }
}
