//! The keeper of an embedded ledger: one writer, its log, its book, and the signed head.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use tokio::sync::Mutex;
use tributary_durable::{Readers, create_private_folder, replace, sync_folder};
use tributary_protocol::ledger::{
    Book, BoxFuture, LeaseLimit, Ledger, LedgerError, Members, NOTE_SIZE_LIMIT, Request, Requester,
    Response, SignedCheckpoint, Verdict,
};
use tributary_protocol::{Identity, PartyName};

use super::files::{Faults, NoFaults, Step, pass};
use super::lock::LockFile;
use super::log::{self, EntryLog};
use super::open_error::LedgerOpenError;

/// Tells the time. Passed in, so that tests choose it.
pub type Clock = Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>;

/// The machine's clock.
pub fn system_clock() -> Clock {
    Arc::new(Utc::now)
}

/// A ledger that one agent keeps on its own disk.
///
/// Requests are judged and recorded one at a time. When an answer comes, its entry and a head that covers it are on disk.
/// After a write that failed, every further write is refused until the ledger is opened again.
///
/// ```
/// use std::sync::Arc;
/// use tributary_agent::{EmbeddedLedger, EpsilonLimit, system_clock};
/// use tributary_protocol::ledger::{Ledger, Request, Requester, Response};
/// use tributary_protocol::{Identity, Role};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let folder = tempfile::tempdir()?;
/// let (party, identity) = ("hospital-a".parse()?, Arc::new(Identity::generate()));
/// let folder = folder.path().join("ledger");
/// let ledger = EmbeddedLedger::create(&folder, &party, identity, system_clock(), Arc::new(EpsilonLimit))?;
/// let me = Requester { party, role: Role::Provider };
/// let Response::Checkpoint(head) = ledger.submit(&me, Request::Checkpoint).await? else { unreachable!() };
/// assert_eq!(head.claimed().size, 0);
/// ledger.members().verify(&head)?;
/// # Ok(()) }
/// ```
pub struct EmbeddedLedger {
    members: Members,
    keeper: Arc<Mutex<Keeper>>,
}

struct Keeper {
    log: EntryLog,
    book: Book,
    head: SignedCheckpoint,
    /// Why writes are refused.
    failed: Option<String>,
    folder: PathBuf,
    host: PartyName,
    identity: Arc<Identity>,
    clock: Clock,
    limit: Arc<dyn LeaseLimit>,
    faults: Arc<dyn Faults>,
    /// `None` once the ledger is closed. Dropped after `log`, so that nobody opens a log that is still being closed.
    lock: Option<LockFile>,
}

impl EmbeddedLedger {
    /// Makes an empty ledger in `folder`, which must not hold one.
    ///
    /// To make one where one was lost would forget what its contracts have spent, so this is never done by
    /// [`EmbeddedLedger::open`].
    ///
    /// # Errors
    ///
    /// [`LedgerOpenError::Exists`], and what the disk says.
    pub fn create(
        folder: &Path,
        host: &PartyName,
        identity: Arc<Identity>,
        clock: Clock,
        limit: Arc<dyn LeaseLimit>,
    ) -> Result<Self, LedgerOpenError> {
        let io = |source| io_error(folder, source);
        create_private_folder(folder).map_err(io)?;
        let lock = LockFile::take(folder)?;
        if Self::exists(folder) {
            return Err(LedgerOpenError::Exists(folder.to_owned()));
        }
        let members = Members::single(host.clone(), identity.public());
        let head_path = head_path(folder);
        let head = Book::new(members)
            .head()
            .cosigned(host, &identity, clock())
            .map_err(|source| head_error(&head_path, source))?;
        // The head first: a log without a head is never anything but damage.
        replace(&head_path, head.to_string().as_bytes(), Readers::Owner).map_err(io)?;
        if let Some(parent) = folder.parent() {
            sync_folder(parent).map_err(io)?;
        }
        Self::open_locked(
            folder,
            host,
            identity,
            clock,
            limit,
            Arc::new(NoFaults),
            lock,
        )
    }

