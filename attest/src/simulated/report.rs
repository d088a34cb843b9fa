//! What a simulated platform says about a machine.

use chrono::{DateTime, Utc};
use ed25519_dalek::{SigningKey, VerifyingKey};
use serde::{Deserialize, Deserializer, Serialize};

use super::certificate::{SIGNATURE, sign_with_label, verify_with_label};
use crate::{
    claims::{Claims, PlatformClaims},
    evidence::Evidence,
    measurement::Measurement,
    report_data::ReportData,
    tee::Tee,
    wire::{Reader, WireError, put_prefixed},
};

/// A simulated report. Encoding, integers big-endian:
///
/// ```text
/// "TRBSIMR" | layout 2 (4) | body: length (2), JSON | Ed25519 signature (64)
/// ```
///
/// The platform signs a label and all bytes before the signature. The body holds the claims in the form in which
/// `attest show --json` prints them, so that every field of every kind can be played.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Report {
    /// Left out where the machine plays that hardware's reports hold no time; `null` is no spelling of it.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "chrono::serde::ts_seconds_option::serialize",
        deserialize_with = "seconds"
    )]
    pub(crate) issued_at: Option<DateTime<Utc>>,
    pub(crate) measurement: Measurement,
    pub(crate) report_data: ReportData,
    pub(crate) platform: PlatformClaims,
}

impl Report {
    /// The one layout that this version reads.
    pub(crate) const LAYOUT: u32 = 2;
    /// The most bytes of the body: all of what a report may have besides.
    const MAX_BODY: usize = Evidence::MAX_REPORT - MAGIC.len() - 4 - 2 - SIGNATURE;

    /// The encoding, signed by the platform.
    pub(crate) fn sign(&self, layout: u32, platform: &SigningKey) -> Vec<u8> {
        // Numbers, texts and lists of them: there is nothing in the body that JSON has no form for.
        let body = serde_json::to_vec(self).unwrap_or_default();
        sign_body(&body, layout, platform)
    }

    /// The layout that the bytes state, which decides whether the rest can be read.
    pub(crate) fn read_layout(bytes: &[u8]) -> Result<u32, WireError> {
        let mut reader = Reader::new(bytes);
        reader.expect("the mark of a simulated report", MAGIC)?;
        reader.u32("the report's layout")
    }

    /// Reads the fields of a report of [`Report::LAYOUT`]; says nothing about the signature.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes);
        reader.expect("the mark of a simulated report", MAGIC)?;
        let layout = reader.u32("the report's layout")?;
        if layout != Self::LAYOUT {
            return Err(WireError::value(
                "the report's layout",
                Self::LAYOUT,
                layout,
            ));
        }
        let body = reader.prefixed("the report's body", 1..=Self::MAX_BODY)?;
        let report: Self = serde_json::from_slice(body)
            .map_err(|error| WireError::value("the report's body", "the JSON of claims", error))?;
        reader.take("the report's signature", SIGNATURE)?;
        reader.finish("the report")?;
        match &report.platform {
            PlatformClaims::Tdx(tdx) if tdx.mrtd != report.measurement => {
                Err(WireError::value("the MRTD", report.measurement, tdx.mrtd))
            }
            _ => Ok(report),
        }
    }

    /// Whether `platform` signed exactly these bytes.
    pub(crate) fn is_signed_by(bytes: &[u8], platform: &VerifyingKey) -> bool {
        verify_with_label(platform, LABEL, bytes)
    }

    pub(crate) fn into_claims(self) -> Claims {
        let (tee, issued_at) = (Tee::Simulated, self.issued_at);
        match self.platform {
            PlatformClaims::SevSnp(snp) => {
                Claims::from_snp(tee, self.measurement, self.report_data, issued_at, snp)
            }
            PlatformClaims::Tdx(tdx) => Claims::from_tdx(tee, self.report_data, issued_at, tdx),
        }
    }
}

fn seconds<'de, D: Deserializer<'de>>(seconds: D) -> Result<Option<DateTime<Utc>>, D::Error> {
    chrono::serde::ts_seconds::deserialize(seconds).map(Some)
}

/// Signs any body, well formed or not.
pub(super) fn sign_body(body: &[u8], layout: u32, platform: &SigningKey) -> Vec<u8> {
    let mut out = Vec::with_capacity(MAGIC.len() + 4 + 2 + body.len() + SIGNATURE);
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&layout.to_be_bytes());
    put_prefixed(&mut out, body);
    sign_with_label(platform, LABEL, &mut out);
    out
}

const MAGIC: &[u8] = b"TRBSIMR";
const LABEL: &[u8] = b"tributary simulated report v2\0";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(tail in prop::collection::vec(any::<u8>(), 0..500)) {
            let _ = Report::parse(&tail);
            let _ = Report::parse(&[b"TRBSIMR\0\0\0\x02", tail.as_slice()].concat());
        }
    }
}
