//! Whether Intel signed what it is said to state, where no quote is at hand to judge by it.
//!
//! With a quote `dcap-qvl` walks the same chains and more; this keeps what does not verify from ever taking the place of
//! what did. Formats: "Intel SGX PCK Certificate and Certificate Revocation List Profile Specification", sections 1.3 and
//! 2, and the PCS API, version 4.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use chrono::{DateTime, Utc};
use dcap_qvl::{QeIdentity, QuoteCollateralV3, TcbInfo};
use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use x509_cert::{
    Certificate,
    crl::CertificateList,
    der::{Decode, Reader as _, SliceReader, asn1::AnyRef},
    time::Time,
};

use super::root::INTEL_ROOT;

/// Holds both documents, both lists and their issuers against Intel's root at this time; says what does not hold.
pub(super) fn check(collateral: &QuoteCollateralV3, now: DateTime<Utc>) -> Result<(), String> {
    let root = Issuer {
        what: "Intel's root",
        certificate: Certificate::from_der(INTEL_ROOT).map_err(|error| error.to_string())?,
    };
    let root_list = root.check_list("root_ca_crl", &collateral.root_ca_crl, now)?;

    let chain = &collateral.pck_crl_issuer_chain;
    let issuer = Issuer::read("pck_crl_issuer_chain", chain, &root, &root_list, now)?;
    issuer.check_list("pck_crl", &collateral.pck_crl, now)?;

    let chain = &collateral.tcb_info_issuer_chain;
    let issuer = Issuer::read("tcb_info_issuer_chain", chain, &root, &root_list, now)?;
    let (text, signature) = (&collateral.tcb_info, &collateral.tcb_info_signature);
    issuer.check_document("tcb_info", text, signature)?;
    let info: TcbInfo = serde_json::from_str(text).map_err(|error| error.to_string())?;
    check_dates("tcb_info", &info.issue_date, &info.next_update, now)?;

    let chain = &collateral.qe_identity_issuer_chain;
    let issuer = Issuer::read("qe_identity_issuer_chain", chain, &root, &root_list, now)?;
    let (text, signature) = (&collateral.qe_identity, &collateral.qe_identity_signature);
    issuer.check_document("qe_identity", text, signature)?;
    let identity: QeIdentity = serde_json::from_str(text).map_err(|error| error.to_string())?;
    check_dates(
        "qe_identity",
        &identity.issue_date,
        &identity.next_update,
        now,
    )
}

/// The issuer that a list names; whether it signed is another question.
pub(super) fn issuer_of_list(der: &[u8]) -> Result<String, String> {
    let list = <CertificateList>::from_der(der).map_err(|error| error.to_string())?;
    Ok(list.tbs_cert_list.issuer.to_string())
}

/// Who signs a document or a list.
struct Issuer {
    what: &'static str,
    certificate: Certificate,
}

impl Issuer {
    /// The first of two certificates, signed by the second, which is the root.
    fn read(
        what: &'static str,
        chain: &str,
        root: &Self,
        revoked: &CertificateList,
        now: DateTime<Utc>,
    ) -> Result<Self, String> {
        let ders = CertificateDer::pem_slice_iter(chain.as_bytes())
            .take(3)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| format!("{what}: malformed PEM: {error}"))?;
        let [own, last] = ders.as_slice() else {
            let got = ders.len();
            return Err(format!(
                "{what}: expected 2 certificates, got {got} or more"
            ));
        };
        let read = |der: &CertificateDer<'_>| {
            Certificate::from_der(der).map_err(|error| format!("{what}: {error}"))
        };
        let (certificate, last) = (read(own)?, read(last)?);
        let key = |of: &Certificate| of.tbs_certificate().subject_public_key_info().clone();
        if key(&last) != key(&root.certificate) {
            return Err(format!(
                "{what}: expected it to end at Intel's root, got another key"
            ));
        }
        let tbs = certificate.tbs_certificate();
        if tbs.issuer() != root.certificate.tbs_certificate().subject() {
            let got = tbs.issuer();
            return Err(format!(
                "{what}: expected Intel's root for issuer, got {got}"
            ));
        }
        root.check_signature(what, own, certificate.signature().as_bytes())?;
        let validity = tbs.validity();
        check_period(
            what,
            seconds(validity.not_before),
            seconds(validity.not_after),
            now,
        )?;
        let listed = revoked.tbs_cert_list.revoked_certificates.iter().flatten();
        if listed
            .into_iter()
            .any(|entry| entry.serial_number == *tbs.serial_number())
        {
            return Err(format!(
                "{what}: expected a certificate that is not revoked, got one on root_ca_crl"
            ));
        }
        Ok(Self { what, certificate })
    }

    fn check_list(
        &self,
        what: &'static str,
        der: &[u8],
        now: DateTime<Utc>,
    ) -> Result<CertificateList, String> {
        let list = <CertificateList>::from_der(der).map_err(|error| format!("{what}: {error}"))?;
        let tbs = &list.tbs_cert_list;
        let own = self.certificate.tbs_certificate().subject();
        if tbs.issuer != *own {
            return Err(format!(
                "{what}: expected {own} for issuer, got {}",
                tbs.issuer
            ));
        }
        self.check_signature(what, der, list.signature.as_bytes())?;
        let next = tbs
            .next_update
            .ok_or_else(|| format!("{what}: expected nextUpdate, got none"))?;
        check_period(what, seconds(tbs.this_update), seconds(next), now)?;
        Ok(list)
    }

    /// Over the first element of `SEQUENCE { signed, algorithm, signature }` as it came.
    fn check_signature(
        &self,
        what: &'static str,
        der: &[u8],
        signature: Option<&[u8]>,
    ) -> Result<(), String> {
        let signed = AnyRef::from_der(der).and_then(|outer| {
            let mut inner = SliceReader::new(outer.value())?;
            inner.tlv_bytes()
        });
        let signed = signed.map_err(|error| format!("{what}: {error}"))?;
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, self.point())
            .verify(signed, signature.unwrap_or_default())
            .map_err(|_| self.unsigned(what))
    }

    /// Over the text as it came, r and s of 32 bytes each.
    fn check_document(
        &self,
        what: &'static str,
        text: &str,
        signature: &[u8],
    ) -> Result<(), String> {
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, self.point())
            .verify(text.as_bytes(), signature)
            .map_err(|_| self.unsigned(what))
    }

    fn point(&self) -> &[u8] {
        let key = self.certificate.tbs_certificate().subject_public_key_info();
        key.subject_public_key.raw_bytes()
    }

    fn unsigned(&self, what: &str) -> String {
        format!(
            "{what}: expected a signature of {}, got one that does not verify",
            self.what
        )
    }
}

fn check_dates(what: &str, from: &str, to: &str, now: DateTime<Utc>) -> Result<(), String> {
    let time = |text: &str| {
        let time = DateTime::parse_from_rfc3339(text);
        time.map_err(|_| format!("{what}: expected a time (RFC 3339), got {text:?}"))
    };
    check_period(what, time(from)?.timestamp(), time(to)?.timestamp(), now)
}

fn check_period(what: &str, from: i64, to: i64, now: DateTime<Utc>) -> Result<(), String> {
    if (from..=to).contains(&now.timestamp()) {
        return Ok(());
    }
    let shown = |seconds| DateTime::from_timestamp(seconds, 0).unwrap_or_default();
    Err(format!(
        "{what}: valid from {} to {}, which does not include {now}",
        shown(from),
        shown(to)
    ))
}

fn seconds(time: Time) -> i64 {
    i64::try_from(time.to_unix_duration().as_secs()).unwrap_or(i64::MAX)
}