    /// Whether there is a ledger, or part of one, in `folder`.
    pub fn exists(folder: &Path) -> bool {
        head_path(folder).exists() || log_path(folder).exists()
    }

    /// Opens the ledger in `folder` after reading and checking all of it.
    ///
    /// # Errors
    ///
    /// Where there is none, another process has it, or anything is missing, cut, altered or rolled back; see
    /// [`LedgerOpenError`].
    pub fn open(
        folder: &Path,
        host: &PartyName,
        identity: Arc<Identity>,
        clock: Clock,
        limit: Arc<dyn LeaseLimit>,
    ) -> Result<Self, LedgerOpenError> {
        Self::open_with(folder, host, identity, clock, limit, Arc::new(NoFaults))
    }

    pub(super) fn open_with(
        folder: &Path,
        host: &PartyName,
        identity: Arc<Identity>,
        clock: Clock,
        limit: Arc<dyn LeaseLimit>,
        faults: Arc<dyn Faults>,
    ) -> Result<Self, LedgerOpenError> {
        if !Self::exists(folder) {
            return Err(LedgerOpenError::Missing(folder.to_owned()));
        }
        let lock = LockFile::take(folder)?;
        Self::open_locked(folder, host, identity, clock, limit, faults, lock)
    }

    fn open_locked(
        folder: &Path,
        host: &PartyName,
        identity: Arc<Identity>,
        clock: Clock,
        limit: Arc<dyn LeaseLimit>,
        faults: Arc<dyn Faults>,
        lock: LockFile,
    ) -> Result<Self, LedgerOpenError> {
        let members = Members::single(host.clone(), identity.public());
        let head = read_head(folder, &members)?;
        let covered = head.claimed().size;
        if covered > 0 && !log_path(folder).exists() {
            return Err(LedgerOpenError::Truncated {
                expected: covered,
                found: 0,
            });
        }
        let (log, entries) = log::open(
            &log_path(folder),
            members.origin(),
            &identity.public(),
            covered,
            Arc::clone(&faults),
        )?;
        let mut book = Book::new(members.clone());
        for entry in &entries {
            book.append(entry)?;
        }
        check_against_head(&book, &head)?;
        let mut keeper = Keeper {
            log,
            book,
            head,
            failed: None,
            folder: folder.to_owned(),
            host: host.clone(),
            identity,
            clock,
            limit,
            faults,
            lock: Some(lock),
        };
        if keeper.log.len() > covered {
            // A crash came between the entry and its head. Nobody was answered, and what it spent stays spent.
            keeper
                .sign_head()
                .map_err(|reason| LedgerOpenError::Damaged(reason.0))?;
        }
        Ok(Self {
            members,
            keeper: Arc::new(Mutex::new(keeper)),
        })
    }

    /// Who keeps the ledger: this agent alone.
    pub fn members(&self) -> &Members {
        &self.members
    }

    /// Waits for the request in hand and lets go of the folder. Later requests find the ledger unavailable.
    ///
    /// Without it, the folder is let go of when the ledger is dropped and the last request has ended.
    pub async fn close(&self) {
        let mut keeper = self.keeper.lock().await;
        keeper.log.close();
        keeper.lock = None;
    }
}

impl Ledger for EmbeddedLedger {
    fn submit<'a>(
        &'a self,
        peer: &'a Requester,
        request: Request,
    ) -> BoxFuture<'a, Result<Response, LedgerError>> {
        Box::pin(async move {
            let peer = peer.clone();
            let mut keeper = Arc::clone(&self.keeper).lock_owned().await;
            // The task goes on to its end where the asker goes away, so no entry is left half written.
            tokio::task::spawn_blocking(move || keeper.handle(&peer, &request))
                .await
                .unwrap_or_else(|_| {
                    Err(LedgerError::Unavailable {
                        reason: "the ledger's writer stopped".to_owned(),
                    })
                })
        })
    }
}

/// Why a write did not happen, or may not have.
struct WriteFailure(String);

