//! Tests of what the importer takes and refuses, by changing one thing in a model that it takes.

use proptest::prelude::*;
use prost::Message;

use super::{Graph, GraphError, ModelReport};
use crate::models::builder::{Builder, INPUT, int, ints};
use crate::models::mnist_cnn;
use crate::onnx::{
    AttributeProto, DimensionProto, GraphProto, INT64, ModelProto, NodeProto, OperatorSetIdProto,
    StringEntryProto, TensorProto, ValueInfoProto,
};
use crate::shared_files::shared;

/// Loads `mnist-cnn` after a change.
fn load(change: impl FnOnce(&mut GraphProto)) -> Result<Graph, GraphError> {
    let mut model = ModelProto::read(&mnist_cnn(1)).unwrap();
    change(model.graph.as_mut().unwrap());
    Graph::from_onnx(&model.encode_to_vec())
}

/// The change must be refused by a message that has all these parts.
#[track_caller]
fn check(change: impl FnOnce(&mut GraphProto), parts: &[&str]) {
    let message = match load(change) {
        Ok(_) => panic!("loaded, where a refusal with {parts:?} was expected"),
        Err(error) => error.to_string(),
    };
    for part in parts {
        assert!(message.contains(part), "no {part:?} in {message:?}");
    }
}

fn node<'a>(graph: &'a mut GraphProto, name: &str) -> &'a mut NodeProto {
    graph
        .node
        .iter_mut()
        .find(|node| node.name == name)
        .unwrap()
}

fn set(node: &mut NodeProto, attribute: AttributeProto) {
    node.attribute.retain(|own| own.name != attribute.name);
    node.attribute.push(attribute);
}

fn text(name: &str, value: &str) -> AttributeProto {
    let (name, s) = (name.to_owned(), value.as_bytes().to_vec());
    AttributeProto {
        name,
        s,
        kind: AttributeProto::STRING,
        ..AttributeProto::default()
    }
}

fn float(name: &str, value: f32) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        f: value,
        kind: AttributeProto::FLOAT,
        ..AttributeProto::default()
    }
}

#[test]
fn an_operator_that_is_not_supported_is_named_with_its_node() {
    check(
        |graph| node(graph, "/Tanh").op_type = "Selu".into(),
        &["Selu", "`/Tanh`", "Conv", "MaxPool", "Relu"],
    );
    check(
        |graph| node(graph, "/Tanh").domain = "com.microsoft".into(),
        &["com.microsoft.Tanh", "`/Tanh`"],
    );
    // A node without a name is named after its output.
    check(
        |graph| {
            let node = node(graph, "/Tanh");
            (node.op_type, node.name) = ("Mish".into(), String::new());
        },
        &["Mish", "`/Tanh_output_0`"],
    );
}

#[test]
fn loops_branches_and_functions_are_refused_by_name() {
    for operator in ["Loop", "Scan", "If", "SequenceMap"] {
        check(
            |graph| node(graph, "/Tanh").op_type = operator.into(),
            &[
                &format!("operator {operator} (node `/Tanh`)"),
                "supported are",
            ],
        );
    }
    check(
        |graph| node(graph, "/Tanh").domain = "pkg.onnxscript.torch_lib".into(),
        &["pkg.onnxscript.torch_lib.Tanh", "`/Tanh`"],
    );
}

#[test]
fn operator_sets_that_are_not_read_are_refused() {
    let load = |sets: &[(&str, i64)]| {
        let mut model = ModelProto::read(&mnist_cnn(1)).unwrap();
        model.opset_import = (sets.iter())
            .map(|&(domain, version)| OperatorSetIdProto {
                domain: domain.to_owned(),
                version,
            })
            .collect();
        Graph::from_onnx(&model.encode_to_vec())
    };
    for version in 13..=21 {
        assert!(load(&[("ai.onnx.ml", 3), ("", version)]).is_ok());
        assert!(load(&[("ai.onnx", version)]).is_ok());
    }
    for (sets, part) in [
        (vec![("", 12)], "operator set 12"),
        (vec![("", 22)], "operator set 22"),
        (vec![("com.microsoft", 17)], "no version"),
        (vec![], "no version"),
    ] {
        let message = load(&sets).unwrap_err().to_string();
        assert!(
            message.contains(part) && message.contains("13 to 21"),
            "{message}"
        );
    }
}

