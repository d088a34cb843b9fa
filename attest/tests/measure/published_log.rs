//! The log of a real TD that QEMU booted directly, and the registers that were published with it.
//!
//! Digests, data and registers are those that confidential-containers/trustee (Apache-2.0) publishes for its test file
//! `CCEL_data_ovmf` (deps/eventlog); the log is written anew from them.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha2::{Digest, Sha384};
use tributary_attest::{EventLog, EventType, Measurement, Register};

use crate::event_logs::{Log, SHA384_ONLY};

/// Register, type, digest, data.
const EVENTS: [(u32, u32, &str, &str); 20] = [
    (
        1,
        0x8000_000b,
        "0b8772e5b0b41b83e6044a68397e02f49fb47066b4fbe4917ea2c45c64f323fdacbb37948f821ebaf8bc9c938ba8a749",
        "CVRkeFRhYmxlAAEAAAAAAAAAr5a7k/K5uE6UYuC6dFZCNgCQgAAAAAAA",
    ),
    (
        1,
        0x8000_000a,
        "344bc51c980ba621aaa00da3ed7436f7d6e549197dfe699515dfa2c6583d95e6412af21c097d473155875ffd561d6790",
        "KUZ2KFhYWFhYWFhYLVhYWFgtWFhYWC1YWFhYLVhYWFhYWFhYWFhYWCkAAADA/wAAAAAAQAgAAAAAAA==",
    ),
    (
        1,
        0x8000_0001,
        "9dc3a1f80bcec915391dcda5ffbb15e7419f77eab462bbf72b42166fb70d50325e37b36f93537a863769bcf9bedae6fb",
        "Yd/ki8qT0hGqDQDgmAMrjAoAAAAAAAAAAAAAAAAAAABTAGUAYwB1AHIAZQBCAG8AbwB0AA==",
    ),
    (
        1,
        0x8000_0001,
        "6f2e3cbc14f9def86980f5f66fd85e99d63e69a73014ed8a5633ce56eca5b64b692108c56110e22acadcef58c3250f1b",
        "Yd/ki8qT0hGqDQDgmAMrjAIAAAAAAAAAAAAAAAAAAABQAEsA",
    ),
    (
        1,
        0x8000_0001,
        "d607c0efb41c0d757d69bca0615c3a9ac0b1db06c557d992e906c6b7dee40e0e031640c7bfd7bcd35844ef9edeadc6f9",
        "Yd/ki8qT0hGqDQDgmAMrjAMAAAAAAAAAAAAAAAAAAABLAEUASwA=",
    ),
    (
        1,
        0x8000_0001,
        "08a74f8963b337acb6c93682f934496373679dd26af1089cb4eaf0c30cf260a12e814856385ab8843e56a9acea19e127",
        "y7IZ1zo9lkWjvNrQDmdlbwIAAAAAAAAAAAAAAAAAAABkAGIA",
    ),
    (
        1,
        0x8000_0001,
        "18cc6e01f0c6ea99aa23f8a280423e94ad81d96d0aeb5180504fc0f7a40cb3619dd39bd6a95ec1680a86ed6ab0f9828d",
        "y7IZ1zo9lkWjvNrQDmdlbwMAAAAAAAAAAAAAAAAAAABkAGIAeAA=",
    ),
    (
        1,
        0x4,
        "394341b7182cd227c5c6b07ef8000cdfd86136c4292b8e576573ad7ed9ae41019f5818b4b971c9effc60e1ad9f1289f0",
        "AAAAAA==",
    ),
    (
        1,
        0xa,
        "8db40217f1584456a532cd21ac440c8ee2204d497797a70b972d360a5eb2fde1be58be6fd9c6ea8ddac235f4db29a42c",
        "QUNQSSBEQVRB",
    ),
    (
        1,
        0xa,
        "379c9de60d0dd6862394273f66ad30e8707ba61b601e379e9c4718a026e06c66f78a5d98d3fd147b06d9398ccd4174ef",
        "QUNQSSBEQVRB",
    ),
    (
        1,
        0xa,
        "2213f7791b826d9e60cde6158fb77ae4ddaaf52bf58304c0c0d1350e374a64037b3e69e8759371b02b09fe904ece0718",
        "QUNQSSBEQVRB",
    ),
    (
        2,
        0x8000_0003,
        "a2ccae1e7d6c668ca325bb09c882d8ce44d26d714ba6f58d2e8083fe291a704646afe24a2368bca3341728d78ec80a80",
        "GACzfAAAAAAAoqUAAAAAAAAAAAAAAAAAKgAAAAAAAAAEAxQAcvcoFEq2HkS4w5691/iTxwQEEgBrAGUAcgBuAGUAbAAAAH//BAA=",
    ),
    (
        1,
        0x8000_0002,
        "1dd6f7b457ad880d840d41c961283bab688e94e4b59359ea45686581e90feccea3c624b1226113f824f315eb60ae0a7c",
        "Yd/ki8qT0hGqDQDgmAMrjAkAAAAAAAAAAgAAAAAAAABCAG8AbwB0AE8AcgBkAGUAcgAAAA==",
    ),
    (
        1,
        0x8000_0002,
        "23ada07f5261f12f34a0bd8e46760962d6b4d576a416f1fea1c64bc656b1d28eacf7047ae6e967c58fd2a98bfa74c298",
        "Yd/ki8qT0hGqDQDgmAMrjAgAAAAAAAAAPgAAAAAAAABCAG8AbwB0ADAAMAAwADAACQEAACwAVQBpAEEAcABwAAAABAcUAMm9uHzr+DRPquo+5K9lFqEEBhQAIaosRhR2A0WDboq29GYjMX//BAA=",
    ),
    (
        2,
        0x8000_0007,
        "77a0dab2312b4e1e57a84d865a21e5b2ee8d677a21012ada819d0a98988078d3d740f6346bfe0abaa938ca20439a8d71",
        "Q2FsbGluZyBFRkkgQXBwbGljYXRpb24gZnJvbSBCb290IE9wdGlvbg==",
    ),
    (
        1,
        0x4,
        "394341b7182cd227c5c6b07ef8000cdfd86136c4292b8e576573ad7ed9ae41019f5818b4b971c9effc60e1ad9f1289f0",
        "AAAAAA==",
    ),
    (
        3,
        0x6,
        "4230f84885a6f3f305e91a1955045398bd9edd8ffd2aaf2aab8ad3ac53476c4ac82a3675ef559c4ae949a06e84119fc2",
        "7SI7jxoAAABMT0FERURfSU1BR0U6OkxvYWRPcHRpb25zAA==",
    ),
    (
        3,
        0x6,
        "b15af9286108d3d8c9f794a51409e55bad6334f5d96a1e4469f8df2d75fd69aac648d939e13daf6800e82e6c1f6628c4",
        "7CI7jw0AAABMaW51eCBpbml0cmQA",
    ),
    (
        2,
        0x8000_0007,
        "214b0bef1379756011344877743fdc2a5382bac6e70362d624ccf3f654407c1b4badf7d8f9295dd3dabdef65b27677e0",
        "RXhpdCBCb290IFNlcnZpY2VzIEludm9jYXRpb24=",
    ),
    (
        2,
        0x8000_0007,
        "0a2e01c85deae718a530ad8c6d20a84009babe6c8989269e950d8cf440c6e997695e64d455c4174a652cd080f6230b74",
        "RXhpdCBCb290IFNlcnZpY2VzIFJldHVybmVkIHdpdGggU3VjY2Vzcw==",
    ),
];

