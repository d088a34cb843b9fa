//! ReduceMean, ReduceSum and GlobalAveragePool.

use crate::graph::error::GraphError;
use crate::graph::index;
use crate::graph::node::Node;
use crate::graph::operator::{Backward, Forward, Operator};
use crate::graph::plan::{Imported, Term, Value};
use crate::graph::view::View;

pub(crate) fn import_mean(node: &mut Node<'_, '_>) -> Result<Imported, GraphError> {
    reduction(node, true)
}

pub(crate) fn import_sum(node: &mut Node<'_, '_>) -> Result<Imported, GraphError> {
    reduction(node, false)
}

/// The mean of each channel; all dimensions behind the channels stay, as ones.
pub(crate) fn import_global_average(node: &mut Node<'_, '_>) -> Result<Imported, GraphError> {
    node.expect_inputs(1..=1)?;
    node.expect_attributes(&[])?;
    let input = node.value(0)?;
    if input.view.dims.len() < 3 {
        return Err(node.shape("N x channels x positions", input.view.display()));
    }
    let axes: Vec<usize> = (2..input.view.dims.len()).collect();
    reduce(node, input, &axes, true, true)
}

fn reduction(node: &mut Node<'_, '_>, mean: bool) -> Result<Imported, GraphError> {
    node.expect_inputs(1..=2)?;
    node.expect_attributes(&["axes", "keepdims", "noop_with_empty_axes"])?;
    let input = node.any_value(0)?;
    let rank = input.view.dims.len();
    let given = node.axes(1)?.unwrap_or_default();
    if given.is_empty() && node.int("noop_with_empty_axes", 0)? != 0 {
        return Ok(Imported::Term(Term::Value(input)));
    }
    let axes: Vec<usize> = given
        .iter()
        .map(|&axis| index::axis(axis, rank))
        .collect::<Option<_>>()
        .filter(|axes: &Vec<usize>| !axes.is_empty() && !axes.contains(&input.view.axis))
        .ok_or_else(|| {
            node.setting(
                format!("axes {given:?} of {}", input.view.display()),
                "axes of one example's own: a mean over the examples would mix them",
            )
        })?;
    let keep = node.int("keepdims", 1)? != 0;
    reduce(node, input, &axes, keep, mean)
}

fn reduce(
    node: &mut Node<'_, '_>,
    input: Value,
    axes: &[usize],
    keep: bool,
    mean: bool,
) -> Result<Imported, GraphError> {
    let dims = &input.view.dims;
    let reduced: Vec<usize> = (0..dims.len())
        .map(|axis| if axes.contains(&axis) { 1 } else { dims[axis] })
        .collect();
    let targets = index::broadcast(&reduced, dims)
        .ok_or_else(|| node.setting("axes out of range", "axes of the input"))?;
    let count = dims.iter().product::<usize>() / reduced.iter().product::<usize>();
    let operator = Reduce {
        outputs: reduced.iter().product(),
        // Where the last axes are reduced, neighbours are summed up.
        run: targets
            .chunks_exact(count)
            .enumerate()
            .all(|(output, run)| run.iter().all(|&target| target == output))
            .then_some(count),
        targets,
        scale: if mean { 1.0 / count as f32 } else { 1.0 },
    };
    let gone = |axis: &usize| !keep && axes.contains(axis);
    let view = View {
        dims: (0..dims.len())
            .filter(|axis| !gone(axis))
            .map(|axis| reduced[axis])
            .collect(),
        axis: input.view.axis - (0..input.view.axis).filter(gone).count(),
        outer: input.view.outer,
    };
    let value = node.push(Box::new(operator), vec![input], view)?;
    Ok(Imported::Term(Term::Value(value)))
}

#[derive(Debug)]
struct Reduce {
    /// Elements of one example's output.
    outputs: usize,
    /// Neighbours that make up one output, where they are neighbours.
    run: Option<usize>,
    /// For each element of the input its element of the output.
    targets: Vec<usize>,
    scale: f32,
}

impl Operator for Reduce {
    fn forward(&self, pass: &mut Forward<'_>) {
        if let Some(run) = self.run {
            for (output, run) in pass.output.iter_mut().zip(pass.inputs[0].chunks_exact(run)) {
                *output = sum(run) * self.scale;
            }
            return;
        }
        let inputs = pass.inputs[0].chunks_exact(self.targets.len());
        for (output, input) in pass.output.chunks_exact_mut(self.outputs).zip(inputs) {
            output.fill(0.0);
            for (&target, value) in self.targets.iter().zip(input) {
                output[target] += value;
            }
            output.iter_mut().for_each(|value| *value *= self.scale);
        }
    }

    fn backward(&self, pass: &mut Backward<'_>) {
        let Some(target) = &mut pass.input_gradients[0] else {
            return;
        };
        let gradients = pass.output_gradient.chunks_exact(self.outputs);
        for (target, gradient) in target.chunks_exact_mut(self.targets.len()).zip(gradients) {
            for (target, &from) in target.iter_mut().zip(&self.targets) {
                *target = gradient[from] * self.scale;
            }
        }
    }
}

/// The sum, in lanes that the compiler keeps in vector registers.
fn sum(values: &[f32]) -> f32 {
    let (chunks, rest) = values.as_chunks::<16>();
    let mut lanes = [0.0; 16];
    for chunk in chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane += value;
        }
    }
    lanes.iter().sum::<f32>() + rest.iter().sum::<f32>()
}
