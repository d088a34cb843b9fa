//! Reads ONNX files whose exporter put the weights into a file beside them.
//!
//! What is read leaves this module as one file that holds its initializers and constants itself: its digest covers the
//! weights too, and whatever signs or stores it needs to know of nothing else.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};

use prost::Message;
use thiserror::Error;

use crate::onnx::{MODEL_SIZE_LIMIT, OnnxError, TensorProto};
use crate::wire::{GRAPH_INITIALIZER, GRAPH_NODE, MODEL_GRAPH, fields, malformed, write_field};

/// Why an ONNX file, or a file that it names, is not read.
#[derive(Debug, Error)]
pub enum ModelFileError {
    /// The file cannot be read.
    #[error("{path} cannot be read")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The bytes are not an ONNX model, or more than are read.
    #[error(transparent)]
    Onnx(#[from] OnnxError),
    /// A tensor's data lies where the model may not point.
    #[error(
        "tensor `{tensor}` keeps its data in `{location}`, outside the model's folder; expected a relative path into it, without `..` or a link that leads out"
    )]
    Outside {
        /// The tensor's name.
        tensor: String,
        /// The path in the model.
        location: String,
    },
    /// A file with a tensor's data cannot be read.
    #[error(
        "tensor `{tensor}` keeps its data in `{location}`, which cannot be read; keep it beside the model"
    )]
    Unreadable {
        /// The tensor's name.
        tensor: String,
        /// The path in the model.
        location: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file with a tensor's data is too short.
    #[error(
        "tensor `{tensor}` keeps {length} bytes at {offset} of `{location}`, which has {size}; export the model again"
    )]
    Short {
        /// The tensor's name.
        tensor: String,
        /// The path in the model.
        location: String,
        /// Where the data begins.
        offset: u64,
        /// Bytes of data.
        length: u64,
        /// Bytes of the file.
        size: u64,
    },
    /// The stated length is not the one that the tensor's dimensions need.
    #[error(
        "tensor `{tensor}` of {dims:?} needs {expected} bytes, and `{location}` keeps {got} for it; export the model again"
    )]
    Length {
        /// The tensor's name.
        tensor: String,
        /// The path in the model.
        location: String,
        /// Its dimensions.
        dims: Vec<i64>,
        /// Bytes that the dimensions need.
        expected: u64,
        /// Bytes that the model states.
        got: u64,
    },
    /// An entry about a tensor's place that is not read.
    #[error(
        "tensor `{tensor}` has `{key}` \"{value}\" for its place in another file; expected location, offset and length, once each"
    )]
    Entry {
        /// The tensor's name.
        tensor: String,
        /// The entry's key.
        key: String,
        /// Its value.
        value: String,
    },
}

