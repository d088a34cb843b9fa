//! New constants: from shapes, ranges, reductions and other types.

use super::{Constant, Data, Extent, Folding, GraphError};
use crate::graph::index;
use crate::onnx::{AttributeProto, BOOL, DOUBLE, FLOAT, INT32, INT64};

/// `Identity`.
pub(super) fn fold_identity(folding: &Folding<'_, '_, '_>) -> Result<Constant, GraphError> {
    folding.input(0).cloned()
}

/// `Shape` of a constant, from `start` to `end`.
pub(super) fn fold_shape(folding: &Folding<'_, '_, '_>) -> Result<Constant, GraphError> {
    let extents: Vec<Extent> = folding
        .input(0)?
        .dims
        .iter()
        .map(|&dim| i64::try_from(dim).map(Extent::Known))
        .collect::<Result<_, _>>()
        .map_err(|_| folding.unfit())?;
    shape_part(folding.node, &extents)
}

/// The part of a shape that a `Shape` node asks for.
pub(crate) fn shape_part(
    node: &crate::graph::node::Node<'_, '_>,
    extents: &[Extent],
) -> Result<Constant, GraphError> {
    let (start, end) = (node.int("start", 0)?, node.int("end", i64::MAX)?);
    let taken = index::slice(extents.len(), start, end, 1).unwrap_or_default();
    Ok(Constant::list(
        taken.into_iter().map(|index| extents[index]).collect(),
    ))
}

/// `Size` of a constant.
pub(super) fn fold_size(folding: &Folding<'_, '_, '_>) -> Result<Constant, GraphError> {
    let elements = i64::try_from(folding.input(0)?.elements()).map_err(|_| folding.unfit())?;
    Ok(Constant::scalar(Extent::Known(elements)))
}

/// `Cast` between floats, whole numbers and truth values.
pub(super) fn fold_cast(folding: &Folding<'_, '_, '_>) -> Result<Constant, GraphError> {
    let input = folding.input(0)?;
    let to = folding.node.int("to", i64::from(FLOAT))?;
    let is = |kind: i32| to == i64::from(kind);
    let data = if is(FLOAT) || is(DOUBLE) {
        Data::Floats(input.floats().ok_or_else(|| folding.unfit())?)
    } else if is(INT64) || is(INT32) {
        match &input.data {
            Data::Integers(values) => Data::Integers(values.clone()),
            Data::Floats(values) => Data::Integers(
                values
                    .iter()
                    .map(|&value| Extent::Known(value as i64))
                    .collect(),
            ),
            Data::Booleans(values) => Data::Integers(
                values
                    .iter()
                    .map(|&value| Extent::Known(i64::from(value)))
                    .collect(),
            ),
        }
    } else if is(BOOL) {
        let floats = input.floats().ok_or_else(|| folding.unfit())?;
        Data::Booleans(floats.iter().map(|&value| value != 0.0).collect())
    } else {
        return Err(folding.node.setting(
            format!("a cast to ONNX data type {to}"),
            "float32, float64, int32, int64 or bool",
        ));
    };
    Ok(Constant {
        dims: input.dims.clone(),
        data,
    })
}

/// `ConstantOfShape`: one value throughout, the float 0 where none is given.
pub(super) fn fold_constant_of_shape(
    folding: &Folding<'_, '_, '_>,
) -> Result<Constant, GraphError> {
    let dims: Vec<usize> = folding
        .list(0)?
        .iter()
        .map(|&size| usize::try_from(size).map_err(|_| folding.unfit()))
        .collect::<Result<_, _>>()?;
    let dims = folding.checked(dims)?;
    let elements = dims.iter().product();
    let value = match folding.node.attribute("value", AttributeProto::TENSOR)? {
        Some(attribute) => {
            let tensor = attribute.t.as_ref().ok_or_else(|| folding.unfit())?;
            Constant::read(tensor)?
        }
        None => Constant {
            dims: vec![1],
            data: Data::Floats(vec![0.0]),
        },
    };
    if value.elements() != 1 {
        return Err(folding.unfit());
    }
    Ok(value.pick(dims, &vec![0; elements]))
}

