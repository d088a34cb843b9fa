//! What is sealed: the files of one trained model, and no others.

use std::fmt;

use crate::derivation::put_prefixed;
use crate::digest::Digest;

/// The files of a model. Their names are the allow-list: nothing else leaves the aggregator in a sealed model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ModelFile {
    /// The model as ONNX, with trained weights.
    Onnx,
    /// The weights under PyTorch's parameter names.
    Safetensors,
    /// The run's curves and figures.
    Metrics,
}

impl ModelFile {
    /// All files, in the order of the archive.
    pub const ALL: [ModelFile; 3] = [Self::Onnx, Self::Safetensors, Self::Metrics];

    /// The file's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Onnx => "model.onnx",
            Self::Safetensors => "model.safetensors",
            Self::Metrics => "metrics.json",
        }
    }

    /// The most bytes of it that are sealed or opened. ONNX's protobuf ends at 2 GiB; half of that is more than trains on
    /// a CPU. Metrics are a few numbers a step.
    pub const fn size_limit(self) -> u64 {
        match self {
            Self::Onnx | Self::Safetensors => 1 << 30,
            Self::Metrics => 16 << 20,
        }
    }
}

impl fmt::Display for ModelFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The files of one trained model.
///
/// ```
/// use tributary_protocol::{ModelArchive, ModelFile};
/// let archive = ModelArchive::new(b"onnx".to_vec(), b"safetensors".to_vec(), b"{}".to_vec())?;
/// assert_eq!(archive.file(ModelFile::Metrics), b"{}");
/// # Ok::<(), tributary_protocol::ArchiveError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct ModelArchive {
    files: [Vec<u8>; 3],
}

/// Why files are no archive of a model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// A file beyond its limit.
    #[error("expected at most {limit} bytes of {file}, got {got}")]
    TooLarge {
        /// Which.
        file: ModelFile,
        /// Its limit.
        limit: u64,
        /// Its size.
        got: u64,
    },
    /// Another number of files, another name, or another order.
    #[error(
        "expected the files model.onnx, model.safetensors and metrics.json in this order, got {0:?} in their place"
    )]
    Name(String),
    /// The bytes end too early or too late.
    #[error("expected an archive that ends with its last file, got {0}")]
    Length(&'static str),
}

impl ModelArchive {
    /// Puts the files together.
    ///
    /// # Errors
    /// Where one is beyond its limit.
    pub fn new(
        onnx: Vec<u8>,
        safetensors: Vec<u8>,
        metrics: Vec<u8>,
    ) -> Result<Self, ArchiveError> {
        let files = [onnx, safetensors, metrics];
        for (file, bytes) in ModelFile::ALL.into_iter().zip(&files) {
            within_limit(file, bytes.len() as u64)?;
        }
        Ok(Self { files })
    }

    /// One file's bytes.
    pub fn file(&self, file: ModelFile) -> &[u8] {
        &self.files[file as usize]
    }

    /// Every file with its bytes.
    pub fn files(&self) -> impl Iterator<Item = (ModelFile, &[u8])> {
        ModelFile::ALL
            .into_iter()
            .zip(self.files.iter().map(Vec::as_slice))
    }

    /// The digests by which a receipt names the files.
    pub fn digests(&self) -> [(ModelFile, Digest); 3] {
        ModelFile::ALL.map(|file| (file, Digest::of(self.file(file))))
    }

    /// The longest encoding of any archive.
    pub(super) fn encoded_limit() -> u64 {
        ModelFile::ALL
            .iter()
            .map(|file| 16 + file.name().len() as u64 + file.size_limit())
            .sum()
    }

    /// Each file as name and content, both preceded by their length in eight bytes.
    pub(super) fn parts(&self) -> impl Iterator<Item = (Vec<u8>, &[u8])> {
        self.files().map(|(file, bytes)| {
            let mut head = Vec::new();
            put_prefixed(&mut head, file.name().as_bytes());
            head.extend_from_slice(&(bytes.len() as u64).to_be_bytes());
            (head, bytes)
        })
    }

    pub(super) fn encoded_length(&self) -> u64 {
        self.parts()
            .map(|(head, bytes)| (head.len() + bytes.len()) as u64)
            .sum()
    }

