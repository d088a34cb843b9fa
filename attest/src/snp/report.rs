//! The attestation report as the firmware writes it.

use super::{product, tcb::RawTcb};
use crate::{
    claims::{SnpGuestPolicy, SnpProduct, SnpSigningKey},
    wire::{Reader, WireError},
};

/// A report of 1184 bytes, parsed and not yet believed.
///
/// Layout: AMD 56860, section 7.3, "ATTESTATION_REPORT Structure", versions 2 to 5; integers are
/// little-endian. Every byte that the specification says must be zero is checked, so that one spelling
/// has one meaning, whoever signed it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SnpReport {
    /// The layout's version, 2 to 5.
    pub version: u32,
    /// The guest's security version, from its ID block.
    pub guest_svn: u32,
    /// What the guest's owner demanded of the firmware.
    pub policy: SnpGuestPolicy,
    /// The guest's family, from its ID block.
    pub family_id: [u8; 16],
    /// The guest's image, from its ID block.
    pub image_id: [u8; 16],
    /// The privilege level at which the report was asked for, 0 to 3.
    pub vmpl: u8,
    /// The firmware that runs now.
    pub current_tcb: RawTcb,
    /// How the platform is set up, bit by bit.
    pub platform_info: u64,
    /// Whether the digest of an author's key is there.
    pub author_key_enabled: bool,
    /// The kind of key that signed.
    pub signing_key: SnpSigningKey,
    /// What the guest asked the firmware to sign.
    pub report_data: [u8; 64],
    /// The digest of the guest's memory at launch.
    pub measurement: [u8; 48],
    /// What the host stated at launch.
    pub host_data: [u8; 32],
    /// SHA-384 of the key that signed the guest's ID block; zeros where there is none.
    pub id_key_digest: [u8; 48],
    /// SHA-384 of the key that certified the ID key; zeros where there is none.
    pub author_key_digest: [u8; 48],
    /// This guest, as long as it runs.
    pub report_id: [u8; 32],
    /// The guest's migration agent.
    pub report_id_ma: [u8; 32],
    /// The firmware that the signing key was derived for.
    pub reported_tcb: RawTcb,
    /// The processor's generation: stated from version 3 on.
    pub product: Option<SnpProduct>,
    /// The chip; zeros where the platform masks it.
    pub chip_id: [u8; 64],
    /// The oldest firmware to which the platform can go back.
    pub committed_tcb: RawTcb,
    /// Major, minor and build number of the firmware that runs now.
    pub current_version: [u8; 3],
    /// Major, minor and build number of the firmware that is committed.
    pub committed_version: [u8; 3],
    /// The firmware at the guest's launch.
    pub launch_tcb: RawTcb,
    /// Mitigations in force at the launch: stated from version 5 on.
    pub launch_mitigations: Option<u64>,
    /// Mitigations in force now: stated from version 5 on.
    pub current_mitigations: Option<u64>,
}

impl SnpReport {
    /// Length in bytes.
    pub const LEN: usize = 1184;
    /// The oldest layout that is read.
    pub const OLDEST_VERSION: u32 = 2;
    /// The newest layout that is read.
    pub const NEWEST_VERSION: u32 = 5;
    /// The front part, which the signature covers.
    pub(crate) const SIGNED: usize = 0x2a0;

