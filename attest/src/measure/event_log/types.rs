//! The kinds of event, by number and name.

use std::fmt;

/// A kind of event by its number (TCG PC Client Platform Firmware Profile 1.05, section 10.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EventType(pub u32);

impl EventType {
    /// Says something, measures nothing.
    pub const NO_ACTION: Self = Self(0x3);
    /// Ends the firmware's part of a register.
    pub const SEPARATOR: Self = Self(0x4);
    /// What an operating system's loader measured, by a number and text.
    pub const EVENT_TAG: Self = Self(0x6);

    /// The specification's name, if it has one.
    pub fn name(self) -> Option<&'static str> {
        NAMES
            .iter()
            .find(|(number, _)| *number == self.0)
            .map(|(_, name)| *name)
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "{:#010x}", self.0),
        }
    }
}

/// The text of an event's data, or its length.
pub(super) fn describe(event_type: EventType, data: &[u8]) -> String {
    let text = match event_type.0 {
        // TCG_PCClientTaggedEvent: a number, a length, text with its NUL.
        0x6 => data.get(8..).map(ascii),
        // UEFI_VARIABLE_DATA: a GUID, the lengths of name and value, the name in UTF-16.
        0x8000_0001 | 0x8000_0002 | 0x8000_000c | 0x8000_00e0 => variable_name(data),
        // UEFI_PLATFORM_FIRMWARE_BLOB2 and UEFI_HANDOFF_TABLE_POINTERS2: a length in one byte, the text.
        0x8000_000a | 0x8000_000b => data
            .split_first()
            .map(|(&length, rest)| ascii(&rest[..rest.len().min(length.into())])),
        0x1 | 0x5 | 0xa | 0xd | 0x8000_0007 => Some(ascii(data)),
        _ => None,
    };
    match text.filter(|text| !text.is_empty()) {
        Some(text) => text,
        None => format!("{} bytes", data.len()),
    }
}

/// Up to the first NUL; what is not printable is escaped, so that a log cannot write to a terminal as it likes.
fn ascii(bytes: &[u8]) -> String {
    let text = bytes.split(|&byte| byte == 0).next().unwrap_or_default();
    text.iter()
        .take(MAX_SHOWN)
        .flat_map(|byte| byte.escape_ascii())
        .map(char::from)
        .collect()
}

fn variable_name(data: &[u8]) -> Option<String> {
    let length = usize::try_from(u64::from_le_bytes(data.get(16..24)?.try_into().ok()?)).ok()?;
    let units = data.get(32..)?.chunks_exact(2).take(length.min(MAX_SHOWN));
    let text: Vec<u16> = units
        .map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
        .collect();
    Some(ascii(String::from_utf16_lossy(&text).as_bytes()))
}

/// How much of an event's text people see.
const MAX_SHOWN: usize = 80;

const NAMES: [(u32, &str); 30] = [
    (0x0, "EV_PREBOOT_CERT"),
    (0x1, "EV_POST_CODE"),
    (0x2, "EV_UNUSED"),
    (0x3, "EV_NO_ACTION"),
    (0x4, "EV_SEPARATOR"),
    (0x5, "EV_ACTION"),
    (0x6, "EV_EVENT_TAG"),
    (0x7, "EV_S_CRTM_CONTENTS"),
    (0x8, "EV_S_CRTM_VERSION"),
    (0x9, "EV_CPU_MICROCODE"),
    (0xa, "EV_PLATFORM_CONFIG_FLAGS"),
    (0xb, "EV_TABLE_OF_DEVICES"),
    (0xc, "EV_COMPACT_HASH"),
    (0xd, "EV_IPL"),
    (0xe, "EV_IPL_PARTITION_DATA"),
    (0xf, "EV_NONHOST_CODE"),
    (0x10, "EV_NONHOST_CONFIG"),
    (0x11, "EV_NONHOST_INFO"),
    (0x12, "EV_OMIT_BOOT_DEVICE_EVENTS"),
    (0x8000_0001, "EV_EFI_VARIABLE_DRIVER_CONFIG"),
    (0x8000_0002, "EV_EFI_VARIABLE_BOOT"),
    (0x8000_0003, "EV_EFI_BOOT_SERVICES_APPLICATION"),
    (0x8000_0004, "EV_EFI_BOOT_SERVICES_DRIVER"),
    (0x8000_0005, "EV_EFI_RUNTIME_SERVICES_DRIVER"),
    (0x8000_0006, "EV_EFI_GPT_EVENT"),
    (0x8000_0007, "EV_EFI_ACTION"),
    (0x8000_000a, "EV_EFI_PLATFORM_FIRMWARE_BLOB2"),
    (0x8000_000b, "EV_EFI_HANDOFF_TABLES2"),
    (0x8000_000c, "EV_EFI_VARIABLE_BOOT2"),
    (0x8000_00e0, "EV_EFI_VARIABLE_AUTHORITY"),
];
