//! The windows of convolutions and pools, as their attributes say: in one dimension or two.

use crate::graph::error::GraphError;
use crate::graph::node::Node;

/// Kernel, strides, padding and dilation. One dimension is the second of two, of which the first has size one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Windows {
    pub(crate) kernel: [usize; 2],
    pub(crate) strides: [usize; 2],
    pub(crate) dilations: [usize; 2],
    /// Top and left.
    pub(crate) begin: [usize; 2],
    /// Bottom and right.
    pub(crate) end: [usize; 2],
}

/// An image: channels, height and width, and how many of the latter two the file has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Image {
    pub(crate) channels: usize,
    pub(crate) size: [usize; 2],
    pub(crate) dimensions: usize,
}

impl Image {
    /// One example's image or sequence.
    pub(crate) fn read(node: &Node<'_, '_>, dims: &[usize]) -> Result<Self, GraphError> {
        match *dims {
            [channels, width] => Ok(Self {
                channels,
                size: [1, width],
                dimensions: 1,
            }),
            [channels, height, width] => Ok(Self {
                channels,
                size: [height, width],
                dimensions: 2,
            }),
            _ => Err(node.shape(
                "channels x length, or an image of channels x height x width, for each example",
                crate::graph::shape::display_dims(dims),
            )),
        }
    }

    /// The dims of so many channels of another size.
    pub(crate) fn dims(&self, channels: usize, size: [usize; 2]) -> Vec<usize> {
        match self.dimensions {
            1 => vec![channels, size[1]],
            _ => vec![channels, size[0], size[1]],
        }
    }
}

/// The sizes of a kernel of so many dimensions, as two.
pub(crate) fn two(sizes: &[usize], dimensions: usize) -> Option<[usize; 2]> {
    match (dimensions, sizes) {
        (1, &[size]) => Some([1, size]),
        (2, &[first, second]) => Some([first, second]),
        _ => None,
    }
}

impl Windows {
    /// The attributes of a node that works on an image; `kernel` is the weight's, or `None` where the attribute must say it.
    pub(crate) fn read(
        node: &Node<'_, '_>,
        image: Image,
        kernel: Option<[usize; 2]>,
    ) -> Result<Self, GraphError> {
        let count = image.dimensions;
        let list = |name: &str, default: Option<[usize; 2]>| {
            node.size_list(name, count)?
                .and_then(|sizes| two(&sizes, count))
                .or(default)
                .ok_or_else(|| {
                    node.setting(format!("no attribute `{name}`"), format!("{count} sizes"))
                })
        };
        let own = list("kernel_shape", kernel)?;
        if let Some(kernel) = kernel
            && own != kernel
        {
            return Err(node.shape(
                format!("kernel_shape {}x{} as the weight's", kernel[0], kernel[1]),
                format!("{}x{}", own[0], own[1]),
            ));
        }
        let strides = list("strides", Some([1, 1]))?;
        let dilations = list("dilations", Some([1, 1]))?;
        if own.contains(&0) || strides.contains(&0) || dilations.contains(&0) {
            return Err(node.setting(
                "a kernel, stride or dilation of zero",
                "sizes of at least one",
            ));
        }
        let (begin, end) = match node.size_list("pads", 2 * count)? {
            None => ([0; 2], [0; 2]),
            Some(pads) => {
                let (begin, end) = pads.split_at(count);
                let side = |pads: &[usize]| match *pads {
                    [only] => [0, only],
                    [first, second] => [first, second],
                    _ => [0; 2],
                };
                (side(begin), side(end))
            }
        };
        Ok(Self {
            kernel: own,
            strides,
            dilations,
            begin,
            end,
        })
    }

    /// As attribute `auto_pad` says (ONNX, Conv): the output's size is the input's over the stride, rounded up, and an odd
    /// rest goes to the end (SAME_UPPER) or the beginning (SAME_LOWER).
    pub(crate) fn auto_padded(
        mut self,
        node: &Node<'_, '_>,
        image: Image,
    ) -> Result<Self, GraphError> {
        let mode = node.text("auto_pad", "NOTSET")?;
        match mode.as_str() {
            "NOTSET" => return Ok(self),
            "VALID" => {
                (self.begin, self.end) = ([0; 2], [0; 2]);
                return Ok(self);
            }
            "SAME_UPPER" | "SAME_LOWER" => {}
            _ => {
                return Err(node.setting(
                    format!("auto_pad {mode}"),
                    "auto_pad NOTSET, VALID, SAME_UPPER or SAME_LOWER",
                ));
            }
        }
        for axis in 0..2 {
            let reach = self
                .reach(axis)
                .ok_or_else(|| node.setting("a huge kernel", "a smaller one"))?;
            let extent = image.size[axis].div_ceil(self.strides[axis]);
            let needed = (extent - 1)
                .saturating_mul(self.strides[axis])
                .saturating_add(reach);
            let all = needed.saturating_sub(image.size[axis]);
            let less = all / 2;
            (self.begin[axis], self.end[axis]) = if mode == "SAME_UPPER" {
                (less, all - less)
            } else {
                (all - less, less)
            };
        }
        Ok(self)
    }

    /// How far a window reaches along an axis, with dilation.
    pub(crate) fn reach(&self, axis: usize) -> Option<usize> {
        (self.kernel[axis] - 1)
            .checked_mul(self.dilations[axis])?
            .checked_add(1)
    }

    /// The image with its borders.
    pub(crate) fn padded(&self, image: Image) -> [usize; 2] {
        [0, 1].map(|axis| image.size[axis] + self.begin[axis] + self.end[axis])
    }

    /// How many windows there are along each axis, where there are any.
    pub(crate) fn extent(
        &self,
        node: &Node<'_, '_>,
        image: Image,
    ) -> Result<[usize; 2], GraphError> {
        let padded = self.padded(image);
        let mut extent = [0; 2];
        for axis in 0..2 {
            let room = self
                .reach(axis)
                .and_then(|reach| padded[axis].checked_sub(reach))
                .ok_or_else(|| {
                    node.shape(
                        format!(
                            "an image of at least the kernel {}x{} with dilation",
                            self.kernel[0], self.kernel[1]
                        ),
                        format!("{}x{} with padding", padded[0], padded[1]),
                    )
                })?;
            extent[axis] = room / self.strides[axis] + 1;
        }
        Ok(extent)
    }
}

/// The number of groups, a divisor of the channels on both sides.
pub(crate) fn groups(
    node: &Node<'_, '_>,
    channels: usize,
    rows: usize,
) -> Result<usize, GraphError> {
    let groups = usize::try_from(node.int("group", 1)?).unwrap_or(0);
    if groups == 0 || !channels.is_multiple_of(groups) || !rows.is_multiple_of(groups) || rows == 0
    {
        return Err(node.setting(
            format!("group {}", node.int("group", 1)?),
            format!("a divisor of {channels} input and {rows} output channels"),
        ));
    }
    Ok(groups)
}
