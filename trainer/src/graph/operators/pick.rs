//! Slice, Gather, Split, Pad, Expand and Shape: parts of tensors, and tensors made larger.

use super::embedding;
use super::rearrange::{FILLED, rearranged};
use super::side;
use super::source;
use crate::graph::constant::{Constant, Data};
use crate::graph::error::GraphError;
use crate::graph::extent::Extent;
use crate::graph::fold::shape_part;
use crate::graph::index;
use crate::graph::node::{Node, Operand};
use crate::graph::plan::{Imported, Term, Value};
use crate::graph::view::{View, display_extents};

/// `Shape` of something that is computed or stored; its values are constants.
pub(crate) fn import_shape(node: &mut Node<'_, '_>) -> Result<Imported, GraphError> {
    node.expect_inputs(1..=1)?;
    node.expect_attributes(&["start", "end"])?;
    let extents = super::layout::extents(node)?;
    shape_part(node, &extents).map(|shape| Imported::Term(Term::Constant(shape)))
}

/// `Size`, as [`import_shape`].
pub(crate) fn import_size(node: &mut Node<'_, '_>) -> Result<Imported, GraphError> {
    node.expect_inputs(1..=1)?;
    let size = super::layout::extents(node)?
        .into_iter()
        .try_fold(Extent::Known(1), Extent::multiply)
        .ok_or_else(|| node.setting("a size that overflows", "a smaller tensor"))?;
    Ok(Imported::Term(Term::Constant(Constant::scalar(size))))
}

/// `Constant`.
pub(crate) fn import_constant(node: &mut Node<'_, '_>) -> Result<Imported, GraphError> {
    node.expect_inputs(0..=0)?;
    node.expect_attributes(&[
        "value",
        "value_int",
        "value_ints",
        "value_float",
        "value_floats",
    ])?;
    let integers =
        |values: &[i64]| Data::Integers(values.iter().map(|&v| Extent::Known(v)).collect());
    let attribute = node
        .proto
        .attribute
        .first()
        .ok_or_else(|| node.setting("no value", "a value"))?;
    let (dims, data) = match attribute.name.as_str() {
        "value_int" => (vec![], integers(&[attribute.i])),
        "value_ints" => (vec![attribute.ints.len()], integers(&attribute.ints)),
        "value_float" => (vec![], Data::Floats(vec![attribute.f])),
        "value_floats" => (
            vec![attribute.floats.len()],
            Data::Floats(attribute.floats.clone()),
        ),
        _ => {
            let constant = Constant::read(node.tensor_attribute()?)?;
            (constant.dims, constant.data)
        }
    };
    Ok(Imported::Term(Term::Constant(Constant { dims, data })))
}

/// `Slice` of tensors of each example or of weights.
pub(crate) fn import_slice(node: &mut Node<'_, '_>) -> Result<Imported, GraphError> {
    node.expect_inputs(3..=5)?;
    node.expect_attributes(&[])?;
    let (starts, ends) = (node.numbers(1)?, node.numbers(2)?);
    let axes = if node.has_input(3) {
        node.numbers(3)?
    } else {
        (0i64..).take(starts.len()).collect()
    };
    let steps = if node.has_input(4) {
        node.numbers(4)?
    } else {
        vec![1; starts.len()]
    };
    if [ends.len(), axes.len(), steps.len()] != [starts.len(); 3] {
        return Err(node.setting(
            "starts, ends, axes and steps of different lengths",
            "equal ones",
        ));
    }
    let mut term = node.term(0)?;
    for part in 0..starts.len() {
        let (start, end, step) = (starts[part], ends[part], steps[part]);
        term = along(node, term, axes[part], |node, size| {
            index::slice(size, start, end, step)
                .filter(|taken| !taken.is_empty())
                .ok_or_else(|| {
                    node.setting(
                        format!("a slice from {start} to {end} by {step} of {size}"),
                        "at least one element",
                    )
                })
        })?;
    }
    Ok(Imported::Term(term))
}

