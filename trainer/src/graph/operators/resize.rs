//! Resize by nearest neighbours or linear interpolation, along one or two dimensions.

use super::rearrange::rearranged;
use crate::graph::error::GraphError;
use crate::graph::extent::Extent;
use crate::graph::index;
use crate::graph::node::Node;
use crate::graph::operator::{Backward, Forward, Operator};
use crate::graph::plan::{Imported, Term, Value};

pub(crate) fn import(node: &mut Node<'_, '_>) -> Result<Imported, GraphError> {
    node.expect_inputs(2..=4)?;
    node.expect_attributes(&[
        "antialias",
        "axes",
        "coordinate_transformation_mode",
        "cubic_coeff_a",
        "exclude_outside",
        "extrapolation_value",
        "keep_aspect_ratio_policy",
        "mode",
        "nearest_mode",
    ])?;
    node.expect_int("antialias", 0)?;
    node.expect_int("exclude_outside", 0)?;
    let policy = node.text("keep_aspect_ratio_policy", "stretch")?;
    if policy != "stretch" {
        return Err(node.setting(format!("keep_aspect_ratio_policy {policy}"), "stretch"));
    }
    let input = node.value(0)?;
    let axes = axes(node, &input)?;
    let mode = node.text("mode", "nearest")?;
    let coordinates = Coordinates::read(node)?;
    match mode.as_str() {
        "nearest" => {
            let rounding = node.text("nearest_mode", "round_prefer_floor")?;
            let mut elements: Vec<usize> = (0..input.view.dims.iter().product()).collect();
            let mut dims = input.view.dims.clone();
            for axis in &axes {
                let taken: Vec<usize> = (0..axis.to)
                    .map(|at| nearest(coordinates.of(at, axis), &rounding, axis.from))
                    .collect::<Option<_>>()
                    .ok_or_else(|| {
                        node.setting(
                            format!("nearest_mode {rounding}"),
                            "floor, ceil, round_prefer_floor or round_prefer_ceil",
                        )
                    })?;
                let places = index::take(&dims, axis.axis, &taken);
                elements = places.into_iter().map(|place| elements[place]).collect();
                dims[axis.axis] = axis.to;
            }
            let view = input.view.with_dims(dims);
            rearranged(node, input, view, elements, 0.0).map(Imported::Term)
        }
        "linear" => {
            let mut value = input;
            for axis in &axes {
                value = interpolated(node, value, axis, coordinates)?;
            }
            Ok(Imported::Term(Term::Value(value)))
        }
        other => Err(node.setting(format!("mode {other}"), "nearest or linear")),
    }
}

/// One dimension that changes.
struct Axis {
    axis: usize,
    from: usize,
    to: usize,
    scale: f64,
}

/// The dimensions that change, by input `scales` or `sizes`.
fn axes(node: &Node<'_, '_>, input: &Value) -> Result<Vec<Axis>, GraphError> {
    let dims = &input.view.dims;
    let places: Vec<usize> = match node.ints("axes")? {
        None => (0..dims.len()).collect(),
        Some(axes) => axes
            .iter()
            .map(|&axis| index::axis(axis, dims.len()))
            .collect::<Option<_>>()
            .ok_or_else(|| node.setting(format!("axes {axes:?}"), "axes of the input"))?,
    };
    let count = |got: usize| {
        if got == places.len() {
            return Ok(());
        }
        Err(node.setting(
            format!("{got} scales or sizes"),
            format!("{} of them", places.len()),
        ))
    };
    let mut found = Vec::new();
    if node.has_input(3) {
        let sizes = node.extents(3)?;
        count(sizes.len())?;
        for (&axis, size) in places.iter().zip(sizes) {
            let to = match size {
                Extent::Batch(1) if axis == input.view.axis => continue,
                // The number of examples that the exporter wrote down.
                Extent::Known(size) if axis == input.view.axis && Some(size) == node.batch() => {
                    continue;
                }
                Extent::Known(size) if axis != input.view.axis => usize::try_from(size).ok(),
                _ => None,
            };
            let to = to.filter(|&to| to >= 1).ok_or_else(|| {
                node.setting(
                    format!("size {size:?} of axis {axis}"),
                    "sizes of at least 1, and as many examples as there are",
                )
            })?;
            found.push(Axis {
                axis,
                from: dims[axis],
                to,
                scale: to as f64 / dims[axis] as f64,
            });
        }
    } else {
        let constant = node.constant(2)?;
        let scales = constant
            .floats()
            .ok_or_else(|| node.input_error(2, "no numbers", "scales"))?;
        count(scales.len())?;
        for (&axis, scale) in places.iter().zip(scales) {
            let scale = f64::from(scale);
            let to = (dims[axis] as f64 * scale).floor();
            let fits = if axis == input.view.axis {
                scale == 1.0
            } else {
                scale > 0.0
            };
            if !(fits && (1.0..=crate::graph::Shape::ELEMENT_LIMIT as f64).contains(&to)) {
                return Err(node.setting(
                    format!("scale {scale} of axis {axis}"),
                    "scales that leave at least one element, and 1 for the examples",
                ));
            }
            if axis != input.view.axis {
                found.push(Axis {
                    axis,
                    from: dims[axis],
                    to: to as usize,
                    scale,
                });
            }
        }
    }
    let mut larger = dims.clone();
    for axis in &found {
        larger[axis.axis] = axis.to;
    }
    node.output_shape(larger)?;
    found.retain(|axis| axis.from != axis.to || axis.scale != 1.0);
    Ok(found)
}

