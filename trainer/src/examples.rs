//! Examples as they come in.

use std::fmt;

use thiserror::Error;

use crate::graph::Graph;

/// Labelled examples. `Debug` shows how many, never what.
#[derive(Clone, Copy)]
pub struct Examples<'a> {
    /// One example after the other, each as many float32 as the graph's input shape has elements.
    pub inputs: &'a [f32],
    /// One label for each example: a class number from 0.
    pub labels: &'a [u32],
}

/// Inputs and labels that do not fit each other or the graph.
#[derive(Debug, Error)]
#[error("{inputs} numbers for {labels} labels; expected {example} numbers for each example")]
pub struct ExamplesError {
    inputs: usize,
    labels: usize,
    example: usize,
}

impl<'a> Examples<'a> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    pub(crate) fn check(&self, graph: &Graph) -> Result<(), ExamplesError> {
        let example = graph.input_shape().elements();
        if self.labels.len().checked_mul(example) == Some(self.inputs.len()) {
            return Ok(());
        }
        Err(ExamplesError {
            inputs: self.inputs.len(),
            labels: self.labels.len(),
            example,
        })
    }

    /// Tile number `index` of `width` examples; the last may have fewer. `None` behind the last.
    pub(crate) fn tile(&self, index: usize, width: usize) -> Option<Examples<'a>> {
        let labels = self.labels.chunks(width).nth(index)?;
        let example = self.inputs.len() / self.labels.len();
        let start = index * width * example;
        Some(Self {
            inputs: &self.inputs[start..start + labels.len() * example],
            labels,
        })
    }
}

impl fmt::Debug for Examples<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Examples")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}
