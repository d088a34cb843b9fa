//! Event logs that the tests write.

use proptest::prelude::*;
use sha2::{Digest, Sha384};
use tributary_attest::{EventLog, EventType, Measurement, Register};

/// A log in the form that firmware writes.
#[derive(Clone)]
pub struct Log {
    pub first: Vec<u8>,
    pub events: Vec<Vec<u8>>,
}

/// The algorithms' numbers and sizes.
pub const SHA384_ONLY: &[(u16, u16)] = &[(0xc, 48)];

impl Log {
    pub fn new(algorithms: &[(u16, u16)]) -> Self {
        let mut spec = b"Spec ID Event03\0".to_vec();
        spec.extend([0, 0, 0, 0, 0, 2, 0, 2]);
        spec.extend((algorithms.len() as u32).to_le_bytes());
        for (number, size) in algorithms {
            spec.extend(number.to_le_bytes());
            spec.extend(size.to_le_bytes());
        }
        spec.push(0);
        Self {
            first: first_event(0, 3, &spec),
            events: Vec::new(),
        }
    }

    pub fn event(
        mut self,
        register: u32,
        event_type: u32,
        digests: &[(u16, &[u8])],
        data: &[u8],
    ) -> Self {
        let mut event = [register, event_type, digests.len() as u32]
            .map(u32::to_le_bytes)
            .concat();
        for (number, digest) in digests {
            event.extend(number.to_le_bytes());
            event.extend(*digest);
        }
        event.extend((data.len() as u32).to_le_bytes());
        event.extend(data);
        self.events.push(event);
        self
    }

    pub fn sha384(self, register: u32, event_type: u32, digest: &[u8], data: &[u8]) -> Self {
        self.event(register, event_type, &[(0xc, digest)], data)
    }

    pub fn bytes(&self) -> Vec<u8> {
        [self.first.clone(), self.events.concat()].concat()
    }
}

fn first_event(register: u32, event_type: u32, data: &[u8]) -> Vec<u8> {
    let mut event = [register, event_type].map(u32::to_le_bytes).concat();
    event.extend([0; 20]);
    event.extend((data.len() as u32).to_le_bytes());
    event.extend(data);
    event
}

fn extended(digests: &[&[u8]]) -> Measurement {
    let value = digests.iter().fold(vec![0; 48], |value, digest| {
        Sha384::digest([&value[..], digest].concat()).to_vec()
    });
    Measurement::new(value.try_into().unwrap())
}

#[test]
fn each_event_extends_its_register() {
    let separator = Sha384::digest([0; 4]);
    let (one, two) = ([1; 48], [2; 48]);
    let log = Log::new(SHA384_ONLY)
        .sha384(1, 0x8000_000a, &one, b"\x02Fv rest")
        .sha384(0, 0x3, &[0; 48], b"not extended")
        .sha384(1, 0x3, &[9; 48], b"nor this")
        .sha384(2, 0x8000_0007, &two, b"Calling")
        .sha384(1, 0x4, &separator, &[0; 4])
        .sha384(4, 0x1234, &two, b"");
    for padding in [&[][..], &[0xff; 100], &[0; 100], &[0xff; 3], &[0; 7]] {
        let parsed = EventLog::parse(&[&log.bytes()[..], padding].concat()).unwrap();
        let values = parsed.replay();
        assert_eq!(values.get(Register::Rtmr0), extended(&[&one, &separator]));
        assert_eq!(values.get(Register::Rtmr1), extended(&[&two]));
        assert_eq!(values.get(Register::Rtmr2), Measurement::new([0; 48]));
        assert_eq!(values.get(Register::Rtmr3), extended(&[&two]));
        assert_eq!(parsed.events().len(), 4);
        let first = &parsed.events()[0];
        assert_eq!(
            (first.register(), first.digest(), first.data()),
            (Register::Rtmr0, &one, &b"\x02Fv rest"[..])
        );
        assert_eq!(
            first.event_type().to_string(),
            "EV_EFI_PLATFORM_FIRMWARE_BLOB2"
        );
        assert_eq!(parsed.events()[3].event_type().to_string(), "0x00001234");
        // Only the separator's digest is that of its data.
        let bound: Vec<bool> = parsed
            .events()
            .iter()
            .map(|event| event.is_bound())
            .collect();
        assert_eq!(bound, [false, false, true, false]);
    }
}

