//! Flatten, Reshape and Identity: the same elements under another shape or name. Nothing is computed.

use crate::graph::error::GraphError;
use crate::graph::node::Node;
use crate::graph::plan::{Extent, Imported, Integers, Term, Value};

/// `Flatten` that keeps the examples apart.
pub(crate) fn import_flatten(node: &mut Node<'_, '_>) -> Result<Imported, GraphError> {
    node.expect_inputs(1..=1)?;
    node.expect_attributes(&["axis"])?;
    let value = node.value(0)?;
    let axis = node.int("axis", 1)?;
    // A negative axis counts from the end of a shape that includes the batch dimension.
    if axis != 1 && axis != -(value.shape.dims().len() as i64) {
        return Err(node.setting(
            format!("axis {axis}"),
            "axis 1, which keeps the batch dimension",
        ));
    }
    let shape = node.output_shape(vec![value.shape.elements()])?;
    Ok(Imported::Term(Term::Value(Value { shape, ..value })))
}

/// `Reshape` that keeps the examples apart.
pub(crate) fn import_reshape(node: &mut Node<'_, '_>) -> Result<Imported, GraphError> {
    node.expect_inputs(2..=2)?;
    node.expect_attributes(&["allowzero"])?;
    let value = node.value(0)?;
    let target = node.integers(1)?;
    let zero_copies = node.int("allowzero", 0)? == 0;
    let dims = resolve(value.shape.dims(), &target, node.batch(), zero_copies);
    let dims = dims
        .filter(|dims| dims.iter().product::<usize>() == value.shape.elements())
        .ok_or_else(|| {
            let target: Vec<String> = target
                .values
                .iter()
                .map(|extent| match extent {
                    Extent::Batch => "batch".to_owned(),
                    Extent::Known(size) => size.to_string(),
                })
                .collect();
            node.shape(
                format!(
                    "a shape that keeps the batch dimension and the {} elements of {}",
                    value.shape.elements(),
                    value.shape
                ),
                format!("[{}]", target.join(", ")),
            )
        })?;
    let shape = node.output_shape(dims)?;
    Ok(Imported::Term(Term::Value(Value { shape, ..value })))
}

/// The shape of an example after a reshape, if the first dimension stays the batch.
fn resolve(
    dims: &[usize],
    target: &Integers,
    batch: Option<i64>,
    zero_copies: bool,
) -> Option<Vec<usize>> {
    let elements: usize = dims.iter().product();
    let (first, rest) = target.values.split_first()?;
    let first_is_inferred = *first == Extent::Known(-1);
    let keeps_batch = match *first {
        Extent::Batch => true,
        Extent::Known(0) => zero_copies,
        Extent::Known(size) => first_is_inferred || Some(size) == batch,
    };
    if !keeps_batch || target.scalar {
        return None;
    }
    let mut sizes = Vec::new();
    let mut inferred = None;
    for (index, extent) in rest.iter().enumerate() {
        sizes.push(match *extent {
            Extent::Known(0) if zero_copies => *dims.get(index)?,
            Extent::Known(-1) if inferred.is_none() && !first_is_inferred => {
                inferred = Some(index);
                1
            }
            Extent::Known(size) => usize::try_from(size).ok()?,
            Extent::Batch => return None,
        });
    }
    let product = sizes
        .iter()
        .try_fold(1usize, |all, &size| all.checked_mul(size))?;
    if let Some(index) = inferred {
        sizes[index] = elements.checked_div(product)?;
    }
    let product = sizes
        .iter()
        .try_fold(1usize, |all, &size| all.checked_mul(size))?;
    (product == elements).then_some(sizes)
}

/// `Identity`. Of a weight it makes a weight of its own: the TorchScript exporter stores weights that are equal when
/// exported once and hands them out through Identity nodes, though the layers are trained apart.
pub(crate) fn import_identity(node: &mut Node<'_, '_>) -> Result<Imported, GraphError> {
    node.expect_inputs(1..=1)?;
    node.expect_attributes(&[])?;
    Ok(Imported::Term(match node.term(0)? {
        Term::Tensor { initializer, .. } => Term::Tensor {
            name: node.only_output()?.to_owned(),
            initializer,
        },
        term => term,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(dims: &[usize], target: &[Extent], batch: Option<i64>, expect: Option<&[usize]>) {
        let target = Integers {
            values: target.to_vec(),
            scalar: false,
        };
        assert_eq!(
            resolve(dims, &target, batch, true).as_deref(),
            expect,
            "{dims:?} to {target:?} with batch {batch:?}"
        );
    }

    #[test]
    fn reshapes_that_keep_the_batch_are_resolved_and_others_refused() {
        use Extent::{Batch, Known};
        check(&[32, 4, 4], &[Known(-1), Known(512)], None, Some(&[512]));
        check(&[32, 4, 4], &[Known(2), Known(512)], Some(2), Some(&[512]));
        check(&[32, 4, 4], &[Batch, Known(-1)], None, Some(&[512]));
        check(
            &[32, 4, 4],
            &[Known(0), Known(0), Known(-1)],
            None,
            Some(&[32, 16]),
        );
        check(&[6], &[Batch], None, None);
        check(&[1], &[Batch], None, Some(&[]));
        check(&[32, 4, 4], &[Known(2), Known(512)], None, None);
        check(&[32, 4, 4], &[Known(-1), Known(256)], None, None);
        check(&[32, 4, 4], &[Known(-1), Known(-1)], None, None);
        check(&[32, 4, 4], &[Batch, Batch], None, None);
        check(&[32, 4, 4], &[Batch, Known(-2)], None, None);
        check(&[3], &[Batch, Known(0), Known(0)], None, None);
        check(&[3], &[Batch, Known(i64::MAX), Known(i64::MAX)], None, None);
    }
}
