//! Conv in one dimension or two, with strides, padding, dilation and groups.

use std::ops::Range;

use crate::graph::error::GraphError;
use crate::graph::lane_operator::{LaneBackward, LaneOperator};
use crate::graph::node::Node;
use crate::graph::operator::{Backward, Forward, Operator, ParameterGradients};
use crate::graph::operators::affine::Affine;
use crate::graph::operators::windows::{Image, Windows, groups, two};
use crate::graph::plan::Imported;
use crate::kernels::{self, InputGradient, WeightGradient, Window};
use crate::lanes::Isa;
use crate::products::{Convolution, Geometry};

pub(crate) fn import(node: &mut Node<'_, '_>) -> Result<Imported, GraphError> {
    node.expect_inputs(2..=3)?;
    node.expect_attributes(&[
        "auto_pad",
        "dilations",
        "group",
        "kernel_shape",
        "pads",
        "strides",
    ])?;
    let input = node.value(0)?;
    let image = Image::read(node, input.shape.dims())?;
    let weight_dims = node.parameter_dims(1)?;
    let (&[rows, ..], Some(kernel)) = (
        weight_dims.as_slice(),
        (weight_dims.get(2..)).and_then(|kernel| two(kernel, image.dimensions)),
    ) else {
        return Err(node.shape(
            format!("a weight of {} dimensions", image.dimensions + 2),
            format!("{} dimensions", weight_dims.len()),
        ));
    };
    let windows = Windows::read(node, image, Some(kernel))?.auto_padded(node, image)?;
    let Image {
        channels,
        size: [height, width],
        ..
    } = image;
    let Windows {
        strides,
        dilations,
        begin: [top, left],
        ..
    } = windows;
    let groups = groups(node, channels, rows)?;
    let padded = windows.padded(image);
    let extent = windows.extent(node, image)?;
    let mut dims = weight_dims.clone();
    dims[1] = channels / groups;
    let weights = node.claim(1, &dims)?;
    let bias = if node.has_input(2) {
        node.claim(2, &[rows])?
    } else {
        0..0
    };
    let shape = node.output_shape(image.dims(rows, extent))?;
    // The padded image is held in memory too.
    node.output_shape(vec![channels, padded[0], padded[1]])?;

    let at = |channel: usize, y: usize, x: usize| (channel * padded[0] + y) * padded[1] + x;
    let mut taps = Vec::new();
    for channel in 0..channels / groups {
        for y in 0..kernel[0] {
            for x in 0..kernel[1] {
                taps.push(at(channel, y * dilations[0], x * dilations[1]));
            }
        }
    }
    let mut positions = Vec::new();
    for y in 0..extent[0] {
        for x in 0..extent[1] {
            positions.push(at(0, y * strides[0], x * strides[1]));
        }
    }
    let padding = (padded != [height, width]).then_some(Padding {
        channels,
        image: [height, width],
        padded,
        corner: [top, left],
    });
    let convolution = Convolution::new(Geometry {
        groups,
        channels,
        rows,
        image: [height, width],
        kernel,
        strides,
        dilations,
        corner: [top, left],
        padded,
        extent,
    });
    let operator = Conv {
        affine: Affine::new(convolution, 1, weights.clone(), bias.clone()),
        groups,
        rows,
        group_input: channels / groups * padded[0] * padded[1],
        taps,
        positions,
        padding,
        weights,
        bias,
    };
    Ok(Imported::Step {
        operator: Box::new(operator),
        inputs: vec![input],
        shape,
    })
}

#[derive(Debug)]
struct Conv {
    /// The group form.
    affine: Affine,
    groups: usize,
    /// Output channels.
    rows: usize,
    /// Elements of the padded input that belong to one group.
    group_input: usize,
    taps: Vec<usize>,
    positions: Vec<usize>,
    padding: Option<Padding>,
    weights: Range<usize>,
    bias: Range<usize>,
}

impl Conv {
    fn window(&self) -> Window<'_> {
        Window {
            taps: &self.taps,
            positions: &self.positions,
        }
    }

    /// Elements of the output that belong to one group.
    fn group_output(&self) -> usize {
        self.rows / self.groups * self.positions.len()
    }

    fn group_weights(&self) -> usize {
        self.rows / self.groups * self.taps.len()
    }

    fn group_bias(&self) -> usize {
        self.bias.len() / self.groups
    }
}

impl Operator for Conv {
    fn lanes(&self) -> Option<&dyn LaneOperator> {
        Some(self)
    }

    fn packed(&self) -> usize {
        self.affine.packed()
    }

    fn pack(&self, weights: &[f32], packed: &mut [f32]) {
        self.affine.pack(weights, packed);
    }

    fn forward(&self, pass: &mut Forward<'_>) {
        self.affine.forward(pass);
    }

    fn backward(&self, pass: &mut Backward<'_>) {
        self.affine.backward(pass);
    }

