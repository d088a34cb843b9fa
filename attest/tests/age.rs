//! How old evidence is: by the time that it states, or by what it was made for.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod hardware;

use std::fs;

use chrono::{DateTime, TimeDelta, Utc};
use hardware::{at, shared};
use tributary_attest::{
    Attester as _, Check, CheckName, CheckResult, Collateral, Criterion, DatedReportData, Evidence,
    EvidenceAge, LaunchConfig, Measurement, PlatformConfig, Policy, ReportData, SimulatedRoot, Tee,
    appraise, appraise_dated, danger_appraise_any_report_data, danger_read_unverified,
};

/// Evidence, what it was made for, a policy that allows an age of an hour and nothing else refuses it, and a time.
struct Case {
    evidence: Evidence,
    report_data: ReportData,
    policy: Policy,
    now: DateTime<Utc>,
}

impl Case {
    fn of_hardware(tee: Tee, report: &str, endorsement: &str, now: &str) -> Option<Self> {
        let folder = shared("vectors")?;
        let read = |name: &str| fs::read(folder.join(name)).unwrap();
        let evidence = Evidence::new(tee, read(report), vec![read(endorsement)]).unwrap();
        let report_data = danger_read_unverified(&evidence).unwrap().report_data;
        Some(Self {
            evidence,
            report_data,
            policy: Policy::default_for_verify(),
            now: at(now),
        })
    }

    fn snp() -> Option<Self> {
        let (report, vcek) = ("snp/genoa-v5.report.bin", "snp/genoa-v5.vcek.pem");
        Self::of_hardware(Tee::SevSnp, report, vcek, "2025-09-01T00:00:00Z")
    }

    fn tdx() -> Option<Self> {
        let (quote, collateral) = (
            "tdx/v4-uptodate.quote.bin",
            "tdx/v4-uptodate.collateral.json",
        );
        Self::of_hardware(Tee::Tdx, quote, collateral, "2025-06-27T04:53:20Z")
    }

    /// A machine whose reports hold no time.
    fn simulated() -> Self {
        let now = at("2026-11-01T00:00:00Z");
        let root = SimulatedRoot::from_seed(&[1; 32]);
        let platform = root.certify(PlatformConfig::new("agent-1", now).unwrap());
        let program = Measurement::of_bytes(b"the program");
        let machine = platform.unwrap().launch(program, LaunchConfig::default());
        let report_data = ReportData::new([7; 64]);
        Self {
            evidence: machine.without_clock().attest(&report_data).unwrap(),
            report_data,
            policy: Policy::simulated(root.public_key(), [program]),
            now,
        }
    }

    fn each() -> Vec<Self> {
        let hardware = [Self::snp(), Self::tdx()].into_iter().flatten();
        hardware
            .chain([Self::simulated()])
            .map(|case| Self {
                policy: Policy {
                    maximum_age_seconds: Criterion::Stated(EvidenceAge(3600)),
                    ..case.policy
                },
                ..case
            })
            .collect()
    }

    /// The check of the age where the report data could be known since so long ago.
    fn dated(&self, report_data: ReportData, ago: TimeDelta) -> Check {
        let expected = DatedReportData {
            report_data,
            since: self.now - ago,
        };
        let none = Collateral::empty();
        of_age(appraise_dated(
            &self.policy,
            &self.evidence,
            &expected,
            &none,
            self.now,
        ))
    }
}

fn of_age(outcome: Result<tributary_attest::Verdict, tributary_attest::Refusal>) -> Check {
    let accepted = outcome.is_ok();
    let checks = match outcome {
        Ok(verdict) => verdict.checks,
        Err(refusal) => refusal.checks().to_vec(),
    };
    let age = checks.iter().find(|check| check.name == CheckName::Age);
    let age = age.unwrap_or_else(|| panic!("{checks:?}")).clone();
    if age.result == CheckResult::Pass {
        let failed = checks.iter().any(|check| check.result == CheckResult::Fail);
        assert_eq!(accepted, !failed);
    }
    age
}

#[test]
fn evidence_that_holds_no_time_is_no_older_than_what_it_was_made_for() {
    for case in Case::each() {
        for (ago, passes) in [
            (TimeDelta::zero(), true),
            (TimeDelta::seconds(3600), true),
            (TimeDelta::seconds(3601), false),
            // A clock that was set back dates nothing.
            (TimeDelta::milliseconds(-1), false),
        ] {
            let age = case.dated(case.report_data, ago);
            assert_eq!(age.result == CheckResult::Pass, passes, "{ago}: {age:?}");
            assert!(age.got.contains("no time in it"), "{age:?}");
        }
        let expected = DatedReportData {
            report_data: case.report_data,
            since: case.now,
        };
        let none = Collateral::empty();
        appraise_dated(&case.policy, &case.evidence, &expected, &none, case.now).unwrap();
    }
}

#[test]
fn evidence_for_something_else_is_not_dated_by_it() {
    for case in Case::each() {
        let age = case.dated(ReportData::new([8; 64]), TimeDelta::zero());
        assert_eq!(age.result, CheckResult::Fail, "{age:?}");
    }
}

#[test]
fn evidence_that_nothing_dates_is_refused_in_words() {
    for case in Case::each() {
        let none = Collateral::empty();
        let (policy, evidence, now) = (&case.policy, &case.evidence, case.now);
        for outcome in [
            appraise(policy, evidence, &case.report_data, &none, now),
            danger_appraise_any_report_data(policy, evidence, &none, now),
        ] {
            let refusal = outcome.unwrap_err();
            assert_eq!(refusal.check(), CheckName::Age);
            assert!(refusal.got().contains("hold no time"), "{refusal}");
            assert!(
                refusal.mend().contains("since when its report data"),
                "{refusal}"
            );
        }
        let any = Policy {
            maximum_age_seconds: Criterion::Any,
            ..policy.clone()
        };
        appraise(&any, evidence, &case.report_data, &none, now).unwrap();
    }
}

#[test]
fn a_time_that_the_evidence_states_counts_whatever_it_was_made_for() {
    let now = at("2026-11-01T00:00:00Z");
    let root = SimulatedRoot::from_seed(&[1; 32]);
    let platform = root.certify(PlatformConfig::new("agent-1", now - TimeDelta::days(1)).unwrap());
    let program = Measurement::of_bytes(b"the program");
    let machine = platform.unwrap().launch(program, LaunchConfig::default());
    let old = machine.with_clock(move || now - TimeDelta::hours(2));
    let expected = DatedReportData {
        report_data: ReportData::new([7; 64]),
        since: now,
    };
    let evidence = old.attest(&expected.report_data).unwrap();
    let policy = Policy::simulated(root.public_key(), [program]);
    let none = Collateral::empty();
    let refusal = appraise_dated(&policy, &evidence, &expected, &none, now).unwrap_err();
    assert_eq!(refusal.check(), CheckName::Age);
}
