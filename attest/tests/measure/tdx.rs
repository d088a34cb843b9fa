//! MRTD, and the registers of a direct boot.

use proptest::prelude::*;
use sha2::{Digest, Sha384};
use tributary_attest::{DirectBoot, FileDigest, FirmwareGeneration, PageOrder, TdxFirmware};

use crate::{
    images::{Image, TDX_METADATA, TDX_SECTIONS, TdxSection, tdx_image},
    kernels::{PeImage, authenticode_of},
};

/// MRTD as the list of what the TDX module is told, written out from the specification for the test's image alone.
fn expected_mrtd(image: &[u8], page_by_page: bool) -> String {
    let mut told: Vec<u8> = Vec::new();
    let block = |name: &str, address: u64| {
        let mut block = name.as_bytes().to_vec();
        block.resize(16, 0);
        block.extend(address.to_le_bytes());
        block.resize(128, 0);
        block
    };
    let extend = |told: &mut Vec<u8>, page: u64| {
        for chunk in 0..16 {
            let address = page + chunk * 256;
            let offset = (address - 0xffff_c000) as usize;
            told.extend(block("MR.EXTEND", address));
            told.extend(&image[offset..offset + 256]);
        }
    };
    let code = [0xffff_d000, 0xffff_e000, 0xffff_f000];
    if page_by_page {
        for page in code {
            told.extend(block("MEM.PAGE.ADD", page));
            extend(&mut told, page);
        }
    } else {
        code.iter()
            .for_each(|&page| told.extend(block("MEM.PAGE.ADD", page)));
        code.iter().for_each(|&page| extend(&mut told, page));
    }
    for page in [
        0xffff_c000,
        0x81_0000,
        0x81_1000,
        0x80_9000,
        0x80_a000,
        0x80_0000,
        0x80_1000,
        0x80_2000,
        0x80_3000,
        0x80_4000,
        0x80_5000,
    ] {
        told.extend(block("MEM.PAGE.ADD", page));
    }
    hex::encode(Sha384::digest(told))
}

#[test]
fn mrtd_is_what_the_module_is_told() {
    let image = tdx_image().build();
    let firmware = TdxFirmware::parse(&image).unwrap();
    for (order, page_by_page) in [
        (PageOrder::PageByPage, true),
        (PageOrder::SectionBySection, false),
    ] {
        assert_eq!(
            firmware.mrtd(order).to_string(),
            expected_mrtd(&image, page_by_page)
        );
    }
    assert_ne!(
        firmware.mrtd(PageOrder::PageByPage),
        firmware.mrtd(PageOrder::SectionBySection)
    );
    let variables = Sha384::digest(&image[..4096]);
    assert_eq!(firmware.configuration_digest().unwrap()[..], variables[..]);
}

#[test]
fn memory_behind_the_content_of_a_measured_volume_is_measured_as_zeros() {
    let mrtd = |length| {
        let mut image = Image::new(4);
        image.bytes[0x2080..0x3000].fill(0);
        let mut sections = TDX_SECTIONS;
        (sections[0].offset, sections[0].length) = (0, length);
        let image = image.tdx(&sections).build();
        TdxFirmware::parse(&image)
            .unwrap()
            .mrtd(PageOrder::PageByPage)
    };
    assert_eq!(mrtd(0x2080), mrtd(0x3000));
    assert_ne!(mrtd(0x2078), mrtd(0x3000));
}

fn refused(image: &[u8], said: &str) {
    let error = TdxFirmware::parse(image).unwrap_err().to_string();
    assert!(error.contains(said), "expected {said:?} in {error:?}");
}

fn with_sections(change: impl FnOnce(&mut Vec<TdxSection>)) -> Vec<u8> {
    let mut sections = TDX_SECTIONS.to_vec();
    change(&mut sections);
    Image::new(4).tdx(&sections).build()
}

