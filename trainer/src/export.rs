//! Writes trained weights back into the ONNX file that they came from.
//!
//! The file's bytes are edited, not written anew: only the data of trained initializers changes, so whatever the exporter
//! put there (names, metadata, documentation, fields that ONNX adds later) is kept. With untouched weights held as
//! `raw_data`, as PyTorch holds them, the result equals the original byte for byte.

use std::collections::{HashMap, HashSet};

use prost::Message;
use thiserror::Error;

use crate::graph::{Graph, GraphError, Place};
use crate::onnx::{FLOAT, ModelProto, NodeProto, OnnxError, TensorProto};
use crate::parameters::{Parameters, ParametersError, RawTensor};
use crate::wire::{GRAPH_INITIALIZER, GRAPH_NODE, MODEL_GRAPH, fields, malformed, write_field};

/// Why a model cannot be written.
#[derive(Debug, Error)]
pub enum ExportError {
    /// The original is not an ONNX model.
    #[error(transparent)]
    Onnx(#[from] OnnxError),
    /// The original is not a model that could have been trained.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The weights cannot be read.
    #[error(transparent)]
    Parameters(#[from] ParametersError),
    /// A trained weight has no place in the original.
    #[error("the original model has no tensor `{0}`; export into the model that was trained")]
    Absent(String),
    /// A trained weight has another shape than in the original.
    #[error(
        "`{name}` has {expected:?} in the original model, {got:?} after training; export into the model that was trained"
    )]
    Shape {
        /// The weight.
        name: String,
        /// Sizes in the original model.
        expected: Vec<usize>,
        /// Sizes of the trained weight.
        got: Vec<usize>,
    },
}

/// The original file with trained weights in the place of the initial ones.
///
/// Where the exporter had two layers share equal weights, through an `Identity` node or not, each gets its own.
///
/// ```
/// use tributary_trainer::{Graph, Parameters, export_onnx, models};
/// let original = models::mnist_cnn(1);
/// let graph = Graph::from_onnx(&original)?;
/// let unchanged = export_onnx(&original, &Parameters::initial(&graph)?)?;
/// assert_eq!(unchanged, original);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// Where the bytes are no ONNX model, or the weights are not those of this model.
pub fn export_onnx(original: &[u8], parameters: &Parameters) -> Result<Vec<u8>, ExportError> {
    // Decoded once in full, so that everything below works on a file that is known to be well formed.
    let model = ModelProto::read(original)?;
    let graph = Graph::from_onnx(original)?;
    let edits = Edits::new(&model, &graph, parameters)?;
    let mut edited = Vec::with_capacity(original.len());
    for field in fields(original)? {
        match (field.number, field.payload) {
            (MODEL_GRAPH, Some(graph)) => {
                write_field(&mut edited, MODEL_GRAPH, &edit_graph(graph, &edits)?);
            }
            _ => edited.extend_from_slice(field.whole),
        }
    }
    Ok(edited)
}

/// Field numbers of onnx.proto.
const NODE_INPUT: u64 = 1;
const TENSOR_FLOAT_DATA: u64 = 4;
const TENSOR_RAW_DATA: u64 = 9;

/// What changes in a file.
#[derive(Default)]
struct Edits {
    /// Data of initializers, by their place.
    initializers: HashMap<usize, Vec<u8>>,
    /// Outputs of `Identity` nodes that give way to an initializer.
    identities: HashSet<String>,
    /// Inputs of nodes, by node and place, that take another tensor.
    inputs: HashMap<(usize, usize), String>,
    /// Initializers that are added.
    added: Vec<TensorProto>,
}

