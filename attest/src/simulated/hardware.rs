//! What a simulated platform is made of, in the fields of the kind that it plays.

use rand_core::{OsRng, TryRngCore};
use serde::{Deserialize, Serialize};

use super::secret_file::SimulatedError;
use crate::claims::{
    ChipId, Fmspc, MitigationVector, MrSeam, MrSignerSeam, PlatformClaims, PlatformInstanceId,
    SnpClaims, SnpPlatformInfo, SnpProduct, SnpSigningKey, SnpTcb, TcbEvaluationDataNumber,
    TdVersion, TdxClaims, TdxTcb, TdxTcbStatus, TeeTcbSvn,
};

/// What a root certifies of a platform: all that a real one's maker and firmware answer for.
///
/// ```
/// # use tributary_attest::SimulatedHardware;
/// let old = SimulatedHardware::random_snp()?.with_changes(
///     r#"{"sev-snp": {"reported_tcb": {"microcode": 0}}}"#,
/// )?;
/// assert!(matches!(old, SimulatedHardware::SevSnp(snp) if snp.reported_tcb.microcode == 0));
/// # Ok::<(), tributary_attest::SimulatedError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SimulatedHardware {
    /// Plays an SEV-SNP platform.
    SevSnp(SnpHardware),
    /// Plays a TDX platform.
    Tdx(TdxHardware),
}

/// The fields of [`SnpClaims`] that belong to the platform.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct SnpHardware {
    pub report_version: u32,
    pub product: SnpProduct,
    pub chip_id: ChipId,
    pub current_tcb: SnpTcb,
    pub reported_tcb: SnpTcb,
    pub committed_tcb: SnpTcb,
    pub platform_info: SnpPlatformInfo,
    pub signing_key: SnpSigningKey,
    pub current_mit_vector: Option<MitigationVector>,
}

/// The fields of [`TdxClaims`] that belong to the platform.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct TdxHardware {
    pub quote_version: u16,
    pub td_version: TdVersion,
    pub mr_seam: MrSeam,
    pub mr_signer_seam: MrSignerSeam,
    pub tee_tcb_svn: TeeTcbSvn,
    pub fmspc: Option<Fmspc>,
    pub platform_instance_id: Option<PlatformInstanceId>,
    pub tcb: Option<TdxTcb>,
}

impl SimulatedHardware {
    /// An up-to-date SEV-SNP platform whose chip has a random identity.
    ///
    /// # Errors
    /// Where the system gives no random bytes.
    pub fn random_snp() -> Result<Self, SimulatedError> {
        let tcb = SnpTcb {
            fmc: None,
            bootloader: 1,
            tee: 1,
            snp: 1,
            microcode: 1,
        };
        Ok(Self::SevSnp(SnpHardware {
            report_version: 5,
            product: SnpProduct::Genoa,
            chip_id: ChipId::new(random()?),
            current_tcb: tcb,
            reported_tcb: tcb,
            committed_tcb: tcb,
            platform_info: SnpPlatformInfo {
                smt_en: true,
                ecc_en: true,
                alias_check_complete: true,
                ..SnpPlatformInfo::default()
            },
            signing_key: SnpSigningKey::Vcek,
            current_mit_vector: Some(MitigationVector::from_bits(1)),
        }))
    }

    /// An up-to-date TDX platform with a random instance id.
    ///
    /// # Errors
    /// Where the system gives no random bytes.
    pub fn random_tdx() -> Result<Self, SimulatedError> {
        Ok(Self::Tdx(TdxHardware {
            quote_version: 5,
            td_version: TdVersion::Td15,
            mr_seam: MrSeam::new([0x5e; MrSeam::LEN]),
            mr_signer_seam: MrSignerSeam::new([0; MrSignerSeam::LEN]),
            tee_tcb_svn: TeeTcbSvn::new([1; TeeTcbSvn::LEN]),
            fmspc: Some(Fmspc::new([0; Fmspc::LEN])),
            platform_instance_id: Some(PlatformInstanceId::new(random()?)),
            tcb: Some(TdxTcb {
                status: TdxTcbStatus::UpToDate,
                advisory_ids: Vec::new(),
                evaluation_data_number: TcbEvaluationDataNumber(1),
            }),
        }))
    }

    /// The hardware with a file's changes: JSON that states only what differs, by the rules of RFC 7396 (a field that
    /// is `null` is taken away, a list is replaced as a whole).
    ///
    /// # Errors
    /// [`SimulatedError::Configuration`] where the text is no JSON, or names a field or a value that there is not.
    pub fn with_changes(&self, json: &str) -> Result<Self, SimulatedError> {
        super::changes::apply(self, json, "a simulated platform's hardware")
    }

    /// The platform's part of what a report states.
    pub(crate) fn of(claims: &PlatformClaims) -> Self {
        match claims {
            PlatformClaims::SevSnp(SnpClaims {
                report_version,
                product,
                chip_id,
                current_tcb,
                reported_tcb,
                committed_tcb,
                platform_info,
                signing_key,
                current_mit_vector,
                ..
            }) => Self::SevSnp(SnpHardware {
                report_version: *report_version,
                product: *product,
                chip_id: *chip_id,
                current_tcb: *current_tcb,
                reported_tcb: *reported_tcb,
                committed_tcb: *committed_tcb,
                platform_info: *platform_info,
                signing_key: *signing_key,
                current_mit_vector: *current_mit_vector,
            }),
            PlatformClaims::Tdx(TdxClaims {
                quote_version,
                td_version,
                mr_seam,
                mr_signer_seam,
                tee_tcb_svn,
                fmspc,
                platform_instance_id,
                tcb,
                ..
            }) => Self::Tdx(TdxHardware {
                quote_version: *quote_version,
                td_version: *td_version,
                mr_seam: *mr_seam,
                mr_signer_seam: *mr_signer_seam,
                tee_tcb_svn: *tee_tcb_svn,
                fmspc: *fmspc,
                platform_instance_id: *platform_instance_id,
                tcb: tcb.clone(),
            }),
        }
    }

    /// Refuses what no processor of its generation could state.
    pub(super) fn check(&self) -> Result<(), SimulatedError> {
        let Self::SevSnp(snp) = self else {
            return Ok(());
        };
        for tcb in [snp.current_tcb, snp.reported_tcb, snp.committed_tcb] {
            if !tcb.fits(snp.product) {
                return Err(SimulatedError::Platform {
                    what: "TCB",
                    expected: "with fmc on turin and without it on milan and genoa",
                    got: format!("{tcb} on {}", snp.product),
                });
            }
        }
        Ok(())
    }
}

fn random<const N: usize>() -> Result<[u8; N], SimulatedError> {
    let mut bytes = [0; N];
    OsRng
        .try_fill_bytes(&mut bytes)
        .map_err(SimulatedError::Random)?;
    Ok(bytes)
}
