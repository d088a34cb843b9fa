//! What a model is asked for: a class for each example, or a class for each pixel of it.

use tributary_protocol::{ColumnType, Contract};
use tributary_trainer::{Examples, Shape};

/// How the label column of a contract becomes the trainer's targets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TargetForm {
    /// A class number for each example.
    Classes,
    /// A byte for each pixel, the number of its class.
    Masks {
        /// How many classes there are.
        classes: u32,
        /// Pixels of an example.
        pixels: usize,
        /// What the model says of each pixel: a number for each class, or, of two classes, one for the second alone.
        channels: usize,
    },
}

/// Targets of examples, one after the other.
#[derive(Debug)]
pub(crate) struct TargetValues {
    form: TargetForm,
    labels: Vec<u32>,
    values: Vec<f32>,
}

impl TargetForm {
    /// The form of a contract's targets, for a model that fits it and has this output.
    pub(crate) fn of(contract: &Contract, output: &Shape) -> Self {
        match label_kind(contract) {
            Some(ColumnType::ImageU8 { height, width, .. }) => {
                let classes = contract.document().pipeline.label.classes;
                Self::masks(classes, height as usize * width as usize, output)
            }
            _ => Self::Classes,
        }
    }

    /// Masks of so many pixels, for a model with this output.
    pub(crate) fn masks(classes: u32, pixels: usize, output: &Shape) -> Self {
        Self::Masks {
            classes,
            pixels,
            channels: output.elements() / pixels.max(1),
        }
    }

    /// No targets yet.
    pub(crate) fn empty(self) -> TargetValues {
        TargetValues {
            form: self,
            labels: Vec::new(),
            values: Vec::new(),
        }
    }
}

/// What the label column of a contract holds.
pub(crate) fn label_kind(contract: &Contract) -> Option<ColumnType> {
    let document = contract.document();
    let columns = &document.datasets.first()?.columns;
    let label = &document.pipeline.label.column;
    let column = columns.iter().find(|column| column.name == *label)?;
    Some(column.kind)
}

impl TargetValues {
    pub(crate) fn form(&self) -> TargetForm {
        self.form
    }

    /// Adds classes of examples.
    pub(crate) fn push_classes(&mut self, classes: impl IntoIterator<Item = u32>) {
        self.labels.extend(classes);
    }

    /// Adds masks, one after the other: the one-hot vector of each pixel, channel by channel, or the class itself where the
    /// model has one channel. A pixel of no class becomes no number, for which the trainer leaves the whole example out.
    pub(crate) fn push_masks(&mut self, bytes: &[u8]) {
        let TargetForm::Masks {
            classes,
            pixels,
            channels,
        } = self.form
        else {
            return;
        };
        for mask in bytes.chunks_exact(pixels.max(1)) {
            for channel in 0..channels {
                self.values.extend(mask.iter().map(|&byte| {
                    if u32::from(byte) >= classes {
                        f32::NAN
                    } else if channels == 1 {
                        f32::from(byte)
                    } else {
                        f32::from(u8::from(usize::from(byte) == channel))
                    }
                }));
            }
        }
    }

    /// Forgets the targets and keeps the room.
    pub(crate) fn clear(&mut self) {
        self.labels.clear();
        self.values.clear();
    }

    /// Inputs with these targets, as the trainer takes them; the first `count` where it is given.
    pub(crate) fn with<'a>(&'a self, inputs: &'a [f32], count: Option<usize>) -> Examples<'a> {
        match self.form {
            TargetForm::Classes => {
                let count = count.unwrap_or(self.labels.len());
                Examples::labelled(inputs, &self.labels[..count])
            }
            TargetForm::Masks {
                pixels, channels, ..
            } => {
                let count = count.map_or(self.values.len(), |count| count * pixels * channels);
                Examples::valued(inputs, &self.values[..count])
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(classes: u32, channels: usize, mask: &[u8]) -> Vec<f32> {
        let form = TargetForm::Masks {
            classes,
            pixels: 2,
            channels,
        };
        let mut targets = form.empty();
        targets.push_masks(mask);
        targets.values
    }

    #[test]
    fn a_mask_is_one_hot_channel_by_channel_or_the_class_itself() {
        assert_eq!(
            spread(3, 3, &[0, 2, 1, 1]),
            [1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0]
        );
        assert_eq!(spread(2, 1, &[0, 1]), [0.0, 1.0]);
    }

    #[test]
    fn a_pixel_of_no_class_is_no_number() {
        for (classes, channels) in [(2, 1), (2, 2), (3, 3)] {
            let values = spread(classes, channels, &[0, 255]);
            assert!(values.iter().any(|value| value.is_nan()));
        }
    }
}
