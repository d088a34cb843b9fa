//! Evidence of AMD SEV-SNP.

use std::{fmt, sync::Arc};

use super::sev_guest::{ReportDevice, SevGuestDevice};
use crate::{
    appraise::danger_read_unverified,
    attester::{AttestError, Attester},
    claims::Vmpl,
    configfs_tsm::{Provider, TsmFilesystem, request_report},
    evidence::Evidence,
    measurement::Measurement,
    report_data::ReportData,
    snp::CertificateTable,
    tee::Tee,
};

/// Has the AMD security processor sign report data, through configfs-tsm or `/dev/sev-guest`.
///
/// Made by [`Machine::attester`](crate::Machine::attester).
pub struct SnpAttester {
    interface: Interface,
    level: Option<Vmpl>,
    measurement: Option<Measurement>,
}

enum Interface {
    ConfigfsTsm(Arc<dyn TsmFilesystem>),
    Device(Box<dyn ReportDevice>),
}

impl SnpAttester {
    pub(super) fn configfs_tsm(filesystem: Arc<dyn TsmFilesystem>) -> Result<Self, AttestError> {
        Self::new(Interface::ConfigfsTsm(filesystem))
    }

    pub(super) fn device() -> Result<Self, AttestError> {
        Self::new(Interface::Device(Box::new(SevGuestDevice)))
    }

    /// Asks for a first report: a machine that gives none is found out before anybody waits for it.
    fn new(interface: Interface) -> Result<Self, AttestError> {
        let mut attester = Self {
            interface,
            level: None,
            measurement: None,
        };
        let first = attester.attest(&ReportData::new([0; ReportData::LEN]))?;
        attester.measurement = danger_read_unverified(&first)
            .ok()
            .map(|claims| claims.measurement);
        Ok(attester)
    }

    /// The same attester, stating this privilege level in place of the most privileged one that the kernel allows.
    #[must_use]
    pub fn at_level(mut self, level: Vmpl) -> Self {
        self.level = Some(level);
        self
    }

    fn report(&self, data: &[u8; 64]) -> Result<(Vec<u8>, Vec<Vec<u8>>), AttestError> {
        let tee = self.tee();
        match &self.interface {
            Interface::ConfigfsTsm(filesystem) => {
                let provider = Provider::SevGuest;
                let report = request_report(filesystem.as_ref(), provider, self.level, data)
                    .map_err(|source| AttestError::ConfigfsTsm { tee, source })?;
                Ok((report.outblob, endorsements(&report.auxblob)))
            }
            Interface::Device(device) => {
                let level = self.level.unwrap_or(Vmpl::MOST_PRIVILEGED);
                Ok((device.report(data, level)?, Vec::new()))
            }
        }
    }
}

/// The certificates of the host's table. A table that cannot be read costs the host its certificates, not the machine
/// its evidence: a peer then takes the certificate from its own collateral, or refuses.
fn endorsements(table: &[u8]) -> Vec<Vec<u8>> {
    CertificateTable::parse(table)
        .map(|table| table.endorsements())
        .unwrap_or_default()
}

impl Attester for SnpAttester {
    fn tee(&self) -> Tee {
        Tee::SevSnp
    }

    fn measurement(&self) -> Option<Measurement> {
        self.measurement
    }

    fn attest(&self, report_data: &ReportData) -> Result<Evidence, AttestError> {
        let tee = self.tee();
        let (report, endorsements) = self.report(report_data.as_bytes())?;
        if report.len() != REPORT_LEN {
            return Err(AttestError::Report {
                tee,
                expected: "a report of 1184 bytes",
                got: format!("{} bytes", report.len()),
            });
        }
        if report[REPORT_DATA_AT..][..ReportData::LEN] != *report_data.as_bytes() {
            return Err(AttestError::OtherReportData { tee });
        }
        Evidence::new(tee, report, endorsements)
            .map_err(|source| AttestError::Container { tee, source })
    }
}

impl fmt::Debug for SnpAttester {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let interface = match self.interface {
            Interface::ConfigfsTsm(_) => "configfs-tsm",
            Interface::Device(_) => "/dev/sev-guest",
        };
        f.debug_struct("SnpAttester")
            .field("interface", &interface)
            .field("measurement", &self.measurement)
            .finish_non_exhaustive()
    }
}

/// SEV Secure Nested Paging Firmware ABI (AMD 56860), table "ATTESTATION_REPORT Structure": its length, and where
/// REPORT_DATA stands.
const REPORT_LEN: usize = 1184;
const REPORT_DATA_AT: usize = 0x50;

