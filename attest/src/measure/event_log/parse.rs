//! The structures of a log (TCG PC Client Platform Firmware Profile 1.05, section 10.2), little-endian throughout.

use super::{Event, EventLog, EventType, Register};
use crate::measure::cursor::{Cursor, Truncated};

/// Why an event log was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EventLogError {
    /// It ends inside an event.
    #[error(transparent)]
    Truncated(#[from] Truncated),
    /// It is larger than any log.
    #[error("the log has {got} bytes, expected at most {max}")]
    TooLarge {
        /// The most.
        max: usize,
        /// Its size.
        got: usize,
    },
    /// It has more events than any log.
    #[error("the log has more than {max} events")]
    TooManyEvents {
        /// The most.
        max: usize,
    },
    /// Its first event is not the one that says how the others read.
    #[error(
        "expected {expected} as the {field} of the first event, got {got}: it is no crypto-agile event log"
    )]
    FirstEvent {
        /// The field.
        field: &'static str,
        /// What it must be.
        expected: String,
        /// What it is.
        got: String,
    },
    /// A digest of an algorithm that was not announced.
    #[error(
        "the event at byte {at} has a digest of algorithm {got:#06x}, which the log's first event does not name"
    )]
    UnknownAlgorithm {
        /// The event.
        at: usize,
        /// The algorithm.
        got: u16,
    },
    /// Not one digest for each algorithm.
    #[error(
        "the event at byte {at} has {got}, expected one digest for each of the log's {expected} algorithms"
    )]
    Digests {
        /// The event.
        at: usize,
        /// How many there must be.
        expected: usize,
        /// What it has.
        got: String,
    },
    /// A register that is not extended by events.
    #[error(
        "the event at byte {at} extends register {got}, expected 1 to 4 (RTMR0 to RTMR3): {why}"
    )]
    Register {
        /// The event.
        at: usize,
        /// The register.
        got: u32,
        /// Why not.
        why: &'static str,
    },
    /// The space behind the last event holds something.
    #[error(
        "the space from byte {at} on begins like the unused end of the log, and byte {other} is not like it"
    )]
    Padding {
        /// Where the space begins.
        at: usize,
        /// The first byte that differs.
        other: usize,
    },
}

pub(super) fn parse(bytes: &[u8]) -> Result<Vec<Event>, EventLogError> {
    if bytes.len() > EventLog::MAX_BYTES {
        return Err(EventLogError::TooLarge {
            max: EventLog::MAX_BYTES,
            got: bytes.len(),
        });
    }
    let mut cursor = Cursor::new(bytes, 0);
    let algorithms = first_event(&mut cursor)?;
    let mut events = Vec::new();
    while !ends(&cursor)? {
        if let Some(event) = next_event(&mut cursor, &algorithms)? {
            if events.len() == EventLog::MAX_EVENTS {
                return Err(EventLogError::TooManyEvents {
                    max: EventLog::MAX_EVENTS,
                });
            }
            events.push(event);
        }
    }
    Ok(events)
}

/// An algorithm's number and the size of its digests.
type Algorithm = (u16, usize);

/// TCG_PCClientPCREvent with a TCG_EfiSpecIDEvent inside (sections 10.2.1 and 10.4.5.1).
fn first_event(cursor: &mut Cursor<'_>) -> Result<Vec<Algorithm>, EventLogError> {
    let register = cursor.u32("the first event's register")?;
    expect(
        "type",
        "EV_NO_ACTION",
        EventType(cursor.u32("the first event's type")?),
    )?;
    let digest = cursor.array::<20>("the first event's digest")?;
    expect("digest", hex::encode([0; 20]), hex::encode(digest))?;
    // Firmware of both kinds exists: PCR 0 as for a TPM, or the first index of a TD.
    if register > 1 {
        expect("register", "0 or 1", register)?;
    }
    let size = cursor.u32("the first event's size")? as usize;
    let at = cursor.at();
    let mut cursor = Cursor::new(cursor.take("the first event", size)?, at);
    let signature = cursor.array::<16>("the first event's signature")?;
    expect(
        "signature",
        "Spec ID Event03\\x00",
        signature.escape_ascii(),
    )?;
    cursor.u32("the platform class")?;
    let version = cursor.array::<4>("the version")?;
    expect("version", "2.0", format!("{}.{}", version[1], version[0]))?;
    let count = cursor.u32("the number of algorithms")?;
    if !(1..=MAX_ALGORITHMS).contains(&count) {
        expect(
            "number of algorithms",
            format!("1 to {MAX_ALGORITHMS}"),
            count,
        )?;
    }
    let mut algorithms: Vec<Algorithm> = Vec::new();
    for _ in 0..count {
        let number = cursor.u16("an algorithm")?;
        let size = usize::from(cursor.u16("a digest's size")?);
        if algorithms.iter().any(|&(known, _)| known == number) {
            expect(
                "algorithms",
                "each one once",
                format!("{number:#06x} twice"),
            )?;
        }
        if let Some(&(_, known)) = KNOWN.iter().find(|&&(known, _)| known == number) {
            expect("size of a digest", known, size)?;
        } else if !(1..=MAX_DIGEST).contains(&size) {
            expect("size of a digest", format!("1 to {MAX_DIGEST}"), size)?;
        }
        algorithms.push((number, size));
    }
    if !algorithms.contains(&SHA384) {
        let got: Vec<_> = algorithms
            .iter()
            .map(|(number, _)| format!("{number:#06x}"))
            .collect();
        expect("algorithms", "0x000c (SHA-384) among them", got.join(", "))?;
    }
    let vendor = cursor.u8("the size of the vendor's part")?;
    cursor.take("the vendor's part", vendor.into())?;
    if !cursor.is_empty() {
        expect(
            "end",
            "the end of the vendor's part",
            format!("{} bytes more", cursor.rest().len()),
        )?;
    }
    Ok(algorithms)
}

