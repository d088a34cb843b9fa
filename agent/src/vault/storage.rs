//! Where a vault's files lie: `object_store` for names and bytes, and what it lacks for a local folder, durability.
//!
//! The calls block. From asynchronous code they belong on a thread that may (`tokio::task::spawn_blocking`).

use std::fs::File;
use std::future::Future;
use std::io::{self, Write};
use std::os::unix::fs::FileExt as _;
use std::path::{Path as FsPath, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

use bytes::Bytes;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt as _, PutPayload};
use parquet::file::reader::{ChunkReader, Length};
use sha2::{Digest as _, Sha256};
use tributary_durable::Readers;
use tributary_protocol::Digest;

use super::error::VaultError;

/// Bytes that are handed to the store at once while a part is written.
const UPLOAD_CHUNK: usize = 1 << 20;

/// A folder of a vault.
#[derive(Debug, Clone)]
pub(super) struct Storage {
    store: Arc<dyn ObjectStore>,
    root: PathBuf,
}

/// Held while a vault is changed.
pub(super) struct WriteLock {
    _file: File,
}

impl Storage {
    /// The folder that a path or URL names. With `create` it is made where it is missing.
    pub(super) fn open(location: &str, create: bool) -> Result<Self, VaultError> {
        let root = local_path(location)?;
        if create {
            tributary_durable::create_private_folder(&root)
                .map_err(storage(format!("create the folder {}", root.display())))?;
        }
        let store = LocalFileSystem::new_with_prefix(&root).map_err(|_| VaultError::NoVault {
            location: location.to_owned(),
        })?;
        Ok(Self {
            store: Arc::new(store),
            root,
        })
    }

    pub(super) fn location(&self) -> String {
        self.root.display().to_string()
    }

    /// Refuses while another process holds the lock.
    pub(super) fn lock(&self) -> Result<WriteLock, VaultError> {
        let doing = || format!("lock {}", self.root.display());
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(self.root.join(".lock"))
            .map_err(storage(doing()))?;
        match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(WriteLock { _file: file }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(VaultError::Locked),
            Err(error) => Err(storage(doing())(error.into())),
        }
    }

    /// Names of the folders at the top.
    pub(super) fn folders(&self) -> Result<Vec<String>, VaultError> {
        let listing = wait(self.store.list_with_delimiter(None))
            .map_err(store(format!("list {}", self.root.display())))?;
        let names = listing.common_prefixes.iter();
        Ok(names
            .filter_map(|path| path.filename().map(str::to_owned))
            .collect())
    }

    /// Names of the files in a folder; none where it does not exist.
    pub(super) fn files(&self, folder: &str) -> Result<Vec<String>, VaultError> {
        let listing = wait(self.store.list_with_delimiter(Some(&Path::from(folder))))
            .map_err(store(format!("list {folder}")))?;
        let names = listing.objects.iter();
        Ok(names
            .filter_map(|object| object.location.filename().map(str::to_owned))
            .collect())
    }

