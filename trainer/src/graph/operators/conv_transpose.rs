//! ConvTranspose in one dimension or two: the way back of a convolution is its way forward, and the other way round.

use std::ops::Range;

use super::windows::{Image, Windows, two};
use crate::graph::error::GraphError;
use crate::graph::node::Node;
use crate::graph::operator::{
    Backward, Forward, GradientPass, Operator, ParameterGradients, ProductGradients, Scaled,
    Scratch,
};
use crate::graph::plan::Imported;
use crate::graph::shape::display_dims;
use crate::grid::round_small;
use crate::products::{Convolution, Geometry};

pub(crate) fn import(node: &mut Node<'_, '_>) -> Result<Imported, GraphError> {
    node.expect_inputs(2..=3)?;
    node.expect_attributes(&[
        "auto_pad",
        "dilations",
        "group",
        "kernel_shape",
        "output_padding",
        "output_shape",
        "pads",
        "strides",
    ])?;
    let padding = node.text("auto_pad", "NOTSET")?;
    if padding != "NOTSET" || node.ints("output_shape")?.is_some() {
        return Err(node.setting(
            format!("auto_pad {padding} or an output_shape"),
            "explicit pads and output_padding",
        ));
    }
    let input = node.value(0)?;
    let image = Image::read(node, input.shape.dims())?;
    let dims = node.parameter_dims(1)?;
    let (&[rows, group_channels, ..], Some(kernel)) = (
        dims.as_slice(),
        dims.get(2..)
            .and_then(|kernel| two(kernel, image.dimensions)),
    ) else {
        return Err(node.shape(
            format!("a weight of {} dimensions", image.dimensions + 2),
            display_dims(&dims),
        ));
    };
    let windows = Windows::read(node, image, Some(kernel))?;
    let groups = usize::try_from(node.int("group", 1)?).unwrap_or(0);
    if rows != image.channels || groups == 0 || rows % groups != 0 || group_channels == 0 {
        return Err(node.shape(
            format!("a weight of {} input channels in groups", image.channels),
            format!("{} in {groups} groups", display_dims(&dims)),
        ));
    }
    let channels = groups
        .checked_mul(group_channels)
        .ok_or_else(|| node.setting("too many channels", "fewer"))?;
    let extra = node
        .size_list("output_padding", image.dimensions)?
        .and_then(|sizes| two(&sizes, image.dimensions))
        .unwrap_or([0; 2]);
    let extra = if image.dimensions == 1 {
        [0, extra[1]]
    } else {
        extra
    };
    let (mut padded, mut size) = ([0; 2], [0; 2]);
    for axis in 0..2 {
        if extra[axis] >= windows.strides[axis].max(windows.dilations[axis]) {
            return Err(node.setting(
                format!("output_padding {extra:?}"),
                "less than the stride or the dilation",
            ));
        }
        let whole = (image.size[axis] - 1)
            .checked_mul(windows.strides[axis])
            .zip(windows.reach(axis))
            .and_then(|(steps, reach)| steps.checked_add(reach)?.checked_add(extra[axis]))
            .ok_or_else(|| node.setting("sizes that overflow", "smaller ones"))?;
        padded[axis] = whole;
        size[axis] = whole
            .checked_sub(windows.begin[axis] + windows.end[axis])
            .filter(|&size| size >= 1)
            .ok_or_else(|| {
                node.shape(
                    "an output of at least one element",
                    format!("{whole} less its pads along axis {axis}"),
                )
            })?;
    }
    let output = image.dims(channels, size);
    let shape = node.output_shape(output)?;
    node.output_shape(vec![channels, padded[0], padded[1]])?;
    let weights = node.claim(1, &dims)?;
    let bias = if node.has_input(2) {
        node.claim(2, &[channels])?
    } else {
        weights.end..weights.end
    };
    // The convolution that this is the way back of: from the output's image to the input's.
    let convolution = Convolution::new(Geometry {
        groups,
        channels,
        rows,
        image: size,
        kernel,
        strides: windows.strides,
        dilations: windows.dilations,
        corner: windows.begin,
        padded,
        extent: image.size,
    });
    Ok(Imported::Step {
        operator: Box::new(ConvTranspose {
            convolution,
            weights,
            bias,
            positions: size[0] * size[1],
        }),
        inputs: vec![input],
        shape,
    })
}

#[derive(Debug)]
struct ConvTranspose {
    convolution: Convolution,
    weights: Range<usize>,
    bias: Range<usize>,
    /// Of the output.
    positions: usize,
}

