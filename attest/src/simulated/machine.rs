//! A program under a simulated platform.

use std::{fmt, sync::Arc};

use chrono::{DateTime, Utc};

use super::{platform::SimulatedPlatform, report::Report};
use crate::{
    attester::{AttestError, Attester},
    claims::{HostData, ProductId, SecurityVersion, SignerDigest, Vmpl},
    evidence::Evidence,
    measurement::Measurement,
    report_data::ReportData,
    tee::Tee,
};

/// How a simulated machine is launched; the default is what [`crate::Policy::simulated`] accepts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaunchConfig {
    /// The privilege level that asks for reports.
    pub vmpl: Vmpl,
    /// Whether the host may look in.
    pub debug: bool,
    /// What the host states.
    pub host_data: HostData,
    /// The layout number that reports carry; other than 1 is for tests of its refusal.
    pub report_version: u32,
    /// The program's security version.
    pub svn: SecurityVersion,
    /// The program's product.
    pub product_id: ProductId,
    /// Who signed the launch.
    pub signer: SignerDigest,
}

impl Default for LaunchConfig {
    fn default() -> Self {
        Self {
            vmpl: Vmpl::MOST_PRIVILEGED,
            debug: false,
            host_data: HostData::new([0; HostData::LEN]),
            report_version: Report::LAYOUT,
            svn: SecurityVersion(0),
            product_id: ProductId::new([0; ProductId::LEN]),
            signer: SignerDigest::new([0; SignerDigest::LEN]),
        }
    }
}

/// A program under a simulated platform: it gets its reports signed there.
#[derive(Clone)]
pub struct SimulatedMachine {
    platform: SimulatedPlatform,
    measurement: Measurement,
    config: LaunchConfig,
    clock: Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>,
}

impl SimulatedPlatform {
    /// Starts a machine that runs the program of this measurement. The platform takes the caller's
    /// word for it: that is what is simulated.
    pub fn launch(&self, measurement: Measurement, config: LaunchConfig) -> SimulatedMachine {
        SimulatedMachine {
            platform: self.clone(),
            measurement,
            config,
            clock: Arc::new(Utc::now),
        }
    }
}

impl SimulatedMachine {
    /// The same machine with another clock than the system's.
    #[must_use]
    pub fn with_clock(mut self, clock: impl Fn() -> DateTime<Utc> + Send + Sync + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// The platform that it runs on.
    pub fn platform(&self) -> &SimulatedPlatform {
        &self.platform
    }
}

impl Attester for SimulatedMachine {
    fn tee(&self) -> Tee {
        Tee::Simulated
    }

    fn measurement(&self) -> Option<Measurement> {
        Some(self.measurement)
    }

    fn attest(&self, report_data: &ReportData) -> Result<Evidence, AttestError> {
        let report = Report {
            layout: self.config.report_version,
            vmpl: self.config.vmpl,
            debug: self.config.debug,
            svn: self.config.svn,
            issued_at: (self.clock)(),
            product_id: self.config.product_id,
            measurement: self.measurement,
            signer: self.config.signer,
            host_data: self.config.host_data,
            report_data: *report_data,
            tcb: self.platform.tcb(),
            chip_id: self.platform.chip_id().clone(),
        };
        let tee = self.tee();
        let certificate = self.platform.encoded_certificate().to_vec();
        Evidence::new(tee, report.sign(self.platform.key()), vec![certificate])
            .map_err(|source| AttestError::Container { tee, source })
    }
}

impl fmt::Debug for SimulatedMachine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimulatedMachine")
            .field("measurement", &self.measurement)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
