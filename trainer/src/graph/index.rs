//! Where elements lie: strides, broadcasting, permutations and slices of row-major tensors.

/// For each element of a tensor of `dims`, the element that it is in one of `own` dims extended by broadcasting (ONNX,
/// "Multidirectional Broadcasting": dimensions are compared from the last, and 1 extends to anything). `None` where they
/// do not fit.
pub(crate) fn broadcast(own: &[usize], dims: &[usize]) -> Option<Vec<usize>> {
    let offset = dims.len().checked_sub(own.len())?;
    let fits = own
        .iter()
        .zip(&dims[offset..])
        .all(|(&own, &dim)| own == dim || own == 1);
    if !fits {
        return None;
    }
    let mut strides = vec![0; dims.len()];
    let mut stride = 1;
    for (axis, &size) in own.iter().enumerate().rev() {
        strides[offset + axis] = if size == 1 { 0 } else { stride };
        stride *= size;
    }
    Some(walk(dims, &strides, 0))
}

/// The dims that two tensors have together after broadcasting.
pub(crate) fn broadcast_dims(left: &[usize], right: &[usize]) -> Option<Vec<usize>> {
    let rank = left.len().max(right.len());
    let at = |dims: &[usize], axis: usize| {
        (axis + dims.len())
            .checked_sub(rank)
            .map_or(1, |own| dims[own])
    };
    (0..rank)
        .map(|axis| match (at(left, axis), at(right, axis)) {
            (a, b) if a == b => Some(a),
            (1, b) => Some(b),
            (a, 1) => Some(a),
            _ => None,
        })
        .collect()
}

/// Row-major strides.
pub(crate) fn strides(dims: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; dims.len()];
    for axis in (1..dims.len()).rev() {
        strides[axis - 1] = strides[axis] * dims[axis];
    }
    strides
}

/// The elements met when walking over `dims` in row-major order, with these strides.
pub(crate) fn walk(dims: &[usize], strides: &[usize], start: usize) -> Vec<usize> {
    let mut sources = vec![start];
    for (&size, &stride) in dims.iter().zip(strides) {
        sources = sources
            .iter()
            .flat_map(|&source| (0..size).map(move |step| source + step * stride))
            .collect();
    }
    sources
}

/// For each element of the transposed tensor, its element in the original of `dims`.
pub(crate) fn transpose(dims: &[usize], permutation: &[usize]) -> Vec<usize> {
    let strides = strides(dims);
    let (to, steps): (Vec<usize>, Vec<usize>) = permutation
        .iter()
        .map(|&axis| (dims[axis], strides[axis]))
        .unzip();
    walk(&to, &steps, 0)
}

/// For each element that is taken along `axis` by `indices`, its element in a tensor of `dims`.
pub(crate) fn take(dims: &[usize], axis: usize, indices: &[usize]) -> Vec<usize> {
    let inner: usize = dims[axis + 1..].iter().product();
    let outer: usize = dims[..axis].iter().product();
    let mut sources = Vec::with_capacity(outer * indices.len() * inner);
    for block in 0..outer {
        for &index in indices {
            let start = (block * dims[axis] + index) * inner;
            sources.extend(start..start + inner);
        }
    }
    sources
}

/// An axis counted from the front, where it is one of `rank`.
pub(crate) fn axis(axis: i64, rank: usize) -> Option<usize> {
    let from_front = if axis < 0 {
        axis.checked_add(i64::try_from(rank).ok()?)?
    } else {
        axis
    };
    usize::try_from(from_front).ok().filter(|&axis| axis < rank)
}

/// The indices that ONNX's `Slice` takes of a dimension of `size`: start, end and step of any sign, clamped.
pub(crate) fn slice(size: usize, start: i64, end: i64, step: i64) -> Option<Vec<usize>> {
    let size = i64::try_from(size).ok()?;
    let wrap = |index: i64| {
        if index < 0 {
            index.saturating_add(size)
        } else {
            index
        }
    };
    let mut indices = Vec::new();
    if step > 0 {
        let (mut at, end) = (wrap(start).clamp(0, size), wrap(end).clamp(0, size));
        while at < end {
            indices.push(usize::try_from(at).ok()?);
            at = at.saturating_add(step);
        }
    } else if step < 0 {
        let (mut at, end) = (
            wrap(start).clamp(-1, size - 1),
            wrap(end).clamp(-1, size - 1),
        );
        while at > end {
            indices.push(usize::try_from(at).ok()?);
            at = at.saturating_add(step);
        }
    } else {
        return None;
    }
    Some(indices)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broadcasting_extends_dimensions_of_one_from_the_last() {
        assert_eq!(broadcast(&[3], &[2, 3]), Some(vec![0, 1, 2, 0, 1, 2]));
        assert_eq!(broadcast(&[2, 1], &[2, 2]), Some(vec![0, 0, 1, 1]));
        assert_eq!(broadcast(&[], &[2]), Some(vec![0, 0]));
        assert_eq!(broadcast(&[2], &[3]), None);
        assert_eq!(broadcast(&[1, 2], &[2]), None);
        assert_eq!(broadcast_dims(&[2, 1], &[3]), Some(vec![2, 3]));
        assert_eq!(broadcast_dims(&[2], &[3]), None);
    }

    #[test]
    fn slices_are_clamped_and_may_run_backwards() {
        assert_eq!(slice(4, -1, i64::MAX, 1), Some(vec![3]));
        assert_eq!(slice(4, i64::MIN, -2, 1), Some(vec![0, 1]));
        assert_eq!(slice(4, 3, i64::MIN, -2), Some(vec![3, 1]));
        assert_eq!(slice(4, 0, 4, i64::MAX), Some(vec![0]));
        assert_eq!(slice(4, 2, 1, 1), Some(vec![]));
        assert_eq!(slice(4, 0, 1, 0), None);
    }

    #[test]
    fn taking_and_transposing_follow_row_major_order() {
        assert_eq!(transpose(&[2, 3], &[1, 0]), vec![0, 3, 1, 4, 2, 5]);
        assert_eq!(take(&[2, 3], 1, &[2, 0]), vec![2, 0, 5, 3]);
        assert_eq!(axis(-1, 3), Some(2));
        assert_eq!(axis(3, 3), None);
        assert_eq!(axis(i64::MIN, 3), None);
    }
}
