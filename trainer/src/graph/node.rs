//! One node of an ONNX graph under translation: what its inputs stand for, its attributes, and refusals that name it.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use super::error::GraphError;
use super::plan::{Extent, Integers, ParameterInfo, Plan, Term, Value};
use super::shape::{Shape, display_dims};
use crate::onnx::{AttributeProto, GraphProto, INT64, NodeProto, OnnxError, TensorProto};

/// Most parameters of a graph: each worker thread keeps a gradient of every parameter for each example of a tile.
const PARAMETER_LIMIT: usize = 64 << 20;

/// What is known of a graph from the nodes so far.
pub(crate) struct Progress<'m> {
    pub(crate) graph: &'m GraphProto,
    /// How many examples the file was exported for, where it fixes that.
    pub(crate) batch: Option<i64>,
    pub(crate) terms: HashMap<String, Term>,
    /// Weights that have become parameters.
    pub(crate) claimed: HashSet<String>,
    pub(crate) plan: Plan,
}

/// A node under translation.
pub(crate) struct Node<'i, 'm> {
    pub(crate) proto: &'i NodeProto,
    pub(crate) progress: &'i mut Progress<'m>,
}

impl Node<'_, '_> {
    /// The node's name, or its output's where it has none.
    pub(crate) fn name(&self) -> &str {
        node_name(self.proto)
    }

    /// How many examples the file was exported for, where it fixes that.
    pub(crate) fn batch(&self) -> Option<i64> {
        self.progress.batch
    }

    /// How many inputs are given; trailing absent ones do not count.
    pub(crate) fn input_count(&self) -> usize {
        self.proto
            .input
            .iter()
            .rposition(|input| !input.is_empty())
            .map_or(0, |last| last + 1)
    }

    /// Refuses the node unless it has so many inputs.
    pub(crate) fn expect_inputs(
        &self,
        counts: std::ops::RangeInclusive<usize>,
    ) -> Result<(), GraphError> {
        let got = self.input_count();
        if counts.contains(&got) {
            return Ok(());
        }
        Err(self.setting(
            format!("{got} inputs"),
            format!("{} to {} inputs", counts.start(), counts.end()),
        ))
    }

    /// What an input stands for.
    pub(crate) fn term(&self, index: usize) -> Result<Term, GraphError> {
        let name = self.input_name(index);
        let term = self.progress.terms.get(name).cloned();
        let Some(term) = term else {
            return Err(self.input_error(
                index,
                "given by no earlier node, input or weight",
                "a tensor that is there",
            ));
        };
        match term {
            Term::Tensor { initializer, .. } if self.tensor(initializer).data_type == INT64 => {
                Ok(Term::Integers(integers(self.tensor(initializer))?))
            }
            term => Ok(term),
        }
    }

    /// An input that is a tensor of each example.
    pub(crate) fn value(&self, index: usize) -> Result<Value, GraphError> {
        match self.term(index)? {
            Term::Value(value) => Ok(value),
            Term::Tensor { .. } => Err(self.input_error(
                index,
                "a weight",
                "a tensor computed from the model's input",
            )),
            Term::Integers(_) => {
                Err(self.input_error(index, "a shape", "a tensor computed from the model's input"))
            }
        }
    }

    /// An input that is a list of whole numbers known on import.
    pub(crate) fn integers(&self, index: usize) -> Result<Integers, GraphError> {
        match self.term(index)? {
            Term::Integers(integers) => Ok(integers),
            Term::Value(_) => Err(self.input_error(
                index,
                "computed from the model's input",
                "a constant or a shape",
            )),
            Term::Tensor { .. } => {
                Err(self.input_error(index, "a float weight", "whole numbers that are constant"))
            }
        }
    }

    /// The sizes of an input that is a weight.
    pub(crate) fn parameter_dims(&self, index: usize) -> Result<Vec<usize>, GraphError> {
        match self.term(index)? {
            Term::Tensor { initializer, .. } => Ok(self.tensor(initializer).shape()?),
            Term::Value(_) => {
                Err(self.input_error(index, "computed from the model's input", "a weight"))
            }
            Term::Integers(_) => Err(self.input_error(index, "a shape", "a weight")),
        }
    }