impl ConvTranspose {
    /// The gradient of the bias, summed over some examples.
    fn bias_gradient(&self, pass: &GradientPass<'_>, examples: Range<usize>) -> Vec<f32> {
        let mut sums = vec![0.0; self.bias.len()];
        let size = sums.len() * self.positions;
        if size > 0 {
            let own = &pass.output_gradient[examples.start * size..examples.end * size];
            for example in own.chunks_exact(size) {
                for (sum, line) in sums.iter_mut().zip(example.chunks_exact(self.positions)) {
                    *sum += line.iter().sum::<f32>();
                }
            }
        }
        sums
    }

    /// What the convolution has for input and gradient is the gradient and the input here.
    fn turned<T>(&self, pass: &GradientPass<'_>, run: impl FnOnce(&GradientPass<'_>) -> T) -> T {
        let inputs = [pass.output_gradient];
        run(&GradientPass {
            inputs: &inputs,
            output_gradient: pass.inputs[0],
            ..*pass
        })
    }
}

impl Operator for ConvTranspose {
    fn packed(&self) -> usize {
        self.convolution.packed()
    }

    fn pack(&self, weights: &[f32], packed: &mut [f32]) {
        self.convolution
            .pack(&weights[self.weights.clone()], packed);
    }

    fn forward(&self, pass: &mut Forward<'_>) {
        self.convolution.backward(
            pass.isa,
            pass.packed,
            pass.inputs[0],
            pass.output,
            pass.scratch,
        );
        let bias = &pass.weights[self.bias.clone()];
        if !bias.is_empty() {
            let lines = pass
                .output
                .chunks_exact_mut(self.positions)
                .zip(bias.iter().cycle());
            for (line, bias) in lines {
                line.iter_mut().for_each(|value| *value += bias);
            }
        }
    }

    fn backward(&self, pass: &mut Backward<'_>) {
        if let Some(target) = &mut pass.input_gradients[0] {
            self.convolution.forward(
                pass.isa,
                pass.packed,
                &[],
                pass.output_gradient,
                target,
                pass.scratch,
            );
        }
    }

    fn gradients(&self) -> Option<&dyn ParameterGradients> {
        Some(self)
    }
}

impl ParameterGradients for ConvTranspose {
    fn instantiate(
        &self,
        pass: &GradientPass<'_>,
        examples: Range<usize>,
        scratch: &mut Scratch,
        gradient: &mut [f32],
    ) {
        let (weights, bias) = gradient.split_at_mut(self.weights.len());
        self.turned(pass, |turned| {
            self.convolution
                .instantiate(turned, examples.clone(), scratch, weights);
        });
        bias.copy_from_slice(&self.bias_gradient(pass, examples));
    }

    fn products(&self) -> Option<&dyn ProductGradients> {
        Some(self)
    }
}

impl ProductGradients for ConvTranspose {
    fn costs(&self, examples: usize) -> [u64; 2] {
        self.convolution.costs(examples)
    }

    fn ghost_squared_norm(
        &self,
        pass: &GradientPass<'_>,
        examples: Range<usize>,
        scratch: &mut Scratch,
    ) -> f64 {
        let bias = self.bias_gradient(pass, examples.clone());
        let weights = self.turned(pass, |turned| {
            self.convolution
                .ghost_squared_norm(turned, examples, scratch)
        });
        weights
            + bias
                .iter()
                .map(|&value| f64::from(value).powi(2))
                .sum::<f64>()
    }

    fn add_rounded(
        &self,
        pass: &GradientPass<'_>,
        entities: &[Scaled],
        scratch: &mut Scratch,
        sums: &mut [i64],
        squares: &mut [f64],
    ) {
        let (weights, bias) = sums.split_at_mut(self.weights.len());
        self.turned(pass, |turned| {
            self.convolution
                .add_rounded(turned, entities, scratch, weights, squares);
        });
        for (entity, square) in entities.iter().zip(squares) {
            let gradient = self.bias_gradient(pass, entity.examples.clone());
            for (sum, value) in bias.iter_mut().zip(gradient) {
                let (number, squared) = round_small(value, entity.scale);
                *sum += i64::from(number);
                *square += squared;
            }
        }
    }

    fn add(
        &self,
        pass: &GradientPass<'_>,
        examples: Range<usize>,
        scratch: &mut Scratch,
        sums: &mut [f32],
    ) {
        let (weights, bias) = sums.split_at_mut(self.weights.len());
        self.turned(pass, |turned| {
            self.convolution
                .add(turned, examples.clone(), scratch, weights);
        });
        for (sum, value) in bias.iter_mut().zip(self.bias_gradient(pass, examples)) {
            *sum += value;
        }
    }
}
