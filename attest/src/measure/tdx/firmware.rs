//! What a TDVF image says about building a TD from it, and the MRTD that comes of it.
//!
//! TDVF is OVMF for TDX. Its metadata (Intel TDX Virtual Firmware Design Guide, publication 344991, section 11.2) names
//! the memory that the host adds before the TD runs, and which of it is measured.

use std::fmt;

use sha2::{Digest, Sha384};

use crate::{
    measure::{
        cursor::{Cursor, Truncated},
        guid::Guid,
        guided_table::{GuidedTable, GuidedTableError},
        metadata::{self, Layout, MetadataError},
    },
    measurement::Measurement,
};

/// A firmware image that a TD can be built from.
pub struct TdxFirmware<'a> {
    image: &'a [u8],
    sections: Vec<Section>,
}

/// In which order the host adds and measures a section's pages: both occur, and MRTD tells them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PageOrder {
    /// Each page is measured as it is added: Linux's KVM since 6.16.
    PageByPage,
    /// A section's pages are all added, then all measured: the trees that Intel and Ubuntu shipped with QEMU 8.
    SectionBySection,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Section {
    kind: SectionKind,
    offset: usize,
    length: usize,
    address: u64,
    size: u64,
    measured: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SectionKind {
    BootVolume,
    ConfigurationVolume,
    HandOffBlock,
    TemporaryMemory,
}

impl<'a> TdxFirmware<'a> {
    /// Reads an image of whole pages, at most 16 MiB.
    ///
    /// # Errors
    /// [`TdxFirmwareError`] for an image that is not OVMF's, is not built for TDX, leaves its code unmeasured, or whose
    /// metadata names unknown, overlapping or oversize memory.
    pub fn parse(image: &'a [u8]) -> Result<Self, TdxFirmwareError> {
        let table = GuidedTable::parse(image)?;
        let from_end = table.required_u32(METADATA, "the offset of the TDX metadata")?;
        let sections = parse_sections(image, from_end)?;
        check_sizes(&sections, image.len())?;
        check_places(&sections)?;
        Ok(Self { image, sections })
    }

    /// MRTD: SHA-384 over what the TDX module is told while the TD is built (Intel TDX Module 1.5 Base Architecture
    /// Specification, publication 348549, section 12.2.1; the layout of each block is that of TDH.MEM.PAGE.ADD and
    /// TDH.MR.EXTEND in the ABI Reference Specification, publication 348551).
    pub fn mrtd(&self, order: PageOrder) -> Measurement {
        let mut digest = Sha384::new();
        for section in &self.sections {
            let pages = (section.address..section.address + section.size).step_by(PAGE);
            match order {
                PageOrder::PageByPage => pages.for_each(|page| {
                    add_page(&mut digest, page);
                    self.extend(&mut digest, section, page);
                }),
                PageOrder::SectionBySection => {
                    pages.clone().for_each(|page| add_page(&mut digest, page));
                    pages.for_each(|page| self.extend(&mut digest, section, page));
                }
            }
        }
        Measurement::new(digest.finalize().into())
    }

    /// SHA-384 of the configuration volume, the variables that the machine starts with: an event of RTMR0.
    pub fn configuration_digest(&self) -> Option<[u8; 48]> {
        let is_volume = |section: &&Section| section.kind == SectionKind::ConfigurationVolume;
        let volume = self.sections.iter().find(is_volume)?;
        let bytes = &self.image[volume.offset..volume.offset + volume.length];
        Some(Sha384::digest(bytes).into())
    }

    fn extend(&self, digest: &mut Sha384, section: &Section, page: u64) {
        if !section.measured {
            return;
        }
        let content = &self.image[section.offset..section.offset + section.length];
        for address in (page..page + PAGE as u64).step_by(CHUNK) {
            digest.update(block(b"MR.EXTEND", address));
            // What the image does not fill is zero, as memory of a new TD is.
            let from = usize::try_from(address - section.address)
                .unwrap_or(usize::MAX)
                .min(content.len());
            let chunk = &content[from..content.len().min(from + CHUNK)];
            digest.update(chunk);
            digest.update(&[0; CHUNK][chunk.len()..]);
        }
    }
}

impl fmt::Debug for TdxFirmware<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TdxFirmware")
            .field("bytes", &self.image.len())
            .field("sections", &self.sections)
            .finish()
    }
}

