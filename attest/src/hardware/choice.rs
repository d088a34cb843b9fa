//! What a person says about the kind of TEE: `--tee auto|sev-snp|tdx|simulated`.

use std::{fmt, io, str::FromStr, sync::Arc};

use super::machine::Machine;
use crate::{
    attester::{AttestError, Attester},
    measurement::Measurement,
    simulated::{LaunchConfig, SimulatedPlatform},
    tee::Tee,
};

/// Which TEE is to vouch for a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TeeChoice {
    /// What the machine offers; never the simulated one.
    Auto,
    /// This kind and no other.
    Only(Tee),
}

impl TeeChoice {
    /// Every choice, in the order in which help lists them.
    pub const ALL: [Self; 4] = [
        Self::Auto,
        Self::Only(Tee::SevSnp),
        Self::Only(Tee::Tdx),
        Self::Only(Tee::Simulated),
    ];

    /// The name on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Only(tee) => tee.as_str(),
        }
    }

    /// What a home says where its owner says nothing: a home that was made for rehearsals has a simulated platform, and
    /// any other takes what the machine offers.
    pub const fn of_home(platform: Option<&SimulatedPlatform>) -> Self {
        match platform {
            Some(_) => Self::Only(Tee::Simulated),
            None => Self::Auto,
        }
    }

    /// What vouches for this program.
    ///
    /// # Errors
    /// [`ChoiceError`] where there is nothing of the kind. No other kind stands in for it: above all, a machine without
    /// a TEE does not become a simulated one.
    pub fn attester(
        self,
        machine: &Machine,
        platform: Option<&SimulatedPlatform>,
    ) -> Result<Arc<dyn Attester>, ChoiceError> {
        match (self, platform) {
            (Self::Auto, _) => Ok(machine.attester(None)?),
            (Self::Only(Tee::Simulated), Some(platform)) => {
                let measurement = Measurement::of_current_exe().map_err(ChoiceError::Measure)?;
                Ok(Arc::new(
                    platform.launch(measurement, LaunchConfig::default()),
                ))
            }
            (Self::Only(Tee::Simulated), None) => Err(ChoiceError::NoPlatform),
            (Self::Only(tee), _) => Ok(machine.attester(Some(tee))?),
        }
    }
}

/// Why nothing vouches for a program.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChoiceError {
    /// The machine does not do it.
    #[error(transparent)]
    Machine(#[from] AttestError),
    /// The simulated TEE was asked for, and there is no platform.
    #[error("expected a simulated platform in this home, found none")]
    NoPlatform,
    /// The program's own file cannot be read.
    #[error("the running program could not be measured")]
    Measure(#[source] io::Error),
}

impl ChoiceError {
    /// How to mend it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Machine(_) => {
                "run `attest doctor` on this machine; to rehearse without a TEE, make the home with `init --simulated ROOT`"
            }
            Self::NoPlatform => {
                "make the home with `init --simulated ROOT`, or choose another --tee"
            }
            Self::Measure(_) => "check that /proc is mounted and the program's file readable",
        }
    }
}

impl fmt::Display for TeeChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for TeeChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|choice| choice.as_str() == text)
            .ok_or_else(|| format!("expected auto, sev-snp, tdx or simulated, got {text:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{PlatformConfig, SimulatedRoot};

    fn platform() -> SimulatedPlatform {
        let root = SimulatedRoot::generate().unwrap();
        root.certify(PlatformConfig::new("p", chrono::Utc::now()).unwrap())
            .unwrap()
    }

    /// A machine without any interface.
    fn bare() -> (tempfile::TempDir, Machine) {
        let folder = tempfile::tempdir().unwrap();
        let machine = Machine::with_configfs_tsm(&folder.path().join("tsm/report"));
        (folder, machine)
    }

    #[test]
    fn auto_never_falls_back_to_simulated() {
        let (_folder, machine) = bare();
        let platform = platform();
        for choice in [
            TeeChoice::Auto,
            TeeChoice::Only(Tee::SevSnp),
            TeeChoice::Only(Tee::Tdx),
        ] {
            let error = choice.attester(&machine, Some(&platform)).err().unwrap();
            assert!(
                matches!(error, ChoiceError::Machine(_)),
                "{choice}: {error}"
            );
            assert!(error.hint().contains("attest doctor"));
        }
    }

    #[test]
    fn simulated_is_given_where_it_is_named_and_there_is_a_platform() {
        let (_folder, machine) = bare();
        let simulated = TeeChoice::Only(Tee::Simulated);
        let attester = simulated.attester(&machine, Some(&platform())).unwrap();
        assert_eq!(attester.tee(), Tee::Simulated);
        assert!(matches!(
            simulated.attester(&machine, None),
            Err(ChoiceError::NoPlatform)
        ));
        assert_eq!(TeeChoice::of_home(Some(&platform())), simulated);
        assert_eq!(TeeChoice::of_home(None), TeeChoice::Auto);
    }

    #[test]
    fn names_read_back() {
        for choice in TeeChoice::ALL {
            assert_eq!(choice.to_string().parse(), Ok(choice));
        }
        for wrong in ["", "AUTO", "sgx", "snp"] {
            assert!(wrong.parse::<TeeChoice>().is_err());
        }
    }
}
