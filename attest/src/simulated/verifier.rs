//! Establishes that a simulated report is genuine.

use chrono::{DateTime, Utc};
use ed25519_dalek::VerifyingKey;

use serde_json::{Value, json};

use super::{certificate::Certificate, hardware::SimulatedHardware, report::Report};
use crate::{
    check::{CheckList, Failure},
    check_name::CheckName,
    claims::Claims,
    collateral::Collateral,
    evidence::Evidence,
    policy::Policy,
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
        collateral: &Collateral,
        now: DateTime<Utc>,
        checks: &mut CheckList,
    ) -> Result<Claims, Failure> {
        let (report, certificate, encoded) = read(evidence, checks)?;
        check_chain(policy, evidence.report(), &certificate, encoded, checks)?;
        check_platform(&report, &certificate, checks)?;
        check_validity(&report, &certificate, now, checks)?;
        check_revocation(&certificate, collateral, now, checks)?;
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
    checks.record(CheckName::Format, true, expected, expected);
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
    checks.require(
        CheckName::Certificate,
        signed,
        &expected,
        if_signed(signed, &expected),
    )?;

    let signed = VerifyingKey::from_bytes(&certificate.platform_key)
        .is_ok_and(|key| Report::is_signed_by(report, &key));
    let expected = format!("a report signed by the platform {:?}", certificate.name);
    checks.require(
        CheckName::ReportSignature,
        signed,
        &expected,
        if_signed(signed, &expected),
    )
}

fn if_signed(signed: bool, expected: &str) -> &str {
    if signed {
        expected
    } else {
        "a signature that does not verify"
    }
}

/// A platform's key outlives changes of its firmware only by a new certificate, as a VCEK does.
fn check_platform(
    report: &Report,
    certificate: &Certificate,
    checks: &mut CheckList,
) -> Result<(), Failure> {
    let stated = SimulatedHardware::of(&report.platform);
    let same = stated == certificate.hardware;
    let expected = "the hardware that its certificate names";
    let got = if same {
        expected.to_owned()
    } else {
        differences(&stated, &certificate.hardware)
    };
    checks.require(CheckName::PlatformBinding, same, expected, got)
}

/// What a report states otherwise than its certificate: all of both would hide it.
fn differences(stated: &SimulatedHardware, certified: &SimulatedHardware) -> String {
    let (stated, certified) = (json!(stated), json!(certified));
    let (Some((kind, stated)), Some((other, certified))) = (only(&stated), only(&certified)) else {
        return "hardware of no kind".to_owned();
    };
    if kind != other {
        return format!("{kind} where the certificate is for {other}");
    }
    let fields: Vec<String> = stated
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(name, value)| certified.get(name) != Some(value))
        .map(|(name, value)| {
            let certified = certified.get(name).unwrap_or(&Value::Null);
            format!("{name} {value} where the certificate has {certified}")
        })
        .collect();
    fields.join(", ")
}

fn only(value: &Value) -> Option<(&String, &Value)> {
    value.as_object()?.iter().next()
}

fn check_validity(
    report: &Report,
    certificate: &Certificate,
    now: DateTime<Utc>,
    checks: &mut CheckList,
) -> Result<(), Failure> {
    let valid = certificate.not_before..=certificate.not_after;
    let made = report.issued_at;
    checks.require(
        CheckName::Validity,
        valid.contains(&now) && made.is_none_or(|made| valid.contains(&made)),
        format!("{} to {}", certificate.not_before, certificate.not_after),
        match made {
            Some(made) => format!("now {now}, report made {made}"),
            None => format!("now {now}"),
        },
    )
}