fn log() -> EventLog {
    let log = EVENTS.iter().fold(
        Log::new(SHA384_ONLY),
        |log, (register, event_type, digest, data)| {
            log.sha384(
                *register,
                *event_type,
                &hex::decode(digest).unwrap(),
                &STANDARD.decode(data).unwrap(),
            )
        },
    );
    // The firmware's 64 KiB, unused to their end.
    let mut bytes = log.bytes();
    bytes.resize(65_536, 0xff);
    EventLog::parse(&bytes).unwrap()
}

#[test]
fn the_published_registers_are_those_of_the_replay() {
    let values = log().replay();
    for (register, expected) in [
        (
            Register::Rtmr0,
            "8566f998798db09443b244c62de9a3041fb02e2e6936c4396d784bba2e90177329ec5aba3bb484404f2ab9cc90abe193",
        ),
        (
            Register::Rtmr1,
            "775b9f6bfe99f8a31396f0d0218e67ffa796d3b96ccf961cbb0deba48c79c00f082cda1a5567c1c16305f1fc210c13c6",
        ),
        (
            Register::Rtmr2,
            "94eaf7a7bf398ed8d888c91057ae0261802e4f3df084213a76ca7f0b5055ac9d2241de43cd58d9e8b49c503bbf25f34a",
        ),
    ] {
        assert_eq!(values.get(register).to_string(), expected, "{register}");
    }
    assert_eq!(values.get(Register::Rtmr3), Measurement::new([0; 48]));
}

