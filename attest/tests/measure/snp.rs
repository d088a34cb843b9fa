//! The launch digest of SEV-SNP.

use proptest::prelude::*;
use tributary_attest::{
    FileDigest, GuestFeatures, KernelHashes, Measurement, SnpFirmware, SnpGuest, VcpuType,
};

use crate::images::{HASHES_TABLE, Image, RESET_BLOCK, SEV_METADATA, SEV_SECTIONS, sev_image};

fn digest(
    image: &[u8],
    kernel_hashes: Option<&KernelHashes>,
    vcpus: u32,
) -> Result<Measurement, String> {
    let guest = SnpGuest {
        firmware: &SnpFirmware::parse(image).map_err(|error| error.to_string())?,
        kernel_hashes,
        vcpus,
        cpu: VcpuType::EpycMilan.signature(),
        guest_features: GuestFeatures::SNP_ACTIVE,
    };
    guest.digest().map_err(|error| error.to_string())
}

fn hashes(kernel: &[u8], initrd: Option<&[u8]>, command_line: &str) -> KernelHashes {
    let initrd = initrd.map(FileDigest::of_bytes);
    KernelHashes::new(&FileDigest::of_bytes(kernel), initrd.as_ref(), command_line).unwrap()
}

/// Computed by sev-snp-measure 0.0.13 over the same image, kernel and initrd: model, features, number of vCPUs; digests with
/// no kernel, with kernel, initrd and a command line, with kernel and a command line.
const ANSWERS: [(VcpuType, u64, u32, [&str; 3]); 5] = [
    (
        VcpuType::EpycMilan,
        0x1,
        1,
        [
            "e1c8ee007f5692aaa2055e3270f24b2ac756ea5fc3090851c8b09c9ec0fbe714e9c672c58f5e219789a1a65cc4cc90bd",
            "6d0ece21301658c29721bc8289935b854b57f838e461c7653c05af214ba0c6205e08ef50fe3bf2ee8da397e53f40047f",
            "dc1923d287d56cd7cba2c16014740473f1477a249f5ca651a2b56983028957eb372dafa2b64244df8138c05264ebdc23",
        ],
    ),
    (
        VcpuType::EpycGenoa,
        0x21,
        2,
        [
            "2c329c500a9041f30097d597be09f9141278924bd47d5f0a82286bf1295171caa0065fc0628be6fa4c8c1ea7aadc4bb9",
            "6f936c6c1d96086e69292ac8e287fb860d0886de2e1d0086ad89c2ee7c04b6cf40953f6e88c2c84e53388e16d16263b5",
            "d56a4ef9a090bad72a39ec52a3411106f72ee58bb5ac4815ba5c8768621ec9a9c0f90334301e8b5f75fc8b4efaf49076",
        ],
    ),
    (
        VcpuType::EpycTurin,
        0x1,
        7,
        [
            "e5d060061fd71dfd4aefe5f165b264091ec203bc7f09d407bcd934c6b566a007a5be2b45c191a992a1e6b9450395b84f",
            "e7ae0642a1c90d0729b1a86e9fbd4f4d1eacec94d4b84e1ee81cd64ffbff4993472308aa8c81846aa4d75e8ba73b424a",
            "46292e981e525d8a3824bd0172e3f4e7ecc51e21787e8943b024d29e294efe0c36ad6a7e05b1b0e129f243f9fc55f041",
        ],
    ),
    (
        VcpuType::EpycRome,
        0x8201,
        3,
        [
            "063ae109d6018ae862ea745fe37262882f66cf3475aa4a21b9f8ee847d4118b269ad3facc4161bcbdd470095d6fdce8b",
            "819165e96a2d90db73faa65eb2d4601d370147af622644a1367243c0faa58f582c6403acbe86a6a8faddaabeac80494b",
            "0b58d6ac133e4c087698fb6bb95ad710a4aabcf857a89c1967e8cf9bfa674d684f1919be898263f24b5505bda20bd317",
        ],
    ),
    (
        VcpuType::EpycV4,
        0x1,
        64,
        [
            "632b4bff5a092cec96c5cd1fa50d2794fe482adc32d2327f113d734bd8664c3c8472b86003463e143e5ea9e454f11e9c",
            "04b7a8eb30b4a411c3bc90461db2d8c15238a76467a16155a41c161c92a04b7b3187f12722bacacc741d2a59dbcf7128",
            "62ad3da2a2d61353719f5a96bb167433226d970d30c6207c8c93b0a571624cedfe3375261707645e026b74c853ff7476",
        ],
    ),
];

