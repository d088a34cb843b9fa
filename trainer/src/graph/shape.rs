//! The shape of one example's tensor.

use std::fmt;

/// Sizes of a tensor of one example, outermost first, without the batch dimension: `1x28x28` for a grey image.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Shape(Vec<usize>);

impl Shape {
    /// Most elements that one tensor of one example may have: 256 MiB of floats, beyond any image or table that
    /// a tile of examples could be trained on in memory.
    pub const ELEMENT_LIMIT: usize = 64 << 20;

    /// A shape, where its number of elements is between one and [`Shape::ELEMENT_LIMIT`].
    pub(crate) fn new(dims: Vec<usize>) -> Option<Self> {
        let elements = dims
            .iter()
            .try_fold(1usize, |all, &dim| all.checked_mul(dim))?;
        (1..=Self::ELEMENT_LIMIT)
            .contains(&elements)
            .then_some(Self(dims))
    }

    /// The sizes.
    pub fn dims(&self) -> &[usize] {
        &self.0
    }

    /// How many elements a tensor of this shape has.
    pub fn elements(&self) -> usize {
        self.0.iter().product()
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&display_dims(&self.0))
    }
}

/// Sizes joined by `x`, as error messages show them.
pub(crate) fn display_dims(dims: &[usize]) -> String {
    if dims.is_empty() {
        return "scalar".to_owned();
    }
    dims.iter()
        .map(usize::to_string)
        .collect::<Vec<_>>()
        .join("x")
}