    /// A whole small file; `None` where it does not exist.
    pub(super) fn read(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, VaultError> {
        let got = match wait(self.store.get(&Path::from(path))) {
            Ok(got) => got,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(store(format!("read {path}"))(error)),
        };
        if got.meta.size > limit {
            return Err(VaultError::Damaged {
                file: path.to_owned(),
                reason: format!("expected at most {limit} bytes, got {}", got.meta.size),
            });
        }
        let bytes = wait(got.bytes()).map_err(store(format!("read {path}")))?;
        Ok(Some(bytes.into()))
    }

    /// Puts a small file in its place, on the disk when the call returns.
    pub(super) fn replace(&self, path: &str, bytes: &[u8]) -> Result<(), VaultError> {
        let target = self.root.join(path);
        tributary_durable::replace(&target, bytes, Readers::Owner)
            .map_err(storage(format!("write {path}")))
    }

    /// As [`Storage::replace`], and refuses where there is a file.
    pub(super) fn create(&self, path: &str, bytes: &[u8]) -> Result<(), VaultError> {
        let target = self.root.join(path);
        tributary_durable::create(&target, bytes, Readers::Owner)
            .map_err(storage(format!("create {path}")))
    }

    pub(super) fn create_folder(&self, folder: &str) -> Result<(), VaultError> {
        tributary_durable::create_private_folder(&self.root.join(folder))
            .and_then(|()| tributary_durable::sync_folder(&self.root))
            .map_err(storage(format!("create the folder {folder}")))
    }

    pub(super) fn delete(&self, path: &str) -> Result<(), VaultError> {
        wait(self.store.delete(&Path::from(path))).map_err(store(format!("delete {path}")))
    }

    /// Removes what an interrupted upload left: the store hides such files from its listings.
    pub(super) fn delete_staged(&self, folder: &str) {
        let Ok(entries) = std::fs::read_dir(self.root.join(folder)) else {
            return;
        };
        for entry in entries.flatten() {
            if entry.file_name().to_string_lossy().contains('#') {
                // Left-overs take room and nothing else; the next change tries again.
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }

    /// A large file that grows by [`Write`] and appears when it is finished.
    pub(super) fn upload(&self, path: &str) -> Result<Upload, VaultError> {
        let upload = wait(self.store.put_multipart(&Path::from(path)))
            .map_err(store(format!("create {path}")))?;
        Ok(Upload {
            storage: self.clone(),
            path: path.to_owned(),
            upload,
            chunk: Vec::with_capacity(UPLOAD_CHUNK),
            hash: Sha256::new(),
            length: 0,
        })
    }

    /// A file for random access; `None` where it does not exist.
    pub(super) fn open_file(&self, path: &str) -> Result<Option<StoredFile>, VaultError> {
        let doing = || format!("open {path}");
        let file = match File::open(self.root.join(path)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(storage(doing())(error)),
        };
        let metadata = file.metadata().map_err(storage(doing()))?;
        if !metadata.is_file() {
            return Err(storage(doing())(io::Error::other("not a regular file")));
        }
        Ok(Some(StoredFile {
            file: Arc::new(file),
            length: metadata.len(),
        }))
    }
}

/// A file that is being written; dropping it unfinished removes it.
pub(super) struct Upload {
    storage: Storage,
    path: String,
    upload: Box<dyn MultipartUpload>,
    chunk: Vec<u8>,
    hash: Sha256,
    length: u64,
}

impl Upload {
    /// The digest and length of the file, which is on the disk under its name now.
    pub(super) fn finish(mut self) -> Result<(Digest, u64), VaultError> {
        let doing = format!("write {}", self.path);
        self.send().map_err(storage(doing.clone()))?;
        wait(self.upload.complete()).map_err(store(doing.clone()))?;
        failpoint("vault::part-sync").map_err(storage(doing.clone()))?;
        let path = self.storage.root.join(&self.path);
        File::open(&path)
            .and_then(|file| file.sync_all())
            .and_then(|()| match path.parent() {
                Some(folder) => tributary_durable::sync_folder(folder),
                None => Ok(()),
            })
            .map_err(storage(doing))?;
        Ok((Digest::from_bytes(self.hash.finalize().into()), self.length))
    }

    fn send(&mut self) -> io::Result<()> {
        if self.chunk.is_empty() {
            return Ok(());
        }
        failpoint("vault::part-write")?;
        let chunk = std::mem::replace(&mut self.chunk, Vec::with_capacity(UPLOAD_CHUNK));
        self.hash.update(&chunk);
        self.length += chunk.len() as u64;
        wait(self.upload.put_part(PutPayload::from(chunk))).map_err(io_error)
    }
}

impl Write for Upload {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.chunk.len() >= UPLOAD_CHUNK {
            self.send()?;
        }
        let taken = bytes.len().min(UPLOAD_CHUNK - self.chunk.len());
        self.chunk.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A file whose contents are read at positions. It stays the same file where another is put under its name.
#[derive(Debug, Clone)]
pub(super) struct StoredFile {
    file: Arc<File>,
    length: u64,
}

impl StoredFile {
    /// SHA-256 of the contents, read once from the beginning to the end.
    pub(super) fn digest(&self) -> io::Result<Digest> {
        let mut hash = Sha256::new();
        let mut chunk = vec![0; UPLOAD_CHUNK];
        let mut position = 0;
        while position < self.length {
            let wanted = chunk.len().min((self.length - position) as usize);
            self.file.read_exact_at(&mut chunk[..wanted], position)?;
            hash.update(&chunk[..wanted]);
            position += wanted as u64;
        }
        Ok(Digest::from_bytes(hash.finalize().into()))
    }
}

impl Length for StoredFile {
    fn len(&self) -> u64 {
        self.length
    }
}

impl ChunkReader for StoredFile {
    type T = io::BufReader<ReadFrom>;

    fn get_read(&self, start: u64) -> parquet::errors::Result<Self::T> {
        Ok(io::BufReader::new(ReadFrom {
            file: self.clone(),
            position: start,
        }))
    }

    fn get_bytes(&self, start: u64, length: usize) -> parquet::errors::Result<Bytes> {
        let end = start.checked_add(length as u64);
        if end.is_none_or(|end| end > self.length) {
            return Err(parquet::errors::ParquetError::EOF(format!(
                "expected {length} bytes at {start}, the file has {}",
                self.length
            )));
        }
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, start)?;
        Ok(bytes.into())
    }
}

/// Reads on from a position.
pub(super) struct ReadFrom {
    file: StoredFile,
    position: u64,
}

impl io::Read for ReadFrom {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.file.file.read_at(bytes, self.position)?;
        self.position += read as u64;
        Ok(read)
    }
}

fn local_path(location: &str) -> Result<PathBuf, VaultError> {
    let path = match location.split_once("://") {
        None => FsPath::new(location),
        Some(("file", path)) if path.starts_with('/') && !path.contains('%') => FsPath::new(path),
        Some(("file", _)) => return Err(VaultError::Location(location.to_owned())),
        Some((scheme, _)) => {
            return Err(VaultError::NotBuiltIn {
                scheme: scheme.chars().take(40).collect(),
            });
        }
    };
    if path.as_os_str().is_empty() {
        return Err(VaultError::Location(location.to_owned()));
    }
    std::path::absolute(path).map_err(|_| VaultError::Location(location.to_owned()))
}

fn storage(doing: String) -> impl FnOnce(io::Error) -> VaultError {
    move |source| VaultError::Storage { doing, source }
}

fn store(doing: String) -> impl FnOnce(object_store::Error) -> VaultError {
    move |error| VaultError::Storage {
        doing,
        source: io_error(error),
    }
}

/// Keeps the kind of the system's error, for whoever tells a full disk from a broken one.
fn io_error(error: object_store::Error) -> io::Error {
    let mut cause: Option<&dyn std::error::Error> = Some(&error);
    while let Some(current) = cause {
        if let Some(found) = current.downcast_ref::<io::Error>() {
            return io::Error::new(found.kind(), error.to_string());
        }
        cause = current.source();
    }
    io::Error::other(error)
}

/// Waits for a future of the store. Outside a runtime a local store works on this thread.
fn wait<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

/// A place where tests make the disk fail: `return` is a full one.
#[cfg_attr(not(feature = "failpoints"), allow(unused_variables))]
fn failpoint(name: &str) -> io::Result<()> {
    fail::fail_point!(name, |_| Err(rustix::io::Errno::NOSPC.into()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn storage_that_is_not_built_in_is_refused_by_name() {
        for (location, scheme) in [("s3://bucket/vault", "s3"), ("az://a/b", "az")] {
            let error = Storage::open(location, true).unwrap_err();
            assert!(
                matches!(&error, VaultError::NotBuiltIn { scheme: got } if got == scheme),
                "{error}"
            );
        }
        for bad in ["", "file://relative", "file:///a%20b"] {
            assert!(matches!(
                Storage::open(bad, false),
                Err(VaultError::Location(_))
            ));
        }
    }

    #[test]
    fn an_upload_appears_when_it_is_finished_and_not_before() {
        let folder = tempfile::tempdir().unwrap();
        let location = format!("file://{}", folder.path().display());
        let storage = Storage::open(&location, false).unwrap();
        storage.create_folder("d").unwrap();
        let bytes: Vec<u8> = (0..3 << 20).map(|i: u32| (i % 251) as u8).collect();
        let mut upload = storage.upload("d/part").unwrap();
        upload.write_all(&bytes).unwrap();
        assert!(storage.files("d").unwrap().is_empty());
        let (digest, length) = upload.finish().unwrap();
        assert_eq!((digest, length), (Digest::of(&bytes), bytes.len() as u64));
        let file = storage.open_file("d/part").unwrap().unwrap();
        assert_eq!(file.digest().unwrap(), digest);
        assert_eq!(file.get_bytes(1000, 7).unwrap(), bytes[1000..1007]);
        assert!(file.get_bytes(length - 1, 2).is_err());

        let mut abandoned = storage.upload("d/other").unwrap();
        abandoned.write_all(&bytes).unwrap();
        drop(abandoned);
        storage.delete_staged("d");
        assert_eq!(
            std::fs::read_dir(folder.path().join("d")).unwrap().count(),
            1
        );
    }

    #[test]
    fn a_second_writer_is_refused_until_the_first_is_done() {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::open(&folder.path().display().to_string(), false).unwrap();
        let lock = storage.lock().unwrap();
        assert!(matches!(storage.lock(), Err(VaultError::Locked)));
        drop(lock);
        assert!(storage.lock().is_ok());
    }

    #[test]
    fn the_store_also_answers_inside_a_runtime() {
        let folder = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().build().unwrap();
        let path = folder.path().display().to_string();
        let task = runtime.spawn_blocking(move || {
            let storage = Storage::open(&path, false).unwrap();
            storage.replace("file", b"x").unwrap();
            storage.read("file", 10).unwrap()
        });
        assert_eq!(runtime.block_on(task).unwrap().unwrap(), b"x");
    }
}
