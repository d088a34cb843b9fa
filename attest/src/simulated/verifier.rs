//! Establishes that a simulated report is genuine.

use chrono::{DateTime, Utc};

use super::{certificate::Certificate, report::Report};
use crate::{
    claims::Claims,
    evidence::Evidence,
    policy::Policy,
    verdict::{CheckList, CheckName, Failure},
    verifier::Verifier,
    wire::WireError,
};

/// Expects one endorsement, the platform's certificate.
pub(crate) struct SimulatedVerifier;

impl Verifier for SimulatedVerifier {
    fn verify(
        &self,
        policy: &Policy,
        evidence: &Evidence,
        now: DateTime<Utc>,
        checks: &mut CheckList,
    ) -> Result<Claims, Failure> {
        let (report, certificate, encoded) = read(evidence, checks)?;
        check_chain(policy, evidence.report(), &certificate, encoded, checks)?;
        check_platform(&report, &certificate, checks)?;
        check_validity(&report, &certificate, now, checks)?;
        Ok(report.into_claims())
    }

    fn read_unverified(&self, evidence: &Evidence) -> Result<Claims, String> {
        Report::parse(evidence.report())
            .map(Report::into_claims)
            .map_err(|error| error.to_string())
    }
}

fn read<'a>(
    evidence: &'a Evidence,
    checks: &mut CheckList,
) -> Result<(Report, Certificate, &'a [u8]), Failure> {
    let version = CheckName::ReportVersion;
    let layout = Report::read_layout(evidence.report())
        .map_err(|error| checks.fail(version, Report::LAYOUT, error))?;
    checks.require(version, layout == Report::LAYOUT, Report::LAYOUT, layout)?;

    let expected = "a simulated report and one certificate, well formed";
    let [encoded] = evidence.endorsements() else {
        let got = format!("{} endorsements", evidence.endorsements().len());
        return Err(checks.fail(CheckName::Format, expected, got));
    };
    let parsed = Report::parse(evidence.report())
        .and_then(|report| Ok::<_, WireError>((report, Certificate::parse(encoded)?)));
    let (report, certificate) =
        parsed.map_err(|error| checks.fail(CheckName::Format, expected, error))?;
    checks.record(CheckName::Format, true, expected, "both");
    Ok((report, certificate, encoded))
}

fn check_chain(
    policy: &Policy,
    report: &[u8],
    certificate: &Certificate,
    encoded: &[u8],
    checks: &mut CheckList,
) -> Result<(), Failure> {
    let root = certificate.root;
    let named = policy.simulated_roots.contains(&root);
    let roots: Vec<String> = policy
        .simulated_roots
        .iter()
        .map(ToString::to_string)
        .collect();
    checks.require(CheckName::Root, named, roots.join(" or "), root)?;

    let signed = root
        .verifying_key()
        .is_some_and(|key| Certificate::is_signed_by(encoded, &key));
    let expected = format!("a certificate signed by {root}");
    let got = if signed {
        "such a certificate"
    } else {
        "a signature that does not verify"
    };
    checks.require(CheckName::Certificate, signed, expected, got)?;

    let signed = ed25519_dalek::VerifyingKey::from_bytes(&certificate.platform_key)
        .is_ok_and(|key| Report::is_signed_by(report, &key));
    let expected = format!("a report signed by the platform {:?}", certificate.name);
    let got = if signed {
        "such a report"
    } else {
        "a signature that does not verify"
    };
    checks.require(CheckName::ReportSignature, signed, expected, got)
}

/// A platform's key outlives changes of its firmware only by a new certificate, as a VCEK does.
fn check_platform(
    report: &Report,
    certificate: &Certificate,
    checks: &mut CheckList,
) -> Result<(), Failure> {
    checks.require(
        CheckName::PlatformBinding,
        report.chip_id == certificate.chip_id && report.tcb == certificate.tcb,
        format!("chip {} with {}", certificate.chip_id, certificate.tcb),
        format!("chip {} with {}", report.chip_id, report.tcb),
    )
}

fn check_validity(
    report: &Report,
    certificate: &Certificate,
    now: DateTime<Utc>,
    checks: &mut CheckList,
) -> Result<(), Failure> {
    let valid = certificate.not_before..=certificate.not_after;
    checks.require(
        CheckName::Validity,
        valid.contains(&now) && valid.contains(&report.issued_at),
        format!("{} to {}", certificate.not_before, certificate.not_after),
        format!("now {now}, report made {}", report.issued_at),
    )
}
