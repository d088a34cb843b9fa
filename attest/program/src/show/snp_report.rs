//! Reports of version 2, which do not say of which product they are: firmware versions stay the eight bytes that they are.

use serde_json::{Value, json};
use tributary_attest::SnpReport;

/// Every field, as it stands.
pub(super) fn describe(bytes: &[u8]) -> Result<Value, String> {
    let report = SnpReport::parse(bytes)?;
    Ok(json!({
        "tee": "sev-snp",
        "report_version": report.version,
        "measurement": hex::encode(report.measurement),
        "report_data": hex::encode(report.report_data),
        "host_data": hex::encode(report.host_data),
        "guest_svn": report.guest_svn,
        "guest_policy": report.policy,
        "family_id": hex::encode(report.family_id),
        "image_id": hex::encode(report.image_id),
        "vmpl": report.vmpl,
        "platform_info": format!("{:#x}", report.platform_info),
        "signing_key": report.signing_key,
        "id_key_digest": hex::encode(report.id_key_digest),
        "author_key_digest": hex::encode(report.author_key_digest),
        "chip_id": hex::encode(report.chip_id),
        "current_tcb": hex::encode(report.current_tcb.0),
        "reported_tcb": hex::encode(report.reported_tcb.0),
        "committed_tcb": hex::encode(report.committed_tcb.0),
        "launch_tcb": hex::encode(report.launch_tcb.0),
    }))
}
