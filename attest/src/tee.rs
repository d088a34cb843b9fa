//! The kinds of trusted execution environment.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A kind of trusted execution environment (TEE).
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Tee {
    /// No hardware: a key of the federation's own vouches. Protects nothing, and says so.
    Simulated,
    /// AMD SEV-SNP.
    SevSnp,
    /// Intel TDX.
    Tdx,
}

impl Tee {
    /// Every kind that the encodings know.
    pub const ALL: [Self; 3] = [Self::Simulated, Self::SevSnp, Self::Tdx];

    /// The name in policies, on screens and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Simulated => "simulated",
            Self::SevSnp => "sev-snp",
            Self::Tdx => "tdx",
        }
    }

    /// What a person must be told wherever the kind is shown, if anything.
    pub const fn warning(self) -> Option<&'static str> {
        match self {
            Self::Simulated => Some(
                "SIMULATED: no hardware vouches for this peer, whoever runs it can read its memory",
            ),
            Self::SevSnp | Self::Tdx => None,
        }
    }

    pub(crate) const fn to_code(self) -> u8 {
        match self {
            Self::Simulated => 1,
            Self::SevSnp => 2,
            Self::Tdx => 3,
        }
    }

    pub(crate) fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|tee| tee.to_code() == code)
    }
}

impl fmt::Display for Tee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Tee {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|tee| tee.as_str() == text)
            .ok_or_else(|| format!("expected simulated, sev-snp or tdx, got {text:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_codes_read_back() {
        for tee in Tee::ALL {
            assert_eq!(tee.as_str().parse(), Ok(tee));
            assert_eq!(Tee::from_code(tee.to_code()), Some(tee));
            assert_eq!(serde_json::to_value(tee).unwrap(), tee.as_str());
        }
        assert_eq!(Tee::from_code(0), None);
        assert!("SEV-SNP".parse::<Tee>().is_err());
    }
}