    /// Makes a weight a parameter of this node, refusing it unless it has these sizes.
    pub(crate) fn claim(
        &mut self,
        index: usize,
        dims: &[usize],
    ) -> Result<Range<usize>, GraphError> {
        let got = self.parameter_dims(index)?;
        let Term::Tensor { name, initializer } = self.term(index)? else {
            return Err(self.input_error(index, "no weight", "a weight"));
        };
        if got != dims {
            return Err(self.shape(
                format!("`{name}` of {}", display_dims(dims)),
                display_dims(&got),
            ));
        }
        if !self.progress.claimed.insert(name.clone()) {
            return Err(GraphError::TiedParameter {
                parameter: name,
                operator: self.proto.op_type.clone(),
                node: self.name().to_owned(),
            });
        }
        let elements = self.tensor(initializer).floats()?;
        let plan = &mut self.progress.plan;
        let range = plan.weights.len()..plan.weights.len() + elements.len();
        if range.end > PARAMETER_LIMIT {
            return Err(GraphError::Model {
                expected: format!("at most {PARAMETER_LIMIT} parameters"),
                got: format!("{} with `{name}`", range.end),
            });
        }
        plan.weights.extend(elements);
        plan.parameters.push(ParameterInfo {
            name,
            dims: got,
            range: range.clone(),
        });
        Ok(range)
    }

    /// A tensor that the node itself carries, in attribute `value`.
    pub(crate) fn constant(&self) -> Result<Integers, GraphError> {
        let supported = "whole numbers (int64) in attribute `value`";
        self.expect_attributes(&["value"])?;
        let attribute = self.attribute("value", AttributeProto::TENSOR)?;
        let tensor = attribute.and_then(|attribute| attribute.t.as_ref());
        let tensor = tensor.ok_or_else(|| self.setting("no tensor", supported))?;
        if tensor.data_type != INT64 {
            return Err(self.setting(
                format!("a constant of ONNX data type {}", tensor.data_type),
                supported,
            ));
        }
        Ok(integers(tensor)?)
    }

    /// Refuses attributes that the operator's importer does not read.
    pub(crate) fn expect_attributes(&self, names: &[&str]) -> Result<(), GraphError> {
        match self
            .proto
            .attribute
            .iter()
            .find(|attribute| !names.contains(&attribute.name.as_str()))
        {
            None => Ok(()),
            Some(unknown) => {
                let supported = if names.is_empty() {
                    "none".to_owned()
                } else {
                    names.join(", ")
                };
                Err(self.setting(format!("attribute `{}`", unknown.name), supported))
            }
        }
    }

    /// A whole number.
    pub(crate) fn int(&self, name: &str, default: i64) -> Result<i64, GraphError> {
        Ok(self
            .attribute(name, AttributeProto::INT)?
            .map_or(default, |attribute| attribute.i))
    }

    /// A number.
    pub(crate) fn float(&self, name: &str, default: f32) -> Result<f32, GraphError> {
        Ok(self
            .attribute(name, AttributeProto::FLOAT)?
            .map_or(default, |attribute| attribute.f))
    }

    /// A text.
    pub(crate) fn text(&self, name: &str, default: &str) -> Result<String, GraphError> {
        let attribute = self.attribute(name, AttributeProto::STRING)?;
        Ok(attribute.map_or_else(
            || default.to_owned(),
            |text| String::from_utf8_lossy(&text.s).into_owned(),
        ))
    }

    /// A list of exactly `N` sizes.
    pub(crate) fn sizes<const N: usize>(
        &self,
        name: &str,
        default: Option<[usize; N]>,
    ) -> Result<[usize; N], GraphError> {
        let Some(attribute) = self.attribute(name, AttributeProto::INTS)? else {
            return default.ok_or_else(|| {
                self.setting(format!("no attribute `{name}`"), format!("{N} numbers"))
            });
        };
        let sizes: Option<Vec<usize>> = attribute
            .ints
            .iter()
            .map(|&size| usize::try_from(size).ok())
            .collect();
        sizes
            .filter(|sizes| sizes.iter().all(|&size| size <= Shape::ELEMENT_LIMIT))
            .and_then(|sizes| sizes.try_into().ok())
            .ok_or_else(|| {
                self.setting(
                    format!("{name} {:?}", attribute.ints),
                    format!("{N} sizes, none of them negative"),
                )
            })
    }

