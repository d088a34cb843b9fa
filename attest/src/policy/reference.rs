//! A policy from reference values: what `attest measure` predicted of the machines that are to be accepted.

use super::{
    Policy,
    criterion::{CodeRule, Criterion, DebugRule},
    snp::SnpPolicy,
    tdx::TdxPolicy,
};
use crate::{claims::Rtmr, measurement::Measurement, tee::Tee, tier::SecurityTier};

/// What the machines that are to be accepted measure.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReferenceValues {
    /// Launch digests of SEV-SNP machines.
    pub snp: Vec<Measurement>,
    /// Registers of TDX machines.
    pub tdx: Vec<TdxReference>,
}

/// The registers of one TDX machine. RTMR3 is the guest's own and has no reference value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TdxReference {
    /// MRTD.
    pub mrtd: Measurement,
    /// RTMR0 to RTMR2, as far as they are known.
    pub rtmrs: [Option<Rtmr>; 3],
}

/// Why reference values make no policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReferenceError {
    /// There are none.
    #[error(
        "expected at least one measurement, got none: a policy that names no program accepts every program"
    )]
    None,
    /// Some machines state a register that others do not.
    #[error(
        "rtmr{index} is known of {known} of {all} machines: it would be checked of none, or the others refused; measure \
         all of them alike"
    )]
    Uneven {
        /// The register.
        index: usize,
        /// How many machines state it.
        known: usize,
        /// How many machines there are.
        all: usize,
    },
}

impl Policy {
    /// The policy that accepts these machines on hardware and no others: no debugging, the tier SECURE, the highest
    /// privilege level, no migration, platforms that Intel calls up to date. Chips, signers, security versions and
    /// whatever else only the parties know is stated as any.
    ///
    /// Each register of TDX is a list of its own: with several machines, a mixture of their registers passes too.
    ///
    /// ```
    /// # use tributary_attest::{Criterion, Measurement, Policy, ReferenceValues, Tee};
    /// let digest = Measurement::of_bytes(b"as `attest measure snp` prints it");
    /// let policy = Policy::of_references(&ReferenceValues { snp: vec![digest], tdx: vec![] })?;
    /// assert_eq!(policy.tees, [Tee::SevSnp]);
    /// assert_eq!(policy.measurements, Criterion::Stated(vec![digest]));
    /// # Ok::<(), tributary_attest::ReferenceError>(())
    /// ```
    ///
    /// # Errors
    /// [`ReferenceError`] for no measurement at all, and for a register that only some of the machines state.
    pub fn of_references(references: &ReferenceValues) -> Result<Self, ReferenceError> {
        let mrtds = || references.tdx.iter().map(|machine| machine.mrtd);
        let measurements = once_each(references.snp.iter().copied().chain(mrtds()));
        if measurements.is_empty() {
            return Err(ReferenceError::None);
        }
        let has_snp = !references.snp.is_empty();
        let has_tdx = !references.tdx.is_empty();
        let rtmr = |index| rtmr_criterion(&references.tdx, index);
        let tdx = TdxPolicy {
            mrtd: Criterion::Stated(once_each(mrtds())),
            rtmr0: rtmr(0)?,
            rtmr1: rtmr(1)?,
            rtmr2: rtmr(2)?,
            ..TdxPolicy::baseline()
        };
        let tees = [(Tee::SevSnp, has_snp), (Tee::Tdx, has_tdx)];
        Ok(Self {
            tees: tees
                .into_iter()
                .filter(|(_, named)| *named)
                .map(|(tee, _)| tee)
                .collect(),
            simulated_roots: Vec::new(),
            code: CodeRule::MeasurementAndSigner,
            measurements: Criterion::Stated(measurements),
            signers: Criterion::Any,
            product_id: Criterion::Any,
            minimum_svn: Criterion::Any,
            debug: DebugRule::Forbidden,
            tier: Criterion::Stated(SecurityTier::Secure),
            maximum_age_seconds: Criterion::Any,
            sev_snp: has_snp.then(SnpPolicy::baseline),
            tdx: has_tdx.then_some(tdx),
        })
    }
}

