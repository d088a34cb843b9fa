//! The same elements elsewhere.

use super::{Constant, Data, Extent, Folding, GraphError};
use crate::graph::index;

/// `Reshape`, with -1 and 0 as in ONNX.
pub(super) fn fold_reshape(folding: &Folding<'_, '_, '_>) -> Result<Constant, GraphError> {
    let input = folding.input(0)?;
    let zero_copies = folding.node.int("allowzero", 0)? == 0;
    let mut dims = Vec::new();
    let mut inferred = None;
    for (index, &size) in folding.list(1)?.iter().enumerate() {
        dims.push(match size {
            -1 if inferred.is_none() => {
                inferred = Some(index);
                1
            }
            0 if zero_copies => *input.dims.get(index).ok_or_else(|| folding.unfit())?,
            size => usize::try_from(size).map_err(|_| folding.unfit())?,
        });
    }
    let mut dims = folding.checked(dims)?;
    if let Some(index) = inferred {
        let rest: usize = dims.iter().product();
        dims[index] = input
            .elements()
            .checked_div(rest)
            .ok_or_else(|| folding.unfit())?;
    }
    if dims.iter().product::<usize>() != input.elements() {
        return Err(folding.unfit());
    }
    Ok(Constant {
        dims,
        data: input.data.clone(),
    })
}

/// `Flatten` to two dimensions.
pub(super) fn fold_flatten(folding: &Folding<'_, '_, '_>) -> Result<Constant, GraphError> {
    let input = folding.input(0)?;
    let at = folding.node.int("axis", 1)?;
    let at = index::axis(at, input.dims.len() + 1).ok_or_else(|| folding.unfit())?;
    let dims = vec![
        input.dims[..at].iter().product(),
        input.dims[at..].iter().product(),
    ];
    Ok(Constant {
        dims,
        data: input.data.clone(),
    })
}

/// `Unsqueeze`.
pub(super) fn fold_unsqueeze(folding: &Folding<'_, '_, '_>) -> Result<Constant, GraphError> {
    let input = folding.input(0)?;
    let axes = folding.axes(1)?.ok_or_else(|| folding.unfit())?;
    let dims = unsqueezed(&input.dims, &axes).ok_or_else(|| folding.unfit())?;
    Ok(Constant {
        dims,
        data: input.data.clone(),
    })
}

/// `Squeeze`: given axes, or all of size one.
pub(super) fn fold_squeeze(folding: &Folding<'_, '_, '_>) -> Result<Constant, GraphError> {
    let input = folding.input(0)?;
    let axes = folding.axes(1)?;
    let dims = squeezed(&input.dims, axes.as_deref()).ok_or_else(|| folding.unfit())?;
    Ok(Constant {
        dims,
        data: input.data.clone(),
    })
}

/// `Transpose`; the order of dimensions is turned round where none is given.
pub(super) fn fold_transpose(folding: &Folding<'_, '_, '_>) -> Result<Constant, GraphError> {
    let input = folding.input(0)?;
    let order =
        permutation(folding.node.ints("perm")?, input.dims.len()).ok_or_else(|| folding.unfit())?;
    let dims = order.iter().map(|&axis| input.dims[axis]).collect();
    Ok(input.pick(dims, &index::transpose(&input.dims, &order)))
}

/// `Expand`: broadcasting in both directions.
pub(super) fn fold_expand(folding: &Folding<'_, '_, '_>) -> Result<Constant, GraphError> {
    let input = folding.input(0)?;
    let target = sizes(folding, 1)?;
    let dims = index::broadcast_dims(&input.dims, &target).ok_or_else(|| folding.unfit())?;
    let dims = folding.checked(dims)?;
    let sources = index::broadcast(&input.dims, &dims).ok_or_else(|| folding.unfit())?;
    Ok(input.pick(dims, &sources))
}

/// `Tile`.
pub(super) fn fold_tile(folding: &Folding<'_, '_, '_>) -> Result<Constant, GraphError> {
    let input = folding.input(0)?;
    let repeats = sizes(folding, 1)?;
    if repeats.len() != input.dims.len() {
        return Err(folding.unfit());
    }
    let mut tiled = input.clone();
    for (axis, &times) in repeats.iter().enumerate() {
        let mut dims = tiled.dims.clone();
        dims[axis] = dims[axis]
            .checked_mul(times)
            .ok_or_else(|| folding.unfit())?;
        let dims = folding.checked(dims)?;
        let indices: Vec<usize> = (0..dims[axis])
            .map(|index| index % tiled.dims[axis])
            .collect();
        let sources = index::take(&tiled.dims, axis, &indices);
        tiled = tiled.pick(dims, &sources);
    }
    Ok(tiled)
}

/// `Gather` along an axis; a single index takes the axis away.
pub(super) fn fold_gather(folding: &Folding<'_, '_, '_>) -> Result<Constant, GraphError> {
    let (input, indices) = (folding.input(0)?, folding.input(1)?);
    let axis = index::axis(folding.node.int("axis", 0)?, input.dims.len())
        .ok_or_else(|| folding.unfit())?;
    let Data::Integers(wanted) = &indices.data else {
        return Err(folding.unfit());
    };
    let wanted: Vec<usize> = wanted
        .iter()
        .map(|index| index::axis(index.known()?, input.dims[axis]))
        .collect::<Option<_>>()
        .ok_or_else(|| folding.unfit())?;
    let mut dims = input.dims[..axis].to_vec();
    dims.extend(&indices.dims);
    dims.extend(&input.dims[axis + 1..]);
    let dims = folding.checked(dims)?;
    Ok(input.pick(dims, &index::take(&input.dims, axis, &wanted)))
}

