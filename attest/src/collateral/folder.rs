//! Reading of a collateral folder.

use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use super::Collateral;
use crate::{
    claims::{Fmspc, SnpProduct, SnpSigningKey},
    snp::{Intermediate, SnpCertificateError, SnpStore, by_amd_name},
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
}

pub(super) fn load(folder: &Path) -> Result<Collateral, CollateralError> {
    let mut collateral = Collateral::default();
    for entry in list(folder, 2)? {
        match entry.name.as_str() {
            "sev-snp" => load_snp(&entry.path, &mut collateral.snp)?,
            "tdx" => load_tdx(&entry.path, &mut collateral)?,
            _ => return Err(entry.misplaced("the folders sev-snp and tdx")),
        }
    }
    Ok(collateral)
}

fn load_snp(folder: &Path, store: &mut SnpStore) -> Result<(), CollateralError> {
    for entry in list(folder, SnpProduct::ALL.len())? {
        let product = by_amd_name(&entry.name)
            .filter(|_| !entry.name.contains('-'))
            .ok_or_else(|| entry.misplaced("the folders Milan, Genoa and Turin"))?;
        load_product(&entry.path, product, store)?;
    }
    Ok(())
}

fn load_product(
    folder: &Path,
    product: SnpProduct,
    store: &mut SnpStore,
) -> Result<(), CollateralError> {
    for entry in list(folder, MAX_PRODUCT_ENTRIES)? {
        let put = match entry.name.as_str() {
            "vcek" => {
                load_veks(&entry.path, product, SnpSigningKey::Vcek, store)?;
                continue;
            }
            "vlek" => {
                load_veks(&entry.path, product, SnpSigningKey::Vlek, store)?;
                continue;
            }
            "ark.der" | "ark.pem" => store.check_root(product, &entry.read(MAX_CERTIFICATE)?),
            "ask.der" | "ask.pem" => {
                let bytes = entry.read(MAX_CERTIFICATE)?;
                store.put_intermediate(product, Intermediate::Ask, &bytes)
            }
            "asvk.der" | "asvk.pem" => {
                let bytes = entry.read(MAX_CERTIFICATE)?;
                store.put_intermediate(product, Intermediate::Asvk, &bytes)
            }
            "vcek.crl" => store.put_list(product, Intermediate::Ask, &entry.read(MAX_LIST)?),
            "vlek.crl" => store.put_list(product, Intermediate::Asvk, &entry.read(MAX_LIST)?),
            _ => {
                return Err(entry.misplaced(
                    "ark, ask and asvk (.der or .pem), vcek.crl, vlek.crl, and the folders vcek and vlek",
                ));
            }
        };
        put.map_err(|error| entry.fault(error))?;
    }
    Ok(())
}

fn load_veks(
    folder: &Path,
    product: SnpProduct,
    key: SnpSigningKey,
    store: &mut SnpStore,
) -> Result<(), CollateralError> {
    for entry in list(folder, MAX_VEKS)? {
        if !entry.name.ends_with(".der") && !entry.name.ends_with(".pem") {
            return Err(entry.misplaced("certificates whose names end in .der or .pem"));
        }
        store
            .put_vek(product, key, &entry.read(MAX_CERTIFICATE)?)
            .map_err(|error| entry.fault(error))?;
    }
    Ok(())
}

fn load_tdx(folder: &Path, collateral: &mut Collateral) -> Result<(), CollateralError> {
    for entry in list(folder, MAX_FMSPCS)? {
        let fmspc = entry
            .name
            .strip_suffix(".json")
            .and_then(|name| name.parse::<Fmspc>().ok())
            .ok_or_else(|| {
                entry.misplaced(
                    "files named by an FMSPC: 12 lower-case hexadecimal digits and .json",
                )
            })?;
        let parsed = TdxCollateral::parse(&entry.read(TdxCollateral::MAX_JSON)?)
            .and_then(|parsed| parsed.expect_fmspc(fmspc))
            .map_err(|error| entry.fault(error))?;
        collateral.tdx.insert(fmspc, parsed);
    }
    Ok(())
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

    fn misplaced(&self, expected: &'static str) -> CollateralError {
        self.fault(Fault::Name { expected })
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
/// All names that the layout knows, each certificate in both spellings.
const MAX_PRODUCT_ENTRIES: usize = 10;
