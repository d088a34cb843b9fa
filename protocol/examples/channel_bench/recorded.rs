//! What verifying evidence of real hardware adds to a handshake.

use std::{error::Error, fs, path::PathBuf, sync::Arc};

use chrono::{DateTime, Utc};
use tributary_attest::{
    AttestError, Attester, Collateral, Evidence, Measurement, Policy, ReportData, Tee, appraise,
    danger_read_unverified,
};

/// A real SEV-SNP report and its certificate, made once by some machine.
///
/// Its report data is of another occasion, so no channel would take it, and none must. To measure what it
/// costs all the same, each side appraises it in full, for the report data that it states, at the
/// moment when it makes its own simulated evidence. The channel itself attests by the simulated evidence.
pub(crate) struct RecordedSnp {
    encoded: Vec<u8>,
    report_data: ReportData,
    policy: Policy,
    now: DateTime<Utc>,
    /// `None` where each appraisal starts without a remembered chain.
    shared: Option<Collateral>,
}

impl RecordedSnp {
    pub(crate) fn read(remember_chains: bool) -> Result<Self, Box<dyn Error>> {
        let folder = std::env::var_os("TRIBUTARY_SHARED").map_or_else(
            || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared"),
            PathBuf::from,
        );
        let read = |name: &str| fs::read(folder.join("vectors/snp").join(name));
        let endorsements = vec![read("genoa-v5.vcek.pem")?];
        let evidence = Evidence::new(Tee::SevSnp, read("genoa-v5.report.bin")?, endorsements)?;
        let recorded = Self {
            encoded: evidence.to_bytes(),
            report_data: danger_read_unverified(&evidence)?.report_data,
            policy: Policy::default_for_verify(),
            now: "2025-09-01T00:00:00Z".parse()?,
            shared: remember_chains.then(Collateral::empty),
        };
        recorded.appraise();
        Ok(recorded)
    }

    fn appraise(&self) {
        let fresh;
        let collateral = match &self.shared {
            Some(shared) => shared,
            None => {
                fresh = Collateral::empty();
                &fresh
            }
        };
        let accepted = Evidence::from_bytes(&self.encoded).is_ok_and(|evidence| {
            appraise(
                &self.policy,
                &evidence,
                &self.report_data,
                collateral,
                self.now,
            )
            .is_ok()
        });
        assert!(accepted, "the recorded evidence is genuine");
    }
}

/// Makes simulated evidence, and appraises the recorded evidence once each time.
pub(crate) struct WithRecorded {
    pub(crate) inner: Arc<dyn Attester>,
    pub(crate) recorded: Arc<RecordedSnp>,
}

impl Attester for WithRecorded {
    fn tee(&self) -> Tee {
        self.inner.tee()
    }

    fn measurement(&self) -> Option<Measurement> {
        self.inner.measurement()
    }

    fn attest(&self, report_data: &ReportData) -> Result<Evidence, AttestError> {
        self.recorded.appraise();
        self.inner.attest(report_data)
    }
}
