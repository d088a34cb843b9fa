//! Walks an ONNX graph node by node and asks each operator's importer to translate its node.

use std::collections::{HashMap, HashSet};

use super::error::GraphError;
use super::node::{Node, Progress, node_name};
use super::plan::{Imported, Plan, Step, Term, Value};
use super::shape::Shape;
use crate::onnx::{FLOAT, GraphProto, ModelProto, NodeProto};

/// Translates one node.
pub(crate) type Import = fn(&mut Node<'_, '_>) -> Result<Imported, GraphError>;
/// Most nodes of a graph, and most inputs and outputs that a node may have.
const NODE_LIMIT: usize = 100_000;

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

    let mut progress = Progress {
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
    };
    let mut trained = vec![false];
    for (index, tensor) in graph.initializer.iter().enumerate() {
        progress.terms.insert(
            tensor.name.clone(),
            Term::Tensor {
                name: tensor.name.clone(),
                initializer: index,
            },
        );
    }
    progress.terms.insert(
        input_name,
        Term::Value(Value {
            buffer: 0,
            shape: input,
        }),
    );
    for (node, translate) in graph.node.iter().zip(translations) {
        add(node, translate, &mut progress, &mut trained)?;
    }
    match progress.terms.get(&output.name) {
        Some(Term::Value(value)) if trained[value.buffer] => progress.plan.output = value.clone(),
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
    Ok(progress.plan)
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
    if tensor.elem_type != FLOAT {
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

/// Translates a node; `trained` says for each buffer whether a parameter has a say in it.
fn add(
    proto: &NodeProto,
    translate: Import,
    progress: &mut Progress<'_>,
    trained: &mut Vec<bool>,
) -> Result<(), GraphError> {
    let claimed = progress.plan.weights.len();
    let mut node = Node { proto, progress };
    let imported = translate(&mut node)?;
    let name = node.only_output()?.to_owned();
    let plan = &mut progress.plan;
    let term = match imported {
        Imported::Term(term) => term,
        Imported::Step {
            operator,
            inputs,
            shape,
        } => {
            let parameters = claimed..plan.weights.len();
            let trained_before: Vec<bool> =
                inputs.iter().map(|input| trained[input.buffer]).collect();
            trained.push(!parameters.is_empty() || trained_before.contains(&true));
            let buffer = plan.buffers.len();
            plan.buffers.push(shape.elements());
            let inputs = inputs.into_iter().map(|input| input.buffer).collect();
            plan.steps.push(Step {
                operator,
                inputs,
                trained_before,
                parameters,
            });
            Term::Value(Value { buffer, shape })
        }
    };
    if progress.terms.insert(name.clone(), term).is_some() {
        return Err(GraphError::Model {
            expected: "each name given once".to_owned(),
            got: format!("two tensors called `{name}`"),
        });
    }
    Ok(())
}
