//! Images with masks, read from two IDX files.

use std::path::Path;

use tributary_idx::{IdxError, read_idx_images};

/// Images and their masks, one after the other.
pub(crate) struct MaskedImages {
    /// How many there are.
    pub(crate) count: usize,
    /// Rows and columns of an image.
    pub(crate) size: [u32; 2],
    /// Grey values.
    pub(crate) images: Vec<u8>,
    /// Classes of pixels.
    pub(crate) masks: Vec<u8>,
}

/// Files that do not belong together.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MasksError {
    /// One of them cannot be read.
    #[error(transparent)]
    Idx(#[from] IdxError),
    /// Not one for each.
    #[error("expected a mask for each image, got {images} images and {masks} masks")]
    Counts {
        /// Images.
        images: usize,
        /// Masks.
        masks: usize,
    },
    /// Masks of another size than the model answers with.
    #[error("expected masks of {expected} pixels, got {rows}x{columns}")]
    Size {
        /// Pixels of a mask.
        expected: usize,
        /// Rows of a mask.
        rows: u32,
        /// Columns of a mask.
        columns: u32,
    },
}

impl MaskedImages {
    /// Reads both files; each mask has so many pixels.
    ///
    /// # Errors
    /// Where they cannot be read, or do not belong together.
    pub(crate) fn read(images: &Path, masks: &Path, pixels: usize) -> Result<Self, MasksError> {
        let (images, masks) = (read_idx_images(images)?, read_idx_images(masks)?);
        let area = |rows: u32, columns: u32| rows as usize * columns as usize;
        if area(masks.rows, masks.columns) != pixels {
            return Err(MasksError::Size {
                expected: pixels,
                rows: masks.rows,
                columns: masks.columns,
            });
        }
        let count = images.pixels.len() / area(images.rows, images.columns).max(1);
        let masked = masks.pixels.len() / pixels.max(1);
        if count != masked {
            return Err(MasksError::Counts {
                images: count,
                masks: masked,
            });
        }
        Ok(Self {
            count,
            size: [images.rows, images.columns],
            images: images.pixels,
            masks: masks.pixels,
        })
    }
}

#[cfg(test)]
mod tests {
    use tributary_idx::{IdxEncoding, write_idx_images};

    use super::*;

    #[test]
    fn masks_belong_to_images_by_count_and_have_the_models_size() {
        let folder = tempfile::tempdir().unwrap();
        let (images, masks) = (folder.path().join("images"), folder.path().join("masks"));
        write_idx_images(&images, 2, 3, &[9; 12], IdxEncoding::Plain).unwrap();
        write_idx_images(&masks, 1, 2, &[1; 4], IdxEncoding::Plain).unwrap();
        let read = MaskedImages::read(&images, &masks, 2).unwrap();
        assert_eq!((read.count, read.size), (2, [2, 3]));
        assert!(matches!(
            MaskedImages::read(&images, &masks, 6),
            Err(MasksError::Size { expected: 6, .. })
        ));
        write_idx_images(&masks, 1, 2, &[1; 6], IdxEncoding::Plain).unwrap();
        assert!(matches!(
            MaskedImages::read(&images, &masks, 2),
            Err(MasksError::Counts {
                images: 2,
                masks: 3
            })
        ));
    }
}
