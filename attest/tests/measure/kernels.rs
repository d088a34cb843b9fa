//! Kernels with an EFI stub, as PE images.

use proptest::prelude::*;
use sha2::{Digest, Sha384};
use tributary_attest::authenticode_sha384;

/// A PE32+ image with two sections, data behind them and a signature.
#[derive(Clone)]
pub struct PeImage {
    pub sections: Vec<(u32, u32)>,
    pub headers: u32,
    pub size: usize,
    pub certificate: (u32, u32),
    pub directories: u32,
    pub magic: u16,
}

impl Default for PeImage {
    fn default() -> Self {
        Self {
            // The second lies before the first: the digest takes them by their place.
            sections: vec![(0x600, 0x200), (0x400, 0x200), (0, 0)],
            headers: 0x400,
            size: 0x900,
            certificate: (0x880, 0x80),
            directories: 6,
            magic: 0x20b,
        }
    }
}

impl PeImage {
    pub fn build(&self) -> Vec<u8> {
        let mut bytes: Vec<u8> = (0..self.size).map(|i| (i * 7 + 3) as u8).collect();
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        put(0, b"MZ");
        put(0x3c, &(PE as u32).to_le_bytes());
        put(PE, b"PE\0\0");
        put(PE + 6, &(self.sections.len() as u16).to_le_bytes());
        put(PE + 20, &(OPTIONAL_SIZE as u16).to_le_bytes());
        put(PE + 24, &self.magic.to_le_bytes());
        put(PE + 24 + 60, &self.headers.to_le_bytes());
        put(PE + 24 + 108, &self.directories.to_le_bytes());
        put(PE + 24 + 144, &self.certificate.0.to_le_bytes());
        put(PE + 24 + 148, &self.certificate.1.to_le_bytes());
        for (i, (start, length)) in self.sections.iter().enumerate() {
            let at = PE + 24 + OPTIONAL_SIZE + 40 * i;
            put(at + 16, &length.to_le_bytes());
            put(at + 20, &start.to_le_bytes());
        }
        bytes
    }
}

/// Of [`PeImage::default`]: all but the checksum, the signature's entry and the signature.
pub fn authenticode_of(image: &[u8]) -> Vec<u8> {
    let (checksum, entry) = (PE + 24 + 64, PE + 24 + 144);
    let hashed = [
        &image[..checksum],
        &image[checksum + 4..entry],
        &image[entry + 8..0x880],
    ]
    .concat();
    Sha384::digest(hashed).to_vec()
}

const PE: usize = 0x80;
const OPTIONAL_SIZE: usize = 112 + 8 * 6;

#[test]
fn the_digest_leaves_out_checksum_and_signature_alone() {
    let image = PeImage::default().build();
    let digest = authenticode_sha384(&image).unwrap();
    assert_eq!(digest[..], authenticode_of(&image));
    for at in (0..image.len()).filter(|at| !(0x3c..0x40).contains(at)) {
        let mut changed = image.clone();
        changed[at] ^= 1;
        let left_out = (PE + 88..PE + 92).contains(&at) || at >= 0x880;
        match authenticode_sha384(&changed) {
            Ok(after) => assert_eq!(after == digest, left_out, "byte {at:#x}"),
            Err(_) => assert!(!left_out, "byte {at:#x}"),
        }
    }
    let unsigned = PeImage {
        certificate: (0, 0),
        ..PeImage::default()
    }
    .build();
    assert_ne!(authenticode_sha384(&unsigned).unwrap(), digest);
}

#[test]
fn a_kernel_that_firmware_would_not_load_or_hash_alike_is_refused() {
    let check = |change: &dyn Fn(&mut PeImage), said: &str| {
        let mut image = PeImage::default();
        change(&mut image);
        let error = authenticode_sha384(&image.build()).unwrap_err().to_string();
        assert!(error.contains(said), "expected {said:?} in {error:?}");
    };
    check(&|i| i.size = 0x901, "2305 bytes, expected a multiple of 8");
    check(
        &|i| i.magic = 0x10b,
        "expected 0x20b as the optional header's magic number, got 0x10b",
    );
    check(
        &|i| i.directories = 4,
        "number of data directories is 4, expected at least 5",
    );
    check(&|i| i.headers = 0x100, "size of the headers is 256");
    check(&|i| i.headers = 0x1000, "size of the headers is 4096");
    check(
        &|i| i.sections[0] = (0x300, 0x100),
        "section's place is 768",
    );
    check(
        &|i| i.sections[0] = (0x8f0, 0x20),
        "section's place is 2288",
    );
    check(
        &|i| i.sections[0] = (u32::MAX, u32::MAX),
        "section's place is 4294967295",
    );
    check(&|i| i.sections[0] = (0x500, 0x100), "share the byte 1280");
    check(
        &|i| i.certificate = (0x800, 0x80),
        "signature's place is 2048",
    );
    check(
        &|i| i.certificate = (0x100, 0x800),
        "signature's place is 256",
    );
    check(
        &|i| i.certificate = (0x780, 0x180),
        "signature begins at byte 1920, where 2048 bytes",
    );
    for (bytes, said) in [
        (&b""[..], "takes 2 bytes, got 0"),
        (b"MX000000", "expected MZ"),
        (
            &[&b"MZ"[..], &[0; 62]].concat(),
            "offset of the PE header is 0",
        ),
        (
            &[&b"MZ"[..], &[0; 58], &[0xff; 4]].concat(),
            "offset of the PE header is 4294967295",
        ),
        (
            &[&b"MZ"[..], &[0; 58], &[64, 0, 0, 0], &[0; 8]].concat(),
            "expected PE\\x00\\x00",
        ),
    ] {
        let error = authenticode_sha384(bytes).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
}

proptest! {
    #[test]
    fn no_change_of_a_header_makes_the_parser_panic(changes in proptest::collection::vec((0..0x200_usize, any::<u8>()), 1..6)) {
        let mut image = PeImage::default().build();
        for (at, with) in changes {
            image[at] = with;
        }
        _ = authenticode_sha384(&image);
    }
}
