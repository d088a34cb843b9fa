//! Intel's Provisioning Certification Service, or a cache of it (PCCS).
//!
//! The interface is version 4 of Intel's "API for Trusted Services" and of the PCCS design guide, which differ in the
//! list of revoked intermediates alone: Intel serves it at another host, a PCCS at `rootcacrl`.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    address::ServiceUrl,
    error::FetchError,
    fetcher::{Answer, Fetcher},
    kds::content,
};

/// Family, model, stepping, platform type and custom SKU: which kind of platform a TCB document is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fmspc(pub [u8; 6]);

impl FromStr for Fmspc {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; 6];
        match hex::decode_to_slice(text, &mut bytes) {
            Ok(()) => Ok(Self(bytes)),
            Err(_) => Err(format!(
                "expected an FMSPC of 6 bytes as hexadecimal digits, got {text:?}"
            )),
        }
    }
}

/// As Intel writes it.
impl fmt::Display for Fmspc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode_upper(self.0))
    }
}

/// Which of Intel's authorities certified a platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PckCa {
    /// Platforms of several packages, and all with TDX that register themselves.
    Platform,
    /// Single packages.
    Processor,
}

impl PckCa {
    /// The name in the interface.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Platform => "platform",
            Self::Processor => "processor",
        }
    }
}

impl FromStr for PckCa {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Platform, Self::Processor]
            .into_iter()
            .find(|ca| ca.as_str() == text)
            .ok_or_else(|| format!("expected platform or processor, got {text:?}"))
    }
}

/// The collateral of one kind of platform, in the JSON form that `dcap-qvl` reads: byte strings in hexadecimal, and the
/// signed documents with every byte as Intel signed it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TdxCollateralJson {
    pck_crl_issuer_chain: String,
    root_ca_crl: String,
    pck_crl: String,
    tcb_info_issuer_chain: String,
    tcb_info: String,
    tcb_info_signature: String,
    qe_identity_issuer_chain: String,
    qe_identity: String,
    qe_identity_signature: String,
}

/// What a service answered to the four questions about a kind of platform, each with its address for messages.
#[derive(Debug)]
pub struct PcsAnswers {
    /// The list of revoked platforms.
    pub pck_crl: (String, Answer),
    /// The list of revoked intermediates.
    pub root_ca_crl: (String, Answer),
    /// The TCB information.
    pub tcb_info: (String, Answer),
    /// The identity of the quoting enclave.
    pub qe_identity: (String, Answer),
}

impl TdxCollateralJson {
    /// Takes the documents, lists and chains out of the answers; verifies none of them.
    ///
    /// # Errors
    /// [`FetchError::Content`] where an answer is not what the interface says.
    pub fn read(answers: PcsAnswers) -> Result<Self, FetchError> {
        let PcsAnswers {
            pck_crl: (crl_url, pck_crl),
            root_ca_crl: (root_url, root_ca_crl),
            tcb_info: (tcb_url, tcb),
            qe_identity: (qe_url, qe),
        } = answers;
        let (tcb_info, tcb_info_signature) = parts(&tcb_url, &tcb, |document: TcbDocument| {
            (document.tcb_info, document.signature)
        })?;
        let (qe_identity, qe_identity_signature) = parts(&qe_url, &qe, |document: QeDocument| {
            (document.enclave_identity, document.signature)
        })?;
        Ok(Self {
            pck_crl_issuer_chain: issuers(&crl_url, &pck_crl, "SGX-PCK-CRL-Issuer-Chain")?,
            root_ca_crl: hex::encode(crl(root_url, &root_ca_crl.body)?),
            pck_crl: hex::encode(crl(crl_url, &pck_crl.body)?),
            tcb_info_issuer_chain: issuers(&tcb_url, &tcb, "TCB-Info-Issuer-Chain")?,
            tcb_info,
            tcb_info_signature,
            qe_identity_issuer_chain: issuers(&qe_url, &qe, "SGX-Enclave-Identity-Issuer-Chain")?,
            qe_identity,
            qe_identity_signature,
        })
    }
}

/// Intel's PCS, or a PCCS.
#[derive(Debug)]
pub struct Pcs<'a> {
    fetcher: &'a Fetcher,
    base: ServiceUrl,
}

impl<'a> Pcs<'a> {
    /// The service at this address: Intel's, or the base of a PCCS such as `https://localhost:8081`.
    pub fn new(fetcher: &'a Fetcher, base: ServiceUrl) -> Self {
        Self { fetcher, base }
    }

    /// All that a verifier needs for TDX quotes of one kind of platform.
    ///
    /// # Errors
    /// [`FetchError`], also where a document or its chain is not what the interface says.
    pub fn tdx_collateral(&self, fmspc: Fmspc, ca: PckCa) -> Result<TdxCollateralJson, FetchError> {
        let get = |url: String, limit| -> Result<_, FetchError> {
            let answer = self.fetcher.get(&url, limit)?;
            Ok((url, answer))
        };
        let ca = ca.as_str();
        let pck_crl = self.sgx(&format!("pckcrl?ca={ca}&encoding=der"));
        let answers = PcsAnswers {
            pck_crl: get(pck_crl, MAX_CRL)?,
            tcb_info: get(self.tdx(&format!("tcb?fmspc={fmspc}")), MAX_DOCUMENT)?,
            qe_identity: get(self.tdx("qe/identity"), MAX_DOCUMENT)?,
            root_ca_crl: get(self.root_crl(), MAX_CRL)?,
        };
        TdxCollateralJson::read(answers)
    }

