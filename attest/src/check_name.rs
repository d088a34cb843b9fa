//! Which checks an appraisal makes, and how to mend what each refuses.

use std::fmt;

use serde::Serialize;

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

            pub(crate) const fn refusal_code(self) -> &'static str {
                match self {
                    $(Self::$variant => concat!("attestation-", $name),)*
                }
            }

            pub(crate) const fn mend(self) -> &'static str {
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
    /// The report's layout is of a supported version.
    ReportVersion = "report-version", "run both parties at versions that share a report layout";
    /// The report and its endorsements are well formed.
    Format = "format", "have the peer make new evidence; if it stays, the peer or the network alters it";
    /// The root is one that the policy names, or the vendor's.
    Root = "root", "have the peer's platform certified by a root that the contract names, or agree on a contract that names this root";
    /// The platform is certified under the root.
    Certificate = "certificate", "give what is missing with the evidence or in the collateral folder (`attest collateral fetch`); if a signature stays wrong, a certificate is forged or altered";
    /// The certified platform signed the report.
    ReportSignature = "report-signature", "have the peer make new evidence; if it stays, the report is forged or altered";
    /// Report and certificate speak of the same platform.
    PlatformBinding = "platform-binding", "send the certificate that belongs to the platform in its present firmware";
    /// The platform's certificate is valid now and was when the report was made.
    Validity = "validity", "fetch the collateral anew, have the platform's certificate renewed, or set the clock";
    /// No list of the vendor's takes a certificate back, and a list that is at hand is current.
    Revocation = "revocation", "run the peer on a platform whose certificates are not revoked, or fetch the revocation list anew";
    /// The evidence is fresh.
    Age = "age", "have the peer make new evidence, or set the clocks of both machines; for hardware's evidence in a file, say since when its report data could be known, or judge it by a policy that says any";
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
    /// The policy has criteria for the kind of platform.
    Platform = "platform", "run the peer on a kind of platform that the contract's policy has a section for, or agree on a contract that has one for this kind";
    /// SEV-SNP: reported, committed, launch and current firmware are in an order that the firmware keeps.
    SnpTcbOrder = "snp-tcb-order", "have the platform's operator reset the reported firmware (SNP_CONFIG); if it stays, the firmware's state cannot be relied on";
    /// SEV-SNP: the firmware for which the report's key was derived is recent enough.
    SnpReportedTcb = "snp-reported-tcb", "update the firmware of the peer's machine and have it certified anew";
    /// SEV-SNP: the firmware below which the platform cannot be rolled back is recent enough.
    SnpCommittedTcb = "snp-committed-tcb", "update the firmware of the peer's machine and commit it (SNP_COMMIT)";
    /// SEV-SNP: the firmware under which the machine was launched is recent enough.
    SnpLaunchTcb = "snp-launch-tcb", "update the firmware of the peer's machine and launch it anew";
    /// SEV-SNP: the report was asked for at a privilege level that the policy names.
    Vmpl = "vmpl", "have the program ask for evidence at a privilege level that the contract names";
    /// SEV-SNP: the guest policy asks for a firmware interface that is recent enough.
    SnpGuestAbi = "snp-guest-abi", "launch the peer with a guest policy that asks for a newer firmware interface";
    /// SEV-SNP: the guest policy on sibling threads.
    SnpGuestSmt = "snp-guest-smt", "launch the peer with the guest policy for SMT that the contract asks for";
    /// SEV-SNP: the guest policy on migration agents.
    SnpGuestMigrationAgent = "snp-guest-migration-agent", "launch the peer with the guest policy for migration agents that the contract asks for";
    /// SEV-SNP: the guest policy on sockets.
    SnpGuestSingleSocket = "snp-guest-single-socket", "launch the peer with the guest policy for sockets that the contract asks for";
    /// SEV-SNP: the guest policy on CXL.
    SnpGuestCxl = "snp-guest-cxl", "launch the peer with the guest policy for CXL that the contract asks for";
    /// SEV-SNP: the guest policy on memory encryption.
    SnpGuestMemAes256Xts = "snp-guest-mem-aes-256-xts", "launch the peer with the guest policy for AES-256-XTS that the contract asks for";
    /// SEV-SNP: the guest policy on power measurement.
    SnpGuestRaplDis = "snp-guest-rapl-dis", "launch the peer with the guest policy for RAPL that the contract asks for";
    /// SEV-SNP: the guest policy on hiding ciphertext.
    SnpGuestCiphertextHidingDram = "snp-guest-ciphertext-hiding-dram", "launch the peer with the guest policy for ciphertext hiding that the contract asks for";
    /// SEV-SNP: the guest policy on swapping.
    SnpGuestPageSwapDisable = "snp-guest-page-swap-disable", "launch the peer with the guest policy for page swapping that the contract asks for";
    /// SEV-SNP: the platform's sibling threads.
    SnpPlatformSmt = "snp-platform-smt", "run the peer on a platform whose SMT is as the contract asks for";
    /// SEV-SNP: the platform's encryption of all memory.
    SnpPlatformTsme = "snp-platform-tsme", "run the peer on a platform whose TSME is as the contract asks for";
    /// SEV-SNP: the platform's error correction.
    SnpPlatformEcc = "snp-platform-ecc", "run the peer on a platform whose ECC is as the contract asks for";
    /// SEV-SNP: the platform's power measurement.
    SnpPlatformRaplDis = "snp-platform-rapl-dis", "run the peer on a platform whose RAPL is as the contract asks for";
    /// SEV-SNP: the platform's hiding of ciphertext.
    SnpPlatformCiphertextHidingDram = "snp-platform-ciphertext-hiding-dram", "run the peer on a platform whose ciphertext hiding is as the contract asks for";
    /// SEV-SNP: the platform's check for aliased memory.
    SnpPlatformAliasCheckComplete = "snp-platform-alias-check-complete", "run the peer on a platform whose alias check is as the contract asks for: update its firmware";
    /// SEV-SNP: the platform's trusted devices.
    SnpPlatformTio = "snp-platform-tio", "run the peer on a platform whose SEV-TIO is as the contract asks for";
    /// SEV-SNP: the launch's signer stated the family that the policy names.
    SnpFamilyId = "snp-family-id", "launch a guest of the family that the contract names";
    /// SEV-SNP: the host stated what the policy demands.
    HostData = "host-data", "launch the peer's machine with the host data that the contract names";
    /// SEV-SNP: an id key that the policy names signed the launch.
    SnpIdKey = "snp-id-key", "launch the peer with an id block signed by a key that the contract names";
    /// SEV-SNP: an author key that the policy names signed the id key.
    SnpAuthorKey = "snp-author-key", "launch the peer with an id key signed by an author that the contract names";
    /// SEV-SNP: a kind of key that the policy names signed the report.
    SnpSigningKey = "snp-signing-key", "run the peer on a platform that signs with a kind of key that the contract names";
    /// SEV-SNP: the chip is one that the policy names.
    ChipId = "chip-id", "run the peer on a machine that the contract names, or agree on a contract that names this chip";
    /// SEV-SNP: the mitigations that the policy names were in force at launch.
    SnpLaunchMitigations = "snp-launch-mitigations", "update the firmware of the peer's machine and launch it anew";
    /// SEV-SNP: the mitigations that the policy names are in force.
    SnpCurrentMitigations = "snp-current-mitigations", "update the firmware of the peer's machine";
    /// TDX: the initial contents are ones that the policy names.
    TdxMrtd = "tdx-mrtd", "launch the image that the contract names, or agree on a contract that names this one after reviewing it";
    /// TDX: RTMR0 is one that the policy names.
    TdxRtmr0 = "tdx-rtmr0", "launch with the virtual firmware's configuration that the contract names";
    /// TDX: RTMR1 is one that the policy names.
    TdxRtmr1 = "tdx-rtmr1", "boot the loader and the kernel that the contract names";
    /// TDX: RTMR2 is one that the policy names.
    TdxRtmr2 = "tdx-rtmr2", "boot with the command line and the initial file system that the contract names";
    /// TDX: RTMR3 is one that the policy names.
    TdxRtmr3 = "tdx-rtmr3", "run what the contract names, and measure nothing else into RTMR3";
    /// TDX: MRCONFIGID is one that the policy names.
    TdxMrConfigId = "tdx-mr-config-id", "launch the peer with the MRCONFIGID that the contract names";
    /// TDX: MROWNER is one that the policy names.
    TdxMrOwner = "tdx-mr-owner", "launch the peer with the MROWNER that the contract names";
    /// TDX: MROWNERCONFIG is one that the policy names.
    TdxMrOwnerConfig = "tdx-mr-owner-config", "launch the peer with the MROWNERCONFIG that the contract names";
    /// TDX: the mask of processor features is one that the policy names.
    TdxXfam = "tdx-xfam", "launch the peer with processor features that the contract names";
    /// TDX: the attributes are ones that the policy names.
    TdxAttributes = "tdx-td-attributes", "launch the peer with attributes that the contract names";
    /// TDX: the module is one that the policy names.
    TdxMrSeam = "tdx-mr-seam", "run the peer on a platform with a TDX module that the contract names";
    /// TDX: the module's signer is one that the policy names.
    TdxMrSignerSeam = "tdx-mr-signer-seam", "run the peer on a platform whose TDX module is signed by one whom the contract names";
    /// TDX: the platform's status is one that the policy names.
    TdxTcbStatus = "tdx-tcb-status", "update or configure the peer's platform as Intel's advisories say";
    /// TDX: no advisory applies to the platform but those that the policy names.
    TdxAdvisories = "tdx-advisories", "update the peer's platform as the advisories say, or agree on a contract that accepts them";
    /// TDX: the platform was judged by an evaluation that is recent enough.
    TdxTcbEvaluation = "tdx-tcb-evaluation", "fetch newer collateral for the peer's platform";
    /// TDX: the platform instance is one that the policy names.
    TdxPlatformInstance = "tdx-platform-instance", "run the peer on a machine that the contract names, or agree on a contract that names this platform instance";
    /// The evidence is of a security tier that the policy asks for.
    Tier = "tier", "remove the reasons that are named, or agree on a contract that asks for another tier";
}

impl fmt::Display for CheckName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
