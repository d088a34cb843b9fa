//! One side of an operator of several operands: a tensor of each example, a parameter, or a constant.

use std::ops::Range;

use crate::graph::claims::Claim;
use crate::graph::error::GraphError;
use crate::graph::index;
use crate::graph::names::Role;
use crate::graph::node::{Node, Operand};
use crate::graph::plan::Value;
use crate::graph::shape::display_dims;
use crate::graph::view::View;

/// Where one operand's elements come from.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// An input of the step, by its number.
    Input(usize),
    /// Parameters, among all.
    Parameter(Range<usize>),
    Constant(Vec<f32>),
}

/// One operand, extended to the size of the output.
#[derive(Clone, Debug)]
pub(crate) struct Side {
    pub(crate) source: Source,
    /// For each element of the output its element of the source; `None` where they are the same.
    pub(crate) elements: Option<Vec<usize>>,
}

/// What the passes have in common.
#[derive(Clone, Copy)]
pub(crate) struct Tensors<'a> {
    pub(crate) weights: &'a [f32],
    pub(crate) inputs: &'a [&'a [f32]],
    pub(crate) examples: usize,
}

impl Side {
    /// One example's operand. `room` has the output's size and takes what must be extended.
    pub(crate) fn read<'a>(
        &'a self,
        tensors: Tensors<'a>,
        example: usize,
        room: &'a mut [f32],
    ) -> &'a [f32] {
        let source = match &self.source {
            Source::Input(input) => {
                let input = tensors.inputs[*input];
                let size = input.len() / tensors.examples;
                &input[example * size..(example + 1) * size]
            }
            Source::Parameter(range) => &tensors.weights[range.clone()],
            Source::Constant(values) => values,
        };
        match &self.elements {
            None => source,
            Some(elements) => {
                for (value, &element) in room.iter_mut().zip(elements) {
                    *value = source[element];
                }
                room
            }
        }
    }

    /// Adds the gradients of the extended operand up into those of its source.
    pub(crate) fn gather(&self, gradients: &[f32], target: &mut [f32]) {
        match &self.elements {
            None => target
                .iter_mut()
                .zip(gradients)
                .for_each(|(sum, gradient)| *sum += gradient),
            Some(elements) => {
                for (&element, gradient) in elements.iter().zip(gradients) {
                    target[element] += gradient;
                }
            }
        }
    }

    /// The parameters it comes from.
    pub(crate) fn parameter(&self) -> Option<&Range<usize>> {
        match &self.source {
            Source::Parameter(range) => Some(range),
            _ => None,
        }
    }
}

/// Operands extended to one another.
pub(crate) struct Sides {
    pub(crate) inputs: Vec<Value>,
    pub(crate) sides: Vec<Side>,
    pub(crate) view: View,
}

