//! MaxPool and AveragePool in one dimension or two; kernel, stride, padding and dilation are independent of one another.

use pulp::{Simd, WithSimd};

use crate::graph::error::GraphError;
use crate::graph::lane_operator::{LaneBackward, LaneOperator};
use crate::graph::node::Node;
use crate::graph::operator::{Backward, Forward, Operator, backward_by_lanes, forward_by_lanes};
use crate::graph::operators::windows::{Image, Windows};
use crate::graph::plan::{Imported, Value};
use crate::graph::shape::Shape;
use crate::lanes::Isa;

pub(crate) fn import_max(node: &mut Node<'_, '_>) -> Result<Imported, GraphError> {
    node.expect_attributes(&[
        "auto_pad",
        "ceil_mode",
        "dilations",
        "kernel_shape",
        "pads",
        "storage_order",
        "strides",
    ])?;
    node.expect_int("storage_order", 0)?;
    let (input, shape, pool) = import(node)?;
    Ok(Imported::Step {
        operator: Box::new(MaxPool { pool }),
        inputs: vec![input],
        shape,
    })
}

pub(crate) fn import_average(node: &mut Node<'_, '_>) -> Result<Imported, GraphError> {
    node.expect_attributes(&[
        "auto_pad",
        "ceil_mode",
        "count_include_pad",
        "dilations",
        "kernel_shape",
        "pads",
        "strides",
    ])?;
    let counts_padding = match node.int("count_include_pad", 0)? {
        0 => false,
        1 => true,
        other => return Err(node.setting(format!("count_include_pad {other}"), "0 or 1")),
    };
    let (input, shape, pool) = import(node)?;
    let share = |window: usize| {
        1.0 / (if counts_padding {
            pool.counted[window]
        } else {
            pool.window(window).len()
        }) as f32
    };
    let shares = (0..pool.windows()).map(share).collect();
    Ok(Imported::Step {
        operator: Box::new(AveragePool { pool, shares }),
        inputs: vec![input],
        shape,
    })
}

fn import(node: &mut Node<'_, '_>) -> Result<(Value, Shape, Pool), GraphError> {
    node.expect_inputs(1..=1)?;
    let ceil = match node.int("ceil_mode", 0)? {
        0 => false,
        1 => true,
        other => return Err(node.setting(format!("ceil_mode {other}"), "0 or 1")),
    };
    let input = node.value(0)?;
    let image = Image::read(node, input.shape.dims())?;
    let windows = Windows::read(node, image, None)?.auto_padded(node, image)?;
    let Windows {
        kernel,
        strides,
        dilations,
        begin: [top, left],
        ..
    } = windows;
    let [height, width] = image.size;
    let mut extent = windows.extent(node, image)?;
    let padded = windows.padded(image);
    for axis in 0..2 {
        let reach = padded[axis] - windows.reach(axis).unwrap_or(padded[axis]);
        // A last window that begins in the image or in the padding before it, not behind (PyTorch, `pooling_output_shape`).
        if ceil
            && reach % strides[axis] != 0
            && extent[axis] * strides[axis] < image.size[axis] + windows.begin[axis]
        {
            extent[axis] += 1;
        }
    }
    let shape = node.output_shape(image.dims(image.channels, extent))?;
    // The windows are written out, so their number times their size is bounded as a tensor is.
    node.output_shape(vec![extent[0], extent[1], kernel[0], kernel[1]])?;

    let inside = |axis: usize, window: usize, corner: usize| {
        let (start, step, size) = (window * strides[axis], dilations[axis], image.size[axis]);
        (0..kernel[axis])
            .filter_map(move |tap| (start + tap * step).checked_sub(corner))
            .filter(move |&at| at < size)
    };
    // Elements of a window that lie in the image or its padding, which some means count.
    let within = |axis: usize, window: usize| {
        let start = window * strides[axis];
        (0..kernel[axis])
            .filter(|tap| start + tap * dilations[axis] < padded[axis])
            .count()
    };
    let (mut starts, mut elements, mut counted) = (vec![0], Vec::new(), Vec::new());
    for y in 0..extent[0] {
        for x in 0..extent[1] {
            for line in inside(0, y, top) {
                for column in inside(1, x, left) {
                    elements.push(line * width + column);
                }
            }
            if starts.last() == Some(&elements.len()) {
                return Err(node.setting(
                    format!("a window {y}, {x} of nothing but padding"),
                    "windows that each hold an element of the image",
                ));
            }
            starts.push(elements.len());
            counted.push(within(0, y) * within(1, x));
        }
    }
    Ok((
        input,
        shape,
        Pool {
            counted,
            channel: height * width,
            starts,
            elements,
        },
    ))
}

