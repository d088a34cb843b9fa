//! The measurement registers of a trust domain (TD): MRTD from the firmware, RTMR1 and RTMR2 from a directly booted kernel.
//!
//! RTMR0 covers the host's memory map and ACPI tables, and RTMR3 what the guest extends: neither follows from files.

mod authenticode;
mod direct_boot;
mod firmware;

pub use authenticode::{KernelImageError, authenticode_sha384};
pub use direct_boot::{DirectBoot, DirectBootError, FirmwareGeneration};
pub use firmware::{PageOrder, TdxFirmware, TdxFirmwareError};
