//! What all kinds of TEE may state.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::fixed_bytes::fixed_bytes;

fixed_bytes!(
    /// SHA-384 of the public key that signed the machine's launch.
    SignerDigest,
    48,
    "a signer's key digest"
);

fixed_bytes!(
    /// Which product the measured code is, as its signer numbers them.
    ///
    /// ```
    /// # use tributary_attest::ProductId;
    /// assert_eq!(ProductId::from_number(2).to_string(), "02000000000000000000000000000000");
    /// ```
    ProductId,
    16,
    "a product id"
);

impl ProductId {
    /// The number in the first eight bytes, little-endian, as AMD's tools write image ids.
    pub fn from_number(number: u64) -> Self {
        let mut bytes = [0; Self::LEN];
        bytes[..8].copy_from_slice(&number.to_le_bytes());
        Self(bytes)
    }

    /// The number, where the id is one.
    pub fn as_number(&self) -> Option<u64> {
        let (number, rest) = self.0.split_first_chunk::<8>()?;
        rest.iter()
            .all(|byte| *byte == 0)
            .then(|| u64::from_le_bytes(*number))
    }
}

fixed_bytes!(
    /// What the host stated when it launched the machine, such as the digest of a configuration.
    HostData,
    32,
    "host data"
);

/// The security version of a program: raised when a fault is mended, so that old ones can be refused.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(transparent)]
pub struct SecurityVersion(pub u32);

impl fmt::Display for SecurityVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_product_is_a_number_or_an_id_and_not_both() {
        for number in [0, 1, 513, u64::MAX] {
            assert_eq!(ProductId::from_number(number).as_number(), Some(number));
        }
        let mut bytes = [0; 16];
        bytes[8] = 1;
        assert_eq!(ProductId::new(bytes).as_number(), None);
    }
}
