//! The frame of a quote: which bytes are what.

use rustls_pki_types::{CertificateDer, pem::PemObject};
use x509_cert::{Certificate, der::Decode as _};

use super::crypto::AwsLc;
use crate::{
    claims::Fmspc,
    wire::{Reader, WireError},
};

/// A quote of version 4 or 5, parsed and not yet believed.
///
/// Layout: "Intel TDX DCAP Quoting Library API", appendix A.3; integers are little-endian. Every length must
/// lead exactly to the end of what contains it. After the quote only zeros may follow, which the
/// kernel's and the cloud's interfaces leave in their buffers: nothing else is tolerated.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TdxQuote {
    /// The layout's version, 4 or 5.
    pub version: u16,
    /// The body's version and contents.
    pub body: TdBody,
    /// The platform's certificate (PCK) and those above it, in PEM.
    pub(crate) pck_chain: Vec<u8>,
}

/// What the TDX module says of a trust domain ("TD Quote Body").
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TdBody {
    /// TEE_TCB_SVN.
    pub tee_tcb_svn: [u8; 16],
    /// MRSEAM.
    pub mr_seam: [u8; 48],
    /// MRSIGNERSEAM.
    pub mr_signer_seam: [u8; 48],
    /// SEAMATTRIBUTES.
    pub seam_attributes: [u8; 8],
    /// TDATTRIBUTES.
    pub td_attributes: [u8; 8],
    /// XFAM.
    pub xfam: [u8; 8],
    /// MRTD.
    pub mrtd: [u8; 48],
    /// MRCONFIGID.
    pub mr_config_id: [u8; 48],
    /// MROWNER.
    pub mr_owner: [u8; 48],
    /// MROWNERCONFIG.
    pub mr_owner_config: [u8; 48],
    /// RTMR0 to RTMR3.
    pub rtmrs: [[u8; 48]; 4],
    /// REPORTDATA.
    pub report_data: [u8; 64],
    /// MRSERVICETD: bodies of version 1.5 and later.
    pub mr_service_td: Option<[u8; 48]>,
}

impl TdxQuote {
    /// TDX's number among Intel's kinds of TEE.
    const TDX: u32 = 0x81;

    /// Reads a quote.
    ///
    /// # Errors
    /// A message that says which field is not as Intel has it.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        Self::read(bytes).map_err(|error| error.to_string())
    }

    pub(crate) fn read_version(bytes: &[u8]) -> Result<u16, WireError> {
        Reader::new(bytes).u16_le("the quote's version")
    }

    pub(crate) fn read(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes);
        let version = read_header(&mut reader)?;
        let body = match version {
            4 => read_body(BodyKind::Td10, &mut reader)?,
            _ => read_typed_body(&mut reader)?,
        };
        let signature_len = reader.u32_le("the length of the quote's signature data")? as usize;
        let signature = reader.take("the quote's signature data", signature_len)?;
        reader.only_zeros_left("the bytes after the quote")?;
        Ok(Self {
            version,
            body,
            pck_chain: read_pck_chain(signature)?,
        })
    }

    /// The platform's model, from its certificate. Nobody has looked at the certificate's signature yet.
    ///
    /// # Errors
    /// A message where the quote holds no certificate of a platform.
    pub fn fmspc(&self) -> Result<Fmspc, String> {
        dcap_qvl::intel::parse_pck_extension_with::<AwsLc>(&self.pck()?)
            .map(|extension| Fmspc::new(extension.fmspc))
            .map_err(|error| format!("the platform's certificate: {error:#}"))
    }

    /// Which of Intel's authorities says that it certified the platform, as Intel's service names them: `platform` or
    /// `processor`. Nobody has looked at the certificate's signature yet.
    ///
    /// # Errors
    /// A message where the quote holds no certificate of a platform, or one of another issuer.
    pub fn pck_ca(&self) -> Result<&'static str, String> {
        let pck = self.pck()?;
        let certificate = Certificate::from_der(&pck)
            .map_err(|error| format!("the platform's certificate: {error}"))?;
        let issuer = certificate.tbs_certificate().issuer().to_string();
        [
            ("CN=Intel SGX PCK Platform CA", "platform"),
            ("CN=Intel SGX PCK Processor CA", "processor"),
        ]
        .into_iter()
        .find(|(name, _)| issuer.split(',').any(|part| part == *name))
        .map(|(_, ca)| ca)
        .ok_or_else(|| {
            format!("the platform's certificate must be issued by Intel's platform or processor CA, got {issuer}")
        })
    }

    fn pck(&self) -> Result<CertificateDer<'static>, String> {
        CertificateDer::pem_slice_iter(&self.pck_chain)
            .next()
            .ok_or("the quote holds no platform certificate")?
            .map_err(|error| format!("the platform's certificate is no PEM: {error}"))
    }
}

