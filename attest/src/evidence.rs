//! The container in which evidence travels.

use std::fmt;

use crate::{
    tee::Tee,
    wire::{Reader, WireError, put_prefixed},
};

/// What a TEE says about a program, and what vouches for the TEE.
///
/// The container is not trusted and not interpreted: it carries the report byte for byte as the
/// platform signed it. Encoding, integers big-endian:
///
/// ```text
/// "TRBEVID" | version 1 (1) | tee (1) | report length (2) | report
///           | endorsement count (1) | each: length (2), endorsement
/// ```
///
/// ```
/// # use tributary_attest::{Evidence, Tee};
/// let evidence = Evidence::new(Tee::Simulated, vec![1, 2, 3], vec![vec![4, 5]])?;
/// assert_eq!(Evidence::from_bytes(&evidence.to_bytes())?, evidence);
/// # Ok::<(), tributary_attest::EvidenceError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Evidence {
    tee: Tee,
    report: Vec<u8>,
    endorsements: Vec<Vec<u8>>,
}

impl Evidence {
    /// The most bytes that an encoded container may have: a TDX quote with its collateral takes about 20 KiB.
    pub const MAX_ENCODED: usize = 64 * 1024;
    /// The most bytes that a report may have: an SEV-SNP report takes 1,184, a TDX quote about 5,000.
    pub const MAX_REPORT: usize = 16 * 1024;
    /// The most bytes that one endorsement may have.
    pub const MAX_ENDORSEMENT: usize = 32 * 1024;
    /// The most endorsements: no vendor's chain with its revocation lists has more parts.
    pub const MAX_ENDORSEMENTS: usize = 8;

    /// Puts a report and what endorses it into a container.
    ///
    /// # Errors
    /// [`EvidenceError`] where a part is empty or over its limit.
    pub fn new(
        tee: Tee,
        report: Vec<u8>,
        endorsements: Vec<Vec<u8>>,
    ) -> Result<Self, EvidenceError> {
        check_length("the report", report.len(), Self::MAX_REPORT)?;
        check_count(endorsements.len())?;
        for endorsement in &endorsements {
            check_length("an endorsement", endorsement.len(), Self::MAX_ENDORSEMENT)?;
        }
        let evidence = Self {
            tee,
            report,
            endorsements,
        };
        check_length("evidence", evidence.encoded_len(), Self::MAX_ENCODED)?;
        Ok(evidence)
    }

    /// The kind of TEE that the container names; a claim until appraised.
    pub fn tee(&self) -> Tee {
        self.tee
    }

    /// The report as the platform signed it.
    pub fn report(&self) -> &[u8] {
        &self.report
    }

    /// What vouches for the report's signer, in the order that the TEE's verifier expects.
    pub fn endorsements(&self) -> &[Vec<u8>] {
        &self.endorsements
    }

    /// The encoding that [`Evidence::from_bytes`] reads.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.encoded_len());
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&[VERSION, self.tee.to_code()]);
        put_prefixed(&mut out, &self.report);
        out.push(self.endorsements.len() as u8);
        for endorsement in &self.endorsements {
            put_prefixed(&mut out, endorsement);
        }
        out
    }

    /// Reads a container; takes exactly what [`Evidence::to_bytes`] writes.
    ///
    /// # Errors
    /// [`EvidenceError`] where the bytes are too many, malformed, of another version or of an unknown TEE.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, EvidenceError> {
        check_length("evidence", bytes.len(), Self::MAX_ENCODED)?;
        let mut reader = Reader::new(bytes);
        reader.expect("the mark of evidence", MAGIC)?;
        let version = reader.u8("the version of evidence")?;
        if version != VERSION {
            return Err(WireError::value("the version of evidence", VERSION, version).into());
        }
        let code = reader.u8("the kind of TEE")?;
        let tee = Tee::from_code(code)
            .ok_or_else(|| WireError::value("the kind of TEE", "1, 2 or 3", code))?;
        let report = reader.prefixed("the report", 1..=Self::MAX_REPORT)?;
        let count = usize::from(reader.u8("the number of endorsements")?);
        check_count(count)?;
        let mut endorsements = Vec::with_capacity(count);
        for _ in 0..count {
            let endorsement = reader.prefixed("an endorsement", 1..=Self::MAX_ENDORSEMENT)?;
            endorsements.push(endorsement.to_vec());
        }
        reader.finish("evidence")?;
        Ok(Self {
            tee,
            report: report.to_vec(),
            endorsements,
        })
    }

    pub(crate) fn encoded_len(&self) -> usize {
        let endorsements: usize = self.endorsements.iter().map(|e| 2 + e.len()).sum();
        MAGIC.len() + 2 + 2 + self.report.len() + 1 + endorsements
    }
}

