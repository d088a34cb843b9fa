//! X.509 certificates as AMD issues them: RSA keys that sign with PSS, and P-384 keys at the leaves.

use aws_lc_rs::signature::{RSA_PSS_2048_8192_SHA384, UnparsedPublicKey};
use chrono::{DateTime, Utc};
use x509_cert::{
    Certificate, Version,
    der::{
        Decode, Encode, Reader as _, SliceReader,
        asn1::AnyRef,
        oid::{AssociatedOid, ObjectIdentifier},
    },
    ext::{
        Extension,
        pkix::{BasicConstraints, KeyUsage},
    },
    name::Name,
    time::Time,
};

/// A certificate that parses; who signed it is another question.
///
/// Signatures are checked over the bytes that came, never over fields written anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SnpCertificate {
    der: Vec<u8>,
    signed: Signed,
    subject: Name,
    issuer: Name,
    common_name: String,
    serial: Vec<u8>,
    not_before: DateTime<Utc>,
    not_after: DateTime<Utc>,
    key: PublicKey,
    extensions: Vec<Extension>,
}

/// A public key of one of the two kinds that AMD uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PublicKey {
    /// The DER of an RSAPublicKey (RFC 8017, appendix A.1.1).
    Rsa(Vec<u8>),
    /// An uncompressed point of P-384 (SEC 1, section 2.3.3).
    P384(Vec<u8>),
}

/// What a signer signs in certificates and revocation lists alike (RFC 5280, sections 4.1 and 5.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Signed {
    bytes: Vec<u8>,
    algorithm: Vec<u8>,
    signature: Vec<u8>,
}

/// Why bytes are no certificate, or none that can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SnpCertificateError {
    /// Too many bytes, or none.
    #[error("a certificate must have 1 to {max} bytes, got {got}")]
    Length {
        /// The most that is read.
        max: usize,
        /// How many came.
        got: usize,
    },
    /// Not DER, or not X.509.
    #[error("malformed certificate or revocation list: {0}")]
    Malformed(String),
    /// Well formed, and not as AMD issues them.
    #[error("a certificate's {what} must be {expected}, got {got}")]
    Unexpected {
        /// The field.
        what: &'static str,
        /// What is taken.
        expected: String,
        /// What came.
        got: String,
    },
}

impl SnpCertificate {
    /// The most bytes of one certificate: AMD's take less than 1,700.
    pub(crate) const MAX_DER: usize = 4096;

    /// Reads a certificate in DER.
    pub(crate) fn parse(der: &[u8]) -> Result<Self, SnpCertificateError> {
        check_len(der, Self::MAX_DER)?;
        let certificate = Certificate::from_der(der)?;
        let tbs = certificate.tbs_certificate();
        if tbs.version() != Version::V3 {
            return Err(unexpected("version", "3", format!("{:?}", tbs.version())));
        }
        let extensions = tbs.extensions().cloned().unwrap_or_default();
        check_extensions(&extensions)?;
        let spki = tbs.subject_public_key_info();
        Ok(Self {
            der: der.to_vec(),
            signed: Signed::read(der, &certificate.signature().to_der()?)?,
            subject: tbs.subject().clone(),
            issuer: tbs.issuer().clone(),
            common_name: common_name(tbs.subject())?,
            serial: tbs.serial_number().as_bytes().to_vec(),
            not_before: time(tbs.validity().not_before)?,
            not_after: time(tbs.validity().not_after)?,
            key: PublicKey::read(&spki.to_der()?)?,
            extensions,
        })
    }

    /// The bytes as they came.
    pub(crate) fn der(&self) -> &[u8] {
        &self.der
    }

    pub(crate) fn common_name(&self) -> &str {
        &self.common_name
    }

    pub(crate) fn subject(&self) -> &Name {
        &self.subject
    }

    /// The big-endian serial number without leading zeros.
    pub(crate) fn serial(&self) -> &[u8] {
        &self.serial
    }

    pub(crate) fn key(&self) -> &PublicKey {
        &self.key
    }

    pub(crate) fn not_before(&self) -> DateTime<Utc> {
        self.not_before
    }

