//! The 64 bytes that a TEE signs on behalf of the program inside it.

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