#[test]
fn metadata_that_is_wrong_is_refused_by_what_is_wrong() {
    refused(
        &crate::images::sev_image().build(),
        "expected the entry e47a6535-984a-4798-865e-4685a7bf8ec2",
    );
    let metadata = |from_end: u32| {
        Image::new(4)
            .entry(TDX_METADATA, &from_end.to_le_bytes())
            .build()
    };
    refused(&metadata(0x4001), "begin 16385 bytes before the end");
    refused(&metadata(0x4000), "expected TDVF as the signature");
    refused(&metadata(0), "takes 4 bytes, got 0");
    let header = |words: [u32; 3]| {
        let content = [&b"TDVF"[..], &words.map(u32::to_le_bytes).concat()].concat();
        Image::new(4)
            .metadata(TDX_METADATA, 0xa00, &content)
            .build()
    };
    refused(
        &header([16, 2, 0]),
        "expected 1 as the version of the TDX metadata, got 2",
    );
    refused(
        &header([16, 1, 65]),
        "expected at most 64 as the number of sections of the TDX metadata, got 65",
    );
    refused(
        &header([16, 1, 1]),
        "expected 48 as the length of the TDX metadata, got 16",
    );
    refused(
        &header([16, 1, 0]),
        "0 sections of type 0 (boot volume), expected at least one",
    );

    refused(
        &with_sections(|s| s[2].kind = 4),
        "section 2 has the type 4",
    );
    refused(
        &with_sections(|s| s[2].kind = 5),
        "section 2 has the type 5",
    );
    refused(
        &with_sections(|s| s[2].attributes = 2),
        "section 2 has the attributes 0x2",
    );
    refused(
        &with_sections(|s| s[2].attributes = 4),
        "section 2 has the attributes 0x4",
    );
    refused(
        &with_sections(|s| s[0].attributes = 0),
        "section 0 is a boot volume that is not measured",
    );
    refused(
        &with_sections(|s| s[2].address += 1),
        "section 2 lies at 0x810001",
    );
    refused(&with_sections(|s| s[2].size += 1), "with 0x2001 bytes");
    refused(&with_sections(|s| s[2].size = 0), "with 0x0 bytes");
    refused(
        &with_sections(|s| s[2].address = u64::MAX - 0xfff),
        "section 2 lies at 0xfffffffffffff000",
    );
    refused(
        &with_sections(|s| s[2].address = 0xffff_f000),
        "section 2 lies at 0xfffff000",
    );
    refused(
        &with_sections(|s| s[0].length = 0),
        "expected content inside the image",
    );
    refused(
        &with_sections(|s| s[0].length = 0x3001),
        "expected content inside the image",
    );
    refused(
        &with_sections(|s| s[0].offset = 0x1001),
        "expected content inside the image",
    );
    refused(
        &with_sections(|s| s[0].offset = u32::MAX),
        "expected content inside the image",
    );
    refused(
        &with_sections(|s| s[0].size = 0x2000),
        "expected content inside the image",
    );
    refused(&with_sections(|s| s[2].length = 1), "expected no content");
    refused(&with_sections(|s| s[3].offset = 1), "expected no content");
    refused(
        &with_sections(|s| s[2].size = 0x80_0000),
        "0x80c000 bytes together, expected at most 0x804000",
    );
    refused(
        &with_sections(|s| s[2].attributes = 1),
        "0x5000 bytes that are measured, more than the image could fill, expected at most 0x4000",
    );
    // As large as may be: the code and one page more are measured, and the rest of the memory is not.
    let largest = with_sections(|s| {
        s[1].attributes = 1;
        s[2].size = 0x7f_8000;
    });
    TdxFirmware::parse(&largest)
        .unwrap()
        .mrtd(PageOrder::PageByPage);
    refused(
        &with_sections(|s| s[4].size = 0xa000),
        "memory at 0x809000 is named by two sections",
    );
    refused(
        &with_sections(|s| _ = s.remove(3)),
        "0 sections of type 2 (hand-off block), expected exactly one",
    );
    refused(&with_sections(|s| s[2].kind = 2), "2 sections of type 2");
    let volume = TdxSection {
        address: 0x100_0000,
        ..TDX_SECTIONS[1]
    };
    refused(
        &with_sections(|s| s.push(volume)),
        "2 sections of type 1 (configuration volume), expected at most one",
    );
}

