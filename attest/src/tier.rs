//! How far evidence can be relied on, in one word and its reasons.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    claims::{Claims, PlatformClaims, SnpClaims, TdxClaims, TdxTcbStatus},
    tee::Tee,
};

/// How far genuine evidence can be relied on.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum SecurityTier {
    /// The platform protects nothing, or not from its host: it is simulated, under debugging, or its keys are revoked.
    Insecure,
    /// The platform protects, and something is known against its firmware or its configuration.
    Stale,
    /// Neither.
    Secure,
}

impl SecurityTier {
    /// The name in policies and on screens.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Secure => "SECURE",
            Self::Stale => "STALE",
            Self::Insecure => "INSECURE",
        }
    }

    /// Whether evidence of this tier is what a policy demands. A demand for `INSECURE` takes nothing but `INSECURE`, so
    /// that a client made for development never speaks to production.
    pub fn meets(self, demanded: Self) -> bool {
        match demanded {
            Self::Insecure => self == Self::Insecure,
            Self::Stale | Self::Secure => self >= demanded,
        }
    }
}

impl fmt::Display for SecurityTier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for SecurityTier {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Secure, Self::Stale, Self::Insecure]
            .into_iter()
            .find(|tier| tier.as_str() == text)
            .ok_or_else(|| format!("expected SECURE, STALE or INSECURE, got {text:?}"))
    }
}

/// A tier and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Assessment {
    pub(crate) tier: SecurityTier,
    pub(crate) reasons: Vec<String>,
}

/// Judges genuine claims. The lowest tier that any reason gives is the tier, and only its reasons are given.
pub(crate) fn assess(claims: &Claims) -> Assessment {
    let mut found: Vec<(SecurityTier, String)> = Vec::new();
    if claims.tee == Tee::Simulated {
        let reason = "the platform is simulated: no hardware protects it";
        found.push((SecurityTier::Insecure, reason.to_owned()));
    }
    if claims.debug {
        let reason = "the machine is under debugging: its host reads its memory";
        found.push((SecurityTier::Insecure, reason.to_owned()));
    }
    match &claims.platform {
        PlatformClaims::SevSnp(snp) => assess_snp(snp, &mut found),
        PlatformClaims::Tdx(tdx) => assess_tdx(tdx, &mut found),
    }
    let tier = found
        .iter()
        .map(|(tier, _)| *tier)
        .min()
        .unwrap_or(SecurityTier::Secure);
    let mut reasons: Vec<String> = found
        .into_iter()
        .filter(|(of, _)| *of == tier)
        .map(|(_, reason)| reason)
        .collect();
    if reasons.is_empty() {
        reasons.push("hardware vouches for it, and nothing is known against it".to_owned());
    }
    Assessment { tier, reasons }
}

/// AMD publishes no status of firmware: what can be seen is that a platform reports, or launched, less than the firmware
/// that it has committed to.
fn assess_snp(snp: &SnpClaims, found: &mut Vec<(SecurityTier, String)>) {
    let committed = snp.committed_tcb;
    for (what, tcb) in [
        ("the platform reports", snp.reported_tcb),
        ("the machine was launched on", snp.launch_tcb),
    ] {
        if !tcb.meets(&committed) {
            let reason = format!(
                "{what} older firmware ({tcb}) than the platform has committed ({committed})"
            );
            found.push((SecurityTier::Stale, reason));
        }
    }
}