/// As for SEV-SNP: a list that is at hand must be current; that there is one is the collateral's matter.
fn check_revocation(
    certificate: &Certificate,
    collateral: &Collateral,
    now: DateTime<Utc>,
    checks: &mut CheckList,
) -> Result<(), Failure> {
    let name = CheckName::Revocation;
    let Some(list) = collateral.simulated(&certificate.root) else {
        checks.skip(name, "no revocation list in the collateral");
        return Ok(());
    };
    if !list.is_current(now) {
        let expected = format!("a revocation list that is current at {now}");
        return Err(checks.fail(name, expected, format!("one for {}", list.period())));
    }
    let expected = format!("no platform on the list for {}", list.period());
    let revoked = list.lists(certificate);
    let got = if revoked {
        format!("{:?} on it", certificate.name)
    } else {
        expected.clone()
    };
    checks.require(name, !revoked, expected, got)
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use ed25519_dalek::SigningKey;

    use super::{
        super::{certificate::SIGNATURE, launch::SimulatedLaunch, report::sign_body},
        *,
    };
    use crate::{
        CheckResult, ChipId, Measurement, PlatformClaims, Refusal, ReportData,
        SimulatedPlatformKey, SimulatedRoot, SimulatedRootKey, SnpClaims, Tee, Verdict, appraise,
    };

    /// What a forger who knows the formats can put together.
    struct Forger {
        root: SigningKey,
        platform: SigningKey,
        certificate: Certificate,
        report: Report,
        collateral: Collateral,
        now: DateTime<Utc>,
    }

    impl Forger {
        fn new() -> Self {
            let now = DateTime::from_timestamp(1_795_000_000, 0).unwrap();
            let root = SigningKey::from_bytes(&[1; 32]);
            let platform = SigningKey::from_bytes(&[2; 32]);
            let hardware = SimulatedHardware::random_snp().unwrap();
            let measurement = Measurement::of_bytes(b"program");
            Self {
                report: Report {
                    issued_at: Some(now),
                    measurement,
                    report_data: ReportData::new([4; 64]),
                    platform: SimulatedLaunch::on(&hardware)
                        .claims(&hardware, measurement)
                        .unwrap(),
                },
                certificate: Certificate {
                    root: SimulatedRootKey::new(root.verifying_key().to_bytes()),
                    platform_key: platform.verifying_key().to_bytes(),
                    not_before: now - TimeDelta::days(1),
                    not_after: now + TimeDelta::days(1),
                    name: "forged".to_owned(),
                    hardware,
                },
                root,
                platform,
                collateral: Collateral::empty(),
                now,
            }
        }

        fn present(&self, report: Vec<u8>, certificate: Vec<u8>) -> Result<Verdict, Refusal> {
            let root = SigningKey::from_bytes(&[1; 32]).verifying_key().to_bytes();
            let policy = Policy::simulated(
                SimulatedRootKey::new(root),
                [Measurement::of_bytes(b"program")],
            );
            let evidence = Evidence::new(Tee::Simulated, report, vec![certificate]).unwrap();
            appraise(
                &policy,
                &evidence,
                &ReportData::new([4; 64]),
                &self.collateral,
                self.now,
            )
        }

        fn signed(&self) -> Result<Verdict, Refusal> {
            let certificate = self.certificate.sign(&self.root);
            self.present(
                self.report.sign(Report::LAYOUT, &self.platform),
                certificate,
            )
        }

        fn snp(&mut self) -> &mut SnpClaims {
            match &mut self.report.platform {
                PlatformClaims::SevSnp(snp) => snp,
                PlatformClaims::Tdx(_) => panic!("the forger plays SEV-SNP"),
            }
        }
    }

    /// Makes one change to what is otherwise accepted, and expects the named check to refuse it.
    fn check(name: CheckName, change: impl FnOnce(&mut Forger)) {
        let mut forger = Forger::new();
        forger.signed().unwrap();
        change(&mut forger);
        assert_eq!(forger.signed().unwrap_err().check(), name);
    }

    /// The verdict where the collateral holds a list of this root, from and until so many days from now.
    fn with_list(root: u8, revoked: [u8; 32], days: [i64; 2]) -> Result<Verdict, Refusal> {
        let mut forger = Forger::new();
        let [from, until] = days.map(|days| forger.now + TimeDelta::days(days));
        let list = SimulatedRoot::from_seed(&[root; 32])
            .revoke([SimulatedPlatformKey::new(revoked)], from, until)
            .unwrap();
        forger.collateral.put("simulated/a.crl", &list).unwrap();
        forger.signed()
    }

    #[test]
    fn a_platform_that_its_root_took_back_is_refused() {
        let own = SigningKey::from_bytes(&[2; 32]).verifying_key().to_bytes();
        let refusal = with_list(1, own, [-1, 1]).unwrap_err();
        assert_eq!(refusal.check(), CheckName::Revocation);
        assert!(refusal.got().contains("\"forged\" on it"), "{refusal}");
        let of = |verdict: Verdict| {
            let checks = verdict.checks.into_iter();
            let mut found = checks.filter(|check| check.name == CheckName::Revocation);
            found.next().unwrap().result
        };
        // Another platform of the root, and the same one on a list of a root that did not certify it.
        assert_eq!(
            of(with_list(1, [9; 32], [-1, 1]).unwrap()),
            CheckResult::Pass
        );
        assert_eq!(
            of(with_list(9, own, [-1, 1]).unwrap()),
            CheckResult::NotChecked
        );
    }

    #[test]
    fn a_list_from_the_past_or_the_future_refuses_everything() {
        for days in [[-2, -1], [1, 2]] {
            let refusal = with_list(1, [9; 32], days).unwrap_err();
            assert_eq!(refusal.check(), CheckName::Revocation);
            assert!(refusal.expected().contains("current"), "{refusal}");
        }
    }

    #[test]
    fn a_certificate_that_names_the_root_but_is_signed_by_another_is_refused() {
        check(CheckName::Certificate, |f| {
            f.root = SigningKey::from_bytes(&[9; 32])
        });
    }

    #[test]
    fn a_platform_that_certifies_itself_is_refused() {
        check(CheckName::Root, |f| {
            f.root = SigningKey::from_bytes(&[2; 32]);
            f.certificate.root = SimulatedRootKey::new(f.root.verifying_key().to_bytes());
        });
    }

    #[test]
    fn a_report_signed_by_a_key_that_is_not_certified_is_refused() {
        check(CheckName::ReportSignature, |f| {
            f.platform = SigningKey::from_bytes(&[9; 32])
        });
    }

    #[test]
    fn a_report_signed_by_the_root_itself_is_refused() {
        check(CheckName::ReportSignature, |f| {
            f.platform = SigningKey::from_bytes(&[1; 32])
        });
    }

    #[test]
    fn a_platform_key_of_small_order_is_refused() {
        // With the neutral element as key, lenient verification takes one signature for any report.
        let mut forger = Forger::new();
        forger.certificate.platform_key = [0; 32];
        forger.certificate.platform_key[0] = 1;
        let mut report = forger.report.sign(Report::LAYOUT, &forger.platform);
        let signature = report.len() - SIGNATURE..;
        report[signature].copy_from_slice(&{
            let mut neutral = [0; SIGNATURE];
            neutral[0] = 1;
            neutral
        });
        let certificate = forger.certificate.sign(&forger.root);
        let refusal = forger.present(report, certificate).unwrap_err();
        assert_eq!(refusal.check(), CheckName::ReportSignature);
    }

    #[test]
    fn a_report_that_states_another_chip_or_firmware_than_the_certificate_is_refused() {
        check(CheckName::PlatformBinding, |f| {
            f.snp().chip_id = ChipId::new([8; 64])
        });
        check(CheckName::PlatformBinding, |f| {
            f.snp().reported_tcb.microcode = 2
        });
        check(CheckName::PlatformBinding, |f| {
            f.snp().signing_key = crate::SnpSigningKey::Vlek
        });
    }

    #[test]
    fn a_report_of_another_kind_than_its_certificate_is_refused() {
        check(CheckName::PlatformBinding, |f| {
            let tdx = SimulatedHardware::random_tdx().unwrap();
            f.report.platform = SimulatedLaunch::on(&tdx)
                .claims(&tdx, f.report.measurement)
                .unwrap();
        });
    }

    #[test]
    fn a_refusal_names_the_fields_that_differ() {
        let mut forger = Forger::new();
        forger.snp().reported_tcb.microcode = 2;
        let refusal = forger.signed().unwrap_err();
        assert!(
            refusal.got().starts_with("reported_tcb {") && !refusal.got().contains("chip_id"),
            "{refusal}"
        );
    }

    #[test]
    fn a_signature_without_its_label_is_refused() {
        use ed25519_dalek::Signer;
        let forger = Forger::new();
        let resign = |mut bytes: Vec<u8>, key: &SigningKey, label: &[u8]| {
            bytes.truncate(bytes.len() - SIGNATURE);
            let signature = key.sign(&[label, &bytes].concat()).to_bytes();
            bytes.extend_from_slice(&signature);
            bytes
        };
        let report = forger.report.sign(Report::LAYOUT, &forger.platform);
        let certificate = forger.certificate.sign(&forger.root);
        for label in [
            b"".as_slice(),
            b"tributary simulated platform certificate v2\0",
        ] {
            let unlabelled = resign(report.clone(), &forger.platform, label);
            let refusal = forger.present(unlabelled, certificate.clone()).unwrap_err();
            assert_eq!(refusal.check(), CheckName::ReportSignature);
        }
        for label in [b"".as_slice(), b"tributary simulated report v2\0"] {
            let unlabelled = resign(certificate.clone(), &forger.root, label);
            let refusal = forger.present(report.clone(), unlabelled).unwrap_err();
            assert_eq!(refusal.check(), CheckName::Certificate);
        }
    }

    #[test]
    fn a_body_that_is_malformed_is_refused_even_where_signed() {
        let forger = Forger::new();
        let body = serde_json::to_string(&forger.report).unwrap();
        let changes: [(&str, &str); 6] = [
            ("\"vmpl\":0", "\"vmpl\":4"),
            ("\"vmpl\":0", "\"vmpl\":0,\"vmpl\":0"),
            ("\"vmpl\":0", "\"vmpl\":0,\"surprise\":0"),
            ("\"debug_allowed\":false", "\"debug_allowed\":0"),
            ("\"issued_at\"", "\"issued\""),
            ("}}}", "}}}x"),
        ];
        for (from, to) in changes {
            let changed = body.replacen(from, to, 1);
            assert_ne!(changed, body, "{from}");
            let report = sign_body(changed.as_bytes(), Report::LAYOUT, &forger.platform);
            let certificate = forger.certificate.sign(&forger.root);
            let refusal = forger.present(report, certificate).unwrap_err();
            assert_eq!(refusal.check(), CheckName::Format, "{to}");
        }
    }

    #[test]
    fn a_quote_whose_measurement_is_not_its_mrtd_is_refused() {
        check(CheckName::Format, |f| {
            let tdx = SimulatedHardware::random_tdx().unwrap();
            f.report.platform = SimulatedLaunch::on(&tdx)
                .claims(&tdx, Measurement::of_bytes(b"another program"))
                .unwrap();
            f.certificate.hardware = tdx;
        });
    }
}
