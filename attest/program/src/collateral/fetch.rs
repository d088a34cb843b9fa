//! Getting it, as files of the folder's layout.

use std::path::{Path, PathBuf};

use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use tributary_collateral_fetch::{FetchError, Fetcher, Kds, KeyKind, Pcs, SnpFirmware};
use tributary_console::{Blame, Console, ErrorCode, Failure};
use x509_cert::{Certificate, der::Decode as _};

use super::{
    FetchArgs,
    plan::{Chip, Plan, amd_name},
};

/// A file below the folder, not yet verified.
#[derive(Debug)]
pub(super) struct Fetched {
    pub(super) path: PathBuf,
    pub(super) bytes: Vec<u8>,
}

pub(super) fn fetch(
    plan: &Plan,
    fetcher: &Fetcher,
    args: &FetchArgs,
    console: &Console,
) -> Result<Vec<Fetched>, Failure> {
    let mut files = Vec::new();
    let kds = Kds::new(fetcher, args.kds.clone());
    for (product, kind) in &plan.chains {
        let (name, folder) = (amd_name(*product), snp_folder(amd_name(*product)));
        console.note(format!("asking {} for the chain of {name}", args.kds));
        let (intermediate, list) = match kind {
            KeyKind::Vcek => ("ask.der", "vcek.crl"),
            KeyKind::Vlek => ("asvk.der", "vlek.crl"),
        };
        let chain = kds.chain(name, *kind).map_err(fetch_failure)?;
        files.push(Fetched {
            path: folder.join(intermediate),
            bytes: amd_intermediate(&chain).map_err(|got| wrong_chain(&got))?,
        });
        files.push(Fetched {
            path: folder.join(list),
            bytes: kds.revocations(name, *kind).map_err(fetch_failure)?,
        });
    }
    for chip in &plan.chips {
        let name = amd_name(chip.product);
        console.note(format!("asking {} for a chip of {name}", args.kds));
        files.push(Fetched {
            path: snp_folder(name).join("vcek").join(file_name(chip)),
            bytes: kds
                .vcek(name, &chip.hardware_id, &firmware(chip))
                .map_err(fetch_failure)?,
        });
    }
    let pcs = Pcs::new(fetcher, args.pcs.clone());
    for (fmspc, ca) in &plan.platforms {
        console.note(format!("asking {} for platforms {fmspc}", args.pcs));
        let ca = ca.parse().map_err(internal)?;
        let collateral = pcs.tdx_collateral(*fmspc, ca).map_err(fetch_failure)?;
        let name = format!("{}.json", fmspc.to_string().to_lowercase());
        files.push(Fetched {
            path: Path::new("tdx").join(name),
            bytes: serde_json::to_vec(&collateral).map_err(|error| internal(error.to_string()))?,
        });
    }
    Ok(files)
}

fn snp_folder(product: &str) -> PathBuf {
    Path::new("sev-snp").join(product)
}

fn file_name(chip: &Chip) -> String {
    format!(
        "{}_{}.der",
        hex::encode(&chip.hardware_id),
        hex::encode(chip.raw_tcb)
    )
}

fn firmware(chip: &Chip) -> SnpFirmware {
    SnpFirmware {
        fmc: chip.tcb.fmc,
        bootloader: chip.tcb.bootloader,
        tee: chip.tcb.tee,
        snp: chip.tcb.snp,
        microcode: chip.tcb.microcode,
    }
}

/// The certificate that AMD's root signed, in DER, out of the PEM text that AMD sends: the root comes along, and is built in.
///
/// # Errors
/// What came in place of one such certificate.
pub fn amd_intermediate(chain: &str) -> Result<Vec<u8>, String> {
    let mut found = Vec::new();
    for der in CertificateDer::pem_slice_iter(chain.as_bytes()).take(MAX_CHAIN) {
        let der = der.map_err(|error| error.to_string())?;
        let certificate = Certificate::from_der(&der).map_err(|error| error.to_string())?;
        let tbs = certificate.tbs_certificate();
        if tbs.subject() != tbs.issuer() {
            found.push(der.to_vec());
        }
    }
    match found.pop() {
        Some(der) if found.is_empty() => Ok(der),
        Some(_) => Err("more".to_owned()),
        None => Err("none".to_owned()),
    }
}

fn wrong_chain(got: &str) -> Failure {
    Failure::new(
        ErrorCode::COLLATERAL_UNAVAILABLE,
        format!("expected one intermediate certificate in AMD's chain, got {got}"),
    )
    .hint("try again later, or check --kds and the proxy")
    .blame(Blame::Peer)
}

fn fetch_failure(error: FetchError) -> Failure {
    let code = match error {
        FetchError::Timeout { .. } => ErrorCode::TIMEOUT,
        _ => ErrorCode::COLLATERAL_UNAVAILABLE,
    };
    Failure::from_error(code, &error)
        .hint("check the address, the proxy and the network; nothing was written")
        .blame(Blame::Peer)
}

fn internal(reason: String) -> Failure {
    Failure::new(ErrorCode::INTERNAL, reason).blame(Blame::Tributary)
}

/// AMD sends two; a text of thousands is read no further.
const MAX_CHAIN: usize = 8;
