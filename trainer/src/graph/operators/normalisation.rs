//! InstanceNormalization, GroupNormalization, LayerNormalization, and BatchNormalization as it is evaluated.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use crate::graph::constant::Constant;
use crate::graph::error::GraphError;
use crate::graph::index;
use crate::graph::node::{Node, Operand};
use crate::graph::operator::{
    Backward, Forward, GradientPass, Operator, ParameterGradients, Scratch,
};
use crate::graph::pending;
use crate::graph::plan::{Imported, Pending, Term};
use crate::graph::shape::display_dims;

/// `InstanceNormalization`. With a scale of ones and a shift of zeros it may be part of a decomposed `GroupNorm`.
pub(crate) fn import_instance(node: &mut Node<'_, '_>) -> Result<Imported, GraphError> {
    node.expect_inputs(3..=3)?;
    node.expect_attributes(&["epsilon"])?;
    let epsilon = epsilon(node)?;
    let input = node.value(0)?;
    let &[_, channels, _, ..] = input.view.dims.as_slice() else {
        return Err(node.shape("N x channels x positions", input.view.display()));
    };
    let is = |node: &mut Node<'_, '_>, which: usize, expected: f32| {
        Ok::<_, GraphError>(match node.operand(which)? {
            Operand::Constant(constant) => {
                constant.elements() == channels
                    && constant
                        .floats()
                        .is_some_and(|values| values.iter().all(|&value| value == expected))
            }
            _ => false,
        })
    };
    let view = input.view.clone();
    if is(node, 1, 1.0)? && is(node, 2, 0.0)? {
        let pending = Pending::Normalised {
            input,
            groups: channels,
            epsilon,
            view,
            scale: None,
        };
        let waits = node
            .only_consumer()
            .is_some_and(|consumer| ["Reshape", "Mul"].contains(&consumer.op_type.as_str()));
        return Ok(Imported::Term(if waits {
            Term::Pending(pending)
        } else {
            Term::Value(pending::force(node, pending)?)
        }));
    }
    let elements = input.shape.elements();
    let scale = affine(node, 1, &[channels], 1.0)?;
    let shift = affine(node, 2, &[channels], 0.0)?;
    let operator = group(elements, channels, epsilon, scale, shift);
    let value = node.push(operator, vec![input], view)?;
    Ok(Imported::Term(Term::Value(value)))
}

/// `GroupNormalization`: since opset 21 with a scale for each channel, before with one for each group.
pub(crate) fn import_group(node: &mut Node<'_, '_>) -> Result<Imported, GraphError> {
    node.expect_inputs(3..=3)?;
    node.expect_attributes(&["epsilon", "num_groups", "stash_type"])?;
    let epsilon = epsilon(node)?;
    let input = node.value(0)?;
    let &[_, channels, ..] = input.view.dims.as_slice() else {
        return Err(node.shape("N x channels x positions", input.view.display()));
    };
    let groups = usize::try_from(node.int("num_groups", 0)?).unwrap_or(0);
    if groups == 0 || channels % groups != 0 {
        return Err(node.setting(
            format!("num_groups {groups}"),
            format!("a divisor of {channels} channels"),
        ));
    }
    let own = if node.opset() >= 21 { channels } else { groups };
    let scale = affine(node, 1, &[own], 1.0)?;
    let shift = affine(node, 2, &[own], 0.0)?;
    let view = input.view.clone();
    let operator = group(input.shape.elements(), groups, epsilon, scale, shift);
    let value = node.push(operator, vec![input], view)?;
    Ok(Imported::Term(Term::Value(value)))
}

/// `LayerNormalization` over the last dimensions.
pub(crate) fn import_layer(node: &mut Node<'_, '_>) -> Result<Imported, GraphError> {
    node.expect_inputs(2..=3)?;
    node.expect_attributes(&["axis", "epsilon", "stash_type"])?;
    let epsilon = epsilon(node)?;
    node.only_output()?;
    let input = node.any_value(0)?;
    let given = node.int("axis", -1)?;
    let axis = index::axis(given, input.view.dims.len())
        .filter(|&axis| axis > input.view.axis)
        .ok_or_else(|| {
            node.setting(
                format!("axis {given} of {}", input.view.display()),
                "an axis behind the examples' dimension",
            )
        })?;
    let dims = input.view.dims[axis..].to_vec();
    let size: usize = dims.iter().product();
    let scale = affine(node, 1, &dims, 1.0)?;
    let shift = if node.has_input(2) {
        affine(node, 2, &dims, 0.0)?
    } else {
        None
    };
    let view = input.view.clone();
    let operator = Normalise {
        size,
        rows: input.shape.elements() / size,
        epsilon,
        scale,
        shift,
        spread: 1,
    };
    let value = node.push(Box::new(operator), vec![input], view)?;
    Ok(Imported::Term(Term::Value(value)))
}

