//! One request for a report, from the making of its folder to its removal.

use std::{io, time::Duration};

use rand_core::{OsRng, TryRngCore as _};

use super::{error::TsmError, filesystem::TsmFilesystem};
use crate::{claims::Vmpl, tee::Tee};

/// Who stands behind the interface: the name in the attribute `provider`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Provider {
    SevGuest,
    TdxGuest,
}

impl Provider {
    pub(crate) const ALL: [Self; 2] = [Self::SevGuest, Self::TdxGuest];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::SevGuest => "sev_guest",
            Self::TdxGuest => "tdx_guest",
        }
    }

    pub(crate) const fn tee(self) -> Tee {
        match self {
            Self::SevGuest => Tee::SevSnp,
            Self::TdxGuest => Tee::Tdx,
        }
    }
}

/// What the kernel gave for one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TsmReport {
    /// The report or quote.
    pub(crate) outblob: Vec<u8>,
    /// SEV-SNP's certificate table; empty where there is none.
    pub(crate) auxblob: Vec<u8>,
}

/// Has the machine sign 64 bytes, in a folder of the request's own, with a few more tries where the kernel is busy or
/// somebody meddles.
///
/// `level` is the privilege level to state, of SEV-SNP alone; `None` takes the most privileged one that the kernel allows.
pub(crate) fn request_report(
    filesystem: &dyn TsmFilesystem,
    provider: Provider,
    level: Option<Vmpl>,
    inblob: &[u8; 64],
) -> Result<TsmReport, TsmError> {
    retry(filesystem, |request| ask(request, provider, level, inblob))
}

/// The provider's name, whoever it is.
pub(crate) fn provider_here(filesystem: &dyn TsmFilesystem) -> Result<String, TsmError> {
    retry(filesystem, |request| request.text("provider"))
}

fn retry<T>(
    filesystem: &dyn TsmFilesystem,
    work: impl Fn(&Request) -> Result<T, TsmError>,
) -> Result<T, TsmError> {
    let mut wait = FIRST_WAIT;
    for _ in 1..ATTEMPTS {
        match once(filesystem, &work) {
            Err(error) if error.is_transient() => filesystem.wait(wait),
            outcome => return outcome,
        }
        wait *= 2;
    }
    once(filesystem, &work)
}

fn once<T>(
    filesystem: &dyn TsmFilesystem,
    work: impl Fn(&Request) -> Result<T, TsmError>,
) -> Result<T, TsmError> {
    let request = Request::create(filesystem)?;
    let answer = work(&request)?;
    request.remove()?;
    Ok(answer)
}

fn ask(
    request: &Request,
    provider: Provider,
    level: Option<Vmpl>,
    inblob: &[u8; 64],
) -> Result<TsmReport, TsmError> {
    request.expect_provider(provider)?;
    let mut generation = request.number("generation")?;
    if provider == Provider::SevGuest
        && let Some(level) = request.privilege_level(level)?
    {
        request.write("privlevel", level.to_string().as_bytes())?;
        generation = generation.wrapping_add(1);
    }
    request.write("inblob", inblob)?;
    generation = generation.wrapping_add(1);
    // A binary attribute is taken when its file is closed, where an error has no way back to the writer. The count
    // shows whether the write arrived, before a report of something else is made.
    request.expect_generation(generation)?;
    let report = TsmReport {
        outblob: request.read("outblob", MAX_BLOB)?,
        auxblob: request
            .read_optional("auxblob", MAX_BLOB)?
            .unwrap_or_default(),
    };
    request.expect_generation(generation)?;
    request.expect_provider(provider)?;
    Ok(report)
}

/// A request's folder, which goes when this does.
struct Request<'a> {
    filesystem: &'a dyn TsmFilesystem,
    name: String,
    removed: bool,
}

