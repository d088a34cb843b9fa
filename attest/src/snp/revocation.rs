//! Certificates that AMD has taken back.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use x509_cert::{
    Version,
    crl::CertificateList,
    der::{Decode, Encode, oid::AssociatedOid},
    ext::pkix::{AuthorityKeyIdentifier, CrlNumber},
    name::Name,
};

use super::certificate::{
    Signed, SnpCertificate, SnpCertificateError, check_len, time, unexpected,
};

/// A list of revoked certificates (RFC 5280, section 5) that parses; who signed it is another question.
///
/// AMD's root key signs one list for the chain of VCEKs and one for that of VLEKs of each product.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RevocationList {
    signed: Signed,
    issuer: Name,
    this_update: DateTime<Utc>,
    next_update: DateTime<Utc>,
    serials: BTreeSet<Vec<u8>>,
}

impl RevocationList {
    /// The most bytes of a list: AMD's have less than 2,000, and thousands of entries would fit.
    pub(crate) const MAX_DER: usize = 256 * 1024;

    /// Reads a list in DER. One that does not say when the next comes is refused: it would never be old.
    pub(crate) fn parse(der: &[u8]) -> Result<Self, SnpCertificateError> {
        check_len(der, Self::MAX_DER)?;
        let list = <CertificateList>::from_der(der)?;
        let tbs = &list.tbs_cert_list;
        if tbs.version != Version::V2 {
            return Err(unexpected(
                "list's version",
                "2",
                format!("{:?}", tbs.version),
            ));
        }
        let next_update = tbs
            .next_update
            .ok_or_else(|| unexpected("list's nextUpdate", "present", "absent"))?;
        // An extension that is not understood may change what the list means: that it is a part of
        // another, or that its entries are of other issuers (section 5.2).
        let extensions = tbs.crl_extensions.iter().flatten();
        let revoked = tbs.revoked_certificates.iter().flatten();
        let of_entries = revoked
            .clone()
            .flat_map(|entry| entry.crl_entry_extensions.iter().flatten());
        for extension in extensions.chain(of_entries) {
            let oid = extension.extn_id;
            if extension.critical && oid != CrlNumber::OID && oid != AuthorityKeyIdentifier::OID {
                let expected = "one that this version understands";
                return Err(unexpected(
                    "list's critical extension",
                    expected,
                    oid.to_string(),
                ));
            }
        }
        Ok(Self {
            signed: Signed::read(der, &list.signature.to_der()?)?,
            issuer: tbs.issuer.clone(),
            this_update: time(tbs.this_update)?,
            next_update: time(next_update)?,
            serials: revoked
                .map(|entry| entry.serial_number.as_bytes().to_vec())
                .collect(),
        })
    }

    pub(crate) fn is_signed_by(&self, root: &SnpCertificate) -> bool {
        self.issuer == *root.subject() && self.signed.is_signed_by(root.key())
    }

    pub(crate) fn lists(&self, certificate: &SnpCertificate) -> bool {
        self.serials.contains(certificate.serial())
    }

    pub(crate) fn is_current(&self, now: DateTime<Utc>) -> bool {
        (self.this_update..=self.next_update).contains(&now)
    }

    pub(crate) fn this_update(&self) -> DateTime<Utc> {
        self.this_update
    }

    /// For a person who must know why a list was not taken.
    pub(crate) fn period(&self) -> String {
        format!("{} to {}", self.this_update, self.next_update)
    }
}