/// Sizes are looked at before anything is decoded or allocated: the zeros of this file are never touched.
#[test]
fn a_file_over_the_size_is_refused() {
    let file = vec![0; crate::onnx::MODEL_SIZE_LIMIT + 1];
    let message = Graph::from_onnx(&file).unwrap_err().to_string();
    assert!(message.contains("at most"), "{message}");
}

#[test]
fn buffers_are_not_trained() {
    let with = |buffer: &str| {
        let signature = StringEntryProto {
            key: "pkg.torch.export.ExportedProgram.graph_signature".into(),
            value: ["conv1", "conv2", "fc1", "fc2"]
                .iter()
                .flat_map(|layer| [format!("{layer}.weight"), format!("{layer}.bias")])
                .map(|name| {
                    let kind = if name == buffer {
                        "BUFFER"
                    } else {
                        "PARAMETER"
                    };
                    format!("p: {kind} target='{name}'\n")
                })
                .collect(),
        };
        move |graph: &mut GraphProto| graph.metadata_props.push(signature)
    };
    assert!(load(with("none")).is_ok());
    check(
        with("fc1.weight"),
        &["`/fc1/Gemm`", "fc1.weight", "buffer", "torch.nn.Parameter"],
    );
}

/// Each layer's parameters are its own again, under PyTorch's names, though the exporter merged what was equal.
#[test]
fn the_unet_from_pytorch_is_read_with_all_its_parameters() {
    let Some(folder) = shared("models") else {
        return;
    };
    let graph = Graph::from_onnx(&std::fs::read(folder.join("unet.onnx")).unwrap()).unwrap();
    assert_eq!(graph.output_shape().dims(), [1, 128, 128]);
    let dims = |name: &str| {
        let info = graph.parameters().iter().find(|info| info.name == name);
        info.map(|info| info.dims.clone())
    };
    // 14 convolutions, 14 norms, 3 transposed convolutions and the last one, each with weight and bias.
    assert_eq!(graph.parameters().len(), 2 * (14 + 14 + 3 + 1));
    for norm in ["d1.1", "d1.4", "c1.1", "c1.4"] {
        assert_eq!(dims(&format!("{norm}.weight")), Some(vec![16]), "{norm}");
        assert_eq!(dims(&format!("{norm}.bias")), Some(vec![16]), "{norm}");
    }
    assert_eq!(dims("u3.weight"), Some(vec![128, 64, 2, 2]));
}

#[test]
fn settings_that_are_not_supported_are_named() {
    check(
        |graph| set(node(graph, "/conv1/Conv"), text("auto_pad", "SAME")),
        &["/conv1/Conv", "auto_pad SAME", "NOTSET"],
    );
    check(
        |graph| set(node(graph, "/conv1/Conv"), int("group", 3)),
        &["/conv1/Conv", "group 3"],
    );
    check(
        |graph| set(node(graph, "/conv1/Conv"), int("group", -1)),
        &["/conv1/Conv", "group"],
    );
    check(
        |graph| set(node(graph, "/conv1/Conv"), ints("strides", &[0, 1])),
        &["/conv1/Conv", "zero"],
    );
    check(
        |graph| set(node(graph, "/conv1/Conv"), ints("strides", &[2])),
        &["/conv1/Conv", "strides", "2 sizes"],
    );
    check(
        |graph| set(node(graph, "/conv1/Conv"), ints("pads", &[-1, 0, 0, 0])),
        &["/conv1/Conv", "pads"],
    );
    check(
        |graph| set(node(graph, "/conv1/Conv"), ints("pads", &[i64::MAX; 4])),
        &["/conv1/Conv", "pads"],
    );
    check(
        |graph| set(node(graph, "/conv1/Conv"), int("pads", 3)),
        &["/conv1/Conv", "pads", "type"],
    );
    check(
        |graph| set(node(graph, "/conv1/Conv"), int("mystery", 3)),
        &["/conv1/Conv", "mystery", "dilations"],
    );
    check(
        |graph| set(node(graph, "/MaxPool"), int("ceil_mode", 2)),
        &["/MaxPool", "ceil_mode 2", "0 or 1"],
    );
    check(
        |graph| set(node(graph, "/MaxPool"), ints("dilations", &[2, 0])),
        &["/MaxPool", "zero"],
    );
    check(
        |graph| set(node(graph, "/MaxPool"), ints("pads", &[2, 2, 2, 2])),
        &["/MaxPool", "nothing but padding"],
    );
    check(
        |graph| node(graph, "/MaxPool").attribute.clear(),
        &["/MaxPool", "kernel_shape"],
    );
    check(
        |graph| node(graph, "/MaxPool").output.push("indices".into()),
        &["/MaxPool", "2 outputs", "one output"],
    );
    check(
        |graph| set(node(graph, "/Flatten"), int("axis", 2)),
        &["/fc1/Gemm", "rows of 512", "32Nx16"],
    );
    check(
        |graph| node(graph, "/fc1/Gemm").attribute.clear(),
        &["/fc1/Gemm", "`fc1.bias` of 512", "got 32"],
    );
    check(
        |graph| set(node(graph, "/fc1/Gemm"), float("alpha", 2.0)),
        &["/fc1/Gemm", "alpha 2", "alpha 1"],
    );
    check(
        |graph| set(node(graph, "/fc1/Gemm"), int("transA", 1)),
        &["/fc1/Gemm", "transA"],
    );
}

