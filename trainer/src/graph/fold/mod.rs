//! Computes nodes whose inputs are all known on import: what an exporter works out of shapes, and masks and scales.
//!
//! A new one is a function here and a line in [`FOLDERS`]. Sizes are checked before anything is allocated; whole numbers
//! may be multiples of the number of examples ([`Extent`]).

mod arithmetic;
mod layout;
mod making;

pub(crate) use self::layout::{permutation, squeezed, unsqueezed};
pub(crate) use self::making::shape_part;
use super::constant::{Constant, Data};
use super::error::GraphError;
use super::extent::Extent;
use super::node::Node;

/// Computes one node of constants.
pub(crate) type Fold = fn(&Folding<'_, '_, '_>) -> Result<Constant, GraphError>;

/// The operators that can be computed on import.
const FOLDERS: &[(&str, Fold)] = &[
    ("Abs", arithmetic::fold_unary),
    ("Add", arithmetic::fold_binary),
    ("And", arithmetic::fold_logical),
    ("Cast", making::fold_cast),
    ("Ceil", arithmetic::fold_unary),
    ("Concat", layout::fold_concat),
    ("ConstantOfShape", making::fold_constant_of_shape),
    ("Cos", arithmetic::fold_unary),
    ("Div", arithmetic::fold_binary),
    ("Equal", arithmetic::fold_comparison),
    ("Exp", arithmetic::fold_unary),
    ("Expand", layout::fold_expand),
    ("Flatten", layout::fold_flatten),
    ("Floor", arithmetic::fold_unary),
    ("Gather", layout::fold_gather),
    ("Greater", arithmetic::fold_comparison),
    ("GreaterOrEqual", arithmetic::fold_comparison),
    ("Identity", making::fold_identity),
    ("Less", arithmetic::fold_comparison),
    ("LessOrEqual", arithmetic::fold_comparison),
    ("Log", arithmetic::fold_unary),
    ("Max", arithmetic::fold_binary),
    ("Min", arithmetic::fold_binary),
    ("Mod", arithmetic::fold_binary),
    ("Mul", arithmetic::fold_binary),
    ("Neg", arithmetic::fold_unary),
    ("Not", arithmetic::fold_not),
    ("Or", arithmetic::fold_logical),
    ("Pow", arithmetic::fold_binary),
    ("Range", making::fold_range),
    ("Reciprocal", arithmetic::fold_unary),
    ("ReduceMax", making::fold_reduce),
    ("ReduceMin", making::fold_reduce),
    ("ReduceProd", making::fold_reduce),
    ("ReduceSum", making::fold_reduce),
    ("Reshape", layout::fold_reshape),
    ("Shape", making::fold_shape),
    ("Sin", arithmetic::fold_unary),
    ("Size", making::fold_size),
    ("Slice", layout::fold_slice),
    ("Sqrt", arithmetic::fold_unary),
    ("Squeeze", layout::fold_squeeze),
    ("Sub", arithmetic::fold_binary),
    ("Tile", layout::fold_tile),
    ("Transpose", layout::fold_transpose),
    ("Trilu", making::fold_trilu),
    ("Unsqueeze", layout::fold_unsqueeze),
    ("Where", arithmetic::fold_where),
];

/// What computes an operator on import, where anything does.
pub(crate) fn folder(operator: &str) -> Option<Fold> {
    FOLDERS
        .binary_search_by_key(&operator, |(name, _)| name)
        .ok()
        .map(|index| FOLDERS[index].1)
}

/// A node and its inputs, all known.
pub(crate) struct Folding<'f, 'i, 'm> {
    pub(crate) node: &'f Node<'i, 'm>,
    pub(crate) inputs: &'f [Option<Constant>],
}

impl Folding<'_, '_, '_> {
    fn operator(&self) -> &str {
        &self.node.proto.op_type
    }

    fn optional(&self, index: usize) -> Option<&Constant> {
        self.inputs.get(index).and_then(Option::as_ref)
    }

    fn input(&self, index: usize) -> Result<&Constant, GraphError> {
        self.optional(index).ok_or_else(|| {
            self.node.setting(
                format!("{} inputs", self.inputs.len()),
                format!("an input {index}"),
            )
        })
    }

    /// A list of whole numbers, of which none depends on the number of examples.
    fn list(&self, index: usize) -> Result<Vec<i64>, GraphError> {
        self.extents(index)?
            .iter()
            .map(|extent| extent.known())
            .collect::<Option<_>>()
            .ok_or_else(|| {
                self.node.setting(
                    format!("an input {index} that depends on the number of examples"),
                    "numbers",
                )
            })
    }

    fn extents(&self, index: usize) -> Result<&[Extent], GraphError> {
        let constant = self.input(index)?;
        constant.integers().ok_or_else(|| {
            self.node.setting(
                format!("an input {index} of {}", constant.describe()),
                "a list of whole numbers",
            )
        })
    }

    /// Axes: an input since opset 13 or 18, an attribute before.
    fn axes(&self, index: usize) -> Result<Option<Vec<i64>>, GraphError> {
        if self.optional(index).is_some() {
            return self.list(index).map(Some);
        }
        self.node.ints("axes")
    }

    /// Refuses a result beyond the limit before it is made.
    fn checked(&self, dims: Vec<usize>) -> Result<Vec<usize>, GraphError> {
        let elements = dims
            .iter()
            .try_fold(1usize, |all, &dim| all.checked_mul(dim));
        if elements.is_some_and(|elements| elements <= Constant::ELEMENT_LIMIT) {
            return Ok(dims);
        }
        Err(self.node.setting(
            format!("a constant of {dims:?}"),
            format!("at most {} elements", Constant::ELEMENT_LIMIT),
        ))
    }

    /// A refusal of inputs that the operator cannot be computed for.
    fn unfit(&self) -> GraphError {
        let inputs: Vec<String> = self
            .inputs
            .iter()
            .flatten()
            .map(Constant::describe)
            .collect();
        self.node.setting(
            format!("constants ({})", inputs.join("; ")),
            "constants that fit the operator and do not mix with the number of examples",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_in_the_order_that_they_are_searched_in() {
        assert!(FOLDERS.is_sorted_by(|left, right| left.0 < right.0));
        assert!(folder("Where").is_some() && folder("Abs").is_some() && folder("Conv").is_none());
    }
}
