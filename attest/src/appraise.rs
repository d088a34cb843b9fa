//! From evidence to a verdict.

use std::fmt::Display;

use chrono::{DateTime, TimeDelta, Utc};
use subtle::ConstantTimeEq;

use crate::{
    claims::Claims,
    evidence::Evidence,
    policy::{Criterion, DebugRule, EvidenceAge, MAX_CLOCK_SKEW, Policy, PolicyError},
    report_data::ReportData,
    simulated::SimulatedVerifier,
    tee::Tee,
    verdict::{CheckList, CheckName, Failure, Refusal, Verdict},
    verifier::Verifier,
};

/// Decides whether evidence shows what the policy demands, for this report data and at this time.
///
/// The checks and their order are the same for every kind of TEE: policy, container, kind of TEE,
/// the report's genuineness (layout, root, certificate, signature, platform, validity), age, report
/// data, debugging, measurement, signer, product, security version, firmware, privilege level,
/// host data, chip. Up to the genuineness the first failure ends the appraisal, since what follows would read
/// forged claims; from there on all are made, so that a refusal lists everything there is to mend.
/// One failure anywhere refuses.
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
/// assert_eq!(appraise(&policy, &evidence, &expected, now)?.measurement, measurement);
///
/// let refusal = appraise(&policy, &evidence, &ReportData::new([8; 64]), now).unwrap_err();
/// assert_eq!(refusal.code(), "attestation-report-data");
/// # Ok(())
/// # }
/// ```
pub fn appraise(
    policy: &Policy,
    evidence: &Evidence,
    expected: &ReportData,
    now: DateTime<Utc>,
) -> Result<Verdict, Refusal> {
    let mut checks = CheckList::default();
    let outcome = examine(policy, evidence, expected, now, &mut checks);
    let (checks, first_failure) = checks.into_parts();
    match (outcome, first_failure) {
        (Ok(claims), None) => Ok(Verdict::new(claims, checks)),
        (Ok(_), Some(failure)) | (Err(failure), _) => Err(Refusal::new(failure, checks)),
    }
}

/// What evidence states about itself, with no signature looked at: to show to a person, never to decide by.
///
/// # Errors
/// A message where the kind of TEE is not built or the report is malformed.
pub fn danger_read_unverified(evidence: &Evidence) -> Result<Claims, String> {
    verifier(evidence.tee())
        .ok_or_else(|| format!("reports of {} are not read by this version", evidence.tee()))?
        .read_unverified(evidence)
}

/// The one place where a new kind of TEE is put in, besides [`Tee::is_built`].
fn verifier(tee: Tee) -> Option<&'static dyn Verifier> {
    match tee {
        Tee::Simulated => Some(&SimulatedVerifier),
        Tee::SevSnp | Tee::Tdx => None,
    }
}

fn examine(
    policy: &Policy,
    evidence: &Evidence,
    expected: &ReportData,
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
        one_of(&policy.tees),
        tee,
    )?;
    let Some(verifier) = verifier(tee) else {
        return Err(checks.fail(
            CheckName::VerifierBuilt,
            "a kind of TEE that this version verifies",
            tee,
        ));
    };
    let claims = verifier.verify(policy, evidence, now, checks)?;
    check_age(policy, &claims, now, checks);
    check_claims(policy, &claims, expected, checks);
    Ok(claims)
}

fn check_policy(policy: &Policy, checks: &mut CheckList) -> Result<(), Failure> {
    let expected = "a policy that this version enforces";
    match policy.check() {
        Ok(()) => {
            checks.record(CheckName::Policy, true, expected, expected);
            Ok(())
        }
        Err(error @ PolicyError::NotBuilt { .. }) => {
            Err(checks.fail(CheckName::VerifierBuilt, expected, error))
        }
        Err(error) => Err(checks.fail(CheckName::Policy, expected, error)),
    }
}

fn check_age(policy: &Policy, claims: &Claims, now: DateTime<Utc>, checks: &mut CheckList) {
    let expected = |limit: &EvidenceAge| {
        format!(
            "at most {limit} old and at most {} s ahead",
            MAX_CLOCK_SKEW.num_seconds()
        )
    };
    match (policy.maximum_age_seconds.stated(), claims.issued_at) {
        (None, issued_at) => checks.skip(CheckName::Age, or_not_stated(issued_at)),
        (Some(limit), None) => checks.record(CheckName::Age, false, expected(limit), NOT_STATED),
        (Some(limit), Some(issued_at)) => {
            let age = now.signed_duration_since(issued_at);
            checks.record(
                CheckName::Age,
                age >= -MAX_CLOCK_SKEW && age <= TimeDelta::seconds(limit.0.into()),
                expected(limit),
                match age.num_seconds() {
                    ahead @ ..0 => format!("{} s ahead ({issued_at})", -ahead),
                    seconds => format!("{seconds} s old ({issued_at})"),
                },
            );
        }
    }
}