#[cfg(test)]
pub(super) mod tests {
    use std::io;

    use super::*;
    use crate::configfs_tsm::stand_in::{EBUSY, Fault, Maker, StandIn};

    /// An unsigned report: own checks look at its length and its report data.
    pub(in crate::hardware) fn reports() -> Maker {
        Box::new(|data, level| {
            let mut report = vec![0; REPORT_LEN];
            report[0x30] = level;
            report[REPORT_DATA_AT..][..64].copy_from_slice(data);
            report
        })
    }

    fn over(stand_in: StandIn) -> Result<SnpAttester, AttestError> {
        SnpAttester::configfs_tsm(Arc::new(stand_in))
    }

    #[test]
    fn evidence_carries_the_report_and_the_hosts_table() {
        // AMD 56421: entries of GUID, offset and length, up to one of zeros; the VCEK's GUID is
        // 63da758d-e664-4564-adc5-f4b93be8accd.
        let guid = hex::decode("63da758de6644564adc5f4b93be8accd").unwrap();
        let head = [
            &guid[..],
            &48_u32.to_le_bytes(),
            &3_u32.to_le_bytes(),
            &[0; 24],
        ]
        .concat();
        let table = [&head[..], &[7, 8, 9], &[0; 21]].concat();
        let attester = over(StandIn::sev_guest(reports(), table)).unwrap();
        let data = ReportData::new([7; 64]);
        let evidence = attester.attest(&data).unwrap();
        assert_eq!(evidence.tee(), Tee::SevSnp);
        assert_eq!(evidence.report()[0x50..0x90], [7; 64]);
        assert_eq!(evidence.endorsements(), [vec![7, 8, 9]]);

        for empty in [Vec::new(), vec![0; 4096], vec![5; 200]] {
            let attester = over(StandIn::sev_guest(reports(), empty)).unwrap();
            assert!(attester.attest(&data).unwrap().endorsements().is_empty());
        }
    }

    #[test]
    fn a_level_is_stated_where_one_is_named() {
        let attester = over(StandIn::sev_guest(reports(), Vec::new())).unwrap();
        let attester = attester.at_level(Vmpl::try_from(2).unwrap());
        let evidence = attester.attest(&ReportData::new([7; 64])).unwrap();
        assert_eq!(evidence.report()[0x30], 2);
    }

    #[test]
    fn a_cut_report_and_one_for_other_data_are_the_machines_fault() {
        let cut: Maker = Box::new(|data, level| {
            let mut report = reports()(data, level);
            report.pop();
            report
        });
        let error = over(StandIn::sev_guest(cut, Vec::new())).unwrap_err();
        assert!(matches!(error, AttestError::Report { .. }), "{error}");
        let other: Maker = Box::new(|_, level| reports()(&[1; 64], level));
        let error = over(StandIn::sev_guest(other, Vec::new())).unwrap_err();
        assert!(
            matches!(error, AttestError::OtherReportData { .. }),
            "{error}"
        );
        let busy = StandIn::sev_guest(reports(), Vec::new())
            .with(Fault::Errno("outblob", EBUSY), u32::MAX);
        let error = over(busy).unwrap_err();
        assert!(matches!(error, AttestError::ConfigfsTsm { .. }), "{error}");
    }

    struct StandInDevice(Result<Vec<u8>, io::ErrorKind>);

    impl ReportDevice for StandInDevice {
        fn report(&self, data: &[u8; 64], level: Vmpl) -> Result<Vec<u8>, AttestError> {
            let mut report = self.0.clone().map_err(|kind| AttestError::Unavailable {
                tee: Tee::SevSnp,
                reason: kind.to_string(),
            })?;
            report[0x30] = level.get();
            report[REPORT_DATA_AT..][..64].copy_from_slice(data);
            Ok(report)
        }
    }

    #[test]
    fn the_device_gives_the_same_report_without_a_table() {
        let device = |report| SnpAttester::new(Interface::Device(Box::new(StandInDevice(report))));
        let attester = device(Ok(vec![0; REPORT_LEN])).unwrap();
        let evidence = attester.attest(&ReportData::new([7; 64])).unwrap();
        assert_eq!(evidence.report()[0x50..0x90], [7; 64]);
        assert_eq!(evidence.report()[0x30], 0);
        assert!(evidence.endorsements().is_empty());
        assert!(device(Ok(vec![0; REPORT_LEN + 1])).is_err());
        assert!(device(Err(io::ErrorKind::PermissionDenied)).is_err());
    }
}