/// Extends operands to one another by broadcasting, and claims those that are parameters, in order. At least one must be
/// a tensor of each example.
pub(crate) fn extend(
    node: &mut Node<'_, '_>,
    operands: Vec<(usize, Operand)>,
) -> Result<Sides, GraphError> {
    let mut view: Option<View> = None;
    for (_, operand) in &operands {
        if let Operand::Value(value) = operand {
            view = Some(match view {
                None => value.view.clone(),
                Some(view) => together(&view, &value.view)
                    .ok_or_else(|| node.shape(view.display(), value.view.display()))?,
            });
        }
    }
    let mut view = view.ok_or_else(|| {
        node.setting(
            "no operand that is computed from the model's input",
            "at least one; a weight that is computed from weights alone is not trained",
        )
    })?;
    for (_, operand) in &operands {
        let dims = match operand {
            Operand::Value(_) => continue,
            Operand::Parameter(stored) => &stored.dims,
            Operand::Constant(constant) => &constant.dims,
        };
        view = beside(&view, dims).ok_or_else(|| node.shape(view.display(), display_dims(dims)))?;
    }
    node.output_shape(view.dims.clone())?;

    let (mut inputs, mut sides) = (Vec::new(), Vec::new());
    for (index, operand) in operands {
        let (source, dims, picked) = match operand {
            Operand::Value(value) => {
                let dims = value.view.dims.clone();
                inputs.push(value);
                (Source::Input(inputs.len() - 1), dims, None)
            }
            Operand::Constant(constant) => {
                let values = constant.floats().ok_or_else(|| {
                    node.input_error(index, "dependent on the number of examples", "a constant")
                })?;
                (Source::Constant(values), constant.dims, None)
            }
            Operand::Parameter(stored) => {
                let (dims, picked) = (stored.dims.clone(), stored.places());
                (
                    Source::Parameter(parameter(node, index, stored)?),
                    dims,
                    picked,
                )
            }
        };
        let elements = index::broadcast(&dims, &view.dims)
            .ok_or_else(|| node.shape(view.display(), display_dims(&dims)))?;
        let elements = match picked {
            None => elements,
            Some(picked) => elements
                .into_iter()
                .map(|element| picked[element])
                .collect(),
        };
        let same = elements
            .iter()
            .enumerate()
            .all(|(i, &element)| i == element)
            && source_len(&source, &dims) == elements.len();
        sides.push(Side {
            source,
            elements: (!same).then_some(elements),
        });
    }
    Ok(Sides {
        inputs,
        sides,
        view,
    })
}

/// Claims a stored tensor as it stands in the file.
pub(crate) fn parameter(
    node: &mut Node<'_, '_>,
    input: usize,
    stored: crate::graph::plan::Stored,
) -> Result<Range<usize>, GraphError> {
    let dims = node.progress.tensor(&stored).shape()?;
    node.claim_as(Claim {
        dims,
        stored,
        node: node.index,
        input,
        role: Role::Other,
        name: None,
        transposed: false,
    })
}

fn source_len(source: &Source, dims: &[usize]) -> usize {
    match source {
        Source::Parameter(range) => range.len(),
        Source::Constant(values) => values.len(),
        Source::Input(_) => dims.iter().product(),
    }
}

/// Two tensors of each example, extended to one another: their examples must be in the same dimension from the last.
pub(crate) fn together(left: &View, right: &View) -> Option<View> {
    let same_place = left.dims.len() - left.axis == right.dims.len() - right.axis
        && left.outer == right.outer
        && left.dims[left.axis] == right.dims[right.axis];
    let dims = index::broadcast_dims(&left.dims, &right.dims)?;
    let longer = if left.dims.len() < right.dims.len() {
        right
    } else {
        left
    };
    same_place.then(|| longer.with_dims(dims))
}

/// A tensor of each example, extended by one that is the same for all.
pub(crate) fn beside(view: &View, dims: &[usize]) -> Option<View> {
    let from_last = view.dims.len() - view.axis;
    let at_examples = dims.len().checked_sub(from_last).map(|axis| dims[axis]);
    if at_examples.is_some_and(|size| size != 1) {
        return None;
    }
    let extended = index::broadcast_dims(&view.dims, dims)?;
    Some(View {
        axis: extended.len() - from_last,
        dims: extended,
        outer: view.outer,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_stay_where_they_are() {
        let heads = View::examples_of(&[4, 17, 17]);
        assert_eq!(
            together(&heads, &View::examples_of(&[1, 1, 17])),
            Some(heads.clone())
        );
        // The examples of one are the positions of the other.
        let moved = View {
            dims: vec![17, 1, 4],
            axis: 1,
            outer: 1,
        };
        assert_eq!(together(&View::examples_of(&[1, 4]), &moved), None);
        assert_eq!(beside(&heads, &[17]), Some(heads.clone()));
        assert_eq!(beside(&heads, &[1, 1, 17, 17]), Some(heads.clone()));
        assert_eq!(beside(&heads, &[2, 1, 17, 17]), None);
        assert_eq!(beside(&heads, &[16]), None);
        let longer = beside(&heads, &[3, 1, 1, 1, 1]).unwrap();
        assert_eq!((longer.axis, longer.dims), (1, vec![3, 1, 4, 17, 17]));
    }
}
