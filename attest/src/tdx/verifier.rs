//! Establishes that a TDX quote is genuine.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use dcap_qvl::{QuoteClaims, QuotePolicy, verify::QuoteVerifier};

use super::{
    claims::{read_unverified, read_verified},
    collateral::TdxCollateral,
    crypto::AwsLc,
    quote::TdxQuote,
    root::INTEL_ROOT,
};
use crate::{
    check::{CheckList, Failure},
    check_name::CheckName,
    claims::{Claims, Fmspc},
    collateral::Collateral,
    evidence::Evidence,
    policy::Policy,
    verifier::Verifier,
};

/// Takes as endorsement at most one: the collateral as JSON. Else it comes from the verifier's own.
pub(crate) struct TdxVerifier;

impl Verifier for TdxVerifier {
    fn verify(
        &self,
        _: &Policy,
        evidence: &Evidence,
        collateral: &Collateral,
        now: DateTime<Utc>,
        checks: &mut CheckList,
    ) -> Result<Claims, Failure> {
        let (quote, fmspc) = read(evidence, checks)?;
        let chosen = choose_collateral(evidence, fmspc, collateral, checks)?;
        let verified = check_genuine(evidence.report(), &chosen, now, checks)?;
        check_platform(fmspc, &chosen, &verified, checks)?;
        check_dates(&verified, now, checks)?;
        read_verified(&quote, &verified).map_err(|error| {
            checks.fail(CheckName::Format, "advisories as Intel names them", error)
        })
    }

    fn read_unverified(&self, evidence: &Evidence) -> Result<Claims, String> {
        Ok(read_unverified(&TdxQuote::parse(evidence.report())?))
    }
}

fn read(evidence: &Evidence, checks: &mut CheckList) -> Result<(TdxQuote, Fmspc), Failure> {
    let expected = "a TDX quote of version 4 or 5";
    let version = TdxQuote::read_version(evidence.report())
        .map_err(|error| checks.fail(CheckName::ReportVersion, expected, error))?;
    checks.require(
        CheckName::ReportVersion,
        matches!(version, 4 | 5),
        expected,
        format!("version {version}"),
    )?;
    let expected = "a quote as Intel lays it out, with the platform's certificates in it";
    let quote = TdxQuote::parse(evidence.report());
    let read = quote.and_then(|quote| {
        let fmspc = quote.fmspc()?;
        Ok((quote, fmspc))
    });
    match read {
        Ok(read) => {
            checks.record(CheckName::Format, true, expected, expected);
            Ok(read)
        }
        Err(error) => Err(checks.fail(CheckName::Format, expected, error)),
    }
}

fn choose_collateral<'a>(
    evidence: &Evidence,
    fmspc: Fmspc,
    collateral: &'a Collateral,
    checks: &mut CheckList,
) -> Result<Cow<'a, TdxCollateral>, Failure> {
    let expected = format!("TDX collateral for FMSPC {fmspc}, in the evidence or the collateral");
    match evidence.endorsements() {
        [] => collateral
            .tdx(fmspc)
            .map(Cow::Borrowed)
            .ok_or_else(|| checks.fail(CheckName::Certificate, expected, "none")),
        [json] => TdxCollateral::parse(json)
            .map(Cow::Owned)
            .map_err(|error| checks.fail(CheckName::Format, expected, error)),
        more => {
            let got = format!("{} endorsements", more.len());
            Err(checks.fail(CheckName::Format, "at most one endorsement", got))
        }
    }
}

