//! Evidence of Intel TDX.

use std::{fmt, sync::Arc};

use crate::{
    appraise::danger_read_unverified,
    attester::{AttestError, Attester},
    configfs_tsm::{Provider, TsmFilesystem, request_report},
    evidence::Evidence,
    measurement::Measurement,
    report_data::ReportData,
    tee::Tee,
};

/// Has Intel's quoting enclave sign report data, through configfs-tsm.
///
/// Made by [`Machine::attester`](crate::Machine::attester). The device `/dev/tdx_guest` gives reports that only the
/// same machine can check, and is not used.
pub struct TdxAttester {
    filesystem: Arc<dyn TsmFilesystem>,
    measurement: Option<Measurement>,
}

impl TdxAttester {
    /// Asks for a first quote: a machine that gives none is found out before anybody waits for it.
    pub(super) fn configfs_tsm(filesystem: Arc<dyn TsmFilesystem>) -> Result<Self, AttestError> {
        let mut attester = Self {
            filesystem,
            measurement: None,
        };
        let first = attester.attest(&ReportData::new([0; ReportData::LEN]))?;
        attester.measurement = danger_read_unverified(&first)
            .ok()
            .map(|claims| claims.measurement);
        Ok(attester)
    }
}

impl Attester for TdxAttester {
    fn tee(&self) -> Tee {
        Tee::Tdx
    }

    fn measurement(&self) -> Option<Measurement> {
        self.measurement
    }

    fn attest(&self, report_data: &ReportData) -> Result<Evidence, AttestError> {
        let tee = self.tee();
        let filesystem = self.filesystem.as_ref();
        let data = report_data.as_bytes();
        let quote = request_report(filesystem, Provider::TdxGuest, None, data)
            .map_err(|source| AttestError::ConfigfsTsm { tee, source })?
            .outblob;
        match quoted_data(&quote) {
            None => Err(AttestError::Report {
                tee,
                expected: "a quote of version 4 or 5",
                got: format!(
                    "{} bytes that begin with {}",
                    quote.len(),
                    beginning(&quote)
                ),
            }),
            Some(quoted) if quoted != data => Err(AttestError::OtherReportData { tee }),
            Some(_) => Evidence::new(tee, quote, Vec::new())
                .map_err(|source| AttestError::Container { tee, source }),
        }
    }
}

impl fmt::Debug for TdxAttester {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TdxAttester")
            .field("measurement", &self.measurement)
            .finish_non_exhaustive()
    }
}

/// The report data of a quote.
///
/// Intel TDX DCAP Quoting Library API, appendix A.3 and A.4: a header of 48 bytes that begins with the version,
/// little-endian; in version 5 a type of 2 and a size of 4 bytes; then a body in which REPORTDATA stands at 520, in
/// TD 1.0 and TD 1.5 alike.
fn quoted_data(quote: &[u8]) -> Option<&[u8]> {
    let body = match quote.get(..2)? {
        [4, 0] => 48,
        [5, 0] => 48 + 6,
        _ => return None,
    };
    quote.get(body + 520..)?.get(..ReportData::LEN)
}

fn beginning(bytes: &[u8]) -> String {
    hex::encode(&bytes[..bytes.len().min(4)])
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::configfs_tsm::stand_in::{Maker, StandIn};

    /// An unsigned quote of the version.
    pub(in crate::hardware) fn quotes(version: u8) -> Maker {
        Box::new(move |data, _| {
            let at = if version == 5 { 574 } else { 568 };
            let mut quote = vec![0; 1000];
            quote[0] = version;
            quote[at..][..64].copy_from_slice(data);
            quote
        })
    }

    fn over(maker: Maker) -> Result<TdxAttester, AttestError> {
        TdxAttester::configfs_tsm(Arc::new(StandIn::tdx_guest(maker)))
    }

    #[test]
    fn evidence_carries_the_quote() {
        for version in [4, 5] {
            let attester = over(quotes(version)).unwrap();
            let evidence = attester.attest(&ReportData::new([7; 64])).unwrap();
            assert_eq!(evidence.tee(), Tee::Tdx);
            assert_eq!(evidence.report(), quotes(version)(&[7; 64], 0));
            assert!(evidence.endorsements().is_empty());
        }
    }

    #[test]
    fn cut_and_foreign_quotes_and_those_for_other_data_are_the_machines_fault() {
        let not_a_quote: [Maker; 4] = [
            quotes(3),
            Box::new(|_, _| Vec::new()),
            Box::new(|data, _| quotes(4)(data, 0)[..631].to_vec()),
            Box::new(|data, _| quotes(5)(data, 0)[..637].to_vec()),
        ];
        for maker in not_a_quote {
            let error = over(maker).unwrap_err();
            assert!(matches!(error, AttestError::Report { .. }), "{error}");
        }
        let error = over(Box::new(|_, _| quotes(4)(&[1; 64], 0))).unwrap_err();
        assert!(
            matches!(error, AttestError::OtherReportData { .. }),
            "{error}"
        );
        let long: Maker = Box::new(|data, _| {
            let mut quote = quotes(4)(data, 0);
            quote.resize(Evidence::MAX_REPORT + 1, 0);
            quote
        });
        assert!(matches!(over(long), Err(AttestError::Container { .. })));
    }
}