fn read_header(reader: &mut Reader<'_>) -> Result<u16, WireError> {
    let version = reader.u16_le("the quote's version")?;
    if !matches!(version, 4 | 5) {
        return Err(WireError::value("the quote's version", "4 or 5", version));
    }
    let key = reader.u16_le("the attestation key's type")?;
    if key != ECDSA_P256 {
        let expected = "2, ECDSA on P-256";
        return Err(WireError::value(
            "the attestation key's type",
            expected,
            key,
        ));
    }
    let tee = reader.u32_le("the kind of TEE in the quote")?;
    if tee != TdxQuote::TDX {
        let got = format!("{tee:#x}");
        return Err(WireError::value(
            "the kind of TEE in the quote",
            "0x81, TDX",
            got,
        ));
    }
    // Version 4 reserves what were QE_SVN and PCE_SVN, and says no value; both are signed.
    reader.take("the quote's reserved bytes", 4)?;
    let vendor: [u8; 16] = reader.array("the quoting enclave's vendor")?;
    if vendor != INTEL {
        return Err(WireError::value(
            "the quoting enclave's vendor",
            hex::encode(INTEL),
            hex::encode(vendor),
        ));
    }
    reader.take("the quote's user data", 20)?;
    Ok(version)
}

#[derive(Clone, Copy)]
enum BodyKind {
    Td10,
    Td15,
    Td15Extended,
}

/// Version 5 states the body's kind and length.
fn read_typed_body(reader: &mut Reader<'_>) -> Result<TdBody, WireError> {
    let kind = match reader.u16_le("the body's type")? {
        2 => BodyKind::Td10,
        3 => BodyKind::Td15,
        4 => BodyKind::Td15Extended,
        other => return Err(WireError::value("the body's type", "2, 3 or 4, TDX", other)),
    };
    let len = reader.u32_le("the body's length")?;
    if len != kind.len() {
        return Err(WireError::value("the body's length", kind.len(), len));
    }
    read_body(kind, reader)
}

impl BodyKind {
    const fn len(self) -> u32 {
        match self {
            Self::Td10 => 584,
            Self::Td15 => 648,
            Self::Td15Extended => 885,
        }
    }
}

fn read_body(kind: BodyKind, reader: &mut Reader<'_>) -> Result<TdBody, WireError> {
    let mut body = TdBody {
        tee_tcb_svn: reader.array("TEE_TCB_SVN")?,
        mr_seam: reader.array("MRSEAM")?,
        mr_signer_seam: reader.array("MRSIGNERSEAM")?,
        seam_attributes: reader.array("SEAMATTRIBUTES")?,
        td_attributes: reader.array("TDATTRIBUTES")?,
        xfam: reader.array("XFAM")?,
        mrtd: reader.array("MRTD")?,
        mr_config_id: reader.array("MRCONFIGID")?,
        mr_owner: reader.array("MROWNER")?,
        mr_owner_config: reader.array("MROWNERCONFIG")?,
        rtmrs: [
            reader.array("RTMR0")?,
            reader.array("RTMR1")?,
            reader.array("RTMR2")?,
            reader.array("RTMR3")?,
        ],
        report_data: reader.array("REPORTDATA")?,
        mr_service_td: None,
    };
    if matches!(kind, BodyKind::Td15 | BodyKind::Td15Extended) {
        reader.take("TEE_TCB_SVN_2", 16)?;
        body.mr_service_td = Some(reader.array("MRSERVICETD")?);
    }
    if matches!(kind, BodyKind::Td15Extended) {
        reader.take("the fields of the extended body", 885 - 648)?;
    }
    Ok(body)
}

/// From the signature data to the platform's certificates: "Quote Signature Data Structure", then "QE Report Certification Data".
fn read_pck_chain(signature: &[u8]) -> Result<Vec<u8>, WireError> {
    let mut reader = Reader::new(signature);
    reader.take("the quote's signature", 64)?;
    reader.take("the attestation key", 64)?;
    let certification = certification_data("the quote's certification data", 6, &mut reader)?;
    reader.finish("the quote's signature data")?;

    let mut reader = Reader::new(certification);
    reader.take("the quoting enclave's report", 384)?;
    reader.take("the signature of the quoting enclave's report", 64)?;
    let len = usize::from(reader.u16_le("the length of the quoting enclave's data")?);
    reader.take("the quoting enclave's data", len)?;
    let chain = certification_data("the quoting enclave's certification data", 5, &mut reader)?;
    reader.finish("the quote's certification data")?;
    Ok(chain.to_vec())
}

