//! What a report states, in the crate's terms.

use super::{report::SnpReport, tcb::RawTcb};
use crate::{
    claims::{
        AuthorKeyDigest, ChipId, Claims, FamilyId, HostData, IdKeyDigest, ImageId,
        MitigationVector, SecurityVersion, SnpClaims, SnpPlatformInfo, SnpProduct, Vmpl,
    },
    measurement::Measurement,
    report_data::ReportData,
    tee::Tee,
    wire::WireError,
};

/// The claims of a report of this product; version 2 does not state its own.
pub(crate) fn read_claims(report: &SnpReport, product: SnpProduct) -> Result<Claims, WireError> {
    let tcb = |raw: RawTcb| raw.parts(product);
    let claims = SnpClaims {
        report_version: report.version,
        product,
        guest_svn: SecurityVersion(report.guest_svn),
        guest_policy: report.policy,
        family_id: FamilyId::new(report.family_id),
        image_id: ImageId::new(report.image_id),
        vmpl: Vmpl::try_from(report.vmpl)
            .map_err(|error| WireError::value("VMPL", "0 to 3", error))?,
        current_tcb: tcb(report.current_tcb)?,
        reported_tcb: tcb(report.reported_tcb)?,
        committed_tcb: tcb(report.committed_tcb)?,
        launch_tcb: tcb(report.launch_tcb)?,
        platform_info: SnpPlatformInfo::from_bits(report.platform_info),
        signing_key: report.signing_key,
        host_data: HostData::new(report.host_data),
        id_key_digest: IdKeyDigest::new(report.id_key_digest),
        author_key_en: report.author_key_enabled,
        author_key_digest: AuthorKeyDigest::new(report.author_key_digest),
        chip_id: ChipId::new(report.chip_id),
        launch_mit_vector: report.launch_mitigations.map(MitigationVector::from_bits),
        current_mit_vector: report.current_mitigations.map(MitigationVector::from_bits),
    };
    Ok(Claims::from_snp(
        Tee::SevSnp,
        Measurement::new(report.measurement),
        ReportData::new(report.report_data),
        None,
        claims,
    ))
}
