//! What an appraisal found: each check, and what follows from them.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::{
    claims::{ChipId, Claims, ProductId, SecurityVersion, SignerDigest, Tcb, Vmpl},
    measurement::Measurement,
    tee::Tee,
};

/// Evidence was accepted: whom it describes, and which checks it passed.
///
/// It says so for the policy, the report data and the time that were given, and for no others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Verdict {
    /// The kind of TEE.
    pub tee: Tee,
    /// The code.
    pub measurement: Measurement,
    /// Which chip, where the TEE says.
    pub chip_id: Option<ChipId>,
    /// Who signed the launch, where the TEE says.
    pub signer: Option<SignerDigest>,
    /// Which product the code is, where the TEE says.
    pub product_id: Option<ProductId>,
    /// The code's security version, where the TEE says.
    pub svn: Option<SecurityVersion>,
    /// The firmware's security versions, where the TEE says.
    pub tcb: Option<Tcb>,
    /// The privilege level, where the TEE says.
    pub vmpl: Option<Vmpl>,
    /// Whether the host may look into the machine: only ever true where the policy allows it.
    pub debug: bool,
    /// When the report was made, where the TEE says.
    pub issued_at: Option<DateTime<Utc>>,
    /// Every check, in the order made.
    pub checks: Vec<Check>,
}

impl Verdict {
    pub(crate) fn new(claims: Claims, checks: Vec<Check>) -> Self {
        Self {
            tee: claims.tee,
            measurement: claims.measurement,
            chip_id: claims.chip_id,
            signer: claims.signer,
            product_id: claims.product_id,
            svn: claims.svn,
            tcb: claims.tcb,
            vmpl: claims.vmpl,
            debug: claims.debug,
            issued_at: claims.issued_at,
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
        match self.tee.warning() {
            None => Ok(()),
            Some(warning) => write!(f, "; {warning}"),
        }
    }
}

/// Evidence was refused, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[error(
    "attestation refused at the check `{check}`: expected {expected}, got {got}; to mend: {mend}"
)]
pub struct Refusal {
    check: CheckName,
    expected: String,
    got: String,
    mend: &'static str,
    checks: Vec<Check>,
}

impl Refusal {
    /// The exit code of a program that stops for a refusal.
    pub const EXIT_CODE: u8 = 10;

    pub(crate) fn new(failed: Failure, checks: Vec<Check>) -> Self {
        Self {
            check: failed.check,
            expected: failed.expected,
            got: failed.got,
            mend: failed.check.mend(),
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

    /// Every check made, in order; where the evidence was genuine, all that failed are among them.
    pub fn checks(&self) -> &[Check] {
        &self.checks
    }
}

/// One check of an appraisal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Check {
    /// Which one.
    pub name: CheckName,
    /// How it ended.
    pub result: CheckResult,
    /// What was expected.
    pub expected: String,
    /// What came.
    pub got: String,
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CheckResult {
    /// The evidence shows what was demanded.
    Pass,
    /// It does not.
    Fail,
    /// The policy does not ask for it.
    NotChecked,
}

impl fmt::Display for CheckResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Pass => "pass",
            Self::Fail => "FAIL",
            Self::NotChecked => "not checked",
        })
    }
}

macro_rules! check_names {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $mend:literal;)*) => {
        /// The checks of an appraisal, in the order in which they are made.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[non_exhaustive]
        pub enum CheckName {
            $($(#[$doc])* #[serde(rename = $name)] $variant,)*
        }

        impl CheckName {
            /// Every check.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The name on screens and in JSON.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            const fn refusal_code(self) -> &'static str {
                match self {
                    $(Self::$variant => concat!("attestation-", $name),)*
                }
            }

            const fn mend(self) -> &'static str {
                match self {
                    $(Self::$variant => $mend,)*
                }
            }
        }
    };
}

