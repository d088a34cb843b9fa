//! What a file holds, told by its content and never by its name.

use std::path::Path;

use tributary_attest::{Evidence, Tee};
use tributary_console::Failure;

use crate::files::{malformed, read_limited};

/// A file that some command takes.
///
/// ```
/// use tributary_attest_program::Input;
/// let input = Input::of(b"{}".to_vec())?;
/// assert_eq!(input.name(), "JSON");
/// assert!(Input::of(b"text".to_vec()).is_err());
/// # Ok::<(), String>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum Input {
    /// The project's own container.
    Container(Evidence),
    /// A raw report of SEV-SNP.
    SnpReport(Vec<u8>),
    /// A raw quote of TDX.
    TdxQuote(Vec<u8>),
    /// Certificates, in DER or PEM.
    Certificates(Vec<u8>),
    /// A JSON object: collateral of TDX.
    Json(Vec<u8>),
}

impl Input {
    /// Reads a file, of at most as many bytes as the largest evidence.
    pub(crate) fn read(file: &Path) -> Result<Self, Failure> {
        let bytes = read_limited(file, Evidence::MAX_ENCODED)?;
        Self::of(bytes).map_err(|reason| malformed(file, reason))
    }

    /// Tells what the bytes are.
    ///
    /// # Errors
    /// A message for bytes of no kind, and for a malformed container.
    pub fn of(bytes: Vec<u8>) -> Result<Self, String> {
        match kind(&bytes) {
            Some(Kind::Container) => Evidence::from_bytes(&bytes)
                .map(Self::Container)
                .map_err(|error| error.to_string()),
            Some(Kind::SnpReport) => Ok(Self::SnpReport(bytes)),
            Some(Kind::TdxQuote) => Ok(Self::TdxQuote(bytes)),
            Some(Kind::Certificates) => Ok(Self::Certificates(bytes)),
            Some(Kind::Json) => Ok(Self::Json(bytes)),
            None => Err(format!(
                "expected a container of evidence, an SEV-SNP report, a TDX quote, a certificate in DER or PEM, or JSON; got {} bytes that begin with {}",
                bytes.len(),
                beginning(&bytes)
            )),
        }
    }