/// `Gather`: rows of a weight by the whole numbers of each example, which is an embedding; or by constant indices.
pub(crate) fn import_gather(node: &mut Node<'_, '_>) -> Result<Imported, GraphError> {
    node.expect_inputs(2..=2)?;
    node.expect_attributes(&["axis"])?;
    let axis = node.int("axis", 0)?;
    let indices = match node.term(1)? {
        Term::Constant(indices) => indices,
        _ => return embedding::import(node, axis),
    };
    let Data::Integers(wanted) = &indices.data else {
        return Err(node.input_error(1, "no whole numbers", "whole numbers"));
    };
    let wanted: Vec<i64> = wanted
        .iter()
        .map(|index| index.known())
        .collect::<Option<_>>()
        .ok_or_else(|| node.input_error(1, "dependent on the number of examples", "numbers"))?;
    let term = node.term(0)?;
    let term = along(node, term, axis, |node, size| {
        wanted
            .iter()
            .map(|&index| {
                index::axis(index, size).ok_or_else(|| {
                    node.setting(format!("index {index}"), format!("an index into {size}"))
                })
            })
            .collect()
    })?;
    // The indices' own dimensions take the place of the axis.
    let (own, view) = match &term {
        Term::Stored(stored) => (stored.dims.clone(), None),
        Term::Value(value) => (value.view.dims.clone(), Some(value.view.clone())),
        _ => return Err(node.input_error(0, "neither computed nor stored", "a tensor")),
    };
    let at = index::axis(axis, own.len())
        .ok_or_else(|| node.setting(format!("axis {axis}"), "an axis of the input"))?;
    let mut dims = own[..at].to_vec();
    dims.extend(&indices.dims);
    dims.extend(&own[at + 1..]);
    Ok(Imported::Term(match (term, view) {
        (Term::Value(value), Some(view)) => {
            let axis = if view.axis > at {
                view.axis + indices.dims.len() - 1
            } else {
                view.axis
            };
            let view = View { dims, axis, ..view };
            Term::Value(seen(node, &value, view)?)
        }
        (Term::Stored(stored), _) => Term::Stored(crate::graph::plan::Stored { dims, ..stored }),
        (term, _) => term,
    }))
}

/// `Split` into parts along an axis: each is a slice.
pub(crate) fn import_split(node: &mut Node<'_, '_>) -> Result<Imported, GraphError> {
    node.expect_inputs(1..=2)?;
    node.expect_attributes(&["axis", "num_outputs", "split"])?;
    let axis = node.int("axis", 0)?;
    let outputs = node.proto.output.len();
    let extents = super::layout::extents(node)?;
    let at = index::axis(axis, extents.len())
        .ok_or_else(|| node.setting(format!("axis {axis}"), "an axis of the input"))?;
    let size = extents[at]
        .known()
        .and_then(|size| usize::try_from(size).ok())
        .ok_or_else(|| mixes(node, axis))?;
    let given = if node.has_input(1) {
        Some(node.numbers(1)?)
    } else {
        node.ints("split")?
    };
    let parts: Vec<usize> = match given {
        Some(parts) => parts
            .iter()
            .map(|&part| usize::try_from(part).ok())
            .collect::<Option<_>>()
            .unwrap_or_default(),
        None => {
            // All but the last are equal (ONNX 18, `num_outputs`).
            let each = size.div_ceil(outputs.max(1));
            (0..outputs)
                .map(|part| each.min(size.saturating_sub(part * each)))
                .collect()
        }
    };
    if parts.len() != outputs || parts.iter().sum::<usize>() != size || parts.contains(&0) {
        return Err(node.shape(
            format!("{outputs} parts that make up {size}"),
            format!("parts {parts:?}"),
        ));
    }
    let term = node.term(0)?;
    let mut start = 0;
    let mut terms = Vec::new();
    for (part, name) in parts.iter().zip(&node.proto.output) {
        let taken: Vec<usize> = (start..start + part).collect();
        start += part;
        // A part that nothing uses is not computed.
        terms.push(if name.is_empty() {
            Term::Unknown
        } else {
            along(node, term.clone(), axis, |_, _| Ok(taken.clone()))?
        });
    }
    Ok(Imported::Terms(terms))
}

