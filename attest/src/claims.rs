//! What a report states, in terms that all kinds of TEE share.

use std::{fmt, str::FromStr};

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    fixed_bytes::{HexError, decode_lower_hex, fixed_bytes},
    measurement::Measurement,
    report_data::ReportData,
    tee::Tee,
};

/// What a report states. A TEE that has no such field gives `None`, and a policy that asks for it then refuses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Claims {
    /// The kind of TEE.
    pub tee: Tee,
    /// The code.
    pub measurement: Measurement,
    /// What the program asked the platform to sign.
    pub report_data: ReportData,
    /// Whether the host may look into the machine's memory.
    pub debug: bool,
    /// Who signed the launch.
    pub signer: Option<SignerDigest>,
    /// Which product the code is.
    pub product_id: Option<ProductId>,
    /// The code's security version.
    pub svn: Option<SecurityVersion>,
    /// Security versions of the platform's firmware.
    pub tcb: Option<Tcb>,
    /// The privilege level at which the report was asked for.
    pub vmpl: Option<Vmpl>,
    /// What the host stated at launch.
    pub host_data: Option<HostData>,
    /// Which chip.
    pub chip_id: Option<ChipId>,
    /// When the report was made; hardware reports hold no time.
    pub issued_at: Option<DateTime<Utc>>,
}

fixed_bytes!(
    /// SHA-384 of the public key that signed the machine's launch; zeros where nobody did.
    SignerDigest,
    48,
    "a signer's key digest"
);

fixed_bytes!(
    /// Which product the measured code is, as its signer numbers them.
    ProductId,
    16,
    "a product id"
);

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

/// Security versions of a platform's firmware parts, compared part by part.
///
/// ```
/// # use tributary_attest::Tcb;
/// let tcb: Tcb = "bootloader=3,tee=0,snp=8,microcode=115".parse().unwrap();
/// assert_eq!((tcb.snp, tcb.to_string().as_str()), (8, "bootloader=3,tee=0,snp=8,microcode=115"));
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tcb {
    /// The boot loader of the security processor.
    pub bootloader: u8,
    /// The operating system of the security processor.
    pub tee: u8,
    /// The SNP firmware.
    pub snp: u8,
    /// The cores' microcode.
    pub microcode: u8,
}

impl Tcb {
    /// Whether no part is older than the minimum's. There is no order of the whole: a newer part does
    /// not make up for an older one.
    pub const fn meets(&self, minimum: &Self) -> bool {
        self.bootloader >= minimum.bootloader
            && self.tee >= minimum.tee
            && self.snp >= minimum.snp
            && self.microcode >= minimum.microcode
    }

    pub(crate) const fn to_array(self) -> [u8; 4] {
        [self.bootloader, self.tee, self.snp, self.microcode]
    }

    pub(crate) const fn from_array([bootloader, tee, snp, microcode]: [u8; 4]) -> Self {
        Self {
            bootloader,
            tee,
            snp,
            microcode,
        }
    }
}

impl fmt::Display for Tcb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [bootloader, tee, snp, microcode] = self.to_array();
        write!(
            f,
            "bootloader={bootloader},tee={tee},snp={snp},microcode={microcode}"
        )
    }
}

impl FromStr for Tcb {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.split(',');
        let mut numbers = [0; 4];
        for (name, number) in ["bootloader", "tee", "snp", "microcode"]
            .into_iter()
            .zip(&mut numbers)
        {
            *number = parts
                .next()
                .and_then(|part| part.strip_prefix(name)?.strip_prefix('=')?.parse().ok())
                .ok_or_else(|| malformed_tcb(text))?;
        }
        match parts.next() {
            None => Ok(Self::from_array(numbers)),
            Some(_) => Err(malformed_tcb(text)),
        }
    }
}

fn malformed_tcb(got: &str) -> String {
    format!("expected bootloader=N,tee=N,snp=N,microcode=N with numbers of 0 to 255, got {got:?}")
}

/// The identity of a chip: 8 to 64 bytes, as its maker defines it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChipId(Vec<u8>);

impl ChipId {
    /// The fewest bytes: SEV-SNP on Turin has 8.
    pub const MIN: usize = 8;
    /// The most bytes: SEV-SNP on Milan and Genoa has 64.
    pub const MAX: usize = 64;

    /// Takes an identity.
    ///
    /// # Errors
    /// [`HexError`] where it has too few or too many bytes.
    pub fn new(bytes: &[u8]) -> Result<Self, HexError> {
        if (Self::MIN..=Self::MAX).contains(&bytes.len()) {
            return Ok(Self(bytes.to_vec()));
        }
        Err(Self::refuse(&hex::encode(bytes)))
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    fn refuse(got: &str) -> HexError {
        HexError::new(
            "a chip id",
            format!("{} to {} bytes", Self::MIN, Self::MAX),
            got,
        )
    }
}

impl fmt::Display for ChipId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0))
    }
}

impl fmt::Debug for ChipId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChipId({self})")
    }
}

impl FromStr for ChipId {
    type Err = HexError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = decode_lower_hex(text).ok_or_else(|| Self::refuse(text))?;
        Self::new(&bytes)
    }
}

impl Serialize for ChipId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ChipId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for ChipId {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ChipId".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "a chip id: 8 to 64 bytes as lower-case hexadecimal digits",
            "pattern": "^([0-9a-f]{2}){8,64}$",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_older_part_is_below_the_minimum() {
        let minimum = Tcb::from_array([3, 0, 8, 115]);
        assert!(minimum.meets(&minimum));
        assert!(Tcb::from_array([4, 1, 9, 116]).meets(&minimum));
        for older in [[2, 9, 9, 255], [9, 0, 7, 255], [9, 9, 9, 114]] {
            assert!(!Tcb::from_array(older).meets(&minimum), "{older:?}");
        }
        assert!(!Tcb::from_array([9, 0, 9, 9]).meets(&Tcb::from_array([0, 1, 0, 0])));
    }

    #[test]
    fn tcb_text_reads_back_and_nothing_else_does() {
        for wrong in [
            "",
            "3,0,8,115",
            "bootloader=3,tee=0,snp=8",
            "bootloader=3,tee=0,snp=8,microcode=256",
            "bootloader=3,tee=0,snp=8,microcode=1,fmc=1",
        ] {
            assert!(wrong.parse::<Tcb>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn chip_ids_and_privilege_levels_have_limits() {
        assert!("00".repeat(7).parse::<ChipId>().is_err());
        assert!("00".repeat(65).parse::<ChipId>().is_err());
        assert_eq!(
            "0a".repeat(64).parse::<ChipId>().unwrap().as_bytes(),
            [10; 64]
        );
        assert!(serde_json::from_str::<Vmpl>("4").is_err());
        assert_eq!(serde_json::from_str::<Vmpl>("3").unwrap().get(), 3);
    }
}