impl Keeper {
    fn handle(&mut self, peer: &Requester, request: &Request) -> Result<Response, LedgerError> {
        if self.lock.is_none() {
            return Err(LedgerError::Unavailable {
                reason: "it is closed".to_owned(),
            });
        }
        let now = (self.clock)();
        let state = self.book.state();
        match state.check(peer, request, now, self.limit.as_ref())? {
            Verdict::Read => self.book.read(peer, request, &self.head),
            Verdict::Already(recorded) => self.book.confirm(&recorded, false, &self.head),
            Verdict::Append(entry) => {
                if let Some(reason) = &self.failed {
                    return Err(LedgerError::Unavailable {
                        reason: format!("it takes no more entries since a write failed: {reason}"),
                    });
                }
                // Stands wherever this function is left before the end, by a panic too.
                self.failed = Some("a write did not finish".to_owned());
                let written = self
                    .log
                    .append(&entry, &self.identity)
                    .map_err(|error| WriteFailure(error.to_string()))
                    .and_then(|()| {
                        self.book
                            .append(&entry)
                            .map_err(|error| WriteFailure(error.to_string()))
                    })
                    .and_then(|recorded| self.sign_head().map(|()| recorded));
                match written {
                    Ok(recorded) => {
                        self.failed = None;
                        self.book.confirm(&recorded, true, &self.head)
                    }
                    Err(WriteFailure(reason)) => {
                        tracing::error!(%reason, "the ledger takes no more entries");
                        self.failed = Some(reason.clone());
                        Err(LedgerError::Unavailable { reason })
                    }
                }
            }
        }
    }

    /// Cosigns the book's head and replaces the one on disk by it.
    fn sign_head(&mut self) -> Result<(), WriteFailure> {
        let path = head_path(&self.folder);
        let head = self
            .book
            .head()
            .cosigned(&self.host, &self.identity, (self.clock)())
            .map_err(|error| WriteFailure(error.to_string()))?;
        pass(self.faults.as_ref(), Step::ReplaceHead)
            .and_then(|()| replace(&path, head.to_string().as_bytes(), Readers::Owner))
            .map_err(|error| {
                WriteFailure(format!("the ledger's head cannot be written: {error}"))
            })?;
        self.head = head;
        Ok(())
    }
}

/// The log must hold what the head covers, and at most the one entry that a crash kept from being covered.
fn check_against_head(book: &Book, head: &SignedCheckpoint) -> Result<(), LedgerOpenError> {
    let (expected, found) = (head.claimed().size, book.tree().len());
    let Some(root) = book.tree().root_at(expected) else {
        return Err(LedgerOpenError::Truncated { expected, found });
    };
    if root != head.claimed().root {
        return Err(LedgerOpenError::OtherEntries { size: expected });
    }
    if found > expected + 1 {
        return Err(LedgerOpenError::HeadBehind { expected, found });
    }
    Ok(())
}

fn read_head(folder: &Path, members: &Members) -> Result<SignedCheckpoint, LedgerOpenError> {
    let path = head_path(folder);
    let length = fs::metadata(&path)
        .map_err(|source| io_error(&path, source))?
        .len();
    if length > NOTE_SIZE_LIMIT as u64 {
        return Err(LedgerOpenError::Damaged(format!(
            "its head has {length} bytes, expected at most {NOTE_SIZE_LIMIT}"
        )));
    }
    let bytes = fs::read(&path).map_err(|source| io_error(&path, source))?;
    let text = String::from_utf8(bytes)
        .map_err(|_| LedgerOpenError::Damaged("its head is not text".to_owned()))?;
    let refuse = |source| head_error(&path, source);
    let head = SignedCheckpoint::parse(&text).map_err(refuse)?;
    members.verify(&head).map_err(refuse)?;
    Ok(head)
}

fn head_path(folder: &Path) -> PathBuf {
    folder.join("head")
}

fn log_path(folder: &Path) -> PathBuf {
    folder.join("log")
}

fn io_error(path: &Path, source: std::io::Error) -> LedgerOpenError {
    LedgerOpenError::Io {
        path: path.to_owned(),
        source,
    }
}

fn head_error(path: &Path, source: tributary_protocol::ledger::CheckpointError) -> LedgerOpenError {
    LedgerOpenError::Head {
        path: path.to_owned(),
        source,
    }
}
