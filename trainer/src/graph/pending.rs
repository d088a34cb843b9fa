//! Computations that wait for the node behind them: exporters cut `GroupNorm` and `Linear` into pieces.

use super::claims::Claim;
use super::error::GraphError;
use super::names::{Module, Role};
use super::node::Node;
use super::operators::{linear, normalisation};
use super::plan::{Pending, Stored, Value};
use super::progress::Progress;
use super::view::View;
use crate::onnx::NodeProto;

/// Does what is pending without the nodes that it waited for.
pub(crate) fn force(node: &mut Node<'_, '_>, pending: Pending) -> Result<Value, GraphError> {
    match pending {
        Pending::Normalised { .. } => normalised(node, pending, None),
        Pending::Product { .. } => product(node, pending, None),
    }
}

/// `GroupNorm` with what was found of its affine part. A shift is a stored tensor, a node and the input that it is.
pub(crate) fn normalised(
    node: &mut Node<'_, '_>,
    pending: Pending,
    shift: Option<(Stored, usize, usize)>,
) -> Result<Value, GraphError> {
    let Pending::Normalised {
        input,
        groups,
        epsilon,
        view,
        scale,
    } = pending
    else {
        return force(node, pending);
    };
    let mut affine = |part: Option<(Stored, usize, usize)>, role: Role, neutral: f32| {
        let Some((stored, at, which)) = part else {
            return Ok(None);
        };
        if node.progress.is_neutral(&stored, at, neutral)? {
            return Ok(None);
        }
        let channels = stored.dims.iter().product();
        node.claim_as(Claim {
            stored,
            node: at,
            input: which,
            role,
            name: None,
            dims: vec![channels],
            transposed: false,
        })
        .map(Some)
    };
    let scale = affine(scale, Role::Weight, 1.0)?;
    let shift = affine(shift, Role::Bias, 0.0)?;
    let operator = normalisation::group(input.shape.elements(), groups, epsilon, scale, shift);
    node.push(operator, vec![input], view)
}

/// A linear layer with the bias that was found. The bias is a stored tensor, a node and the input that it is.
pub(crate) fn product(
    node: &mut Node<'_, '_>,
    pending: Pending,
    bias: Option<(Stored, usize, usize)>,
) -> Result<Value, GraphError> {
    let Pending::Product {
        input,
        weight,
        node: at,
        which,
        view,
    } = pending
    else {
        return force(node, pending);
    };
    let proto = &node.progress.graph.node[at];
    let bias_name = bias
        .as_ref()
        .and_then(|(stored, at, _)| bias_name(node.progress, stored, *at));
    let (turned, name) = matrix(node.progress, &weight, proto, bias_name.as_deref());
    // PyTorch's linear layers keep their weight as outputs x inputs.
    let outputs_first = weight.transposed || turned;
    let [inputs, outputs] = [weight.dims[0], weight.dims[1]];
    let dims = if outputs_first {
        vec![outputs, inputs]
    } else {
        vec![inputs, outputs]
    };
    let weights = node.claim_as(Claim {
        stored: weight,
        node: at,
        input: which,
        role: Role::Weight,
        name,
        dims,
        transposed: turned,
    })?;
    let bias = match bias {
        None => None,
        Some((stored, at, which)) => Some(node.claim_as(Claim {
            dims: vec![outputs],
            stored,
            node: at,
            input: which,
            role: Role::Bias,
            name: None,
            transposed: false,
        })?),
    };
    let rows = input.shape.elements() / inputs;
    let operator = linear::operator(rows, inputs, outputs, outputs_first, weights, bias);
    node.push(operator, vec![input], view)
}

/// Whether a matrix that a node takes as inputs x outputs is the transpose of PyTorch's weight, folded by the exporter, and
/// that weight's name.
fn matrix(
    progress: &Progress<'_>,
    weight: &Stored,
    proto: &NodeProto,
    bias: Option<&str>,
) -> (bool, Option<String>) {
    if !progress.is_made_up(&weight.tensor) || weight.transposed {
        return (false, None);
    }
    let Some(module) = Module::of(proto).filter(|module| !module.path.is_empty()) else {
        return (false, None);
    };
    let by_bias = bias.and_then(|bias| Some(format!("{}weight", bias.strip_suffix("bias")?)));
    (
        true,
        by_bias.or_else(|| Some(module.parameter(Role::Weight, &weight.tensor))),
    )
}

/// The name that a bias will be claimed under.
fn bias_name(progress: &Progress<'_>, stored: &Stored, at: usize) -> Option<String> {
    let module = Module::of(&progress.graph.node[at])?;
    if progress.is_made_up(&stored.tensor)
        || module.class.is_some() && !module.holds(&stored.tensor)
    {
        return Some(module.parameter(Role::Bias, &stored.tensor));
    }
    Some(stored.tensor.clone())
}

/// The view of a product of something seen as `view` with a matrix of `inputs` x `outputs`.
pub(crate) fn product_view(view: &View, inputs: usize, outputs: usize) -> Option<View> {
    let (&last, _) = view.dims.split_last()?;
    if view.axis + 1 == view.dims.len() || last != inputs {
        return None;
    }
    let mut dims = view.dims.clone();
    *dims.last_mut()? = outputs;
    Some(view.with_dims(dims))
}