/// Reads an ONNX file into one that holds its initializers and constants itself: data that they keep in files of its folder
/// is put in. Tensors of what the importer refuses anyway, such as subgraphs, stay as they are.
///
/// A file that has all its data is returned byte for byte. All that is read together has at most [`MODEL_SIZE_LIMIT`]
/// bytes, which is checked before it is.
///
/// ```
/// use tributary_trainer::{Graph, models, read_onnx};
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("mnist.onnx");
/// std::fs::write(&path, models::mnist_cnn(1))?;
/// let model = read_onnx(&path)?;
/// assert_eq!(model, models::mnist_cnn(1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// Where a file is missing, short, too large or no ONNX model, and where a tensor points out of the model's folder.
pub fn read_onnx(path: &Path) -> Result<Vec<u8>, ModelFileError> {
    let unreadable = |source| ModelFileError::File {
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(unreadable)?;
    let size = file.metadata().map_err(unreadable)?.len();
    let too_large = |size: u64| OnnxError::TooLarge(usize::try_from(size).unwrap_or(usize::MAX));
    if size > MODEL_SIZE_LIMIT as u64 {
        return Err(too_large(size).into());
    }
    // A file may grow while it is read.
    let mut model = Vec::new();
    file.take(MODEL_SIZE_LIMIT as u64 + 1)
        .read_to_end(&mut model)
        .map_err(unreadable)?;
    if model.len() > MODEL_SIZE_LIMIT {
        return Err(too_large(model.len() as u64).into());
    }
    let beside = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let mut folder = Folder {
        path: beside.canonicalize().map_err(unreadable)?,
        total: model.len(),
    };
    let whole = Part::Model.embed(&model, &mut folder)?;
    Ok(whole.unwrap_or(model))
}

/// What a message is, on the way to tensors.
#[derive(Clone, Copy)]
enum Part {
    Model,
    Graph,
    Node,
    Attribute,
    Tensor,
}

impl Part {
    /// What a field holds, where tensors may lie in it.
    fn inner(self, field: u64) -> Option<Self> {
        const NODE_ATTRIBUTE: u64 = 5;
        const ATTRIBUTE_TENSOR: u64 = 5;
        match (self, field) {
            (Self::Model, MODEL_GRAPH) => Some(Self::Graph),
            (Self::Graph, GRAPH_NODE) => Some(Self::Node),
            (Self::Graph, GRAPH_INITIALIZER) => Some(Self::Tensor),
            (Self::Node, NODE_ATTRIBUTE) => Some(Self::Attribute),
            (Self::Attribute, ATTRIBUTE_TENSOR) => Some(Self::Tensor),
            _ => None,
        }
    }

    /// The message with all data in it; `None` where it has it already.
    fn embed(self, message: &[u8], folder: &mut Folder) -> Result<Option<Vec<u8>>, ModelFileError> {
        if let Self::Tensor = self {
            return embed_tensor(message, folder);
        }
        // Most parts of most models stay as they are, and are not copied.
        let mut edited: Option<Vec<u8>> = None;
        let mut seen = 0;
        for field in fields(message)? {
            let inner = match (self.inner(field.number), field.payload) {
                (Some(part), Some(payload)) => part.embed(payload, folder)?,
                _ => None,
            };
            if let Some(inner) = inner {
                let edited = edited.get_or_insert_with(|| message[..seen].to_vec());
                write_field(edited, field.number, &inner);
            } else if let Some(edited) = &mut edited {
                edited.extend_from_slice(field.whole);
            }
            seen += field.whole.len();
        }
        Ok(edited)
    }
}

fn embed_tensor(message: &[u8], folder: &mut Folder) -> Result<Option<Vec<u8>>, ModelFileError> {
    const EXTERNAL: i32 = 1;
    const RAW_DATA: u64 = 9;
    const EXTERNAL_DATA: u64 = 13;
    const DATA_LOCATION: u64 = 14;
    let tensor = TensorProto::decode(message).map_err(malformed)?;
    if tensor.data_location != EXTERNAL {
        return Ok(None);
    }
    let data = folder.read(&tensor)?;
    let mut edited = Vec::with_capacity(message.len() + data.len());
    for field in fields(message)? {
        if ![RAW_DATA, EXTERNAL_DATA, DATA_LOCATION].contains(&field.number) {
            edited.extend_from_slice(field.whole);
        }
    }
    write_field(&mut edited, RAW_DATA, &data);
    Ok(Some(edited))
}

/// The folder of a model.
struct Folder {
    /// Without links.
    path: PathBuf,
    /// Bytes of the model so far.
    total: usize,
}

impl Folder {
    /// A tensor's data.
    fn read(&mut self, tensor: &TensorProto) -> Result<Vec<u8>, ModelFileError> {
        let place = Place::of(tensor)?;
        let expected = tensor.byte_length()?;
        let (name, location) = (|| tensor.name.clone(), || place.location.to_owned());
        let unreadable = |source| ModelFileError::Unreadable {
            tensor: name(),
            location: location(),
            source,
        };
        let mut file = self.open(&place, tensor)?;
        let size = file.metadata().map_err(unreadable)?.len();
        // Without a length, the data goes on to the end (ONNX, "External Data").
        let length = place.length.unwrap_or(size.saturating_sub(place.offset));
        let end = place.offset.checked_add(length);
        if end.is_none_or(|end| end > size) {
            return Err(ModelFileError::Short {
                tensor: name(),
                location: location(),
                offset: place.offset,
                length,
                size,
            });
        }
        if length != expected as u64 {
            return Err(ModelFileError::Length {
                tensor: name(),
                location: location(),
                dims: tensor.dims.clone(),
                expected: expected as u64,
                got: length,
            });
        }
        self.total = self.total.saturating_add(expected);
        if self.total > MODEL_SIZE_LIMIT {
            return Err(OnnxError::TooLarge(self.total).into());
        }
        let mut data = vec![0; expected];
        file.seek(SeekFrom::Start(place.offset))
            .and_then(|_| file.read_exact(&mut data))
            .map_err(unreadable)?;
        Ok(data)
    }

    /// Opens a file of the folder. Paths are those of whoever wrote the model, who may wish to read files of whoever
    /// trains it into the weights.
    fn open(&self, place: &Place<'_>, tensor: &TensorProto) -> Result<File, ModelFileError> {
        let (name, location) = (|| tensor.name.clone(), || place.location.to_owned());
        let unreadable = |source| ModelFileError::Unreadable {
            tensor: name(),
            location: location(),
            source,
        };
        let outside = || ModelFileError::Outside {
            tensor: name(),
            location: location(),
        };
        let relative = Path::new(place.location);
        let stays = |component| matches!(component, Component::Normal(_) | Component::CurDir);
        if !relative.components().all(stays) {
            return Err(outside());
        }
        let path = (self.path.join(relative).canonicalize()).map_err(unreadable)?;
        if !path.starts_with(&self.path) {
            return Err(outside());
        }
        // A pipe would be waited for, and a device may never end.
        if !path.metadata().map_err(unreadable)?.is_file() {
            return Err(unreadable(io::Error::other("it is not a regular file")));
        }
        File::open(path).map_err(unreadable)
    }
}

/// Where a tensor's data lies.
struct Place<'a> {
    location: &'a str,
    offset: u64,
    length: Option<u64>,
}