impl<'a> Request<'a> {
    /// A name that nobody can occupy beforehand, so that no other program's writes meet ours.
    fn create(filesystem: &'a dyn TsmFilesystem) -> Result<Self, TsmError> {
        let failed = |source| TsmError::Folder {
            folder: filesystem.folder().to_owned(),
            done: "made",
            source,
        };
        let mut random = [0; 16];
        OsRng
            .try_fill_bytes(&mut random)
            .map_err(|error| failed(io::Error::other(error.to_string())))?;
        let name = format!("tributary-{}", hex::encode(random));
        match filesystem.create(&name) {
            Ok(()) => Ok(Self {
                filesystem,
                name,
                removed: false,
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(TsmError::Absent {
                folder: filesystem.folder().to_owned(),
            }),
            Err(error) if error.raw_os_error() == Some(ENXIO) => Err(TsmError::NoProvider),
            Err(source) => Err(failed(source)),
        }
    }

    /// Removes the folder where the caller can still be told that it stays.
    fn remove(mut self) -> Result<(), TsmError> {
        self.removed = true;
        self.filesystem
            .remove(&self.name)
            .map_err(|source| TsmError::Folder {
                folder: self.filesystem.folder().to_owned(),
                done: "removed",
                source,
            })
    }

    fn read(&self, attribute: &'static str, limit: usize) -> Result<Vec<u8>, TsmError> {
        let bytes = self
            .filesystem
            .read(&self.name, attribute, limit)
            .map_err(|source| failed(attribute, "read", source))?;
        if bytes.len() > limit {
            return Err(TsmError::TooLarge { attribute, limit });
        }
        Ok(bytes)
    }

    /// An attribute that some providers do not have.
    fn read_optional(
        &self,
        attribute: &'static str,
        limit: usize,
    ) -> Result<Option<Vec<u8>>, TsmError> {
        match self.read(attribute, limit) {
            Err(TsmError::Attribute { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Ok(None)
            }
            outcome => outcome.map(Some),
        }
    }

    fn write(&self, attribute: &'static str, bytes: &[u8]) -> Result<(), TsmError> {
        self.filesystem
            .write(&self.name, attribute, bytes)
            .map_err(|source| failed(attribute, "written", source))
    }

    fn text(&self, attribute: &'static str) -> Result<String, TsmError> {
        text_of(attribute, &self.read(attribute, MAX_TEXT)?)
    }

    fn number(&self, attribute: &'static str) -> Result<u64, TsmError> {
        let text = self.text(attribute)?;
        text.parse().map_err(|_| TsmError::Malformed {
            attribute,
            expected: "a number",
            got: text,
        })
    }

    fn expect_provider(&self, expected: Provider) -> Result<(), TsmError> {
        let got = self.text("provider")?;
        if got == expected.name() {
            return Ok(());
        }
        Err(TsmError::Provider {
            expected: expected.name(),
            got,
        })
    }

    fn expect_generation(&self, expected: u64) -> Result<(), TsmError> {
        let got = self.number("generation")?;
        if got == expected {
            return Ok(());
        }
        Err(TsmError::Raced { expected, got })
    }

    /// The level to state; `None` where the provider knows no levels and none is asked for.
    fn privilege_level(&self, asked: Option<Vmpl>) -> Result<Option<Vmpl>, TsmError> {
        let attribute = "privlevel_floor";
        let floor = match (self.read_optional(attribute, MAX_TEXT)?, asked) {
            (Some(bytes), _) => text_of(attribute, &bytes)?,
            (None, None) => return Ok(None),
            (None, Some(_)) => {
                return Err(failed(attribute, "read", io::ErrorKind::NotFound.into()));
            }
        };
        let floor = floor
            .parse::<u8>()
            .ok()
            .and_then(|floor| Vmpl::try_from(floor).ok())
            .ok_or(TsmError::Malformed {
                attribute,
                expected: "a level of 0 to 3",
                got: floor,
            })?;
        match asked {
            None => Ok(Some(floor)),
            Some(asked) if asked.get() < floor.get() => Err(TsmError::PrivilegeLevel {
                asked: asked.get(),
                floor: floor.get(),
            }),
            Some(asked) => Ok(Some(asked)),
        }
    }
}

impl Drop for Request<'_> {
    fn drop(&mut self) {
        if !self.removed {
            // The error that ended the request is the one to tell.
            let _ = self.filesystem.remove(&self.name);
        }
    }
}

fn failed(attribute: &'static str, done: &'static str, source: io::Error) -> TsmError {
    TsmError::Attribute {
        attribute,
        done,
        source,
    }
}

/// A line of text: what a text attribute holds.
fn text_of(attribute: &'static str, bytes: &[u8]) -> Result<String, TsmError> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text.trim_end_matches('\n').to_owned()),
        Err(_) => Err(TsmError::Malformed {
            attribute,
            expected: "a line of text",
            got: hex::encode(bytes),
        }),
    }
}

/// The kernel's own limit of `outblob` and `auxblob`, `TSM_REPORT_OUTBLOB_MAX`.
const MAX_BLOB: usize = 32 * 1024;
/// A provider's name or a number of 64 bits takes less.
const MAX_TEXT: usize = 64;
/// With the waits between them, a busy machine has some three seconds.
const ATTEMPTS: u32 = 6;
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// "No such device or address", the same number on every architecture of Linux.
const ENXIO: i32 = 6;

#[cfg(test)]
mod tests;
