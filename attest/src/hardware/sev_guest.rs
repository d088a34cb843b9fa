//! Reports through the device `/dev/sev-guest`, for kernels older than configfs-tsm.

use std::path::Path;

use sev::firmware::guest::Firmware;

use crate::{attester::AttestError, claims::Vmpl, tee::Tee};

/// What asks the device, so that tests can stand in for it.
pub(super) trait ReportDevice: Send + Sync {
    /// The report for the data at the level.
    fn report(&self, data: &[u8; 64], level: Vmpl) -> Result<Vec<u8>, AttestError>;
}

/// The kernel's device.
///
/// Only the report is asked for, not the certificate table: the host writes the table's offsets, and the package `sev`
/// follows them with raw pointers. The certificate comes from the peer's collateral then.
pub(super) struct SevGuestDevice;

impl SevGuestDevice {
    pub(super) const PATH: &str = "/dev/sev-guest";

    /// Whether the device is there.
    pub(super) fn is_here() -> bool {
        Path::new(Self::PATH).exists()
    }
}

impl ReportDevice for SevGuestDevice {
    fn report(&self, data: &[u8; 64], level: Vmpl) -> Result<Vec<u8>, AttestError> {
        let unavailable = |reason: String| AttestError::Unavailable {
            tee: Tee::SevSnp,
            reason: format!("{}: {reason}", Self::PATH),
        };
        // The call opens the device by its fixed path and holds it for one request.
        let mut device = Firmware::open().map_err(|error| unavailable(error.to_string()))?;
        device
            .get_report(None, Some(*data), Some(level.get().into()))
            .map_err(|error| unavailable(error.to_string()))
    }
}
