//! Keys that sign reports: the chip's (VCEK) and the provider's (VLEK).

use std::fmt;

use x509_cert::der::{
    Decode,
    asn1::{Ia5StringRef, UintRef},
    oid::ObjectIdentifier,
};

use super::{
    certificate::{PublicKey, SnpCertificate, SnpCertificateError, unexpected},
    product::{amd_name, by_amd_name, hardware_id_len},
};
use crate::claims::{SnpProduct, SnpSigningKey, SnpTcb};

/// The certificate of a versioned endorsement key, with what AMD says in it about the chip or the
/// provider and the firmware (AMD 57230, "VCEK and VLEK Certificate Format").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vek {
    certificate: SnpCertificate,
    kind: VekKind,
    product: SnpProduct,
    tcb: SnpTcb,
    point: Vec<u8>,
}

/// Whose key it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum VekKind {
    /// A chip's, with its hardware id of 64 bytes, or 8 on Turin.
    Vcek {
        /// The hardware id.
        hardware_id: Vec<u8>,
    },
    /// A cloud provider's.
    Vlek {
        /// The provider, as AMD names it.
        provider: String,
    },
}

impl Vek {
    /// Reads a certificate in DER.
    ///
    /// # Errors
    /// Where it is not the certificate of a VCEK or VLEK of a known product.
    pub fn parse(der: &[u8]) -> Result<Self, SnpCertificateError> {
        Self::read(SnpCertificate::parse(der)?)
    }

    pub(crate) fn read(certificate: SnpCertificate) -> Result<Self, SnpCertificateError> {
        let PublicKey::P384(point) = certificate.key().clone() else {
            return Err(unexpected("public key", "a point of P-384", "RSA"));
        };
        // The structure's version 1 came with Turin and changes nothing of what is read here.
        let version = integer(&certificate, STRUCTURE_VERSION, "structVersion")?;
        if version > 1 {
            return Err(unexpected("structVersion", "0 or 1", version.to_string()));
        }
        let name = text(&certificate, PRODUCT_NAME, "productName")?;
        let product = by_amd_name(&name)
            .ok_or_else(|| unexpected("productName", "Milan, Genoa or Turin", name))?;
        Ok(Self {
            kind: read_kind(&certificate, product)?,
            tcb: read_tcb(&certificate, product)?,
            product,
            point,
            certificate,
        })
    }

    /// Whose key it is.
    pub fn kind(&self) -> &VekKind {
        &self.kind
    }

    /// The processor's generation.
    pub fn product(&self) -> SnpProduct {
        self.product
    }

    /// The firmware that the key is for.
    pub fn tcb(&self) -> SnpTcb {
        self.tcb
    }

    /// The kind of key, as reports name it.
    pub fn signing_key(&self) -> SnpSigningKey {
        match self.kind {
            VekKind::Vcek { .. } => SnpSigningKey::Vcek,
            VekKind::Vlek { .. } => SnpSigningKey::Vlek,
        }
    }

    pub(crate) fn certificate(&self) -> &SnpCertificate {
        &self.certificate
    }

    /// The uncompressed point of P-384.
    pub(crate) fn point(&self) -> &[u8] {
        &self.point
    }

    /// Whether a certificate says of itself that it is one of these.
    pub(crate) fn is_named(certificate: &SnpCertificate) -> bool {
        matches!(certificate.common_name(), VCEK_NAME | VLEK_NAME)
    }
}

impl fmt::Display for Vek {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            VekKind::Vcek { hardware_id } => write!(
                f,
                "the VCEK of the {} chip {} with {}",
                amd_name(self.product),
                hex::encode(hardware_id),
                self.tcb
            ),
            VekKind::Vlek { provider } => {
                let product = amd_name(self.product);
                write!(f, "the VLEK of {provider} for {product} with {}", self.tcb)
            }
        }
    }
}

/// The name and the extension must agree: a VLEK has a provider and no chip, a VCEK the reverse.
fn read_kind(
    certificate: &SnpCertificate,
    product: SnpProduct,
) -> Result<VekKind, SnpCertificateError> {
    let hardware_id = certificate.extension(HARDWARE_ID);
    let provider = certificate.extension(PROVIDER_ID);
    match (certificate.common_name(), hardware_id, provider) {
        (VCEK_NAME, Some(id), None) if id.len() == hardware_id_len(product) => Ok(VekKind::Vcek {
            hardware_id: id.to_vec(),
        }),
        (VLEK_NAME, None, Some(_)) => Ok(VekKind::Vlek {
            provider: text(certificate, PROVIDER_ID, "cspId")?,
        }),
        (name, hardware_id, provider) => Err(unexpected(
            "kind",
            format!(
                "{VCEK_NAME} with a hardware id of {} bytes, or {VLEK_NAME} with a provider",
                hardware_id_len(product)
            ),
            format!(
                "{name} with {} bytes of hardware id and {} provider",
                hardware_id.map_or(0, <[u8]>::len),
                if provider.is_some() { "a" } else { "no" }
            ),
        )),
    }
}

