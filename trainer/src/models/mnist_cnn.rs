//! The classic small network for private MNIST.

use prost::Message;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use crate::onnx::{
    AttributeProto, DimensionProto, FLOAT, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
    TensorProto, TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto,
};

/// `mnist-cnn` as an ONNX file (opset 17): grey images of 28x28 in, 10 class scores out, 26,010 parameters.
///
/// Two convolutions and two linear layers with tanh between them: bounded activations keep gradients small, which
/// clipping then leaves alone (Papernot et al. 2021, "Tempered Sigmoid Activations for Deep Learning with Differential
/// Privacy"). Tensors bear the names that PyTorch would give them. Weights are drawn from PyTorch's default
/// distribution by ChaCha20 from `seed`: the same seed gives the same file.
pub fn mnist_cnn(seed: u64) -> Vec<u8> {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let mut initializer = Vec::new();
    for (layer, dims) in [
        ("conv1", &[16, 1, 8, 8][..]),
        ("conv2", &[32, 16, 4, 4]),
        ("fc1", &[32, 512]),
        ("fc2", &[10, 32]),
    ] {
        // kaiming_uniform with a = √5, which is U(-1/√fan_in, 1/√fan_in), for weight and bias alike.
        let fan_in: i64 = dims[1..].iter().product();
        let bound = 1.0 / (fan_in as f32).sqrt();
        initializer.push(draw(&mut rng, format!("{layer}.weight"), dims, bound));
        initializer.push(draw(&mut rng, format!("{layer}.bias"), &dims[..1], bound));
    }
    let pool = || vec![ints("kernel_shape", &[2, 2]), ints("strides", &[1, 1])];
    let conv = |kernel: &[i64], pads: &[i64]| {
        vec![
            ints("kernel_shape", kernel),
            ints("pads", pads),
            ints("strides", &[2, 2]),
        ]
    };
    let mut graph = Sequence {
        node: Vec::new(),
        last: "input".to_owned(),
    };
    graph.push(
        "Conv",
        "/conv1/Conv",
        &["conv1.weight", "conv1.bias"],
        conv(&[8, 8], &[3; 4]),
    );
    graph.push("Tanh", "/Tanh", &[], vec![]);
    graph.push("MaxPool", "/MaxPool", &[], pool());
    graph.push(
        "Conv",
        "/conv2/Conv",
        &["conv2.weight", "conv2.bias"],
        conv(&[4, 4], &[0; 4]),
    );
    graph.push("Tanh", "/Tanh_1", &[], vec![]);
    graph.push("MaxPool", "/MaxPool_1", &[], pool());
    graph.push("Flatten", "/Flatten", &[], vec![int("axis", 1)]);
    graph.push(
        "Gemm",
        "/fc1/Gemm",
        &["fc1.weight", "fc1.bias"],
        vec![int("transB", 1)],
    );
    graph.push("Tanh", "/Tanh_2", &[], vec![]);
    graph.push(
        "Gemm",
        "/fc2/Gemm",
        &["fc2.weight", "fc2.bias"],
        vec![int("transB", 1)],
    );
    let model = ModelProto {
        ir_version: 8,
        producer_name: "tributary".to_owned(),
        graph: Some(GraphProto {
            name: "mnist_cnn".to_owned(),
            node: graph.finish(),
            initializer,
            input: vec![tensor_info("input", &[1, 28, 28])],
            output: vec![tensor_info(OUTPUT, &[10])],
            ..GraphProto::default()
        }),
        opset_import: vec![OperatorSetIdProto {
            domain: String::new(),
            version: 17,
        }],
        ..ModelProto::default()
    };
    model.encode_to_vec()
}

const OUTPUT: &str = "output";

/// Nodes each of which feeds the next.
struct Sequence {
    node: Vec<NodeProto>,
    last: String,
}

impl Sequence {
    fn push(
        &mut self,
        op_type: &str,
        name: &str,
        weights: &[&str],
        attribute: Vec<AttributeProto>,
    ) {
        let output = format!("{name}_output_0");
        let input = std::iter::once(self.last.as_str())
            .chain(weights.iter().copied())
            .map(str::to_owned)
            .collect();
        self.last.clone_from(&output);
        self.node.push(NodeProto {
            input,
            output: vec![output],
            name: name.to_owned(),
            op_type: op_type.to_owned(),
            attribute,
            domain: String::new(),
        });
    }

    fn finish(mut self) -> Vec<NodeProto> {
        if let Some(last) = self.node.last_mut() {
            last.output = vec![OUTPUT.to_owned()];
        }
        self.node
    }
}

fn draw(rng: &mut ChaCha20Rng, name: String, dims: &[i64], bound: f32) -> TensorProto {
    let elements: i64 = dims.iter().product();
    let raw_data = (0..elements).flat_map(|_| {
        // 24 bits, as many as a float32 holds: uniform in [-1, 1).
        let unit = (rng.next_u32() >> 8) as f32 / (1 << 23) as f32 - 1.0;
        (unit * bound).to_le_bytes()
    });
    TensorProto {
        raw_data: raw_data.collect(),
        dims: dims.to_vec(),
        data_type: FLOAT,
        name,
        ..TensorProto::default()
    }
}

fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        i: value,
        kind: AttributeProto::INT,
        ..AttributeProto::default()
    }
}

fn ints(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        ints: values.to_vec(),
        kind: AttributeProto::INTS,
        ..AttributeProto::default()
    }
}

fn tensor_info(name: &str, dims: &[i64]) -> ValueInfoProto {
    let batch = DimensionProto {
        dim_param: Some("batch".to_owned()),
        dim_value: None,
    };
    let rest = dims.iter().map(|&dim| DimensionProto {
        dim_value: Some(dim),
        dim_param: None,
    });
    let shape = TensorShapeProto {
        dim: std::iter::once(batch).chain(rest).collect(),
    };
    let tensor_type = Some(TensorTypeProto {
        elem_type: FLOAT,
        shape: Some(shape),
    });
    ValueInfoProto {
        name: name.to_owned(),
        r#type: Some(TypeProto { tensor_type }),
    }
}
