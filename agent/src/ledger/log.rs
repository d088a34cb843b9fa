//! The log of records on disk: raft-engine's, read whole on start and appended to with a sync before each answer.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use protobuf::well_known_types::BytesValue;
use raft_engine::{Config, Engine, LogBatch, MessageExt, ReadableSize, RecoveryMode};
use tributary_protocol::ledger::{Entry, Origin};
use tributary_protocol::{Identity, PartyKey};

use super::files::{Faults, LogFiles, NoFaults};
use super::open_error::LedgerOpenError;
use super::record::{Chain, stated_index};

/// raft-engine keeps many logs side by side; the ledger is the first.
const GROUP: u64 = 1;

/// A new file is begun after so many bytes.
const FILE_SIZE: ReadableSize = ReadableSize::mb(64);

/// A log that is open for appending, and the end of its chain.
pub(super) struct EntryLog {
    /// `None` after a failed write, and while it is dropped.
    engine: Option<Engine<LogFiles>>,
    chain: Chain,
}

/// An entry that did not reach the disk, or may not have.
#[derive(Debug, thiserror::Error)]
#[error("the ledger's log cannot be written: {0}")]
pub(super) struct AppendError(String);

/// Reads the log in `folder` whole, checks every record, and leaves it open for appending.
///
/// A log that ends in the middle of a record is what a power cut leaves: the record was never answered for. It is cut back
/// to its last whole record, provided that `at_least` records remain; a copy is tried first, so that a log which does
/// not pass stays as it was found.
pub(super) fn open(
    folder: &Path,
    origin: &Origin,
    key: &PartyKey,
    at_least: u64,
    faults: Arc<dyn Faults>,
) -> Result<(EntryLog, Vec<Entry>), LedgerOpenError> {
    let strict = open_engine(
        folder,
        RecoveryMode::AbsoluteConsistency,
        Arc::clone(&faults),
    );
    let damage = match strict {
        Ok(engine) => return read(engine, origin, key),
        Err(damage) => damage,
    };
    let tolerant = RecoveryMode::TolerateTailCorruption;
    let copy = folder.with_extension("examined");
    let io = |source| LedgerOpenError::Io {
        path: copy.clone(),
        source,
    };
    copy_files(folder, &copy).map_err(io)?;
    let examined = open_engine(&copy, tolerant, Arc::new(NoFaults))
        .and_then(|engine| read(engine, origin, key))
        .map(|(_, entries)| entries);
    fs::remove_dir_all(&copy).map_err(io)?;
    match examined {
        Ok(entries) if entries.len() as u64 >= at_least => {}
        Ok(entries) => {
            return Err(LedgerOpenError::Truncated {
                expected: at_least,
                found: entries.len() as u64,
            });
        }
        Err(_) => return Err(damage),
    }
    tracing::warn!(
        "the ledger's log ended within a record that was never answered for; it is cut off"
    );
    read(open_engine(folder, tolerant, faults)?, origin, key)
}

impl EntryLog {
    /// Number of records.
    pub(super) fn len(&self) -> u64 {
        self.chain.len()
    }

    /// Appends an entry and syncs it. After an error the log is closed: what reached the disk is not known before it is
    /// opened and read again.
    pub(super) fn append(&mut self, entry: &Entry, identity: &Identity) -> Result<(), AppendError> {
        let (record, chain) = self.chain.extend(entry, identity);
        let mut message = BytesValue::new();
        message.set_value(record);
        let engine = self
            .engine
            .as_ref()
            .ok_or_else(|| AppendError("it is closed".to_owned()))?;
        // raft-engine panics where a sync fails, for then nobody knows what is on the disk.
        let written = catch_unwind(AssertUnwindSafe(|| {
            let mut batch = LogBatch::default();
            batch.add_entries::<Records>(GROUP, &[message])?;
            engine.write(&mut batch, true)
        }));
        let reason = match written {
            Ok(Ok(_)) => {
                self.chain = chain;
                return Ok(());
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "the sync failed".to_owned(),
        };
        self.close();
        Err(AppendError(reason))
    }

    /// Closes the files. Nothing more is appended.
    pub(super) fn close(&mut self) {
        let engine = self.engine.take();
        // raft-engine syncs once more when it closes, and panics where that fails; what was answered for is synced already.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(engine)));
    }
}

impl Drop for EntryLog {
    fn drop(&mut self) {
        self.close();
    }
}

fn open_engine(
    folder: &Path,
    recovery_mode: RecoveryMode,
    faults: Arc<dyn Faults>,
) -> Result<Engine<LogFiles>, LedgerOpenError> {
    let config = Config {
        dir: folder
            .to_str()
            .ok_or_else(|| LedgerOpenError::Damaged("its path is not UTF-8".to_owned()))?
            .to_owned(),
        recovery_mode,
        recovery_threads: 1,
        // Nothing on the disk is decompressed before it was checked.
        batch_compression_threshold: ReadableSize(0),
        target_file_size: FILE_SIZE,
        enable_log_recycle: false,
        ..Config::default()
    };
    // Bytes that were chosen to break its decoders may make it panic.
    catch_unwind(AssertUnwindSafe(|| {
        Engine::open_with_file_system(config, Arc::new(LogFiles::new(faults)))
    }))
    .map_err(|_| LedgerOpenError::Damaged("it cannot be decoded".to_owned()))?
    .map_err(|error| match error {
        raft_engine::Error::Io(source) => LedgerOpenError::Io {
            path: folder.to_owned(),
            source,
        },
        other => LedgerOpenError::Damaged(other.to_string()),
    })
}

fn read(
    engine: Engine<LogFiles>,
    origin: &Origin,
    key: &PartyKey,
) -> Result<(EntryLog, Vec<Entry>), LedgerOpenError> {
    let mut log = EntryLog {
        engine: None,
        chain: Chain::of(origin),
    };
    let mut entries = Vec::new();
    let first = engine.first_index(GROUP).unwrap_or(1);
    let last = engine.last_index(GROUP).unwrap_or(0);
    if first != 1 {
        return Err(LedgerOpenError::Record {
            index: 1,
            what: "the log begins after it",
        });
    }
    for index in first..=last {
        let found = catch_unwind(AssertUnwindSafe(|| {
            engine.get_entry::<Records>(GROUP, index)
        }))
        .map_err(|_| LedgerOpenError::Damaged(format!("record {index} cannot be decoded")))?
        .map_err(|error| LedgerOpenError::Damaged(format!("record {index}: {error}")))?
        .ok_or(LedgerOpenError::Record {
            index,
            what: "it is missing",
        })?;
        entries.push(log.chain.follow(found.get_value(), key)?);
    }
    log.engine = Some(engine);
    Ok((log, entries))
}

/// Copies a folder of files to a fresh one.
fn copy_files(from: &Path, to: &Path) -> std::io::Result<()> {
    if to.exists() {
        fs::remove_dir_all(to)?;
    }
    fs::create_dir(to)?;
    for file in fs::read_dir(from)? {
        let file = file?;
        if file.file_type()?.is_file() {
            fs::copy(file.path(), to.join(file.file_name()))?;
        }
    }
    Ok(())
}

/// How raft-engine sees records: as opaque bytes with an index.
struct Records;

impl MessageExt for Records {
    type Entry = BytesValue;

    fn index(entry: &BytesValue) -> u64 {
        stated_index(entry.get_value())
    }
}
