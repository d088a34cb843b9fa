//! What Intel says of a TDX platform's security versions.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What Intel's TCB information says of the platform that made a quote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TdxTcb {
    /// The status of the level that the platform reaches.
    pub status: TdxTcbStatus,
    /// The advisories that apply to it.
    pub advisory_ids: Vec<AdvisoryId>,
    /// tcbEvaluationDataNumber: which of Intel's evaluations said so.
    pub evaluation_data_number: TcbEvaluationDataNumber,
}

macro_rules! tcb_statuses {
    ($($(#[$doc:meta])* $variant:ident = $name:literal;)*) => {
        /// The status of a TCB level, spelt as Intel's TCB information spells it.
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
        )]
        pub enum TdxTcbStatus {
            $($(#[$doc])* #[serde(rename = $name)] $variant,)*
        }

        impl TdxTcbStatus {
            /// Every status.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// Intel's spelling.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

tcb_statuses! {
    /// Nothing is known against it.
    UpToDate = "UpToDate";
    /// The software inside must defend itself against what the advisories name.
    SwHardeningNeeded = "SWHardeningNeeded";
    /// The platform may be configured so that it is open to attack.
    ConfigurationNeeded = "ConfigurationNeeded";
    /// Both of these.
    ConfigurationAndSwHardeningNeeded = "ConfigurationAndSWHardeningNeeded";
    /// Updates are missing.
    OutOfDate = "OutOfDate";
    /// Updates are missing, and the platform may be configured so that it is open to attack.
    OutOfDateConfigurationNeeded = "OutOfDateConfigurationNeeded";
    /// The platform is up to date and the trust domain was launched before it was.
    TdRelaunchAdvised = "TDRelaunchAdvised";
    /// The same, and the platform may be configured so that it is open to attack.
    TdRelaunchAdvisedConfigurationNeeded = "TDRelaunchAdvisedConfigurationNeeded";
    /// Its keys are not to be trusted.
    Revoked = "Revoked";
}

impl fmt::Display for TdxTcbStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for TdxTcbStatus {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .iter()
            .copied()
            .find(|status| status.as_str() == text)
            .ok_or_else(|| {
                let all: Vec<&str> = Self::ALL.iter().map(|status| status.as_str()).collect();
                format!("expected one of {}, got {text:?}", all.join(", "))
            })
    }
}

/// tcbEvaluationDataNumber: Intel counts its evaluations, over all platforms.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
pub struct TcbEvaluationDataNumber(pub u32);

impl fmt::Display for TcbEvaluationDataNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The name of a security advisory, such as `INTEL-SA-00837`.
///
/// Letters, digits and `-` only: it comes from the peer's collateral and is shown on a terminal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AdvisoryId(String);

impl AdvisoryId {
    /// The most characters: Intel's have 14.
    pub const MAX: usize = 32;

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AdvisoryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for AdvisoryId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let sound = (1..=Self::MAX).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if sound {
            return Ok(Self(text.to_owned()));
        }
        let shown: String = text.chars().take(2 * Self::MAX).collect();
        Err(format!(
            "an advisory must be 1 to {} letters, digits or `-`, got {shown:?}",
            Self::MAX
        ))
    }
}

impl TryFrom<String> for AdvisoryId {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<AdvisoryId> for String {
    fn from(id: AdvisoryId) -> Self {
        id.0
    }
}

impl JsonSchema for AdvisoryId {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "AdvisoryId".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "a security advisory, such as INTEL-SA-00837",
            "pattern": format!("^[0-9A-Za-z-]{{1,{}}}$", Self::MAX),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_spelt_as_intel_spells_them() {
        for status in TdxTcbStatus::ALL {
            assert_eq!(status.as_str().parse(), Ok(*status));
            assert_eq!(serde_json::to_value(status).unwrap(), status.as_str());
        }
        assert!("uptodate".parse::<TdxTcbStatus>().is_err());
    }

    #[test]
    fn advisories_cannot_carry_terminal_commands() {
        assert!("INTEL-SA-00837".parse::<AdvisoryId>().is_ok());
        for wrong in ["", "a b", "\u{1b}[2J", "é", &"A".repeat(33)] {
            assert!(wrong.parse::<AdvisoryId>().is_err(), "{wrong:?}");
        }
        assert!(serde_json::from_str::<AdvisoryId>("\"a b\"").is_err());
    }
}