#[test]
fn shapes_that_disagree_are_named_with_their_node() {
    let dims = |graph: &mut GraphProto, name: &str, dims: &[i64]| {
        let tensor = graph
            .initializer
            .iter_mut()
            .find(|tensor| tensor.name == name)
            .unwrap();
        tensor.dims = dims.to_vec();
        tensor.raw_data = vec![0; 4 * dims.iter().product::<i64>() as usize];
    };
    check(
        |graph| dims(graph, "fc1.weight", &[32, 500]),
        &["/fc1/Gemm", "500x32", "Nx512"],
    );
    check(
        |graph| dims(graph, "fc1.bias", &[31]),
        &["/fc1/Gemm", "fc1.bias", "32", "31"],
    );
    check(
        |graph| dims(graph, "conv2.weight", &[32, 8, 4, 4]),
        &["/conv2/Conv", "32x16x4x4", "32x8x4x4"],
    );
    check(
        |graph| dims(graph, "conv2.weight", &[32, 16, 4]),
        &["/conv2/Conv", "3 dimensions"],
    );
    check(
        |graph| node(graph, "/conv2/Conv").input[0] = "/Flatten_output_0".into(),
        &["/conv2/Conv", "no earlier node"],
    );
    check(
        |graph| node(graph, "/fc1/Gemm").input[0] = "/MaxPool_1_output_0".into(),
        &["/fc1/Gemm", "Nx32x4x4", "512"],
    );
    check(
        |graph| set(node(graph, "/MaxPool_1"), ints("kernel_shape", &[9, 9])),
        &["/MaxPool_1", "kernel 9x9", "5x5"],
    );
    check(
        |graph| {
            dims(graph, "conv1.weight", &[16, 1, 40, 40]);
            set(node(graph, "/conv1/Conv"), ints("kernel_shape", &[40, 40]));
        },
        &["/conv1/Conv", "40x40", "34x34"],
    );
    check(
        |graph| graph.node[1].op_type = "Add".into(),
        &["Add", "`/Tanh`", "1 inputs"],
    );
    check(
        |graph| {
            let add = node(graph, "/Tanh_1");
            (add.op_type, add.input) = (
                "Add".into(),
                vec!["/conv2/Conv_output_0".into(), INPUT.into()],
            );
        },
        &["Add", "`/Tanh_1`", "32x5x5", "1x28x28"],
    );
}

