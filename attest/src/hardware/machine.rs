//! Which interfaces this machine has, and what vouches through them.

use std::{fmt, path::Path, sync::Arc};

use super::{sev_guest::SevGuestDevice, snp::SnpAttester, tdx::TdxAttester};
use crate::{
    attester::{AttestError, Attester},
    configfs_tsm::{KernelFolder, Provider, TsmError, TsmFilesystem, provider_here},
    tee::Tee,
};

/// The interfaces by which this machine produces evidence.
///
/// ```
/// # use tributary_attest::{AttestError, Machine};
/// let nowhere = std::path::Path::new("/nowhere");
/// // Without configfs-tsm, an AMD machine with an older kernel still has its device.
/// match Machine::with_configfs_tsm(nowhere).attester(None) {
///     Ok(attester) => assert_eq!(attester.tee().as_str(), "sev-snp"),
///     Err(error) => assert!(matches!(error, AttestError::NoTee { .. } | AttestError::Unavailable { .. })),
/// }
/// ```
#[derive(Clone)]
pub struct Machine {
    filesystem: Arc<dyn TsmFilesystem>,
    sev_guest_device: bool,
}

impl Machine {
    /// This machine, with the interfaces where Linux has them.
    pub fn local() -> Self {
        Self::with_configfs_tsm(Path::new(KernelFolder::DEFAULT))
    }

    /// This machine, with configfs-tsm's report folder at another place than `/sys/kernel/config/tsm/report`.
    pub fn with_configfs_tsm(folder: &Path) -> Self {
        Self {
            filesystem: Arc::new(KernelFolder::at(folder)),
            sev_guest_device: SevGuestDevice::is_here(),
        }
    }

    /// Where configfs-tsm's report folder is expected.
    pub fn configfs_tsm(&self) -> &Path {
        self.filesystem.folder()
    }

    /// The name by which the kernel's report interface calls its provider, such as `sev_guest`.
    ///
    /// # Errors
    /// [`TsmError`] where the interface is not there or does not answer.
    pub fn provider(&self) -> Result<String, TsmError> {
        provider_here(self.filesystem.as_ref())
    }

    /// What vouches for programs on this machine: the kind of TEE that is asked for, or the one that there is.
    ///
    /// Never the simulated one. A first report is asked for and thrown away, so that what comes back works.
    ///
    /// # Errors
    /// [`AttestError`], which says what is missing and how to mend it.
    pub fn attester(&self, tee: Option<Tee>) -> Result<Arc<dyn Attester>, AttestError> {
        let offered = match self.offered() {
            // A simulated platform is a file that somebody names; no machine offers one.
            Err(_) if tee == Some(Tee::Simulated) => None,
            Err(error) => return Err(error),
            Ok((offered, _)) if tee.is_some_and(|tee| tee != offered) => Some(offered),
            Ok((Tee::Tdx, _)) => {
                let attester = TdxAttester::configfs_tsm(Arc::clone(&self.filesystem))?;
                return Ok(Arc::new(attester));
            }
            Ok((_, Interface::ConfigfsTsm)) => {
                let attester = SnpAttester::configfs_tsm(Arc::clone(&self.filesystem))?;
                return Ok(Arc::new(attester));
            }
            Ok((_, Interface::Device)) => return Ok(Arc::new(SnpAttester::device()?)),
        };
        Err(AttestError::OtherTee {
            asked: tee.unwrap_or(Tee::Simulated),
            offered,
        })
    }

    fn offered(&self) -> Result<(Tee, Interface), AttestError> {
        match self.provider() {
            Ok(name) => Provider::ALL
                .into_iter()
                .find(|provider| provider.name() == name)
                .map(|provider| (provider.tee(), Interface::ConfigfsTsm))
                .ok_or(AttestError::UnknownProvider { name }),
            // A machine with the device has an SEV-SNP driver, and a kernel older than the common interface.
            Err(TsmError::Absent { .. } | TsmError::NoProvider) if self.sev_guest_device => {
                Ok((Tee::SevSnp, Interface::Device))
            }
            Err(source) => Err(AttestError::NoTee { source }),
        }
    }
}

enum Interface {
    ConfigfsTsm,
    Device,
}

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Machine")
            .field("configfs_tsm", &self.configfs_tsm())
            .field("sev_guest_device", &self.sev_guest_device)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ReportData,
        configfs_tsm::stand_in::{EACCES, ENXIO, Fault, StandIn},
        hardware::{snp, tdx},
    };

    fn machine(stand_in: StandIn) -> Machine {
        Machine {
            filesystem: Arc::new(stand_in),
            sev_guest_device: false,
        }
    }

    fn snp_machine() -> Machine {
        machine(StandIn::sev_guest(snp::tests::reports(), Vec::new()))
    }

    fn tdx_machine() -> Machine {
        machine(StandIn::tdx_guest(tdx::tests::quotes(4)))
    }

    #[test]
    fn a_machine_gives_what_it_has() {
        for (machine, tee) in [(snp_machine(), Tee::SevSnp), (tdx_machine(), Tee::Tdx)] {
            for asked in [None, Some(tee)] {
                let attester = machine.attester(asked).unwrap();
                assert_eq!(attester.tee(), tee);
                let evidence = attester.attest(&ReportData::new([7; 64])).unwrap();
                assert_eq!(evidence.tee(), tee);
            }
        }
    }

    #[test]
    fn a_machine_gives_nothing_else() {
        for (machine, asked) in [
            (snp_machine(), Tee::Tdx),
            (tdx_machine(), Tee::SevSnp),
            (snp_machine(), Tee::Simulated),
            (tdx_machine(), Tee::Simulated),
        ] {
            let error = machine.attester(Some(asked)).err().unwrap();
            assert!(matches!(error, AttestError::OtherTee { .. }), "{error}");
        }
        let none = || machine(StandIn::tdx_guest(tdx::tests::quotes(4)).with(Fault::Create(2), 9));
        for asked in [
            None,
            Some(Tee::SevSnp),
            Some(Tee::Tdx),
            Some(Tee::Simulated),
        ] {
            let error = none().attester(asked).err().unwrap();
            let simulated = asked == Some(Tee::Simulated);
            assert_eq!(matches!(error, AttestError::NoTee { .. }), !simulated);
        }
        let other = StandIn::new("cca_guest", None, None, tdx::tests::quotes(4));
        let error = machine(other).attester(None).err().unwrap();
        assert!(
            matches!(error, AttestError::UnknownProvider { .. }),
            "{error}"
        );
    }

    #[test]
    fn the_device_serves_where_configfs_does_not_and_not_where_it_is_closed() {
        let offered = |errno| {
            let stand_in = StandIn::sev_guest(snp::tests::reports(), Vec::new());
            Machine {
                filesystem: Arc::new(stand_in.with(Fault::Create(errno), 99)),
                sev_guest_device: true,
            }
            .offered()
        };
        for absent in [2, ENXIO] {
            assert!(matches!(
                offered(absent),
                Ok((Tee::SevSnp, Interface::Device))
            ));
        }
        assert!(matches!(offered(EACCES), Err(AttestError::NoTee { .. })));
    }
}