/// The windows of a pool over one channel, without what lies in the padding.
#[derive(Debug)]
struct Pool {
    /// Elements of each window with those in the padding.
    counted: Vec<usize>,
    /// Elements of a channel.
    channel: usize,
    /// Where each window starts in `elements`, and where the last one ends.
    starts: Vec<usize>,
    elements: Vec<usize>,
}

impl Pool {
    fn windows(&self) -> usize {
        self.starts.len() - 1
    }

    #[inline(always)]
    fn window(&self, index: usize) -> &[usize] {
        &self.elements[self.starts[index]..self.starts[index + 1]]
    }
}

/// Of equal elements the first is the maximum, and gets the gradient, as in PyTorch.
#[derive(Debug)]
struct MaxPool {
    pool: Pool,
}

impl Operator for MaxPool {
    fn lanes(&self) -> Option<&dyn LaneOperator> {
        Some(self)
    }

    fn forward(&self, pass: &mut Forward<'_>) {
        forward_by_lanes(self, pass);
    }

    fn backward(&self, pass: &mut Backward<'_>) {
        backward_by_lanes(self, pass);
    }
}

impl LaneOperator for MaxPool {
    fn forward(&self, isa: Isa, _: &[f32], inputs: &[&[f32]], output: &mut [f32], _: &mut [f32]) {
        isa.run(MaxForward {
            pool: &self.pool,
            input: inputs[0],
            output,
        });
    }

    fn backward_input(
        &self,
        isa: Isa,
        _: usize,
        _: &[f32],
        pass: &mut LaneBackward<'_>,
        input_gradient: &mut [f32],
    ) {
        isa.run(MaxBackward {
            pool: &self.pool,
            input: pass.inputs[0],
            output: pass.output,
            output_gradient: pass.output_gradient,
            input_gradient,
        });
    }
}

struct MaxForward<'a> {
    pool: &'a Pool,
    input: &'a [f32],
    output: &'a mut [f32],
}

impl WithSimd for MaxForward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let channels = S::as_simd_f32s(self.input)
            .0
            .chunks_exact(self.pool.channel);
        let outputs = S::as_mut_simd_f32s(self.output)
            .0
            .chunks_exact_mut(self.pool.windows());
        for (channel, output) in channels.zip(outputs) {
            for (window, output) in output.iter_mut().enumerate() {
                let mut largest = simd.splat_f32s(f32::NEG_INFINITY);
                for &element in self.pool.window(window) {
                    let value = channel[element];
                    // Not `max`: what is not a number wins and stays, and the example is found out.
                    let not_a_number = simd.not_m32s(simd.equal_f32s(value, value));
                    let takes = simd.or_m32s(simd.greater_than_f32s(value, largest), not_a_number);
                    largest = simd.select_f32s(takes, value, largest);
                }
                *output = largest;
            }
        }
    }
}

struct MaxBackward<'a> {
    pool: &'a Pool,
    input: &'a [f32],
    output: &'a [f32],
    output_gradient: &'a [f32],
    input_gradient: &'a mut [f32],
}

