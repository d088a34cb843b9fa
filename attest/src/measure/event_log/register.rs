//! The registers of a TD and how they are extended.

use std::fmt;

use serde::Serialize;
use sha2::{Digest, Sha384};

use crate::measurement::Measurement;

/// A register that is extended while a TD runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Register {
    /// The firmware's configuration.
    Rtmr0,
    /// What the firmware loaded.
    Rtmr1,
    /// What the loader and the kernel loaded.
    Rtmr2,
    /// What the guest's own software extends.
    Rtmr3,
}

impl Register {
    /// Every register, in order.
    pub const ALL: [Self; 4] = [Self::Rtmr0, Self::Rtmr1, Self::Rtmr2, Self::Rtmr3];

    /// The name in policies and on screens.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rtmr0 => "rtmr0",
            Self::Rtmr1 => "rtmr1",
            Self::Rtmr2 => "rtmr2",
            Self::Rtmr3 => "rtmr3",
        }
    }
}

impl fmt::Display for Register {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A value for each register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RegisterValues([[u8; 48]; 4]);

impl Default for RegisterValues {
    /// As a TD starts: zeros.
    fn default() -> Self {
        Self([[0; 48]; 4])
    }
}

impl RegisterValues {
    /// One register's value.
    pub fn get(&self, register: Register) -> Measurement {
        Measurement::new(self.0[register as usize])
    }

    /// Extends one register.
    pub fn extend(&mut self, register: Register, digest: &[u8; 48]) {
        let value = &mut self.0[register as usize];
        *value = extend(value, digest);
    }
}

/// The new value is SHA-384 of the old one and the digest (Intel TDX Module 1.5 Base Architecture Specification, publication
/// 348549, section 12.2.2).
pub(in crate::measure) fn extend(value: &[u8; 48], digest: &[u8; 48]) -> [u8; 48] {
    Sha384::new()
        .chain_update(value)
        .chain_update(digest)
        .finalize()
        .into()
}
