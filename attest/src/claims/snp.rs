//! What an SEV-SNP report states besides what all kinds of TEE do.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    common::{HostData, SecurityVersion, SignerDigest},
    guest_policy::SnpGuestPolicy,
    platform_info::SnpPlatformInfo,
    snp_tcb::SnpTcb,
};
use crate::fixed_bytes::fixed_bytes;

/// What an attestation report states: *SEV Secure Nested Paging Firmware ABI Specification* (56860), section 7.3, table 23.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnpClaims {
    /// The version of the report's layout.
    pub report_version: u32,
    /// The generation of the processor, as the report and the certificate's chain have it.
    pub product: SnpProduct,
    /// GUEST_SVN: the security version that the launch's signer gave the guest.
    pub guest_svn: SecurityVersion,
    /// POLICY: what the guest lets its host do.
    pub guest_policy: SnpGuestPolicy,
    /// FAMILY_ID of the launch's signer.
    pub family_id: FamilyId,
    /// IMAGE_ID of the launch's signer.
    pub image_id: ImageId,
    /// VMPL: the privilege level that asked for the report.
    pub vmpl: Vmpl,
    /// CURRENT_TCB: the firmware that runs.
    pub current_tcb: SnpTcb,
    /// REPORTED_TCB: the firmware for which the signing key was derived.
    pub reported_tcb: SnpTcb,
    /// COMMITTED_TCB: the firmware below which the platform cannot be rolled back.
    pub committed_tcb: SnpTcb,
    /// LAUNCH_TCB: the firmware that ran when the guest was launched.
    pub launch_tcb: SnpTcb,
    /// PLATFORM_INFO.
    pub platform_info: SnpPlatformInfo,
    /// SIGNING_KEY: which key signed the report.
    pub signing_key: SnpSigningKey,
    /// HOST_DATA.
    pub host_data: HostData,
    /// ID_KEY_DIGEST: who signed the launch; zeros where nobody did.
    pub id_key_digest: IdKeyDigest,
    /// AUTHOR_KEY_EN: whether the key that signed the launch was itself signed by an author's.
    pub author_key_en: bool,
    /// AUTHOR_KEY_DIGEST: whose that was; zeros where there is none.
    pub author_key_digest: AuthorKeyDigest,
    /// CHIP_ID as reports carry it: zeros where the platform masks it; on Turin eight bytes, then zeros.
    pub chip_id: ChipId,
    /// LAUNCH_MIT_VECTOR: mitigations in force at launch; reports of version 5 and later.
    pub launch_mit_vector: Option<MitigationVector>,
    /// CURRENT_MIT_VECTOR: mitigations in force now; reports of version 5 and later.
    pub current_mit_vector: Option<MitigationVector>,
}

impl SnpClaims {
    /// Who answers for the launch: the author where there is one, else who signed it; none where nobody did.
    pub fn signer(&self) -> Option<SignerDigest> {
        let digest = if self.author_key_en {
            SignerDigest::new(*self.author_key_digest.as_bytes())
        } else {
            SignerDigest::new(*self.id_key_digest.as_bytes())
        };
        (!digest.is_zero()).then_some(digest)
    }
}

fixed_bytes!(
    /// FAMILY_ID: the family of guests, as the launch's signer numbers them.
    FamilyId,
    16,
    "a family id"
);

fixed_bytes!(
    /// IMAGE_ID: the image, as the launch's signer numbers them.
    ImageId,
    16,
    "an image id"
);

fixed_bytes!(
    /// ID_KEY_DIGEST: SHA-384 of the public key that signed the launch.
    IdKeyDigest,
    48,
    "an id key's digest"
);

fixed_bytes!(
    /// AUTHOR_KEY_DIGEST: SHA-384 of the public key that signed the id key.
    AuthorKeyDigest,
    48,
    "an author key's digest"
);

fixed_bytes!(
    /// CHIP_ID: the identity of a chip.
    ChipId,
    64,
    "a chip id"
);

fixed_bytes!(
    /// A vector of mitigations, most significant bit first: *SEV Secure Nested Paging Firmware ABI Specification*
    /// (56860), section 7.3, table 23.
    MitigationVector,
    8,
    "a mitigation vector"
);

impl MitigationVector {
    /// Takes the 64 bits of a report.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits.to_be_bytes())
    }

    /// The 64 bits.
    pub const fn to_bits(self) -> u64 {
        u64::from_be_bytes(self.0)
    }

    /// Whether every mitigation of `wanted` is in force.
    pub const fn contains(self, wanted: Self) -> bool {
        self.to_bits() & wanted.to_bits() == wanted.to_bits()
    }
}

/// A generation of processors with SEV-SNP.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum SnpProduct {
    /// EPYC 7003.
    Milan,
    /// EPYC 9004, 97x4 and 8004.
    Genoa,
    /// EPYC 9005.
    Turin,
}

impl SnpProduct {
    /// Every generation.
    pub const ALL: [Self; 3] = [Self::Milan, Self::Genoa, Self::Turin];

    /// The name in policies and on screens.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Milan => "milan",
            Self::Genoa => "genoa",
            Self::Turin => "turin",
        }
    }

    /// Whether the firmware has a part for the firmware management controller.
    pub const fn has_fmc(self) -> bool {
        matches!(self, Self::Turin)
    }
}

impl fmt::Display for SnpProduct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A key that signs reports.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum SnpSigningKey {
    /// The versioned chip endorsement key: one chip's, certified as that chip's.
    Vcek,
    /// The versioned loaded endorsement key: a cloud's, on all its chips.
    Vlek,
}

impl fmt::Display for SnpSigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Vcek => "vcek",
            Self::Vlek => "vlek",
        })
    }
}

/// A virtual machine's privilege level: 0 is the highest, 3 the lowest.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(try_from = "u8", into = "u8")]
pub struct Vmpl(u8);

impl Vmpl {
    /// The highest privilege.
    pub const MOST_PRIVILEGED: Self = Self(0);
    /// The largest number.
    pub const MAX: u8 = 3;

    /// The level as a number.
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl TryFrom<u8> for Vmpl {
    type Error = String;

    fn try_from(level: u8) -> Result<Self, Self::Error> {
        if level <= Self::MAX {
            return Ok(Self(level));
        }
        Err(format!("a VMPL must be 0 to {}, got {level}", Self::MAX))
    }
}

impl From<Vmpl> for u8 {
    fn from(vmpl: Vmpl) -> Self {
        vmpl.0
    }
}

impl fmt::Display for Vmpl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl JsonSchema for Vmpl {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Vmpl".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "integer",
            "description": "a virtual machine's privilege level, 0 is the highest",
            "minimum": 0,
            "maximum": Self::MAX,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn privilege_levels_have_a_limit() {
        assert!(serde_json::from_str::<Vmpl>("4").is_err());
        assert_eq!(serde_json::from_str::<Vmpl>("3").unwrap().get(), 3);
    }

    #[test]
    fn a_mitigation_vector_contains_its_bits_and_no_others() {
        let two = MitigationVector::from_bits(0b101);
        assert_eq!(two.to_string(), "0000000000000005");
        for (wanted, there) in [(0, true), (1, true), (5, true), (2, false), (7, false)] {
            assert_eq!(two.contains(MitigationVector::from_bits(wanted)), there);
        }
    }

    #[test]
    fn product_names_are_those_of_json() {
        for product in SnpProduct::ALL {
            assert_eq!(serde_json::to_value(product).unwrap(), product.as_str());
        }
    }
}
