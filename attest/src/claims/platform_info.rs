//! How an SEV-SNP platform is configured.

use serde::{Deserialize, Serialize};

/// The platform's information, as *SEV Secure Nested Paging Firmware ABI Specification* (56860), section 7.3, table 24
/// lays it out.
///
/// ```
/// # use tributary_attest::SnpPlatformInfo;
/// let info = SnpPlatformInfo::from_bits(0x25);
/// assert!(info.smt_en && info.ecc_en && info.alias_check_complete && !info.tsme_en);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnpPlatformInfo {
    /// Several threads a core are enabled.
    pub smt_en: bool,
    /// All memory is encrypted, besides what each guest encrypts.
    pub tsme_en: bool,
    /// Memory corrects errors, without which a host can fault it on purpose.
    pub ecc_en: bool,
    /// Power (running average power limit) cannot be measured.
    pub rapl_dis: bool,
    /// The ciphertext of guests' memory cannot be read.
    pub ciphertext_hiding_dram_en: bool,
    /// No two addresses lead to the same memory, which the firmware has checked since the last reset (CVE-2024-21944).
    pub alias_check_complete: bool,
    /// Trusted devices are enabled.
    pub tio_en: bool,
    /// Bits that the table reserves. They describe the platform and permit nothing, so newer firmware may set them.
    pub reserved: u64,
}

impl SnpPlatformInfo {
    /// Reads the 64 bits of a report.
    pub fn from_bits(bits: u64) -> Self {
        let flag = |bit: u32| bits >> bit & 1 == 1;
        Self {
            smt_en: flag(SMT_EN),
            tsme_en: flag(TSME_EN),
            ecc_en: flag(ECC_EN),
            rapl_dis: flag(RAPL_DIS),
            ciphertext_hiding_dram_en: flag(CIPHERTEXT_HIDING_DRAM_EN),
            alias_check_complete: flag(ALIAS_CHECK_COMPLETE),
            tio_en: flag(TIO_EN),
            reserved: bits & !DEFINED,
        }
    }
}

const SMT_EN: u32 = 0;
const TSME_EN: u32 = 1;
const ECC_EN: u32 = 2;
const RAPL_DIS: u32 = 3;
const CIPHERTEXT_HIDING_DRAM_EN: u32 = 4;
const ALIAS_CHECK_COMPLETE: u32 = 5;
const TIO_EN: u32 = 7;
const DEFINED: u64 = 0b1011_1111;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bit_is_the_field_of_the_specification() {
        let read = |bit: u32| SnpPlatformInfo::from_bits(1 << bit);
        assert!(read(0).smt_en);
        assert!(read(1).tsme_en);
        assert!(read(2).ecc_en);
        assert!(read(3).rapl_dis);
        assert!(read(4).ciphertext_hiding_dram_en);
        assert!(read(5).alias_check_complete);
        assert!(read(7).tio_en);
        for bit in (0..8).filter(|bit| *bit != 6) {
            assert_eq!(read(bit).reserved, 0, "{bit}");
        }
        assert_eq!(read(6).reserved, 1 << 6);
        assert_eq!(read(63).reserved, 1 << 63);
    }
}
