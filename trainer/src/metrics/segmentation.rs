//! How well masks cover what they should.

use serde::{Deserialize, Serialize};

use super::mean;
use super::surface::hausdorff_95;

/// What evaluation found for masks: means over examples of each channel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Segmentation {
    /// The Dice coefficient, `2|A ∩ B| / (|A| + |B|)`; 1 where both are empty.
    pub dice: Vec<f64>,
    /// Intersection over union, `|A ∩ B| / |A ∪ B|`; 1 where both are empty.
    pub iou: Vec<f64>,
    /// The 95th percentile of the distances from the surface of one mask to that of the other, the larger of both
    /// directions, in elements; 0 where both are empty. Examples of which one mask alone is empty have none and are left
    /// out of the mean; `None` where none is left.
    pub hausdorff_95: Vec<Option<f64>>,
}

/// How outputs become masks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Masks {
    /// Each channel for itself: where its sigmoid is above a half.
    Sigmoid,
    /// Each element belongs to the channel with the largest output, the first of equals.
    Softmax,
}

/// Adds up examples as they come.
pub(crate) struct SegmentationTally {
    masks: Masks,
    channels: usize,
    /// Sizes of a channel.
    dims: Vec<usize>,
    dice: Vec<Vec<f64>>,
    iou: Vec<Vec<f64>>,
    distances: Vec<Vec<f64>>,
}

impl SegmentationTally {
    /// For outputs of these sizes, where they are those of masks.
    pub(crate) fn new(dims: &[usize], masks: Masks) -> Option<Self> {
        let (&channels, rest) = dims.split_first()?;
        if !(1..=3).contains(&rest.len()) {
            return None;
        }
        Some(Self {
            masks,
            channels,
            dims: rest.to_vec(),
            dice: vec![Vec::new(); channels],
            iou: vec![Vec::new(); channels],
            distances: vec![Vec::new(); channels],
        })
    }

    /// Whether values are masks.
    pub(crate) fn are_masks(values: &[f32]) -> bool {
        values.iter().all(|&value| value == 0.0 || value == 1.0)
    }

    pub(crate) fn add(&mut self, outputs: &[f32], values: &[f32]) {
        let size = outputs.len() / self.channels;
        for channel in 0..self.channels {
            let range = channel * size..(channel + 1) * size;
            let found: Vec<bool> = match self.masks {
                Masks::Sigmoid => outputs[range.clone()]
                    .iter()
                    .map(|&output| output > 0.0)
                    .collect(),
                Masks::Softmax => (0..size)
                    .map(|element| self.largest(outputs, size, element) == channel)
                    .collect(),
            };
            let wanted: Vec<bool> = values[range].iter().map(|&value| value == 1.0).collect();
            let count = |mask: &[bool]| mask.iter().filter(|&&inside| inside).count();
            let both = found
                .iter()
                .zip(&wanted)
                .filter(|(a, b)| **a && **b)
                .count();
            let sum = count(&found) + count(&wanted);
            let ratio = |above: usize, below: usize| {
                if below == 0 {
                    1.0
                } else {
                    above as f64 / below as f64
                }
            };
            self.dice[channel].push(ratio(2 * both, sum));
            self.iou[channel].push(ratio(both, sum - both));
            self.distances[channel].extend(hausdorff_95(&found, &wanted, &self.dims));
        }
    }

    fn largest(&self, outputs: &[f32], size: usize, element: usize) -> usize {
        (1..self.channels).fold(0, |best, channel| {
            if outputs[channel * size + element] > outputs[best * size + element] {
                channel
            } else {
                best
            }
        })
    }

    pub(crate) fn finish(self) -> Segmentation {
        let means = |values: Vec<Vec<f64>>| -> Vec<Option<f64>> {
            values
                .into_iter()
                .map(|channel| mean(channel.into_iter()))
                .collect()
        };
        let certain = |values| {
            means(values)
                .into_iter()
                .map(|value| value.unwrap_or(f64::NAN))
                .collect()
        };
        Segmentation {
            dice: certain(self.dice),
            iou: certain(self.iou),
            hausdorff_95: means(self.distances),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlaps_are_counted_by_channel_and_averaged_over_examples() {
        let mut tally = SegmentationTally::new(&[2, 2, 2], Masks::Sigmoid).unwrap();
        // Channel 0: found 3, wanted 2, both 2. Channel 1: both empty.
        tally.add(
            &[1.0, 1.0, 1.0, -1.0, -1.0, -1.0, 0.0, -1.0],
            &[1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
        );
        // Channel 0: as wanted. Channel 1: nothing found, one wanted.
        tally.add(
            &[-1.0, 2.0, -1.0, -1.0, -1.0, -1.0, -1.0, -1.0],
            &[0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0],
        );
        let found = tally.finish();
        assert_eq!(found.dice, [(0.8 + 1.0) / 2.0, 0.5]);
        assert_eq!(found.iou, [(2.0 / 3.0 + 1.0) / 2.0, 0.5]);
        assert_eq!(found.hausdorff_95[1], Some(0.0));
    }

    #[test]
    fn of_a_softmax_each_element_has_one_channel() {
        let mut tally = SegmentationTally::new(&[2, 2], Masks::Softmax).unwrap();
        tally.add(&[3.0, 1.0, 2.0, 2.0], &[1.0, 0.0, 0.0, 1.0]);
        assert_eq!(tally.finish().dice, [1.0, 1.0]);
    }

    #[test]
    fn a_vector_is_no_mask() {
        assert!(SegmentationTally::new(&[4], Masks::Sigmoid).is_none());
        assert!(!SegmentationTally::are_masks(&[0.0, 0.5]));
    }
}