#[test]
fn a_direct_boot_measures_kernel_command_line_and_initrd() {
    let kernel = PeImage::default().build();
    let initrd = FileDigest::of_bytes(b"an initrd");
    let utf16 =
        |text: &str| -> Vec<u8> { text.encode_utf16().flat_map(u16::to_le_bytes).collect() };
    let replay = |events: &[Vec<u8>]| {
        let value = events.iter().fold(vec![0; 48], |value, event| {
            Sha384::digest([&value[..], &event[..]].concat()).to_vec()
        });
        hex::encode(value)
    };
    let sha384 = |bytes: &[u8]| Sha384::digest(bytes).to_vec();
    for (generation, separator, options) in [
        (
            FirmwareGeneration::UpTo202408,
            false,
            "quiet initrd=initrd\0",
        ),
        (
            FirmwareGeneration::From202411,
            true,
            "quiet initrd=initrd\0",
        ),
        (
            FirmwareGeneration::From202508,
            true,
            "initrd=initrd quiet\0",
        ),
    ] {
        let boot = DirectBoot::new(&kernel, Some(&initrd), "quiet", generation).unwrap();
        let mut rtmr1 = vec![
            authenticode_of(&kernel),
            sha384(b"Calling EFI Application from Boot Option"),
        ];
        if separator {
            rtmr1.push(sha384(&[0; 4]));
        }
        rtmr1.push(sha384(b"Exit Boot Services Invocation"));
        rtmr1.push(sha384(b"Exit Boot Services Returned with Success"));
        assert_eq!(boot.rtmr1().to_string(), replay(&rtmr1));
        let rtmr2 = [sha384(&utf16(options)), sha384(b"an initrd")];
        assert_eq!(boot.rtmr2().to_string(), replay(&rtmr2));
        assert_eq!(generation.to_string().parse(), Ok(generation));
    }
    let without = DirectBoot::new(&kernel, None, "quiet", FirmwareGeneration::From202508).unwrap();
    assert_eq!(
        without.rtmr2().to_string(),
        replay(&[sha384(&utf16("quiet\0"))])
    );
    assert!(
        "edk2-2023"
            .parse::<FirmwareGeneration>()
            .unwrap_err()
            .contains("edk2-202411")
    );
}

#[test]
fn a_command_line_that_is_not_predicted_is_refused() {
    let kernel = PeImage::default().build();
    for (line, said) in [
        ("", "got an empty one"),
        ("a\nb", "line's end at byte 1"),
        ("ä", "outside ASCII"),
    ] {
        let error = DirectBoot::new(&kernel, None, line, FirmwareGeneration::From202508)
            .unwrap_err()
            .to_string();
        assert!(error.contains(said), "{error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_byte_of_the_code_changes_mrtd_and_none_of_the_variables(at in 0..0x3500_usize, with in 1..=255_u8) {
        let mut image = tdx_image().build();
        let before = TdxFirmware::parse(&image).unwrap().mrtd(PageOrder::PageByPage);
        image[at] ^= with;
        let after = TdxFirmware::parse(&image).unwrap();
        prop_assert_eq!(after.mrtd(PageOrder::PageByPage) == before, at < 0x1000);
    }

    #[test]
    fn no_change_of_the_metadata_makes_the_parser_panic(at in 0x3500..0x4000_usize, with in 1..=255_u8) {
        let mut image = tdx_image().build();
        image[at] ^= with;
        if let Ok(firmware) = TdxFirmware::parse(&image) {
            firmware.mrtd(PageOrder::SectionBySection);
        }
    }
}