    /// Reads a report.
    ///
    /// # Errors
    /// A message that says which field is not as the specification has it.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        Self::read(bytes).map_err(|error| error.to_string())
    }

    /// The version alone, which says how to read the rest.
    pub(crate) fn read_version(bytes: &[u8]) -> Result<u32, WireError> {
        check_len(bytes)?;
        Reader::new(bytes).u32_le("the report's version")
    }

    pub(crate) fn read(bytes: &[u8]) -> Result<Self, WireError> {
        let version = Self::read_version(bytes)?;
        if !(Self::OLDEST_VERSION..=Self::NEWEST_VERSION).contains(&version) {
            return Err(WireError::value("the report's version", "2 to 5", version));
        }
        let mut reader = Reader::new(bytes);
        reader.take("the report's version", 4)?;
        let guest_svn = reader.u32_le("GUEST_SVN")?;
        let policy = read_policy(&mut reader)?;
        let family_id = reader.array("FAMILY_ID")?;
        let image_id = reader.array("IMAGE_ID")?;
        let vmpl = read_vmpl(&mut reader)?;
        let algorithm = reader.u32_le("SIGNATURE_ALGO")?;
        if algorithm != ECDSA_P384_SHA384 {
            return Err(WireError::value(
                "SIGNATURE_ALGO",
                "1, ECDSA on P-384 with SHA-384",
                algorithm,
            ));
        }
        let current_tcb = RawTcb(reader.array("CURRENT_TCB")?);
        let platform_info = reader.u64_le("PLATFORM_INFO")?;
        let (author_key_enabled, signing_key) = read_key_information(&mut reader)?;
        reader.zeros("the reserved bytes at 0x4c", 4)?;
        let report_data = reader.array("REPORT_DATA")?;
        let measurement = reader.array("MEASUREMENT")?;
        let host_data = reader.array("HOST_DATA")?;
        let id_key_digest = reader.array("ID_KEY_DIGEST")?;
        let author_key_digest = reader.array("AUTHOR_KEY_DIGEST")?;
        let report_id = reader.array("REPORT_ID")?;
        let report_id_ma = reader.array("REPORT_ID_MA")?;
        let reported_tcb = RawTcb(reader.array("REPORTED_TCB")?);
        let product = read_product(version, &mut reader)?;
        let chip_id = reader.array("CHIP_ID")?;
        let committed_tcb = RawTcb(reader.array("COMMITTED_TCB")?);
        let current_version = read_firmware_version("the current firmware", &mut reader)?;
        let committed_version = read_firmware_version("the committed firmware", &mut reader)?;
        let launch_tcb = RawTcb(reader.array("LAUNCH_TCB")?);
        let [launch_mitigations, current_mitigations] = if version >= 5 {
            [
                Some(reader.u64_le("LAUNCH_MIT_VECTOR")?),
                Some(reader.u64_le("CURRENT_MIT_VECTOR")?),
            ]
        } else {
            reader.zeros("the reserved bytes at 0x1f8", 16)?;
            [None, None]
        };
        reader.zeros("the reserved bytes at 0x208", 152)?;
        read_signature(&mut reader)?;
        reader.finish("the report")?;
        Ok(Self {
            version,
            guest_svn,
            policy,
            family_id,
            image_id,
            vmpl,
            current_tcb,
            platform_info,
            author_key_enabled,
            signing_key,
            report_data,
            measurement,
            host_data,
            id_key_digest,
            author_key_digest,
            report_id,
            report_id_ma,
            reported_tcb,
            product,
            chip_id,
            committed_tcb,
            current_version,
            committed_version,
            launch_tcb,
            launch_mitigations,
            current_mitigations,
        })
    }

    /// The signed bytes, and the signature as two big-endian numbers of 48 bytes, as the algorithm takes it.
    pub(crate) fn signed_parts(bytes: &[u8]) -> Result<(&[u8], [u8; 96]), WireError> {
        check_len(bytes)?;
        let (signed, signature) = bytes.split_at(Self::SIGNED);
        Ok((signed, read_signature(&mut Reader::new(signature))?))
    }
}

fn check_len(bytes: &[u8]) -> Result<(), WireError> {
    if bytes.len() == SnpReport::LEN {
        return Ok(());
    }
    Err(WireError::Length {
        what: "an SEV-SNP report",
        min: SnpReport::LEN,
        max: SnpReport::LEN,
        got: bytes.len(),
    })
}

/// Bits that no version of the specification defines could weaken a guest in ways nobody here knows of.
fn read_policy(reader: &mut Reader<'_>) -> Result<SnpGuestPolicy, WireError> {
    let policy = reader.u64_le("POLICY")?;
    SnpGuestPolicy::from_bits(policy)
        .map_err(|error| WireError::value("POLICY", "a known guest policy", error))
}