#[test]
fn another_implementation_computes_the_same() {
    let image = sev_image().build();
    let firmware = SnpFirmware::parse(&image).unwrap();
    for (model, features, vcpus, expected) in ANSWERS {
        let boots = [
            None,
            Some(hashes(
                b"a kernel",
                Some(b"an initrd"),
                "console=ttyS0 panic=-1",
            )),
            Some(hashes(b"a kernel", None, "quiet")),
        ];
        for (kernel_hashes, expected) in boots.iter().zip(expected) {
            let guest = SnpGuest {
                firmware: &firmware,
                kernel_hashes: kernel_hashes.as_ref(),
                vcpus,
                cpu: model.signature(),
                guest_features: GuestFeatures::from_bits(features).unwrap(),
            };
            assert_eq!(
                guest.digest().unwrap().to_string(),
                expected,
                "{model} {vcpus}"
            );
        }
    }
}

#[test]
fn everything_that_the_machine_is_started_with_changes_the_digest() {
    let image = sev_image().build();
    let boot = |kernel: &[u8], initrd: &[u8], line: &str| {
        digest(&image, Some(&hashes(kernel, Some(initrd), line)), 2).unwrap()
    };
    let other_reset = Image::new(4)
        .entry(RESET_BLOCK, &0x0080_b008_u32.to_le_bytes())
        .entry(
            HASHES_TABLE,
            &[0x0081_0c00_u32.to_le_bytes(), 0x400_u32.to_le_bytes()].concat(),
        )
        .sev(&SEV_SECTIONS)
        .build();
    let firmware = SnpFirmware::parse(&image).unwrap();
    let base = SnpGuest {
        firmware: &firmware,
        kernel_hashes: None,
        vcpus: 2,
        cpu: VcpuType::EpycMilan.signature(),
        guest_features: GuestFeatures::SNP_ACTIVE,
    };
    let digests = [
        base.digest().unwrap(),
        SnpGuest { vcpus: 3, ..base }.digest().unwrap(),
        SnpGuest {
            cpu: VcpuType::EpycGenoa.signature(),
            ..base
        }
        .digest()
        .unwrap(),
        SnpGuest {
            guest_features: "21".parse().unwrap(),
            ..base
        }
        .digest()
        .unwrap(),
        digest(&other_reset, None, 2).unwrap(),
        boot(b"k", b"i", "c"),
        boot(b"K", b"i", "c"),
        boot(b"k", b"I", "c"),
        boot(b"k", b"i", "C"),
        boot(b"k", b"i", "c "),
    ];
    for (i, one) in digests.iter().enumerate() {
        assert!(!digests[i + 1..].contains(one), "{i}");
    }
    // An absent initrd is one of no bytes, as QEMU has it.
    let absent = digest(&image, Some(&hashes(b"k", None, "c")), 2).unwrap();
    assert_eq!(absent, boot(b"k", b"", "c"));
}

#[test]
fn a_kernel_without_a_page_for_its_hashes_is_refused() {
    let kernel = hashes(b"k", None, "c");
    let no_section = Image::new(4)
        .entry(RESET_BLOCK, &[4, 0, 0, 0])
        .sev(&SEV_SECTIONS[..5])
        .build();
    digest(&no_section, None, 1).unwrap();
    let error = digest(&no_section, Some(&kernel), 1).unwrap_err();
    assert!(error.contains("no page for its hashes"), "{error}");
    // A page, and no place in it: zero says so too.
    let no_place = Image::new(4)
        .entry(RESET_BLOCK, &[4, 0, 0, 0])
        .entry(HASHES_TABLE, &[0; 8])
        .sev(&SEV_SECTIONS)
        .build();
    assert!(digest(&no_place, Some(&kernel), 1).is_err());
}