    /// Where the list of intermediates lies that Intel's root revoked, in DER.
    ///
    /// Its address is not read from a certificate: an address that somebody else chose is not one to call.
    fn root_crl(&self) -> String {
        if self.base == ServiceUrl::intel_pcs() {
            INTEL_ROOT_CRL.to_owned()
        } else {
            self.sgx("rootcacrl")
        }
    }

    fn sgx(&self, path: &str) -> String {
        self.base.join(&format!("sgx/certification/v4/{path}"))
    }

    fn tdx(&self, path: &str) -> String {
        self.base.join(&format!("tdx/certification/v4/{path}"))
    }
}

#[derive(Deserialize)]
struct TcbDocument {
    #[serde(rename = "tcbInfo")]
    tcb_info: Box<RawValue>,
    signature: String,
}

#[derive(Deserialize)]
struct QeDocument {
    #[serde(rename = "enclaveIdentity")]
    enclave_identity: Box<RawValue>,
    signature: String,
}

/// A signed document, byte for byte, and its signature in hexadecimal.
fn parts<'de, T: Deserialize<'de>>(
    url: &str,
    answer: &'de Answer,
    take: impl Fn(T) -> (Box<RawValue>, String),
) -> Result<(String, String), FetchError> {
    let wrong = || content(url.to_owned(), "a signed document in JSON", &answer.body);
    let document = serde_json::from_slice(&answer.body).map_err(|_| wrong())?;
    let (document, signature) = take(document);
    match hex::decode(&signature) {
        Ok(bytes) if bytes.len() == SIGNATURE => Ok((document.get().to_owned(), signature)),
        _ => Err(wrong()),
    }
}

/// The chain of certificates in a header, whose line ends are percent-encoded.
fn issuers(url: &str, answer: &Answer, name: &'static str) -> Result<String, FetchError> {
    let wrong = |got: String| FetchError::Content {
        url: url.to_owned(),
        expected: "a certificate chain in the header that the interface names",
        got,
    };
    let encoded = answer
        .header(name)
        .ok_or_else(|| wrong(format!("no header {name}")))?;
    let chain = percent_decoded(encoded).filter(|chain| chain.starts_with(PEM));
    chain.ok_or_else(|| wrong(format!("something else in {name}")))
}

/// RFC 3986, section 2.1; `None` where the result is not text.
fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        if *first == b'%' {
            let mut byte = [0];
            hex::decode_to_slice(after.get(..2)?, &mut byte).ok()?;
            bytes.push(byte[0]);
            rest = &after[2..];
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    String::from_utf8(bytes).ok()
}

/// A revocation list in DER, which a PCCS sends in hexadecimal.
fn crl(url: String, body: &[u8]) -> Result<Vec<u8>, FetchError> {
    // The length of a list takes more than one byte; "0" followed by a digit is text.
    if body.first() == Some(&DER_SEQUENCE) && body.get(1).is_some_and(|byte| *byte >= 0x80) {
        return Ok(body.to_vec());
    }
    match hex::decode(body.trim_ascii()) {
        Ok(der) if der.first() == Some(&DER_SEQUENCE) => Ok(der),
        _ => Err(content(url, "a revocation list", body)),
    }
}

const INTEL_ROOT_CRL: &str = "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der";
const PEM: &str = "-----BEGIN CERTIFICATE-----";
const DER_SEQUENCE: u8 = 0x30;
/// An ECDSA signature over P-256: two numbers of 32 bytes.
const SIGNATURE: usize = 64;
/// The processor authority's list takes some 3 KiB, and grows with each revoked platform.
const MAX_CRL: usize = 1024 * 1024;
/// A TCB document with twenty levels takes some 20 KiB.
const MAX_DOCUMENT: usize = 512 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_read_back() {
        let fmspc: Fmspc = "b0c06f000000".parse().unwrap();
        assert_eq!(fmspc.to_string(), "B0C06F000000");
        for wrong in ["", "b0c06f0000", "b0c06f00000000", "xxxxxxxxxxxx"] {
            assert!(wrong.parse::<Fmspc>().is_err());
        }
        for ca in [PckCa::Platform, PckCa::Processor] {
            assert_eq!(ca.as_str().parse(), Ok(ca));
        }
        assert!("root".parse::<PckCa>().is_err());
    }

    #[test]
    fn percent_encoding_is_undone_or_refused() {
        assert_eq!(percent_decoded("a%0Ab%2b").unwrap(), "a\nb+");
        for wrong in ["%", "%0", "%zz", "%ff"] {
            assert_eq!(percent_decoded(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_list_comes_in_der_or_in_hexadecimal() {
        let der = [0x30, 0x82, 0, 1, 7];
        let text = hex::encode(der);
        assert_eq!(crl(String::new(), &der).unwrap(), der);
        assert_eq!(crl(String::new(), text.as_bytes()).unwrap(), der);
        let line = format!("{text}\n");
        assert_eq!(crl(String::new(), line.as_bytes()).unwrap(), der);
        for wrong in [&b""[..], b"<html>", b"31", b"0"] {
            assert!(crl(String::new(), wrong).is_err());
        }
    }
}