/// `Slice`.
pub(super) fn fold_slice(folding: &Folding<'_, '_, '_>) -> Result<Constant, GraphError> {
    let mut result = folding.input(0)?.clone();
    let (starts, ends) = (folding.list(1)?, folding.list(2)?);
    let axes = match folding.optional(3) {
        Some(_) => folding.list(3)?,
        None => (0i64..).take(starts.len()).collect(),
    };
    let steps = match folding.optional(4) {
        Some(_) => folding.list(4)?,
        None => vec![1; starts.len()],
    };
    if [ends.len(), axes.len(), steps.len()] != [starts.len(); 3] {
        return Err(folding.unfit());
    }
    for part in 0..starts.len() {
        let axis = index::axis(axes[part], result.dims.len()).ok_or_else(|| folding.unfit())?;
        let taken = index::slice(result.dims[axis], starts[part], ends[part], steps[part])
            .ok_or_else(|| folding.unfit())?;
        let sources = index::take(&result.dims, axis, &taken);
        let mut dims = result.dims.clone();
        dims[axis] = taken.len();
        result = result.pick(dims, &sources);
    }
    Ok(result)
}

/// `Concat`.
pub(super) fn fold_concat(folding: &Folding<'_, '_, '_>) -> Result<Constant, GraphError> {
    let first = folding.input(0)?;
    let axis = index::axis(folding.node.int("axis", 0)?, first.dims.len())
        .ok_or_else(|| folding.unfit())?;
    let mut dims = first.dims.clone();
    dims[axis] = 0;
    let mut parts = Vec::new();
    for index in 0..folding.inputs.len() {
        let part = folding.input(index)?;
        let mut own = part.dims.clone();
        let size = own.get_mut(axis).map(std::mem::take);
        dims[axis] += size.ok_or_else(|| folding.unfit())?;
        own[axis] = dims[axis];
        if own != dims {
            return Err(folding.unfit());
        }
        parts.push(part);
    }
    let dims = folding.checked(dims)?;
    let inner: usize = dims[axis + 1..].iter().product();
    let outer: usize = dims[..axis].iter().product();
    // Where each element is in the parts one after the other.
    let mut sources = Vec::new();
    for block in 0..outer {
        let mut start = 0;
        for part in &parts {
            let run = part.dims[axis] * inner;
            sources.extend(start + block * run..start + (block + 1) * run);
            start += part.elements();
        }
    }
    let all = joined(&parts).ok_or_else(|| folding.unfit())?;
    Ok(all.pick(dims, &sources))
}

/// The dims with dimensions of one at `axes`, which count in the result.
pub(crate) fn unsqueezed(dims: &[usize], axes: &[i64]) -> Option<Vec<usize>> {
    let rank = dims.len() + axes.len();
    let mut is_new = vec![false; rank];
    for &axis in axes {
        let place = &mut is_new[index::axis(axis, rank)?];
        if std::mem::replace(place, true) {
            return None;
        }
    }
    let mut own = dims.iter();
    is_new
        .into_iter()
        .map(|is_new| if is_new { Some(1) } else { own.next().copied() })
        .collect()
}

/// The dims without those at `axes`, or without all of one.
pub(crate) fn squeezed(dims: &[usize], axes: Option<&[i64]>) -> Option<Vec<usize>> {
    let Some(axes) = axes else {
        return Some(dims.iter().copied().filter(|&dim| dim != 1).collect());
    };
    let axes: Vec<usize> = axes
        .iter()
        .map(|&axis| index::axis(axis, dims.len()).filter(|&axis| dims[axis] == 1))
        .collect::<Option<_>>()?;
    let kept = dims
        .iter()
        .enumerate()
        .filter(|(axis, _)| !axes.contains(axis))
        .map(|(_, &dim)| dim);
    Some(kept.collect())
}

/// The order of dimensions that `Transpose` gives, each of them once.
pub(crate) fn permutation(order: Option<Vec<i64>>, rank: usize) -> Option<Vec<usize>> {
    let Some(order) = order else {
        return Some((0..rank).rev().collect());
    };
    let order: Vec<usize> = order
        .iter()
        .map(|&axis| usize::try_from(axis).ok())
        .collect::<Option<_>>()?;
    let mut sorted = order.clone();
    sorted.sort_unstable();
    sorted.into_iter().eq(0..rank).then_some(order)
}

fn sizes(folding: &Folding<'_, '_, '_>, index: usize) -> Result<Vec<usize>, GraphError> {
    folding
        .list(index)?
        .iter()
        .map(|&size| usize::try_from(size).map_err(|_| folding.unfit()))
        .collect()
}

/// Parts of one type, one after the other.
fn joined(parts: &[&Constant]) -> Option<Constant> {
    let mut integers: Vec<Extent> = Vec::new();
    let (mut floats, mut booleans) = (Vec::new(), Vec::new());
    for part in parts {
        match &part.data {
            Data::Integers(values) => integers.extend(values),
            Data::Floats(values) => floats.extend(values),
            Data::Booleans(values) => booleans.extend(values),
        }
    }
    let data = match (integers.is_empty(), floats.is_empty(), booleans.is_empty()) {
        (_, true, true) => Data::Integers(integers),
        (true, false, true) => Data::Floats(floats),
        (true, true, false) => Data::Booleans(booleans),
        _ => return None,
    };
    Some(Constant {
        dims: Vec::new(),
        data,
    })
}
