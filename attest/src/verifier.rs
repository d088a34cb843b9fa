//! What each kind of TEE brings to the appraisal: one file that turns its raw bytes into genuine claims.

use chrono::{DateTime, Utc};

use crate::{
    check::{CheckList, Failure},
    claims::Claims,
    collateral::Collateral,
    evidence::Evidence,
    policy::Policy,
};

/// Establishes that a report is genuine, and reads it.
///
/// An implementation makes and records the checks from [`CheckName::ReportVersion`] to
/// [`CheckName::Revocation`], over the raw bytes, and stops at the first that fails: what follows would
/// read forged claims. All that the policy demands of the claims is compared afterwards, in one
/// place and one order for every kind of TEE.
///
/// [`CheckName::ReportVersion`]: crate::CheckName::ReportVersion
/// [`CheckName::Revocation`]: crate::CheckName::Revocation
pub(crate) trait Verifier: Sync {
    /// The claims of a genuine report.
    fn verify(
        &self,
        policy: &Policy,
        evidence: &Evidence,
        collateral: &Collateral,
        now: DateTime<Utc>,
        checks: &mut CheckList,
    ) -> Result<Claims, Failure>;

    /// The claims of a report whose signatures nobody looked at, for a person to read.
    fn read_unverified(&self, evidence: &Evidence) -> Result<Claims, String>;
}