    /// Checks that an attribute has its only supported value.
    pub(crate) fn expect_int(&self, name: &str, supported: i64) -> Result<(), GraphError> {
        let got = self.int(name, supported)?;
        if got == supported {
            return Ok(());
        }
        Err(self.setting(format!("{name} {got}"), format!("{name} {supported}")))
    }

    /// Checks that an attribute has its only supported value.
    pub(crate) fn expect_float(&self, name: &str, supported: f32) -> Result<(), GraphError> {
        let got = self.float(name, supported)?;
        if got == supported {
            return Ok(());
        }
        Err(self.setting(format!("{name} {got}"), format!("{name} {supported}")))
    }

    /// Refuses padding that the exporter left for the runtime to work out.
    pub(crate) fn expect_explicit_padding(&self) -> Result<(), GraphError> {
        match self.text("auto_pad", "NOTSET")?.as_str() {
            "NOTSET" => Ok(()),
            other => Err(self.setting(
                format!("auto_pad {other}"),
                "auto_pad NOTSET with explicit pads",
            )),
        }
    }

    /// A refusal of a setting.
    pub(crate) fn setting(
        &self,
        got: impl Into<String>,
        supported: impl Into<String>,
    ) -> GraphError {
        GraphError::Setting {
            operator: self.proto.op_type.clone(),
            node: self.name().to_owned(),
            got: got.into(),
            supported: supported.into(),
        }
    }

    /// A refusal of shapes that disagree.
    pub(crate) fn shape(&self, expected: impl Into<String>, got: impl Into<String>) -> GraphError {
        GraphError::Shape {
            operator: self.proto.op_type.clone(),
            node: self.name().to_owned(),
            expected: expected.into(),
            got: got.into(),
        }
    }

    /// The output's shape, or a refusal of one that is empty or too large.
    pub(crate) fn output_shape(&self, dims: Vec<usize>) -> Result<Shape, GraphError> {
        let shown = display_dims(&dims);
        Shape::new(dims).ok_or_else(|| {
            self.shape(
                format!("an output of 1 to {} elements", Shape::ELEMENT_LIMIT),
                shown,
            )
        })
    }

    /// The name of the single output; an optional second one is refused where it is asked for.
    pub(crate) fn only_output(&self) -> Result<&str, GraphError> {
        match self.proto.output.as_slice() {
            [output, rest @ ..] if !output.is_empty() && rest.iter().all(String::is_empty) => {
                Ok(output)
            }
            outputs => Err(self.setting(format!("{} outputs", outputs.len()), "one output")),
        }
    }

    fn attribute(&self, name: &str, kind: i32) -> Result<Option<&AttributeProto>, GraphError> {
        let Some(attribute) = self
            .proto
            .attribute
            .iter()
            .find(|attribute| attribute.name == name)
        else {
            return Ok(None);
        };
        if attribute.kind != kind {
            return Err(self.setting(
                format!("attribute `{name}` of ONNX type {}", attribute.kind),
                format!("ONNX type {kind}"),
            ));
        }
        Ok(Some(attribute))
    }

    fn input_name(&self, index: usize) -> &str {
        self.proto
            .input
            .get(index)
            .map(String::as_str)
            .unwrap_or_default()
    }

    fn tensor(&self, initializer: usize) -> &TensorProto {
        &self.progress.graph.initializer[initializer]
    }

    fn input_error(&self, index: usize, got: &'static str, expected: &'static str) -> GraphError {
        GraphError::Input {
            operator: self.proto.op_type.clone(),
            node: self.name().to_owned(),
            index,
            input: self.input_name(index).to_owned(),
            got,
            expected,
        }
    }
}

/// A node's name, or its output's where it has none.
pub(crate) fn node_name(node: &NodeProto) -> &str {
    if node.name.is_empty() {
        return node.output.first().map(String::as_str).unwrap_or_default();
    }
    &node.name
}

fn integers(tensor: &TensorProto) -> Result<Integers, OnnxError> {
    let values = tensor.integers()?.into_iter().map(Extent::Known).collect();
    Ok(Integers {
        values,
        scalar: tensor.dims.is_empty(),
    })
}
