//! What an OVMF image says about starting it under SEV-SNP.
//!
//! Its metadata (OvmfPkg/ResetVector/X64/OvmfSevMetadata.asm) names the memory that must be accepted before the first
//! instruction, and where the host puts secrets, CPUID values and the hashes of a kernel.

use std::fmt;

use super::{kernel_hashes::TABLE, launch_digest::PAGE};
use crate::measure::{
    cursor::Truncated,
    guid::Guid,
    guided_table::{GuidedTable, GuidedTableError},
    metadata::{self, Layout, MetadataError},
};

/// An OVMF image that can be started under SEV-SNP.
pub struct SnpFirmware<'a> {
    image: &'a [u8],
    sections: Vec<Section>,
    reset_eip: u32,
    kernel_hashes_offset: Option<usize>,
}

/// Memory that the image's metadata names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Section {
    pub(super) kind: SectionKind,
    pub(super) address: u64,
    pub(super) size: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SectionKind {
    Memory,
    Secrets,
    Cpuid,
    SvsmCallingArea,
    KernelHashes,
}

impl<'a> SnpFirmware<'a> {
    /// Reads an image of whole pages, at most 16 MiB.
    ///
    /// # Errors
    /// [`SnpFirmwareError`] for an image that is not OVMF's, is not built for SEV-SNP, or whose metadata names unknown,
    /// overlapping or oversize memory.
    pub fn parse(image: &'a [u8]) -> Result<Self, SnpFirmwareError> {
        let table = GuidedTable::parse(image)?;
        let reset_eip = table.required_u32(RESET_BLOCK, "the reset vector of further vCPUs")?;
        let from_end = table.required_u32(METADATA, "the offset of the SEV metadata")?;
        let sections = parse_sections(image, from_end)?;
        check_places(image, &sections)?;
        let hashes_address = table.u32(HASHES_TABLE, "the place of the kernel's hashes")?;
        let kernel_hashes_offset = hashes_offset(&sections, hashes_address)?;
        Ok(Self {
            image,
            sections,
            reset_eip,
            kernel_hashes_offset,
        })
    }

    pub(super) fn image(&self) -> &[u8] {
        self.image
    }

    /// Where the image lies: it ends at 4 GiB.
    pub(super) fn address(&self) -> u64 {
        FOUR_GIB - self.image.len() as u64
    }

    pub(super) fn sections(&self) -> &[Section] {
        &self.sections
    }

    pub(super) fn reset_eip(&self) -> u32 {
        self.reset_eip
    }

    /// Where in its page the table of hashes begins, if the image has a page for it.
    pub(super) fn kernel_hashes_offset(&self) -> Option<usize> {
        self.kernel_hashes_offset
    }
}

impl fmt::Debug for SnpFirmware<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SnpFirmware")
            .field("bytes", &self.image.len())
            .field("sections", &self.sections)
            .finish_non_exhaustive()
    }
}

/// Why an image's metadata for SEV-SNP was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SnpFirmwareError {
    /// The table at its end.
    #[error(transparent)]
    Table(#[from] GuidedTableError),
    /// The head of the metadata.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// A section that ends too soon.
    #[error(transparent)]
    Truncated(#[from] Truncated),
    /// A section of a kind that is not known.
    #[error(
        "section {index} has the type {got:#x}, expected 1 (memory), 2 (secrets), 3 (CPUID), 4 (SVSM calling area) or 0x10 \
         (kernel hashes): what the host does with it is not known"
    )]
    UnknownSection {
        /// Which one, from 0.
        index: u32,
        /// Its type.
        got: u32,
    },
    /// A section that is not made of whole pages.
    #[error(
        "section {index} lies at {address:#x} with {size:#x} bytes, expected whole pages of 0x1000, at least one{only}"
    )]
    Unaligned {
        /// Which one, from 0.
        index: u32,
        /// Its address.
        address: u64,
        /// Its size.
        size: u64,
        /// What else holds for its kind.
        only: &'static str,
    },
    /// More memory than any image asks for.
    #[error("the sections have {got:#x} bytes together, expected at most {max:#x}")]
    TooLarge {
        /// The most.
        max: u64,
        /// How many they have.
        got: u64,
    },
    /// Two sections, or a section and the image, at one place.
    #[error("memory at {address:#x} is named twice by the metadata and the image itself")]
    Overlap {
        /// The place.
        address: u64,
    },
    /// Two sections of a kind of which there is one.
    #[error("the metadata has two sections of type {kind:#x}, expected at most one")]
    Twice {
        /// The type.
        kind: u32,
    },
    /// No section of a kind that must be there.
    #[error("the metadata has no section of type {kind:#x} ({name}), expected one")]
    MissingSection {
        /// The type.
        kind: u32,
        /// What it is.
        name: &'static str,
    },
    /// A table of hashes outside the page for it.
    #[error(
        "the table of kernel hashes is said to lie at {got:#x}, expected {TABLE} bytes inside the page at {page:#x}"
    )]
    HashesPlace {
        /// The page.
        page: u64,
        /// The stated place.
        got: u32,
    },
}

