//! Convolutions of a group of examples, forward and back to their input; linear layers are those of a single position.

use super::gather::{Columns, GatherProduct, ScatterProduct, segment};
use super::packing::{pack, packed_len};
use super::tile::COLUMNS;
use super::winograd::Winograd;
use crate::graph::Scratch;
use crate::lanes::Isa;

/// What is convolved with what, in two dimensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    pub(crate) groups: usize,
    /// Of the input, all groups together.
    pub(crate) channels: usize,
    /// Of the output, all groups together.
    pub(crate) rows: usize,
    pub(crate) image: [usize; 2],
    pub(crate) kernel: [usize; 2],
    pub(crate) strides: [usize; 2],
    pub(crate) dilations: [usize; 2],
    /// Top and left.
    pub(crate) corner: [usize; 2],
    /// With both borders.
    pub(crate) padded: [usize; 2],
    /// Height and width of the output.
    pub(crate) extent: [usize; 2],
}

/// A convolution as its products see it.
#[derive(Debug)]
pub(crate) struct Convolution {
    pub(crate) geometry: Geometry,
    pub(super) forward: Windows,
    /// The gradient of the input as windows of the output's gradient, where strides are 1.
    backward: Option<Windows>,
    /// Both by fewer multiplications, where they can be.
    pub(super) fast_forward: Option<Winograd>,
    fast_backward: Option<Winograd>,
}

/// Windows of padded images, in one group of channels.
#[derive(Debug)]
pub(super) struct Windows {
    /// Channels of all groups.
    pub(super) channels: usize,
    pub(super) image: [usize; 2],
    pub(super) padded: [usize; 2],
    pub(super) corner: [usize; 2],
    /// Offset of each term of a window: channel by channel, line by line.
    pub(super) taps: Vec<usize>,
    /// Offset of each window.
    pub(super) positions: Vec<usize>,
    segment: usize,
}

/// Floats of padded images that are worked on at a time: half a second-level cache.
const CHUNK: usize = 128 << 10;

impl Convolution {
    pub(crate) fn new(geometry: Geometry) -> Self {
        let Geometry {
            groups,
            channels,
            rows,
            image,
            kernel,
            strides,
            dilations,
            corner,
            padded,
            extent,
        } = geometry;
        let forward = Windows::new(
            [channels, channels / groups],
            image,
            padded,
            corner,
            (kernel, dilations),
            (extent, strides),
        );
        // The window of an input element: all outputs that it had a part in, from the last tap's to the first's.
        let reach = [0, 1].map(|axis| (kernel[axis] - 1) * dilations[axis]);
        let border = [0, 1].map(|axis| reach[axis].checked_sub(corner[axis]));
        let backward = match (border, strides) {
            ([Some(top), Some(left)], [1, 1]) => Some(Windows::new(
                [rows, rows / groups],
                extent,
                // All outputs must have room, also those of windows that see nothing but padding.
                [
                    (image[0] + reach[0]).max(top + extent[0]),
                    (image[1] + reach[1]).max(left + extent[1]),
                ],
                [top, left],
                (kernel, dilations),
                (image, [1, 1]),
            )),
            _ => None,
        };
        let plain = groups == 1 && strides == [1, 1] && dilations == [1, 1];
        let fast = |sizes, image, corner, extent| {
            (plain.then(|| Winograd::new(sizes, image, corner, extent, kernel))).flatten()
        };
        let fast_backward = match border {
            [Some(top), Some(left)] => fast([rows, channels], extent, [top, left], image),
            _ => None,
        };
        Self {
            geometry,
            forward,
            backward,
            fast_forward: fast([channels, rows], image, corner, extent),
            fast_backward,
        }
    }

    /// Whether it is computed with fewer multiplications.
    #[cfg(test)]
    pub(super) fn is_fast(&self) -> bool {
        self.fast_forward.is_some()
    }

    /// A linear layer of so many inputs and outputs.
    pub(crate) fn linear(inputs: usize, outputs: usize) -> Self {
        Self::new(Geometry {
            groups: 1,
            channels: inputs,
            rows: outputs,
            image: [1, 1],
            kernel: [1, 1],
            strides: [1, 1],
            dilations: [1, 1],
            corner: [0, 0],
            padded: [1, 1],
            extent: [1, 1],
        })
    }

    /// Output channels of a group.
    pub(super) fn rows(&self) -> usize {
        self.geometry.rows / self.geometry.groups
    }

    /// Input channels of a group.
    pub(super) fn channels(&self) -> usize {
        self.geometry.channels / self.geometry.groups
    }

    /// Positions of the output.
    pub(super) fn positions(&self) -> usize {
        self.forward.positions.len()
    }

    /// Weights of a group.
    fn group_weights(&self) -> usize {
        self.rows() * self.forward.taps.len()
    }