/// `BatchNormalization` by the means and variances in the file. It mixes examples in training, so private training refuses
/// it where it begins.
pub(crate) fn import_batch(node: &mut Node<'_, '_>) -> Result<Imported, GraphError> {
    node.expect_inputs(5..=5)?;
    node.expect_attributes(&["epsilon", "momentum", "training_mode", "spatial"])?;
    if node.int("training_mode", 0)? != 0 {
        return Err(node.setting(
            "training_mode 1, which mixes the examples of a batch",
            "training_mode 0; for training use GroupNorm (torch.nn.GroupNorm) instead",
        ));
    }
    let epsilon = epsilon(node)?;
    let input = node.value(0)?;
    let &[_, channels, ..] = input.view.dims.as_slice() else {
        return Err(node.shape("N x channels", input.view.display()));
    };
    let mut statistics = Vec::new();
    for which in [3, 4] {
        let stored = node.stored(which)?;
        let constant: Constant = node.progress.freeze(&stored)?;
        let values = constant
            .floats()
            .filter(|values| values.len() == channels)
            .ok_or_else(|| node.shape(format!("{channels} numbers"), constant.describe()))?;
        statistics.push(values);
    }
    let (scale, shift) = (node.claim(1, &[channels])?, node.claim(2, &[channels])?);
    let operator = BatchNorm {
        spread: input.shape.elements() / channels,
        means: statistics.swap_remove(0),
        factors: statistics
            .swap_remove(0)
            .iter()
            .map(|variance| 1.0 / (variance + epsilon).sqrt())
            .collect(),
        scale,
        shift,
    };
    let view = input.view.clone();
    let name = node.name().to_owned();
    node.progress.plan.batch_norms.push(name);
    let value = node.push(Box::new(operator), vec![input], view)?;
    Ok(Imported::Term(Term::Value(value)))
}

/// One half of an affine map: a parameter, or nothing where the file has a constant that changes nothing, as exporters write
/// for a layer without that half.
fn affine(
    node: &mut Node<'_, '_>,
    which: usize,
    dims: &[usize],
    neutral: f32,
) -> Result<Option<Range<usize>>, GraphError> {
    let constant = match node.term(which)? {
        Term::Constant(constant) => constant,
        Term::Stored(stored) if node.progress.is_neutral(&stored, node.index, neutral)? => {
            return Ok(None);
        }
        _ => return node.claim(which, dims).map(Some),
    };
    let is_neutral = constant.dims == dims
        && (constant.floats()).is_some_and(|values| values.iter().all(|&value| value == neutral));
    if is_neutral {
        return Ok(None);
    }
    Err(node.setting(
        format!("a constant {} as input {which}", constant.describe()),
        format!("a weight, or {neutral} in each of {}", display_dims(dims)),
    ))
}

fn epsilon(node: &Node<'_, '_>) -> Result<f32, GraphError> {
    let epsilon = node.float("epsilon", 1e-5)?;
    if epsilon >= 0.0 {
        return Ok(epsilon);
    }
    Err(node.setting(format!("epsilon {epsilon}"), "an epsilon of at least 0"))
}

/// `GroupNorm` over an example of so many elements. The affine part has one number for each channel, or for each group.
pub(crate) fn group(
    elements: usize,
    groups: usize,
    epsilon: f32,
    scale: Option<Range<usize>>,
    shift: Option<Range<usize>>,
) -> Box<dyn Operator> {
    let affine = scale
        .as_ref()
        .or(shift.as_ref())
        .map_or(groups, ExactSizeIterator::len);
    Box::new(Normalise {
        rows: groups,
        size: elements / groups,
        epsilon,
        scale,
        shift,
        spread: elements / affine,
    })
}

/// Each row of an example is brought to mean 0 and variance 1 (Ba et al. 2016; Wu and He 2018), then scaled and shifted.
#[derive(Debug)]
struct Normalise {
    rows: usize,
    /// Elements of a row.
    size: usize,
    epsilon: f32,
    scale: Option<Range<usize>>,
    shift: Option<Range<usize>>,
    /// Neighbouring elements that share a scale and a shift.
    spread: usize,
}

impl Normalise {
    fn elements(&self) -> usize {
        self.rows * self.size
    }