/// `Expand`. What is the same for all examples becomes a tensor of each where the shape counts them.
pub(crate) fn import_expand(node: &mut Node<'_, '_>) -> Result<Imported, GraphError> {
    node.expect_inputs(2..=2)?;
    node.expect_attributes(&[])?;
    let target = node.extents(1)?;
    let own = super::layout::extents(node)?;
    let refusal = |node: &Node<'_, '_>| {
        node.shape(
            format!("a shape that {} extends to", display_extents(&own)),
            display_extents(&target),
        )
    };
    let size = |extent: &Extent| match *extent {
        Extent::Known(size) => usize::try_from(size).ok(),
        Extent::Batch(1) => Some(1),
        Extent::Batch(_) => None,
    };
    let dims: Vec<usize> = target
        .iter()
        .map(size)
        .collect::<Option<_>>()
        .ok_or_else(|| refusal(node))?;
    match node.term(0)? {
        Term::Stored(_) | Term::Constant(_) => {
            let operand = node.operand(0)?;
            match target
                .iter()
                .position(|extent| matches!(extent, Extent::Batch(_)))
            {
                Some(axis) => {
                    let target = View {
                        dims,
                        axis,
                        outer: 1,
                    };
                    let sizes = match &operand {
                        Operand::Parameter(stored) => &stored.dims,
                        Operand::Constant(constant) => &constant.dims,
                        Operand::Value(value) => &value.view.dims,
                    };
                    let view = side::beside(&target, sizes).ok_or_else(|| refusal(node))?;
                    node.output_shape(view.dims.clone())?;
                    source::import(node, operand, view)
                        .map(|value| Imported::Term(Term::Value(value)))
                }
                None => match operand {
                    Operand::Parameter(stored) => {
                        let all = index::broadcast_dims(&stored.dims, &dims)
                            .ok_or_else(|| refusal(node))?;
                        let elements =
                            index::broadcast(&stored.dims, &all).ok_or_else(|| refusal(node))?;
                        Ok(Imported::Term(Term::Stored(stored.pick(all, &elements))))
                    }
                    // A constant is expanded where all is known: what is left here counts the examples.
                    _ => Err(refusal(node)),
                },
            }
        }
        _ => {
            let value = node.any_value(0)?;
            let counts_examples = |target: &[Extent]| {
                let place = value.view.dims.len() - value.view.axis;
                target.iter().enumerate().all(|(axis, extent)| {
                    !matches!(extent, Extent::Batch(_)) || target.len() - axis == place
                })
            };
            let view = side::beside(&value.view, &dims).filter(|_| counts_examples(&target));
            let view = view.ok_or_else(|| refusal(node))?;
            node.output_shape(view.dims.clone())?;
            let elements =
                index::broadcast(&value.view.dims, &view.dims).ok_or_else(|| refusal(node))?;
            rearranged(node, value, view, elements, 0.0).map(Imported::Term)
        }
    }
}

/// `Pad` with a constant, by reflection or by the edge; negative pads cut off.
pub(crate) fn import_pad(node: &mut Node<'_, '_>) -> Result<Imported, GraphError> {
    node.expect_inputs(2..=4)?;
    node.expect_attributes(&["mode"])?;
    let mode = node.text("mode", "constant")?;
    if !["constant", "reflect", "edge"].contains(&mode.as_str()) {
        return Err(node.setting(format!("mode {mode}"), "constant, reflect or edge"));
    }
    let input = node.any_value(0)?;
    let pads = node.numbers(1)?;
    let filling = match node.optional_constant(2)? {
        None => 0.0,
        Some(constant) => match constant.floats().as_deref() {
            Some(&[value]) => value,
            _ => return Err(node.input_error(2, "no number", "one number")),
        },
    };
    let rank = input.view.dims.len();
    let axes: Vec<usize> = if node.has_input(3) {
        node.numbers(3)?
            .iter()
            .map(|&axis| index::axis(axis, rank))
            .collect::<Option<_>>()
            .ok_or_else(|| node.setting("axes out of range", "axes of the input"))?
    } else {
        (0..rank).collect()
    };
    if pads.len() != 2 * axes.len() {
        return Err(node.setting(
            format!("{} pads", pads.len()),
            format!("{} of them", 2 * axes.len()),
        ));
    }
    let mut dims = input.view.dims.clone();
    let mut elements: Vec<usize> = (0..dims.iter().product()).collect();
    for (place, &axis) in axes.iter().enumerate() {
        let (before, after) = (pads[place], pads[place + axes.len()]);
        if before == 0 && after == 0 {
            continue;
        }
        if axis == input.view.axis {
            return Err(mixes(node, axis as i64));
        }
        let taken = padded(dims[axis], before, after, &mode).ok_or_else(|| {
            node.setting(
                format!("pads {before} and {after} of {} ({mode})", dims[axis]),
                "pads that leave something, and reflect less than there is",
            )
        })?;
        let mut larger = dims.clone();
        larger[axis] = taken.len();
        node.output_shape(larger.clone())?;
        elements = pick_padded(&elements, &dims, axis, &taken);
        dims = larger;
    }
    let view = input.view.with_dims(dims);
    rearranged(node, input, view, elements, filling).map(Imported::Term)
}

