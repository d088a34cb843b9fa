//! The file system under raft-engine's log, with two changes.
//!
//! Nothing is allocated ahead: raft-engine would write past the end in steps of 2 MiB, and after a crash the zeros there
//! cannot be told from damage. And each durable step asks a [`Faults`] first, by which tests fill the disk, break it, or cut
//! a write in two.
//!
//! raft-engine panics where a sync fails, and syncs each file once more when it closes. A second panic there would end the
//! process, so after one failed sync the others are passed over: the log is not written again, and nothing waits for them.

use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use raft_engine::env::{DefaultFileSystem, FileSystem, Handle, Permission, WriteExt};

/// The steps at which something becomes durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Bytes are written to the log.
    WriteLog,
    /// Bytes that a failed write left are cut off again.
    TruncateLog,
    /// The log is synced.
    SyncLog,
    /// The signed head is replaced.
    ReplaceHead,
}

/// Decides, before each durable step, whether it fails, and after how many of its bytes.
pub(super) trait Faults: Send + Sync {
    /// `Ok` lets the step be. A write of `length` bytes may still let the first few through.
    fn at(&self, step: Step, length: usize) -> Result<(), (usize, io::Error)>;
}

/// The disk as it is.
pub(super) struct NoFaults;

impl Faults for NoFaults {
    fn at(&self, _: Step, _: usize) -> Result<(), (usize, io::Error)> {
        Ok(())
    }
}

/// The file system of the log.
pub(super) struct LogFiles {
    system: DefaultFileSystem,
    faults: Arc<dyn Faults>,
    sync_failed: Arc<AtomicBool>,
}

/// An open file of the log.
pub(super) struct LogHandle {
    handle: Arc<<DefaultFileSystem as FileSystem>::Handle>,
    faults: Arc<dyn Faults>,
    sync_failed: Arc<AtomicBool>,
}

/// Reads a file of the log.
pub(super) struct LogReader(<DefaultFileSystem as FileSystem>::Reader);

/// Writes a file of the log.
pub(super) struct LogWriter {
    writer: <DefaultFileSystem as FileSystem>::Writer,
    faults: Arc<dyn Faults>,
}

impl LogFiles {
    pub(super) fn new(faults: Arc<dyn Faults>) -> Self {
        Self {
            system: DefaultFileSystem,
            faults,
            sync_failed: Arc::default(),
        }
    }

    fn wrap(&self, handle: <DefaultFileSystem as FileSystem>::Handle) -> LogHandle {
        LogHandle {
            handle: Arc::new(handle),
            faults: Arc::clone(&self.faults),
            sync_failed: Arc::clone(&self.sync_failed),
        }
    }
}

impl FileSystem for LogFiles {
    type Handle = LogHandle;
    type Reader = LogReader;
    type Writer = LogWriter;

    fn create<P: AsRef<Path>>(&self, path: P) -> io::Result<LogHandle> {
        self.system.create(path).map(|handle| self.wrap(handle))
    }

    fn open<P: AsRef<Path>>(&self, path: P, permission: Permission) -> io::Result<LogHandle> {
        self.system
            .open(path, permission)
            .map(|handle| self.wrap(handle))
    }

    fn delete<P: AsRef<Path>>(&self, path: P) -> io::Result<()> {
        self.system.delete(path)
    }

    fn rename<P: AsRef<Path>>(&self, from: P, to: P) -> io::Result<()> {
        self.system.rename(from, to)
    }

    fn new_reader(&self, handle: Arc<LogHandle>) -> io::Result<LogReader> {
        self.system
            .new_reader(Arc::clone(&handle.handle))
            .map(LogReader)
    }

    fn new_writer(&self, handle: Arc<LogHandle>) -> io::Result<LogWriter> {
        Ok(LogWriter {
            writer: self.system.new_writer(Arc::clone(&handle.handle))?,
            faults: Arc::clone(&self.faults),
        })
    }
}

impl Handle for LogHandle {
    fn truncate(&self, offset: usize) -> io::Result<()> {
        self.handle.truncate(offset)
    }

    fn file_size(&self) -> io::Result<usize> {
        self.handle.file_size()
    }

    fn sync(&self) -> io::Result<()> {
        if self.sync_failed.load(Ordering::SeqCst) {
            return Ok(());
        }
        let outcome = pass(self.faults.as_ref(), Step::SyncLog).and_then(|()| self.handle.sync());
        self.sync_failed.store(outcome.is_err(), Ordering::SeqCst);
        outcome
    }
}

impl Read for LogReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Seek for LogReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.0.seek(to)
    }
}

impl Write for LogWriter {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        if let Err((passed, error)) = self.faults.at(Step::WriteLog, buffer.len()) {
            if passed > 0 {
                self.writer.write_all(&buffer[..passed])?;
            }
            return Err(error);
        }
        self.writer.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

impl Seek for LogWriter {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.writer.seek(to)
    }
}

impl WriteExt for LogWriter {
    fn truncate(&mut self, offset: usize) -> io::Result<()> {
        pass(self.faults.as_ref(), Step::TruncateLog)?;
        self.writer.truncate(offset)
    }

    fn allocate(&mut self, _: usize, _: usize) -> io::Result<()> {
        Ok(())
    }
}

/// Fails where the faults say so.
pub(super) fn pass(faults: &dyn Faults, step: Step) -> io::Result<()> {
    faults.at(step, 0).map_err(|(_, error)| error)
}