fn check_claims(policy: &Policy, claims: &Claims, expected: &ReportData, checks: &mut CheckList) {
    checks.record(
        CheckName::ReportData,
        bool::from(claims.report_data.as_bytes().ct_eq(expected.as_bytes())),
        expected,
        claims.report_data,
    );
    match policy.debug {
        DebugRule::Forbidden => {
            checks.record(CheckName::Debug, !claims.debug, "off", on_off(claims.debug))
        }
        DebugRule::Allowed => checks.skip(CheckName::Debug, on_off(claims.debug)),
    }
    let measurement = Some(&claims.measurement);
    check_listed(
        CheckName::Measurement,
        &policy.measurements,
        measurement,
        checks,
    );
    check_listed(
        CheckName::Signer,
        &policy.signers,
        claims.signer.as_ref(),
        checks,
    );
    check_one(
        CheckName::ProductId,
        &policy.product_id,
        claims.product_id.as_ref(),
        checks,
    );
    check(
        CheckName::SecurityVersion,
        &policy.minimum_svn,
        claims.svn.as_ref(),
        |least, got| got >= least,
        |least| format!("{least} or later"),
        checks,
    );
    check(
        CheckName::Tcb,
        &policy.minimum_tcb,
        claims.tcb.as_ref(),
        |least, got| got.meets(least),
        |least| format!("{least} or later in each part"),
        checks,
    );
    check_listed(CheckName::Vmpl, &policy.vmpls, claims.vmpl.as_ref(), checks);
    check_one(
        CheckName::HostData,
        &policy.host_data,
        claims.host_data.as_ref(),
        checks,
    );
    check_listed(
        CheckName::ChipId,
        &policy.chip_ids,
        claims.chip_id.as_ref(),
        checks,
    );
}

fn check_listed<T: PartialEq + Display>(
    name: CheckName,
    criterion: &Criterion<Vec<T>>,
    claim: Option<&T>,
    checks: &mut CheckList,
) {
    check(
        name,
        criterion,
        claim,
        |list, got| list.contains(got),
        |list| one_of(list),
        checks,
    );
}

fn check_one<T: PartialEq + Display>(
    name: CheckName,
    criterion: &Criterion<T>,
    claim: Option<&T>,
    checks: &mut CheckList,
) {
    check(
        name,
        criterion,
        claim,
        |wanted, got| wanted == got,
        T::to_string,
        checks,
    );
}

/// A criterion that is stated fails where the TEE makes no such claim.
fn check<C, T: Display>(
    name: CheckName,
    criterion: &Criterion<C>,
    claim: Option<&T>,
    holds: impl Fn(&C, &T) -> bool,
    describe: impl Fn(&C) -> String,
    checks: &mut CheckList,
) {
    match criterion {
        Criterion::Any => checks.skip(name, or_not_stated(claim)),
        Criterion::Stated(wanted) => checks.record(
            name,
            claim.is_some_and(|got| holds(wanted, got)),
            describe(wanted),
            or_not_stated(claim),
        ),
    }
}

/// The entries of a list, as many as help: a list of a thousand chips would hide what came.
fn one_of<T: Display>(list: &[T]) -> String {
    const SHOWN: usize = 4;
    let shown: Vec<String> = list.iter().take(SHOWN).map(T::to_string).collect();
    let shown = shown.join(" or ");
    match list.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} or one of {more} more"),
    }
}

fn or_not_stated(claim: Option<impl Display>) -> String {
    claim.map_or_else(|| NOT_STATED.to_owned(), |claim| claim.to_string())
}

const fn on_off(on: bool) -> &'static str {
    if on { "on" } else { "off" }
}

const NOT_STATED: &str = "nothing: reports of this TEE do not state it";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_built_where_and_only_where_it_has_a_verifier() {
        for tee in Tee::ALL {
            assert_eq!(verifier(tee).is_some(), tee.is_built(), "{tee}");
        }
    }

    #[test]
    fn a_long_list_is_shown_in_part() {
        assert_eq!(one_of(&[1, 2]), "1 or 2");
        assert_eq!(
            one_of(&[1, 2, 3, 4, 5, 6]),
            "1 or 2 or 3 or 4 or one of 2 more"
        );
    }

    #[test]
    fn a_demand_that_the_tee_cannot_answer_fails() {
        let mut checks = CheckList::default();
        check_one::<u8>(
            CheckName::HostData,
            &Criterion::Stated(1),
            None,
            &mut checks,
        );
        check_one::<u8>(CheckName::ProductId, &Criterion::Any, None, &mut checks);
        let (checks, failure) = checks.into_parts();
        assert!(failure.is_some());
        assert_eq!(checks[0].got, NOT_STATED);
        assert_eq!(checks[1].result, crate::CheckResult::NotChecked);
    }
}