fn read_vmpl(reader: &mut Reader<'_>) -> Result<u8, WireError> {
    match reader.u32_le("VMPL")? {
        vmpl @ 0..=3 => Ok(vmpl as u8),
        HOST_REQUEST => Err(WireError::value(
            "VMPL",
            "0 to 3",
            "a report that the host asked for, not the guest",
        )),
        vmpl => Err(WireError::value("VMPL", "0 to 3", vmpl)),
    }
}

/// AUTHOR_KEY_EN, MASK_CHIP_KEY and SIGNING_KEY.
fn read_key_information(reader: &mut Reader<'_>) -> Result<(bool, SnpSigningKey), WireError> {
    let bits = reader.u32_le("the key information")?;
    if bits >> 5 != 0 {
        let got = format!("{bits:#x}");
        return Err(WireError::value(
            "the key information",
            "bits 5 to 31 clear",
            got,
        ));
    }
    if bits & MASK_CHIP_KEY != 0 {
        return Err(WireError::value(
            "MASK_CHIP_KEY",
            "0",
            "1: the platform does not sign with its key",
        ));
    }
    let signing_key = match bits >> 2 & 0b111 {
        0 => SnpSigningKey::Vcek,
        1 => SnpSigningKey::Vlek,
        7 => return Err(WireError::value("SIGNING_KEY", "VCEK or VLEK", "none")),
        other => return Err(WireError::value("SIGNING_KEY", "VCEK or VLEK", other)),
    };
    Ok((bits & 1 != 0, signing_key))
}

/// CPUID_FAM_ID, CPUID_MOD_ID and CPUID_STEP, which version 2 lacks.
fn read_product(version: u32, reader: &mut Reader<'_>) -> Result<Option<SnpProduct>, WireError> {
    if version < 3 {
        reader.zeros("the reserved bytes at 0x188", 24)?;
        return Ok(None);
    }
    let [family, model, _stepping] = reader.array("the processor's family and model")?;
    reader.zeros("the reserved bytes at 0x18b", 21)?;
    let product = product::by_cpu(family, model).ok_or_else(|| {
        WireError::value(
            "the processor",
            "a Milan, Genoa or Turin",
            format_args!("family {family:#x}, model {model:#x}"),
        )
    })?;
    Ok(Some(product))
}

fn read_firmware_version(
    what: &'static str,
    reader: &mut Reader<'_>,
) -> Result<[u8; 3], WireError> {
    let [build, minor, major] = reader.array(what)?;
    reader.zeros("the reserved byte after a firmware version", 1)?;
    Ok([major, minor, build])
}

/// R and S, each 72 bytes little-endian of which P-384 uses 48, and 368 bytes that nobody uses
/// (AMD 56860, chapter 10, "Signature Algorithms"). Unused bytes are not signed, so they must be zero here: a report has one spelling.
fn read_signature(reader: &mut Reader<'_>) -> Result<[u8; 96], WireError> {
    let mut signature = [0; 96];
    for half in signature.chunks_exact_mut(48) {
        half.copy_from_slice(reader.take("a half of the signature", 48)?);
        half.reverse();
        reader.zeros("the upper bytes of a half of the signature", 24)?;
    }
    reader.zeros("the unused bytes of the signature", 368)?;
    Ok(signature)
}

