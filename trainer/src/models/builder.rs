//! Writes small ONNX files.

use prost::Message;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use crate::graph::FROZEN_KEY;
use crate::onnx::{
    AttributeProto, DimensionProto, FLOAT, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
    StringStringEntryProto, TensorProto, TensorShapeProto, TensorTypeProto, TypeProto,
    ValueInfoProto,
};

/// The name of a model's input, as PyTorch users give it.
pub(crate) const INPUT: &str = "input";

/// An ONNX model (opset 17 unless said otherwise) under construction, its weights drawn from one seed.
pub(crate) struct Builder {
    rng: ChaCha20Rng,
    opset: i64,
    graph: GraphProto,
    last: String,
    frozen: Vec<StringStringEntryProto>,
}

impl Builder {
    /// A model that takes examples of `dims` (without the batch).
    pub(crate) fn new(name: &str, seed: u64, dims: &[i64]) -> Self {
        let graph = GraphProto {
            name: name.to_owned(),
            input: vec![tensor_info(INPUT, dims)],
            ..GraphProto::default()
        };
        Self {
            rng: ChaCha20Rng::seed_from_u64(seed),
            opset: 17,
            graph,
            last: INPUT.to_owned(),
            frozen: Vec::new(),
        }
    }

    /// Names parameters that are not trained.
    pub(crate) fn frozen(mut self, names: &str) -> Self {
        self.frozen.push(StringStringEntryProto {
            key: FROZEN_KEY.to_owned(),
            value: names.to_owned(),
        });
        self
    }

    /// The same with the operators of another opset.
    pub(crate) fn opset(mut self, opset: i64) -> Self {
        self.opset = opset;
        self
    }

    /// The name of the last node's output.
    pub(crate) fn last(&self) -> String {
        self.last.clone()
    }

    /// Adds a weight whose elements are all the same.
    pub(crate) fn constant(&mut self, name: &str, dims: &[i64], value: f32) {
        let elements: i64 = dims.iter().product();
        self.tensor(
            name,
            dims,
            (0..elements).flat_map(|_| value.to_le_bytes()).collect(),
        );
    }

    /// Adds the weight and bias of a layer from PyTorch's default distribution: `kaiming_uniform` with `a = √5`, which is
    /// uniform within `1/√fan_in`, for both alike.
    pub(crate) fn layer(&mut self, layer: &str, dims: &[i64]) {
        let fan_in: i64 = dims[1..].iter().product();
        let bound = 1.0 / (fan_in as f32).sqrt();
        self.weight(&format!("{layer}.weight"), dims, bound);
        self.weight(&format!("{layer}.bias"), &dims[..1], bound);
    }

    /// Adds a weight, uniform within `bound`.
    pub(crate) fn weight(&mut self, name: &str, dims: &[i64], bound: f32) {
        let elements: i64 = dims.iter().product();
        let mut raw_data = Vec::new();
        for _ in 0..elements {
            // 24 bits, as many as a float32 holds: uniform in [-1, 1).
            let unit = (self.rng.next_u32() >> 8) as f32 / (1 << 23) as f32 - 1.0;
            raw_data.extend((unit * bound).to_le_bytes());
        }
        self.tensor(name, dims, raw_data);
    }

    fn tensor(&mut self, name: &str, dims: &[i64], raw_data: Vec<u8>) {
        self.graph.initializer.push(TensorProto {
            raw_data,
            dims: dims.to_vec(),
            data_type: FLOAT,
            name: name.to_owned(),
            ..TensorProto::default()
        });
    }

    /// Adds a weight of given values.
    pub(crate) fn values(&mut self, name: &str, dims: &[i64], values: &[f32]) {
        debug_assert_eq!(dims.iter().product::<i64>(), values.len() as i64);
        let raw_data = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        self.tensor(name, dims, raw_data);
    }

    /// Adds a node that takes the last node's output and then `weights`.
    pub(crate) fn then(
        &mut self,
        op_type: &str,
        name: &str,
        weights: &[&str],
        attributes: Vec<AttributeProto>,
    ) -> &mut Self {
        let last = self.last.clone();
        let inputs: Vec<&str> = std::iter::once(last.as_str())
            .chain(weights.iter().copied())
            .collect();
        self.node(op_type, name, &inputs, attributes)
    }

    /// Adds a node, whose output is called `NAME_output_0`.
    pub(crate) fn node(
        &mut self,
        op_type: &str,
        name: &str,
        inputs: &[&str],
        attribute: Vec<AttributeProto>,
    ) -> &mut Self {
        self.last = format!("{name}_output_0");
        self.graph.node.push(NodeProto {
            input: inputs.iter().map(|&input| input.to_owned()).collect(),
            output: vec![self.last.clone()],
            name: name.to_owned(),
            op_type: op_type.to_owned(),
            attribute,
            ..NodeProto::default()
        });
        self
    }

    /// Gives the last node other outputs.
    #[cfg(test)]
    pub(crate) fn outputs(&mut self, names: &[&str]) {
        if let (Some(node), Some(last)) = (self.graph.node.last_mut(), names.last()) {
            node.output = names.iter().map(|&name| name.to_owned()).collect();
            self.last = (*last).to_owned();
        }
    }

    /// The file; the last node's output is the model's, of `dims` (without the batch).
    pub(crate) fn finish(mut self, dims: &[i64]) -> Vec<u8> {
        const OUTPUT: &str = "output";
        if let Some(last) = self.graph.node.last_mut() {
            last.output = vec![OUTPUT.to_owned()];
        }
        self.graph.output = vec![tensor_info(OUTPUT, dims)];
        let model = ModelProto {
            ir_version: 8,
            producer_name: "tributary".to_owned(),
            graph: Some(self.graph),
            opset_import: vec![OperatorSetIdProto {
                domain: String::new(),
                version: self.opset,
            }],
            metadata_props: self.frozen,
            ..ModelProto::default()
        };
        model.encode_to_vec()
    }
}

/// A whole number. Not zero: readers of proto2 take the zero that proto3 leaves out for an attribute without a value.
pub(crate) fn int(name: &str, value: i64) -> AttributeProto {
    debug_assert_ne!(value, 0);
    AttributeProto {
        name: name.to_owned(),
        i: value,
        kind: AttributeProto::INT,
        ..AttributeProto::default()
    }
}

/// A list of whole numbers.
pub(crate) fn ints(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        ints: values.to_vec(),
        kind: AttributeProto::INTS,
        ..AttributeProto::default()
    }
}

/// A number.
pub(crate) fn float(name: &str, value: f32) -> AttributeProto {
    debug_assert_ne!(value, 0.0);
    AttributeProto {
        name: name.to_owned(),
        f: value,
        kind: AttributeProto::FLOAT,
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