/// The chain from Intel's root over collateral and platform to each byte of the quote that is signed; and that a level of
/// the TCB information fits the platform. Which level it is decides the policy.
fn check_genuine(
    quote: &[u8],
    collateral: &TdxCollateral,
    now: DateTime<Utc>,
    checks: &mut CheckList,
) -> Result<QuoteClaims, Failure> {
    const STEPS: [(CheckName, &str); 3] = [
        (CheckName::Root, "Intel's root"),
        (
            CheckName::Certificate,
            "platform and collateral certified by Intel's root",
        ),
        (
            CheckName::ReportSignature,
            "a quote signed by a quoting enclave that the platform certified",
        ),
    ];
    let seconds = u64::try_from(now.timestamp()).unwrap_or_default();
    // It decides nothing: statuses, advisories and the like go into the claims.
    let policy = QuotePolicy::claims_only(seconds);
    // Debugging is the appraisal's to refuse, under its own name, as for every kind of TEE.
    let verified = QuoteVerifier::<AwsLc>::new_with_config(INTEL_ROOT.to_vec())
        .allow_debug(true)
        .verify_with_policy(quote, collateral.inner(), seconds, &policy);
    match verified {
        Ok(verified) => {
            for (name, expected) in STEPS {
                checks.record(name, true, expected, expected);
            }
            Ok(verified)
        }
        Err(error) => {
            let got = format!("{error:#}");
            let (name, expected) = blame(&got);
            Err(checks.fail(name, expected, got))
        }
    }
}

/// The check whose name tells a person most. It decides only what a refusal is called.
fn blame(error: &str) -> (CheckName, &'static str) {
    const SIGNS: &[(&[&str], CheckName, &str)] = &[
        (
            &["expired", "Expired", "future", "NotValidYet"],
            CheckName::Validity,
            "certificates and collateral that are in date",
        ),
        (
            &["Revoked", "revoked"],
            CheckName::Revocation,
            "a platform and certificates that Intel has not revoked",
        ),
        (
            &["TCB level", "ISVSVN"],
            CheckName::TdxTcbStatus,
            "a platform at a level of Intel's TCB information",
        ),
        (
            &["for isv_enclave_report", "qe_report", "QE report"],
            CheckName::ReportSignature,
            "a quote signed by a quoting enclave that the platform certified",
        ),
        (
            &[
                "Fmspc",
                "FMSPC",
                "module",
                "TD attributes",
                "SEPT_VE_DISABLE",
                "migration",
                "service TD",
                "SERVTD",
            ],
            CheckName::PlatformBinding,
            "a trust domain and module that the collateral speaks of, with SEPT_VE_DISABLE and without migration",
        ),
    ];
    SIGNS
        .iter()
        .find(|(signs, _, _)| signs.iter().any(|sign| error.contains(sign)))
        .map_or(
            (
                CheckName::Certificate,
                "platform and collateral certified by Intel's root",
            ),
            |(_, name, expected)| (*name, *expected),
        )
}

/// The certificate's model was used to choose the collateral, so it must be the one that was verified.
fn check_platform(
    fmspc: Fmspc,
    collateral: &TdxCollateral,
    verified: &QuoteClaims,
    checks: &mut CheckList,
) -> Result<(), Failure> {
    let got = Fmspc::new(verified.platform.pck.fmspc);
    checks.require(
        CheckName::PlatformBinding,
        got == fmspc && got == collateral.fmspc(),
        format!("a platform and collateral for FMSPC {fmspc}"),
        format!(
            "a platform for {got}, collateral for {}",
            collateral.fmspc()
        ),
    )
}

/// The narrowest window of all certificates, lists and statements.
fn check_dates(
    verified: &QuoteClaims,
    now: DateTime<Utc>,
    checks: &mut CheckList,
) -> Result<(), Failure> {
    let time = |seconds: u64| {
        i64::try_from(seconds)
            .ok()
            .and_then(|seconds| DateTime::from_timestamp(seconds, 0))
    };
    let window = time(verified.latest_issue_date).zip(time(verified.earliest_expiration_date));
    let holds = window.is_some_and(|(from, to)| (from..=to).contains(&now));
    let expected = match window {
        Some((from, to)) => {
            format!("certificates and collateral that are valid from {from} to {to}")
        }
        None => "certificates and collateral with dates that a calendar has".to_owned(),
    };
    checks.require(CheckName::Validity, holds, expected, now)?;
    let lists = "no certificate on Intel's revocation lists";
    checks.record(CheckName::Revocation, true, lists, lists);
    Ok(())
}