impl fmt::Debug for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let endorsements: Vec<usize> = self.endorsements.iter().map(Vec::len).collect();
        f.debug_struct("Evidence")
            .field("tee", &self.tee)
            .field("report_bytes", &self.report.len())
            .field("endorsement_bytes", &endorsements)
            .finish()
    }
}

/// Why bytes are not evidence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("malformed evidence: {0}")]
pub struct EvidenceError(WireError);

impl From<WireError> for EvidenceError {
    fn from(error: WireError) -> Self {
        Self(error)
    }
}

fn check_length(what: &'static str, got: usize, max: usize) -> Result<(), EvidenceError> {
    if (1..=max).contains(&got) {
        return Ok(());
    }
    Err(EvidenceError(WireError::Length {
        what,
        min: 1,
        max,
        got,
    }))
}

fn check_count(got: usize) -> Result<(), EvidenceError> {
    if got <= Evidence::MAX_ENDORSEMENTS {
        return Ok(());
    }
    let most = format!("at most {}", Evidence::MAX_ENDORSEMENTS);
    Err(WireError::value("the number of endorsements", most, got).into())
}

const MAGIC: &[u8] = b"TRBEVID";
const VERSION: u8 = 1;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample() -> Evidence {
        Evidence::new(Tee::Tdx, vec![9; 40], vec![vec![1], vec![2, 3]]).unwrap()
    }

    #[test]
    fn every_truncation_and_every_addition_is_refused() {
        let bytes = sample().to_bytes();
        assert_eq!(bytes.len(), sample().encoded_len());
        for end in 0..bytes.len() {
            assert!(Evidence::from_bytes(&bytes[..end]).is_err(), "{end}");
        }
        let mut longer = bytes;
        longer.push(0);
        let error = Evidence::from_bytes(&longer).unwrap_err().to_string();
        assert_eq!(
            error,
            "malformed evidence: expected the end of evidence, got 1 more bytes"
        );
    }

    #[test]
    fn another_version_mark_or_tee_is_refused() {
        for (at, value) in [(0, b'X'), (7, 2), (8, 0), (8, 4)] {
            let mut bytes = sample().to_bytes();
            bytes[at] = value;
            assert!(Evidence::from_bytes(&bytes).is_err(), "byte {at} = {value}");
        }
    }

    #[test]
    fn limits_hold_when_made_and_when_read() {
        let tee = Tee::Simulated;
        assert!(Evidence::new(tee, vec![], vec![]).is_err());
        assert!(Evidence::new(tee, vec![0; Evidence::MAX_REPORT + 1], vec![]).is_err());
        assert!(Evidence::new(tee, vec![0], vec![vec![]]).is_err());
        assert!(
            Evidence::new(tee, vec![0], vec![vec![0]; Evidence::MAX_ENDORSEMENTS + 1]).is_err()
        );
        assert!(Evidence::new(tee, vec![0], vec![vec![0; Evidence::MAX_ENDORSEMENT + 1]]).is_err());
        // Two endorsements within their own limit, together over the container's.
        assert!(Evidence::new(tee, vec![0], vec![vec![0; Evidence::MAX_ENDORSEMENT]; 2]).is_err());
        let largest = Evidence::new(
            tee,
            vec![0; Evidence::MAX_REPORT],
            vec![vec![0; 48_000 - 16_384]; 1],
        );
        let bytes = largest.unwrap().to_bytes();
        assert!(Evidence::from_bytes(&bytes).is_ok());
        assert!(Evidence::from_bytes(&vec![0; Evidence::MAX_ENCODED + 1]).is_err());
    }

    #[test]
    fn debug_output_shows_sizes_only() {
        assert_eq!(
            format!("{:?}", sample()),
            "Evidence { tee: Tdx, report_bytes: 40, endorsement_bytes: [1, 2] }"
        );
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(
            tee in prop::sample::select(Tee::ALL.to_vec()),
            report in prop::collection::vec(any::<u8>(), 1..2000),
            endorsements in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..500), 0..=8),
        ) {
            let evidence = Evidence::new(tee, report, endorsements).unwrap();
            prop_assert_eq!(Evidence::from_bytes(&evidence.to_bytes()).unwrap(), evidence);
        }

        #[test]
        fn arbitrary_bytes_never_panic_and_have_one_spelling(
            tail in prop::collection::vec(any::<u8>(), 0..300),
            marked: bool,
        ) {
            let mut bytes = if marked { b"TRBEVID\x01\x01".to_vec() } else { Vec::new() };
            bytes.extend(tail);
            if let Ok(evidence) = Evidence::from_bytes(&bytes) {
                prop_assert_eq!(evidence.to_bytes(), bytes);
            }
        }
    }
}