#[test]
fn other_algorithms_beside_sha384_are_passed_over() {
    let algorithms = &[(0xb, 32), (0xc, 48), (0x99, 10)];
    let log = Log::new(algorithms).event(
        2,
        0x5,
        &[(0x99, &[7; 10]), (0xc, &[1; 48]), (0xb, &[2; 32])],
        b"x",
    );
    let parsed = EventLog::parse(&log.bytes()).unwrap();
    assert_eq!(parsed.replay().get(Register::Rtmr1), extended(&[&[1; 48]]));
}

#[test]
fn descriptions_are_readable_and_harmless() {
    let variable = [
        &[7; 16][..],
        &2_u64.to_le_bytes(),
        &1_u64.to_le_bytes(),
        b"P\0K\0x",
    ]
    .concat();
    let tag = [
        &0x8f3b_22ed_u32.to_le_bytes()[..],
        &6_u32.to_le_bytes(),
        b"hello\0",
    ]
    .concat();
    for (event_type, data, text) in [
        (0x6, &tag[..], "hello"),
        (0x6, b"short", "5 bytes"),
        (0x8000_0001, &variable, "PK"),
        (0x8000_0001, &variable[..31], "31 bytes"),
        (
            0x8000_0001,
            &[&[7; 16][..], &[0xff; 16], b"P\0"].concat(),
            "P",
        ),
        (0x8000_000a, b"\x03Fv(x", "Fv("),
        (0x8000_0007, b"\x1b[2Jcleared\n", "\\x1b[2Jcleared\\n"),
        (0x8000_0006, b"a table", "7 bytes"),
        (0x1, &[b'x'; 1000], &"x".repeat(80)),
    ] {
        let log = Log::new(SHA384_ONLY).sha384(1, event_type, &[1; 48], data);
        let parsed = EventLog::parse(&log.bytes()).unwrap();
        assert_eq!(parsed.events()[0].description(), text);
    }
    assert_eq!(EventType::SEPARATOR.name(), Some("EV_SEPARATOR"));
}

fn refused(bytes: &[u8], said: &str) {
    let error = EventLog::parse(bytes).unwrap_err().to_string();
    assert!(error.contains(said), "expected {said:?} in {error:?}");
}

#[test]
fn a_first_event_that_is_wrong_is_refused_by_what_is_wrong() {
    let log = |algorithms: &[(u16, u16)]| Log::new(algorithms).bytes();
    let changed = |at: usize, value: u8| {
        let mut bytes = log(SHA384_ONLY);
        bytes[at] = value;
        bytes
    };
    refused(
        b"",
        "the first event's register at byte 0 takes 4 bytes, got 0",
    );
    refused(&vec![0; EventLog::MAX_BYTES + 1], "at most 4194304");
    refused(&changed(0, 2), "expected 0 or 1 as the register");
    refused(
        &changed(4, 4),
        "expected EV_NO_ACTION as the type of the first event, got EV_SEPARATOR",
    );
    refused(&changed(8, 1), "as the digest of the first event, got 01");
    refused(
        &changed(32, b'X'),
        "as the signature of the first event, got Xpec",
    );
    refused(
        &changed(53, 3),
        "expected 2.0 as the version of the first event, got 3.0",
    );
    refused(
        &log(&[]),
        "expected 1 to 16 as the number of algorithms of the first event, got 0",
    );
    refused(&log(&[(1, 1); 17]), "got 17");
    refused(
        &log(&[(0xc, 47)]),
        "expected 48 as the size of a digest of the first event, got 47",
    );
    refused(
        &log(&[(0x77, 65), (0xc, 48)]),
        "expected 1 to 64 as the size of a digest",
    );
    refused(
        &log(&[(0x77, 0), (0xc, 48)]),
        "expected 1 to 64 as the size of a digest",
    );
    refused(&log(&[(0xc, 48), (0xc, 48)]), "expected each one once");
    refused(&log(&[(0xb, 32)]), "expected 0x000c (SHA-384) among them");
    let end = log(SHA384_ONLY).len() - 1;
    refused(&changed(end, 1), "the vendor's part at byte");
    refused(
        &log(SHA384_ONLY)[..end],
        "the first event at byte 32 takes 33 bytes, got 32",
    );
    let longer = Log::new(SHA384_ONLY).first;
    let data = [&longer[32..], &[0; 3]].concat();
    refused(
        &first_event(0, 3, &data),
        "expected the end of the vendor's part as the end of the first event, got 3 bytes more",
    );
}