/// Where an output's element lies among the input's (ONNX, Resize, `coordinate_transformation_mode`).
#[derive(Clone, Copy)]
enum Coordinates {
    HalfPixel,
    PytorchHalfPixel,
    Asymmetric,
    AlignCorners,
}

impl Coordinates {
    fn read(node: &Node<'_, '_>) -> Result<Self, GraphError> {
        let mode = node.text("coordinate_transformation_mode", "half_pixel")?;
        Ok(match mode.as_str() {
            "half_pixel" => Self::HalfPixel,
            "pytorch_half_pixel" => Self::PytorchHalfPixel,
            "asymmetric" => Self::Asymmetric,
            "align_corners" => Self::AlignCorners,
            _ => {
                return Err(node.setting(
                    format!("coordinate_transformation_mode {mode}"),
                    "half_pixel, pytorch_half_pixel, asymmetric or align_corners",
                ));
            }
        })
    }

    fn of(self, at: usize, axis: &Axis) -> f64 {
        let x = at as f64;
        match self {
            Self::PytorchHalfPixel if axis.to == 1 => 0.0,
            Self::HalfPixel | Self::PytorchHalfPixel => (x + 0.5) / axis.scale - 0.5,
            Self::Asymmetric => x / axis.scale,
            Self::AlignCorners if axis.to == 1 => 0.0,
            Self::AlignCorners => x * (axis.from - 1) as f64 / (axis.to - 1) as f64,
        }
    }
}

fn nearest(at: f64, rounding: &str, size: usize) -> Option<usize> {
    let rounded = match rounding {
        "floor" => at.floor(),
        "ceil" => at.ceil(),
        "round_prefer_floor" => (at - 0.5).ceil(),
        "round_prefer_ceil" => (at + 0.5).floor(),
        _ => return None,
    };
    Some(rounded.clamp(0.0, (size - 1) as f64) as usize)
}

fn interpolated(
    node: &mut Node<'_, '_>,
    input: Value,
    axis: &Axis,
    coordinates: Coordinates,
) -> Result<Value, GraphError> {
    let last = axis.from - 1;
    let taps = (0..axis.to)
        .map(|at| {
            let place = coordinates.of(at, axis).clamp(0.0, last as f64);
            let first = place.floor() as usize;
            Tap {
                first,
                second: (first + 1).min(last),
                share: (place - place.floor()) as f32,
            }
        })
        .collect();
    let dims = &input.view.dims;
    let operator = Interpolate {
        taps,
        from: axis.from,
        inner: dims[axis.axis + 1..].iter().product(),
    };
    let mut dims = dims.clone();
    dims[axis.axis] = axis.to;
    let view = input.view.with_dims(dims);
    node.push(Box::new(operator), vec![input], view)
}

/// Between two neighbours: `(1 - share) first + share second`.
#[derive(Debug)]
struct Tap {
    first: usize,
    second: usize,
    share: f32,
}

/// Linear interpolation along one dimension.
#[derive(Debug)]
struct Interpolate {
    taps: Vec<Tap>,
    /// The dimension's size before.
    from: usize,
    inner: usize,
}

impl Operator for Interpolate {
    fn forward(&self, pass: &mut Forward<'_>) {
        let inner = self.inner;
        let blocks = pass.output.chunks_exact_mut(self.taps.len() * inner);
        for (input, output) in pass.inputs[0].chunks_exact(self.from * inner).zip(blocks) {
            for (tap, output) in self.taps.iter().zip(output.chunks_exact_mut(inner)) {
                let first = &input[tap.first * inner..][..inner];
                let second = &input[tap.second * inner..][..inner];
                for (output, (first, second)) in output.iter_mut().zip(first.iter().zip(second)) {
                    *output = (1.0 - tap.share) * first + tap.share * second;
                }
            }
        }
    }

    fn backward(&self, pass: &mut Backward<'_>) {
        let Some(target) = &mut pass.input_gradients[0] else {
            return;
        };
        target.fill(0.0);
        let inner = self.inner;
        let blocks = pass.output_gradient.chunks_exact(self.taps.len() * inner);
        for (target, gradient) in target.chunks_exact_mut(self.from * inner).zip(blocks) {
            for (tap, gradient) in self.taps.iter().zip(gradient.chunks_exact(inner)) {
                for (place, share) in [(tap.first, 1.0 - tap.share), (tap.second, tap.share)] {
                    for (target, gradient) in
                        target[place * inner..][..inner].iter_mut().zip(gradient)
                    {
                        *target += share * gradient;
                    }
                }
            }
        }
    }
}
