//! From evidence to a verdict.

use chrono::{DateTime, Utc};

use crate::{
    check::{CheckList, Failure},
    check_name::CheckName,
    claims::Claims,
    collateral::Collateral,
    criteria,
    evidence::Evidence,
    policy::Policy,
    report_data::{DatedReportData, Expectation, ReportData},
    simulated::SimulatedVerifier,
    snp::SnpVerifier,
    tdx::TdxVerifier,
    tee::Tee,
    tier::assess,
    verdict::{Refusal, Verdict},
    verifier::Verifier,
};

/// Decides whether evidence shows what the policy demands, for this report data and at this time.
///
/// Endorsements that come with the evidence are looked at first, then the collateral; no file is opened.
///
/// The checks and their order are the same for every kind of TEE: policy, container, kind of TEE,
/// the report's genuineness (layout, root, certificate, signature, platform, validity, revocation), age, report
/// data, debugging, measurement, signer, product, security version; then what the kind of platform alone states
/// ([`CheckName::ALL`] lists it), and the security tier. Up to the genuineness the first failure ends the appraisal,
/// since what follows would read forged claims; from there on all are made, so that a refusal lists everything there is
/// to mend. One failure anywhere refuses.
///
/// # Errors
/// [`Refusal`], which names the first check that failed.
///
/// ```
/// # use tributary_attest::*;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let now = chrono::Utc::now();
/// let root = SimulatedRoot::generate()?;
/// let platform = root.certify(PlatformConfig::new("agent-1", now)?)?;
/// let measurement = Measurement::of_bytes(b"the program");
/// let machine = platform.launch(measurement, LaunchConfig::default());
///
/// let expected = ReportData::new([7; 64]);
/// let evidence = machine.attest(&expected)?;
/// let policy = Policy::simulated(root.public_key(), [measurement]);
/// let collateral = Collateral::empty();
/// assert_eq!(appraise(&policy, &evidence, &expected, &collateral, now)?.measurement, measurement);
///
/// let other = ReportData::new([8; 64]);
/// let refusal = appraise(&policy, &evidence, &other, &collateral, now).unwrap_err();
/// assert_eq!(refusal.code(), "attestation-report-data");
/// # Ok(())
/// # }
/// ```
pub fn appraise(
    policy: &Policy,
    evidence: &Evidence,
    expected: &ReportData,
    collateral: &Collateral,
    now: DateTime<Utc>,
) -> Result<Verdict, Refusal> {
    let expected = Expectation::Undated(expected);
    decide(policy, evidence, expected, collateral, now)
}

/// The same for report data of which is known since when it could be: evidence that holds no time itself, as no hardware's
/// does, is then at most as old, which is what a policy's `maximum_age_seconds` asks.
///
/// The attested channel appraises so, since its report data covers a nonce of each side.
///
/// # Errors
/// [`Refusal`], which names the first check that failed.
pub fn appraise_dated(
    policy: &Policy,
    evidence: &Evidence,
    expected: &DatedReportData,
    collateral: &Collateral,
    now: DateTime<Utc>,
) -> Result<Verdict, Refusal> {
    let expected = Expectation::Dated(expected);
    decide(policy, evidence, expected, collateral, now)
}

/// The same without expected report data, for evidence in a file of which nobody knows what it was made for: that check
/// is recorded as not made. A connection must never be trusted by it, since anybody's evidence would do.
///
/// # Errors
/// [`Refusal`], which names the first check that failed.
pub fn danger_appraise_any_report_data(
    policy: &Policy,
    evidence: &Evidence,
    collateral: &Collateral,
    now: DateTime<Utc>,
) -> Result<Verdict, Refusal> {
    decide(policy, evidence, Expectation::Anything, collateral, now)
}

fn decide(
    policy: &Policy,
    evidence: &Evidence,
    expected: Expectation<'_>,
    collateral: &Collateral,
    now: DateTime<Utc>,
) -> Result<Verdict, Refusal> {
    let mut checks = CheckList::default();
    let genuine = examine(policy, evidence, collateral, now, &mut checks).map(|claims| {
        let assessment = assess(&claims);
        criteria::check(policy, &claims, &assessment, expected, now, &mut checks);
        (claims, assessment)
    });
    let (checks, first_failure) = checks.into_parts();
    let (failure, genuine) = match (genuine, first_failure) {
        (Ok((claims, assessment)), None) => return Ok(Verdict::new(claims, assessment, checks)),
        (Ok((claims, assessment)), Some(failure)) => {
            (failure, Some((claims.measurement, assessment)))
        }
        (Err(failure), _) => (failure, None),
    };
    Err(Refusal::new(evidence.tee(), failure, genuine, checks))
}

/// What evidence states about itself, with no signature looked at: to show to a person, never to decide by.
///
/// # Errors
/// A message where the report is malformed.
pub fn danger_read_unverified(evidence: &Evidence) -> Result<Claims, String> {
    verifier(evidence.tee()).read_unverified(evidence)
}

/// The one place where a new kind of TEE is put in.
fn verifier(tee: Tee) -> &'static dyn Verifier {
    match tee {
        Tee::Simulated => &SimulatedVerifier,
        Tee::SevSnp => &SnpVerifier,
        Tee::Tdx => &TdxVerifier,
    }
}

/// Establishes that the evidence may be looked at and is genuine.
fn examine(
    policy: &Policy,
    evidence: &Evidence,
    collateral: &Collateral,
    now: DateTime<Utc>,
    checks: &mut CheckList,
) -> Result<Claims, Failure> {
    check_policy(policy, checks)?;
    checks.require(
        CheckName::Container,
        evidence.encoded_len() <= Evidence::MAX_ENCODED,
        format!("at most {} bytes", Evidence::MAX_ENCODED),
        format!("{} bytes", evidence.encoded_len()),
    )?;
    let tee = evidence.tee();
    checks.require(
        CheckName::TeeAllowed,
        policy.tees.contains(&tee),
        criteria::list_words(&policy.tees),
        tee,
    )?;
    verifier(tee).verify(policy, evidence, collateral, now, checks)
}

fn check_policy(policy: &Policy, checks: &mut CheckList) -> Result<(), Failure> {
    let expected = "a policy that this version enforces";
    match policy.check() {
        Ok(()) => {
            checks.record(CheckName::Policy, true, expected, expected);
            Ok(())
        }
        Err(error) => Err(checks.fail(CheckName::Policy, expected, error)),
    }
}
