//! ConvTranspose in one dimension or two: the way back of a convolution is its way forward, and the other way round.

use super::affine::Affine;
use super::windows::{Image, Windows, two};
use crate::graph::error::GraphError;
use crate::graph::node::Node;
use crate::graph::plan::Imported;
use crate::graph::shape::display_dims;
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
        operator: Box::new(Affine::turned(convolution, 1, weights, bias)),
        inputs: vec![input],
        shape,
    })
}