    pub(crate) fn not_after(&self) -> DateTime<Utc> {
        self.not_after
    }

    /// The content of an extension, at most one of each kind.
    pub(crate) fn extension(&self, oid: ObjectIdentifier) -> Option<&[u8]> {
        let found = self.extensions.iter().find(|e| e.extn_id == oid)?;
        Some(found.extn_value.as_bytes())
    }

    /// Whether `issuer` may sign certificates and signed this one (RFC 5280, section 6.1.3 and 6.1.4).
    pub(crate) fn is_signed_by(&self, issuer: &Self) -> bool {
        self.issuer == issuer.subject && issuer.may_sign() && self.signed.is_signed_by(&issuer.key)
    }

    /// The extensions that let a key sign certificates.
    fn may_sign(&self) -> bool {
        let constraints = self
            .extension(BasicConstraints::OID)
            .and_then(|value| BasicConstraints::from_der(value).ok());
        let usage = self
            .extension(KeyUsage::OID)
            .and_then(|value| KeyUsage::from_der(value).ok());
        constraints.is_some_and(|constraints| constraints.ca)
            && usage.is_some_and(|usage| usage.key_cert_sign())
    }
}

impl PublicKey {
    fn read(spki: &[u8]) -> Result<Self, SnpCertificateError> {
        use x509_cert::spki::SubjectPublicKeyInfoRef;

        let spki = SubjectPublicKeyInfoRef::from_der(spki)?;
        let bits = spki.subject_public_key.as_bytes().unwrap_or_default();
        let algorithm = spki.algorithm.oid;
        if algorithm == RSA {
            return Ok(Self::Rsa(bits.to_vec()));
        }
        let curve = spki.algorithm.parameters_oid().ok();
        if algorithm == EC && curve == Some(P384) && bits.len() == 97 && bits[0] == 4 {
            return Ok(Self::P384(bits.to_vec()));
        }
        Err(unexpected(
            "public key",
            "RSA, or an uncompressed point of P-384",
            algorithm.to_string(),
        ))
    }
}

impl Signed {
    /// Takes the signed part of `SEQUENCE { signed, algorithm, signature }` as it stands.
    ///
    /// `signature` is the whole third element; the caller's parser has found it already.
    pub(super) fn read(der: &[u8], signature: &[u8]) -> Result<Self, SnpCertificateError> {
        let outer = AnyRef::from_der(der)?;
        let mut reader = SliceReader::new(outer.value())?;
        let bytes = reader.tlv_bytes()?.to_vec();
        let algorithm = reader.tlv_bytes()?.to_vec();
        let signature = x509_cert::der::asn1::BitStringRef::from_der(signature)?;
        let signature = signature.as_bytes().ok_or_else(|| {
            SnpCertificateError::Malformed("the signature is no whole number of bytes".to_owned())
        })?;
        Ok(Self {
            bytes,
            algorithm,
            signature: signature.to_vec(),
        })
    }

    /// RSASSA-PSS with SHA-384 and a salt of 48 bytes (RFC 8017, section 8.1.2), which is all that AMD uses.
    pub(super) fn is_signed_by(&self, key: &PublicKey) -> bool {
        let PublicKey::Rsa(key) = key else {
            return false;
        };
        self.algorithm_is_pss()
            && UnparsedPublicKey::new(&RSA_PSS_2048_8192_SHA384, key)
                .verify(&self.bytes, &self.signature)
                .is_ok()
    }

    fn algorithm_is_pss(&self) -> bool {
        use x509_cert::spki::AlgorithmIdentifierRef;

        AlgorithmIdentifierRef::from_der(&self.algorithm)
            .is_ok_and(|algorithm| algorithm.oid == RSASSA_PSS)
    }
}

impl From<x509_cert::der::Error> for SnpCertificateError {
    fn from(error: x509_cert::der::Error) -> Self {
        Self::Malformed(error.to_string())
    }
}

impl From<x509_cert::spki::Error> for SnpCertificateError {
    fn from(error: x509_cert::spki::Error) -> Self {
        Self::Malformed(error.to_string())
    }
}

