//! The certificates that travel with a report.

use rustls_pki_types::{CertificateDer, pem::PemObject};

use super::{
    certificate::{SnpCertificate, SnpCertificateError, unexpected},
    certificate_table::CertificateTable,
    product::amd_name,
    vek::Vek,
};
use crate::claims::SnpProduct;

/// Certificates sorted by what they say they are. Nobody has looked at a signature yet.
#[derive(Debug, Default)]
pub(crate) struct Endorsements {
    pub(crate) roots: Vec<SnpCertificate>,
    pub(crate) intermediates: Vec<SnpCertificate>,
    pub(crate) veks: Vec<Vek>,
}

impl Endorsements {
    /// The most certificates in all: a chain of each kind, and a root given twice.
    pub(crate) const MAX: usize = 8;

    /// Reads endorsements, each one certificate in DER, some in PEM, or the table that the host gave.
    pub(crate) fn read<'a>(
        encoded: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Self, SnpCertificateError> {
        let mut certificates = Vec::new();
        for bytes in encoded {
            for part in parts(bytes)? {
                certificates.extend(ders(&part)?);
            }
            if certificates.len() > Self::MAX {
                let most = format!("at most {}", Self::MAX);
                return Err(unexpected("count in evidence", most, "more"));
            }
        }
        let mut all = Self::default();
        for der in certificates {
            all.put(SnpCertificate::parse(&der)?)?;
        }
        Ok(all)
    }

    fn put(&mut self, certificate: SnpCertificate) -> Result<(), SnpCertificateError> {
        let name = certificate.common_name();
        let ends_in_product = |prefix: &str| {
            let rest = name.strip_prefix(prefix);
            rest.is_some_and(|rest| SnpProduct::ALL.iter().any(|p| amd_name(*p) == rest))
        };
        if Vek::is_named(&certificate) {
            self.veks.push(Vek::read(certificate)?);
        } else if ends_in_product("ARK-") {
            self.roots.push(certificate);
        } else if ends_in_product("SEV-") || ends_in_product("SEV-VLEK-") {
            self.intermediates.push(certificate);
        } else {
            return Err(unexpected(
                "common name",
                "SEV-VCEK, SEV-VLEK, or SEV-, SEV-VLEK- or ARK- with Milan, Genoa or Turin",
                name,
            ));
        }
        Ok(())
    }
}

/// The entries of a table, or the bytes themselves where they are none.
fn parts(bytes: &[u8]) -> Result<Vec<Vec<u8>>, SnpCertificateError> {
    if is_der(bytes) || is_pem(bytes) {
        return Ok(vec![bytes.to_vec()]);
    }
    let table = CertificateTable::parse(bytes).map_err(|error| {
        let message = format!("neither DER, nor PEM, nor a table of certificates: {error}");
        SnpCertificateError::Malformed(message)
    })?;
    Ok(table.endorsements())
}

/// A certificate begins with the tag of a SEQUENCE (X.690, section 8.9).
fn is_der(bytes: &[u8]) -> bool {
    bytes.first() == Some(&0x30)
}

fn is_pem(bytes: &[u8]) -> bool {
    const MARK: &[u8] = b"-----BEGIN";
    bytes.windows(MARK.len()).any(|window| window == MARK)
}

/// One certificate in DER, or as many as a text in PEM holds.
pub(crate) fn ders(bytes: &[u8]) -> Result<Vec<Vec<u8>>, SnpCertificateError> {
    if is_der(bytes) {
        return Ok(vec![bytes.to_vec()]);
    }
    let mut ders = Vec::new();
    for der in CertificateDer::pem_slice_iter(bytes) {
        let der = der.map_err(|error| SnpCertificateError::Malformed(error.to_string()))?;
        if ders.len() == Endorsements::MAX {
            let most = format!("at most {}", Endorsements::MAX);
            return Err(unexpected("count in a PEM text", most, "more"));
        }
        ders.push(der.to_vec());
    }
    if ders.is_empty() {
        let message = "neither DER nor a text in PEM with a certificate";
        return Err(SnpCertificateError::Malformed(message.to_owned()));
    }
    Ok(ders)
}