#[test]
fn an_event_that_is_wrong_is_refused_by_what_is_wrong() {
    let log = || Log::new(SHA384_ONLY);
    let digest: &[u8] = &[1; 48];
    refused(
        &log().sha384(0, 4, digest, b"").bytes(),
        "extends register 0, expected 1 to 4 (RTMR0 to RTMR3): MRTD is fixed",
    );
    refused(
        &log().sha384(5, 4, digest, b"").bytes(),
        "extends register 5",
    );
    refused(
        &log().sha384(5, 3, digest, b"").bytes(),
        "extends register 5",
    );
    refused(
        &log().event(1, 4, &[], b"").bytes(),
        "has 0 digests, expected one digest for each of the log's 1",
    );
    refused(
        &log()
            .event(1, 4, &[(0xc, digest), (0xc, digest)], b"")
            .bytes(),
        "has 2 digests",
    );
    refused(
        &log().event(1, 4, &[(0xb, &[0; 32])], b"").bytes(),
        "algorithm 0x000b, which the log's first event does not name",
    );
    let two = Log::new(&[(0xb, 32), (0xc, 48)]);
    refused(
        &two.event(1, 4, &[(0xc, digest), (0xc, digest)], b"")
            .bytes(),
        "two digests of algorithm 0x000c",
    );
    let whole = log().sha384(1, 4, digest, b"data").bytes();
    for cut in log().bytes().len() + 1..whole.len() {
        assert!(EventLog::parse(&whole[..cut]).is_err(), "{cut}");
    }
    refused(&whole[..whole.len() - 1], "an event's data at byte");
    for (space, other) in [([0_u8; 64], 1), ([0xff; 64], 0)] {
        let mut bytes = [&whole[..], &space].concat();
        *bytes.last_mut().unwrap() = other;
        refused(
            &bytes,
            &format!("and byte {} is not like it", bytes.len() - 1),
        );
    }
    let many = vec![log().sha384(1, 4, digest, b"").events[0].clone(); EventLog::MAX_EVENTS + 1];
    refused(
        &[log().first, many.concat()].concat(),
        "more than 16384 events",
    );
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        events in proptest::collection::vec((1..5_u32, any::<u32>(), proptest::array::uniform32(any::<u8>()), proptest::collection::vec(any::<u8>(), 0..50)), 0..20),
    ) {
        let wide = |digest: &[u8; 32]| [&digest[..], &digest[..16]].concat();
        let log = events.iter().fold(Log::new(SHA384_ONLY), |log, (register, kind, digest, data)| {
            log.sha384(*register, *kind, &wide(digest), data)
        });
        let parsed = EventLog::parse(&log.bytes()).unwrap();
        let kept = events.iter().filter(|(_, kind, ..)| *kind != 3);
        prop_assert_eq!(parsed.events().len(), kept.clone().count());
        for (event, (register, kind, digest, data)) in parsed.events().iter().zip(kept) {
            prop_assert_eq!(event.register() as u32 + 1, *register);
            prop_assert_eq!(event.event_type(), EventType(*kind));
            prop_assert_eq!(&event.digest()[..], &wide(digest)[..]);
            prop_assert_eq!(event.data(), &data[..]);
            event.description();
        }
    }

    #[test]
    fn arbitrary_bytes_do_not_make_the_parser_panic(
        tail in proptest::collection::vec(any::<u8>(), 0..300),
        changes in proptest::collection::vec((0..200_usize, any::<u8>()), 0..5),
    ) {
        let mut bytes = Log::new(SHA384_ONLY).sha384(1, 4, &[1; 48], b"data").bytes();
        bytes.extend(&tail);
        for (at, with) in changes {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = with;
            }
        }
        for bytes in [bytes, tail] {
            if let Ok(log) = EventLog::parse(&bytes) {
                log.replay();
                log.events().iter().for_each(|event| _ = event.description());
            }
        }
    }
}
