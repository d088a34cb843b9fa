//! A file system in memory that behaves as configfs-tsm does, and can be told to misbehave.

use std::{
    collections::BTreeMap,
    io,
    path::Path,
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use super::filesystem::TsmFilesystem;

/// Makes a report for the data and privilege level that were written.
pub(crate) type Maker = Box<dyn Fn(&[u8], u8) -> Vec<u8> + Send + Sync>;

/// What goes wrong, and how often before it stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Another process writes its own data before `outblob` is read.
    OtherWriter,
    /// Another process writes between the reads of `outblob` and `auxblob`.
    WriterBetweenReads,
    /// The write of `inblob` is lost when its file is closed.
    LostWrite,
    /// The call on the attribute fails with the error number.
    Errno(&'static str, i32),
    /// Making the folder fails with the error number.
    Create(i32),
    /// Removing the folder fails with the error number.
    Remove(i32),
    /// The driver is replaced while the report is made.
    ProviderSwapped,
}

pub(crate) struct StandIn {
    provider: &'static str,
    floor: Option<&'static str>,
    aux: Option<Vec<u8>>,
    maker: Maker,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    requests: BTreeMap<String, Entry>,
    faults: Vec<(Fault, u32)>,
    swapped: bool,
    names: Vec<String>,
    waits: Vec<Duration>,
}

#[derive(Default)]
struct Entry {
    inblob: Vec<u8>,
    privlevel: u8,
    generation: u64,
    read_generation: Option<u64>,
    outblob: Vec<u8>,
}

impl StandIn {
    pub(crate) fn sev_guest(maker: Maker, aux: Vec<u8>) -> Self {
        Self::new("sev_guest", Some("0\n"), Some(aux), maker)
    }

    pub(crate) fn tdx_guest(maker: Maker) -> Self {
        Self::new("tdx_guest", None, None, maker)
    }

    pub(crate) fn new(
        provider: &'static str,
        floor: Option<&'static str>,
        aux: Option<Vec<u8>>,
        maker: Maker,
    ) -> Self {
        Self {
            provider,
            floor,
            aux,
            maker,
            state: Mutex::default(),
        }
    }

    pub(crate) fn with(self, fault: Fault, times: u32) -> Self {
        self.state().faults.push((fault, times));
        self
    }

    /// Folders that nobody removed.
    pub(crate) fn left(&self) -> usize {
        self.state().requests.len()
    }

    /// The names of all requests, in order.
    pub(crate) fn names(&self) -> Vec<String> {
        self.state().names.clone()
    }

    /// How long was waited between tries.
    pub(crate) fn waits(&self) -> Vec<Duration> {
        self.state().waits.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl State {
    fn strikes(&mut self, matches: impl Fn(Fault) -> bool) -> Option<Fault> {
        let (fault, left) = self
            .faults
            .iter_mut()
            .find(|(fault, left)| *left > 0 && matches(*fault))?;
        *left -= 1;
        Some(*fault)
    }

    fn errno(&mut self, attribute: &str) -> io::Result<()> {
        let on = |fault| matches!(fault, Fault::Errno(name, _) if name == attribute);
        match self.strikes(on) {
            Some(Fault::Errno(_, errno)) => Err(io::Error::from_raw_os_error(errno)),
            _ => Ok(()),
        }
    }

    fn entry(&mut self, request: &str) -> io::Result<&mut Entry> {
        self.requests
            .get_mut(request)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl StandIn {
    /// A report is made at the first read after a write, and kept until the next one.
    fn outblob(&self, state: &mut State, request: &str) -> io::Result<Vec<u8>> {
        if state
            .strikes(|fault| fault == Fault::ProviderSwapped)
            .is_some()
        {
            state.swapped = true;
        }
        let meddled = state.strikes(|fault| fault == Fault::OtherWriter).is_some();
        let entry = state.entry(request)?;
        if meddled {
            entry.inblob = vec![0xee; 64];
            entry.generation += 1;
        }
        if entry.inblob.is_empty() {
            return Err(io::Error::from_raw_os_error(EINVAL));
        }
        if entry.read_generation != Some(entry.generation) {
            entry.outblob = (self.maker)(&entry.inblob, entry.privlevel);
            entry.read_generation = Some(entry.generation);
        }
        Ok(entry.outblob.clone())
    }
}

impl TsmFilesystem for StandIn {
    fn folder(&self) -> &Path {
        Path::new("/stand-in")
    }

    fn create(&self, request: &str) -> io::Result<()> {
        let mut state = self.state();
        if let Some(Fault::Create(errno)) = state.strikes(|fault| matches!(fault, Fault::Create(_)))
        {
            return Err(io::Error::from_raw_os_error(errno));
        }
        assert!(
            state
                .requests
                .insert(request.to_owned(), Entry::default())
                .is_none()
        );
        state.names.push(request.to_owned());
        Ok(())
    }

    fn remove(&self, request: &str) -> io::Result<()> {
        let mut state = self.state();
        if let Some(Fault::Remove(errno)) = state.strikes(|fault| matches!(fault, Fault::Remove(_)))
        {
            return Err(io::Error::from_raw_os_error(errno));
        }
        match state.requests.remove(request) {
            Some(_) => Ok(()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn read(&self, request: &str, attribute: &str, limit: usize) -> io::Result<Vec<u8>> {
        let mut state = self.state();
        state.errno(attribute)?;
        let mut bytes = match attribute {
            "provider" if state.swapped => b"other_guest\n".to_vec(),
            "provider" => format!("{}\n", self.provider).into_bytes(),
            "generation" => format!("{}\n", state.entry(request)?.generation).into_bytes(),
            "privlevel_floor" => self
                .floor
                .map(|floor| floor.as_bytes().to_vec())
                .ok_or(io::ErrorKind::NotFound)?,
            "outblob" => self.outblob(&mut state, request)?,
            "auxblob" => {
                let aux = self.aux.clone().ok_or(io::ErrorKind::NotFound)?;
                if state
                    .strikes(|fault| fault == Fault::WriterBetweenReads)
                    .is_some()
                {
                    state.entry(request)?.generation += 1;
                }
                aux
            }
            _ => return Err(io::ErrorKind::PermissionDenied.into()),
        };
        bytes.truncate(limit + 1);
        Ok(bytes)
    }

    fn write(&self, request: &str, attribute: &str, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        state.errno(attribute)?;
        let lost =
            attribute == "inblob" && state.strikes(|fault| fault == Fault::LostWrite).is_some();
        let entry = state.entry(request)?;
        match attribute {
            "inblob" if lost => return Ok(()),
            "inblob" if bytes.len() <= 64 => entry.inblob = bytes.to_vec(),
            "privlevel" if self.floor.is_some() => {
                let level = std::str::from_utf8(bytes).ok().and_then(|t| t.parse().ok());
                entry.privlevel = level
                    .filter(|level| *level <= 3)
                    .ok_or_else(|| io::Error::from_raw_os_error(EINVAL))?;
            }
            _ => return Err(io::ErrorKind::NotFound.into()),
        }
        entry.generation += 1;
        Ok(())
    }

    fn wait(&self, time: Duration) {
        self.state().waits.push(time);
    }
}

pub(crate) const EINTR: i32 = 4;
pub(crate) const ENXIO: i32 = 6;
pub(crate) const EAGAIN: i32 = 11;
pub(crate) const EACCES: i32 = 13;
pub(crate) const EBUSY: i32 = 16;
pub(crate) const EINVAL: i32 = 22;
pub(crate) const EFBIG: i32 = 27;
pub(crate) const ETIMEDOUT: i32 = 110;
