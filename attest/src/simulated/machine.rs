//! A program under a simulated platform.

use std::{fmt, sync::Arc};

use chrono::{DateTime, Utc};

use super::{launch::LaunchConfig, platform::SimulatedPlatform, report::Report};
use crate::{
    attester::{AttestError, Attester},
    evidence::Evidence,
    measurement::Measurement,
    report_data::ReportData,
    tee::Tee,
};

/// A program under a simulated platform: it gets its reports signed there.
#[derive(Clone)]
pub struct SimulatedMachine {
    platform: SimulatedPlatform,
    measurement: Measurement,
    config: LaunchConfig,
    clock: Option<Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>>,
}

impl SimulatedPlatform {
    /// Starts a machine that runs the program of this measurement. The platform takes the caller's
    /// word for it: that is what is simulated.
    pub fn launch(&self, measurement: Measurement, config: LaunchConfig) -> SimulatedMachine {
        SimulatedMachine {
            platform: self.clone(),
            measurement,
            config,
            clock: Some(Arc::new(Utc::now)),
        }
    }
}

impl SimulatedMachine {
    /// The same machine with another clock than the system's.
    #[must_use]
    pub fn with_clock(mut self, clock: impl Fn() -> DateTime<Utc> + Send + Sync + 'static) -> Self {
        self.clock = Some(Arc::new(clock));
        self
    }

    /// The same machine, whose reports hold no time, as those of hardware do not.
    #[must_use]
    pub fn without_clock(self) -> Self {
        Self {
            clock: None,
            ..self
        }
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
        let hardware = self.platform.hardware();
        let launch = self
            .config
            .launch
            .as_ref()
            .unwrap_or_else(|| self.platform.launch_defaults());
        let platform =
            launch
                .claims(hardware, self.measurement)
                .ok_or(AttestError::LaunchOfAnotherKind {
                    launch: launch.kind(),
                })?;
        let report = Report {
            issued_at: self.clock.as_ref().map(|clock| clock()),
            measurement: self.measurement,
            report_data: *report_data,
            platform,
        };
        let tee = self.tee();
        let certificate = self.platform.encoded_certificate().to_vec();
        let report = report.sign(self.config.report_layout, self.platform.key());
        Evidence::new(tee, report, vec![certificate])
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