fn assess_tdx(tdx: &TdxClaims, found: &mut Vec<(SecurityTier, String)>) {
    match tdx.tcb.as_ref().map(|tcb| tcb.status) {
        Some(TdxTcbStatus::UpToDate) => {}
        Some(TdxTcbStatus::Revoked) => {
            let reason = "Intel has revoked the platform's firmware level";
            found.push((SecurityTier::Insecure, reason.to_owned()));
        }
        Some(status) => {
            let reason = format!("Intel calls the platform {status}");
            found.push((SecurityTier::Stale, reason));
        }
        None => {
            let reason = "nobody has said what is known of the platform's firmware";
            found.push((SecurityTier::Stale, reason.to_owned()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Measurement, ReportData, SimulatedHardware, SimulatedLaunch, SnpTcb};

    fn claims(hardware: &SimulatedHardware) -> Claims {
        let measurement = Measurement::of_bytes(b"program");
        let data = ReportData::new([1; 64]);
        match SimulatedLaunch::on(hardware)
            .claims(hardware, measurement)
            .unwrap()
        {
            PlatformClaims::SevSnp(snp) => {
                Claims::from_snp(Tee::SevSnp, measurement, data, None, snp)
            }
            PlatformClaims::Tdx(tdx) => Claims::from_tdx(Tee::Tdx, data, None, tdx),
        }
    }

    fn snp(change: impl FnOnce(&mut SnpClaims)) -> Claims {
        let mut claims = claims(&SimulatedHardware::random_snp().unwrap());
        if let PlatformClaims::SevSnp(snp) = &mut claims.platform {
            change(snp);
        }
        claims
    }

    fn tdx(status: Option<TdxTcbStatus>) -> Claims {
        let mut claims = claims(&SimulatedHardware::random_tdx().unwrap());
        if let PlatformClaims::Tdx(tdx) = &mut claims.platform {
            match status {
                Some(status) => tdx.tcb.as_mut().unwrap().status = status,
                None => tdx.tcb = None,
            }
        }
        claims
    }

    fn check(claims: &Claims, tier: SecurityTier, reason: &str) {
        let assessed = assess(claims);
        assert_eq!(assessed.tier, tier, "{:?}", assessed.reasons);
        assert!(
            assessed.reasons.iter().any(|said| said.contains(reason)),
            "{:?}",
            assessed.reasons
        );
    }

    #[test]
    fn a_demand_for_insecure_takes_nothing_else() {
        use SecurityTier::{Insecure, Secure, Stale};
        for (tier, demanded, met) in [
            (Secure, Secure, true),
            (Stale, Secure, false),
            (Insecure, Secure, false),
            (Secure, Stale, true),
            (Stale, Stale, true),
            (Insecure, Stale, false),
            (Secure, Insecure, false),
            (Stale, Insecure, false),
            (Insecure, Insecure, true),
        ] {
            assert_eq!(tier.meets(demanded), met, "{tier} for {demanded}");
            assert_eq!(tier.as_str().parse(), Ok(tier));
            assert_eq!(serde_json::to_value(tier).unwrap(), tier.as_str());
        }
        assert!("secure".parse::<SecurityTier>().is_err());
    }

    #[test]
    fn hardware_against_which_nothing_is_known_is_secure() {
        check(&snp(|_| ()), SecurityTier::Secure, "nothing is known");
        let up_to_date = tdx(Some(TdxTcbStatus::UpToDate));
        check(&up_to_date, SecurityTier::Secure, "nothing is known");
    }

    #[test]
    fn what_protects_nothing_is_insecure_whatever_else_holds() {
        for mut claims in [snp(|_| ()), tdx(Some(TdxTcbStatus::OutOfDate))] {
            claims.debug = true;
            check(&claims, SecurityTier::Insecure, "under debugging");
            claims.tee = Tee::Simulated;
            check(&claims, SecurityTier::Insecure, "simulated");
            assert_eq!(assess(&claims).reasons.len(), 2);
        }
        let revoked = tdx(Some(TdxTcbStatus::Revoked));
        check(&revoked, SecurityTier::Insecure, "revoked");
    }

    #[test]
    fn firmware_older_than_committed_is_stale_and_newer_is_not() {
        let older = |tcb: SnpTcb| SnpTcb {
            microcode: tcb.microcode - 1,
            ..tcb
        };
        let newer = |tcb: SnpTcb| SnpTcb {
            microcode: tcb.microcode + 1,
            ..tcb
        };
        check(
            &snp(|s| s.reported_tcb = older(s.reported_tcb)),
            SecurityTier::Stale,
            "the platform reports older firmware",
        );
        check(
            &snp(|s| s.launch_tcb = older(s.launch_tcb)),
            SecurityTier::Stale,
            "the machine was launched on older firmware",
        );
        check(
            &snp(|s| s.current_tcb = newer(s.current_tcb)),
            SecurityTier::Secure,
            "",
        );
    }

    #[test]
    fn every_other_status_of_intels_is_stale_and_named() {
        use TdxTcbStatus::{Revoked, UpToDate};
        for status in TdxTcbStatus::ALL {
            if ![UpToDate, Revoked].contains(status) {
                check(&tdx(Some(*status)), SecurityTier::Stale, status.as_str());
            }
        }
        check(&tdx(None), SecurityTier::Stale, "nobody has said");
    }
}