fn read_tcb(
    certificate: &SnpCertificate,
    product: SnpProduct,
) -> Result<SnpTcb, SnpCertificateError> {
    let fmc = match product {
        SnpProduct::Turin => Some(integer(certificate, FMC, "fmcSPL")?),
        SnpProduct::Milan | SnpProduct::Genoa => {
            if certificate.extension(FMC).is_some() {
                return Err(unexpected("fmcSPL", "absent before Turin", "present"));
            }
            None
        }
    };
    // The parts that firmware of today does not use; a certificate that fills one means something
    // that nobody here compares.
    for (oid, what) in RESERVED {
        if certificate.extension(oid).is_some() && integer(certificate, oid, what)? != 0 {
            return Err(unexpected(what, "0", "another number"));
        }
    }
    Ok(SnpTcb {
        fmc,
        bootloader: integer(certificate, BOOTLOADER, "blSPL")?,
        tee: integer(certificate, TEE, "teeSPL")?,
        snp: integer(certificate, SNP, "snpSPL")?,
        microcode: integer(certificate, MICROCODE, "ucodeSPL")?,
    })
}

/// A DER INTEGER of 0 to 255, which takes two bytes from 128 on (X.690, section 8.3).
fn integer(
    certificate: &SnpCertificate,
    oid: ObjectIdentifier,
    what: &'static str,
) -> Result<u8, SnpCertificateError> {
    let value = certificate
        .extension(oid)
        .ok_or_else(|| unexpected(what, "present", "absent"))?;
    match UintRef::from_der(value).map(|number| number.as_bytes().to_vec()) {
        Ok(bytes) if bytes.len() == 1 => Ok(bytes[0]),
        _ => Err(unexpected(
            what,
            "an INTEGER of 0 to 255",
            hex::encode(value),
        )),
    }
}

/// An IA5String that is shown to people.
fn text(
    certificate: &SnpCertificate,
    oid: ObjectIdentifier,
    what: &'static str,
) -> Result<String, SnpCertificateError> {
    let value = certificate
        .extension(oid)
        .ok_or_else(|| unexpected(what, "present", "absent"))?;
    let text =
        Ia5StringRef::from_der(value).map_or_else(|_| String::new(), |text| text.to_string());
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.=, ".contains(&b);
    if (1..=128).contains(&text.len()) && text.bytes().all(plain) {
        return Ok(text);
    }
    Err(unexpected(
        what,
        "1 to 128 plain characters",
        hex::encode(value),
    ))
}

const VCEK_NAME: &str = "SEV-VCEK";
const VLEK_NAME: &str = "SEV-VLEK";
const fn amd(oid: &'static str) -> ObjectIdentifier {
    ObjectIdentifier::new_unwrap(oid)
}
const STRUCTURE_VERSION: ObjectIdentifier = amd("1.3.6.1.4.1.3704.1.1");
const PRODUCT_NAME: ObjectIdentifier = amd("1.3.6.1.4.1.3704.1.2");
const BOOTLOADER: ObjectIdentifier = amd("1.3.6.1.4.1.3704.1.3.1");
const TEE: ObjectIdentifier = amd("1.3.6.1.4.1.3704.1.3.2");
const SNP: ObjectIdentifier = amd("1.3.6.1.4.1.3704.1.3.3");
const RESERVED: [(ObjectIdentifier, &str); 4] = [
    (amd("1.3.6.1.4.1.3704.1.3.4"), "spl4"),
    (amd("1.3.6.1.4.1.3704.1.3.5"), "spl5"),
    (amd("1.3.6.1.4.1.3704.1.3.6"), "spl6"),
    (amd("1.3.6.1.4.1.3704.1.3.7"), "spl7"),
];
const MICROCODE: ObjectIdentifier = amd("1.3.6.1.4.1.3704.1.3.8");
const FMC: ObjectIdentifier = amd("1.3.6.1.4.1.3704.1.3.9");
const HARDWARE_ID: ObjectIdentifier = amd("1.3.6.1.4.1.3704.1.4");
const PROVIDER_ID: ObjectIdentifier = amd("1.3.6.1.4.1.3704.1.5");
