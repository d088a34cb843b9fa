//! What a policy asks of every kind of TEE.

use chrono::{DateTime, TimeDelta, Utc};
use subtle::ConstantTimeEq;

use super::compare::{NOT_STATED, check_least, check_listed, check_one, on_off, or_not_stated};
use crate::{
    check::CheckList,
    check_name::CheckName,
    claims::Claims,
    policy::{CodeRule, DebugRule, EvidenceAge, MAX_CLOCK_SKEW, Policy},
    report_data::ReportData,
};

pub(super) fn check(
    policy: &Policy,
    claims: &Claims,
    expected: Option<&ReportData>,
    now: DateTime<Utc>,
    checks: &mut CheckList,
) {
    check_age(policy, claims, now, checks);
    match expected {
        None => checks.skip(CheckName::ReportData, claims.report_data),
        Some(expected) => checks.record(
            CheckName::ReportData,
            bool::from(claims.report_data.as_bytes().ct_eq(expected.as_bytes())),
            expected,
            claims.report_data,
        ),
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
