//! One process a ledger: a locked file that names its holder.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::Path;

use super::open_error::LedgerOpenError;

/// More digits than a process id has; the rest of a longer file is not looked at.
const HOLDER_LENGTH_LIMIT: u64 = 32;

/// Held while a ledger is open. The operating system lets go of it when the process ends, however it ends.
#[derive(Debug)]
pub(super) struct LockFile(#[allow(dead_code)] File);

impl LockFile {
    /// Locks the ledger in `folder`, or names the process that has it.
    pub(super) fn take(folder: &Path) -> Result<Self, LedgerOpenError> {
        let path = folder.join("lock");
        let io = |source| LedgerOpenError::Io {
            path: path.clone(),
            source,
        };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::Error(source)) => return Err(io(source)),
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let _ = file.take(HOLDER_LENGTH_LIMIT).read_to_string(&mut holder);
                let holder = match holder.trim().parse::<u32>() {
                    Ok(pid) => format!("pid {pid}"),
                    Err(_) => "its pid is not known".to_owned(),
                };
                return Err(LedgerOpenError::InUse {
                    folder: folder.to_owned(),
                    holder,
                });
            }
        }
        file.set_len(0).map_err(io)?;
        file.rewind().map_err(io)?;
        writeln!(file, "{}", std::process::id()).map_err(io)?;
        Ok(Self(file))
    }
}