#[test]
fn a_number_of_vcpus_that_cannot_be_is_refused() {
    let image = sev_image().build();
    for vcpus in [0, 4097] {
        let error = digest(&image, None, vcpus).unwrap_err();
        assert!(
            error.contains(&format!("1 to 4096 vCPUs, got {vcpus}")),
            "{error}"
        );
    }
}

#[test]
fn a_command_line_that_could_be_taken_in_two_ways_is_refused() {
    let kernel = FileDigest::of_bytes(b"k");
    for (line, said) in [
        ("a\0b", "NUL at byte 1"),
        ("console=ttyS0\n", "line's end at byte 13"),
        ("größe=1", "outside ASCII at 2"),
        (&"x".repeat(65_537), "at most 65536 bytes, got 65537"),
    ] {
        let error = KernelHashes::new(&kernel, None, line)
            .unwrap_err()
            .to_string();
        assert!(error.contains(said), "{error}");
    }
}

fn refused(image: &[u8], said: &str) {
    let error = SnpFirmware::parse(image).unwrap_err().to_string();
    assert!(error.contains(said), "expected {said:?} in {error:?}");
}

fn with_sections(change: impl FnOnce(&mut Vec<(u32, u32, u32)>)) -> Vec<u8> {
    let mut sections = SEV_SECTIONS.to_vec();
    change(&mut sections);
    Image::new(4)
        .entry(RESET_BLOCK, &[4, 0, 0, 0])
        .sev(&sections)
        .build()
}

#[test]
fn images_that_are_none_are_refused_by_what_is_wrong() {
    refused(&[], "got 0 bytes");
    refused(&[0; 4095], "got 4095 bytes");
    refused(&vec![0; 16 * 1024 * 1024 + 4096], "4096 to 16777216 bytes");
    refused(
        &[0; 4096],
        "expected the footer 96b582de-1fb2-45f7-baea-a366c55a082d",
    );
    refused(
        &Image::new(1).build(),
        "expected the entry 00f771de-1a7e-4fcb-890e-68c77e2fb44e",
    );
    let no_metadata = Image::new(1).entry(RESET_BLOCK, &[4, 0, 0, 0]);
    refused(
        &no_metadata.build(),
        "expected the entry dc886566-984a-4798-a75e-5585a7bf67cc",
    );
    let twice = sev_image().entry(RESET_BLOCK, &[4, 0, 0, 0]).build();
    refused(
        &twice,
        "the entry 00f771de-1a7e-4fcb-890e-68c77e2fb44e twice",
    );
    refused(
        &Image::new(1).entry(RESET_BLOCK, &[4, 0, 0]).build(),
        "takes 4 bytes, got 3",
    );

    let good = sev_image().build();
    let footer_length = good.len() - 32 - 18;
    let with_length = |length: u16| {
        let mut image = good.clone();
        image[footer_length..footer_length + 2].copy_from_slice(&length.to_le_bytes());
        image
    };
    let length = u16::from_le_bytes(good[footer_length..footer_length + 2].try_into().unwrap());
    refused(&with_length(17), "states a length of 17 bytes");
    refused(&with_length(u16::MAX), "states a length of 65535 bytes");
    refused(&with_length(length - 1), "expected 18 to");
    refused(
        &with_length(length + 1),
        "begins with 1 bytes that belong to no entry",
    );
}

