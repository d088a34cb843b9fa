//! Tests of the forward pass against candle's operators, on the networks that PyTorch exported.

use candle_core::{D, Device, Tensor};

use crate::graph::Graph;
use crate::lane_engine::LaneEngine;
use crate::lanes::Isa;
use crate::models;
use crate::onnx::{ModelProto, NodeProto};
use crate::parameters::Parameters;
use crate::shared_files::shared;

/// The outputs of a batch, by candle.
fn forward(model: &[u8], parameters: &Parameters, input: Tensor) -> Tensor {
    let graph = ModelProto::read(model).unwrap().graph.unwrap();
    let name = graph.input[0].name.clone();
    let mut values: std::collections::HashMap<String, Tensor> = parameters
        .iter()
        .map(|(name, tensor)| (name.to_owned(), tensor.clone()))
        .collect();
    values.insert(name, input);
    for node in graph.node.iter().filter(|node| node.op_type != "Constant") {
        let output = {
            let of = |index: usize| node.input.get(index).and_then(|name| values.get(name));
            node_forward(node, of(0).unwrap(), of(1), of(2))
        };
        values.insert(node.output[0].clone(), output);
    }
    values[&graph.output[0].name].clone()
}

fn node_forward(
    node: &NodeProto,
    input: &Tensor,
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
) -> Tensor {
    let pair = |name: &str| {
        let attribute = node
            .attribute
            .iter()
            .find(|attribute| attribute.name == name)
            .unwrap();
        (attribute.ints[0] as usize, attribute.ints[1] as usize)
    };
    match node.op_type.as_str() {
        "Conv" => {
            let padding = node
                .attribute
                .iter()
                .find(|attribute| attribute.name == "pads");
            let padding = padding.map_or(0, |pads| pads.ints[0] as usize);
            let output = input
                .conv2d(weight.unwrap(), padding, pair("strides").0, 1, 1)
                .unwrap();
            let bias = bias.unwrap().reshape((1, (), 1, 1)).unwrap();
            output.broadcast_add(&bias).unwrap()
        }
        "Relu" => input.relu().unwrap(),
        "Tanh" => input.tanh().unwrap(),
        "MaxPool" => input
            .max_pool2d_with_stride(pair("kernel_shape"), pair("strides"))
            .unwrap(),
        "Flatten" | "Reshape" => input.flatten_from(1).unwrap(),
        "Gemm" => input
            .matmul(&weight.unwrap().t().unwrap())
            .unwrap()
            .broadcast_add(bias.unwrap())
            .unwrap(),
        other => panic!("no candle operator for {other}"),
    }
}

/// A fixed pattern of numbers between -1 and 1.
fn pattern(count: usize) -> Vec<f32> {
    (0..count)
        .map(|index| ((index * 7919 % 1000) as f32 / 500.0) - 1.0)
        .collect()
}

fn check(model: &[u8]) {
    const COUNT: usize = 19;
    let graph = Graph::from_onnx(model).unwrap();
    let parameters = Parameters::initial(&graph).unwrap();
    let elements = graph.input_shape().elements();
    let inputs = pattern(COUNT * elements);
    let mut dims = vec![COUNT];
    dims.extend(graph.input_shape().dims());
    let input = Tensor::from_slice(&inputs, dims, &Device::Cpu).unwrap();
    let expected = forward(model, &parameters, input).to_vec2::<f32>().unwrap();
    assert_eq!(expected[0].len(), graph.output_shape().elements());
    for isa in Isa::all() {
        let mut engine = LaneEngine::for_evaluation(&graph, isa);
        for first in (0..COUNT).step_by(engine.width()) {
            let lanes = engine.width().min(COUNT - first);
            engine.forward(
                &graph,
                graph.initial_weights(),
                &inputs[first * elements..(first + lanes) * elements],
            );
            for lane in 0..lanes {
                let mut output = vec![0.0; graph.output_shape().elements()];
                engine.output(&graph, lane, &mut output);
                for (got, expected) in output.iter().zip(&expected[first + lane]) {
                    assert!(
                        (got - expected).abs() <= 1e-5 * (1.0 + expected.abs()),
                        "{got} and {expected}"
                    );
                }
            }
        }
    }
}

#[test]
fn the_built_in_network_computes_what_candle_computes() {
    check(&models::mnist_cnn(3));
}

#[test]
fn networks_from_pytorch_compute_what_candle_computes() {
    let Some(folder) = shared("models") else {
        return;
    };
    for (file, parameters) in [
        ("mnist.onnx", 26_010),
        ("mnist_dynamo.onnx", 26_010),
        ("lenet.onnx", 62_006),
    ] {
        let model = std::fs::read(folder.join(file)).unwrap();
        assert_eq!(
            Graph::from_onnx(&model).unwrap().parameter_count(),
            parameters
        );
        check(&model);
    }
}

#[test]
fn safetensors_are_what_candle_reads() {
    let graph = Graph::from_onnx(&models::mnist_cnn(3)).unwrap();
    let parameters = Parameters::initial(&graph).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    std::fs::write(&path, parameters.to_safetensors().unwrap()).unwrap();
    let read = candle_core::safetensors::load(&path, &Device::Cpu).unwrap();
    assert_eq!(read.len(), 8);
    for (name, tensor) in parameters.iter() {
        let difference = (&read[name] - tensor)
            .unwrap()
            .abs()
            .unwrap()
            .flatten_all()
            .unwrap()
            .max(D::Minus1)
            .unwrap();
        assert_eq!(difference.to_scalar::<f32>().unwrap(), 0.0, "{name}");
    }
}
