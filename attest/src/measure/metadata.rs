//! What OVMF's metadata for SEV and for TDX have in common: a header, then sections of one size, in memory of their own.

use super::cursor::{Cursor, Truncated};

/// Which metadata, by what tells it apart.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    /// The name in messages.
    pub(super) name: &'static str,
    /// The first four bytes.
    pub(super) signature: &'static str,
    /// How many bytes a section takes.
    pub(super) section: u32,
}

/// Why metadata was refused before any of its sections was read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MetadataError {
    /// It ends too soon.
    #[error(transparent)]
    Truncated(#[from] Truncated),
    /// It lies outside the image.
    #[error(
        "the {name} metadata is said to begin {from_end} bytes before the end of an image of {image} bytes"
    )]
    OutsideImage {
        /// Which metadata.
        name: &'static str,
        /// The stated distance.
        from_end: u32,
        /// The image's size.
        image: usize,
    },
    /// Its header.
    #[error("expected {expected} as the {field} of the {name} metadata, got {got}")]
    Header {
        /// Which metadata.
        name: &'static str,
        /// The field.
        field: &'static str,
        /// What it must be.
        expected: String,
        /// What it is.
        got: String,
    },
}

/// Reads the header: where the sections begin, and how many there are, at most 64.
pub(super) fn open(
    image: &[u8],
    from_end: u32,
    layout: Layout,
) -> Result<(Cursor<'_>, u32), MetadataError> {
    let Layout { name, .. } = layout;
    let distance = from_end as usize;
    let start = image.len().checked_sub(distance);
    let start = start.ok_or(MetadataError::OutsideImage {
        name,
        from_end,
        image: image.len(),
    })?;
    let mut cursor = Cursor::new(&image[start..], start);
    let wrong = |field, expected: String, got: String| MetadataError::Header {
        name,
        field,
        expected,
        got,
    };
    let signature = cursor.array::<4>("the signature of the metadata")?;
    if signature != layout.signature.as_bytes() {
        let got = signature.escape_ascii().to_string();
        return Err(wrong("signature", layout.signature.to_owned(), got));
    }
    let length = cursor.u32("the length of the metadata")?;
    let version = cursor.u32("the version of the metadata")?;
    if version != 1 {
        return Err(wrong("version", "1".to_owned(), version.to_string()));
    }
    let count = cursor.u32("the number of sections")?;
    if count > MAX_SECTIONS {
        let expected = format!("at most {MAX_SECTIONS}");
        return Err(wrong("number of sections", expected, count.to_string()));
    }
    let expected = HEADER + layout.section * count;
    if length != expected {
        return Err(wrong("length", expected.to_string(), length.to_string()));
    }
    Ok((cursor, count))
}

/// Where two of these stretches of memory, each from its first byte to the one behind its last, overlap.
pub(super) fn overlap(places: impl IntoIterator<Item = (u64, u64)>) -> Option<u64> {
    let mut places: Vec<_> = places.into_iter().collect();
    places.sort_unstable();
    let pair = places.windows(2).find(|pair| pair[0].1 > pair[1].0)?;
    Some(pair[1].0)
}

/// OVMF has five to eight.
const MAX_SECTIONS: u32 = 64;
/// Signature, length, version and count.
const HEADER: u32 = 16;
