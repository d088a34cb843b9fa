//! The 64 bytes that a TEE signs on behalf of the program inside it.

use chrono::{DateTime, Utc};

use crate::fixed_bytes::fixed_bytes;

fixed_bytes!(
    /// What evidence was made for: 64 bytes chosen by the program and signed by the platform.
    ///
    /// The attested channel puts SHA-512 of its transcript here, a receipt the digest of its statement.
    /// The appraisal takes the expected value as this type and never as an option: a comparison that
    /// can be left out is one that some day is.
    ///
    /// ```
    /// # use tributary_attest::ReportData;
    /// let data = ReportData::new([7; 64]);
    /// assert!(data.to_string().starts_with("0707"));
    /// assert_eq!(data.to_string().parse(), Ok(data));
    /// ```
    ReportData,
    64,
    "report data"
);

/// Report data that nobody could know before a moment, since it covers what was drawn or written then.
///
/// Reports of SEV-SNP and quotes of TDX hold no time. What dates them is what they were made for: evidence for a nonce is
/// no older than the nonce, and evidence for a statement no older than the statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DatedReportData {
    /// What the evidence must have been made for.
    pub report_data: ReportData,
    /// Since when it could have been, by the clock that the appraisal goes by.
    pub since: DateTime<Utc>,
}

/// What evidence must have been made for.
#[derive(Clone, Copy)]
pub(crate) enum Expectation<'a> {
    /// Nobody knows.
    Anything,
    /// This, whenever that was.
    Undated(&'a ReportData),
    /// This, since then.
    Dated(&'a DatedReportData),
}

impl<'a> Expectation<'a> {
    pub(crate) fn report_data(self) -> Option<&'a ReportData> {
        match self {
            Self::Anything => None,
            Self::Undated(report_data) => Some(report_data),
            Self::Dated(dated) => Some(&dated.report_data),
        }
    }

    pub(crate) fn since(self) -> Option<DateTime<Utc>> {
        match self {
            Self::Anything | Self::Undated(_) => None,
            Self::Dated(dated) => Some(dated.since),
        }
    }
}