fn add_page(digest: &mut Sha384, page: u64) {
    digest.update(block(b"MEM.PAGE.ADD", page));
}

/// 128 bytes: the name, padded to 16, the address, zeros.
fn block(name: &[u8], address: u64) -> [u8; 128] {
    let mut block = [0; 128];
    block[..name.len()].copy_from_slice(name);
    block[16..24].copy_from_slice(&address.to_le_bytes());
    block
}

/// Why an image's metadata for TDX was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TdxFirmwareError {
    /// The table at its end.
    #[error(transparent)]
    Table(#[from] GuidedTableError),
    /// The head of the metadata.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// A section that ends too soon.
    #[error(transparent)]
    Truncated(#[from] Truncated),
    /// A section of a kind that upstream QEMU does not build a TD from.
    #[error(
        "section {index} has the type {got}, expected 0 (boot volume), 1 (configuration volume), 2 (hand-off block) or 3 \
         (temporary memory): how the host would build it is not known"
    )]
    UnknownSection {
        /// Which one, from 0.
        index: u32,
        /// Its type.
        got: u32,
    },
    /// An attribute with which a section is built otherwise.
    #[error(
        "section {index} has the attributes {got:#x}, expected 0 or 1 (measured): pages that are accepted later (bit 1) \
         and further attributes are not predicted"
    )]
    Attributes {
        /// Which one, from 0.
        index: u32,
        /// Its attributes.
        got: u32,
    },
    /// Code that MRTD would not cover.
    #[error(
        "section {index} is a boot volume that is not measured: MRTD would say nothing about the code in it"
    )]
    Unmeasured {
        /// Which one, from 0.
        index: u32,
    },
    /// A section that is not made of whole pages.
    #[error(
        "section {index} lies at {address:#x} with {size:#x} bytes, expected whole pages of 0x1000 below 4 GiB, at least one"
    )]
    Place {
        /// Which one, from 0.
        index: u32,
        /// Its address.
        address: u64,
        /// Its size.
        size: u64,
    },
    /// A section whose content is not in the image, or does not belong to its kind.
    #[error(
        "section {index} takes {length:#x} bytes at {offset:#x} of an image of {image:#x} bytes into {size:#x} bytes of \
         memory, expected {expected}"
    )]
    Content {
        /// Which one, from 0.
        index: u32,
        /// Where its content begins.
        offset: u32,
        /// How long its content is.
        length: u32,
        /// The image's size.
        image: usize,
        /// Its size in memory.
        size: u64,
        /// What must hold.
        expected: &'static str,
    },
    /// More memory than any image asks for.
    #[error("the sections have {got:#x} bytes {which}, expected at most {max:#x}")]
    TooLarge {
        /// Which bytes are counted.
        which: &'static str,
        /// The most.
        max: u64,
        /// How many they have.
        got: u64,
    },
    /// Two sections at one place.
    #[error("memory at {address:#x} is named by two sections, expected one")]
    Overlap {
        /// The place.
        address: u64,
    },
    /// Not one section of a kind of which there is one.
    #[error("the metadata has {got} sections of type {kind} ({name}), expected {expected}")]
    Count {
        /// The type.
        kind: u32,
        /// What it is.
        name: &'static str,
        /// How many there must be.
        expected: &'static str,
        /// How many there are.
        got: usize,
    },
}

fn parse_sections(image: &[u8], from_end: u32) -> Result<Vec<Section>, TdxFirmwareError> {
    let (mut cursor, count) = metadata::open(image, from_end, LAYOUT)?;
    (0..count)
        .map(|index| parse_section(&mut cursor, index, image.len()))
        .collect()
}