    fn gradients(&self) -> Option<&dyn ParameterGradients> {
        Some(&self.affine)
    }
}

impl LaneOperator for Conv {
    fn scratch(&self) -> usize {
        self.padding.as_ref().map_or(0, Padding::elements)
    }

    fn forward(
        &self,
        isa: Isa,
        weights: &[f32],
        inputs: &[&[f32]],
        output: &mut [f32],
        scratch: &mut [f32],
    ) {
        let width = isa.width();
        let input = match &self.padding {
            Some(padding) => {
                padding.pad(width, inputs[0], scratch);
                &*scratch
            }
            None => inputs[0],
        };
        let (weights, bias) = (&weights[self.weights.clone()], &weights[self.bias.clone()]);
        for group in 0..self.groups {
            isa.run(kernels::Forward {
                window: self.window(),
                weights: part(weights, group, self.group_weights()),
                bias: part(bias, group, self.group_bias()),
                input: part(input, group, self.group_input * width),
                output: part_mut(output, group, self.group_output() * width),
            });
        }
    }

    fn backward_parameters(&self, isa: Isa, pass: &mut LaneBackward<'_>, gradient: &mut [f32]) {
        let width = isa.width();
        let input = if self.padding.is_some() {
            &*pass.scratch
        } else {
            pass.inputs[0]
        };
        for group in 0..self.groups {
            let tile = |range: &Range<usize>| range.start * width..range.end * width;
            let [weights, bias] = disjoint(gradient, tile(&self.weights), tile(&self.bias));
            isa.run(WeightGradient {
                window: self.window(),
                input: part(input, group, self.group_input * width),
                output_gradient: part(pass.output_gradient, group, self.group_output() * width),
                weights: part_mut(weights, group, self.group_weights() * width),
                bias: part_mut(bias, group, self.group_bias() * width),
            });
        }
    }

    fn backward_input(
        &self,
        isa: Isa,
        _: usize,
        weights: &[f32],
        pass: &mut LaneBackward<'_>,
        input_gradient: &mut [f32],
    ) {
        let width = isa.width();
        let weights = &weights[self.weights.clone()];
        // The padded input is not needed any more: its memory takes the padded gradient.
        let target = if self.padding.is_some() {
            &mut *pass.scratch
        } else {
            &mut *input_gradient
        };
        target.fill(0.0);
        for group in 0..self.groups {
            isa.run(InputGradient {
                window: self.window(),
                weights: part(weights, group, self.group_weights()),
                output_gradient: part(pass.output_gradient, group, self.group_output() * width),
                input_gradient: part_mut(target, group, self.group_input * width),
            });
        }
        if let Some(padding) = &self.padding {
            padding.cut(width, pass.scratch, input_gradient);
        }
    }
}

/// A border of zeros around an image.
#[derive(Debug)]
struct Padding {
    channels: usize,
    image: [usize; 2],
    padded: [usize; 2],
    corner: [usize; 2],
}

impl Padding {
    fn elements(&self) -> usize {
        self.channels * self.padded[0] * self.padded[1]
    }

    fn pad(&self, width: usize, image: &[f32], padded: &mut [f32]) {
        padded.fill(0.0);
        for (inner, outer) in self.lines(width) {
            padded[outer].copy_from_slice(&image[inner]);
        }
    }

    fn cut(&self, width: usize, padded: &[f32], image: &mut [f32]) {
        for (inner, outer) in self.lines(width) {
            image[inner].copy_from_slice(&padded[outer]);
        }
    }

    /// Where each line of the image lies in the image and in the padded one.
    fn lines(&self, width: usize) -> impl Iterator<Item = (Range<usize>, Range<usize>)> {
        let &Self {
            channels,
            image,
            padded,
            corner,
        } = self;
        (0..channels * image[0]).map(move |line| {
            let (channel, y) = (line / image[0], line % image[0]);
            let inner = line * image[1];
            let outer = (channel * padded[0] + y + corner[0]) * padded[1] + corner[1];
            (
                inner * width..(inner + image[1]) * width,
                outer * width..(outer + image[1]) * width,
            )
        })
    }
}

fn part(slice: &[f32], index: usize, size: usize) -> &[f32] {
    &slice[index * size..(index + 1) * size]
}

fn part_mut(slice: &mut [f32], index: usize, size: usize) -> &mut [f32] {
    &mut slice[index * size..(index + 1) * size]
}

/// Two ranges of one slice, the second of which is empty or lies behind the first (a bias is claimed after its weight).
fn disjoint(slice: &mut [f32], first: Range<usize>, second: Range<usize>) -> [&mut [f32]; 2] {
    if second.is_empty() {
        return [&mut slice[first], &mut []];
    }
    let (before, behind) = slice.split_at_mut(second.start);
    [&mut before[first], &mut behind[..second.len()]]
}