/// Type 6 holds the quoting enclave's report, type 5 certificates in PEM. Others would need a server to make sense of.
fn certification_data<'a>(
    what: &'static str,
    kind: u16,
    reader: &mut Reader<'a>,
) -> Result<&'a [u8], WireError> {
    let got = reader.u16_le(what)?;
    if got != kind {
        return Err(WireError::value(what, format_args!("of type {kind}"), got));
    }
    let len = reader.u32_le(what)? as usize;
    reader.take(what, len)
}

const ECDSA_P256: u16 = 2;
const INTEL: [u8; 16] = 0x939a7233_f79c4ca9_940a0db3_957f0607_u128.to_be_bytes();

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A quote of the smallest content that the layout takes.
    pub(crate) fn blank(version: u16, body: u16) -> Vec<u8> {
        let mut bytes = vec![0; 48];
        bytes[..2].copy_from_slice(&version.to_le_bytes());
        bytes[2] = 2;
        bytes[4] = 0x81;
        bytes[12..28].copy_from_slice(&INTEL);
        let len: u32 = match body {
            2 => 584,
            3 => 648,
            _ => 885,
        };
        if version == 5 {
            bytes.extend_from_slice(&body.to_le_bytes());
            bytes.extend_from_slice(&len.to_le_bytes());
        }
        bytes.resize(bytes.len() + len as usize, 0);
        let inner = [
            &[0; 384 + 64][..],
            &[0, 0],
            &5_u16.to_le_bytes(),
            &3_u32.to_le_bytes(),
            b"pem",
        ]
        .concat();
        let signature = [
            &[0; 128][..],
            &6_u16.to_le_bytes(),
            &(inner.len() as u32).to_le_bytes(),
            &inner,
        ]
        .concat();
        bytes.extend_from_slice(&(signature.len() as u32).to_le_bytes());
        [bytes, signature].concat()
    }

    #[test]
    fn both_versions_and_all_bodies_are_read() {
        for (version, body) in [(4, 2), (5, 2), (5, 3), (5, 4)] {
            let quote = TdxQuote::parse(&blank(version, body)).unwrap();
            assert_eq!(quote.version, version);
            assert_eq!(quote.body.mr_service_td.is_some(), body > 2);
            assert_eq!(quote.pck_chain, b"pem");
        }
    }

    #[test]
    fn every_truncation_and_every_addition_but_zeros_is_refused() {
        for bytes in [blank(4, 2), blank(5, 3)] {
            for end in 0..bytes.len() {
                assert!(TdxQuote::parse(&bytes[..end]).is_err(), "{end}");
            }
            assert!(TdxQuote::parse(&[&bytes[..], &[0; 70]].concat()).is_ok());
            for more in [[1, 0], [0, 1]] {
                let error = TdxQuote::parse(&[&bytes[..], &more].concat()).unwrap_err();
                assert!(error.contains("the bytes after the quote"), "{error}");
            }
        }
    }

    #[test]
    fn other_versions_keys_tees_vendors_bodies_and_lengths_are_refused() {
        let signature = 48 + 584;
        for (at, value) in [
            (0, 3),
            (0, 6),
            (2, 3),         // a key on P-384
            (4, 0),         // SGX
            (12, 0),        // another vendor
            (signature, 0), // lengths that do not lead to the end
            (signature + 4 + 128, 5),
            (signature + 4 + 130, 0),
            (signature + 4 + 134 + 448, 1),
            (signature + 4 + 134 + 450, 3),
            (signature + 4 + 134 + 452, 2),
        ] {
            let mut bytes = blank(4, 2);
            bytes[at] = value;
            assert!(TdxQuote::parse(&bytes).is_err(), "{at} = {value}");
        }
        for (at, value) in [(48, 1), (48, 5), (48, 2), (50, 0), (52, 1)] {
            let mut bytes = blank(5, 3);
            bytes[at] = value;
            assert!(TdxQuote::parse(&bytes).is_err(), "{at} = {value}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(
            version in 4_u16..6,
            body in 2_u16..5,
            changes in prop::collection::vec((0..1400_usize, any::<u8>()), 0..6),
        ) {
            let mut bytes = blank(version, body);
            for (at, value) in changes {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = value;
                }
            }
            if let Ok(quote) = TdxQuote::parse(&bytes) {
                let _ = quote.fmspc();
            }
        }
    }
}