    fn kernel(&self) -> usize {
        self.geometry.kernel.iter().product()
    }

    /// Packed floats of a group: for forward and for backward.
    fn packed_parts(&self) -> [usize; 2] {
        let forward = match &self.fast_forward {
            Some(fast) => fast.packed(),
            None => packed_len(self.rows(), self.forward.taps.len()),
        };
        let backward = match (&self.fast_backward, &self.backward) {
            (Some(fast), _) => fast.packed(),
            (None, Some(windows)) => packed_len(self.channels(), windows.taps.len()),
            (None, None) => packed_len(self.forward.taps.len(), self.rows()),
        };
        [forward, backward]
    }

    /// Floats that [`Convolution::pack`] fills.
    pub(crate) fn packed(&self) -> usize {
        self.geometry.groups * self.packed_parts().iter().sum::<usize>()
    }

    /// Packs weights `[row][channel of the group][kernel]`.
    pub(crate) fn pack(&self, weights: &[f32], packed: &mut [f32]) {
        let (terms, kernel) = (self.forward.taps.len(), self.kernel());
        let [forward, backward] = self.packed_parts();
        let groups = weights
            .chunks_exact(self.group_weights())
            .zip(packed.chunks_exact_mut(forward + backward));
        for (weights, packed) in groups {
            let (forward, backward) = packed.split_at_mut(forward);
            match &self.fast_forward {
                Some(fast) => fast.pack(forward, |row, channel, tap| {
                    weights[row * terms + channel * kernel + tap]
                }),
                None => pack(self.rows(), terms, forward, |row, term| {
                    weights[row * terms + term]
                }),
            }
            match (&self.fast_backward, &self.backward) {
                (Some(fast), _) => fast.pack(backward, |channel, row, tap| {
                    weights[row * terms + channel * kernel + kernel - 1 - tap]
                }),
                (None, Some(windows)) => pack(
                    self.channels(),
                    windows.taps.len(),
                    backward,
                    |channel, term| {
                        let (row, tap) = (term / kernel, term % kernel);
                        weights[row * terms + channel * kernel + kernel - 1 - tap]
                    },
                ),
                (None, None) => pack(terms, self.rows(), backward, |term, row| {
                    weights[row * terms + term]
                }),
            }
        }
    }

    /// Computes the outputs of a group of examples.
    pub(crate) fn forward(
        &self,
        isa: Isa,
        packed: &[f32],
        bias: &[f32],
        input: &[f32],
        output: &mut [f32],
        scratch: &mut Scratch,
    ) {
        let [own, other] = self.packed_parts();
        if let Some(fast) = &self.fast_forward {
            return fast.run(isa, &packed[..own], bias, input, output, scratch);
        }
        let left = |group: usize| &packed[group * (own + other)..][..own];
        self.gather(
            isa,
            &self.forward,
            (self.rows(), left),
            bias,
            input,
            output,
            scratch,
        );
    }

    /// Computes the gradients of the inputs.
    pub(crate) fn backward(
        &self,
        isa: Isa,
        packed: &[f32],
        output_gradient: &[f32],
        input_gradient: &mut [f32],
        scratch: &mut Scratch,
    ) {
        let [other, own] = self.packed_parts();
        if let Some(fast) = &self.fast_backward {
            let packed = &packed[other..other + own];
            return fast.run(isa, packed, &[], output_gradient, input_gradient, scratch);
        }
        let left = |group: usize| &packed[group * (own + other) + other..][..own];
        match &self.backward {
            Some(windows) => self.gather(
                isa,
                windows,
                (self.channels(), left),
                &[],
                output_gradient,
                input_gradient,
                scratch,
            ),
            None => self.scatter(isa, left, output_gradient, input_gradient, scratch),
        }
    }

    #[expect(clippy::too_many_arguments)]
    fn gather<'p>(
        &self,
        isa: Isa,
        windows: &Windows,
        (rows, left): (usize, impl Fn(usize) -> &'p [f32]),
        bias: &[f32],
        input: &[f32],
        output: &mut [f32],
        scratch: &mut Scratch,
    ) {
        let groups = self.geometry.groups;
        let positions = windows.positions.len();
        let (input_size, output_size) = (
            windows.channels * area(windows.image),
            groups * rows * positions,
        );
        let examples = (CHUNK / windows.elements()).max(1);
        let pads = windows.image != windows.padded;
        let [padded, right] = scratch.split([
            if pads {
                examples * windows.elements()
            } else {
                0
            },
            windows.taps.len() * COLUMNS,
        ]);
        if pads {
            padded.fill(0.0);
        }
        let inputs = input.chunks(examples * input_size);
        for (input, output) in inputs.zip(output.chunks_mut(examples * output_size)) {
            let examples = input.len() / input_size;
            let source = if pads {
                windows.pad(input, padded);
                &*padded
            } else {
                input
            };
            for group in 0..groups {
                isa.run(GatherProduct {
                    columns: windows.columns(examples, source, groups, group),
                    left: left(group),
                    rows,
                    bias: if bias.is_empty() {
                        &[]
                    } else {
                        &bias[group * rows..(group + 1) * rows]
                    },
                    right,
                    output,
                    output_start: group * rows * positions,
                    output_stride: output_size,
                });
            }
        }
    }