fn parse_sections(image: &[u8], from_end: u32) -> Result<Vec<Section>, SnpFirmwareError> {
    let (mut cursor, count) = metadata::open(image, from_end, LAYOUT)?;
    (0..count)
        .map(|index| {
            let address = cursor.u32("the address of a section")?.into();
            let size = cursor.u32("the size of a section")?.into();
            let kind = match cursor.u32("the type of a section")? {
                1 => SectionKind::Memory,
                2 => SectionKind::Secrets,
                3 => SectionKind::Cpuid,
                4 => SectionKind::SvsmCallingArea,
                0x10 => SectionKind::KernelHashes,
                got => return Err(SnpFirmwareError::UnknownSection { index, got }),
            };
            let section = Section {
                kind,
                address,
                size,
            };
            check_section(index, section)?;
            Ok(section)
        })
        .collect()
}

fn check_section(index: u32, section: Section) -> Result<(), SnpFirmwareError> {
    let Section {
        kind,
        address,
        size,
    } = section;
    let page = PAGE as u64;
    // QEMU hands these over in one structure each.
    let one_page = matches!(
        kind,
        SectionKind::Secrets | SectionKind::Cpuid | SectionKind::KernelHashes
    );
    if address % page != 0 || size % page != 0 || size == 0 || (one_page && size != page) {
        let only = if one_page {
            " and for this type no more"
        } else {
            ""
        };
        return Err(SnpFirmwareError::Unaligned {
            index,
            address,
            size,
            only,
        });
    }
    Ok(())
}

fn check_places(image: &[u8], sections: &[Section]) -> Result<(), SnpFirmwareError> {
    let got = sections.iter().map(|section| section.size).sum();
    if got > MAX_MEMORY {
        return Err(SnpFirmwareError::TooLarge {
            max: MAX_MEMORY,
            got,
        });
    }
    let places = sections
        .iter()
        .map(|section| (section.address, section.address + section.size))
        .chain([(FOUR_GIB - image.len() as u64, FOUR_GIB)]);
    if let Some(address) = metadata::overlap(places) {
        return Err(SnpFirmwareError::Overlap { address });
    }
    // A section that ends above 4 GiB would have overlapped the image, which ends there.
    let count = |kind| {
        sections
            .iter()
            .filter(|section| section.kind == kind)
            .count()
    };
    for (kind, code, name, required) in [
        (SectionKind::Secrets, 2, "secrets", true),
        (SectionKind::Cpuid, 3, "CPUID", true),
        (SectionKind::KernelHashes, 0x10, "kernel hashes", false),
    ] {
        match count(kind) {
            0 if required => return Err(SnpFirmwareError::MissingSection { kind: code, name }),
            0 | 1 => {}
            _ => return Err(SnpFirmwareError::Twice { kind: code }),
        }
    }
    Ok(())
}

/// The table must lie in the section: what QEMU writes elsewhere, the launch digest would not cover.
fn hashes_offset(
    sections: &[Section],
    address: Option<u32>,
) -> Result<Option<usize>, SnpFirmwareError> {
    let page = sections
        .iter()
        .find(|section| section.kind == SectionKind::KernelHashes);
    // Images without support state zero.
    match (page, address.filter(|&address| address != 0)) {
        (Some(page), Some(got)) => u64::from(got)
            .checked_sub(page.address)
            .and_then(|offset| usize::try_from(offset).ok())
            .filter(|&offset| offset <= PAGE - TABLE)
            .map(Some)
            .ok_or(SnpFirmwareError::HashesPlace {
                page: page.address,
                got,
            }),
        _ => Ok(None),
    }
}

const LAYOUT: Layout = Layout {
    name: "SEV",
    signature: "ASEV",
    section: 12,
};
/// OVMF asks for less than 1 MiB.
const MAX_MEMORY: u64 = 16 * 1024 * 1024;
const FOUR_GIB: u64 = 1 << 32;

/// 00f771de-1a7e-4fcb-890e-68c77e2fb44e
const RESET_BLOCK: Guid = Guid::new(
    0x00f7_71de,
    0x1a7e,
    0x4fcb,
    [0x89, 0x0e, 0x68, 0xc7, 0x7e, 0x2f, 0xb4, 0x4e],
);
/// dc886566-984a-4798-a75e-5585a7bf67cc
const METADATA: Guid = Guid::new(
    0xdc88_6566,
    0x984a,
    0x4798,
    [0xa7, 0x5e, 0x55, 0x85, 0xa7, 0xbf, 0x67, 0xcc],
);
/// 7255371f-3a3b-4b04-927b-1da6efa8d454
const HASHES_TABLE: Guid = Guid::new(
    0x7255_371f,
    0x3a3b,
    0x4b04,
    [0x92, 0x7b, 0x1d, 0xa6, 0xef, 0xa8, 0xd4, 0x54],
);
