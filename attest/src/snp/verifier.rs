//! Establishes that an SEV-SNP report is genuine.

use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED, UnparsedPublicKey};
use chrono::{DateTime, Utc};

use super::{
    certificate::SnpCertificate,
    chain::{ChainCache, Intermediate},
    claims::read_claims,
    endorsements::Endorsements,
    product::key_name,
    report::SnpReport,
    roots::ProductRoots,
    store::{SnpStore, binding_fault},
    vek::Vek,
};
use crate::{
    check::{CheckList, Failure},
    check_name::CheckName,
    claims::{Claims, SnpProduct},
    collateral::Collateral,
    evidence::Evidence,
    policy::Policy,
    verifier::Verifier,
};

/// Takes as endorsements certificates in DER or PEM, in any order, or the table that the host gave its guest; what
/// is missing comes from the collateral.
pub(crate) struct SnpVerifier;

impl Verifier for SnpVerifier {
    fn verify(
        &self,
        _: &Policy,
        evidence: &Evidence,
        collateral: &Collateral,
        now: DateTime<Utc>,
        checks: &mut CheckList,
    ) -> Result<Claims, Failure> {
        let (report, endorsements) = read(evidence, checks)?;
        let store = collateral.snp();
        let vek = choose_vek(&report, &endorsements, store, checks)?;
        let chain = Chain::choose(vek, &endorsements, store, checks)?;
        chain.check_signatures(collateral.snp_chains(), checks)?;
        check_signature(evidence.report(), vek, checks)?;
        check_binding(&report, vek, checks)?;
        chain.check_validity(now, checks)?;
        chain.check_revocation(store, now, checks)?;
        read_claims(&report, vek.product())
            .map_err(|error| checks.fail(CheckName::Format, "reserved bytes of zero", error))
    }

    fn read_unverified(&self, evidence: &Evidence) -> Result<Claims, String> {
        let report = SnpReport::parse(evidence.report())?;
        let product = report.product.or_else(|| product_by_endorsement(evidence));
        let product = product.ok_or(
            "a report of version 2 does not name its processor: give its certificate as an endorsement",
        )?;
        read_claims(&report, product).map_err(|error| error.to_string())
    }
}

fn product_by_endorsement(evidence: &Evidence) -> Option<SnpProduct> {
    let encoded = evidence.endorsements().iter().map(Vec::as_slice);
    let endorsements = Endorsements::read(encoded).ok()?;
    endorsements.veks.first().map(Vek::product)
}

fn read(evidence: &Evidence, checks: &mut CheckList) -> Result<(SnpReport, Endorsements), Failure> {
    let expected = format!(
        "an SEV-SNP report of version {} to {}",
        SnpReport::OLDEST_VERSION,
        SnpReport::NEWEST_VERSION
    );
    let version = SnpReport::read_version(evidence.report())
        .map_err(|error| checks.fail(CheckName::ReportVersion, &expected, error))?;
    checks.require(
        CheckName::ReportVersion,
        (SnpReport::OLDEST_VERSION..=SnpReport::NEWEST_VERSION).contains(&version),
        &expected,
        format!("version {version}"),
    )?;

    let expected = "a report as AMD lays it out, and AMD's certificates";
    let report = SnpReport::read(evidence.report())
        .map_err(|error| checks.fail(CheckName::Format, expected, error))?;
    let encoded = evidence.endorsements().iter().map(Vec::as_slice);
    let endorsements = Endorsements::read(encoded)
        .map_err(|error| checks.fail(CheckName::Format, expected, error))?;
    checks.record(CheckName::Format, true, expected, expected);
    Ok((report, endorsements))
}

/// The certificate of the key that the report says it is signed with: the evidence's own, else the collateral's.
fn choose_vek<'a>(
    report: &'a SnpReport,
    endorsements: &'a Endorsements,
    store: &'a SnpStore,
    checks: &mut CheckList,
) -> Result<&'a Vek, Failure> {
    let key = key_name(report.signing_key);
    let expected = format!(
        "one {key} certificate for chip {} with TCB {}, in the evidence or the collateral",
        hex::encode(report.chip_id),
        hex::encode(report.reported_tcb.0)
    );
    let mut sent = endorsements
        .veks
        .iter()
        .filter(|vek| vek.signing_key() == report.signing_key);
    match (sent.next(), sent.next()) {
        (Some(vek), None) => return Ok(vek),
        (Some(_), Some(_)) => {
            let got = format!("more than one {key} in the evidence");
            return Err(checks.fail(CheckName::Certificate, expected, got));
        }
        (None, _) => {}
    }
    if let Some(vek) = store.veks_for(report).next() {
        return Ok(vek);
    }
    let got = match endorsements.veks.first() {
        Some(other) => other.to_string(),
        None => "none".to_owned(),
    };
    Err(checks.fail(CheckName::Certificate, expected, got))
}

