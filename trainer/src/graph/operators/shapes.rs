//! Operators on shapes, all of them worked out on import: what `x.view(x.size(0), -1)` exports to.

use crate::graph::error::GraphError;
use crate::graph::node::Node;
use crate::graph::plan::{Extent, Imported, Integers, Term};

/// Shapes have few dimensions; a longer list is no shape.
const LENGTH_LIMIT: usize = 64;

pub(crate) fn import_constant(node: &mut Node<'_, '_>) -> Result<Imported, GraphError> {
    let integers = node.constant()?;
    finish(node, integers)
}

/// `Shape`: the number of examples stays open, the rest is known.
pub(crate) fn import_shape(node: &mut Node<'_, '_>) -> Result<Imported, GraphError> {
    node.expect_inputs(1..=1)?;
    node.expect_attributes(&[])?;
    let dims = node.value(0)?.shape;
    let known = dims
        .dims()
        .iter()
        .map(|&dim| i64::try_from(dim).map(Extent::Known));
    let values: Result<Vec<Extent>, _> = std::iter::once(Ok(Extent::Batch)).chain(known).collect();
    let values =
        values.map_err(|_| node.setting("a dimension beyond 63 bits", "smaller dimensions"))?;
    finish(
        node,
        Integers {
            values,
            scalar: false,
        },
    )
}

/// `Gather`, of one element or some elements of a shape.
pub(crate) fn import_gather(node: &mut Node<'_, '_>) -> Result<Imported, GraphError> {
    node.expect_inputs(2..=2)?;
    node.expect_attributes(&["axis"])?;
    node.expect_int("axis", 0)?;
    let (data, indices) = (node.integers(0)?, node.integers(1)?);
    let length = data.values.len();
    let pick = |index: &Extent| match *index {
        Extent::Known(index) => {
            let index = if index < 0 {
                index.checked_add_unsigned(length as u64)?
            } else {
                index
            };
            data.values.get(usize::try_from(index).ok()?).copied()
        }
        Extent::Batch => None,
    };
    let values: Option<Vec<Extent>> = indices.values.iter().map(pick).collect();
    let values = values.ok_or_else(|| {
        node.setting(
            "an index out of range",
            format!("indices into {length} elements"),
        )
    })?;
    finish(
        node,
        Integers {
            values,
            scalar: indices.scalar,
        },
    )
}

/// `Unsqueeze` of a single number into a list of one.
pub(crate) fn import_unsqueeze(node: &mut Node<'_, '_>) -> Result<Imported, GraphError> {
    node.expect_inputs(1..=2)?;
    node.expect_attributes(&["axes"])?;
    let data = node.integers(0)?;
    let axes = match node.input_count() {
        // Until opset 12 the axes were an attribute.
        1 => node
            .sizes::<1>("axes", None)?
            .map(|axis| Extent::Known(axis as i64))
            .to_vec(),
        _ => node.integers(1)?.values,
    };
    let first = matches!(axes.as_slice(), [Extent::Known(0 | -1)]);
    if !first || !data.scalar {
        return Err(node.setting(
            format!("axes {axes:?}"),
            "a single number made a list, axis 0",
        ));
    }
    finish(
        node,
        Integers {
            values: data.values,
            scalar: false,
        },
    )
}

/// `Concat` of shapes.
pub(crate) fn import_concat(node: &mut Node<'_, '_>) -> Result<Imported, GraphError> {
    node.expect_inputs(1..=LENGTH_LIMIT)?;
    node.expect_attributes(&["axis"])?;
    let mut values = Vec::new();
    for index in 0..node.input_count() {
        let part = node.integers(index)?;
        if part.scalar {
            return Err(node.setting("a part without dimensions", "lists of whole numbers"));
        }
        values.extend(part.values);
    }
    node.expect_int("axis", 0)?;
    finish(
        node,
        Integers {
            values,
            scalar: false,
        },
    )
}

fn finish(node: &Node<'_, '_>, integers: Integers) -> Result<Imported, GraphError> {
    if integers.values.len() > LENGTH_LIMIT {
        return Err(node.setting(
            format!("{} numbers", integers.values.len()),
            format!("a shape, at most {LENGTH_LIMIT} numbers"),
        ));
    }
    Ok(Imported::Term(Term::Integers(integers)))
}
