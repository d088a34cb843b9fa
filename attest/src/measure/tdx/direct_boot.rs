//! RTMR1 and RTMR2 of a TD that QEMU boots with `-kernel`.
//!
//! The firmware measures the kernel's image and its own steps into RTMR1; the kernel's EFI stub measures the command line
//! and the initrd into RTMR2 (UEFI 2.10, section 38.4.1, maps PCRs to these registers).

use std::{fmt, str::FromStr};

use sha2::{Digest, Sha384};

use super::authenticode::{KernelImageError, authenticode_sha384};
use crate::{
    measure::{
        digest::{CommandLineError, FileDigest, check_command_line},
        event_log::extend,
    },
    measurement::Measurement,
};

/// Kernel, initrd and command line of a TD, and the firmware's way of measuring them.
///
/// QEMU before 10.2 writes into the kernel's header before the firmware sees it, differently for each size of memory:
/// for such a host the registers come from an event log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectBoot {
    kernel: [u8; 48],
    load_options: [u8; 48],
    initrd: Option<[u8; 48]>,
    generation: FirmwareGeneration,
}

/// Which releases of edk2 the firmware is of, as far as its events differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FirmwareGeneration {
    /// Up to edk2-stable202408: the separator before the kernel's start goes to RTMR0.
    UpTo202408,
    /// edk2-stable202411 to edk2-stable202505: it goes to RTMR1 (pull request 6051).
    From202411,
    /// edk2-stable202508 and later: `initrd=initrd` stands before the command line, no longer behind it (pull request
    /// 11115).
    From202508,
}

impl DirectBoot {
    /// What is measured of a kernel as it lies on disk, of an initrd or none, and of the command line that QEMU is given.
    ///
    /// # Errors
    /// [`DirectBootError`] for a kernel without an EFI stub for 64 bits, and for a command line that is empty or whose form
    /// in the firmware is not predicted.
    pub fn new(
        kernel: &[u8],
        initrd: Option<&FileDigest>,
        command_line: &str,
        generation: FirmwareGeneration,
    ) -> Result<Self, DirectBootError> {
        check_command_line(command_line)?;
        if command_line.is_empty() {
            return Err(DirectBootError::NoCommandLine);
        }
        let load_options = load_options(command_line, initrd.is_some(), generation);
        Ok(Self {
            kernel: authenticode_sha384(kernel)?,
            load_options: sha384(&utf16(&load_options)),
            initrd: initrd.map(|digest| *digest.sha384()),
            generation,
        })
    }

    /// The digests that are extended into RTMR1, in order, with what each is of.
    pub fn rtmr1_events(&self) -> Vec<(&'static str, [u8; 48])> {
        let mut events = vec![
            ("kernel", self.kernel),
            (CALLING, sha384(CALLING.as_bytes())),
        ];
        if self.generation != FirmwareGeneration::UpTo202408 {
            events.push(("separator", sha384(&[0; 4])));
        }
        events.extend([INVOCATION, RETURNED].map(|action| (action, sha384(action.as_bytes()))));
        events
    }

    /// The digests that are extended into RTMR2, in order, with what each is of.
    pub fn rtmr2_events(&self) -> Vec<(&'static str, [u8; 48])> {
        let initrd = self.initrd.map(|digest| ("initrd", digest));
        [("command line", self.load_options)]
            .into_iter()
            .chain(initrd)
            .collect()
    }

    /// RTMR1 once the kernel runs.
    pub fn rtmr1(&self) -> Measurement {
        replay(&self.rtmr1_events())
    }

    /// RTMR2 once the kernel runs, and before anything else is measured into it.
    pub fn rtmr2(&self) -> Measurement {
        replay(&self.rtmr2_events())
    }
}

/// Why a direct boot is not predicted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DirectBootError {
    /// The kernel.
    #[error(transparent)]
    Kernel(#[from] KernelImageError),
    /// The command line.
    #[error(transparent)]
    CommandLine(#[from] CommandLineError),
    /// What an empty command line leads to differs between kernels.
    #[error(
        "expected a command line, got an empty one: what a kernel measures then is not predicted; use an event log"
    )]
    NoCommandLine,
}

impl FirmwareGeneration {
    /// Every generation that is told apart.
    pub const ALL: [Self; 3] = [Self::UpTo202408, Self::From202411, Self::From202508];

    /// The first release of the generation, or the word for all before.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UpTo202408 => "up-to-edk2-202408",
            Self::From202411 => "edk2-202411",
            Self::From202508 => "edk2-202508",
        }
    }
}

impl fmt::Display for FirmwareGeneration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for FirmwareGeneration {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|known| known.as_str() == text)
            .ok_or_else(|| {
                let names = Self::ALL.map(Self::as_str).join(", ");
                format!("expected one of {names}, got {text:?}")
            })
    }
}

/// The text that the firmware hands to the kernel (OvmfPkg/Library/X86QemuLoadImageLib).
fn load_options(command_line: &str, has_initrd: bool, generation: FirmwareGeneration) -> String {
    match (has_initrd, generation) {
        (false, _) => command_line.to_owned(),
        (true, FirmwareGeneration::From202508) => format!("initrd=initrd {command_line}"),
        (true, _) => format!("{command_line} initrd=initrd"),
    }
}

/// UTF-16 in the order of UEFI, with the NUL that ends it.
fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16()
        .chain([0])
        .flat_map(u16::to_le_bytes)
        .collect()
}

fn sha384(bytes: &[u8]) -> [u8; 48] {
    Sha384::digest(bytes).into()
}

fn replay(events: &[(&'static str, [u8; 48])]) -> Measurement {
    let value = events
        .iter()
        .fold([0; 48], |value, (_, digest)| extend(&value, digest));
    Measurement::new(value)
}

/// The events' texts (TCG PC Client Platform Firmware Profile 1.05, section 10.4.4).
const CALLING: &str = "Calling EFI Application from Boot Option";
const INVOCATION: &str = "Exit Boot Services Invocation";
const RETURNED: &str = "Exit Boot Services Returned with Success";
