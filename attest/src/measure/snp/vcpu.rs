//! What the launch digest says of a vCPU.

use std::{fmt, str::FromStr};

/// What CPUID leaf 1 gives in EAX: family, model and stepping (AMD publication 25481, Fn0000_0001_EAX).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CpuSignature(pub u32);

impl CpuSignature {
    /// From the numbers as people write them, with the extended parts added in.
    const fn of(family: u32, model: u32, stepping: u32) -> Self {
        // A family of 15 and more is stated as 15 and the rest.
        let (base, extended) = if family > 15 {
            (15, family - 15)
        } else {
            (family, 0)
        };
        Self(extended << 20 | (model >> 4) << 16 | base << 8 | (model & 15) << 4 | stepping)
    }
}

impl FromStr for CpuSignature {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_hex(text)
            .and_then(|value| u32::try_from(value).ok())
            .map(Self)
            .ok_or_else(|| {
                format!(
                    "expected CPUID leaf 1's EAX in hexadecimal, for example 00a00f11, got {text:?}"
                )
            })
    }
}

impl fmt::Display for CpuSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

macro_rules! vcpu_types {
    ($($name:ident $text:literal $family:literal $model:literal $stepping:literal,)*) => {
        /// QEMU's models of vCPU that SEV-SNP runs on, by the names `-cpu` takes.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum VcpuType { $(#[doc = concat!("`", $text, "`.")] $name,)* }

        impl VcpuType {
            /// Every model.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// QEMU's name.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// What CPUID says of it; versions of one model say the same.
            pub const fn signature(self) -> CpuSignature {
                match self { $(Self::$name => CpuSignature::of($family, $model, $stepping),)* }
            }
        }
    };
}

vcpu_types! {
    Epyc "EPYC" 23 1 2,
    EpycV1 "EPYC-v1" 23 1 2,
    EpycV2 "EPYC-v2" 23 1 2,
    EpycIbpb "EPYC-IBPB" 23 1 2,
    EpycV3 "EPYC-v3" 23 1 2,
    EpycV4 "EPYC-v4" 23 1 2,
    EpycRome "EPYC-Rome" 23 49 0,
    EpycRomeV1 "EPYC-Rome-v1" 23 49 0,
    EpycRomeV2 "EPYC-Rome-v2" 23 49 0,
    EpycRomeV3 "EPYC-Rome-v3" 23 49 0,
    EpycMilan "EPYC-Milan" 25 1 1,
    EpycMilanV1 "EPYC-Milan-v1" 25 1 1,
    EpycMilanV2 "EPYC-Milan-v2" 25 1 1,
    EpycGenoa "EPYC-Genoa" 25 17 0,
    EpycGenoaV1 "EPYC-Genoa-v1" 25 17 0,
    EpycTurin "EPYC-Turin" 26 0 0,
}

impl FromStr for VcpuType {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .iter()
            .copied()
            .find(|model| model.as_str() == text)
            .ok_or_else(|| {
                let names: Vec<_> = Self::ALL.iter().map(|model| model.as_str()).collect();
                format!(
                    "expected one of {}, got {text:?}; for another model give its signature",
                    names.join(", ")
                )
            })
    }
}

impl fmt::Display for VcpuType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// SEV_FEATURES of the save area, bit by bit (AMD64 manual volume 2, table B-4 and section 15.36).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct GuestFeatures(u64);

impl GuestFeatures {
    /// SNPActive alone: what KVM sets unless it is told otherwise.
    pub const SNP_ACTIVE: Self = Self(1);

    /// The features as a number, if bit 0 (SNPActive) is set: without it the machine is none of SEV-SNP.
    pub fn from_bits(bits: u64) -> Option<Self> {
        (bits & 1 == 1).then_some(Self(bits))
    }

    /// As a number.
    pub const fn bits(self) -> u64 {
        self.0
    }
}

impl FromStr for GuestFeatures {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_hex(text).and_then(Self::from_bits).ok_or_else(|| {
            format!("expected SEV_FEATURES in hexadecimal with bit 0 (SNPActive) set, for example 1 or 21, got {text:?}")
        })
    }
}

impl fmt::Display for GuestFeatures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

/// Hexadecimal with or without 0x. `from_str_radix` alone would take a sign too.
fn parse_hex(text: &str) -> Option<u64> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    digits
        .bytes()
        .all(|byte| byte.is_ascii_hexdigit())
        .then(|| u64::from_str_radix(digits, 16).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_those_of_the_processors() {
        // EAX of CPUID leaf 1 on Milan (family 25, model 1, stepping 1), Rome, Naples.
        assert_eq!(VcpuType::EpycMilan.signature().to_string(), "00a00f11");
        assert_eq!(VcpuType::EpycRome.signature().to_string(), "00830f10");
        assert_eq!(VcpuType::Epyc.signature().to_string(), "00800f12");
        for &model in VcpuType::ALL {
            assert_eq!(model.as_str().parse(), Ok(model));
        }
        assert!(
            "epyc"
                .parse::<VcpuType>()
                .unwrap_err()
                .contains("EPYC-Milan-v2")
        );
    }

    #[test]
    fn numbers_are_hexadecimal_and_nothing_else() {
        assert_eq!("0x00a00f11".parse(), Ok(CpuSignature(0x00a0_0f11)));
        for wrong in ["", "0x", "+1", "-1", "1ffffffff", "xyz", "0x0x1"] {
            assert!(wrong.parse::<CpuSignature>().is_err(), "{wrong}");
            assert!(
                wrong.parse::<GuestFeatures>().is_err() || wrong == "1ffffffff",
                "{wrong}"
            );
        }
        assert_eq!("21".parse(), Ok(GuestFeatures(0x21)));
        assert!("20".parse::<GuestFeatures>().unwrap_err().contains("bit 0"));
    }
}
