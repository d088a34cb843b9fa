//! What is to be fetched.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use tributary_attest::{
    Evidence, SnpProduct, SnpReport, SnpSigningKey, SnpTcb, TdxQuote, Tee, Vek,
};
use tributary_collateral_fetch::{Fmspc, KeyKind, PckCa};
use tributary_console::{Blame, ErrorCode, Failure};

use crate::{files::malformed, input::Input};

/// What is to be fetched, each thing once.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Chains and revocation lists of AMD.
    pub(super) chains: Vec<(SnpProduct, KeyKind)>,
    /// Certificates of chips.
    pub(super) chips: Vec<Chip>,
    /// Intel's documents.
    pub(super) platforms: BTreeSet<(Fmspc, &'static str)>,
    /// The evidence that must verify with what came.
    pub(super) evidence: Vec<(PathBuf, Evidence)>,
}

/// One chip in one state of its firmware.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chip {
    pub(super) product: SnpProduct,
    pub(super) hardware_id: Vec<u8>,
    pub(super) tcb: SnpTcb,
    /// As it stands in the report, for the file's name.
    pub(super) raw_tcb: [u8; 8],
}

/// AMD's spelling, as in the folder and in the service's addresses.
pub(super) fn amd_name(product: SnpProduct) -> &'static str {
    match product {
        SnpProduct::Milan => "Milan",
        SnpProduct::Genoa => "Genoa",
        SnpProduct::Turin => "Turin",
    }
}

pub(super) fn parse_product(text: &str) -> Result<SnpProduct, String> {
    SnpProduct::ALL
        .into_iter()
        .find(|product| amd_name(*product).eq_ignore_ascii_case(text))
        .ok_or_else(|| format!("expected Milan, Genoa or Turin, got {text:?}"))
}

/// In either case: Intel prints upper, and `attest show` lower.
pub(super) fn parse_fmspc(text: &str) -> Result<Fmspc, String> {
    text.to_ascii_lowercase().parse()
}

pub(super) fn parse_pck_ca(text: &str) -> Result<PckCa, String> {
    text.parse()
}

impl Plan {
    /// Intel's documents for models of platforms of which no quote is at hand.
    ///
    /// One that evidence names for the other authority is refused: a folder has one text for a model.
    pub(super) fn add_platforms(&mut self, models: &[Fmspc], ca: PckCa) -> Result<(), Failure> {
        for fmspc in models {
            let of_evidence = self.platforms.iter().find(|(own, _)| own == fmspc);
            if let Some((_, other)) = of_evidence
                && *other != ca.as_str()
            {
                let message = format!(
                    "expected `--pck-ca {other}` for {fmspc}, which the evidence names for it, got {}",
                    ca.as_str()
                );
                return Err(Failure::new(ErrorCode::USAGE, message).hint(
                    "leave `--fmspc` out for this model, or name the authority that certified it",
                ));
            }
            self.platforms.insert((*fmspc, ca.as_str()));
        }
        Ok(())
    }

    pub(super) fn of(evidence: &[PathBuf], products: &[SnpProduct]) -> Result<Self, Failure> {
        let mut plan = Self::default();
        for product in products {
            plan.add_chain(*product, KeyKind::Vcek);
            plan.add_chain(*product, KeyKind::Vlek);
        }
        for file in evidence {
            let read = Input::read(file)?
                .into_evidence(Vec::new())
                .map_err(|reason| malformed(file, reason))?;
            match read.tee() {
                Tee::SevSnp => plan.add_snp(file, &read, products)?,
                Tee::Tdx => plan
                    .add_tdx(&read)
                    .map_err(|reason| malformed(file, reason))?,
                Tee::Simulated => {
                    return Err(malformed(
                        file,
                        "nothing is fetched for simulated evidence: its root stands in the policy, and `attest simulated revoke` makes its list",
                    ));
                }
            }
            plan.evidence.push((file.clone(), read));
        }
        Ok(plan)
    }

    fn add_chain(&mut self, product: SnpProduct, kind: KeyKind) {
        if !self.chains.contains(&(product, kind)) {
            self.chains.push((product, kind));
        }
    }

    fn add_snp(
        &mut self,
        file: &Path,
        evidence: &Evidence,
        products: &[SnpProduct],
    ) -> Result<(), Failure> {
        let report =
            SnpReport::parse(evidence.report()).map_err(|reason| malformed(file, reason))?;
        let product = product_of(&report, evidence, products).ok_or_else(|| {
            Failure::new(
                ErrorCode::USAGE,
                format!(
                    "{}: a report of version {} does not say its product",
                    file.display(),
                    report.version
                ),
            )
            .hint("say it with --product, such as --product Milan")
            .blame(Blame::Configuration)
        })?;
        match report.signing_key {
            SnpSigningKey::Vlek => self.add_chain(product, KeyKind::Vlek),
            SnpSigningKey::Vcek => {
                self.add_chain(product, KeyKind::Vcek);
                let tcb = report
                    .reported_tcb
                    .read(product)
                    .map_err(|reason| malformed(file, reason))?;
                if report.chip_id == [0; 64] {
                    return Err(malformed(
                        file,
                        "the platform masks its chip id: its certificate must come from whoever runs it",
                    ));
                }
                let length = if product == SnpProduct::Turin { 8 } else { 64 };
                let chip = Chip {
                    product,
                    hardware_id: report.chip_id[..length].to_vec(),
                    tcb,
                    raw_tcb: report.reported_tcb.0,
                };
                if !self.chips.contains(&chip) {
                    self.chips.push(chip);
                }
            }
        }
        Ok(())
    }

    fn add_tdx(&mut self, evidence: &Evidence) -> Result<(), String> {
        let quote = TdxQuote::parse(evidence.report())?;
        let fmspc = Fmspc(*quote.fmspc()?.as_bytes());
        let ca: PckCa = quote.pck_ca()?.parse()?;
        self.platforms.insert((fmspc, ca.as_str()));
        Ok(())
    }
}

/// The product that the report states, or its certificate, or the one that was named.
fn product_of(
    report: &SnpReport,
    evidence: &Evidence,
    products: &[SnpProduct],
) -> Option<SnpProduct> {
    let of_certificate = || {
        evidence
            .endorsements()
            .iter()
            .find_map(|der| Vek::parse(der).ok())
            .map(|vek| vek.product())
    };
    let named = || match products {
        [product] => Some(*product),
        _ => None,
    };
    report.product.or_else(of_certificate).or_else(named)
}
