//! Reshape, Flatten, Squeeze, Unsqueeze, Transpose, Identity, Dropout and Cast: the same elements under another shape, order
//! or name. Where an example's elements keep their order, nothing is computed.

use super::rearrange::rearranged;
use crate::graph::error::GraphError;
use crate::graph::extent::Extent;
use crate::graph::fold::{permutation, squeezed, unsqueezed};
use crate::graph::index;
use crate::graph::names::is_made_up;
use crate::graph::node::Node;
use crate::graph::plan::{Imported, Pending, Stored, Term, Value};
use crate::graph::shape::display_dims;
use crate::graph::view::{View, display_extents};
use crate::onnx::{DOUBLE, FLOAT};

/// `Reshape` that keeps the examples apart.
pub(crate) fn import_reshape(node: &mut Node<'_, '_>) -> Result<Imported, GraphError> {
    node.expect_inputs(2..=2)?;
    node.expect_attributes(&["allowzero"])?;
    let zero_copies = node.int("allowzero", 0)? == 0;
    let target = node.extents(1)?;
    reshape(node, &target, zero_copies)
}

/// `Flatten` to two dimensions.
pub(crate) fn import_flatten(node: &mut Node<'_, '_>) -> Result<Imported, GraphError> {
    node.expect_inputs(1..=1)?;
    node.expect_attributes(&["axis"])?;
    let axis = node.int("axis", 1)?;
    let extents = extents(node)?;
    let at = index::axis(axis, extents.len() + 1)
        .ok_or_else(|| node.setting(format!("axis {axis}"), "an axis of the input"))?;
    let product = |part: &[Extent]| {
        part.iter()
            .try_fold(Extent::Known(1), |all, extent| all.multiply(*extent))
            .ok_or_else(|| node.setting("sizes that overflow", "smaller sizes"))
    };
    let target = [product(&extents[..at])?, product(&extents[at..])?];
    reshape(node, &target, false)
}

/// `Unsqueeze`.
pub(crate) fn import_unsqueeze(node: &mut Node<'_, '_>) -> Result<Imported, GraphError> {
    node.expect_inputs(1..=2)?;
    node.expect_attributes(&["axes"])?;
    let axes = node
        .axes(1)?
        .ok_or_else(|| node.setting("no axes", "axes"))?;
    let own = extents(node)?;
    let places: Vec<usize> = (0..own.len()).collect();
    // One more than its place, so that no place is taken for a new dimension.
    let marked: Vec<usize> = places.iter().map(|place| place + 2).collect();
    let target = unsqueezed(&marked, &axes)
        .ok_or_else(|| node.setting(format!("axes {axes:?}"), "new axes, each once"))?
        .into_iter()
        .map(|mark| {
            mark.checked_sub(2)
                .map_or(Extent::Known(1), |place| own[place])
        })
        .collect::<Vec<_>>();
    reshape(node, &target, false)
}

/// `Squeeze` of dimensions of one.
pub(crate) fn import_squeeze(node: &mut Node<'_, '_>) -> Result<Imported, GraphError> {
    node.expect_inputs(1..=2)?;
    node.expect_attributes(&["axes"])?;
    let axes = node.axes(1)?;
    let own = extents(node)?;
    // Dimensions of one are marked so; the examples' dimension is never one of them.
    let marked: Vec<usize> = own
        .iter()
        .enumerate()
        .map(|(place, extent)| {
            if *extent == Extent::Known(1) {
                1
            } else {
                place + 2
            }
        })
        .collect();
    let kept = squeezed(&marked, axes.as_deref()).ok_or_else(|| {
        node.shape(
            "dimensions of one at the axes that are squeezed",
            display_extents(&own),
        )
    })?;
    let target: Vec<Extent> = kept
        .into_iter()
        .map(|mark| {
            mark.checked_sub(2)
                .map_or(Extent::Known(1), |place| own[place])
        })
        .collect();
    reshape(node, &target, false)
}

/// `Transpose`.
pub(crate) fn import_transpose(node: &mut Node<'_, '_>) -> Result<Imported, GraphError> {
    node.expect_inputs(1..=1)?;
    node.expect_attributes(&["perm"])?;
    let given = node.ints("perm")?;
    let order = |node: &Node<'_, '_>, rank: usize| {
        permutation(given.clone(), rank)
            .ok_or_else(|| node.setting(format!("perm {given:?}"), "each axis once"))
    };
    if let Term::Stored(stored) = node.term(0)? {
        let order = order(node, stored.dims.len())?;
        return Ok(Imported::Term(Term::Stored(transposed(stored, &order))));
    }
    let rank = extents(node)?.len();
    let order = order(node, rank)?;
    let input = node.value_or_lookup(0)?;
    let axis = order
        .iter()
        .position(|&axis| axis == input.view.axis)
        .unwrap_or_default();
    let view = View {
        dims: order.iter().map(|&axis| input.view.dims[axis]).collect(),
        axis,
        outer: input.view.outer,
    };
    let elements = index::transpose(&input.view.dims, &order);
    rearranged(node, input, view, elements, 0.0).map(Imported::Term)
}

/// `Identity`. Of a weight it makes a weight of its own: the TorchScript exporter stores weights that are equal when
/// exported once and hands them out through Identity nodes, though the layers are trained apart.
pub(crate) fn import_identity(node: &mut Node<'_, '_>) -> Result<Imported, GraphError> {
    node.expect_inputs(1..=1)?;
    node.expect_attributes(&[])?;
    let output = node.only_output()?.to_owned();
    let keeps_name = match node.term(0)? {
        Term::Stored(stored) => is_made_up(&output) && !node.progress.is_made_up(&stored.tensor),
        _ => false,
    };
    pass_on(node, |stored| {
        if keeps_name {
            return stored;
        }
        Stored {
            tensor: output,
            taken_by: None,
            ..stored
        }
    })
}