const ECDSA_P384_SHA384: u32 = 1;
const HOST_REQUEST: u32 = u32::MAX;
const MASK_CHIP_KEY: u32 = 1 << 1;

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A report of the smallest content that the layout takes; its signature is zero.
    pub(crate) fn blank(version: u32) -> Vec<u8> {
        let mut bytes = vec![0; SnpReport::LEN];
        bytes[..4].copy_from_slice(&version.to_le_bytes());
        bytes[0x0a] = 0x02;
        bytes[0x34] = 1;
        if version >= 3 {
            bytes[0x188] = 0x19;
        }
        bytes
    }

    #[test]
    fn versions_2_to_5_are_read_and_no_other() {
        for version in 2..=5 {
            let report = SnpReport::parse(&blank(version)).unwrap();
            assert_eq!(report.version, version);
            assert_eq!(report.product.is_some(), version >= 3);
            assert_eq!(report.launch_mitigations.is_some(), version == 5);
        }
        for version in [0, 1, 6, u32::MAX] {
            let error = SnpReport::parse(&blank(version)).unwrap_err();
            assert!(error.contains("version must be 2 to 5"), "{error}");
        }
    }

    /// Offsets that must hold zero, whatever the version; and those that only newer versions fill.
    #[test]
    fn every_reserved_byte_must_be_zero() {
        let always = [0x4c..0x50, 0x1eb..0x1ec, 0x1ef..0x1f0, 0x208..0x2a0]
            .into_iter()
            .chain([0x2d0..0x2e8, 0x318..SnpReport::LEN])
            .flatten();
        for at in always {
            for version in 2..=5 {
                let mut bytes = blank(version);
                bytes[at] = 1;
                assert!(SnpReport::parse(&bytes).is_err(), "v{version} at {at:#x}");
            }
        }
        for version in 2..=5 {
            for at in 0x188..0x1a0 {
                let mut bytes = blank(version);
                bytes[at] ^= 0x80;
                let stepping = version >= 3 && at == 0x18a;
                assert_eq!(
                    SnpReport::parse(&bytes).is_ok(),
                    stepping,
                    "v{version} at {at:#x}"
                );
            }
            for at in 0x1f8..0x208 {
                let mut bytes = blank(version);
                bytes[at] = 1;
                assert_eq!(
                    SnpReport::parse(&bytes).is_ok(),
                    version == 5,
                    "v{version} at {at:#x}"
                );
            }
        }
    }

    #[test]
    fn flags_that_nobody_defined_are_refused() {
        for (at, value) in [
            (0x0a, 0x00), // the policy's bit that must be one
            (0x0b, 0x04), // the policy's bit 26
            (0x0f, 0x80), // the policy's bit 63
            (0x30, 4),    // VMPL 4
            (0x33, 0xff),
            (0x34, 0), // another algorithm
            (0x34, 2),
            (0x48, 0x02), // MASK_CHIP_KEY
            (0x48, 0x08), // SIGNING_KEY 2
            (0x48, 0x1c), // SIGNING_KEY none
            (0x48, 0x20),
            (0x4b, 0x80),
        ] {
            let mut bytes = blank(3);
            bytes[at] = value;
            assert!(SnpReport::parse(&bytes).is_err(), "{at:#x} = {value:#x}");
        }
        let mut hosts = blank(3);
        hosts[0x30..0x34].fill(0xff);
        let error = SnpReport::parse(&hosts).unwrap_err();
        assert!(error.contains("the host asked for"), "{error}");
    }

    #[test]
    fn a_report_of_another_length_is_refused() {
        for len in [0, 1, SnpReport::LEN - 1, SnpReport::LEN + 1, 4000] {
            let mut bytes = blank(3);
            bytes.resize(len, 0);
            assert!(SnpReport::parse(&bytes).is_err(), "{len}");
            assert!(SnpReport::signed_parts(&bytes).is_err(), "{len}");
        }
    }

    #[test]
    fn the_signature_is_turned_to_big_endian() {
        let mut bytes = blank(3);
        bytes[0x2a0] = 1;
        bytes[0x2e8 + 47] = 2;
        let (signed, signature) = SnpReport::signed_parts(&bytes).unwrap();
        assert_eq!(signed.len(), 0x2a0);
        assert_eq!((signature[47], signature[48]), (1, 2));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(
            version in 0u32..7,
            changes in prop::collection::vec((0..SnpReport::LEN, any::<u8>()), 0..6),
        ) {
            let mut bytes = blank(version);
            for (at, value) in changes {
                bytes[at] = value;
            }
            let _ = SnpReport::parse(&bytes);
        }
    }
}
