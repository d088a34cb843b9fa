//! Walks an ONNX graph node by node, following shapes, and asks each operator's importer to translate its node.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use super::error::GraphError;
use super::operator::Operator;
use super::shape::{Shape, display_dims};
use crate::onnx::{AttributeProto, GraphProto, INT64, ModelProto, NodeProto, TensorProto};

/// Translates one node.
pub(crate) type Import = fn(&mut Node<'_, '_>) -> Result<Imported, GraphError>;

/// Most parameters of a graph: each worker thread keeps a gradient of every parameter for each example of a tile.
const PARAMETER_LIMIT: usize = 64 << 20;

/// Most nodes of a graph, and most inputs and outputs that a node may have.
const NODE_LIMIT: usize = 100_000;

/// What a node turned into.
pub(crate) enum Imported {
    /// A computation, whose output has this shape.
    Step {
        operator: Box<dyn Operator>,
        inputs: Vec<Value>,
        shape: Shape,
    },
    /// Nothing to compute: the output is this.
    Term(Term),
}

/// What a name in the file stands for.
#[derive(Clone, Debug)]
pub(crate) enum Term {
    /// A tensor of each example.
    Value(Value),
    /// A tensor in the file: the name it is known by here (an `Identity` gives it a new one) and its place there.
    Tensor { name: String, initializer: usize },
    /// Whole numbers known on import: shapes and what is computed from them.
    Integers(Integers),
}

/// A tensor of each example: the buffer that holds it and the shape it is seen with.
#[derive(Clone, Debug)]
pub(crate) struct Value {
    pub(crate) buffer: usize,
    pub(crate) shape: Shape,
}

/// Whole numbers known on import.
#[derive(Clone, Debug)]
pub(crate) struct Integers {
    pub(crate) values: Vec<Extent>,
    /// A tensor of no dimension, which holds exactly one value.
    pub(crate) scalar: bool,
}

/// An element of a shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// The number of examples, whatever it is.
    Batch,
    /// A number.
    Known(i64),
}

/// A trained tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParameterInfo {
    /// PyTorch's name, such as `conv1.weight`.
    pub name: String,
    /// Sizes as in PyTorch.
    pub dims: Vec<usize>,
    /// Where its elements lie among all parameters, in the order of [`crate::Graph::parameters`].
    pub range: Range<usize>,
}

/// One computation of a graph. The step with index `i` writes buffer `i + 1`; buffer 0 is the input.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) operator: Box<dyn Operator>,
    pub(crate) inputs: Vec<usize>,
    /// For each input, whether anything before it is trained.
    pub(crate) trained_before: Vec<bool>,
    /// Whether it has parameters of its own.
    pub(crate) has_parameters: bool,
}

/// All that a graph consists of.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) input: Shape,
    pub(crate) output: Value,
    pub(crate) steps: Vec<Step>,
    /// Elements an example of each buffer.
    pub(crate) buffers: Vec<usize>,
    pub(crate) parameters: Vec<ParameterInfo>,
    pub(crate) weights: Vec<f32>,
}

/// Reads a model's graph.
pub(crate) fn import(model: &ModelProto, registry: &[(&str, Import)]) -> Result<Plan, GraphError> {
    let refuse = |expected: &str, got: String| GraphError::Model {
        expected: expected.to_owned(),
        got,
    };
    let graph = model
        .graph
        .as_ref()
        .ok_or_else(|| refuse("one graph", "no graph".to_owned()))?;
    if !model.functions.is_empty() {
        return Err(refuse(
            "only standard operators; export without local functions",
            "functions of its own".to_owned(),
        ));
    }
    if !graph.sparse_initializer.is_empty() {
        return Err(refuse("dense weights", "sparse weights".to_owned()));
    }
    if graph.node.len() > NODE_LIMIT {
        return Err(refuse(
            &format!("at most {NODE_LIMIT} nodes"),
            format!("{} nodes", graph.node.len()),
        ));
    }
    // All operators are looked up first: one that is missing is the best reason for a refusal.
    let translations = graph
        .node
        .iter()
        .map(|node| look_up(node, registry))
        .collect::<Result<Vec<_>, _>>()?;
    let (input_name, batch, input) = only_input(graph)?;
    let [output] = graph.output.as_slice() else {
        return Err(refuse(
            "one output",
            format!("{} outputs", graph.output.len()),
        ));
    };

    let mut importer = Importer {
        graph,
        batch,
        terms: HashMap::new(),
        claimed: HashSet::new(),
        plan: Plan {
            output: Value {
                buffer: 0,
                shape: input.clone(),
            },
            steps: Vec::new(),
            buffers: vec![input.elements()],
            parameters: Vec::new(),
            weights: Vec::new(),
            input: input.clone(),
        },
        trained: vec![false],
    };
    for (index, tensor) in graph.initializer.iter().enumerate() {
        importer.terms.insert(
            tensor.name.clone(),
            Term::Tensor {
                name: tensor.name.clone(),
                initializer: index,
            },
        );
    }
    importer.terms.insert(
        input_name,
        Term::Value(Value {
            buffer: 0,
            shape: input,
        }),
    );
    for (node, translate) in graph.node.iter().zip(translations) {
        importer.node(node, translate)?;
    }
    match importer.terms.get(&output.name) {
        Some(Term::Value(value)) if importer.trained[value.buffer] => {
            importer.plan.output = value.clone()
        }
        Some(_) => {
            return Err(refuse(
                "an output computed with weights",
                format!("output `{}` with none", output.name),
            ));
        }
        None => {
            return Err(refuse(
                "an output computed by a node",
                format!("output `{}` that no node computes", output.name),
            ));
        }
    }
    Ok(importer.plan)
}

