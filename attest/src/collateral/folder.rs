//! Reading of a collateral folder.

use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use super::Collateral;
use crate::{
    claims::{Fmspc, SnpProduct, SnpSigningKey},
    simulated::RevocationList,
    snp::{Intermediate, SnpCertificateError, by_amd_name},
    tdx::{TdxCollateral, TdxCollateralError},
};

/// Why a collateral folder was not taken.
#[derive(Debug, thiserror::Error)]
#[error("the collateral {} is not usable: {fault}", .path.display())]
pub struct CollateralError {
    path: PathBuf,
    fault: Fault,
}

impl CollateralError {
    /// The file or folder at fault.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("expected at most {max} bytes, got more; remove the file or fetch it anew")]
    Length { max: usize },
    #[error("expected at most {max} files, got more; remove those that no machine needs")]
    Count { max: usize },
    #[error("expected {expected}; see docs/collateral.md, and move what does not belong there")]
    Name { expected: &'static str },
    #[error("{0}; fetch it anew")]
    Certificate(#[from] SnpCertificateError),
    #[error("{0}; fetch it anew")]
    Tdx(#[from] TdxCollateralError),
    #[error("{0}; have the root's holder make it anew")]
    Simulated(String),
}

pub(super) fn load(folder: &Path) -> Result<Collateral, CollateralError> {
    let mut collateral = Collateral::default();
    load_into(folder, Folder::Top, &mut collateral)?;
    Ok(collateral)
}

fn load_into(
    path: &Path,
    folder: Folder,
    collateral: &mut Collateral,
) -> Result<(), CollateralError> {
    for entry in list(path, folder.max_entries())? {
        match folder.place(&entry.name) {
            Ok(Place::Folder(inner)) => load_into(&entry.path, inner, collateral)?,
            Ok(Place::File(file)) => {
                let bytes = entry.read(file.max_bytes())?;
                let stored = file.store(&bytes, collateral);
                stored.map_err(|fault| entry.fault(fault))?;
            }
            Err(expected) => return Err(entry.fault(Fault::Name { expected })),
        }
    }
    Ok(())
}

/// As if a file of this content lay at this place below the folder.
pub(super) fn put(
    collateral: &mut Collateral,
    place: &str,
    bytes: &[u8],
) -> Result<(), CollateralError> {
    let mut store = || -> Result<(), Fault> {
        let (folders, name) = place.rsplit_once('/').unwrap_or(("", place));
        let mut folder = Folder::Top;
        for part in folders.split('/').filter(|part| !part.is_empty()) {
            folder = match folder.place(part) {
                Ok(Place::Folder(inner)) => inner,
                Ok(Place::File(_)) => return Err(Fault::Name { expected: "a file" }),
                Err(expected) => return Err(Fault::Name { expected }),
            };
        }
        match folder.place(name) {
            Ok(Place::File(file)) => {
                let max = file.max_bytes();
                if bytes.len() > max {
                    return Err(Fault::Length { max });
                }
                file.store(bytes, collateral)
            }
            Ok(Place::Folder(_)) => Err(Fault::Name {
                expected: "a folder",
            }),
            Err(expected) => Err(Fault::Name { expected }),
        }
    };
    store().map_err(|fault| CollateralError {
        path: place.into(),
        fault,
    })
}

/// A name that the layout knows.
enum Place {
    Folder(Folder),
    File(File),
}

#[derive(Clone, Copy)]
enum Folder {
    Top,
    SevSnp,
    Product(SnpProduct),
    Veks(SnpProduct, SnpSigningKey),
    Tdx,
    Simulated,
}

#[derive(Clone, Copy)]
enum File {
    Root(SnpProduct),
    Intermediate(SnpProduct, Intermediate),
    List(SnpProduct, Intermediate),
    Vek(SnpProduct, SnpSigningKey),
    Tdx(Fmspc),
    SimulatedList,
}

impl Folder {
    /// What a name stands for in this folder, or what was expected.
    fn place(self, name: &str) -> Result<Place, &'static str> {
        use SnpSigningKey::{Vcek, Vlek};
        let file = |file| Ok(Place::File(file));
        let folder = |folder| Ok(Place::Folder(folder));
        match self {
            Self::Top => match name {
                "sev-snp" => folder(Self::SevSnp),
                "tdx" => folder(Self::Tdx),
                "simulated" => folder(Self::Simulated),
                _ => Err("the folders sev-snp, tdx and simulated"),
            },
            Self::SevSnp => match by_amd_name(name).filter(|_| !name.contains('-')) {
                Some(product) => folder(Self::Product(product)),
                None => Err("the folders Milan, Genoa and Turin"),
            },
            Self::Product(product) => match name {
                "vcek" => folder(Self::Veks(product, Vcek)),
                "vlek" => folder(Self::Veks(product, Vlek)),
                "ark.der" | "ark.pem" => file(File::Root(product)),
                "ask.der" | "ask.pem" => file(File::Intermediate(product, Intermediate::Ask)),
                "asvk.der" | "asvk.pem" => file(File::Intermediate(product, Intermediate::Asvk)),
                "vcek.crl" => file(File::List(product, Intermediate::Ask)),
                "vlek.crl" => file(File::List(product, Intermediate::Asvk)),
                _ => Err(
                    "ark, ask and asvk (.der or .pem), vcek.crl, vlek.crl, and the folders vcek and vlek",
                ),
            },
            Self::Veks(product, key) => match name.ends_with(".der") || name.ends_with(".pem") {
                true => file(File::Vek(product, key)),
                false => Err("certificates whose names end in .der or .pem"),
            },
            Self::Tdx => match name.strip_suffix(".json").map(str::parse::<Fmspc>) {
                Some(Ok(fmspc)) => file(File::Tdx(fmspc)),
                _ => Err("files named by an FMSPC: 12 lower-case hexadecimal digits and .json"),
            },
            Self::Simulated => match name.ends_with(".crl") {
                true => file(File::SimulatedList),
                false => Err("revocation lists whose names end in .crl"),
            },
        }
    }

    const fn max_entries(self) -> usize {
        match self {
            Self::Top => 3,
            Self::SevSnp => SnpProduct::ALL.len(),
            Self::Product(_) => MAX_PRODUCT_ENTRIES,
            Self::Veks(..) => MAX_VEKS,
            Self::Tdx => MAX_FMSPCS,
            Self::Simulated => MAX_SIMULATED_LISTS,
        }
    }
}

impl File {
    const fn max_bytes(self) -> usize {
        match self {
            Self::Root(_) | Self::Intermediate(..) | Self::Vek(..) => MAX_CERTIFICATE,
            Self::List(..) => MAX_LIST,
            Self::Tdx(_) => TdxCollateral::MAX_JSON,
            Self::SimulatedList => RevocationList::MAX_ENCODED,
        }
    }

    fn store(self, bytes: &[u8], collateral: &mut Collateral) -> Result<(), Fault> {
        match self {
            Self::Root(product) => collateral.snp.check_root(product, bytes)?,
            Self::Intermediate(product, kind) => {
                collateral.snp.put_intermediate(product, kind, bytes)?;
            }
            Self::List(product, kind) => collateral.snp.put_list(product, kind, bytes)?,
            Self::Vek(product, key) => collateral.snp.put_vek(product, key, bytes)?,
            Self::Tdx(fmspc) => {
                let parsed = TdxCollateral::parse(bytes)?.expect_fmspc(fmspc)?;
                collateral.tdx.insert(fmspc, parsed);
            }
            Self::SimulatedList => {
                let list = RevocationList::parse(bytes)
                    .map_err(|error| Fault::Simulated(error.to_string()))?;
                let root = list.root;
                if collateral.simulated.insert(root, list).is_some() {
                    return Err(Fault::Simulated(format!(
                        "a second list of the root {root}"
                    )));
                }
            }
        }
        Ok(())
    }
}

struct Entry {
    name: String,
    path: PathBuf,
}

impl Entry {
    /// The bytes of a regular file, at most `max`.
    fn read(&self, max: usize) -> Result<Vec<u8>, CollateralError> {
        let read = || -> Result<Vec<u8>, Fault> {
            let file = fs::File::open(&self.path)?;
            if !file.metadata()?.is_file() {
                return Err(Fault::Name { expected: "a file" });
            }
            let mut bytes = Vec::new();
            file.take(max as u64 + 1).read_to_end(&mut bytes)?;
            if bytes.len() > max {
                return Err(Fault::Length { max });
            }
            Ok(bytes)
        };
        read().map_err(|fault| self.fault(fault))
    }

    fn fault(&self, fault: impl Into<Fault>) -> CollateralError {
        CollateralError {
            path: self.path.clone(),
            fault: fault.into(),
        }
    }
}

/// What a folder holds, in the order of names, so that the same fault is named each time.
fn list(folder: &Path, max: usize) -> Result<Vec<Entry>, CollateralError> {
    let fault = |fault: Fault| CollateralError {
        path: folder.to_owned(),
        fault,
    };
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder).map_err(|error| fault(error.into()))? {
        let path = entry.map_err(|error| fault(error.into()))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with('.') {
            continue;
        }
        if entries.len() == max {
            return Err(fault(Fault::Count { max }));
        }
        entries.push(Entry {
            name: name.into_owned(),
            path,
        });
    }
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(entries)
}

/// A certificate takes less than 1,700 bytes in DER and 2,400 in PEM.
const MAX_CERTIFICATE: usize = 8 * 1024;
const MAX_LIST: usize = 256 * 1024;
/// Chips of one product: far more than one federation trusts.
const MAX_VEKS: usize = 4096;
/// Intel has some dozens.
const MAX_FMSPCS: usize = 1024;
/// One for each root that some policy names.
const MAX_SIMULATED_LISTS: usize = 64;
/// All names that the layout knows, each certificate in both spellings.
const MAX_PRODUCT_ENTRIES: usize = 10;
