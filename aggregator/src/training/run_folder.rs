//! The files of one run: sealed checkpoints while it lasts, and what it leaves.

use std::io;
use std::path::{Path, PathBuf};

use tributary_durable::{Readers, create_private_folder, replace};
use tributary_protocol::{Digest, RunNumber, SequenceNumber};

/// The newest, which the ledger knows, and the one before, in case a crash came between file and ledger.
const CHECKPOINTS_KEPT: usize = 2;

/// A model of a hundred million parameters with two moments of Adam takes less.
const CHECKPOINT_SIZE_LIMIT: u64 = 2 << 30;

/// The folder of one run.
#[derive(Debug, Clone)]
pub struct RunFolder {
    folder: PathBuf,
}

impl RunFolder {
    /// The folder of a run under an aggregator's home; made where it is not there.
    pub fn open(home: &Path, contract: SequenceNumber, run: RunNumber) -> io::Result<Self> {
        let folder = home.join("runs").join(format!("{contract}-{run}"));
        create_private_folder(&folder)?;
        Ok(Self { folder })
    }

    /// Keeps a sealed checkpoint and removes all but the newest few.
    pub fn keep_checkpoint(&self, step: u64, sealed: &[u8]) -> io::Result<Digest> {
        replace(&self.checkpoint(step), sealed, Readers::Owner)?;
        let mut steps = self.checkpoints()?;
        steps.sort_unstable();
        let superfluous = steps.len().saturating_sub(CHECKPOINTS_KEPT);
        for old in &steps[..superfluous] {
            std::fs::remove_file(self.checkpoint(*old))?;
        }
        Ok(Digest::of(sealed))
    }

    /// The sealed checkpoint with this digest, if it is here.
    pub fn find_checkpoint(&self, digest: &Digest) -> io::Result<Option<Vec<u8>>> {
        for step in self.checkpoints()? {
            let path = self.checkpoint(step);
            if std::fs::metadata(&path)?.len() > CHECKPOINT_SIZE_LIMIT {
                continue;
            }
            let sealed = std::fs::read(&path)?;
            if Digest::of(&sealed) == *digest {
                return Ok(Some(sealed));
            }
        }
        Ok(None)
    }

    /// Removes the checkpoints of a run that ended: its model is the result.
    pub fn remove_checkpoints(&self) -> io::Result<()> {
        for step in self.checkpoints()? {
            std::fs::remove_file(self.checkpoint(step))?;
        }
        Ok(())
    }

    /// Writes a result.
    pub fn write(&self, name: &str, bytes: &[u8]) -> io::Result<PathBuf> {
        let path = self.path(name);
        replace(&path, bytes, Readers::Anyone)?;
        Ok(path)
    }

    /// The path of a file in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn checkpoint(&self, step: u64) -> PathBuf {
        self.folder.join(format!("checkpoint-{step}.sealed"))
    }

    fn checkpoints(&self) -> io::Result<Vec<u64>> {
        let mut steps = Vec::new();
        for entry in std::fs::read_dir(&self.folder)? {
            let name = entry?.file_name();
            let step: Option<u64> = name.to_str().and_then(|name| {
                let step = name.strip_prefix("checkpoint-")?.strip_suffix(".sealed")?;
                step.parse().ok()
            });
            steps.extend(step);
        }
        Ok(steps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_two_checkpoints_are_kept_and_found_by_their_digests() {
        let home = tempfile::tempdir().unwrap();
        let folder = RunFolder::open(home.path(), SequenceNumber::FIRST, RunNumber::FIRST).unwrap();
        let digests: Vec<Digest> = (0..4u64)
            .map(|step| {
                folder
                    .keep_checkpoint(step * 9, &[step as u8; 100])
                    .unwrap()
            })
            .collect();
        assert_eq!(
            folder.find_checkpoint(&digests[3]).unwrap().unwrap(),
            [3; 100]
        );
        assert_eq!(
            folder.find_checkpoint(&digests[2]).unwrap().unwrap(),
            [2; 100]
        );
        assert!(folder.find_checkpoint(&digests[1]).unwrap().is_none());
        folder.remove_checkpoints().unwrap();
        assert!(folder.find_checkpoint(&digests[3]).unwrap().is_none());
    }
}