/// What translates a node.
fn look_up(node: &NodeProto, registry: &[(&str, Import)]) -> Result<Import, GraphError> {
    let standard = matches!(node.domain.as_str(), "" | "ai.onnx");
    let entry = registry
        .iter()
        .find(|(operator, _)| standard && *operator == node.op_type);
    entry
        .map(|(_, translate)| *translate)
        .ok_or_else(|| GraphError::Operator {
            operator: if standard {
                node.op_type.clone()
            } else {
                format!("{}.{}", node.domain, node.op_type)
            },
            node: node_name(node).to_owned(),
            supported: registry
                .iter()
                .map(|(operator, _)| *operator)
                .collect::<Vec<_>>()
                .join(", "),
        })
}

/// A node's name, or its output's where it has none.
fn node_name(node: &NodeProto) -> &str {
    if node.name.is_empty() {
        return node.output.first().map(String::as_str).unwrap_or_default();
    }
    &node.name
}

/// The one input that is not a weight: name, number of examples where the file fixes it, shape of an example.
fn only_input(graph: &GraphProto) -> Result<(String, Option<i64>, Shape), GraphError> {
    let refuse = |expected: &str, got: String| GraphError::Model {
        expected: expected.to_owned(),
        got,
    };
    let weights: HashSet<&str> = graph
        .initializer
        .iter()
        .map(|tensor| tensor.name.as_str())
        .collect();
    let inputs: Vec<_> = graph
        .input
        .iter()
        .filter(|input| !weights.contains(input.name.as_str()))
        .collect();
    let [input] = inputs.as_slice() else {
        return Err(refuse("one input", format!("{} inputs", inputs.len())));
    };
    let tensor = input
        .r#type
        .as_ref()
        .and_then(|kind| kind.tensor_type.as_ref());
    let tensor = tensor.ok_or_else(|| {
        refuse(
            "a tensor as input",
            format!("input `{}` of another type", input.name),
        )
    })?;
    if tensor.elem_type != crate::onnx::FLOAT {
        return Err(refuse(
            "a float32 input",
            format!(
                "input `{}` of ONNX data type {}",
                input.name, tensor.elem_type
            ),
        ));
    }
    let dims = tensor
        .shape
        .as_ref()
        .map(|shape| shape.dim.as_slice())
        .unwrap_or_default();
    let Some((batch, rest)) = dims.split_first() else {
        return Err(refuse(
            "an input with a batch dimension first",
            format!("input `{}` without dimensions", input.name),
        ));
    };
    let rest: Option<Vec<usize>> = rest
        .iter()
        .map(|dim| dim.dim_value.and_then(|value| usize::try_from(value).ok()))
        .collect();
    let shape = rest.and_then(Shape::new).ok_or_else(|| {
        refuse(
            "fixed sizes of at least one after the batch dimension; export with dynamic axes for the batch only",
            format!("input `{}` with sizes that are open, zero or beyond {} elements", input.name, Shape::ELEMENT_LIMIT),
        )
    })?;
    Ok((input.name.clone(), batch.dim_value, shape))
}

struct Importer<'m> {
    graph: &'m GraphProto,
    batch: Option<i64>,
    terms: HashMap<String, Term>,
    claimed: HashSet<String>,
    plan: Plan,
    /// For each buffer, whether a parameter has a say in it.
    trained: Vec<bool>,
}

impl Importer<'_> {
    fn node(&mut self, proto: &NodeProto, translate: Import) -> Result<(), GraphError> {
        let claimed = self.plan.parameters.len();
        let mut node = Node {
            proto,
            importer: self,
        };
        let imported = translate(&mut node)?;
        let name = node.only_output()?.to_owned();
        let term = match imported {
            Imported::Term(term) => term,
            Imported::Step {
                operator,
                inputs,
                shape,
            } => {
                let has_parameters = self.plan.parameters.len() > claimed;
                let trained_before: Vec<bool> = inputs
                    .iter()
                    .map(|input| self.trained[input.buffer])
                    .collect();
                self.trained
                    .push(has_parameters || trained_before.contains(&true));
                let buffer = self.plan.buffers.len();
                self.plan.buffers.push(shape.elements());
                let inputs = inputs.into_iter().map(|input| input.buffer).collect();
                self.plan.steps.push(Step {
                    operator,
                    inputs,
                    trained_before,
                    has_parameters,
                });
                Term::Value(Value { buffer, shape })
            }
        };
        if self.terms.insert(name.clone(), term).is_some() {
            return Err(GraphError::Model {
                expected: "each name given once".to_owned(),
                got: format!("two tensors called `{name}`"),
            });
        }
        Ok(())
    }
}

/// A node under translation.
pub(crate) struct Node<'i, 'm> {
    proto: &'i NodeProto,
    importer: &'i mut Importer<'m>,
}

impl Node<'_, '_> {
    /// The node's name, or its output's where it has none.
    pub(crate) fn name(&self) -> &str {
        node_name(self.proto)
    }

    /// How many examples the file was exported for, where it fixes that.
    pub(crate) fn batch(&self) -> Option<i64> {
        self.importer.batch
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
        let term = self.importer.terms.get(name).cloned();
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
        if !self.importer.claimed.insert(name.clone()) {
            return Err(GraphError::TiedParameter {
                parameter: name,
                operator: self.proto.op_type.clone(),
                node: self.name().to_owned(),
            });
        }
        let elements = self.tensor(initializer).floats()?;
        let plan = &mut self.importer.plan;
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
        &self.importer.graph.initializer[initializer]
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

fn integers(tensor: &TensorProto) -> Result<Integers, crate::onnx::OnnxError> {
    let values = tensor.integers()?.into_iter().map(Extent::Known).collect();
    Ok(Integers {
        values,
        scalar: tensor.dims.is_empty(),
    })
}