/// Whether nothing but unused space is left.
fn ends(cursor: &Cursor<'_>) -> Result<bool, EventLogError> {
    let rest = cursor.rest();
    let Some(&first) = rest.first() else {
        return Ok(true);
    };
    // No event begins so: with ones its register would be out of range; with zeros it would be EV_PREBOOT_CERT of MRTD.
    let begins = &rest[..rest.len().min(8)];
    if !(first == 0 || first == 0xff) || begins.iter().any(|&byte| byte != first) {
        return Ok(false);
    }
    match rest.iter().position(|&byte| byte != first) {
        None => Ok(true),
        Some(other) => Err(EventLogError::Padding {
            at: cursor.at(),
            other: cursor.at() + other,
        }),
    }
}

/// TCG_PCR_EVENT2 (section 10.2.2); none for an event that is not extended.
fn next_event(
    cursor: &mut Cursor<'_>,
    algorithms: &[Algorithm],
) -> Result<Option<Event>, EventLogError> {
    let at = cursor.at();
    let index = cursor.u32("an event's register")?;
    let event_type = EventType(cursor.u32("an event's type")?);
    let digest = sha384_digest(cursor, algorithms, at)?;
    let size = cursor.u32("an event's size")? as usize;
    let data = cursor.take("an event's data", size)?;
    let wrong = |why| EventLogError::Register {
        at,
        got: index,
        why,
    };
    let register = match index {
        0 if event_type == EventType::NO_ACTION => return Ok(None),
        0 => return Err(wrong("MRTD is fixed before the TD runs")),
        1..=4 if event_type == EventType::NO_ACTION => return Ok(None),
        1..=4 => Register::ALL[index as usize - 1],
        _ => return Err(wrong("a TD has four of them")),
    };
    Ok(Some(Event {
        register,
        event_type,
        digest,
        data: data.to_vec(),
    }))
}

/// TPML_DIGEST_VALUES: one digest for each announced algorithm, in any order.
fn sha384_digest(
    cursor: &mut Cursor<'_>,
    algorithms: &[Algorithm],
    at: usize,
) -> Result<[u8; 48], EventLogError> {
    let expected = algorithms.len();
    let wrong = |got: String| EventLogError::Digests { at, expected, got };
    let count = cursor.u32("the number of digests")?;
    if count as usize != expected {
        return Err(wrong(format!("{count} digests")));
    }
    let mut seen = [false; MAX_ALGORITHMS as usize];
    let mut sha384 = None;
    for _ in 0..count {
        let number = cursor.u16("a digest's algorithm")?;
        let place = algorithms
            .iter()
            .position(|&(known, _)| known == number)
            .ok_or(EventLogError::UnknownAlgorithm { at, got: number })?;
        if std::mem::replace(&mut seen[place], true) {
            return Err(wrong(format!("two digests of algorithm {number:#06x}")));
        }
        let digest = cursor.take("a digest", algorithms[place].1)?;
        if number == SHA384.0 {
            sha384 = <[u8; 48]>::try_from(digest).ok();
        }
    }
    sha384.ok_or_else(|| wrong("no SHA-384 digest".into()))
}

fn expect(
    field: &'static str,
    expected: impl ToString,
    got: impl ToString,
) -> Result<(), EventLogError> {
    let (expected, got) = (expected.to_string(), got.to_string());
    match expected == got {
        true => Ok(()),
        false => Err(EventLogError::FirstEvent {
            field,
            expected,
            got,
        }),
    }
}

/// TPM 2.0 knows some ten algorithms of which a machine turns on a few.
const MAX_ALGORITHMS: u32 = 16;
const MAX_DIGEST: usize = 64;
const SHA384: Algorithm = (0xc, 48);
/// Sizes that are fixed by their algorithm (TCG Algorithm Registry 1.34, section 5): SHA-1, -256, -384, -512, SM3.
const KNOWN: [Algorithm; 5] = [(0x4, 20), (0xb, 32), SHA384, (0xd, 64), (0x12, 32)];
