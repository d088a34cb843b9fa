//! What the owner of an SEV-SNP guest lets its host do.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The guest policy, as *SEV Secure Nested Paging Firmware ABI Specification* (56860), section 4.3, table 10 lays it out.
///
/// ```
/// # use tributary_attest::SnpGuestPolicy;
/// let policy = SnpGuestPolicy::from_bits(0x3001f)?;
/// assert_eq!(policy.minimum_abi.to_string(), "0.31");
/// assert!(policy.smt_allowed && !policy.debug_allowed);
/// assert_eq!(policy.to_bits(), 0x3001f);
/// # Ok::<(), String>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnpGuestPolicy {
    /// The oldest firmware interface on which the guest may run.
    pub minimum_abi: AbiVersion,
    /// The host may run other work on the sibling threads of the guest's cores.
    pub smt_allowed: bool,
    /// A migration agent may be associated with the guest.
    pub migrate_ma_allowed: bool,
    /// The host may look into the guest's memory.
    pub debug_allowed: bool,
    /// The guest may run on one socket only.
    pub single_socket_required: bool,
    /// Memory of devices on CXL may be given to the guest.
    pub cxl_allowed: bool,
    /// Memory must be encrypted by AES-256-XTS.
    pub mem_aes_256_xts_required: bool,
    /// The host must not measure power (running average power limit), which leaks what is computed.
    pub rapl_dis_required: bool,
    /// The host must not even read the ciphertext of the guest's memory.
    pub ciphertext_hiding_dram_required: bool,
    /// The host must not swap the guest's pages.
    pub page_swap_disabled: bool,
}

impl SnpGuestPolicy {
    /// Reads the 64 bits of a report.
    ///
    /// # Errors
    /// Where the bit that must be one is not, or one is set whose meaning this version does not know: it may permit
    /// what nobody here would.
    pub fn from_bits(bits: u64) -> Result<Self, String> {
        let flag = |bit: u32| bits >> bit & 1 == 1;
        let policy = Self {
            minimum_abi: AbiVersion {
                major: (bits >> 8) as u8,
                minor: bits as u8,
            },
            smt_allowed: flag(SMT),
            migrate_ma_allowed: flag(MIGRATE_MA),
            debug_allowed: flag(DEBUG),
            single_socket_required: flag(SINGLE_SOCKET),
            cxl_allowed: flag(CXL_ALLOW),
            mem_aes_256_xts_required: flag(MEM_AES_256_XTS),
            rapl_dis_required: flag(RAPL_DIS),
            ciphertext_hiding_dram_required: flag(CIPHERTEXT_HIDING_DRAM),
            page_swap_disabled: flag(PAGE_SWAP_DISABLE),
        };
        if policy.to_bits() == bits {
            return Ok(policy);
        }
        Err(format!(
            "a guest policy must have bit 17 set and none above 25, got {bits:#x}"
        ))
    }

    /// The 64 bits.
    pub fn to_bits(self) -> u64 {
        let flags = [
            (self.smt_allowed, SMT),
            (true, MUST_BE_ONE),
            (self.migrate_ma_allowed, MIGRATE_MA),
            (self.debug_allowed, DEBUG),
            (self.single_socket_required, SINGLE_SOCKET),
            (self.cxl_allowed, CXL_ALLOW),
            (self.mem_aes_256_xts_required, MEM_AES_256_XTS),
            (self.rapl_dis_required, RAPL_DIS),
            (self.ciphertext_hiding_dram_required, CIPHERTEXT_HIDING_DRAM),
            (self.page_swap_disabled, PAGE_SWAP_DISABLE),
        ];
        let abi = u64::from(self.minimum_abi.major) << 8 | u64::from(self.minimum_abi.minor);
        flags
            .into_iter()
            .fold(abi, |bits, (on, bit)| bits | u64::from(on) << bit)
    }
}

/// A version of the firmware's interface, such as `1.55`.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(try_from = "String", into = "String")]
pub struct AbiVersion {
    /// Before the point.
    pub major: u8,
    /// After it: a number, so that 1.9 is older than 1.10.
    pub minor: u8,
}

impl fmt::Display for AbiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl FromStr for AbiVersion {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let version = text.split_once('.').and_then(|(major, minor)| {
            Some(Self {
                major: major.parse().ok()?,
                minor: minor.parse().ok()?,
            })
        });
        // One spelling only: neither +1.2 nor 01.2.
        version
            .filter(|version| version.to_string() == text)
            .ok_or_else(|| {
                format!("an ABI version must be as 1.55, with numbers of 0 to 255, got {text:?}")
            })
    }
}

impl TryFrom<String> for AbiVersion {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<AbiVersion> for String {
    fn from(version: AbiVersion) -> Self {
        version.to_string()
    }
}

impl schemars::JsonSchema for AbiVersion {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "AbiVersion".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let number = "(0|[1-9][0-9]?|1[0-9]{2}|2[0-4][0-9]|25[0-5])";
        schemars::json_schema!({
            "type": "string",
            "description": "a version of the SEV-SNP firmware's interface, such as 1.55",
            "pattern": format!("^{number}\\.{number}$"),
        })
    }
}

const SMT: u32 = 16;
const MUST_BE_ONE: u32 = 17;
const MIGRATE_MA: u32 = 18;
const DEBUG: u32 = 19;
const SINGLE_SOCKET: u32 = 20;
const CXL_ALLOW: u32 = 21;
const MEM_AES_256_XTS: u32 = 22;
const RAPL_DIS: u32 = 23;
const CIPHERTEXT_HIDING_DRAM: u32 = 24;
const PAGE_SWAP_DISABLE: u32 = 25;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_bit_is_the_field_of_the_specification() {
        let read = |bit: u32| SnpGuestPolicy::from_bits(1 << 17 | 1 << bit).unwrap();
        assert!(read(16).smt_allowed);
        assert!(read(18).migrate_ma_allowed);
        assert!(read(19).debug_allowed);
        assert!(read(20).single_socket_required);
        assert!(read(21).cxl_allowed);
        assert!(read(22).mem_aes_256_xts_required);
        assert!(read(23).rapl_dis_required);
        assert!(read(24).ciphertext_hiding_dram_required);
        assert!(read(25).page_swap_disabled);
        let abi = SnpGuestPolicy::from_bits(0x20000 | 0x0137).unwrap();
        assert_eq!(
            abi.minimum_abi,
            AbiVersion {
                major: 1,
                minor: 55
            }
        );
    }

    #[test]
    fn an_unknown_bit_and_a_missing_one_are_refused() {
        for bit in 26..64 {
            assert!(SnpGuestPolicy::from_bits(1 << 17 | 1 << bit).is_err());
        }
        assert!(SnpGuestPolicy::from_bits(0x1001f).is_err());
    }

    #[test]
    fn interface_versions_have_one_spelling_and_an_order() {
        for wrong in ["", "1", "1.", "01.2", "+1.2", "1.256", "1.2.3", "1.2 "] {
            assert!(wrong.parse::<AbiVersion>().is_err(), "{wrong}");
        }
        let version = |text: &str| text.parse::<AbiVersion>().unwrap();
        assert!(version("1.9") < version("1.10") && version("1.255") < version("2.0"));
    }

    proptest! {
        #[test]
        fn what_is_read_writes_back(bits in 0_u64..1 << 26) {
            let bits = bits | 1 << 17;
            prop_assert_eq!(SnpGuestPolicy::from_bits(bits).unwrap().to_bits(), bits);
        }
    }
}
