//! What an SEV-SNP platform must show.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Policy,
    criterion::{BitRule, Criterion},
};
use crate::{
    claims::{
        AbiVersion, AuthorKeyDigest, ChipId, FamilyId, HostData, IdKeyDigest, MitigationVector,
        SnpProduct, SnpSigningKey, SnpTcb, Vmpl,
    },
    fixed_bytes::present,
};

/// What an SEV-SNP report must show, besides what a policy asks of every kind of TEE.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SnpPolicy {
    /// The oldest firmware for which the report's key may have been derived (REPORTED_TCB).
    pub minimum_reported_tcb: Criterion<SnpTcbFloors>,
    /// The oldest firmware to which the platform may be rolled back (COMMITTED_TCB).
    pub minimum_committed_tcb: Criterion<SnpTcbFloors>,
    /// The oldest firmware under which the machine may have been launched (LAUNCH_TCB).
    pub minimum_launch_tcb: Criterion<SnpTcbFloors>,
    /// The privilege levels at which the report may have been asked for.
    #[schemars(extend("minItems" = 1, "maxItems" = Policy::MAX_ENTRIES, "uniqueItems" = true))]
    pub vmpls: Criterion<Vec<Vmpl>>,
    /// What the guest must have let its host do, and what not.
    pub guest_policy: GuestPolicyCriteria,
    /// How the platform must be configured.
    pub platform_info: PlatformInfoCriteria,
    /// The family of guests that the launch's signer must have stated.
    pub family_id: Criterion<FamilyId>,
    /// What the host must have stated at launch.
    pub host_data: Criterion<HostData>,
    /// Digests of the id keys that may have signed the launch.
    #[schemars(extend("minItems" = 1, "maxItems" = Policy::MAX_ENTRIES, "uniqueItems" = true))]
    pub id_keys: Criterion<Vec<IdKeyDigest>>,
    /// Digests of the author keys that may have signed the id key.
    #[schemars(extend("minItems" = 1, "maxItems" = Policy::MAX_ENTRIES, "uniqueItems" = true))]
    pub author_keys: Criterion<Vec<AuthorKeyDigest>>,
    /// The kinds of key that may have signed the report.
    #[schemars(extend("minItems" = 1, "maxItems" = Policy::MAX_ENTRIES, "uniqueItems" = true))]
    pub signing_keys: Criterion<Vec<SnpSigningKey>>,
    /// The chips that are accepted. Without it, evidence of the right program on a stolen machine passes.
    #[schemars(extend("minItems" = 1, "maxItems" = Policy::MAX_ENTRIES, "uniqueItems" = true))]
    pub chip_ids: Criterion<Vec<ChipId>>,
    /// Mitigations that must have been in force at launch.
    pub launch_mitigations: Criterion<MitigationVector>,
    /// Mitigations that must be in force now.
    pub current_mitigations: Criterion<MitigationVector>,
}

impl SnpPolicy {
    /// Nothing but what every genuine report shows.
    pub fn any() -> Self {
        Self {
            minimum_reported_tcb: Criterion::Any,
            minimum_committed_tcb: Criterion::Any,
            minimum_launch_tcb: Criterion::Any,
            vmpls: Criterion::Any,
            guest_policy: GuestPolicyCriteria {
                minimum_abi: Criterion::Any,
                smt: Criterion::Any,
                migration_agent: Criterion::Any,
                single_socket: Criterion::Any,
                cxl: Criterion::Any,
                mem_aes_256_xts: Criterion::Any,
                rapl_dis: Criterion::Any,
                ciphertext_hiding_dram: Criterion::Any,
                page_swap_disable: Criterion::Any,
            },
            platform_info: PlatformInfoCriteria {
                smt: Criterion::Any,
                tsme: Criterion::Any,
                ecc: Criterion::Any,
                rapl_dis: Criterion::Any,
                ciphertext_hiding_dram: Criterion::Any,
                alias_check_complete: Criterion::Any,
                tio: Criterion::Any,
            },
            family_id: Criterion::Any,
            host_data: Criterion::Any,
            id_keys: Criterion::Any,
            author_keys: Criterion::Any,
            signing_keys: Criterion::Any,
            chip_ids: Criterion::Any,
            launch_mitigations: Criterion::Any,
            current_mitigations: Criterion::Any,
        }
    }