fn rtmr_criterion(
    machines: &[TdxReference],
    index: usize,
) -> Result<Criterion<Vec<Rtmr>>, ReferenceError> {
    let values: Vec<_> = machines
        .iter()
        .filter_map(|machine| machine.rtmrs[index])
        .collect();
    match (values.len(), machines.len()) {
        (0, _) => Ok(Criterion::Any),
        (known, all) if known == all => Ok(Criterion::Stated(once_each(values))),
        (known, all) => Err(ReferenceError::Uneven { index, known, all }),
    }
}

/// In their order, without repetitions, which a policy refuses.
fn once_each<T: PartialEq>(values: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut once = Vec::new();
    for value in values {
        if !once.contains(&value) {
            once.push(value);
        }
    }
    once
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claims::Vmpl;

    fn digest(byte: u8) -> Measurement {
        Measurement::new([byte; 48])
    }

    fn td(byte: u8, rtmr1: Option<u8>) -> TdxReference {
        TdxReference {
            mrtd: digest(byte),
            rtmrs: [None, rtmr1.map(|byte| Rtmr::new([byte; 48])), None],
        }
    }

    #[test]
    fn each_kind_of_machine_gets_its_section_and_no_other() {
        let policy = |snp: &[u8], tdx: &[TdxReference]| {
            let snp = snp.iter().copied().map(digest).collect();
            Policy::of_references(&ReferenceValues {
                snp,
                tdx: tdx.to_vec(),
            })
            .unwrap()
        };
        let snp = policy(&[1, 2, 1], &[]);
        assert_eq!(
            snp.measurements,
            Criterion::Stated(vec![digest(1), digest(2)])
        );
        assert_eq!(
            (snp.tees.as_slice(), snp.tdx.is_none()),
            (&[Tee::SevSnp][..], true)
        );
        assert_eq!(
            snp.sev_snp.unwrap().vmpls,
            Criterion::Stated(vec![Vmpl::MOST_PRIVILEGED])
        );
        assert_eq!(
            (snp.debug, snp.tier),
            (
                DebugRule::Forbidden,
                Criterion::Stated(SecurityTier::Secure)
            )
        );

        let both = policy(&[1], &[td(3, Some(4)), td(5, Some(4))]);
        assert_eq!(both.tees, [Tee::SevSnp, Tee::Tdx]);
        assert_eq!(
            both.measurements,
            Criterion::Stated(vec![digest(1), digest(3), digest(5)])
        );
        let tdx = both.tdx.unwrap();
        assert_eq!(tdx.mrtd, Criterion::Stated(vec![digest(3), digest(5)]));
        assert_eq!(tdx.rtmr1, Criterion::Stated(vec![Rtmr::new([4; 48])]));
        assert_eq!(
            (tdx.rtmr0, tdx.rtmr2, tdx.rtmr3),
            (Criterion::Any, Criterion::Any, Criterion::Any)
        );
    }

    #[test]
    fn each_register_is_held_against_its_own_reference_value() {
        let rtmr = |byte| Rtmr::new([byte; 48]);
        let machine = TdxReference {
            mrtd: digest(1),
            rtmrs: [2, 3, 4].map(|byte| Some(rtmr(byte))),
        };
        let references = ReferenceValues {
            snp: vec![],
            tdx: vec![machine],
        };
        let tdx = Policy::of_references(&references).unwrap().tdx.unwrap();
        let stated = |byte| Criterion::Stated(vec![rtmr(byte)]);
        assert_eq!(
            [tdx.rtmr0, tdx.rtmr1, tdx.rtmr2, tdx.rtmr3],
            [stated(2), stated(3), stated(4), Criterion::Any]
        );
    }

    #[test]
    fn what_would_weaken_the_policy_unseen_is_refused() {
        assert_eq!(
            Policy::of_references(&ReferenceValues::default()),
            Err(ReferenceError::None)
        );
        let uneven = ReferenceValues {
            snp: vec![],
            tdx: vec![td(3, Some(4)), td(5, None)],
        };
        let error = Policy::of_references(&uneven).unwrap_err();
        assert_eq!(
            error,
            ReferenceError::Uneven {
                index: 1,
                known: 1,
                all: 2
            }
        );
        assert!(
            error
                .to_string()
                .contains("rtmr1 is known of 1 of 2 machines"),
            "{error}"
        );
    }
}