impl<'a> Place<'a> {
    fn of(tensor: &'a TensorProto) -> Result<Self, ModelFileError> {
        let refuse = |key: &str, value: &str| ModelFileError::Entry {
            tensor: tensor.name.clone(),
            key: key.to_owned(),
            value: value.to_owned(),
        };
        let (mut location, mut offset, mut length) = (None, None, None);
        for entry in &tensor.external_data {
            let (key, value) = (entry.key.as_str(), entry.value.as_str());
            let number = || value.parse::<u64>().map_err(|_| refuse(key, value));
            let again = match key {
                "location" => location.replace(value).is_some(),
                "offset" => offset.replace(number()?).is_some(),
                "length" => length.replace(number()?).is_some(),
                // A checksum too: what is not checked is not accepted.
                _ => true,
            };
            if again {
                return Err(refuse(key, value));
            }
        }
        Ok(Self {
            location: location
                .filter(|location| !location.is_empty())
                .ok_or_else(|| refuse("location", ""))?,
            offset: offset.unwrap_or(0),
            length,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::export_onnx;
    use crate::graph::Graph;
    use crate::models::mnist_cnn;
    use crate::onnx::{ModelProto, StringStringEntryProto};
    use crate::parameters::Parameters;

    /// A folder with a model whose weights lie in `weights.bin`, 64 bytes apart.
    struct Scene {
        folder: tempfile::TempDir,
        model: ModelProto,
    }

    impl Scene {
        fn new() -> Self {
            let mut model = ModelProto::read(&mnist_cnn(1)).unwrap();
            let mut weights = Vec::new();
            for tensor in &mut model.graph.as_mut().unwrap().initializer {
                let data = std::mem::take(&mut tensor.raw_data);
                tensor.data_location = 1;
                tensor.external_data = vec![
                    entry("location", "weights.bin"),
                    entry("offset", &weights.len().to_string()),
                    entry("length", &data.len().to_string()),
                ];
                weights.extend(data);
                weights.resize(weights.len().next_multiple_of(64), 7);
            }
            let scene = Self {
                folder: tempfile::tempdir().unwrap(),
                model,
            };
            std::fs::create_dir(scene.folder.path().join("model")).unwrap();
            std::fs::write(scene.path("weights.bin"), weights).unwrap();
            scene
        }

        fn path(&self, name: &str) -> PathBuf {
            self.folder.path().join("model").join(name)
        }

        fn first(&mut self) -> &mut TensorProto {
            &mut self.model.graph.as_mut().unwrap().initializer[0]
        }

        fn set(&mut self, key: &str, value: &str) -> &mut Self {
            let entries = &mut self.first().external_data;
            entries.retain(|entry| entry.key != key);
            entries.push(entry(key, value));
            self
        }

        fn read(&self) -> Result<Vec<u8>, ModelFileError> {
            let path = self.path("model.onnx");
            std::fs::write(&path, self.model.encode_to_vec()).unwrap();
            read_onnx(&path)
        }

        /// It must be refused, by a message that has all these parts.
        #[track_caller]
        fn check(&self, parts: &[&str]) {
            let message = self.read().unwrap_err().to_string();
            for part in ["conv1.weight"].iter().chain(parts) {
                assert!(message.contains(part), "no {part:?} in {message:?}");
            }
        }
    }

    fn entry(key: &str, value: &str) -> StringStringEntryProto {
        StringStringEntryProto {
            key: key.to_owned(),
            value: value.to_owned(),
        }
    }

    #[test]
    fn weights_in_a_file_beside_the_model_are_read_and_exported_in_one_file() {
        let scene = Scene::new();
        let whole = scene.read().unwrap();
        let (graph, original) = (
            Graph::from_onnx(&whole).unwrap(),
            Graph::from_onnx(&mnist_cnn(1)).unwrap(),
        );
        assert_eq!(graph.initial_weights(), original.initial_weights());
        let exported = export_onnx(&whole, &Parameters::initial(&graph).unwrap()).unwrap();
        let exported = ModelProto::read(&exported).unwrap().graph.unwrap();
        assert!(
            (exported.initializer.iter())
                .all(|tensor| tensor.data_location == 0 && tensor.external_data.is_empty())
        );
        // By its bytes alone, the model is refused by the tensor's name.
        let refusal = Graph::from_onnx(&scene.model.encode_to_vec()).unwrap_err();
        assert!(refusal.to_string().contains("`conv1.weight`"), "{refusal}");
    }

    #[test]
    fn files_of_folders_within_and_links_that_stay_are_read() {
        let mut scene = Scene::new();
        std::fs::create_dir(scene.path("data")).unwrap();
        std::fs::copy(scene.path("weights.bin"), scene.path("data/copy.bin")).unwrap();
        std::os::unix::fs::symlink("data/copy.bin", scene.path("link.bin")).unwrap();
        for location in ["data/copy.bin", "./weights.bin", "link.bin"] {
            scene.set("location", location);
            assert!(scene.read().is_ok(), "{location}");
        }
        // The last tensor's data may go on to the end of its file, and the first begins at zero.
        let size = scene.first().byte_length().unwrap();
        std::fs::write(scene.path("first.bin"), vec![0; size]).unwrap();
        scene.first().external_data = vec![entry("location", "first.bin")];
        assert!(scene.read().is_ok());
    }

    #[test]
    fn files_outside_the_folder_are_refused() {
        let mut scene = Scene::new();
        let secret = scene.folder.path().join("secret.bin");
        std::fs::copy(scene.path("weights.bin"), &secret).unwrap();
        std::os::unix::fs::symlink(&secret, scene.path("link.bin")).unwrap();
        std::os::unix::fs::symlink(scene.folder.path(), scene.path("up")).unwrap();
        let absolute = secret.display().to_string();
        for location in [
            absolute.as_str(),
            "../secret.bin",
            "data/../../secret.bin",
            "link.bin",
            "up/secret.bin",
        ] {
            scene
                .set("location", location)
                .check(&[location, "outside the model's folder"]);
        }
    }

    #[test]
    fn files_that_are_missing_or_no_files_are_refused() {
        let mut scene = Scene::new();
        std::fs::create_dir(scene.path("folder")).unwrap();
        for location in ["missing.bin", "folder", "."] {
            scene
                .set("location", location)
                .check(&[location, "cannot be read"]);
        }
        scene.set("location", "").check(&["location"]);
        assert!(matches!(
            read_onnx(&scene.path("no.onnx")),
            Err(ModelFileError::File { .. })
        ));
    }

    #[test]
    fn data_that_is_short_or_of_another_length_is_refused() {
        let mut scene = Scene::new();
        let needed = scene.first().byte_length().unwrap();
        scene
            .set("offset", "900000000")
            .check(&["900000000", "weights.bin", "export"]);
        scene
            .set("offset", &u64::MAX.to_string())
            .check(&[&u64::MAX.to_string()]);
        scene.set("offset", "0");
        for length in [needed - 4, needed + 4, 0] {
            scene
                .set("length", &length.to_string())
                .check(&[&format!("needs {needed} bytes"), &length.to_string()]);
        }
        // A file longer than the tensor, with no length given.
        scene.first().external_data = vec![entry("location", "weights.bin")];
        scene.check(&["needs"]);
        std::fs::write(scene.path("weights.bin"), vec![0; needed - 1]).unwrap();
        scene.set("length", &needed.to_string()).check(&["has"]);
    }

    #[test]
    fn entries_that_are_not_read_are_refused() {
        let mut scene = Scene::new();
        for (key, value) in [("offset", "-1"), ("length", "many"), ("checksum", "00")] {
            let mut scene = Scene::new();
            scene.set(key, value).check(&[key, value]);
        }
        let again = entry("location", "weights.bin");
        scene.first().external_data.push(again);
        scene.check(&["once each"]);
        scene.first().external_data.pop();
        scene.first().data_type = 10;
        scene.check(&["data type 10"]);
    }

    /// A sparse file states a size without having it: what is refused must not have been allocated.
    #[test]
    fn data_over_the_size_is_refused_before_it_is_read() {
        let mut scene = Scene::new();
        let file = File::create(scene.path("large.bin")).unwrap();
        file.set_len(MODEL_SIZE_LIMIT as u64 * 8).unwrap();
        let elements = MODEL_SIZE_LIMIT as i64;
        scene.first().dims = vec![elements];
        scene.set("location", "large.bin");
        scene.set("length", &(elements * 4).to_string());
        let refusal = scene.read().unwrap_err().to_string();
        assert!(refusal.contains("at most"), "{refusal}");
        scene.first().dims = vec![i64::MAX, i64::MAX];
        scene.check(&[]);
        let file = File::create(scene.path("huge.onnx")).unwrap();
        file.set_len(MODEL_SIZE_LIMIT as u64 + 1).unwrap();
        assert!(matches!(
            read_onnx(&scene.path("huge.onnx")),
            Err(ModelFileError::Onnx(OnnxError::TooLarge(_)))
        ));
    }
}