    /// Runs of neighbours of one scale in a row: where they start in it, and which number of the affine part is theirs.
    fn runs(&self, row: usize) -> impl Iterator<Item = (Range<usize>, usize)> {
        let (size, spread, affine) = (self.size, self.spread, self.affine());
        let run = spread.min(size);
        (0..size / run).map(move |index| {
            let first = (row * size + index * run) / spread;
            (index * run..(index + 1) * run, first % affine)
        })
    }

    /// How many numbers the affine part has.
    fn affine(&self) -> usize {
        self.scale
            .as_ref()
            .or(self.shift.as_ref())
            .map_or(1, ExactSizeIterator::len)
    }
}

/// Part of the weights, or nothing.
fn optional<'a>(weights: &'a [f32], range: Option<&Range<usize>>) -> Option<&'a [f32]> {
    range.map(|range| &weights[range.clone()])
}

impl Operator for Normalise {
    /// Mean and inverse deviation of each row.
    fn saved(&self) -> usize {
        2 * self.rows
    }

    fn forward(&self, pass: &mut Forward<'_>) {
        let scale = optional(pass.weights, self.scale.as_ref());
        let shift = optional(pass.weights, self.shift.as_ref());
        let rows = pass.inputs[0]
            .chunks_exact(self.size)
            .zip(pass.output.chunks_exact_mut(self.size))
            .zip(pass.saved.as_chunks_mut::<2>().0);
        pass.isa.run(InSimd(
            #[inline(always)]
            || {
                for (index, ((input, output), saved)) in rows.enumerate() {
                    let mean = sum(input, input, |x, _| f64::from(x)) / self.size as f64;
                    let variance = sum(input, input, |x, _| {
                        let away = f64::from(x) - mean;
                        away * away
                    }) / self.size as f64;
                    let factor = 1.0 / (variance + f64::from(self.epsilon)).sqrt();
                    *saved = [mean as f32, factor as f32];
                    let [mean, factor] = *saved;
                    if self.spread == 1 {
                        // The affine part of a layer is a row's, that of groups goes on from row to row.
                        let first = index % self.rows * self.size % self.affine();
                        let all =
                            [scale, shift].map(|part| part.map_or(&[][..], |part| &part[first..]));
                        for (place, (output, input)) in output.iter_mut().zip(input).enumerate() {
                            let scale = all[0].get(place).copied().unwrap_or(1.0);
                            let shift = all[1].get(place).copied().unwrap_or(0.0);
                            *output = (input - mean) * factor * scale + shift;
                        }
                        continue;
                    }
                    for (run, own) in self.runs(index % self.rows) {
                        let factor = factor * scale.map_or(1.0, |scale| scale[own]);
                        let shift = shift.map_or(0.0, |shift| shift[own]);
                        for (output, input) in output[run.clone()].iter_mut().zip(&input[run]) {
                            *output = (input - mean) * factor + shift;
                        }
                    }
                }
            },
        ));
    }

    /// With `x̂` the normalised row and `g` the gradient by it: `dx = (g - mean(g) - x̂ mean(g x̂)) / deviation`.
    fn backward(&self, pass: &mut Backward<'_>) {
        let Some(target) = &mut pass.input_gradients[0] else {
            return;
        };
        let scale = optional(pass.weights, self.scale.as_ref());
        let rows = pass.inputs[0]
            .chunks_exact(self.size)
            .zip(pass.output_gradient.chunks_exact(self.size))
            .zip(target.chunks_exact_mut(self.size))
            .zip(pass.saved.as_chunks::<2>().0);
        pass.isa.run(InSimd(
            #[inline(always)]
            || {
                for (index, (((input, gradient), target), &[mean, factor])) in rows.enumerate() {
                    for (run, own) in self.runs(index % self.rows) {
                        let scale = scale.map_or(1.0, |scale| scale[own]);
                        for (target, gradient) in target[run.clone()].iter_mut().zip(&gradient[run])
                        {
                            *target = gradient * scale;
                        }
                    }
                    let size = self.size as f64;
                    let average = (sum(target, input, |g, _| f64::from(g)) / size) as f32;
                    let along = sum(target, input, |g, x| {
                        f64::from(g) * f64::from((x - mean) * factor)
                    });
                    let along = (along / size) as f32;
                    for (target, input) in target.iter_mut().zip(input) {
                        *target = factor * (*target - average - (input - mean) * factor * along);
                    }
                }
            },
        ));
    }

    fn gradients(&self) -> Option<&dyn ParameterGradients> {
        (self.scale.is_some() || self.shift.is_some()).then_some(self)
    }
}

