//! One node of an ONNX graph under translation: what its inputs stand for, its attributes, and refusals that name it.

use super::claims::Claim;
use super::constant::Constant;
use super::error::GraphError;
use super::extent::Extent;
use super::names::Role;
use super::operator::Operator;
use super::plan::{Stored, Term, Value};
use super::progress::Progress;
use super::shape::{Shape, display_dims};
use super::view::View;
use crate::onnx::{AttributeProto, NodeProto, TensorProto};
use std::ops::Range;

/// A node under translation.
pub(crate) struct Node<'i, 'm> {
    pub(crate) proto: &'m NodeProto,
    /// Its place among the nodes.
    pub(crate) index: usize,
    pub(crate) progress: &'i mut Progress<'m>,
}

/// An input that may be of either kind.
#[derive(Clone, Debug)]
pub(crate) enum Operand {
    /// A tensor of each example.
    Value(Value),
    /// A tensor of the file that is trained.
    Parameter(Stored),
    /// A tensor known on import that is not.
    Constant(Constant),
}

impl<'m> Node<'_, 'm> {
    /// The node's name, or its output's where it has none.
    pub(crate) fn name(&self) -> &str {
        node_name(self.proto)
    }

    /// How many examples the file was exported for, where it fixes that.
    pub(crate) fn batch(&self) -> Option<i64> {
        self.progress.batch
    }

    /// The version of the operators.
    pub(crate) fn opset(&self) -> i64 {
        self.progress.opset
    }

    /// How many inputs are given; trailing absent ones do not count.
    pub(crate) fn input_count(&self) -> usize {
        self.proto
            .input
            .iter()
            .rposition(|input| !input.is_empty())
            .map_or(0, |last| last + 1)
    }

    /// Whether an optional input is given.
    pub(crate) fn has_input(&self, index: usize) -> bool {
        !self.input_name(index).is_empty()
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
        self.progress.term(self.input_name(index))?.ok_or_else(|| {
            self.input_error(
                index,
                "given by no earlier node, input or weight",
                "a tensor that is there",
            )
        })
    }

    /// An input that is a tensor of each example, with the examples first and alone in their dimension.
    pub(crate) fn value(&mut self, index: usize) -> Result<Value, GraphError> {
        let value = self.any_value(index)?;
        if value.view.example_dims().is_some() {
            return Ok(value);
        }
        Err(self.shape(
            format!("input {index} with the examples N in the first dimension"),
            value.view.display(),
        ))
    }

    /// An input that is a tensor of floats of each example, wherever the examples are.
    pub(crate) fn any_value(&mut self, index: usize) -> Result<Value, GraphError> {
        let value = self.value_or_lookup(index)?;
        if value.integer {
            return Err(self.input_error(
                index,
                "of whole numbers",
                "floats: Gather looks whole numbers up, Cast makes floats of them",
            ));
        }
        Ok(value)
    }

    /// As [`Node::any_value`], of floats or whole numbers.
    pub(crate) fn value_or_lookup(&mut self, index: usize) -> Result<Value, GraphError> {
        match self.term(index)? {
            Term::Value(value) => Ok(value),
            Term::Pending(pending) => {
                let value = super::pending::force(self, pending)?;
                let name = self.input_name(index).to_owned();
                self.progress.terms.insert(name, Term::Value(value.clone()));
                Ok(value)
            }
            Term::Stored(_) => Err(self.input_error(
                index,
                "a weight",
                "a tensor computed from the model's input",
            )),
            Term::Constant(_) => Err(self.input_error(
                index,
                "a constant",
                "a tensor computed from the model's input",
            )),
            Term::Unknown => Err(self.unknown(index)),
        }
    }

    /// An input of any kind. A stored tensor is trained unless an exporter made its name up: then it is a constant.
    pub(crate) fn operand(&mut self, index: usize) -> Result<Operand, GraphError> {
        match self.term(index)? {
            Term::Stored(stored) if self.progress.is_made_up(&stored.tensor) => {
                Ok(Operand::Constant(self.progress.freeze(&stored)?))
            }
            Term::Stored(stored) => Ok(Operand::Parameter(stored)),
            Term::Constant(constant) => Ok(Operand::Constant(constant)),
            _ => self.any_value(index).map(Operand::Value),
        }
    }

    /// An input known on import.
    pub(crate) fn constant(&self, index: usize) -> Result<Constant, GraphError> {
        match self.term(index)? {
            Term::Constant(constant) => Ok(constant),
            Term::Stored(stored) if self.progress.is_made_up(&stored.tensor) => {
                self.progress.read(&stored)
            }
            Term::Stored(_) => Err(self.input_error(index, "a weight", "a constant")),
            Term::Unknown => Err(self.unknown(index)),
            _ => Err(self.input_error(
                index,
                "computed from the model's input",
                "a constant or a shape",
            )),
        }
    }

    /// An input known on import, where it is given.
    pub(crate) fn optional_constant(&self, index: usize) -> Result<Option<Constant>, GraphError> {
        if self.has_input(index) {
            self.constant(index).map(Some)
        } else {
            Ok(None)
        }
    }

    /// An input that is a list of whole numbers known on import; they may depend on the number of examples.
    pub(crate) fn extents(&self, index: usize) -> Result<Vec<Extent>, GraphError> {
        let constant = self.constant(index)?;
        constant.integers().map(<[_]>::to_vec).ok_or_else(|| {
            self.setting(
                format!("an input {index} of {}", constant.describe()),
                "a list of whole numbers",
            )
        })
    }

    /// An input that is a list of numbers.
    pub(crate) fn numbers(&self, index: usize) -> Result<Vec<i64>, GraphError> {
        self.extents(index)?
            .iter()
            .map(|extent| extent.known())
            .collect::<Option<_>>()
            .ok_or_else(|| {
                self.input_error(
                    index,
                    "dependent on the number of examples",
                    "numbers that are constant",
                )
            })
    }

    /// Axes: an input in newer operator sets, an attribute in older ones.
    pub(crate) fn axes(&self, index: usize) -> Result<Option<Vec<i64>>, GraphError> {
        if self.has_input(index) {
            return self.numbers(index).map(Some);
        }
        self.ints("axes")
    }

    /// An input that is a weight.
    pub(crate) fn stored(&self, index: usize) -> Result<Stored, GraphError> {
        match self.term(index)? {
            Term::Stored(stored) => Ok(stored),
            Term::Value(_) | Term::Pending(_) => {
                Err(self.input_error(index, "computed from the model's input", "a weight"))
            }
            Term::Constant(_) => Err(self.input_error(
                index,
                "a constant",
                "a weight; store weights as initializers, so that they can be trained",
            )),
            Term::Unknown => Err(self.unknown(index)),
        }
    }

    /// The sizes of an input that is a weight.
    pub(crate) fn parameter_dims(&self, index: usize) -> Result<Vec<usize>, GraphError> {
        Ok(self.stored(index)?.dims)
    }

    /// Makes a weight a parameter of this node, refusing it unless it has these sizes. Inputs 1 and 2 are what PyTorch calls
    /// weight and bias.
    pub(crate) fn claim(
        &mut self,
        index: usize,
        dims: &[usize],
    ) -> Result<Range<usize>, GraphError> {
        let stored = self.stored(index)?;
        if stored.dims != dims || stored.transposed || stored.picked.is_some() {
            return Err(self.shape(
                format!("`{}` of {}", stored.tensor, display_dims(dims)),
                display_dims(&stored.dims),
            ));
        }
        let role = match index {
            1 => Role::Weight,
            2 => Role::Bias,
            _ => Role::Other,
        };
        self.claim_as(Claim {
            stored,
            node: self.index,
            input: index,
            role,
            name: None,
            dims: dims.to_vec(),
            transposed: false,
        })
    }

    /// Makes a stored tensor a parameter.
    pub(crate) fn claim_as(&mut self, claim: Claim) -> Result<Range<usize>, GraphError> {
        let proto = self.proto;
        self.progress.claim(claim, proto)
    }

    /// Adds a computation behind those so far; parameters that were claimed since the last one are its own.
    pub(crate) fn push(
        &mut self,
        operator: Box<dyn Operator>,
        inputs: Vec<Value>,
        view: View,
    ) -> Result<Value, GraphError> {
        let dims = view.dims.clone();
        let shape = view.shape().ok_or_else(|| self.size_error(&dims))?;
        let proto = self.proto;
        self.progress.push(operator, inputs, proto, view, shape)
    }

    /// Whether the only use of this node's output is one other node's input.
    pub(crate) fn only_consumer(&self) -> Option<&'m NodeProto> {
        let [output] = self.proto.output.as_slice() else {
            return None;
        };
        self.progress.only_consumer(output)
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
        let value = self
            .attribute(name, AttributeProto::FLOAT)?
            .map_or(default, |attribute| attribute.f);
        if value.is_finite() {
            return Ok(value);
        }
        Err(self.setting(format!("{name} {value}"), "a finite number"))
    }

    /// A text.
    pub(crate) fn text(&self, name: &str, default: &str) -> Result<String, GraphError> {
        let attribute = self.attribute(name, AttributeProto::STRING)?;
        Ok(attribute.map_or_else(
            || default.to_owned(),
            |text| String::from_utf8_lossy(&text.s).into_owned(),
        ))
    }

    /// A list of whole numbers, where it is given.
    pub(crate) fn ints(&self, name: &str) -> Result<Option<Vec<i64>>, GraphError> {
        Ok(self
            .attribute(name, AttributeProto::INTS)?
            .map(|attribute| attribute.ints.clone()))
    }

    /// A list of exactly `count` sizes, where it is given.
    pub(crate) fn size_list(
        &self,
        name: &str,
        count: usize,
    ) -> Result<Option<Vec<usize>>, GraphError> {
        let Some(ints) = self.ints(name)? else {
            return Ok(None);
        };
        let sizes: Option<Vec<usize>> = ints
            .iter()
            .map(|&size| usize::try_from(size).ok())
            .collect();
        sizes
            .filter(|sizes| {
                sizes.len() == count && sizes.iter().all(|&size| size <= Shape::ELEMENT_LIMIT)
            })
            .map(Some)
            .ok_or_else(|| {
                self.setting(
                    format!("{name} {ints:?}"),
                    format!("{count} sizes, none of them negative"),
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
        let refusal = self.size_error(&dims);
        Shape::new(dims).ok_or(refusal)
    }

    fn size_error(&self, dims: &[usize]) -> GraphError {
        self.shape(
            format!("an output of 1 to {} elements", Shape::ELEMENT_LIMIT),
            display_dims(dims),
        )
    }

    /// The name of the single output; an optional second one is refused where it is asked for.
    pub(crate) fn only_output(&self) -> Result<&'m str, GraphError> {
        match self.proto.output.as_slice() {
            [output, rest @ ..] if !output.is_empty() && rest.iter().all(String::is_empty) => {
                Ok(output)
            }
            outputs => Err(self.setting(format!("{} outputs", outputs.len()), "one output")),
        }
    }

    /// An attribute of this type, where it is given.
    pub(crate) fn attribute(
        &self,
        name: &str,
        kind: i32,
    ) -> Result<Option<&'m AttributeProto>, GraphError> {
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

    /// The name of an input; empty where it is not given.
    pub(crate) fn input_name(&self, index: usize) -> &'m str {
        self.proto
            .input
            .get(index)
            .map(String::as_str)
            .unwrap_or_default()
    }

    /// The tensor that the attribute `value` holds.
    pub(crate) fn tensor_attribute(&self) -> Result<&'m TensorProto, GraphError> {
        self.attribute("value", AttributeProto::TENSOR)?
            .and_then(|attribute| attribute.t.as_ref())
            .ok_or_else(|| self.setting("no tensor", "a tensor in attribute `value`"))
    }

    fn unknown(&self, index: usize) -> GraphError {
        GraphError::Behind {
            operator: self.proto.op_type.clone(),
            node: self.name().to_owned(),
            input: self.input_name(index).to_owned(),
        }
    }

    pub(crate) fn input_error(
        &self,
        index: usize,
        got: &'static str,
        expected: &'static str,
    ) -> GraphError {
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