pub(super) fn unexpected(
    what: &'static str,
    expected: impl Into<String>,
    got: impl Into<String>,
) -> SnpCertificateError {
    SnpCertificateError::Unexpected {
        what,
        expected: expected.into(),
        got: got.into(),
    }
}

pub(super) fn check_len(der: &[u8], max: usize) -> Result<(), SnpCertificateError> {
    let got = der.len();
    if (1..=max).contains(&got) {
        return Ok(());
    }
    Err(SnpCertificateError::Length { max, got })
}

pub(super) fn time(time: Time) -> Result<DateTime<Utc>, SnpCertificateError> {
    let seconds = time.to_unix_duration().as_secs();
    i64::try_from(seconds)
        .ok()
        .and_then(|seconds| DateTime::from_timestamp(seconds, 0))
        .ok_or_else(|| unexpected("time", "a time that a calendar has", seconds.to_string()))
}

/// No extension twice, and none that is critical and not understood here (RFC 5280, section 4.2).
fn check_extensions(extensions: &[Extension]) -> Result<(), SnpCertificateError> {
    for (at, extension) in extensions.iter().enumerate() {
        let oid = extension.extn_id;
        if extensions[..at].iter().any(|other| other.extn_id == oid) {
            return Err(unexpected(
                "extension",
                "there once",
                format!("{oid} twice"),
            ));
        }
        let understood = oid == BasicConstraints::OID
            || oid == KeyUsage::OID
            || oid.to_string().starts_with(AMD_ARC);
        if extension.critical && !understood {
            return Err(unexpected(
                "critical extension",
                "one that this version understands",
                oid.to_string(),
            ));
        }
    }
    Ok(())
}

/// The one common name; it is shown to people, so it is plain ASCII.
fn common_name(name: &Name) -> Result<String, SnpCertificateError> {
    let mut names = name.iter().filter(|part| part.oid == COMMON_NAME);
    let (Some(found), None) = (names.next(), names.next()) else {
        return Err(unexpected("common name", "there once", name.to_string()));
    };
    let text = std::str::from_utf8(found.value.value()).unwrap_or_default();
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b' ';
    if (1..=64).contains(&text.len()) && text.bytes().all(plain) {
        return Ok(text.to_owned());
    }
    Err(unexpected(
        "common name",
        "1 to 64 letters, digits and hyphens",
        hex::encode(found.value.value()),
    ))
}

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const RSASSA_PSS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
/// AMD's extensions of chip endorsement keys (AMD 57230).
const AMD_ARC: &str = "1.3.6.1.4.1.3704.1.";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{claims::SnpProduct, snp::roots::Roots};

    #[test]
    fn a_changed_byte_of_a_root_is_malformed_or_breaks_its_signature() {
        let roots = Roots::amd();
        let ark = &roots.of(SnpProduct::Milan).ark;
        let ask = &roots.of(SnpProduct::Milan).ask;
        assert!(ask.is_signed_by(ark) && ark.is_signed_by(ark) && !ark.is_signed_by(ask));
        for at in (0..ask.der().len()).step_by(7) {
            let mut der = ask.der().to_vec();
            der[at] ^= 1;
            let accepted = SnpCertificate::parse(&der).is_ok_and(|other| other.is_signed_by(ark));
            // The parameters of the outer algorithm are not signed and not used.
            assert!(
                !accepted || der[..] == ask.der()[..] || outer_parameters(at),
                "byte {at}"
            );
        }
    }

    fn outer_parameters(at: usize) -> bool {
        (1090..1164).contains(&at)
    }

    #[test]
    fn empty_oversize_and_trailing_bytes_are_refused() {
        let roots = Roots::amd();
        let der = roots.of(SnpProduct::Genoa).ark.der().to_vec();
        assert!(SnpCertificate::parse(&[]).is_err());
        assert!(SnpCertificate::parse(&vec![0x30; SnpCertificate::MAX_DER + 1]).is_err());
        assert!(SnpCertificate::parse(&[der.as_slice(), &[0]].concat()).is_err());
        for end in 0..der.len() {
            assert!(SnpCertificate::parse(&der[..end]).is_err(), "{end}");
        }
    }
}