fn parse_section(
    cursor: &mut Cursor<'_>,
    index: u32,
    image: usize,
) -> Result<Section, TdxFirmwareError> {
    let offset = cursor.u32("the offset of a section")?;
    let length = cursor.u32("the length of a section")?;
    let address = cursor.u64("the address of a section")?;
    let size = cursor.u64("the size of a section")?;
    let kind = match cursor.u32("the type of a section")? {
        0 => SectionKind::BootVolume,
        1 => SectionKind::ConfigurationVolume,
        2 => SectionKind::HandOffBlock,
        3 => SectionKind::TemporaryMemory,
        got => return Err(TdxFirmwareError::UnknownSection { index, got }),
    };
    let measured = match cursor.u32("the attributes of a section")? {
        0 if kind == SectionKind::BootVolume => return Err(TdxFirmwareError::Unmeasured { index }),
        0 => false,
        1 => true,
        got => return Err(TdxFirmwareError::Attributes { index, got }),
    };
    let page = PAGE as u64;
    let ends_in_reach = address.checked_add(size).is_some_and(|end| end <= FOUR_GIB);
    if address % page != 0 || size % page != 0 || size == 0 || !ends_in_reach {
        return Err(TdxFirmwareError::Place {
            index,
            address,
            size,
        });
    }
    let is_volume = matches!(
        kind,
        SectionKind::BootVolume | SectionKind::ConfigurationVolume
    );
    let end = u64::from(offset) + u64::from(length);
    let expected = if is_volume {
        let fits = length > 0 && end <= image as u64 && u64::from(length) <= size;
        (!fits).then_some("content inside the image that fits into the memory")
    } else {
        (offset != 0 || length != 0)
            .then_some("no content, as for all memory that the host or the firmware fills")
    };
    if let Some(expected) = expected {
        return Err(TdxFirmwareError::Content {
            index,
            offset,
            length,
            image,
            size,
            expected,
        });
    }
    Ok(Section {
        kind,
        offset: offset as usize,
        length: length as usize,
        address,
        size,
        measured,
    })
}

/// Keeps the work of [`TdxFirmware::mrtd`] in proportion to the image, whatever sizes its metadata names: at most 1.5 bytes
/// are hashed for each byte of the image and 128 for each page of memory, 25 MiB for the largest image there is.
fn check_sizes(sections: &[Section], image: usize) -> Result<(), TdxFirmwareError> {
    let image = image as u64;
    let size_of = |counts: fn(&Section) -> bool| -> u64 {
        let counted = sections.iter().filter(|section| counts(section));
        counted.map(|section| section.size).sum()
    };
    for (which, max, got) in [
        (
            "that are measured, more than the image could fill",
            image,
            size_of(|section| section.measured),
        ),
        ("together", image + MAX_FURTHER_MEMORY, size_of(|_| true)),
    ] {
        if got > max {
            return Err(TdxFirmwareError::TooLarge { which, max, got });
        }
    }
    Ok(())
}

fn check_places(sections: &[Section]) -> Result<(), TdxFirmwareError> {
    let places = sections
        .iter()
        .map(|section| (section.address, section.address + section.size));
    if let Some(address) = metadata::overlap(places) {
        return Err(TdxFirmwareError::Overlap { address });
    }
    for (kind, code, name, expected, most) in [
        (
            SectionKind::BootVolume,
            0,
            "boot volume",
            "at least one",
            usize::MAX,
        ),
        (
            SectionKind::HandOffBlock,
            2,
            "hand-off block",
            "exactly one",
            1,
        ),
    ] {
        let got = sections
            .iter()
            .filter(|section| section.kind == kind)
            .count();
        if got == 0 || got > most {
            return Err(TdxFirmwareError::Count {
                kind: code,
                name,
                expected,
                got,
            });
        }
    }
    let got = sections
        .iter()
        .filter(|section| section.kind == SectionKind::ConfigurationVolume)
        .count();
    if got > 1 {
        return Err(TdxFirmwareError::Count {
            kind: 1,
            name: "configuration volume",
            expected: "at most one",
            got,
        });
    }
    Ok(())
}

const PAGE: usize = 4096;
/// What TDH.MR.EXTEND measures at once.
const CHUNK: usize = 256;
const LAYOUT: Layout = Layout {
    name: "TDX",
    signature: "TDVF",
    section: 32,
};
/// Memory for stack, heap, page tables and hand-off block that no volume fills; OVMF asks for less than 1 MiB.
const MAX_FURTHER_MEMORY: u64 = 8 * 1024 * 1024;
/// No section ends above it, so that the sizes of at most 64 sections cannot overflow their sum.
const FOUR_GIB: u64 = 1 << 32;

/// e47a6535-984a-4798-865e-4685a7bf8ec2
const METADATA: Guid = Guid::new(
    0xe47a_6535,
    0x984a,
    0x4798,
    [0x86, 0x5e, 0x46, 0x85, 0xa7, 0xbf, 0x8e, 0xc2],
);
