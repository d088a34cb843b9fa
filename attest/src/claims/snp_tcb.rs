//! Security versions of an SEV-SNP platform's firmware.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::snp::SnpProduct;
use crate::fixed_bytes::present;

/// Security versions of a platform's firmware parts (TCB_VERSION), compared part by part.
///
/// Turin has a part more than Milan and Genoa, and lays the parts out otherwise (*SEV Secure Nested Paging Firmware ABI
/// Specification*, 56860, section 2.2): which is why there is no comparison of the raw 64 bits.
///
/// ```
/// # use tributary_attest::SnpTcb;
/// let tcb: SnpTcb = "bootloader=3,tee=0,snp=8,microcode=115".parse().unwrap();
/// assert_eq!((tcb.snp, tcb.to_string().as_str()), (8, "bootloader=3,tee=0,snp=8,microcode=115"));
/// assert_eq!("fmc=1,bootloader=1,tee=1,snp=4,microcode=78".parse::<SnpTcb>().unwrap().fmc, Some(1));
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SnpTcb {
    /// The firmware management controller: Turin's alone.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    #[schemars(with = "u8")]
    pub fmc: Option<u8>,
    /// The boot loader of the security processor.
    pub bootloader: u8,
    /// The operating system of the security processor.
    pub tee: u8,
    /// The SNP firmware.
    pub snp: u8,
    /// The cores' microcode.
    pub microcode: u8,
}

impl SnpTcb {
    /// Whether no part is older than the minimum's, and every part of the minimum is there. There is no order of the
    /// whole: a newer part does not make up for an older one.
    pub fn meets(&self, minimum: &Self) -> bool {
        // None is below every Some, so a demand for a part that the platform lacks fails.
        self.fmc >= minimum.fmc
            && self.bootloader >= minimum.bootloader
            && self.tee >= minimum.tee
            && self.snp >= minimum.snp
            && self.microcode >= minimum.microcode
    }

    /// Whether it has the parts that the product's firmware has.
    pub fn fits(&self, product: SnpProduct) -> bool {
        self.fmc.is_some() == product.has_fmc()
    }
}

impl fmt::Display for SnpTcb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            fmc,
            bootloader,
            tee,
            snp,
            microcode,
        } = self;
        if let Some(fmc) = fmc {
            write!(f, "fmc={fmc},")?;
        }
        write!(
            f,
            "bootloader={bootloader},tee={tee},snp={snp},microcode={microcode}"
        )
    }
}

impl FromStr for SnpTcb {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        read(text).ok_or_else(|| {
            format!(
                "expected bootloader=N,tee=N,snp=N,microcode=N with numbers of 0 to 255 (for turin fmc=N, before them), got {text:?}"
            )
        })
    }
}

fn read(text: &str) -> Option<SnpTcb> {
    let mut parts = text.split(',').peekable();
    let fmc = match parts.peek()?.strip_prefix("fmc=") {
        None => None,
        Some(number) => {
            parts.next();
            Some(number.parse().ok()?)
        }
    };
    let mut number = |name: &str| {
        parts
            .next()?
            .strip_prefix(name)?
            .strip_prefix('=')?
            .parse()
            .ok()
    };
    let tcb = SnpTcb {
        fmc,
        bootloader: number("bootloader")?,
        tee: number("tee")?,
        snp: number("snp")?,
        microcode: number("microcode")?,
    };
    parts.next().is_none().then_some(tcb)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcb([bootloader, tee, snp, microcode]: [u8; 4]) -> SnpTcb {
        SnpTcb {
            fmc: None,
            bootloader,
            tee,
            snp,
            microcode,
        }
    }

    #[test]
    fn one_older_part_is_below_the_minimum() {
        let minimum = tcb([3, 0, 8, 115]);
        assert!(minimum.meets(&minimum));
        assert!(tcb([4, 1, 9, 116]).meets(&minimum));
        for older in [[2, 9, 9, 255], [9, 0, 7, 255], [9, 9, 9, 114]] {
            assert!(!tcb(older).meets(&minimum), "{older:?}");
        }
        assert!(!tcb([9, 0, 9, 9]).meets(&tcb([0, 1, 0, 0])));
    }

    #[test]
    fn the_part_that_only_turin_has_counts_there() {
        let with = |fmc| SnpTcb { fmc, ..tcb([9; 4]) };
        assert!(with(Some(2)).meets(&with(Some(2))));
        assert!(!with(Some(1)).meets(&with(Some(2))));
        assert!(!with(None).meets(&with(Some(0))));
        for product in SnpProduct::ALL {
            let turin = product == SnpProduct::Turin;
            assert_eq!(with(Some(0)).fits(product), turin);
            assert_eq!(with(None).fits(product), !turin);
        }
    }

    #[test]
    fn tcb_text_reads_back_and_nothing_else_does() {
        for wrong in [
            "",
            "3,0,8,115",
            "bootloader=3,tee=0,snp=8",
            "bootloader=3,tee=0,snp=8,microcode=256",
            "bootloader=3,tee=0,snp=8,microcode=1,fmc=1",
            "fmc=,bootloader=3,tee=0,snp=8,microcode=1",
        ] {
            assert!(wrong.parse::<SnpTcb>().is_err(), "{wrong}");
        }
        for right in [
            tcb([1, 2, 3, 4]),
            SnpTcb {
                fmc: Some(7),
                ..tcb([1; 4])
            },
        ] {
            assert_eq!(right.to_string().parse(), Ok(right));
            let json = serde_json::to_value(right).unwrap();
            assert_eq!(json.get("fmc").is_some(), right.fmc.is_some());
            assert_eq!(serde_json::from_value::<SnpTcb>(json).unwrap(), right);
        }
        let null = r#"{"fmc":null,"bootloader":1,"tee":1,"snp":1,"microcode":1}"#;
        assert!(serde_json::from_str::<SnpTcb>(null).is_err());
    }
}