#[test]
fn metadata_that_is_wrong_is_refused_by_what_is_wrong() {
    let metadata = |content: &[u8], from_end: u32| {
        let image = Image::new(4).entry(RESET_BLOCK, &[4, 0, 0, 0]);
        if (from_end as usize) < image.bytes.len() {
            image.metadata(SEV_METADATA, from_end, content).build()
        } else {
            image.entry(SEV_METADATA, &from_end.to_le_bytes()).build()
        }
    };
    let words = |words: [u32; 3]| [&b"ASEV"[..], &words.map(u32::to_le_bytes).concat()].concat();
    refused(
        &metadata(b"", 0x4001),
        "begin 16385 bytes before the end of an image of 16384 bytes",
    );
    refused(
        &metadata(b"", 0),
        "the signature of the metadata at byte 16384 takes 4 bytes, got 0",
    );
    refused(
        &metadata(b"ASEX", 0x600),
        "expected ASEV as the signature of the SEV metadata, got ASEX",
    );
    refused(
        &metadata(&words([16, 2, 0]), 0x600),
        "expected 1 as the version of the SEV metadata, got 2",
    );
    refused(
        &metadata(&words([16, 1, 65]), 0x600),
        "expected at most 64 as the number of sections",
    );
    refused(
        &metadata(&words([16, 1, 1]), 0x600),
        "expected 28 as the length of the SEV metadata, got 16",
    );
    refused(
        &metadata(&words([28, 1, 1]), 16),
        "the address of a section at byte 16384 takes 4 bytes, got 0",
    );

    refused(&with_sections(|s| s[0].2 = 5), "section 0 has the type 0x5");
    refused(
        &with_sections(|s| s[0].0 += 1),
        "section 0 lies at 0x800001",
    );
    refused(
        &with_sections(|s| s[1].1 = 0),
        "section 1 lies at 0x80a000 with 0x0 bytes",
    );
    refused(
        &with_sections(|s| s[1].1 += 1),
        "section 1 lies at 0x80a000 with 0x3001 bytes",
    );
    refused(&with_sections(|s| s[5].1 = 0x2000), "for this type no more");
    refused(
        &with_sections(|s| s[0].1 = 0xb000),
        "memory at 0x80a000 is named twice",
    );
    refused(
        &with_sections(|s| s[0] = (0xffff_b000, 0x2000, 1)),
        "memory at 0xffffc000 is named twice",
    );
    refused(
        &with_sections(|s| s[0] = (0x100_0000, 0x100_1000, 1)),
        "expected at most 0x1000000",
    );
    refused(
        &with_sections(|s| _ = s.remove(2)),
        "no section of type 0x2 (secrets)",
    );
    refused(
        &with_sections(|s| _ = s.remove(3)),
        "no section of type 0x3 (CPUID)",
    );
    refused(
        &with_sections(|s| s.push((0x90_0000, 0x1000, 2))),
        "two sections of type 0x2",
    );
    refused(
        &with_sections(|s| s.push((0x90_0000, 0x1000, 3))),
        "two sections of type 0x3",
    );
    refused(
        &with_sections(|s| s.push((0x90_0000, 0x1000, 0x10))),
        "two sections of type 0x10",
    );
    for place in [0x80_f000_u32, 0x81_0f60, 0x81_1000] {
        let image = Image::new(4)
            .entry(RESET_BLOCK, &[4, 0, 0, 0])
            .entry(HASHES_TABLE, &place.to_le_bytes())
            .sev(&SEV_SECTIONS)
            .build();
        refused(
            &image,
            &format!("said to lie at {place:#x}, expected 176 bytes inside the page at 0x810000"),
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_byte_of_the_image_changes_the_digest(at in 0..0x3800_usize, with in 1..=255_u8) {
        // Below the metadata and the table, whose change is a refusal or another machine.
        let mut image = sev_image().build();
        let before = digest(&image, None, 1).unwrap();
        image[at] ^= with;
        prop_assert_ne!(digest(&image, None, 1).unwrap(), before);
    }

    #[test]
    fn no_change_of_the_image_makes_the_parser_panic(at in 0x3900..0x4000_usize, with in 1..=255_u8) {
        let mut image = sev_image().build();
        let before = digest(&image, None, 1).unwrap();
        image[at] ^= with;
        if let Ok(after) = digest(&image, None, 1) {
            prop_assert_ne!(after, before);
        }
    }

    #[test]
    fn arbitrary_bytes_do_not_make_the_parser_panic(
        tail in proptest::collection::vec(any::<u8>(), 0..600),
        entries in proptest::collection::vec((0..5_usize, proptest::collection::vec(any::<u8>(), 0..40)), 0..6),
    ) {
        let guids = [RESET_BLOCK, HASHES_TABLE, SEV_METADATA, crate::images::TDX_METADATA, crate::images::FOOTER];
        let mut image = Image::new(1);
        let at = 4096 - 1200;
        image.bytes[at..at + tail.len()].copy_from_slice(&tail);
        for (guid, data) in entries {
            image = image.entry(guids[guid], &data);
        }
        _ = SnpFirmware::parse(&image.build());
        _ = SnpFirmware::parse(&tail);
    }
}
