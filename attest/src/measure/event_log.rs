//! The event log of a confidential machine (ACPI table CCEL), and the registers that follow from it.
//!
//! The log says what was measured and is itself not trusted: only where the registers that it leads to are those of a
//! verified quote is it the truth, and then still only as far as each digest goes.

mod parse;
mod register;
mod types;

use sha2::{Digest, Sha384};

pub use parse::EventLogError;
pub use register::{Register, RegisterValues};
pub use types::EventType;

pub(super) use register::extend;

/// A log whose structure was checked.
///
/// ```no_run
/// # use tributary_attest::{EventLog, Register};
/// let bytes = std::fs::read("/sys/firmware/acpi/tables/data/CCEL")?;
/// let log = EventLog::parse(&bytes)?;
/// println!("RTMR1 is {}", log.replay().get(Register::Rtmr1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventLog {
    events: Vec<Event>,
}

/// One measurement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    register: Register,
    event_type: EventType,
    digest: [u8; 48],
    data: Vec<u8>,
}

impl EventLog {
    /// The longest log: firmware sets aside 64 KiB.
    pub const MAX_BYTES: usize = 4 * 1024 * 1024;
    /// The most events: a boot has some dozens, a kernel that measures every file some thousands.
    pub const MAX_EVENTS: usize = 16 * 1024;

    /// Reads a crypto-agile log (TCG PC Client Platform Firmware Profile 1.05, section 10.2), with the space that is left
    /// behind its last event, which must be all zeros or all ones.
    ///
    /// # Errors
    /// [`EventLogError`] for anything else: another first event, no SHA-384, a register that no TD extends, digests that
    /// were not announced or are missing, a size that does not fit, too much of anything.
    pub fn parse(bytes: &[u8]) -> Result<Self, EventLogError> {
        parse::parse(bytes).map(|events| Self { events })
    }

    /// The events in their order, without those that are not extended (EV_NO_ACTION).
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// The registers after all events, from zeros.
    pub fn replay(&self) -> RegisterValues {
        let mut values = RegisterValues::default();
        for event in &self.events {
            values.extend(event.register, &event.digest);
        }
        values
    }
}

impl Event {
    /// The register that is extended.
    pub fn register(&self) -> Register {
        self.register
    }

    /// What kind of thing was measured.
    pub fn event_type(&self) -> EventType {
        self.event_type
    }

    /// What was extended.
    pub fn digest(&self) -> &[u8; 48] {
        &self.digest
    }

    /// What the log says about it.
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    /// Whether the digest is that of the data, so that the register vouches for the data as well.
    pub fn is_bound(&self) -> bool {
        Sha384::digest(&self.data)[..] == self.digest
    }

    /// The data for people: its readable text, or its length. Not evidence unless [`Self::is_bound`].
    pub fn description(&self) -> String {
        types::describe(self.event_type, &self.data)
    }
}