impl Edits {
    fn new(
        model: &ModelProto,
        graph: &Graph,
        parameters: &Parameters,
    ) -> Result<Self, ExportError> {
        let plan = graph.plan();
        let mut weights: HashMap<String, RawTensor> = parameters
            .raw()?
            .into_iter()
            .map(|weight| (weight.name.clone(), weight))
            .collect();
        let initializers = model
            .graph
            .as_ref()
            .map(|graph| graph.initializer.as_slice())
            .unwrap_or_default();
        let mut edits = Self::default();
        for (info, origin) in plan.parameters.iter().zip(&plan.origins) {
            let Some(weight) = weights.remove(&info.name) else {
                continue;
            };
            if weight.dims != info.dims {
                return Err(ExportError::Shape {
                    name: weight.name,
                    expected: info.dims.clone(),
                    got: weight.dims,
                });
            }
            for copy in &origin.copies {
                edits.initializers.insert(*copy, transposed(&weight));
            }
            let data = if origin.transposed {
                transposed(&weight)
            } else {
                weight.data
            };
            let tensor = |name: &str, data: Vec<u8>| TensorProto {
                dims: initializers[origin.initializer].dims.clone(),
                data_type: FLOAT,
                name: name.to_owned(),
                raw_data: data,
                ..TensorProto::default()
            };
            match &origin.place {
                Place::Initializer => {
                    edits.initializers.insert(origin.initializer, data);
                }
                Place::Identity(output) => {
                    edits.added.push(tensor(output, data));
                    edits.identities.insert(output.clone());
                }
                Place::New(name) => {
                    edits.added.push(tensor(name, data));
                    let places = origin.inputs.iter().map(|place| (*place, name.clone()));
                    edits.inputs.extend(places);
                }
            }
        }
        match weights.into_keys().min() {
            Some(name) => Err(ExportError::Absent(name)),
            None => Ok(edits),
        }
    }
}

/// The data of a matrix, column by column.
fn transposed(weight: &RawTensor) -> Vec<u8> {
    let [rows, columns] = [weight.dims[0], weight.dims[1]];
    let (elements, _) = weight.data.as_chunks::<4>();
    (0..columns)
        .flat_map(|column| (0..rows).flat_map(move |row| elements[row * columns + column]))
        .collect()
}

fn edit_graph(graph: &[u8], edits: &Edits) -> Result<Vec<u8>, ExportError> {
    let mut edited = Vec::with_capacity(graph.len());
    let (mut nodes, mut initializers) = (0, 0);
    for field in fields(graph)? {
        match (field.number, field.payload) {
            (GRAPH_NODE, Some(payload)) => {
                let node = NodeProto::decode(payload).map_err(malformed)?;
                let gives_way = node.op_type == "Identity"
                    && (node.output.first())
                        .is_some_and(|output| edits.identities.contains(output));
                if edits.inputs.keys().any(|(index, _)| *index == nodes) {
                    let node = edit_node(payload, nodes, edits)?;
                    write_field(&mut edited, GRAPH_NODE, &node);
                } else if !gives_way {
                    edited.extend_from_slice(field.whole);
                }
                nodes += 1;
            }
            (GRAPH_INITIALIZER, Some(payload)) => {
                match edits.initializers.get(&initializers) {
                    Some(data) => {
                        write_field(&mut edited, GRAPH_INITIALIZER, &edit_tensor(payload, data)?);
                    }
                    None => edited.extend_from_slice(field.whole),
                }
                initializers += 1;
            }
            _ => edited.extend_from_slice(field.whole),
        }
    }
    for tensor in &edits.added {
        write_field(&mut edited, GRAPH_INITIALIZER, &tensor.encode_to_vec());
    }
    Ok(edited)
}

/// A node with some of its inputs replaced.
fn edit_node(node: &[u8], index: usize, edits: &Edits) -> Result<Vec<u8>, ExportError> {
    let mut edited = Vec::with_capacity(node.len());
    let mut input = 0;
    for field in fields(node)? {
        if field.number != NODE_INPUT {
            edited.extend_from_slice(field.whole);
            continue;
        }
        match edits.inputs.get(&(index, input)) {
            Some(name) => write_field(&mut edited, NODE_INPUT, name.as_bytes()),
            None => edited.extend_from_slice(field.whole),
        }
        input += 1;
    }
    Ok(edited)
}

