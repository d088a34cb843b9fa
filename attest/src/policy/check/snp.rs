//! What makes the section `sev_snp` one.

use super::lists::{check_stated, check_zeros};
use crate::policy::{
    criterion::Criterion,
    error::PolicyError,
    snp::{SnpPolicy, SnpTcbFloors},
};

pub(super) fn check_snp(snp: &SnpPolicy) -> Result<(), PolicyError> {
    check_floors("sev_snp.minimum_reported_tcb", &snp.minimum_reported_tcb)?;
    check_floors("sev_snp.minimum_committed_tcb", &snp.minimum_committed_tcb)?;
    check_floors("sev_snp.minimum_launch_tcb", &snp.minimum_launch_tcb)?;
    check_stated("sev_snp.vmpls", &snp.vmpls)?;
    check_stated("sev_snp.id_keys", &snp.id_keys)?;
    check_zeros("sev_snp.id_keys", &snp.id_keys, |key| key.is_zero())?;
    check_stated("sev_snp.author_keys", &snp.author_keys)?;
    check_zeros("sev_snp.author_keys", &snp.author_keys, |key| key.is_zero())?;
    check_stated("sev_snp.signing_keys", &snp.signing_keys)?;
    check_stated("sev_snp.chip_ids", &snp.chip_ids)?;
    check_zeros("sev_snp.chip_ids", &snp.chip_ids, |chip| chip.is_zero())
}

fn check_floors(
    field: &'static str,
    criterion: &Criterion<SnpTcbFloors>,
) -> Result<(), PolicyError> {
    let Some(floors) = criterion.stated() else {
        return Ok(());
    };
    if floors.iter().next().is_none() {
        return Err(PolicyError::NoFloor { field });
    }
    floors
        .iter()
        .find(|(product, floor)| !floor.fits(*product))
        .map_or(Ok(()), |(product, floor)| {
            Err(PolicyError::UnfitFloor {
                field,
                product,
                floor: *floor,
            })
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Measurement, Policy, SimulatedRoot, claims::SnpTcb};

    fn policy() -> Policy {
        let root = SimulatedRoot::from_seed(&[1; 32]).public_key();
        Policy::simulated(root, [Measurement::of_bytes(b"program")])
    }

    fn snp(change: impl FnOnce(&mut SnpPolicy), expected: &str) {
        let mut policy = policy();
        change(policy.sev_snp.as_mut().unwrap());
        let error = policy.check().unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn a_minimum_fits_its_generation() {
        let tcb: SnpTcb = "bootloader=1,tee=2,snp=3,microcode=4".parse().unwrap();
        let with_fmc = SnpTcb {
            fmc: Some(1),
            ..tcb
        };
        let none = SnpTcbFloors::default();
        let right = SnpTcbFloors {
            milan: Some(tcb),
            genoa: Some(tcb),
            turin: Some(with_fmc),
        };
        let wrong = [
            SnpTcbFloors {
                milan: Some(with_fmc),
                ..right
            },
            SnpTcbFloors {
                genoa: Some(with_fmc),
                ..right
            },
            SnpTcbFloors {
                turin: Some(tcb),
                ..right
            },
        ];
        type Field = fn(&mut SnpPolicy) -> &mut Criterion<SnpTcbFloors>;
        let fields: [(&str, Field); 3] = [
            ("reported", |s| &mut s.minimum_reported_tcb),
            ("committed", |s| &mut s.minimum_committed_tcb),
            ("launch", |s| &mut s.minimum_launch_tcb),
        ];
        for (name, field) in fields {
            let said = format!("`sev_snp.minimum_{name}_tcb`");
            snp(
                |s| *field(s) = Criterion::Stated(none),
                &format!("{said} names no generation"),
            );
            for floors in wrong {
                snp(
                    |s| *field(s) = Criterion::Stated(floors),
                    &format!("{said} states"),
                );
            }
            let mut policy = policy();
            *field(policy.sev_snp.as_mut().unwrap()) = Criterion::Stated(right);
            policy.check().unwrap();
        }
    }
}
