//! Holds genuine claims against the policy: every criterion once, in one order, whatever failed before.

mod common;
mod compare;
mod snp;
mod tdx;

use chrono::{DateTime, Utc};

use self::compare::one_of;
use crate::{
    check::CheckList,
    check_name::CheckName,
    claims::{Claims, PlatformClaims},
    policy::{Criterion, Policy},
    report_data::Expectation,
    tee::Tee,
    tier::Assessment,
};

pub(crate) use self::compare::one_of as list_words;

/// Makes and records all checks from [`CheckName::Age`] to [`CheckName::Tier`].
///
/// Without expected report data that check is recorded as not made.
pub(crate) fn check(
    policy: &Policy,
    claims: &Claims,
    assessment: &Assessment,
    expected: Expectation<'_>,
    now: DateTime<Utc>,
    checks: &mut CheckList,
) {
    common::check(policy, claims, expected, now, checks);
    check_platform(policy, claims, checks);
    check_tier(policy, assessment, checks);
}

/// A machine whose kind has no section is refused: its claims would be held against nothing.
fn check_platform(policy: &Policy, claims: &Claims, checks: &mut CheckList) {
    let kinds: Vec<Tee> = [
        policy.sev_snp.as_ref().map(|_| Tee::SevSnp),
        policy.tdx.as_ref().map(|_| Tee::Tdx),
    ]
    .into_iter()
    .flatten()
    .collect();
    let kind = claims.platform.kind();
    let known = kinds.contains(&kind);
    checks.record(CheckName::Platform, known, one_of(&kinds), kind);
    match &claims.platform {
        PlatformClaims::SevSnp(snp) => {
            snp::check_always(snp, checks);
            if let Some(policy) = &policy.sev_snp {
                snp::check(policy, snp, checks);
            }
        }
        PlatformClaims::Tdx(tdx) => {
            if let Some(policy) = &policy.tdx {
                tdx::check(policy, tdx, checks);
            }
        }
    }
}

fn check_tier(policy: &Policy, assessment: &Assessment, checks: &mut CheckList) {
    let got = format!("{}: {}", assessment.tier, assessment.reasons.join("; "));
    match policy.tier {
        Criterion::Any => checks.skip(CheckName::Tier, got),
        Criterion::Stated(demanded) => checks.record(
            CheckName::Tier,
            assessment.tier.meets(demanded),
            demanded,
            got,
        ),
    }
}