/// Two tensors that an exporter named, and whose nodes say of both that they are one parameter.
#[test]
fn a_parameter_that_two_tensors_claim_to_be_is_refused() {
    check(
        |graph| {
            for (tensor, name) in [(4, "onnx::Gemm_1"), (6, "onnx::Gemm_2")] {
                let tensor = &mut graph.initializer[tensor];
                assert!(tensor.name.ends_with(".weight"), "{}", tensor.name);
                tensor.name = name.to_owned();
            }
            node(graph, "/fc1/Gemm").input[1] = "onnx::Gemm_1".into();
            let second = node(graph, "/fc2/Gemm");
            second.input[1] = "onnx::Gemm_2".into();
            second.name = "/fc1/Gemm_1".into();
        },
        &[
            "`fc1.weight` is used again",
            "Gemm",
            "`/fc1/Gemm_1`",
            "onnx::Gemm_2",
        ],
    );
}

#[test]
fn weights_that_are_broken_are_named() {
    let tensor = |change: fn(&mut TensorProto)| {
        move |graph: &mut GraphProto| change(&mut graph.initializer[0])
    };
    check(
        tensor(|tensor| tensor.raw_data.truncate(100)),
        &["conv1.weight", "100 bytes"],
    );
    check(
        tensor(|tensor| tensor.data_type = 10),
        &["conv1.weight", "data type 10"],
    );
    check(
        tensor(|tensor| tensor.data_location = 1),
        &["conv1.weight", "another file", "external_data=False"],
    );
    check(
        tensor(|tensor| tensor.dims = vec![16, 1, 8, -8]),
        &["conv1.weight"],
    );
    check(
        tensor(|tensor| tensor.dims = vec![i64::MAX; 4]),
        &["conv1.weight"],
    );
}

#[test]
fn models_without_one_input_one_output_and_fixed_sizes_are_refused() {
    let dims = |graph: &mut GraphProto, change: fn(&mut Vec<DimensionProto>)| {
        let info = graph.input[0]
            .r#type
            .as_mut()
            .unwrap()
            .tensor_type
            .as_mut()
            .unwrap();
        change(&mut info.shape.as_mut().unwrap().dim);
    };
    check(|graph| graph.input.clear(), &["0 inputs"]);
    check(
        |graph| {
            graph.input.push(ValueInfoProto {
                name: "second".into(),
                r#type: None,
            })
        },
        &["2 inputs"],
    );
    check(|graph| graph.output.clear(), &["0 outputs"]);
    check(
        |graph| graph.output[0].name = "elsewhere".into(),
        &["elsewhere"],
    );
    check(
        |graph| graph.output[0].name = INPUT.into(),
        &[INPUT, "with none"],
    );
    check(
        |graph| dims(graph, |dims| dims[1].dim_value = None),
        &[INPUT, "fixed sizes"],
    );
    check(
        |graph| dims(graph, |dims| dims[1].dim_value = Some(0)),
        &[INPUT, "zero"],
    );
    check(
        |graph| dims(graph, |dims| dims[1].dim_value = Some(i64::MAX)),
        &[INPUT, "beyond"],
    );
    check(|graph| dims(graph, Vec::clear), &["without dimensions"]);
    check(|graph| graph.sparse_initializer.push(vec![]), &["sparse"]);
    check(
        |graph| graph.node.push(graph.node[0].clone()),
        &["/conv1/Conv"],
    );
}

#[test]
fn bytes_that_are_no_model_are_refused() {
    for bytes in [&b"no model"[..], &[], &mnist_cnn(1)[..1000]] {
        assert!(Graph::from_onnx(bytes).is_err());
    }
    let mut model = ModelProto::read(&mnist_cnn(1)).unwrap();
    model.functions.push(vec![]);
    assert!(
        Graph::from_onnx(&model.encode_to_vec())
            .unwrap_err()
            .to_string()
            .contains("functions")
    );
}

/// A tensor of whole numbers; a single one without dimensions where `dims` is empty.
fn integers(name: &str, dims: &[i64], values: &[i64]) -> TensorProto {
    let raw_data = values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    TensorProto {
        name: name.to_owned(),
        dims: dims.to_vec(),
        data_type: INT64,
        raw_data,
        ..TensorProto::default()
    }
}

