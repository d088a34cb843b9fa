//! What examples should come out as.

/// Targets of examples: one label each, or numbers in the shape of the graph's output each.
#[derive(Clone, Copy)]
pub enum Targets<'a> {
    /// A class number from 0 for each example. The graph's output must be a vector; a label stands for its one-hot vector,
    /// or, where the output is a single number, for 0 or 1.
    Labels(&'a [u32]),
    /// As many float32 for each example as the graph's output has elements, one example after the other.
    Values(&'a [f32]),
}

/// One example's target.
#[derive(Clone, Copy)]
pub(crate) enum Target<'a> {
    Label(u32),
    Values(&'a [f32]),
}

impl<'a> Targets<'a> {
    /// How many examples they are for, each with `elements` outputs; `None` where values end amid an example.
    pub(crate) fn examples(&self, elements: usize) -> Option<usize> {
        match self {
            Self::Labels(labels) => Some(labels.len()),
            Self::Values(values) if values.len() % elements == 0 => Some(values.len() / elements),
            Self::Values(_) => None,
        }
    }

    /// How many labels or numbers they are.
    pub(crate) fn numbers(&self) -> usize {
        match self {
            Self::Labels(labels) => labels.len(),
            Self::Values(values) => values.len(),
        }
    }

    /// Those of some examples, each with `elements` outputs.
    pub(crate) fn slice(&self, examples: std::ops::Range<usize>, elements: usize) -> Self {
        match self {
            Self::Labels(labels) => Self::Labels(&labels[examples]),
            Self::Values(values) => {
                Self::Values(&values[examples.start * elements..examples.end * elements])
            }
        }
    }

    /// That of each example, each with `elements` outputs.
    pub(crate) fn each(&self, elements: usize) -> impl Iterator<Item = Target<'a>> + use<'a> {
        let (labels, values): (&[u32], &[f32]) = match *self {
            Self::Labels(labels) => (labels, &[]),
            Self::Values(values) => (&[], values),
        };
        labels
            .iter()
            .map(|&label| Target::Label(label))
            .chain(values.chunks_exact(elements).map(Target::Values))
    }
}

impl Target<'_> {
    /// Whether it can be what so many outputs should be.
    pub(crate) fn fits(self, outputs: usize) -> bool {
        match self {
            Self::Label(label) => (label as usize) < outputs.max(2),
            Self::Values(values) => {
                values.len() == outputs && values.iter().all(|value| value.is_finite())
            }
        }
    }

    /// What output number `index` of so many should be.
    pub(crate) fn at(self, index: usize, outputs: usize) -> f64 {
        match self {
            Self::Label(label) if outputs == 1 => f64::from(label),
            Self::Label(label) => f64::from(u8::from(label as usize == index)),
            Self::Values(values) => f64::from(values[index]),
        }
    }
}
