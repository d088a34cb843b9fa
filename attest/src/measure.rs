//! Predicted measurements: what a confidential machine's registers will hold, computed from what it is started with.
//!
//! ```text
//! firmware image ── SnpFirmware ── SnpGuest ──▶ launch digest
//!                └─ TdxFirmware ── mrtd ───────▶ MRTD        kernel, command line ── DirectBoot ──▶ RTMR1, RTMR2
//! event log ────── EventLog ── replay ─────────▶ RTMR0 to RTMR3
//! ```
//!
//! Whatever depends on something that is not handed in is refused, never guessed: RTMR0 covers the host's memory map and
//! ACPI tables, so it comes from an event log only.

mod cursor;
mod digest;
mod event_log;
mod guid;
mod guided_table;
mod metadata;
mod snp;
mod tdx;

pub use cursor::Truncated;
pub use digest::{CommandLineError, FileDigest};
pub use event_log::{Event, EventLog, EventLogError, EventType, Register, RegisterValues};
pub use guid::Guid;
pub use guided_table::GuidedTableError;
pub use metadata::MetadataError;
pub use snp::{
    CpuSignature, GuestFeatures, KernelHashes, SnpFirmware, SnpFirmwareError, SnpGuest,
    SnpGuestError, VcpuType,
};
pub use tdx::{
    DirectBoot, DirectBootError, FirmwareGeneration, KernelImageError, PageOrder, TdxFirmware,
    TdxFirmwareError, authenticode_sha384,
};
