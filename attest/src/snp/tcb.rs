//! Security versions of the firmware as eight bytes of a report.

use crate::{
    claims::{SnpProduct, SnpTcb},
    wire::WireError,
};

/// A TCB_VERSION as its bytes came; which byte means what depends on the product.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RawTcb(pub [u8; 8]);

impl RawTcb {
    /// The parts, as the product lays them out (AMD 56860, section 2.2, "TCB_VERSION": one layout for Milan and Genoa, one
    /// for Turin).
    ///
    /// # Errors
    /// A message where a reserved byte is not zero.
    pub fn read(self, product: SnpProduct) -> Result<SnpTcb, String> {
        self.parts(product).map_err(|error| error.to_string())
    }

    pub(crate) fn parts(self, product: SnpProduct) -> Result<SnpTcb, WireError> {
        let bytes = self.0;
        let (tcb, reserved) = match product {
            SnpProduct::Milan | SnpProduct::Genoa => (
                SnpTcb {
                    fmc: None,
                    bootloader: bytes[0],
                    tee: bytes[1],
                    snp: bytes[6],
                    microcode: bytes[7],
                },
                2..6,
            ),
            SnpProduct::Turin => (
                SnpTcb {
                    fmc: Some(bytes[0]),
                    bootloader: bytes[1],
                    tee: bytes[2],
                    snp: bytes[3],
                    microcode: bytes[7],
                },
                4..7,
            ),
        };
        if bytes[reserved].iter().any(|&byte| byte != 0) {
            let expected = format!("a TCB of {product} with zeros in its reserved bytes");
            return Err(WireError::value("a TCB", expected, hex::encode(bytes)));
        }
        Ok(tcb)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_mean_what_the_product_says() {
        let raw = RawTcb([1, 2, 0, 0, 0, 0, 3, 4]);
        let milan = raw.parts(SnpProduct::Milan).unwrap();
        assert_eq!(milan.to_string(), "bootloader=1,tee=2,snp=3,microcode=4");
        assert!(raw.parts(SnpProduct::Turin).is_err());
        let raw = RawTcb([1, 2, 3, 4, 0, 0, 0, 5]);
        let turin = raw.parts(SnpProduct::Turin).unwrap();
        assert_eq!(
            turin.to_string(),
            "fmc=1,bootloader=2,tee=3,snp=4,microcode=5"
        );
        assert!(raw.parts(SnpProduct::Genoa).is_err());
    }

    #[test]
    fn every_reserved_byte_must_be_zero() {
        for (product, reserved) in [(SnpProduct::Milan, 2..6), (SnpProduct::Turin, 4..7)] {
            for at in 0..8 {
                let mut raw = [0; 8];
                raw[at] = 1;
                let refused = RawTcb(raw).parts(product).is_err();
                assert_eq!(refused, reserved.contains(&at), "{product} byte {at}");
            }
        }
    }
}
