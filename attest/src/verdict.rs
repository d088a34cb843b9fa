//! What an appraisal found: whom the evidence describes, or why it is refused.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Serialize, Serializer};

use crate::{
    check::{Check, Failure},
    check_name::CheckName,
    claims::{Claims, HostData, PlatformClaims, ProductId, SecurityVersion, SignerDigest},
    measurement::Measurement,
    tee::Tee,
    tier::{Assessment, SecurityTier},
};

/// Evidence was accepted: whom it describes, and which checks it passed.
///
/// It says so for the policy, the report data and the time that were given, and for no others. As JSON it is an
/// object with `verdict` (`"accepted"`), `tee`, `measurement`, `tier`, `tier_reasons`, `checks` and what else the
/// evidence states.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verdict {
    /// The kind of TEE.
    pub tee: Tee,
    /// The code.
    pub measurement: Measurement,
    /// Who signed the launch, where the TEE says.
    pub signer: Option<SignerDigest>,
    /// Which product the code is, where the TEE says.
    pub product_id: Option<ProductId>,
    /// The code's security version, where the TEE says.
    pub svn: Option<SecurityVersion>,
    /// Whether the host may look into the machine: only ever true where the policy allows it.
    pub debug: bool,
    /// What the host stated at launch, where the TEE says.
    pub host_data: Option<HostData>,
    /// When the evidence was made, where it states that itself: see [`appraise_dated`](crate::appraise_dated).
    pub issued_at: Option<DateTime<Utc>>,
    /// What the kind of platform states besides.
    pub platform: PlatformClaims,
    /// How far the evidence can be relied on.
    pub tier: SecurityTier,
    /// Why it is of that tier, in words.
    pub tier_reasons: Vec<String>,
    /// Every check, in the order made.
    pub checks: Vec<Check>,
}

impl Verdict {
    pub(crate) fn new(claims: Claims, assessment: Assessment, checks: Vec<Check>) -> Self {
        Self {
            tee: claims.tee,
            measurement: claims.measurement,
            signer: claims.signer,
            product_id: claims.product_id,
            svn: claims.svn,
            debug: claims.debug,
            host_data: claims.host_data,
            issued_at: claims.issued_at,
            platform: claims.platform,
            tier: assessment.tier,
            tier_reasons: assessment.reasons,
            checks,
        }
    }
}

/// One line for a screen; a TEE that protects nothing says so.
impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} peer runs {}", self.tee, self.measurement)?;
        if self.debug {
            f.write_str(", UNDER DEBUGGING: its host reads its memory")?;
        }
        write!(f, "; {}: {}", self.tier, self.tier_reasons.join("; "))?;
        match self.tee.warning() {
            None => Ok(()),
            Some(warning) => write!(f, "; {warning}"),
        }
    }
}

/// Evidence was refused, and why.
///
/// As JSON it is an object with `verdict` (`"refused"`), `tee`, `checks`, and `measurement`, `tier` and `tier_reasons`,
/// which are `null` unless the evidence is genuine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "attestation refused at the check `{check}`: expected {expected}, got {got}; to mend: {mend}"
)]
pub struct Refusal {
    check: CheckName,
    expected: String,
    got: String,
    mend: &'static str,
    tee: Tee,
    genuine: Option<Box<Genuine>>,
    checks: Vec<Check>,
}

/// What is known of evidence that is genuine and still refused.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Genuine {
    measurement: Measurement,
    assessment: Assessment,
}

impl Refusal {
    /// The exit code of a program that stops for a refusal.
    pub const EXIT_CODE: u8 = 10;

    pub(crate) fn new(
        tee: Tee,
        failed: Failure,
        genuine: Option<(Measurement, Assessment)>,
        checks: Vec<Check>,
    ) -> Self {
        let (check, expected, got) = failed.into_parts();
        Self {
            check,
            expected,
            got,
            mend: check.mend(),
            tee,
            genuine: genuine.map(|(measurement, assessment)| {
                Box::new(Genuine {
                    measurement,
                    assessment,
                })
            }),
            checks,
        }
    }

    /// A code that stays the same over versions, such as `attestation-measurement`.
    pub fn code(&self) -> &'static str {
        self.check.refusal_code()
    }

    /// The exit code of a program that stops for this.
    pub fn exit_code(&self) -> u8 {
        Self::EXIT_CODE
    }

    /// The first check that failed.
    pub fn check(&self) -> CheckName {
        self.check
    }

    /// What it expected.
    pub fn expected(&self) -> &str {
        &self.expected
    }

    /// What came.
    pub fn got(&self) -> &str {
        &self.got
    }

    /// What a person can do about it.
    pub fn mend(&self) -> &'static str {
        self.mend
    }

    /// The kind of TEE that the evidence's container names.
    pub fn tee(&self) -> Tee {
        self.tee
    }

    /// The code, where the evidence is genuine.
    pub fn measurement(&self) -> Option<Measurement> {
        self.genuine.as_ref().map(|genuine| genuine.measurement)
    }

    /// How far the evidence can be relied on and why, where it is genuine.
    pub fn tier(&self) -> Option<(SecurityTier, &[String])> {
        let assessment = &self.genuine.as_ref()?.assessment;
        Some((assessment.tier, &assessment.reasons))
    }

    /// Every check made, in order; where the evidence was genuine, all that failed are among them.
    pub fn checks(&self) -> &[Check] {
        &self.checks
    }
}

impl Serialize for Verdict {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Form<'a> {
            verdict: &'static str,
            tee: Tee,
            measurement: Measurement,
            tier: SecurityTier,
            tier_reasons: &'a [String],
            signer: Option<SignerDigest>,
            product_id: Option<ProductId>,
            svn: Option<SecurityVersion>,
            debug: bool,
            host_data: Option<HostData>,
            issued_at: Option<DateTime<Utc>>,
            platform: &'a PlatformClaims,
            checks: &'a [Check],
        }
        Form {
            verdict: "accepted",
            tee: self.tee,
            measurement: self.measurement,
            tier: self.tier,
            tier_reasons: &self.tier_reasons,
            signer: self.signer,
            product_id: self.product_id,
            svn: self.svn,
            debug: self.debug,
            host_data: self.host_data,
            issued_at: self.issued_at,
            platform: &self.platform,
            checks: &self.checks,
        }
        .serialize(serializer)
    }
}

impl Serialize for Refusal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Form<'a> {
            verdict: &'static str,
            tee: Tee,
            measurement: Option<Measurement>,
            tier: Option<SecurityTier>,
            tier_reasons: Option<&'a [String]>,
            checks: &'a [Check],
        }
        let tier = self.tier();
        Form {
            verdict: "refused",
            tee: self.tee,
            measurement: self.measurement(),
            tier: tier.map(|(tier, _)| tier),
            tier_reasons: tier.map(|(_, reasons)| reasons),
            checks: &self.checks,
        }
        .serialize(serializer)
    }
}