/// What `x.view(x.size(0), -1)` becomes in the TorchScript exporter.
#[test]
fn a_reshape_by_computed_shape_is_followed() {
    let mut model = Builder::new("test", 1, &[4, 3, 2]);
    model.layer("fc", &[2, 24]);
    model.node("Shape", "shape", &[INPUT], vec![]);
    model.node("Gather", "size", &["shape_output_0", "zero"], vec![]);
    model.node("Unsqueeze", "list", &["size_output_0", "axes"], vec![]);
    model.node("Identity", "same", &["list_output_0"], vec![]);
    model.node("Concat", "target", &["same_output_0", "rest"], vec![]);
    model.node("Reshape", "view", &[INPUT, "target_output_0"], vec![]);
    model.node(
        "Gemm",
        "fc",
        &["view_output_0", "fc.weight", "fc.bias"],
        vec![int("transB", 1)],
    );
    let mut model = ModelProto::read(&model.finish(&[2])).unwrap();
    let graph = model.graph.as_mut().unwrap();
    graph.initializer.push(integers("zero", &[], &[0]));
    graph.initializer.push(integers("axes", &[1], &[0]));
    let constant = AttributeProto {
        name: "value".into(),
        t: Some(integers("", &[1], &[-1])),
        kind: AttributeProto::TENSOR,
        ..AttributeProto::default()
    };
    let constant = NodeProto {
        op_type: "Constant".into(),
        name: "rest".into(),
        output: vec!["rest".into()],
        attribute: vec![constant],
        ..NodeProto::default()
    };
    graph.node.insert(0, constant);
    let read = Graph::from_onnx(&model.encode_to_vec()).unwrap();
    assert_eq!(read.output_shape().dims(), [2]);

    // The second size instead of the batch: examples would mix.
    let zero = model
        .graph
        .as_mut()
        .unwrap()
        .initializer
        .iter_mut()
        .find(|tensor| tensor.name == "zero")
        .unwrap();
    *zero = integers("zero", &[], &[1]);
    let error = Graph::from_onnx(&model.encode_to_vec())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("`view`") && error.contains("keeps the examples"),
        "{error}"
    );
}

/// A small model with a bit of everything that has to be worked out.
fn varied() -> Vec<u8> {
    let mut model = Builder::new("test", 1, &[2, 4, 4]);
    model.layer("c", &[4, 2, 3, 3]);
    model.layer("fc", &[4, 4]);
    model.constant("n.weight", &[4], 1.0);
    model.constant("n.bias", &[4], 0.0);
    model.then(
        "Conv",
        "c",
        &["c.weight", "c.bias"],
        vec![ints("pads", &[1; 4])],
    );
    model.then(
        "MaxPool",
        "pool",
        &[],
        vec![ints("kernel_shape", &[2, 2]), ints("strides", &[2, 2])],
    );
    model.then(
        "InstanceNormalization",
        "n",
        &["n.weight", "n.bias"],
        vec![],
    );
    let image = model.last();
    model.node("Shape", "shape", &[&image], vec![]);
    model.node("Expand", "same", &[&image, "shape_output_0"], vec![]);
    model.then("Transpose", "turn", &[], vec![ints("perm", &[0, 2, 3, 1])]);
    for name in ["one", "two"] {
        model.then("MatMul", name, &["fc.weight"], vec![]);
        model.then("Add", &format!("{name}.add"), &["fc.bias"], vec![]);
    }
    model.then("Softmax", "softmax", &[], vec![int("axis", -1)]);
    model.then(
        "ReduceMean",
        "mean",
        &[],
        vec![ints("axes", &[1, 2]), int("keepdims", 1)],
    );
    model.then("Flatten", "flat", &[], vec![]);
    model.finish(&[4])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Whoever sends a model may send anything.
    #[test]
    fn files_with_changed_bytes_are_read_or_refused(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut model = varied();
        for (place, byte) in changes {
            let place = place.index(model.len());
            model[place] = byte;
        }
        if let Some(cut) = cut {
            model.truncate(cut.index(model.len()));
        }
        let graph = Graph::from_onnx(&model);
        let report = ModelReport::read(&model);
        if graph.is_ok() {
            let report = report.unwrap();
            prop_assert!(report.refusals.is_empty() || graph.unwrap().check_private_training().is_err());
        }
    }
}

#[test]
fn the_varied_model_is_read() {
    let graph = Graph::from_onnx(&varied()).unwrap();
    assert_eq!(graph.output_shape().dims(), [4]);
    assert_eq!(graph.parameters().len(), 6);
}
