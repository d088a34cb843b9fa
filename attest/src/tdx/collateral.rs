//! What Intel says of one model of platform.

use chrono::{DateTime, Utc};
use dcap_qvl::{QuoteCollateralV3, TcbInfo};
use serde::Deserialize;

use super::signed_collateral;
use crate::claims::Fmspc;

/// TCB information, identity of the quoting enclave, revocation lists and their signers' certificates, for one
/// FMSPC; parsed and not yet believed. Signatures and dates are checked with each quote.
#[derive(Debug, Clone)]
pub struct TdxCollateral {
    inner: QuoteCollateralV3,
    fmspc: Fmspc,
    issued_at: DateTime<Utc>,
}

/// Why a text is no collateral for TDX.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TdxCollateralError {
    /// Too many bytes.
    #[error("TDX collateral may have at most {max} bytes, got {got}")]
    Length {
        /// The most that is read.
        max: usize,
        /// How many came.
        got: usize,
    },
    /// Not the JSON that is read here.
    #[error("malformed TDX collateral: {0}")]
    Json(String),
    /// Not signed by Intel, or not in date.
    #[error("TDX collateral does not hold: {0}")]
    Unsigned(String),
    /// A field that holds what it may not.
    #[error("`{field}` of TDX collateral must be {expected}, got {got:?}")]
    Field {
        /// The field.
        field: &'static str,
        /// What is taken.
        expected: String,
        /// What came.
        got: String,
    },
}

impl TdxCollateral {
    /// The most bytes of JSON: Intel's statements take about 20 KiB, and grow with each evaluation.
    pub const MAX_JSON: usize = 128 * 1024;

    /// Reads the JSON form of `dcap-qvl`'s `QuoteCollateralV3`, in which binary fields are hexadecimal.
    ///
    /// # Errors
    /// [`TdxCollateralError`] where it is too long, malformed, lacks a field or has one more.
    pub fn parse(json: &[u8]) -> Result<Self, TdxCollateralError> {
        if json.len() > Self::MAX_JSON {
            return Err(TdxCollateralError::Length {
                max: Self::MAX_JSON,
                got: json.len(),
            });
        }
        let raw: RawCollateral = serde_json::from_slice(json)?;
        let info: TcbInfo = serde_json::from_str(&raw.tcb_info)?;
        if info.id != "TDX" {
            return Err(field("tcb_info.id", "TDX", &info.id));
        }
        let fmspc = info.fmspc.to_ascii_lowercase().parse::<Fmspc>();
        let fmspc =
            fmspc.map_err(|_| field("tcb_info.fmspc", "12 hexadecimal digits", &info.fmspc))?;
        let issued_at = DateTime::parse_from_rfc3339(&info.issue_date)
            .map_err(|_| field("tcb_info.issueDate", "a time (RFC 3339)", &info.issue_date))?;
        Ok(Self {
            inner: raw.try_into()?,
            fmspc,
            issued_at: issued_at.to_utc(),
        })
    }

    /// The model of platform that it is for.
    pub fn fmspc(&self) -> Fmspc {
        self.fmspc
    }

    /// When Intel issued the TCB information.
    pub fn issued_at(&self) -> DateTime<Utc> {
        self.issued_at
    }

    /// Which of Intel's authorities the list of revoked platforms is by, as it names itself: that of the platforms or that of
    /// the processors.
    ///
    /// # Errors
    /// [`TdxCollateralError::Unsigned`] where the list is malformed.
    pub fn platform_authority(&self) -> Result<String, TdxCollateralError> {
        signed_collateral::issuer_of_list(&self.inner.pck_crl).map_err(TdxCollateralError::Unsigned)
    }

    /// Whether Intel signed both documents and both lists, under the root that is built in, and all are in date.
    ///
    /// Evidence is judged by them with or without this; a folder is better not filled with what would refuse everything.
    ///
    /// # Errors
    /// [`TdxCollateralError::Unsigned`], which names the part.
    pub fn check_signed(&self, now: DateTime<Utc>) -> Result<(), TdxCollateralError> {
        signed_collateral::check(&self.inner, now).map_err(TdxCollateralError::Unsigned)
    }

    pub(crate) fn expect_fmspc(self, fmspc: Fmspc) -> Result<Self, TdxCollateralError> {
        if self.fmspc == fmspc {
            return Ok(self);
        }
        let got = self.fmspc.to_string();
        Err(field("tcb_info.fmspc", fmspc.to_string(), &got))
    }

    pub(super) fn inner(&self) -> &QuoteCollateralV3 {
        &self.inner
    }
}

impl From<serde_json::Error> for TdxCollateralError {
    fn from(error: serde_json::Error) -> Self {
        Self::Json(error.to_string())
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCollateral {
    pck_crl_issuer_chain: String,
    root_ca_crl: String,
    pck_crl: String,
    tcb_info_issuer_chain: String,
    tcb_info: String,
    tcb_info_signature: String,
    qe_identity_issuer_chain: String,
    qe_identity: String,
    qe_identity_signature: String,
    #[serde(default)]
    pck_certificate_chain: Option<String>,
}

impl TryFrom<RawCollateral> for QuoteCollateralV3 {
    type Error = TdxCollateralError;

    fn try_from(raw: RawCollateral) -> Result<Self, Self::Error> {
        Ok(Self {
            pck_crl_issuer_chain: raw.pck_crl_issuer_chain,
            root_ca_crl: binary("root_ca_crl", &raw.root_ca_crl)?,
            pck_crl: binary("pck_crl", &raw.pck_crl)?,
            tcb_info_issuer_chain: raw.tcb_info_issuer_chain,
            tcb_info: raw.tcb_info,
            tcb_info_signature: binary("tcb_info_signature", &raw.tcb_info_signature)?,
            qe_identity_issuer_chain: raw.qe_identity_issuer_chain,
            qe_identity: raw.qe_identity,
            qe_identity_signature: binary("qe_identity_signature", &raw.qe_identity_signature)?,
            pck_certificate_chain: raw.pck_certificate_chain,
        })
    }
}

fn binary(name: &'static str, text: &str) -> Result<Vec<u8>, TdxCollateralError> {
    hex::decode(text).map_err(|_| field(name, "bytes as hexadecimal digits", text))
}

fn field(field: &'static str, expected: impl Into<String>, got: &str) -> TdxCollateralError {
    const SHOWN: usize = 64;
    TdxCollateralError::Field {
        field,
        expected: expected.into(),
        got: got.chars().take(SHOWN).collect(),
    }
}