#[test]
fn what_the_firmware_says_of_itself_is_bound_where_the_specification_has_it_so() {
    let log = log();
    for event in log.events() {
        // Variables that configure, separators and actions are measured as they stand in the log; images, volumes, tables
        // and this firmware's boot variables are not.
        let expected = matches!(
            event.event_type(),
            EventType(0x8000_0001 | 0x4 | 0x8000_0007)
        );
        assert_eq!(event.is_bound(), expected, "{}", event.event_type());
    }
    let texts: Vec<_> = log
        .events()
        .iter()
        .map(|event| event.description())
        .collect();
    assert_eq!(texts[1], "Fv(XXXXXXXX-XXXX-XXXX-XXXX-XXXXXXXXXXXX)");
    assert_eq!(texts[2], "SecureBoot");
    assert_eq!(texts[16..18], ["LOADED_IMAGE::LoadOptions", "Linux initrd"]);
}

#[test]
fn the_events_that_a_direct_boot_predicts_are_those_that_the_firmware_measured() {
    let digests_of = |register| {
        let events: Vec<_> = log()
            .events()
            .iter()
            .filter(|event| event.register() == register)
            .cloned()
            .collect();
        events
            .iter()
            .map(|event| *event.digest())
            .collect::<Vec<_>>()
    };
    let kernel = crate::kernels::PeImage::default().build();
    let initrd = tributary_attest::FileDigest::of_bytes(b"");
    let boot = tributary_attest::DirectBoot::new(
        &kernel,
        Some(&initrd),
        "quiet",
        // The log's firmware measures its second separator into RTMR0.
        tributary_attest::FirmwareGeneration::UpTo202408,
    )
    .unwrap();
    let predicted: Vec<_> = boot
        .rtmr1_events()
        .iter()
        .map(|(_, digest)| *digest)
        .collect();
    // The kernel is another; all that follows is the firmware's own.
    assert_eq!(predicted[1..], digests_of(Register::Rtmr1)[1..]);
    assert_eq!(boot.rtmr2_events().len(), digests_of(Register::Rtmr2).len());
}

#[test]
fn one_bit_of_any_digest_changes_its_register() {
    let published = log().replay();
    for (changed, _) in EVENTS.iter().enumerate() {
        let log = EVENTS.iter().enumerate().fold(
            Log::new(SHA384_ONLY),
            |log, (i, (register, event_type, digest, data))| {
                let mut digest = hex::decode(digest).unwrap();
                digest[47] ^= u8::from(i == changed);
                log.sha384(
                    *register,
                    *event_type,
                    &digest,
                    &STANDARD.decode(data).unwrap(),
                )
            },
        );
        let values = EventLog::parse(&log.bytes()).unwrap().replay();
        for register in Register::ALL {
            let same = values.get(register) == published.get(register);
            assert_eq!(
                same,
                register as u32 + 1 != EVENTS[changed].0,
                "event {changed}, {register}"
            );
        }
    }
    assert_eq!(
        Sha384::digest([0; 4])[..4],
        hex::decode("394341b7").unwrap()
    );
}