/// `Dropout`, which the model as it is evaluated does not apply. Noise makes up for it in private training.
pub(crate) fn import_dropout(node: &mut Node<'_, '_>) -> Result<Imported, GraphError> {
    node.expect_inputs(1..=3)?;
    node.expect_attributes(&["seed"])?;
    let Imported::Term(term) = pass_on(node, |stored| stored)? else {
        return Err(node.setting("several inputs", "one"));
    };
    // The mask may have a name as long as nothing uses it: then it is simply not given.
    Ok(Imported::Terms(vec![term]))
}

/// `Cast` to floats; of whole numbers it makes floats that can be computed with.
pub(crate) fn import_cast(node: &mut Node<'_, '_>) -> Result<Imported, GraphError> {
    node.expect_inputs(1..=1)?;
    node.expect_attributes(&["to", "saturate"])?;
    let to = node.int("to", i64::from(FLOAT))?;
    let is_float = [FLOAT, DOUBLE].map(i64::from).contains(&to);
    match node.term(0)? {
        Term::Stored(stored) if is_float => Ok(Imported::Term(Term::Stored(stored))),
        _ => {
            let value = node.value_or_lookup(0)?;
            if !is_float && !value.integer {
                return Err(node.setting(
                    format!("a cast to ONNX data type {to}"),
                    "float32 (1), as training computes",
                ));
            }
            Ok(Imported::Term(Term::Value(Value {
                integer: !is_float,
                ..value
            })))
        }
    }
}

fn pass_on(
    node: &mut Node<'_, '_>,
    stored: impl FnOnce(Stored) -> Stored,
) -> Result<Imported, GraphError> {
    Ok(Imported::Term(match node.term(0)? {
        Term::Stored(own) => Term::Stored(stored(own)),
        term @ Term::Constant(_) => term,
        _ => Term::Value(node.value_or_lookup(0)?),
    }))
}

/// The sizes of input 0, whatever it is.
pub(crate) fn extents(node: &mut Node<'_, '_>) -> Result<Vec<Extent>, GraphError> {
    Ok(match node.term(0)? {
        Term::Stored(stored) => known(&stored.dims),
        Term::Constant(constant) => known(&constant.dims),
        Term::Pending(Pending::Normalised { view, .. } | Pending::Product { view, .. }) => {
            view.extents()
        }
        _ => node.value_or_lookup(0)?.view.extents(),
    })
}

fn known(dims: &[usize]) -> Vec<Extent> {
    let known = |&dim: &usize| Extent::Known(i64::try_from(dim).unwrap_or(i64::MAX));
    dims.iter().map(known).collect()
}

/// Input 0 under these sizes.
fn reshape(
    node: &mut Node<'_, '_>,
    target: &[Extent],
    zero_copies: bool,
) -> Result<Imported, GraphError> {
    let examples = node.batch();
    let refusal = |node: &Node<'_, '_>, view: &View| {
        node.shape(
            format!(
                "a shape that keeps the examples N apart and the elements of {}",
                view.display()
            ),
            display_extents(target),
        )
    };
    match node.term(0)? {
        Term::Stored(stored) => {
            let dims = stored_shape(&stored.dims, target, zero_copies)
                .filter(|_| !stored.transposed)
                .ok_or_else(|| {
                    node.shape(
                        format!("a shape of the elements of {}", display_dims(&stored.dims)),
                        display_extents(target),
                    )
                })?;
            Ok(Imported::Term(Term::Stored(Stored { dims, ..stored })))
        }
        Term::Pending(Pending::Normalised {
            input,
            groups,
            epsilon,
            view,
            scale: None,
        }) if node.only_consumer().is_some() => {
            let view = view
                .reshape(target, zero_copies, examples)
                .ok_or_else(|| refusal(node, &view))?;
            Ok(Imported::Term(Term::Pending(Pending::Normalised {
                input,
                groups,
                epsilon,
                view,
                scale: None,
            })))
        }
        _ => {
            let value = node.value_or_lookup(0)?;
            let seen = value
                .view
                .reshape(target, zero_copies, examples)
                .and_then(|view| value.seen(view));
            seen.map(|value| Imported::Term(Term::Value(value)))
                .ok_or_else(|| refusal(node, &value.view))
        }
    }
}

/// A stored tensor under another shape; -1 is worked out.
fn stored_shape(own: &[usize], target: &[Extent], zero_copies: bool) -> Option<Vec<usize>> {
    let elements: usize = own.iter().product();
    let mut inferred = None;
    let mut dims = Vec::with_capacity(target.len());
    for (place, extent) in target.iter().enumerate() {
        dims.push(match extent.known()? {
            -1 if inferred.is_none() => {
                inferred = Some(place);
                1
            }
            0 if zero_copies => *own.get(place)?,
            size => usize::try_from(size).ok()?,
        });
    }
    let product = |dims: &[usize]| {
        dims.iter()
            .try_fold(1usize, |all, &dim| all.checked_mul(dim))
    };
    if let Some(place) = inferred {
        dims[place] = elements.checked_div(product(&dims)?)?;
    }
    (product(&dims)? == elements).then_some(dims)
}

/// A stored tensor with its dimensions in another order.
fn transposed(stored: Stored, order: &[usize]) -> Stored {
    let dims: Vec<usize> = order.iter().map(|&axis| stored.dims[axis]).collect();
    if order == [1, 0] && stored.picked.is_none() {
        return Stored {
            dims,
            transposed: !stored.transposed,
            ..stored
        };
    }
    let elements = index::transpose(&stored.dims, order);
    stored.pick(dims, &elements)
}
