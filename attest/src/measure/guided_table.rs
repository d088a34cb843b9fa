//! The table of GUIDed structures at the end of an OVMF image.
//!
//! It ends 32 bytes before the image does and is read backwards: each entry is its data, its whole length in 16 bits and
//! its GUID; the last one, the footer, holds the length of the table (OvmfPkg/ResetVector/Ia16/ResetVectorVtf0.asm).

use super::{
    cursor::{Cursor, Truncated},
    guid::Guid,
};

/// Why the table at the end of a firmware image was not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GuidedTableError {
    /// The image has a size that no firmware has.
    #[error(
        "expected a firmware image of {} to {} bytes in whole pages of 4096, got {got} bytes: hand in the image as the \
         machine maps it below 4 GiB",
        GuidedTable::MIN_IMAGE,
        GuidedTable::MAX_IMAGE
    )]
    ImageSize {
        /// The image's size.
        got: usize,
    },
    /// No table.
    #[error(
        "expected the footer {expected} 48 bytes before the image's end, got {got}: it is no OVMF image, or one whose \
         code and variables lie in two files of which this is the variables"
    )]
    NoFooter {
        /// The footer's GUID.
        expected: Guid,
        /// What lies there.
        got: Guid,
    },
    /// A length that cannot be.
    #[error("the table's entry {guid} states a length of {got} bytes, expected {min} to {max}")]
    EntryLength {
        /// The entry.
        guid: Guid,
        /// The least it may state.
        min: usize,
        /// The most it may state.
        max: usize,
        /// What it states.
        got: usize,
    },
    /// Bytes that belong to no entry.
    #[error("the table begins with {got} bytes that belong to no entry, expected none")]
    Leftover {
        /// How many.
        got: usize,
    },
    /// The same entry twice.
    #[error("the table has the entry {guid} twice: which one holds is not defined")]
    Twice {
        /// The entry.
        guid: Guid,
    },
    /// An entry that the computation needs.
    #[error(
        "expected the entry {guid} ({name}) in the firmware's table, got none: the image is not built for this TEE"
    )]
    Missing {
        /// The entry.
        guid: Guid,
        /// What it is.
        name: &'static str,
    },
    /// An entry too short for what it holds.
    #[error(transparent)]
    Truncated(#[from] Truncated),
}

/// The entries, as GUID and data.
#[derive(Debug)]
pub(super) struct GuidedTable<'a> {
    entries: Vec<(Guid, &'a [u8])>,
}

impl<'a> GuidedTable<'a> {
    /// One page holds the reset vector and the table.
    pub(super) const MIN_IMAGE: usize = 4096;
    /// QEMU maps at most 8 MiB of firmware by default; twice that leaves room.
    pub(super) const MAX_IMAGE: usize = 16 * 1024 * 1024;

    pub(super) fn parse(image: &'a [u8]) -> Result<Self, GuidedTableError> {
        let wrong_size = GuidedTableError::ImageSize { got: image.len() };
        if !(Self::MIN_IMAGE..=Self::MAX_IMAGE).contains(&image.len())
            || !image.len().is_multiple_of(4096)
        {
            return Err(wrong_size);
        }
        let end = image.len() - AFTER_FOOTER;
        let (mut left, footer, length) = last_entry(&image[..end])?;
        if footer != FOOTER {
            return Err(GuidedTableError::NoFooter {
                expected: FOOTER,
                got: footer,
            });
        }
        // The footer's length counts the footer itself.
        let inner = length
            .checked_sub(HEADER)
            .filter(|&inner| inner <= left.len())
            .ok_or(GuidedTableError::EntryLength {
                guid: footer,
                min: HEADER,
                max: HEADER + left.len(),
                got: length,
            })?;
        left = &left[left.len() - inner..];
        let mut entries = Vec::new();
        while !left.is_empty() {
            if left.len() < HEADER {
                return Err(GuidedTableError::Leftover { got: left.len() });
            }
            let (before, guid, length) = last_entry(left)?;
            let start = length
                .checked_sub(HEADER)
                .and_then(|data| before.len().checked_sub(data))
                .ok_or(GuidedTableError::EntryLength {
                    guid,
                    min: HEADER,
                    max: left.len(),
                    got: length,
                })?;
            if entries.iter().any(|(known, _)| *known == guid) {
                return Err(GuidedTableError::Twice { guid });
            }
            entries.push((guid, &before[start..]));
            left = &before[..start];
        }
        Ok(Self { entries })
    }

    /// The 32-bit number with which the entry begins, if there is such an entry.
    pub(super) fn u32(
        &self,
        guid: Guid,
        name: &'static str,
    ) -> Result<Option<u32>, GuidedTableError> {
        match self.entries.iter().find(|(known, _)| *known == guid) {
            None => Ok(None),
            Some((_, data)) => Ok(Some(Cursor::new(data, 0).u32(name)?)),
        }
    }

    pub(super) fn required_u32(
        &self,
        guid: Guid,
        name: &'static str,
    ) -> Result<u32, GuidedTableError> {
        self.u32(guid, name)?
            .ok_or(GuidedTableError::Missing { guid, name })
    }
}

/// Splits off the length and GUID at the end: what lies before them, the GUID, the length.
fn last_entry(bytes: &[u8]) -> Result<(&[u8], Guid, usize), Truncated> {
    let before = bytes.len().saturating_sub(HEADER);
    let mut header = Cursor::new(&bytes[before..], before);
    let length = header.u16("the length of a table entry")?;
    let guid = Guid::from_bytes(header.array("the GUID of a table entry")?);
    Ok((&bytes[..before], guid, length.into()))
}

/// 96b582de-1fb2-45f7-baea-a366c55a082d
const FOOTER: Guid = Guid::new(
    0x96b5_82de,
    0x1fb2,
    0x45f7,
    [0xba, 0xea, 0xa3, 0x66, 0xc5, 0x5a, 0x08, 0x2d],
);
/// The reset vector lies behind the table.
const AFTER_FOOTER: usize = 32;
/// A length in 16 bits and a GUID.
const HEADER: usize = 18;
