//! The digest by which firmware measures a kernel: Authenticode's, which leaves out checksum and signature.
//!
//! The steps are numbered as in "Windows Authenticode Portable Executable Signature Format" (2008), section "Calculating
//! the PE Image Hash", which PE/COFF's appendix A refers to; `MeasurePeImageAndExtend` of edk2
//! (SecurityPkg/Library/DxeTpm2MeasureBootLib) follows them.

use sha2::{Digest, Sha384};

use crate::measure::cursor::{Cursor, Truncated};

/// SHA-384 of a PE32+ image as UEFI firmware measures it.
///
/// # Errors
/// [`KernelImageError`] for a file that is no PE32+ image, whose headers or sections do not lie in it, or whose digest
/// depends on who computes it.
pub fn authenticode_sha384(image: &[u8]) -> Result<[u8; 48], KernelImageError> {
    let headers = Headers::parse(image)?;
    let mut digest = Sha384::new();
    // Steps 3 to 7: the headers without the checksum and the directory entry of the signature.
    digest.update(&image[..headers.checksum]);
    digest.update(&image[headers.checksum + 4..headers.certificate_entry]);
    digest.update(&image[headers.certificate_entry + 8..headers.size]);
    // Steps 8 to 13: the sections, in the order in which they lie in the file.
    let mut hashed = headers.size;
    for &(start, length) in &headers.sections {
        digest.update(&image[start..start + length]);
        hashed += length;
    }
    // Step 14: what follows the sections, but not the signature at the very end.
    let end = image.len() - headers.certificate_length;
    if hashed > end {
        return Err(KernelImageError::Certificate { start: end, hashed });
    }
    digest.update(&image[hashed..end]);
    Ok(digest.finalize().into())
}

/// Why a kernel's image was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KernelImageError {
    /// It ends too soon.
    #[error(transparent)]
    Truncated(#[from] Truncated),
    /// It is no PE32+ image.
    #[error(
        "expected {expected} as the {field}, got {got}: firmware measures kernels with an EFI stub for 64 bits only"
    )]
    NotPe {
        /// The field.
        field: &'static str,
        /// What it must be.
        expected: String,
        /// What it is.
        got: String,
    },
    /// A number in its headers is out of bounds.
    #[error("the image's {field} is {got}, expected {expected}")]
    OutOfBounds {
        /// The field.
        field: &'static str,
        /// What it must be.
        expected: String,
        /// What it is.
        got: usize,
    },
    /// Two sections share bytes.
    #[error("two sections of the image share the byte {at}: its digest is not defined")]
    Overlap {
        /// Where.
        at: usize,
    },
    /// The signature lies among what is hashed.
    #[error(
        "the image's signature begins at byte {start}, where {hashed} bytes are headers and sections"
    )]
    Certificate {
        /// Where the signature begins.
        start: usize,
        /// How many bytes are hashed before it.
        hashed: usize,
    },
    /// Tools pad it, firmware does not.
    #[error(
        "the image has {got} bytes, expected a multiple of 8: of others, signing tools and firmware compute different digests"
    )]
    Padding {
        /// Its size.
        got: usize,
    },
    /// It is larger than any kernel.
    #[error("the image has {got} bytes, expected at most {max}")]
    TooLarge {
        /// The most.
        max: usize,
        /// Its size.
        got: usize,
    },
}

/// Where the parts lie that are hashed or left out.
struct Headers {
    checksum: usize,
    certificate_entry: usize,
    certificate_length: usize,
    size: usize,
    sections: Vec<(usize, usize)>,
}

