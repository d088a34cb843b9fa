//! How the tensors of a batch lie in the file: sizes, one of which counts the examples.
//!
//! PyTorch puts the examples first, mostly; a transformer moves them behind the positions, and attention merges them with
//! its heads. Whatever the file does, an example's own elements keep their order here, so such reshapes compute nothing;
//! a reshape that would mix examples has no [`View`].

use super::extent::Extent;
use super::shape::Shape;

/// The sizes of a tensor of a batch. One dimension holds the examples: `outer` × examples × the rest of its size, which
/// stands in `dims`; so an example by itself has exactly `dims`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) dims: Vec<usize>,
    /// The dimension with the examples.
    pub(crate) axis: usize,
    /// How many times the examples are gone through within that dimension.
    pub(crate) outer: usize,
}

impl View {
    /// Examples first, each of these sizes.
    pub(crate) fn examples_of(dims: &[usize]) -> Self {
        let dims = std::iter::once(1).chain(dims.iter().copied()).collect();
        Self {
            dims,
            axis: 0,
            outer: 1,
        }
    }

    /// Another tensor with its examples in the same place.
    pub(crate) fn with_dims(&self, dims: Vec<usize>) -> Self {
        Self {
            dims,
            axis: self.axis,
            outer: self.outer,
        }
    }

    /// The sizes in the file.
    pub(crate) fn extents(&self) -> Vec<Extent> {
        let count = |size: usize| i64::try_from(size).unwrap_or(i64::MAX);
        let mut extents: Vec<Extent> = self
            .dims
            .iter()
            .map(|&size| Extent::Known(count(size)))
            .collect();
        extents[self.axis] = Extent::Batch(count(self.dims[self.axis]));
        extents
    }

    /// One example's sizes, where the examples come first and alone.
    pub(crate) fn example_dims(&self) -> Option<&[usize]> {
        match self.dims.split_first() {
            Some((1, rest)) if self.axis == 0 => Some(rest),
            _ => None,
        }
    }

    /// One example's shape: the examples' dimension is left out where it counts nothing else.
    pub(crate) fn shape(&self) -> Option<Shape> {
        let mut dims = self.dims.clone();
        if dims[self.axis] == 1 {
            dims.remove(self.axis);
        }
        Shape::new(dims)
    }

    /// The sizes as messages show them.
    pub(crate) fn display(&self) -> String {
        display_extents(&self.extents())
    }

    /// The view after a reshape to these sizes, of which -1 is worked out and 0 copied where `zero_copies`; `examples` is
    /// how many the file was exported for, where it fixes that.
    pub(crate) fn reshape(
        &self,
        target: &[Extent],
        zero_copies: bool,
        examples: Option<i64>,
    ) -> Option<Self> {
        let own = self.extents();
        let elements = self.elements()?;
        let mut sizes = Vec::with_capacity(target.len());
        for (index, &extent) in target.iter().enumerate() {
            sizes.push(match extent {
                Extent::Known(0) if zero_copies => *own.get(index)?,
                extent => extent,
            });
        }
        let inferred = |extent: &Extent| *extent == Extent::Known(-1);
        if sizes.iter().filter(|size| inferred(size)).count() > 1 {
            return None;
        }
        if let Some(place) = sizes.iter().position(inferred) {
            let rest = sizes
                .iter()
                .filter(|size| !inferred(size))
                .try_fold(Extent::Known(1), |all, size| all.multiply(*size))?;
            let plain = Extent::Batch(elements).divide(rest).and_then(|size| {
                let mut sizes = sizes.clone();
                sizes[place] = size;
                self.place(&sizes, elements)
            });
            if plain.is_some() || sizes.iter().any(|size| matches!(size, Extent::Batch(_))) {
                return plain;
            }
            // Then one of the known sizes holds the number of examples, as the exporter wrote it down.
            let examples = examples?;
            let fixed = self.find_fixed(&sizes, examples)?;
            sizes[fixed] = Extent::Batch(sizes[fixed].known()?.checked_div(examples)?);
            let rest = Extent::Batch(rest.known()?.checked_div(examples)?);
            sizes[place] = Extent::Batch(elements).divide(rest)?;
        } else if !sizes.iter().any(|size| matches!(size, Extent::Batch(_))) {
            let examples = examples?;
            let fixed = self.find_fixed(&sizes, examples)?;
            sizes[fixed] = Extent::Batch(sizes[fixed].known()?.checked_div(examples)?);
        }
        self.place(&sizes, elements)
    }

    /// The view of the same elements under these sizes, one of which counts the examples.
    fn place(&self, sizes: &[Extent], elements: i64) -> Option<Self> {
        let axis = sizes
            .iter()
            .position(|size| matches!(size, Extent::Batch(_)))?;
        let dims = sizes
            .iter()
            .enumerate()
            .map(|(index, size)| match *size {
                Extent::Batch(times) if index == axis => usize::try_from(times).ok(),
                Extent::Known(size) => usize::try_from(size).ok(),
                Extent::Batch(_) => None,
            })
            .collect::<Option<Vec<usize>>>()?;
        if product(&dims)? != elements {
            return None;
        }
        // Elements of an example that come before its next ones of the same place of another example.
        let before =
            product(&self.dims[..self.axis])?.checked_mul(i64::try_from(self.outer).ok()?)?;
        let ahead = product(&dims[..axis])?;
        if ahead == 0 || before % ahead != 0 {
            return None;
        }
        let outer = usize::try_from(before / ahead).ok()?;
        (outer != 0 && dims[axis] % outer == 0).then_some(Self { dims, axis, outer })
    }