    /// What it is, for messages.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Container(_) => "a container of evidence",
            Self::SnpReport(_) => "an SEV-SNP report",
            Self::TdxQuote(_) => "a TDX quote",
            Self::Certificates(_) => "a certificate",
            Self::Json(_) => "JSON",
        }
    }

    /// Evidence with further endorsements.
    ///
    /// # Errors
    /// A message where it is none, or has more than a container takes.
    pub fn into_evidence(self, endorsements: Vec<Vec<u8>>) -> Result<Evidence, String> {
        let (tee, report, own) = match self {
            Self::Container(evidence) => {
                if endorsements.is_empty() {
                    return Ok(evidence);
                }
                let own = evidence.endorsements().to_vec();
                (evidence.tee(), evidence.report().to_vec(), own)
            }
            Self::SnpReport(report) => (Tee::SevSnp, report, Vec::new()),
            Self::TdxQuote(quote) => (Tee::Tdx, quote, Vec::new()),
            other => {
                return Err(format!(
                    "expected a container of evidence, an SEV-SNP report or a TDX quote, got {}",
                    other.name()
                ));
            }
        };
        let all = own.into_iter().chain(endorsements).collect();
        Evidence::new(tee, report, all).map_err(|error| error.to_string())
    }

    /// The bytes of an endorsement, or why it is none.
    pub(crate) fn into_endorsement(self) -> Result<Vec<u8>, String> {
        match self {
            Self::Certificates(bytes) | Self::Json(bytes) => Ok(bytes),
            other => Err(format!(
                "expected a certificate in DER or PEM, or TDX collateral as JSON, got {}",
                other.name()
            )),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Container,
    SnpReport,
    TdxQuote,
    Certificates,
    Json,
}

/// No beginning fits two kinds: a report's first four bytes are its version, a quote's first two, followed by the kind
/// of its key, and DER and text begin with bytes that are no version.
fn kind(bytes: &[u8]) -> Option<Kind> {
    match bytes {
        [b'T', b'R', b'B', b'E', b'V', b'I', b'D', ..] => Some(Kind::Container),
        // AMD 56860, table "ATTESTATION_REPORT Structure": VERSION, four bytes, little-endian.
        [_, 0, 0, 0, ..] if bytes.len() == SNP_REPORT_LEN => Some(Kind::SnpReport),
        // Intel TDX DCAP Quoting Library API, appendix A.3: version, kind of key, kind of TEE (0x81 is TDX).
        [4 | 5, 0, 2 | 3, 0, 0x81, 0, 0, 0, ..] => Some(Kind::TdxQuote),
        // A SEQUENCE whose length takes two bytes: certificates are longer than 255 bytes and shorter than 64 KiB.
        [0x30, 0x82, ..] => Some(Kind::Certificates),
        // JSON first: TDX collateral has certificates in PEM for values.
        _ => match bytes.trim_ascii_start() {
            [b'{', ..] => Some(Kind::Json),
            text if contains(text, PEM) => Some(Kind::Certificates),
            _ => None,
        },
    }
}

/// PEM allows explanatory text before the certificate (RFC 7468, section 5.2).
fn contains(text: &[u8], what: &[u8]) -> bool {
    std::str::from_utf8(text).is_ok() && text.windows(what.len()).any(|window| window == what)
}

fn beginning(bytes: &[u8]) -> String {
    let shown: Vec<String> = bytes.iter().take(8).map(|b| format!("{b:02x}")).collect();
    shown.join(" ")
}

const SNP_REPORT_LEN: usize = 1184;
const PEM: &[u8] = b"-----BEGIN CERTIFICATE-----";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_told_by_its_content() {
        let container = Evidence::new(Tee::Tdx, vec![1; 1184], vec![]).unwrap();
        let mut report = vec![0; SNP_REPORT_LEN];
        report[0] = 3;
        let mut quote = vec![0; 5000];
        quote[..8].copy_from_slice(&[4, 0, 2, 0, 0x81, 0, 0, 0]);
        let mut new_quote = quote.clone();
        new_quote[0] = 5;
        for (bytes, expected) in [
            (container.to_bytes(), Kind::Container),
            (report, Kind::SnpReport),
            // A quote as long as a report is a quote all the same.
            (quote[..SNP_REPORT_LEN].to_vec(), Kind::TdxQuote),
            (quote, Kind::TdxQuote),
            (new_quote, Kind::TdxQuote),
            (vec![0x30, 0x82, 5, 0, 1], Kind::Certificates),
            (
                b"Subject: x\n-----BEGIN CERTIFICATE-----\n".to_vec(),
                Kind::Certificates,
            ),
            (b"  {\"tcb_info\": 1}".to_vec(), Kind::Json),
            (
                b"{\"chain\": \"-----BEGIN CERTIFICATE-----\"}".to_vec(),
                Kind::Json,
            ),
        ] {
            assert_eq!(kind(&bytes), Some(expected));
        }
    }

    #[test]
    fn what_is_none_of_them_is_refused() {
        let sgx = [3, 0, 2, 0, 0, 0, 0, 0];
        let cut = [2; SNP_REPORT_LEN - 1];
        for bytes in [&b""[..], b"text", &sgx, &cut, &[0xff; SNP_REPORT_LEN]] {
            let error = Input::of(bytes.to_vec()).unwrap_err();
            assert!(error.starts_with("expected a container"), "{error}");
        }
        assert!(Input::of(b"TRBEVID".to_vec()).is_err());
    }

    #[test]
    fn endorsements_are_added_and_nothing_else_is_taken_for_one() {
        let report = || Input::SnpReport(vec![2; SNP_REPORT_LEN]);
        let evidence = report().into_evidence(vec![vec![7]]).unwrap();
        assert_eq!(
            (evidence.tee(), evidence.endorsements().len()),
            (Tee::SevSnp, 1)
        );
        let more = Input::Container(evidence)
            .into_evidence(vec![vec![8]])
            .unwrap();
        assert_eq!(more.endorsements(), [vec![7], vec![8]]);
        assert!(Input::Json(vec![1]).into_evidence(vec![]).is_err());
        assert!(Input::Certificates(vec![1]).into_evidence(vec![]).is_err());
        assert!(report().into_endorsement().is_err());
        assert_eq!(Input::Json(vec![1]).into_endorsement(), Ok(vec![1]));
    }
}