    /// The highest privilege level and no migration agent; the rest any.
    pub fn baseline() -> Self {
        let any = Self::any();
        Self {
            vmpls: Criterion::Stated(vec![Vmpl::MOST_PRIVILEGED]),
            guest_policy: GuestPolicyCriteria {
                migration_agent: Criterion::Stated(BitRule::Forbidden),
                ..any.guest_policy
            },
            ..any
        }
    }
}

/// What the guest policy of a launch must and must not have set. Debugging is the policy's common `debug`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GuestPolicyCriteria {
    /// The oldest firmware interface that the guest may have allowed.
    pub minimum_abi: Criterion<AbiVersion>,
    /// Whether the host may run other work on sibling threads.
    pub smt: Criterion<BitRule>,
    /// Whether a migration agent may take the guest elsewhere.
    pub migration_agent: Criterion<BitRule>,
    /// Whether the guest keeps to one socket.
    pub single_socket: Criterion<BitRule>,
    /// Whether memory on CXL may be given to the guest.
    pub cxl: Criterion<BitRule>,
    /// Whether the guest insists on AES-256-XTS.
    pub mem_aes_256_xts: Criterion<BitRule>,
    /// Whether the guest insists that power is not measured.
    pub rapl_dis: Criterion<BitRule>,
    /// Whether the guest insists that its ciphertext is hidden.
    pub ciphertext_hiding_dram: Criterion<BitRule>,
    /// Whether the guest forbids that its pages are swapped.
    pub page_swap_disable: Criterion<BitRule>,
}

/// What a platform's information must and must not have set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PlatformInfoCriteria {
    /// Several threads a core.
    pub smt: Criterion<BitRule>,
    /// Encryption of all memory.
    pub tsme: Criterion<BitRule>,
    /// Memory that corrects errors.
    pub ecc: Criterion<BitRule>,
    /// Power is not measured.
    pub rapl_dis: Criterion<BitRule>,
    /// Ciphertext is hidden.
    pub ciphertext_hiding_dram: Criterion<BitRule>,
    /// No two addresses lead to the same memory.
    pub alias_check_complete: Criterion<BitRule>,
    /// Trusted devices.
    pub tio: Criterion<BitRule>,
}

/// The oldest firmware for each generation of processors, part by part. A generation without a minimum is refused.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("minProperties" = 1))]
pub struct SnpTcbFloors {
    /// For Milan.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    #[schemars(with = "SnpTcb")]
    pub milan: Option<SnpTcb>,
    /// For Genoa.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    #[schemars(with = "SnpTcb")]
    pub genoa: Option<SnpTcb>,
    /// For Turin, which has a part more.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    #[schemars(with = "SnpTcb")]
    pub turin: Option<SnpTcb>,
}

impl SnpTcbFloors {
    /// The minimum for a generation.
    pub fn floor(&self, product: SnpProduct) -> Option<&SnpTcb> {
        match product {
            SnpProduct::Milan => self.milan.as_ref(),
            SnpProduct::Genoa => self.genoa.as_ref(),
            SnpProduct::Turin => self.turin.as_ref(),
        }
    }

    /// The generations that have one, with it.
    pub fn iter(&self) -> impl Iterator<Item = (SnpProduct, &SnpTcb)> {
        SnpProduct::ALL
            .into_iter()
            .filter_map(|product| Some((product, self.floor(product)?)))
    }
}

impl fmt::Display for SnpTcbFloors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let floors: Vec<String> = self
            .iter()
            .map(|(product, floor)| format!("{product} with {floor}"))
            .collect();
        f.write_str(&floors.join(" or "))
    }
}
