//! What a quote states, in the crate's terms.

use dcap_qvl::{QuoteClaims, TcbStatus};

use super::quote::TdxQuote;
use crate::{
    claims::{
        Claims, Fmspc, MrConfigId, MrOwner, MrOwnerConfig, MrSeam, MrServiceTd, MrSignerSeam,
        PlatformInstanceId, Rtmr, TcbEvaluationDataNumber, TdAttributes, TdVersion, TdxClaims,
        TdxTcb, TdxTcbStatus, TeeTcbSvn, Xfam,
    },
    measurement::Measurement,
    report_data::ReportData,
    tee::Tee,
};

/// What the quote states of itself; nothing of what Intel says of its platform.
pub(super) fn read_unverified(quote: &TdxQuote) -> Claims {
    let platform = TdxPlatform {
        fmspc: quote.fmspc().ok(),
        ..TdxPlatform::default()
    };
    claims(quote, platform)
}

/// What a verified quote states, and what the collateral says of its platform.
pub(super) fn read_verified(quote: &TdxQuote, verified: &QuoteClaims) -> Result<Claims, String> {
    let pck = &verified.platform.pck;
    let platform = TdxPlatform {
        fmspc: Some(Fmspc::new(pck.fmspc)),
        instance_id: pck.platform_instance_id.map(PlatformInstanceId::new),
        tcb: Some(TdxTcb {
            status: status(verified.tcb.status),
            advisory_ids: verified
                .tcb
                .advisory_ids
                .iter()
                .map(|id| id.parse())
                .collect::<Result<_, _>>()?,
            evaluation_data_number: TcbEvaluationDataNumber(verified.tcb.eval_data_number),
        }),
    };
    Ok(claims(quote, platform))
}

#[derive(Default)]
struct TdxPlatform {
    fmspc: Option<Fmspc>,
    instance_id: Option<PlatformInstanceId>,
    tcb: Option<TdxTcb>,
}

fn claims(quote: &TdxQuote, platform: TdxPlatform) -> Claims {
    let body = &quote.body;
    let claims = TdxClaims {
        quote_version: quote.version,
        td_version: match body.mr_service_td {
            None => TdVersion::Td10,
            Some(_) => TdVersion::Td15,
        },
        mrtd: Measurement::new(body.mrtd),
        rtmrs: body.rtmrs.map(Rtmr::new),
        mr_config_id: MrConfigId::new(body.mr_config_id),
        mr_owner: MrOwner::new(body.mr_owner),
        mr_owner_config: MrOwnerConfig::new(body.mr_owner_config),
        xfam: Xfam::new(body.xfam),
        td_attributes: TdAttributes::new(body.td_attributes),
        mr_seam: MrSeam::new(body.mr_seam),
        mr_signer_seam: MrSignerSeam::new(body.mr_signer_seam),
        tee_tcb_svn: TeeTcbSvn::new(body.tee_tcb_svn),
        mr_service_td: body.mr_service_td.map(MrServiceTd::new),
        fmspc: platform.fmspc,
        platform_instance_id: platform.instance_id,
        tcb: platform.tcb,
    };
    // A quote holds no time, and the day of Intel's statements says nothing of when it was made.
    Claims::from_tdx(Tee::Tdx, ReportData::new(body.report_data), None, claims)
}

const fn status(status: TcbStatus) -> TdxTcbStatus {
    match status {
        TcbStatus::UpToDate => TdxTcbStatus::UpToDate,
        TcbStatus::SWHardeningNeeded => TdxTcbStatus::SwHardeningNeeded,
        TcbStatus::ConfigurationNeeded => TdxTcbStatus::ConfigurationNeeded,
        TcbStatus::ConfigurationAndSWHardeningNeeded => {
            TdxTcbStatus::ConfigurationAndSwHardeningNeeded
        }
        TcbStatus::OutOfDate => TdxTcbStatus::OutOfDate,
        TcbStatus::OutOfDateConfigurationNeeded => TdxTcbStatus::OutOfDateConfigurationNeeded,
        TcbStatus::TDRelaunchAdvised => TdxTcbStatus::TdRelaunchAdvised,
        TcbStatus::TDRelaunchAdvisedConfigurationNeeded => {
            TdxTcbStatus::TdRelaunchAdvisedConfigurationNeeded
        }
        TcbStatus::Revoked => TdxTcbStatus::Revoked,
    }
}
