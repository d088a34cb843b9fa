//! What a verifier of SEV-SNP holds itself: certificates and revocation lists.

use super::{
    certificate::{SnpCertificate, SnpCertificateError, unexpected},
    chain::Intermediate,
    endorsements::ders,
    product::{amd_name, hardware_id_len, key_name},
    report::SnpReport,
    revocation::RevocationList,
    roots::Roots,
    vek::{Vek, VekKind},
};
use crate::claims::{SnpProduct, SnpSigningKey};

/// Collateral for SEV-SNP, each piece checked against AMD's root key when it was put in.
#[derive(Debug)]
pub(crate) struct SnpStore {
    roots: &'static Roots,
    intermediates: Vec<(SnpProduct, Intermediate, SnpCertificate)>,
    lists: Vec<(SnpProduct, Intermediate, RevocationList)>,
    veks: Vec<Vek>,
}

impl Default for SnpStore {
    fn default() -> Self {
        Self::with_roots(Roots::amd())
    }
}

impl SnpStore {
    fn with_roots(roots: &'static Roots) -> Self {
        Self {
            roots,
            intermediates: vec![],
            lists: vec![],
            veks: vec![],
        }
    }

    /// With roots that a test made.
    #[cfg(test)]
    pub(crate) fn for_tests(roots: Roots) -> Self {
        Self::with_roots(Box::leak(Box::new(roots)))
    }

    pub(crate) fn roots(&self) -> &Roots {
        self.roots
    }

    /// Takes a root certificate only where it is the built-in one: the folder cannot change whom one trusts.
    pub(crate) fn check_root(
        &self,
        product: SnpProduct,
        bytes: &[u8],
    ) -> Result<(), SnpCertificateError> {
        let given = one(bytes)?;
        let pinned = &self.roots.of(product).ark;
        if given.key() == pinned.key() && given.subject() == pinned.subject() {
            return Ok(());
        }
        let name = given.common_name().to_owned();
        Err(unexpected(
            "key",
            format!("AMD's root for {}", amd_name(product)),
            name,
        ))
    }

    pub(crate) fn put_intermediate(
        &mut self,
        product: SnpProduct,
        kind: Intermediate,
        bytes: &[u8],
    ) -> Result<(), SnpCertificateError> {
        let certificate = one(bytes)?;
        let name = kind.common_name(product);
        if certificate.common_name() != name {
            return Err(unexpected("common name", name, certificate.common_name()));
        }
        if !certificate.is_signed_by(&self.roots.of(product).ark) {
            let expected = format!("AMD's root for {}", amd_name(product));
            return Err(unexpected(
                "signer",
                expected,
                "another, or a changed certificate",
            ));
        }
        self.intermediates.push((product, kind, certificate));
        Ok(())
    }

    pub(crate) fn put_list(
        &mut self,
        product: SnpProduct,
        kind: Intermediate,
        der: &[u8],
    ) -> Result<(), SnpCertificateError> {
        let list = RevocationList::parse(der)?;
        if !list.is_signed_by(&self.roots.of(product).ark) {
            let expected = format!("AMD's root for {}", amd_name(product));
            return Err(unexpected("signer", expected, "another, or a changed list"));
        }
        self.lists.push((product, kind, list));
        Ok(())
    }

    /// Its signature is checked with the chain, when it is used.
    pub(crate) fn put_vek(
        &mut self,
        product: SnpProduct,
        key: SnpSigningKey,
        bytes: &[u8],
    ) -> Result<(), SnpCertificateError> {
        let vek = Vek::read(one(bytes)?)?;
        if vek.product() != product || vek.signing_key() != key {
            let expected = format!("a {} for {}", key_name(key), amd_name(product));
            return Err(unexpected("kind", expected, vek.to_string()));
        }
        self.veks.push(vek);
        Ok(())
    }

    pub(crate) fn veks(&self) -> &[Vek] {
        &self.veks
    }

    pub(crate) fn lists(&self) -> &[(SnpProduct, Intermediate, RevocationList)] {
        &self.lists
    }

    /// The keys that the report may be signed with, by what it states of itself.
    pub(crate) fn veks_for<'a>(
        &'a self,
        report: &'a SnpReport,
    ) -> impl Iterator<Item = &'a Vek> + 'a {
        self.veks.iter().filter(|vek| {
            vek.signing_key() == report.signing_key && binding_fault(report, vek).is_none()
        })
    }

    pub(crate) fn intermediate(
        &self,
        product: SnpProduct,
        kind: Intermediate,
    ) -> Option<&SnpCertificate> {
        let held = self
            .intermediates
            .iter()
            .find(|(of, other, _)| (*of, *other) == (product, kind))
            .map(|(_, _, certificate)| certificate);
        match kind {
            Intermediate::Ask => held.or(Some(&self.roots.of(product).ask)),
            Intermediate::Asvk => held,
        }
    }

    pub(crate) fn list(&self, product: SnpProduct, kind: Intermediate) -> Option<&RevocationList> {
        self.lists
            .iter()
            .find(|(of, other, _)| (*of, *other) == (product, kind))
            .map(|(_, _, list)| list)
    }
}

/// In what a report and the certificate of its key differ: product, chip or firmware.
///
/// A VCEK is derived from the chip's secret and the *reported* TCB, so these are what its certificate states.
pub(crate) fn binding_fault(report: &SnpReport, vek: &Vek) -> Option<String> {
    let product = vek.product();
    if let Some(stated) = report.product
        && stated != product
    {
        return Some(format!("a report of a {}", amd_name(stated)));
    }
    if let VekKind::Vcek { hardware_id } = vek.kind() {
        let (id, rest) = report.chip_id.split_at(hardware_id_len(product));
        if id != hardware_id || rest.iter().any(|&byte| byte != 0) {
            return Some(format!(
                "a report of the chip {}",
                hex::encode(report.chip_id)
            ));
        }
    }
    match report.reported_tcb.parts(product) {
        Err(error) => Some(error.to_string()),
        Ok(tcb) if tcb != vek.tcb() => Some(format!("a report with {tcb}")),
        Ok(_) => None,
    }
}

fn one(bytes: &[u8]) -> Result<SnpCertificate, SnpCertificateError> {
    match ders(bytes)?.as_slice() {
        [der] => SnpCertificate::parse(der),
        more => Err(unexpected("count in a file", "1", more.len().to_string())),
    }
}