    fn scatter<'p>(
        &self,
        isa: Isa,
        left: impl Fn(usize) -> &'p [f32],
        output_gradient: &[f32],
        input_gradient: &mut [f32],
        scratch: &mut Scratch,
    ) {
        let (groups, windows) = (self.geometry.groups, &self.forward);
        let positions = windows.positions.len();
        let (input_size, output_size) = (
            windows.channels * area(windows.image),
            self.geometry.rows * positions,
        );
        let examples = (CHUNK / windows.elements()).max(1);
        let [padded, right] = scratch.split([examples * windows.elements(), self.rows() * COLUMNS]);
        let taps: Vec<usize> = (0..self.rows()).map(|row| row * positions).collect();
        let order: Vec<usize> = (0..positions).collect();
        let gradients = output_gradient.chunks(examples * output_size);
        for (gradient, target) in gradients.zip(input_gradient.chunks_mut(examples * input_size)) {
            let examples = gradient.len() / output_size;
            padded.fill(0.0);
            for group in 0..groups {
                isa.run(ScatterProduct {
                    columns: Columns {
                        examples,
                        input: gradient,
                        start: group * self.rows() * positions,
                        stride: output_size,
                        taps: &taps,
                        positions: &order,
                        segment: segment(&order),
                    },
                    left: left(group),
                    right,
                    target: padded,
                    offsets: &windows.taps,
                    places: &windows.positions,
                    target_start: group * self.channels() * area(windows.padded),
                    target_stride: windows.elements(),
                });
            }
            windows.cut(padded, target);
        }
    }
}

impl Windows {
    fn new(
        [channels, group]: [usize; 2],
        image: [usize; 2],
        padded: [usize; 2],
        corner: [usize; 2],
        (kernel, dilations): ([usize; 2], [usize; 2]),
        (extent, strides): ([usize; 2], [usize; 2]),
    ) -> Self {
        let at = |channel: usize, y: usize, x: usize| (channel * padded[0] + y) * padded[1] + x;
        let mut taps = Vec::with_capacity(group * area(kernel));
        for channel in 0..group {
            for y in 0..kernel[0] {
                for x in 0..kernel[1] {
                    taps.push(at(channel, y * dilations[0], x * dilations[1]));
                }
            }
        }
        let mut positions = Vec::with_capacity(area(extent));
        for y in 0..extent[0] {
            for x in 0..extent[1] {
                positions.push(at(0, y * strides[0], x * strides[1]));
            }
        }
        let segment = segment(&positions);
        Self {
            channels,
            image,
            padded,
            corner,
            taps,
            positions,
            segment,
        }
    }

    /// Floats of a padded example.
    pub(super) fn elements(&self) -> usize {
        self.channels * area(self.padded)
    }

    fn columns<'a>(
        &'a self,
        examples: usize,
        input: &'a [f32],
        groups: usize,
        group: usize,
    ) -> Columns<'a> {
        Columns {
            examples,
            input,
            start: group * self.elements() / groups,
            stride: self.elements(),
            taps: &self.taps,
            positions: &self.positions,
            segment: self.segment,
        }
    }

    /// Copies images into padded ones, whose borders it leaves.
    fn pad(&self, images: &[f32], padded: &mut [f32]) {
        let planes = images.chunks_exact(area(self.image));
        for (image, padded) in planes.zip(padded.chunks_exact_mut(area(self.padded))) {
            let lines = padded[self.corner[0] * self.padded[1]..].chunks_exact_mut(self.padded[1]);
            for (line, padded) in image.chunks_exact(self.image[1]).zip(lines) {
                padded[self.corner[1]..][..self.image[1]].copy_from_slice(line);
            }
        }
    }

    fn cut(&self, padded: &[f32], images: &mut [f32]) {
        let planes = images.chunks_exact_mut(area(self.image));
        for (image, padded) in planes.zip(padded.chunks_exact(area(self.padded))) {
            let lines = padded[self.corner[0] * self.padded[1]..].chunks_exact(self.padded[1]);
            for (line, padded) in image.chunks_exact_mut(self.image[1]).zip(lines) {
                line.copy_from_slice(&padded[self.corner[1]..][..self.image[1]]);
            }
        }
    }
}

fn area([height, width]: [usize; 2]) -> usize {
    height * width
}