impl WithSimd for MaxBackward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let zero = simd.splat_f32s(0.0);
        let pool = self.pool;
        let inputs = S::as_simd_f32s(self.input).0.chunks_exact(pool.channel);
        let outputs = S::as_simd_f32s(self.output).0.chunks_exact(pool.windows());
        let gradients = S::as_simd_f32s(self.output_gradient)
            .0
            .chunks_exact(pool.windows());
        let targets = S::as_mut_simd_f32s(self.input_gradient)
            .0
            .chunks_exact_mut(pool.channel);
        for (((input, output), gradient), target) in inputs.zip(outputs).zip(gradients).zip(targets)
        {
            target.fill(zero);
            for (window, (&largest, &gradient)) in output.iter().zip(gradient).enumerate() {
                // What is left of the gradient: it goes to the first element that equals the maximum, once.
                let mut left = gradient;
                for &element in pool.window(window) {
                    let hit = simd.equal_f32s(input[element], largest);
                    target[element] =
                        simd.add_f32s(target[element], simd.select_f32s(hit, left, zero));
                    left = simd.select_f32s(hit, zero, left);
                }
            }
        }
    }
}

/// The mean of each window.
#[derive(Debug)]
struct AveragePool {
    pool: Pool,
    /// One over the number of elements that each window's sum is divided by.
    shares: Vec<f32>,
}

impl Operator for AveragePool {
    fn lanes(&self) -> Option<&dyn LaneOperator> {
        Some(self)
    }

    fn forward(&self, pass: &mut Forward<'_>) {
        forward_by_lanes(self, pass);
    }

    fn backward(&self, pass: &mut Backward<'_>) {
        backward_by_lanes(self, pass);
    }
}

impl LaneOperator for AveragePool {
    fn forward(&self, isa: Isa, _: &[f32], inputs: &[&[f32]], output: &mut [f32], _: &mut [f32]) {
        isa.run(AverageForward {
            pool: &self.pool,
            shares: &self.shares,
            input: inputs[0],
            output,
        });
    }

    fn backward_input(
        &self,
        isa: Isa,
        _: usize,
        _: &[f32],
        pass: &mut LaneBackward<'_>,
        input_gradient: &mut [f32],
    ) {
        isa.run(AverageBackward {
            pool: &self.pool,
            shares: &self.shares,
            output_gradient: pass.output_gradient,
            input_gradient,
        });
    }
}

struct AverageForward<'a> {
    pool: &'a Pool,
    shares: &'a [f32],
    input: &'a [f32],
    output: &'a mut [f32],
}

impl WithSimd for AverageForward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let channels = S::as_simd_f32s(self.input)
            .0
            .chunks_exact(self.pool.channel);
        let outputs = S::as_mut_simd_f32s(self.output)
            .0
            .chunks_exact_mut(self.pool.windows());
        for (channel, output) in channels.zip(outputs) {
            for (window, (output, &share)) in output.iter_mut().zip(self.shares).enumerate() {
                let mut sum = simd.splat_f32s(0.0);
                for &element in self.pool.window(window) {
                    sum = simd.add_f32s(sum, channel[element]);
                }
                *output = simd.mul_f32s(sum, simd.splat_f32s(share));
            }
        }
    }
}

struct AverageBackward<'a> {
    pool: &'a Pool,
    shares: &'a [f32],
    output_gradient: &'a [f32],
    input_gradient: &'a mut [f32],
}

impl WithSimd for AverageBackward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let pool = self.pool;
        let gradients = S::as_simd_f32s(self.output_gradient)
            .0
            .chunks_exact(pool.windows());
        let targets = S::as_mut_simd_f32s(self.input_gradient)
            .0
            .chunks_exact_mut(pool.channel);
        for (gradient, target) in gradients.zip(targets) {
            target.fill(simd.splat_f32s(0.0));
            for (window, (&gradient, &share)) in gradient.iter().zip(self.shares).enumerate() {
                let part = simd.mul_f32s(gradient, simd.splat_f32s(share));
                for &element in pool.window(window) {
                    target[element] = simd.add_f32s(target[element], part);
                }
            }
        }
    }
}
