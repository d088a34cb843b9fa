//! Walks an ONNX graph node by node and asks each operator's importer to translate its node.

use std::collections::HashSet;

use super::error::GraphError;
use super::fold::{Folding, folder};
use super::node::{Node, node_name};
use super::operators;
use super::plan::{Imported, Plan, Stored, Term, Value};
use super::progress::Progress;
use super::shape::Shape;
use super::tied;
use super::view::View;
use crate::onnx::{FLOAT, GraphProto, INT32, INT64, ModelProto, NodeProto};

/// Translates one node.
pub(crate) type Import = fn(&mut Node<'_, '_>) -> Result<Imported, GraphError>;
/// Most nodes of a graph, and most inputs and outputs that a node may have.
const NODE_LIMIT: usize = 100_000;
/// Operator sets that are read: 13 made axes inputs, and PyTorch's exporters write up to 20 or so.
const OPSETS: std::ops::RangeInclusive<i64> = 13..=21;

/// Reads a model's graph.
pub(crate) fn import(model: &ModelProto) -> Result<Plan, GraphError> {
    let mut survey = survey(model)?;
    if let Some(refusal) = survey.refusals.into_iter().next() {
        return Err(refusal);
    }
    tied::part(&mut survey.plan)?;
    Ok(survey.plan)
}

/// A graph as far as it can be read.
pub(crate) struct Survey {
    pub(crate) plan: Plan,
    /// All that is refused of it; operators that are missing first.
    pub(crate) refusals: Vec<GraphError>,
}

/// Reads a model's graph, going on where something is refused.
///
/// # Errors
/// Where the file has no graph that could be walked.
pub(crate) fn survey(model: &ModelProto) -> Result<Survey, GraphError> {
    let graph = model
        .graph
        .as_ref()
        .ok_or_else(|| refuse("one graph", "no graph".to_owned()))?;
    if graph.node.len() > NODE_LIMIT {
        return Err(refuse(
            &format!("at most {NODE_LIMIT} nodes"),
            format!("{} nodes", graph.node.len()),
        ));
    }
    let mut refusals = Vec::new();
    if !model.functions.is_empty() {
        refusals.push(refuse(
            "only standard operators; export without local functions",
            "functions of its own".to_owned(),
        ));
    }
    if !graph.sparse_initializer.is_empty() {
        refusals.push(refuse("dense weights", "sparse weights".to_owned()));
    }
    let opset = opset(model).unwrap_or_else(|refusal| {
        refusals.push(refusal);
        *OPSETS.end()
    });
    // All operators are looked up first: one that is missing is the best reason for a refusal.
    refusals.extend(graph.node.iter().filter_map(|node| look_up(node).err()));

    let (input_name, batch, input) = only_input(graph)?;
    let [output] = graph.output.as_slice() else {
        return Err(refuse(
            "one output",
            format!("{} outputs", graph.output.len()),
        ));
    };
    let mut progress = Progress::new(graph, opset, batch, &input);
    progress.terms.insert(input_name, Term::Value(input));
    for (index, node) in graph.node.iter().enumerate() {
        if let Err(refusal) = add(node, index, &mut progress) {
            // What follows from an earlier refusal is not another one.
            if !matches!(refusal, GraphError::Behind { .. }) && look_up(node).is_ok() {
                refusals.push(refusal);
            }
            for output in &node.output {
                progress
                    .terms
                    .entry(output.clone())
                    .or_insert(Term::Unknown);
            }
        }
    }
    progress.part_constants();
    if let Err(refusal) = finish(&mut progress, &output.name)
        && refusals.is_empty()
    {
        refusals.push(refusal);
    }
    Ok(Survey {
        plan: progress.plan,
        refusals,
    })
}

fn refuse(expected: &str, got: String) -> GraphError {
    GraphError::Model {
        expected: expected.to_owned(),
        got,
    }
}

/// The version of the standard operators.
fn opset(model: &ModelProto) -> Result<i64, GraphError> {
    let version = model
        .opset_import
        .iter()
        .find(|set| matches!(set.domain.as_str(), "" | "ai.onnx"))
        .map(|set| set.version);
    match version {
        Some(version) if OPSETS.contains(&version) => Ok(version),
        version => Err(refuse(
            &format!(
                "operator set {} to {}; export with opset_version=17 or 20",
                OPSETS.start(),
                OPSETS.end()
            ),
            version.map_or_else(
                || "no version of the standard operator set".to_owned(),
                |version| format!("operator set {version}"),
            ),
        )),
    }
}

/// What computes the model's output.
fn finish(progress: &mut Progress<'_>, output: &str) -> Result<(), GraphError> {
    match progress.terms.get(output) {
        Some(Term::Value(value)) if progress.trained[value.buffer] => {
            if value.view.example_dims().is_none() {
                return Err(refuse(
                    "an output with the examples N in the first dimension",
                    format!("output `{output}` of {}", value.view.display()),
                ));
            }
            progress.plan.output = value.clone();
            Ok(())
        }
        Some(_) => Err(refuse(
            "an output computed with weights",
            format!("output `{output}` with none"),
        )),
        None => Err(refuse(
            "an output computed by a node",
            format!("output `{output}` that no node computes"),
        )),
    }
}