/// For each index of a padded dimension the index that it takes, or [`FILLED`].
fn padded(size: usize, before: i64, after: i64, mode: &str) -> Option<Vec<usize>> {
    let count = i64::try_from(size).ok()?;
    let end = count.checked_add(after)?;
    if end.checked_add(before)? < 1 || before.max(after) > crate::graph::Shape::ELEMENT_LIMIT as i64
    {
        return None;
    }
    (-before..end)
        .map(|at| {
            let at = match mode {
                "edge" => at.clamp(0, count - 1),
                "reflect" if at < 0 => -at,
                "reflect" if at >= count => 2 * (count - 1) - at,
                _ => at,
            };
            if (0..count).contains(&at) {
                usize::try_from(at).ok()
            } else if mode == "constant" {
                Some(FILLED)
            } else {
                None
            }
        })
        .collect()
}

fn pick_padded(elements: &[usize], dims: &[usize], axis: usize, taken: &[usize]) -> Vec<usize> {
    let inner: usize = dims[axis + 1..].iter().product();
    let mut picked = Vec::new();
    for block in elements.chunks_exact(dims[axis] * inner) {
        for &index in taken {
            if index == FILLED {
                picked.extend(std::iter::repeat_n(FILLED, inner));
            } else {
                picked.extend(&block[index * inner..(index + 1) * inner]);
            }
        }
    }
    picked
}

/// Some indices along an axis of whatever the term is.
fn along(
    node: &mut Node<'_, '_>,
    term: Term,
    axis: i64,
    taken: impl FnOnce(&Node<'_, '_>, usize) -> Result<Vec<usize>, GraphError>,
) -> Result<Term, GraphError> {
    let out_of_range =
        |node: &Node<'_, '_>| node.setting(format!("axis {axis}"), "an axis of the input");
    if let Term::Stored(stored) = term {
        let at = index::axis(axis, stored.dims.len()).ok_or_else(|| out_of_range(node))?;
        let taken = taken(node, stored.dims[at])?;
        let elements = index::take(&stored.dims, at, &taken);
        let mut dims = stored.dims.clone();
        dims[at] = taken.len();
        return Ok(Term::Stored(stored.pick(dims, &elements)));
    }
    let value = match term {
        Term::Value(value) => value,
        _ => node.value_or_lookup(0)?,
    };
    let at = index::axis(axis, value.view.dims.len()).ok_or_else(|| out_of_range(node))?;
    if at == value.view.axis {
        return Err(mixes(node, axis));
    }
    let taken = taken(node, value.view.dims[at])?;
    let elements = index::take(&value.view.dims, at, &taken);
    let mut dims = value.view.dims.clone();
    dims[at] = taken.len();
    let view = value.view.with_dims(dims);
    node.output_shape(view.dims.clone())?;
    rearranged(node, value, view, elements, 0.0)
}

fn seen(node: &Node<'_, '_>, value: &Value, view: View) -> Result<Value, GraphError> {
    let shown = view.display();
    value
        .seen(view)
        .ok_or_else(|| node.setting(format!("an output of {shown}"), "at least one element"))
}

fn mixes(node: &Node<'_, '_>, axis: i64) -> GraphError {
    node.setting(
        format!("axis {axis}, along which the examples lie"),
        "an axis of one example's own: examples are computed apart",
    )
}