    pub(super) fn decode(mut bytes: &[u8]) -> Result<Self, ArchiveError> {
        let mut files = [Vec::new(), Vec::new(), Vec::new()];
        for (file, content) in ModelFile::ALL.into_iter().zip(&mut files) {
            let name = take(&mut bytes)?;
            if name != file.name().as_bytes() {
                let shown = String::from_utf8_lossy(&name[..name.len().min(80)]).into_owned();
                return Err(ArchiveError::Name(shown));
            }
            let taken = take(&mut bytes)?;
            within_limit(file, taken.len() as u64)?;
            *content = taken.to_vec();
        }
        if bytes.is_empty() {
            Ok(Self { files })
        } else {
            Err(ArchiveError::Length("more after it"))
        }
    }
}

/// Counts only: a trained model belongs to the consumer, not to logs.
impl fmt::Debug for ModelArchive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut map = f.debug_map();
        for (file, bytes) in self.files() {
            map.entry(&file.name(), &bytes.len());
        }
        map.finish()
    }
}

/// Takes one length-prefixed part off the front.
fn take<'a>(bytes: &mut &'a [u8]) -> Result<&'a [u8], ArchiveError> {
    let early = ArchiveError::Length("its end before that");
    let (length, rest) = bytes.split_first_chunk::<8>().ok_or(early.clone())?;
    let length = usize::try_from(u64::from_be_bytes(*length)).map_err(|_| early.clone())?;
    let (part, rest) = rest.split_at_checked(length).ok_or(early)?;
    *bytes = rest;
    Ok(part)
}

fn within_limit(file: ModelFile, got: u64) -> Result<(), ArchiveError> {
    let limit = file.size_limit();
    if got <= limit {
        Ok(())
    } else {
        Err(ArchiveError::TooLarge { file, limit, got })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encode(archive: &ModelArchive) -> Vec<u8> {
        archive
            .parts()
            .flat_map(|(head, bytes)| [&head, bytes].concat())
            .collect()
    }

    fn archive() -> ModelArchive {
        ModelArchive::new(b"onnx".to_vec(), Vec::new(), b"{\"loss\":[]}".to_vec()).unwrap()
    }

    #[test]
    fn what_goes_in_comes_out_and_every_cut_and_addition_is_refused() {
        let bytes = encode(&archive());
        assert_eq!(bytes.len() as u64, archive().encoded_length());
        assert_eq!(ModelArchive::decode(&bytes), Ok(archive()));
        for length in 0..bytes.len() {
            assert!(matches!(
                ModelArchive::decode(&bytes[..length]),
                Err(ArchiveError::Length(_))
            ));
        }
        let longer = [&bytes[..], &[0]].concat();
        assert!(matches!(
            ModelArchive::decode(&longer),
            Err(ArchiveError::Length(_))
        ));
    }

    #[test]
    fn names_beyond_the_allow_list_are_refused() {
        let bytes = encode(&archive());
        for name in ["../evil.so", "model.onn_", "metrics.js"] {
            let mut bad = bytes.clone();
            bad[8..8 + name.len()].copy_from_slice(name.as_bytes());
            let error = ModelArchive::decode(&bad).unwrap_err();
            assert!(
                matches!(&error, ArchiveError::Name(got) if got == name),
                "{error}"
            );
        }
        let mut swapped: Vec<(Vec<u8>, &[u8])> = Vec::new();
        let archive = archive();
        swapped.extend(archive.parts());
        swapped.swap(0, 1);
        let bytes: Vec<u8> = swapped
            .iter()
            .flat_map(|(head, bytes)| [head, *bytes].concat())
            .collect();
        assert!(matches!(
            ModelArchive::decode(&bytes),
            Err(ArchiveError::Name(_))
        ));
    }

    #[test]
    fn a_file_beyond_its_limit_is_refused_both_ways() {
        let large = vec![0; ModelFile::Metrics.size_limit() as usize + 1];
        let error = ModelArchive::new(Vec::new(), Vec::new(), large.clone()).unwrap_err();
        assert!(error.to_string().contains("metrics.json"));
        let forged = ModelArchive {
            files: [Vec::new(), Vec::new(), large],
        };
        assert!(matches!(
            ModelArchive::decode(&encode(&forged)),
            Err(ArchiveError::TooLarge { .. })
        ));
    }

    #[test]
    fn its_content_does_not_print() {
        assert_eq!(
            format!("{:?}", archive()),
            "{\"model.onnx\": 4, \"model.safetensors\": 0, \"metrics.json\": 11}"
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(ModelArchive::decode(&bytes).is_err());
        }
    }
}
