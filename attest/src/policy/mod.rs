//! What a party demands of another's evidence.

mod check;
mod criterion;
mod describe;
mod error;
mod reference;
mod root;
mod snp;
mod tdx;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub(crate) use self::check::MAX_CLOCK_SKEW;
pub use self::{
    criterion::{BitRule, CodeRule, Criterion, DebugRule, EvidenceAge},
    describe::Demand,
    error::PolicyError,
    reference::{ReferenceError, ReferenceValues, TdxReference},
    root::SimulatedRootKey,
    snp::{GuestPolicyCriteria, PlatformInfoCriteria, SnpPolicy, SnpTcbFloors},
    tdx::TdxPolicy,
};
use crate::{
    claims::{ProductId, SecurityVersion, SignerDigest},
    fixed_bytes::present,
    measurement::Measurement,
    tee::Tee,
    tier::SecurityTier,
};

/// What evidence must show to be accepted; part of a contract, and a file for `attest verify`.
///
/// Every criterion is stated: what does not matter says `"any"`, and nothing has a default, so that
/// a reader of the contract sees what is not looked at. The sections `sev_snp` and `tdx` hold what only that kind of
/// platform states:
///
/// - `tees` names `sev-snp`: there is a section `sev_snp`; the same for `tdx`;
/// - `tees` names `simulated`: there is at least one of both, and simulated platforms play the kinds that have one;
/// - a section for a kind that no machine may have is refused.
///
/// A machine whose kind has no section is refused, so no criterion can be evaded by being another kind of platform.
///
/// ```
/// # use tributary_attest::{Policy, SimulatedRoot, Measurement};
/// let root = SimulatedRoot::generate()?;
/// let policy = Policy::simulated(root.public_key(), [Measurement::of_bytes(b"a program")]);
/// policy.check()?;
/// let json = serde_json::to_string_pretty(&policy)?;
/// assert!(json.contains(r#""debug": "forbidden""#));
/// assert_eq!(serde_json::from_str::<Policy>(&json)?, policy);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// The kinds of TEE that are accepted.
    #[schemars(extend("minItems" = 1, "maxItems" = Self::MAX_ENTRIES, "uniqueItems" = true))]
    pub tees: Vec<Tee>,
    /// The roots whose simulated platforms are accepted: none unless `tees` names `simulated`, else at least one.
    #[schemars(extend("maxItems" = Self::MAX_ROOTS, "uniqueItems" = true))]
    pub simulated_roots: Vec<SimulatedRootKey>,
    /// Whether the program must meet both `measurements` and `signers`, or one of the two is enough.
    pub code: CodeRule,
    /// The programs that are accepted.
    #[schemars(extend("minItems" = 1, "maxItems" = Self::MAX_ENTRIES, "uniqueItems" = true))]
    pub measurements: Criterion<Vec<Measurement>>,
    /// Digests of the keys that may have signed the launch.
    #[schemars(extend("minItems" = 1, "maxItems" = Self::MAX_ENTRIES, "uniqueItems" = true))]
    pub signers: Criterion<Vec<SignerDigest>>,
    /// The product that the program must be. It says something only of a launch whose signer the policy names.
    pub product_id: Criterion<ProductId>,
    /// The oldest security version of the program that is accepted. It says something only of a launch whose signer the
    /// policy names.
    pub minimum_svn: Criterion<SecurityVersion>,
    /// Whether a machine may run whose memory the host can read.
    pub debug: DebugRule,
    /// The security tier that the evidence must be of: SECURE takes that alone, STALE takes SECURE too, INSECURE takes
    /// nothing but INSECURE.
    pub tier: Criterion<SecurityTier>,
    /// How old evidence may be, in seconds, where it can be dated. SEV-SNP reports hold no time.
    pub maximum_age_seconds: Criterion<EvidenceAge>,
    /// What an SEV-SNP platform must show.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    #[schemars(with = "SnpPolicy")]
    pub sev_snp: Option<SnpPolicy>,
    /// What a TDX platform must show.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    #[schemars(with = "TdxPolicy")]
    pub tdx: Option<TdxPolicy>,
}

impl Policy {
    /// The most entries that a list may have: a thousand agents with some chips each.
    pub const MAX_ENTRIES: usize = 4096;
    /// The most simulated roots: a federation makes one, and each costs an appraisal the time to check a key.
    pub const MAX_ROOTS: usize = 16;

    /// The policy of a federation that runs on simulated platforms of one root, which play SEV-SNP: these programs, no
    /// debugging, the highest privilege level, evidence of at most five minutes, the tier INSECURE and no other; the
    /// rest any.
    ///
    /// It is a starting point: the fields are public.
    pub fn simulated(
        root: SimulatedRootKey,
        measurements: impl IntoIterator<Item = Measurement>,
    ) -> Self {
        Self {
            tees: vec![Tee::Simulated],
            simulated_roots: vec![root],
            code: CodeRule::MeasurementAndSigner,
            measurements: Criterion::Stated(measurements.into_iter().collect()),
            signers: Criterion::Any,
            product_id: Criterion::Any,
            minimum_svn: Criterion::Any,
            debug: DebugRule::Forbidden,
            tier: Criterion::Stated(SecurityTier::Insecure),
            maximum_age_seconds: Criterion::Stated(EvidenceAge(300)),
            sev_snp: Some(SnpPolicy::baseline()),
            tdx: None,
        }
    }

    /// What `attest verify` asks for where it is given no policy: genuine evidence of hardware, in date, without
    /// debugging, from the highest privilege level, of a platform whose security versions make sense together. Which
    /// program it is stays open, and the verdict says so.
    ///
    /// ```
    /// # use tributary_attest::{Criterion, Policy, Tee};
    /// let policy = Policy::default_for_verify();
    /// assert_eq!(policy.tees, [Tee::SevSnp, Tee::Tdx]);
    /// assert_eq!(policy.measurements, Criterion::Any);
    /// ```
    pub fn default_for_verify() -> Self {
        Self {
            tees: vec![Tee::SevSnp, Tee::Tdx],
            simulated_roots: Vec::new(),
            code: CodeRule::MeasurementAndSigner,
            measurements: Criterion::Any,
            signers: Criterion::Any,
            product_id: Criterion::Any,
            minimum_svn: Criterion::Any,
            debug: DebugRule::Forbidden,
            tier: Criterion::Any,
            maximum_age_seconds: Criterion::Any,
            sev_snp: Some(SnpPolicy::baseline()),
            tdx: Some(TdxPolicy::baseline()),
        }
    }
}