impl ParameterGradients for Normalise {
    fn instantiate(
        &self,
        pass: &GradientPass<'_>,
        examples: Range<usize>,
        _: &mut Scratch,
        gradient: &mut [f32],
    ) {
        gradient.fill(0.0);
        let (scale, shift) =
            gradient.split_at_mut(self.scale.as_ref().map_or(0, ExactSizeIterator::len));
        pass.isa.run(InSimd(
            #[inline(always)]
            || {
                for row in examples.start * self.rows..examples.end * self.rows {
                    let whole = row * self.size..(row + 1) * self.size;
                    let (input, gradient) =
                        (&pass.inputs[0][whole.clone()], &pass.output_gradient[whole]);
                    let [mean, factor] = [pass.saved[2 * row], pass.saved[2 * row + 1]];
                    for (run, own) in self.runs(row % self.rows) {
                        let (input, gradient) = (&input[run.clone()], &gradient[run]);
                        if let Some(scale) = scale.get_mut(own) {
                            let along = sum(gradient, input, |gradient, input| {
                                f64::from(gradient * (input - mean))
                            });
                            *scale += along as f32 * factor;
                        }
                        if let Some(shift) = shift.get_mut(own) {
                            *shift +=
                                sum(gradient, gradient, |gradient, _| f64::from(gradient)) as f32;
                        }
                    }
                }
            },
        ));
        debug_assert!(pass.output.len() >= examples.end * self.elements());
    }
}

/// The sum of a function of each element of one row and the same element of another, in double precision, in lanes that the
/// compiler keeps in vector registers.
#[inline(always)]
fn sum(values: &[f32], others: &[f32], of: impl Fn(f32, f32) -> f64) -> f64 {
    const LANES: usize = 16;
    let mut lanes = [0.0; LANES];
    let (values, last) = values.as_chunks::<LANES>();
    let (others, last_others) = others.as_chunks::<LANES>();
    for (values, others) in values.iter().zip(others) {
        for lane in 0..LANES {
            lanes[lane] += of(values[lane], others[lane]);
        }
    }
    let last = last.iter().zip(last_others);
    lanes.iter().sum::<f64>() + last.map(|(&value, &other)| of(value, other)).sum::<f64>()
}

/// Runs a function compiled for the instruction set that is found.
struct InSimd<F>(F);

impl<F: FnOnce()> WithSimd for InSimd<F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        (self.0)();
    }
}

#[derive(Debug)]
struct BatchNorm {
    /// Elements of a channel.
    spread: usize,
    means: Vec<f32>,
    /// `1 / √(variance + ε)`.
    factors: Vec<f32>,
    scale: Range<usize>,
    shift: Range<usize>,
}

impl Operator for BatchNorm {
    fn forward(&self, pass: &mut Forward<'_>) {
        let (scale, shift) = (
            &pass.weights[self.scale.clone()],
            &pass.weights[self.shift.clone()],
        );
        let channels = pass.inputs[0]
            .chunks_exact(self.spread)
            .zip(pass.output.chunks_exact_mut(self.spread));
        for (index, (input, output)) in channels.enumerate() {
            let own = index % self.means.len();
            let factor = self.factors[own] * scale[own];
            for (output, input) in output.iter_mut().zip(input) {
                *output = (input - self.means[own]) * factor + shift[own];
            }
        }
    }

    fn backward(&self, pass: &mut Backward<'_>) {
        let Some(target) = &mut pass.input_gradients[0] else {
            return;
        };
        let scale = &pass.weights[self.scale.clone()];
        let channels = pass
            .output_gradient
            .chunks_exact(self.spread)
            .zip(target.chunks_exact_mut(self.spread));
        for (index, (gradient, target)) in channels.enumerate() {
            let own = index % self.means.len();
            for (target, gradient) in target.iter_mut().zip(gradient) {
                *target = gradient * self.factors[own] * scale[own];
            }
        }
    }

    fn gradients(&self) -> Option<&dyn ParameterGradients> {
        Some(self)
    }
}

impl ParameterGradients for BatchNorm {
    fn instantiate(
        &self,
        pass: &GradientPass<'_>,
        examples: Range<usize>,
        _: &mut Scratch,
        gradient: &mut [f32],
    ) {
        gradient.fill(0.0);
        let (scale, shift) = gradient.split_at_mut(self.scale.len());
        let channels = self.means.len();
        for index in examples.start * channels..examples.end * channels {
            let own = index % channels;
            let whole = index * self.spread..(index + 1) * self.spread;
            let values = pass.inputs[0][whole.clone()].iter();
            for (input, gradient) in values.zip(&pass.output_gradient[whole]) {
                scale[own] += gradient * (input - self.means[own]) * self.factors[own];
                shift[own] += gradient;
            }
        }
    }
}