/// `Range` of whole numbers or floats.
pub(super) fn fold_range(folding: &Folding<'_, '_, '_>) -> Result<Constant, GraphError> {
    let count = |span: f64| {
        let count = span.ceil().max(0.0);
        (count <= Constant::ELEMENT_LIMIT as f64).then_some(count as i64)
    };
    let bounds: Vec<&Constant> = (0..3)
        .map(|index| folding.input(index))
        .collect::<Result<_, _>>()?;
    if bounds.iter().any(|bound| bound.elements() != 1) {
        return Err(folding.unfit());
    }
    if bounds
        .iter()
        .all(|bound| matches!(bound.data, Data::Integers(_)))
    {
        let mut values = [0; 3];
        for (index, value) in values.iter_mut().enumerate() {
            *value = folding.list(index)?[0];
        }
        let [start, limit, step] = values;
        if step == 0 {
            return Err(folding.unfit());
        }
        let span = (limit as f64 - start as f64) / step as f64;
        let count = count(span).ok_or_else(|| folding.unfit())?;
        let values = (0..count)
            .map(|index| {
                start
                    .checked_add(index.checked_mul(step)?)
                    .map(Extent::Known)
            })
            .collect::<Option<_>>();
        return Ok(Constant::list(values.ok_or_else(|| folding.unfit())?));
    }
    let mut values = [0.0; 3];
    for (value, bound) in values.iter_mut().zip(&bounds) {
        *value = bound.floats().ok_or_else(|| folding.unfit())?[0];
    }
    let [start, limit, step] = values;
    if !(values.iter().all(|value| value.is_finite()) && step != 0.0) {
        return Err(folding.unfit());
    }
    let span = (f64::from(limit) - f64::from(start)) / f64::from(step);
    let count = count(span).ok_or_else(|| folding.unfit())?;
    let values: Vec<f32> = (0..count)
        .map(|index| start + index as f32 * step)
        .collect();
    Ok(Constant {
        dims: vec![values.len()],
        data: Data::Floats(values),
    })
}

/// `ReduceProd`, `ReduceSum`, `ReduceMax` and `ReduceMin` of whole numbers.
pub(super) fn fold_reduce(folding: &Folding<'_, '_, '_>) -> Result<Constant, GraphError> {
    let input = folding.input(0)?;
    let Data::Integers(values) = &input.data else {
        return Err(folding.unfit());
    };
    let rank = input.dims.len();
    let axes: Vec<usize> = match folding.axes(1)? {
        Some(axes) if !axes.is_empty() => axes
            .iter()
            .map(|&axis| index::axis(axis, rank).ok_or_else(|| folding.unfit()))
            .collect::<Result<_, _>>()?,
        _ => (0..rank).collect(),
    };
    let reduced: Vec<usize> = (0..rank)
        .map(|axis| {
            if axes.contains(&axis) {
                1
            } else {
                input.dims[axis]
            }
        })
        .collect();
    let targets = index::broadcast(&reduced, &input.dims).ok_or_else(|| folding.unfit())?;
    let mut results: Vec<Option<Extent>> = vec![None; reduced.iter().product()];
    for (&value, &target) in values.iter().zip(&targets) {
        let result = &mut results[target];
        let combined = match (*result, folding.operator()) {
            (None, _) => Some(value),
            (Some(all), "ReduceProd") => all.multiply(value),
            (Some(all), "ReduceSum") => all.add(value),
            (Some(all), "ReduceMax") => all.less(value).map(|less| if less { value } else { all }),
            (Some(all), _) => all.less(value).map(|less| if less { all } else { value }),
        };
        *result = Some(combined.ok_or_else(|| folding.unfit())?);
    }
    let data = results.into_iter().collect::<Option<Vec<Extent>>>();
    let keep = folding.node.int("keepdims", 1)? != 0;
    let kept = reduced
        .iter()
        .enumerate()
        .filter(|(axis, _)| keep || !axes.contains(axis))
        .map(|(_, &dim)| dim);
    Ok(Constant {
        dims: kept.collect(),
        data: Data::Integers(data.ok_or_else(|| folding.unfit())?),
    })
}

/// `Trilu`: what lies above or below a diagonal stays, the rest becomes zero or false. Causal masks are made so.
pub(super) fn fold_trilu(folding: &Folding<'_, '_, '_>) -> Result<Constant, GraphError> {
    let input = folding.input(0)?;
    let diagonal = match folding.optional(1) {
        Some(_) => *folding.list(1)?.first().ok_or_else(|| folding.unfit())?,
        None => 0,
    };
    let upper = folding.node.int("upper", 1)? != 0;
    let &[.., rows, columns] = input.dims.as_slice() else {
        return Err(folding.unfit());
    };
    let kept = |element: usize| {
        let (row, column) = (element / columns % rows, element % columns);
        let distance = column as i64 - row as i64;
        if upper {
            distance >= diagonal
        } else {
            distance <= diagonal
        }
    };
    fn keep<T: Copy>(values: &[T], kept: impl Fn(usize) -> bool, else_: T) -> Vec<T> {
        values
            .iter()
            .enumerate()
            .map(|(element, &value)| if kept(element) { value } else { else_ })
            .collect()
    }
    let data = match &input.data {
        Data::Integers(values) => Data::Integers(keep(values, kept, Extent::Known(0))),
        Data::Floats(values) => Data::Floats(keep(values, kept, 0.0)),
        Data::Booleans(values) => Data::Booleans(keep(values, kept, false)),
    };
    Ok(Constant {
        dims: input.dims.clone(),
        data,
    })
}