/// Refuses an operator that is not supported.
fn look_up(node: &NodeProto) -> Result<Import, GraphError> {
    let standard = matches!(node.domain.as_str(), "" | "ai.onnx");
    let found = operators::REGISTRY
        .iter()
        .find(|(operator, _)| standard && *operator == node.op_type)
        .map(|(_, translate)| *translate);
    if let Some(translate) = found {
        return Ok(translate);
    }
    if standard && folder(&node.op_type).is_some() {
        return Ok(only_constants);
    }
    Err(GraphError::Operator {
        operator: if standard {
            node.op_type.clone()
        } else {
            format!("{}.{}", node.domain, node.op_type)
        },
        node: node_name(node).to_owned(),
        supported: operators::REGISTRY
            .iter()
            .map(|(operator, _)| *operator)
            .collect::<Vec<_>>()
            .join(", "),
    })
}

/// Stands for an operator that is computed on import, and cannot be otherwise.
fn only_constants(node: &mut Node<'_, '_>) -> Result<Imported, GraphError> {
    for index in 0..node.input_count() {
        if node.has_input(index) {
            node.constant(index)?;
        }
    }
    Err(node.setting("inputs that no rule covers", "constants"))
}

/// The one input that is not a weight: name, number of examples where the file fixes it, and what it is.
fn only_input(graph: &GraphProto) -> Result<(String, Option<i64>, Value), GraphError> {
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
    if ![FLOAT, INT32, INT64].contains(&tensor.elem_type) {
        return Err(refuse(
            "an input of float32, or of int32 or int64 for lookups",
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
    let value = rest
        .and_then(|rest| {
            Some(Value {
                buffer: 0,
                view: View::examples_of(&rest),
                shape: Shape::new(rest)?,
                integer: tensor.elem_type != FLOAT,
            })
        })
        .ok_or_else(|| {
        refuse(
            "fixed sizes of at least one after the batch dimension; export with dynamic axes for the batch only",
            format!("input `{}` with sizes that are open, zero or beyond {} elements", input.name, Shape::ELEMENT_LIMIT),
        )
    })?;
    Ok((input.name.clone(), batch.dim_value, value))
}

/// Translates a node, or computes it where all its inputs are known.
fn add<'m>(
    proto: &'m NodeProto,
    index: usize,
    progress: &mut Progress<'m>,
) -> Result<(), GraphError> {
    let translate = look_up(proto)?;
    let mut node = Node {
        proto,
        index,
        progress,
    };
    let imported = match constants(&node)? {
        Some(inputs) => {
            let fold = folder(&proto.op_type).ok_or_else(|| {
                node.setting(
                    "nothing but constants as inputs",
                    "a tensor computed from the model's input",
                )
            })?;
            let folding = Folding {
                node: &node,
                inputs: &inputs,
            };
            Imported::Term(Term::Constant(fold(&folding)?))
        }
        None => translate(&mut node)?,
    };
    let terms = match imported {
        Imported::Term(term) => {
            node.only_output()?;
            vec![term]
        }
        Imported::Terms(terms) => terms,
        Imported::Step {
            operator,
            inputs,
            shape,
        } => {
            node.only_output()?;
            let view = View::examples_of(shape.dims());
            vec![Term::Value(node.push(operator, inputs, view)?)]
        }
    };
    for (name, mut term) in proto.output.iter().zip(terms) {
        if name.is_empty() {
            continue;
        }
        if progress.is_given(name) {
            return Err(refuse(
                "each name given once",
                format!("two tensors called `{name}`"),
            ));
        }
        note_use(proto, index, &mut term);
        progress.terms.insert(name.clone(), term);
    }
    Ok(())
}

/// Remembers which node took a stored tensor first.
fn note_use(proto: &NodeProto, index: usize, term: &mut Term) {
    let Term::Stored(Stored {
        tensor, taken_by, ..
    }) = term
    else {
        return;
    };
    if taken_by.is_none()
        && let Some(input) = proto.input.iter().position(|input| input == tensor)
    {
        *taken_by = Some((index, input));
    }
}

/// A node's inputs where there are some and all are known on import. A weight is not: the nodes behind decide what it is.
fn constants(
    node: &Node<'_, '_>,
) -> Result<Option<Vec<Option<super::constant::Constant>>>, GraphError> {
    let mut inputs = Vec::new();
    let mut computed = false;
    for index in 0..node.input_count() {
        inputs.push(if node.has_input(index) {
            match node.term(index)? {
                Term::Constant(constant) => {
                    computed = true;
                    Some(constant)
                }
                // A scale or a mask that an exporter folded, among constants.
                Term::Stored(stored) if node.progress.is_made_up(&stored.tensor) => {
                    Some(node.progress.read(&stored)?)
                }
                _ => return Ok(None),
            }
        } else {
            None
        });
    }
    Ok(computed.then_some(inputs))
}