    /// The dimension among wholly known sizes that the exporter's number of examples went into.
    fn find_fixed(&self, sizes: &[Extent], examples: i64) -> Option<usize> {
        let before =
            product(&self.dims[..self.axis])?.checked_mul(i64::try_from(self.outer).ok()?)?;
        let mut ahead = 1i64;
        for (index, size) in sizes.iter().enumerate() {
            let size = size.known()?;
            if size < 0 {
                // The inferred one: nothing behind it can be placed.
                return None;
            }
            if ahead != 0 && before % ahead == 0 {
                let within = (before / ahead).checked_mul(examples)?;
                if within != 0 && size % within == 0 {
                    return Some(index);
                }
            }
            ahead = ahead.checked_mul(size)?;
        }
        None
    }

    fn elements(&self) -> Option<i64> {
        product(&self.dims)
    }
}

/// Sizes joined by `x`; the examples are `N`.
pub(crate) fn display_extents(extents: &[Extent]) -> String {
    let show = |extent: &Extent| match extent {
        Extent::Known(size) => size.to_string(),
        Extent::Batch(1) => "N".to_owned(),
        Extent::Batch(times) => format!("{times}N"),
    };
    extents.iter().map(show).collect::<Vec<_>>().join("x")
}

fn product(dims: &[usize]) -> Option<i64> {
    dims.iter()
        .try_fold(1i64, |all, &dim| all.checked_mul(i64::try_from(dim).ok()?))
}

#[cfg(test)]
mod tests {
    use super::Extent::{Batch, Known};
    use super::*;

    fn view(dims: &[usize], axis: usize, outer: usize) -> View {
        View {
            dims: dims.to_vec(),
            axis,
            outer,
        }
    }

    #[track_caller]
    fn check(from: View, target: &[Extent], examples: Option<i64>, expect: Option<View>) {
        assert_eq!(
            from.reshape(target, true, examples),
            expect,
            "{from:?} to {target:?} with {examples:?} examples"
        );
    }

    #[test]
    fn reshapes_that_keep_the_examples_apart_are_followed() {
        let image = View::examples_of(&[32, 4, 4]);
        let flat = Some(View::examples_of(&[512]));
        check(image.clone(), &[Known(-1), Known(512)], None, flat.clone());
        check(image.clone(), &[Batch(1), Known(-1)], None, flat.clone());
        check(
            image.clone(),
            &[Known(2), Known(512)],
            Some(2),
            flat.clone(),
        );
        check(image.clone(), &[Known(2), Known(-1)], Some(2), flat);
        check(
            image.clone(),
            &[Known(0), Known(0), Known(-1)],
            None,
            Some(View::examples_of(&[32, 16])),
        );
        check(
            View::examples_of(&[1]),
            &[Batch(1)],
            None,
            Some(view(&[1], 0, 1)),
        );
        check(
            View::examples_of(&[6]),
            &[Known(-1)],
            None,
            Some(view(&[6], 0, 1)),
        );
    }

    #[test]
    fn attention_merges_examples_with_heads_and_positions() {
        // 17 positions x examples x 32 channels, as nn.MultiheadAttention has it.
        let positions = view(&[17, 1, 32], 1, 1);
        let heads = view(&[17, 4, 8], 1, 1);
        check(
            positions.clone(),
            &[Known(17), Known(-1), Known(8)],
            None,
            Some(heads),
        );
        let moved = view(&[4, 17, 8], 0, 1);
        check(
            moved,
            &[Known(-1), Known(4), Known(17), Known(8)],
            None,
            Some(view(&[1, 4, 17, 8], 0, 1)),
        );
        let rows = view(&[17, 32], 0, 17);
        check(
            positions.clone(),
            &[Known(-1), Known(32)],
            None,
            Some(rows.clone()),
        );
        check(
            positions.clone(),
            &[Batch(17), Known(32)],
            None,
            Some(rows.clone()),
        );
        check(
            rows,
            &[Known(17), Known(-1), Known(32)],
            None,
            Some(positions),
        );
    }

    #[test]
    fn reshapes_that_mix_examples_or_do_not_fit_are_refused() {
        let image = View::examples_of(&[32, 4, 4]);
        check(image.clone(), &[Known(2), Known(512)], None, None);
        check(image.clone(), &[Known(-1), Known(-1)], None, None);
        check(image.clone(), &[Batch(1), Batch(1)], None, None);
        check(image.clone(), &[Batch(1), Known(-2)], None, None);
        check(
            image.clone(),
            &[Batch(1), Known(i64::MAX), Known(i64::MAX)],
            None,
            None,
        );
        check(image.clone(), &[Known(32), Known(-1), Known(4)], None, None);
        check(image, &[Batch(2), Known(255)], None, None);
        check(
            View::examples_of(&[3]),
            &[Batch(1), Known(0), Known(0)],
            None,
            None,
        );
    }
}