fn edit_tensor(tensor: &[u8], data: &[u8]) -> Result<Vec<u8>, ExportError> {
    let mut edited = Vec::with_capacity(tensor.len());
    let mut written = false;
    for field in fields(tensor)? {
        if !matches!(field.number, TENSOR_FLOAT_DATA | TENSOR_RAW_DATA) {
            edited.extend_from_slice(field.whole);
        } else if !written {
            write_field(&mut edited, TENSOR_RAW_DATA, data);
            written = true;
        }
    }
    if !written {
        write_field(&mut edited, TENSOR_RAW_DATA, data);
    }
    Ok(edited)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::builder::{Builder, INPUT, int};
    use crate::models::mnist_cnn;
    use crate::onnx::StringEntryProto;
    use crate::shared_files::shared;

    fn field(number: u64, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        write_field(&mut bytes, number, payload);
        bytes
    }

    /// A model with fields that this crate does not know, in the model, the graph and the first trained tensor.
    fn with_unknown_fields(model: &[u8]) -> Vec<u8> {
        let mut edited = field(90, b"before");
        for part in fields(model).unwrap() {
            let Some(graph) = part.payload.filter(|_| part.number == MODEL_GRAPH) else {
                edited.extend_from_slice(part.whole);
                continue;
            };
            let mut inner = field(10, b"doc string of the graph");
            for part in fields(graph).unwrap() {
                match part.payload {
                    Some(tensor) if part.number == GRAPH_INITIALIZER => {
                        let tensor =
                            [field(12, b"doc"), tensor.to_vec(), field(77, b"later")].concat();
                        inner.extend(field(GRAPH_INITIALIZER, &tensor));
                    }
                    _ => inner.extend_from_slice(part.whole),
                }
            }
            edited.extend(field(MODEL_GRAPH, &inner));
        }
        // A varint, a 64-bit and a 32-bit field.
        edited.extend([0xf8, 0x05, 42]);
        edited.extend([0x81, 0x06, 1, 2, 3, 4, 5, 6, 7, 8, 0x85, 0x06, 1, 2, 3, 4]);
        edited
    }

    fn shifted(graph: &Graph) -> Parameters {
        let weights: Vec<f32> = graph
            .initial_weights()
            .iter()
            .map(|weight| weight + 1.0)
            .collect();
        Parameters::from_flat(graph, &weights).unwrap()
    }

    /// Exporting unchanged weights changes nothing; exporting others and then the first ones again neither.
    fn check_round_trip(model: &[u8]) {
        let graph = Graph::from_onnx(model).unwrap();
        let initial = Parameters::initial(&graph).unwrap();
        assert!(export_onnx(model, &initial).unwrap() == model);
        let trained = export_onnx(model, &shifted(&graph)).unwrap();
        assert!(trained != model);
        let read = Graph::from_onnx(&trained).unwrap();
        assert_eq!(read.parameters(), graph.parameters());
        assert!(
            read.initial_weights()
                .iter()
                .zip(graph.initial_weights())
                .all(|(new, old)| *new == old + 1.0)
        );
        assert!(export_onnx(&trained, &initial).unwrap() == model);
    }

    #[test]
    fn everything_but_the_weights_survives() {
        check_round_trip(&mnist_cnn(1));
        check_round_trip(&with_unknown_fields(&mnist_cnn(1)));
    }

    #[test]
    fn everything_but_the_weights_survives_in_files_from_pytorch() {
        let Some(folder) = shared("models") else {
            return;
        };
        for file in ["mnist.onnx", "mnist_dynamo.onnx", "lenet.onnx"] {
            check_round_trip(&std::fs::read(folder.join(file)).unwrap());
        }
    }

    #[test]
    fn weights_held_as_floats_are_replaced_too() {
        let mut model = ModelProto::read(&mnist_cnn(1)).unwrap();
        for tensor in &mut model.graph.as_mut().unwrap().initializer {
            tensor.float_data = tensor.floats().unwrap();
            tensor.raw_data.clear();
        }
        let model = model.encode_to_vec();
        let graph = Graph::from_onnx(&model).unwrap();
        let trained = Graph::from_onnx(&export_onnx(&model, &shifted(&graph)).unwrap()).unwrap();
        assert!(
            trained
                .initial_weights()
                .iter()
                .zip(graph.initial_weights())
                .all(|(new, old)| *new == old + 1.0)
        );
    }

    #[test]
    fn weights_that_shared_an_initializer_get_one_each() {
        let mut model = Builder::new("test", 1, &[3]);
        model.layer("one", &[3, 3]);
        model.weight("two.weight", &[3, 3], 1.0);
        model.node("Identity", "two.bias", &["one.bias"], vec![]);
        model.node(
            "Gemm",
            "one",
            &[INPUT, "one.weight", "one.bias"],
            vec![int("transB", 1)],
        );
        model.then(
            "Gemm",
            "two",
            &["two.weight", "two.bias_output_0"],
            vec![int("transB", 1)],
        );
        let original = model.finish(&[3]);
        let graph = Graph::from_onnx(&original).unwrap();
        let mut weights = graph.initial_weights().to_vec();
        for (weight, number) in weights.iter_mut().zip(0u8..) {
            *weight = f32::from(number);
        }
        let trained =
            export_onnx(&original, &Parameters::from_flat(&graph, &weights).unwrap()).unwrap();
        let read = ModelProto::read(&trained).unwrap().graph.unwrap();
        assert!(read.node.iter().all(|node| node.op_type != "Identity"));
        assert_eq!(
            Graph::from_onnx(&trained).unwrap().initial_weights(),
            weights
        );
    }

    /// `torch.export` stores fresh scales once, among them those of layers that have none of their own.
    #[test]
    fn a_constant_that_shares_a_tensor_with_a_parameter_stays_as_it_is() {
        let mut model = Builder::new("test", 1, &[4, 3]);
        model.constant("n.weight", &[3], 1.0);
        model.weight("n.bias", &[3], 1.0);
        model.constant("val_1", &[3], 0.0);
        for (layer, shift) in [("m", "val_1"), ("n", "n.bias")] {
            model.then("LayerNormalization", layer, &["n.weight", shift], vec![]);
        }
        let mut model = ModelProto::read(&model.finish(&[4, 3])).unwrap();
        let graph = model.graph.as_mut().unwrap();
        let note = |key: &str, value: String| StringEntryProto {
            key: format!("pkg.torch.{key}"),
            value,
        };
        graph.metadata_props.push(note(
            "export.ExportedProgram.graph_signature",
            "p: PARAMETER target='n.weight'\nq: PARAMETER target='n.bias'\n".to_owned(),
        ));
        for node in &mut graph.node {
            let scopes = format!("['', '{}', 'layer_norm']", node.name);
            node.metadata_props.push(note("onnx.name_scopes", scopes));
        }
        let original = model.encode_to_vec();
        let graph = Graph::from_onnx(&original).unwrap();
        let names: Vec<_> = graph.parameters().iter().map(|info| &info.name).collect();
        assert_eq!(names, ["n.weight", "n.bias"]);
        let trained = export_onnx(&original, &shifted(&graph)).unwrap();
        let read = ModelProto::read(&trained).unwrap().graph.unwrap();
        let ones = (read.initializer.iter()).find(|tensor| tensor.name == read.node[0].input[1]);
        assert_eq!(ones.unwrap().floats().unwrap(), [1.0; 3]);
        let again = Graph::from_onnx(&trained).unwrap();
        assert_eq!(again.parameters(), graph.parameters());
        assert_eq!(again.initial_weights()[..3], [2.0; 3]);
    }

    #[test]
    fn weights_of_another_model_are_refused() {
        let graph = Graph::from_onnx(&mnist_cnn(1)).unwrap();
        let parameters = Parameters::initial(&graph).unwrap();
        let export = |names: [&str; 2], dims: &[i64]| {
            let mut model = Builder::new("test", 1, &[3]);
            model.weight(names[0], dims, 1.0);
            model.weight(names[1], &dims[..1], 1.0);
            model.node(
                "Gemm",
                "one",
                &[INPUT, names[0], names[1]],
                vec![int("transB", 1)],
            );
            export_onnx(&model.finish(&[3]), &parameters)
        };
        assert!(matches!(
            export(["a", "b"], &[3, 3]),
            Err(ExportError::Absent(_))
        ));
        assert!(matches!(
            export(["fc1.weight", "b"], &[3, 3]),
            Err(ExportError::Shape { .. })
        ));
    }

    #[test]
    fn bytes_that_are_no_model_are_refused() {
        let graph = Graph::from_onnx(&mnist_cnn(1)).unwrap();
        let parameters = Parameters::initial(&graph).unwrap();
        let model = mnist_cnn(1);
        assert!(export_onnx(b"no model", &parameters).is_err());
        assert!(export_onnx(&model[..model.len() - 1], &parameters).is_err());
        assert!(export_onnx(&[], &parameters).is_err());
    }
}