/// The certificates from the pinned root to the key that signed.
struct Chain<'a> {
    root: &'a SnpCertificate,
    intermediate: &'a SnpCertificate,
    kind: Intermediate,
    vek: &'a Vek,
}

impl<'a> Chain<'a> {
    /// A root or an intermediate that came along is taken for what AMD's built-in root says of it.
    fn choose(
        vek: &'a Vek,
        endorsements: &'a Endorsements,
        store: &'a SnpStore,
        checks: &mut CheckList,
    ) -> Result<Self, Failure> {
        let product = vek.product();
        let ProductRoots { ark: root, .. } = store.roots().of(product);
        let expected = format!("AMD's root {}", root.common_name());
        let foreign = endorsements
            .roots
            .iter()
            .find(|given| given.key() != root.key() || given.subject() != root.subject());
        let got = foreign.map_or_else(
            || expected.clone(),
            |foreign| format!("another key that calls itself {}", foreign.common_name()),
        );
        checks.require(CheckName::Root, foreign.is_none(), &expected, got)?;

        let kind = Intermediate::that_signs(vek.signing_key());
        let name = kind.common_name(product);
        let sent = endorsements
            .intermediates
            .iter()
            .find(|given| given.common_name() == name);
        let intermediate = sent
            .or_else(|| store.intermediate(product, kind))
            .ok_or_else(|| {
                let expected = format!("{name}, in the evidence or the collateral");
                checks.fail(CheckName::Certificate, expected, "none")
            })?;
        Ok(Self {
            root,
            intermediate,
            kind,
            vek,
        })
    }

    fn check_signatures(&self, cache: &ChainCache, checks: &mut CheckList) -> Result<(), Failure> {
        let leaf = self.vek.certificate();
        let signed = cache.is_signed(self.root, self.intermediate, leaf);
        let expected = format!(
            "{} signed by {}, and that by {}",
            self.vek,
            self.intermediate.common_name(),
            self.root.common_name()
        );
        let got = if signed {
            expected.as_str()
        } else {
            "a signature that does not verify"
        };
        checks.require(CheckName::Certificate, signed, &expected, got)
    }

    fn certificates(&self) -> [&'a SnpCertificate; 3] {
        [self.root, self.intermediate, self.vek.certificate()]
    }

    fn check_validity(&self, now: DateTime<Utc>, checks: &mut CheckList) -> Result<(), Failure> {
        let period = |certificate: &SnpCertificate| {
            format!(
                "{} to {}",
                certificate.not_before(),
                certificate.not_after()
            )
        };
        let outside = self
            .certificates()
            .into_iter()
            .find(|c| !(c.not_before()..=c.not_after()).contains(&now));
        let shown = outside.unwrap_or(self.vek.certificate());
        let expected = format!("{} valid from {}", shown.common_name(), period(shown));
        checks.require(CheckName::Validity, outside.is_none(), expected, now)
    }

    /// A list that is at hand must be current; that there is one is the collateral's matter.
    ///
    /// AMD's root signs one list for a chain. A serial number on it counts for each certificate of the chain below
    /// the root.
    fn check_revocation(
        &self,
        store: &SnpStore,
        now: DateTime<Utc>,
        checks: &mut CheckList,
    ) -> Result<(), Failure> {
        let name = CheckName::Revocation;
        let Some(list) = store.list(self.vek.product(), self.kind) else {
            checks.skip(name, "no revocation list in the collateral");
            return Ok(());
        };
        if !list.is_current(now) {
            let expected = format!("a revocation list that is current at {now}");
            return Err(checks.fail(name, expected, format!("one for {}", list.period())));
        }
        let expected = format!("no certificate on the list for {}", list.period());
        let [_, intermediate, leaf] = self.certificates();
        let revoked = [intermediate, leaf]
            .into_iter()
            .find(|certificate| list.lists(certificate));
        let got = revoked.map_or_else(
            || expected.clone(),
            |revoked| format!("{} on it", revoked.common_name()),
        );
        checks.require(name, revoked.is_none(), &expected, got)
    }
}

/// Over the raw bytes: fields written anew could differ from what the firmware signed.
fn check_signature(report: &[u8], vek: &Vek, checks: &mut CheckList) -> Result<(), Failure> {
    let signed = SnpReport::signed_parts(report).is_ok_and(|(signed, signature)| {
        UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, vek.point())
            .verify(signed, &signature)
            .is_ok()
    });
    let expected = format!("a report signed by {vek}");
    let got = if signed {
        expected.as_str()
    } else {
        "a signature that does not verify"
    };
    checks.require(CheckName::ReportSignature, signed, &expected, got)
}

fn check_binding(report: &SnpReport, vek: &Vek, checks: &mut CheckList) -> Result<(), Failure> {
    let expected = vek.to_string();
    let fault = binding_fault(report, vek);
    let got = fault.as_deref().unwrap_or(&expected);
    checks.require(CheckName::PlatformBinding, fault.is_none(), &expected, got)
}
