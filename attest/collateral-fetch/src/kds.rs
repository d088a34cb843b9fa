//! AMD's Key Distribution Service: certificates of chips, chains and revocation lists.
//!
//! The interface is AMD's "Versioned Chip Endorsement Key (VCEK) Certificate and KDS Interface Specification" (57230).

use crate::{address::ServiceUrl, error::FetchError, fetcher::Fetcher};

/// The security versions of a chip's firmware, for which it has a key of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnpFirmware {
    /// The first firmware; Turin alone has it.
    pub fmc: Option<u8>,
    /// The boot loader.
    pub bootloader: u8,
    /// The security processor's operating system.
    pub tee: u8,
    /// The SNP firmware.
    pub snp: u8,
    /// The cores' microcode.
    pub microcode: u8,
}

/// Whose key signs reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// The chip's own.
    Vcek,
    /// A cloud provider's.
    Vlek,
}

impl KeyKind {
    const fn path(self) -> &'static str {
        match self {
            Self::Vcek => "vcek",
            Self::Vlek => "vlek",
        }
    }
}

/// AMD's KDS, or a mirror of it.
#[derive(Debug)]
pub struct Kds<'a> {
    fetcher: &'a Fetcher,
    base: ServiceUrl,
}

impl<'a> Kds<'a> {
    /// The service at this address.
    pub fn new(fetcher: &'a Fetcher, base: ServiceUrl) -> Self {
        Self { fetcher, base }
    }

    /// A chip's certificate, in DER: of the product, such as `Milan`, the hardware id and the firmware.
    ///
    /// # Errors
    /// [`FetchError`], also where the answer is not DER.
    pub fn vcek(
        &self,
        product: &str,
        hardware_id: &[u8],
        firmware: &SnpFirmware,
    ) -> Result<Vec<u8>, FetchError> {
        let SnpFirmware {
            fmc,
            bootloader,
            tee,
            snp,
            microcode,
        } = firmware;
        let fmc = fmc.map_or_else(String::new, |fmc| format!("fmcSPL={fmc:02}&"));
        let url = self.base.join(&format!(
            "vcek/v1/{product}/{}?{fmc}blSPL={bootloader:02}&teeSPL={tee:02}&snpSPL={snp:02}&ucodeSPL={microcode:02}",
            hex::encode(hardware_id),
        ));
        self.der(&url, MAX_CERTIFICATE)
    }

    /// The certificates between a product's keys and AMD's root, and that root, in PEM: ASK and ARK, or ASVK and ARK.
    ///
    /// # Errors
    /// [`FetchError`], also where the answer is not PEM.
    pub fn chain(&self, product: &str, kind: KeyKind) -> Result<String, FetchError> {
        let url = self.url(product, kind, "cert_chain");
        let body = self.fetcher.get(&url, MAX_CHAIN)?.body;
        match String::from_utf8(body) {
            Ok(text) if text.trim_start().starts_with(PEM) => Ok(text),
            Ok(text) => Err(content(url, "certificates in PEM", text.as_bytes())),
            Err(error) => Err(content(url, "certificates in PEM", error.as_bytes())),
        }
    }

    /// The list of a product's revoked intermediate certificates, in DER.
    ///
    /// # Errors
    /// [`FetchError`], also where the answer is not DER.
    pub fn revocations(&self, product: &str, kind: KeyKind) -> Result<Vec<u8>, FetchError> {
        self.der(&self.url(product, kind, "crl"), MAX_CRL)
    }

    fn url(&self, product: &str, kind: KeyKind, what: &str) -> String {
        let kind = kind.path();
        self.base.join(&format!("{kind}/v1/{product}/{what}"))
    }

    fn der(&self, url: &str, limit: usize) -> Result<Vec<u8>, FetchError> {
        let body = self.fetcher.get(url, limit)?.body;
        if body.first() == Some(&DER_SEQUENCE) {
            return Ok(body);
        }
        Err(content(url.to_owned(), "DER", &body))
    }
}

/// An answer of the wrong kind, with as much of it as helps.
pub(crate) fn content(url: String, expected: &'static str, got: &[u8]) -> FetchError {
    const SHOWN: usize = 80;
    let beginning: String = String::from_utf8_lossy(&got[..got.len().min(SHOWN)])
        .chars()
        .filter(|c| !c.is_control())
        .collect();
    FetchError::Content {
        url,
        expected,
        got: format!("{} bytes that begin with {beginning:?}", got.len()),
    }
}

const PEM: &str = "-----BEGIN CERTIFICATE-----";
const DER_SEQUENCE: u8 = 0x30;
/// A VCEK takes some 1,400 bytes.
const MAX_CERTIFICATE: usize = 8 * 1024;
/// Two certificates with RSA keys of 4096 bits take some 4,800 bytes in PEM.
const MAX_CHAIN: usize = 32 * 1024;
/// AMD's lists hold a handful of entries.
const MAX_CRL: usize = 256 * 1024;
