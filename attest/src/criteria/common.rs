//! What a policy asks of every kind of TEE.

use chrono::{DateTime, TimeDelta, Utc};
use subtle::ConstantTimeEq;

use super::compare::{check_least, check_listed, check_one, on_off, or_not_stated};
use crate::{
    check::CheckList,
    check_name::CheckName,
    claims::Claims,
    policy::{CodeRule, DebugRule, MAX_CLOCK_SKEW, Policy},
    report_data::Expectation,
};

pub(super) fn check(
    policy: &Policy,
    claims: &Claims,
    expected: Expectation<'_>,
    now: DateTime<Utc>,
    checks: &mut CheckList,
) {
    let expected_data = expected.report_data();
    let answers = expected_data
        .is_some_and(|data| claims.report_data.as_bytes().ct_eq(data.as_bytes()).into());
    // What was made for something else is not dated by this.
    let answered = expected.since().filter(|_| answers);
    check_age(policy, claims, answered, now, checks);
    match expected_data {
        None => checks.skip(CheckName::ReportData, claims.report_data),
        Some(data) => checks.record(CheckName::ReportData, answers, data, claims.report_data),
    }
    match policy.debug {
        DebugRule::Forbidden => {
            checks.record(CheckName::Debug, !claims.debug, "off", on_off(claims.debug))
        }
        DebugRule::Allowed => checks.skip(CheckName::Debug, on_off(claims.debug)),
    }
    check_code(policy, claims, checks);
    check_one(
        CheckName::ProductId,
        &policy.product_id,
        claims.product_id.as_ref(),
        checks,
    );
    check_least(
        CheckName::SecurityVersion,
        &policy.minimum_svn,
        claims.svn.as_ref(),
        checks,
    );
}

/// By the time that the evidence states; where it states none, by what it was made for.
fn check_age(
    policy: &Policy,
    claims: &Claims,
    answered: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
    checks: &mut CheckList,
) {
    let issued_at = claims.issued_at;
    let Some(limit) = policy.maximum_age_seconds.stated() else {
        return checks.skip(CheckName::Age, or_not_stated(issued_at));
    };
    let most = TimeDelta::seconds(limit.0.into());
    let ahead = MAX_CLOCK_SKEW.num_seconds();
    let (passed, expected, got) = match (issued_at, answered) {
        (Some(issued_at), _) => {
            let age = now.signed_duration_since(issued_at);
            (
                age >= -MAX_CLOCK_SKEW && age <= most,
                format!("at most {limit} old and at most {ahead} s ahead"),
                old(age, issued_at),
            )
        }
        (None, Some(since)) => {
            // Both times are this side's: a clock that was set back between them dates nothing.
            let age = now.signed_duration_since(since);
            (
                age >= TimeDelta::zero() && age <= most,
                format!("at most {limit} old, by a clock that goes forward"),
                format!("no time in it, and report data of {}", old(age, since)),
            )
        }
        (None, None) => (false, format!("at most {limit} old"), UNDATED.to_owned()),
    };
    checks.record(CheckName::Age, passed, expected, got);
}

fn old(age: TimeDelta, since: DateTime<Utc>) -> String {
    if age < TimeDelta::zero() {
        let ahead = (-age).as_seconds_f64();
        return format!("{ahead} s ahead ({since})");
    }
    format!("{} s old ({since})", age.num_seconds())
}

/// Which program: its measurement and its signer, or one of the two.
fn check_code(policy: &Policy, claims: &Claims, checks: &mut CheckList) {
    let signer = claims.signer.as_ref();
    let one_is_enough = policy.code == CodeRule::MeasurementOrSigner;
    let by_measurement = policy
        .measurements
        .stated()
        .is_some_and(|list| list.contains(&claims.measurement));
    let by_signer = policy
        .signers
        .stated()
        .zip(signer)
        .is_some_and(|(list, signer)| list.contains(signer));
    if one_is_enough && by_signer && !by_measurement {
        let why = "nothing: the signer is enough";
        checks.skip_because(CheckName::Measurement, why, claims.measurement);
    } else {
        let measurement = Some(&claims.measurement);
        check_listed(
            CheckName::Measurement,
            &policy.measurements,
            measurement,
            checks,
        );
    }
    if one_is_enough && by_measurement && !by_signer {
        let why = "nothing: the measurement is enough";
        checks.skip_because(CheckName::Signer, why, or_not_stated(signer));
    } else {
        check_listed(CheckName::Signer, &policy.signers, signer, checks);
    }
}

const UNDATED: &str = "nothing that dates it: reports of SEV-SNP and quotes of TDX hold no time, and it is not known when \
                       the report data came to be";