check_names! {
    /// The policy itself makes sense.
    Policy = "policy", "correct the appraisal policy in a new contract";
    /// The container is within its limits.
    Container = "container", "have the peer send evidence as this version encodes it";
    /// The policy names the kind of TEE.
    TeeAllowed = "tee", "run the peer in a TEE that the contract's policy names, or agree on a contract that names this one";
    /// This build can appraise the kind of TEE.
    VerifierBuilt = "not-built", "use a version that verifies this kind of TEE, or a contract that asks for another";
    /// The report's layout is of a supported version.
    ReportVersion = "report-version", "run both parties at versions that share a report layout";
    /// The report and its endorsements are well formed.
    Format = "format", "have the peer make new evidence; if it stays, the peer or the network alters it";
    /// A root that the policy names is stated as the issuer.
    Root = "root", "have the peer's platform certified by a root that the contract names, or agree on a contract that names this root";
    /// The root signed the platform's certificate.
    Certificate = "certificate", "have the platform certified anew by its root; if it stays, the certificate is forged or altered";
    /// The certified platform signed the report.
    ReportSignature = "report-signature", "have the peer make new evidence; if it stays, the report is forged or altered";
    /// Report and certificate speak of the same platform.
    PlatformBinding = "platform-binding", "send the certificate that belongs to the platform in its present firmware";
    /// The platform's certificate is valid now and was when the report was made.
    Validity = "validity", "renew the platform's certificate, or set the clock";
    /// The evidence is fresh.
    Age = "age", "have the peer make new evidence, or set the clocks of both machines";
    /// The evidence was made for this purpose and connection.
    ReportData = "report-data", "connect anew; if it stays, somebody replays or relays another connection's evidence";
    /// The host may not look into the machine.
    Debug = "debug", "launch the peer's machine without debugging";
    /// The program is one that the policy names.
    Measurement = "measurement", "run the build that the contract names, or agree on a contract that names this one after reviewing it";
    /// The launch was signed by somebody whom the policy names.
    Signer = "signer", "launch the peer with a signature of a signer that the contract names";
    /// The program is the product that the policy names.
    ProductId = "product-id", "launch the product that the contract names";
    /// The program's security version is recent enough.
    SecurityVersion = "svn", "update the peer's program";
    /// The platform's firmware is recent enough.
    Tcb = "tcb", "update the firmware of the peer's machine and have it certified anew";
    /// The report was asked for at a privilege level that the policy names.
    Vmpl = "vmpl", "have the program ask for evidence at a privilege level that the contract names";
    /// The host stated what the policy demands.
    HostData = "host-data", "launch the peer's machine with the host data that the contract names";
    /// The chip is one that the policy names.
    ChipId = "chip-id", "run the peer on a machine that the contract names, or agree on a contract that names this chip";
}

impl fmt::Display for CheckName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The record that an appraisal keeps while it checks.
#[derive(Debug, Default)]
pub(crate) struct CheckList {
    checks: Vec<Check>,
    first_failure: Option<Failure>,
}

/// A check that failed; only [`CheckList`] makes one, so that no refusal lacks its reason.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    check: CheckName,
    expected: String,
    got: String,
}

impl CheckList {
    /// Records a check, passed or not, and goes on: a failure is kept and decides in the end.
    pub(crate) fn record(
        &mut self,
        name: CheckName,
        holds: bool,
        expected: impl ToString,
        got: impl ToString,
    ) {
        if holds {
            self.push(name, CheckResult::Pass, expected, got);
        } else {
            self.fail(name, expected, got);
        }
    }

    /// Records a check whose failure makes the following ones meaningless.
    pub(crate) fn require(
        &mut self,
        name: CheckName,
        holds: bool,
        expected: impl ToString,
        got: impl ToString,
    ) -> Result<(), Failure> {
        if holds {
            self.push(name, CheckResult::Pass, expected, got);
            return Ok(());
        }
        Err(self.fail(name, expected, got))
    }

    /// Records a check that failed.
    pub(crate) fn fail(
        &mut self,
        name: CheckName,
        expected: impl ToString,
        got: impl ToString,
    ) -> Failure {
        let failure = Failure {
            check: name,
            expected: expected.to_string(),
            got: got.to_string(),
        };
        self.push(name, CheckResult::Fail, &failure.expected, &failure.got);
        self.first_failure.get_or_insert_with(|| failure.clone());
        failure
    }

    /// Records what the policy does not ask for.
    pub(crate) fn skip(&mut self, name: CheckName, got: impl ToString) {
        self.push(name, CheckResult::NotChecked, "any", got);
    }

    fn push(
        &mut self,
        name: CheckName,
        result: CheckResult,
        expected: impl ToString,
        got: impl ToString,
    ) {
        self.checks.push(Check {
            name,
            result,
            expected: expected.to_string(),
            got: got.to_string(),
        });
    }

    pub(crate) fn into_parts(self) -> (Vec<Check>, Option<Failure>) {
        (self.checks, self.first_failure)
    }
}