impl Headers {
    fn parse(image: &[u8]) -> Result<Self, KernelImageError> {
        if image.len() > MAX_IMAGE {
            return Err(KernelImageError::TooLarge {
                max: MAX_IMAGE,
                got: image.len(),
            });
        }
        if !image.len().is_multiple_of(8) {
            return Err(KernelImageError::Padding { got: image.len() });
        }
        let mut cursor = Cursor::new(image, 0);
        let magic = cursor.array::<2>("the DOS header's magic number")?;
        expect("DOS header's magic number", "MZ", magic.escape_ascii())?;
        cursor.take("the DOS header", 0x3a)?;
        let pe = cursor.u32("the offset of the PE header")? as usize;
        let behind_dos = || {
            bounds(
                "offset of the PE header",
                "behind the DOS header, inside the file",
                pe,
            )
        };
        let mut cursor = Cursor::new(
            image
                .get(pe..)
                .filter(|_| pe >= 0x40)
                .ok_or_else(behind_dos)?,
            pe,
        );
        let magic = cursor.array::<4>("the PE signature")?;
        expect("PE signature", "PE\\x00\\x00", magic.escape_ascii())?;
        cursor.u16("the machine")?;
        let section_count = cursor.u16("the number of sections")?;
        cursor.take("time stamp and symbols", 12)?;
        let optional_size = usize::from(cursor.u16("the size of the optional header")?);
        cursor.u16("the characteristics")?;
        let optional = cursor.at();
        let mut fields = Cursor::new(cursor.take("the optional header", optional_size)?, optional);
        expect(
            "optional header's magic number",
            "0x20b",
            format!("{:#x}", fields.u16("the optional header's magic number")?),
        )?;
        fields.take("the optional header", 58)?;
        let size = fields.u32("the size of the headers")? as usize;
        let checksum = fields.at();
        fields.take("checksum, subsystem and reserves", 44)?;
        let directories = fields.u32("the number of data directories")? as usize;
        if directories <= CERTIFICATE_DIRECTORY {
            let expected = format!("at least {}", CERTIFICATE_DIRECTORY + 1);
            return Err(KernelImageError::OutOfBounds {
                field: "number of data directories",
                expected,
                got: directories,
            });
        }
        fields.take("the data directories", 8 * CERTIFICATE_DIRECTORY)?;
        let certificate_entry = fields.at();
        let certificate_start = fields.u32("the place of the signature")? as usize;
        let certificate_length = fields.u32("the size of the signature")? as usize;
        let table_end = cursor.at() + usize::from(section_count) * SECTION_HEADER;
        if !(table_end..=image.len()).contains(&size) {
            return Err(KernelImageError::OutOfBounds {
                field: "size of the headers",
                expected: format!("{table_end} to {}", image.len()),
                got: size,
            });
        }
        // Firmware leaves out the file's last bytes, whatever the entry's address says: the two must agree.
        if certificate_length > image.len() - size
            || (certificate_length > 0 && certificate_start != image.len() - certificate_length)
        {
            let expected = format!("one that ends with the file of {} bytes", image.len());
            return Err(KernelImageError::OutOfBounds {
                field: "signature's place",
                expected,
                got: certificate_start,
            });
        }
        let sections = sections(&mut cursor, section_count, size, image.len())?;
        Ok(Self {
            checksum,
            certificate_entry,
            certificate_length,
            size,
            sections,
        })
    }
}

/// The sections that have bytes in the file, by their place.
fn sections(
    cursor: &mut Cursor<'_>,
    count: u16,
    headers: usize,
    image: usize,
) -> Result<Vec<(usize, usize)>, KernelImageError> {
    let mut sections = Vec::with_capacity(count.into());
    for _ in 0..count {
        cursor.take("a section's name and addresses", 16)?;
        let length = cursor.u32("a section's size")? as usize;
        let start = cursor.u32("a section's place")? as usize;
        cursor.take("a section's relocations and flags", 16)?;
        if length == 0 {
            continue;
        }
        if start < headers || start.checked_add(length).is_none_or(|end| end > image) {
            let expected = format!(
                "behind the headers ({headers}), with its {length} bytes inside the file ({image})"
            );
            return Err(KernelImageError::OutOfBounds {
                field: "section's place",
                expected,
                got: start,
            });
        }
        sections.push((start, length));
    }
    sections.sort_unstable();
    match sections
        .windows(2)
        .find(|pair| pair[0].0 + pair[0].1 > pair[1].0)
    {
        None => Ok(sections),
        Some(pair) => Err(KernelImageError::Overlap { at: pair[1].0 }),
    }
}

fn expect(field: &'static str, expected: &str, got: impl ToString) -> Result<(), KernelImageError> {
    let got = got.to_string();
    match got == expected {
        true => Ok(()),
        false => Err(KernelImageError::NotPe {
            field,
            expected: expected.into(),
            got,
        }),
    }
}

fn bounds(field: &'static str, expected: &str, got: usize) -> KernelImageError {
    KernelImageError::OutOfBounds {
        field,
        expected: expected.into(),
        got,
    }
}

/// A kernel with everything built in, or a unified one with a large initrd inside.
const MAX_IMAGE: usize = 512 * 1024 * 1024;
/// The entry of the data directory for signatures.
const CERTIFICATE_DIRECTORY: usize = 4;
const SECTION_HEADER: usize = 40;
