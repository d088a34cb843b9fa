//! Examples as they come in.

use std::fmt;

use thiserror::Error;

use crate::graph::{Graph, Shape};
use crate::targets::{Target, Targets};

/// Inputs and what they should come out as. `Debug` shows how many, never what.
///
/// ```
/// use tributary_trainer::Examples;
/// let examples = Examples::labelled(&[0.0; 2 * 784], &[3, 8]);
/// assert_eq!(format!("{examples:?}"), "Examples { len: 2, .. }");
/// ```
#[derive(Clone, Copy)]
pub struct Examples<'a> {
    /// One example after the other, each as many float32 as the graph's input shape has elements.
    pub inputs: &'a [f32],
    /// What each should come out as.
    pub targets: Targets<'a>,
}

/// Inputs and targets that do not fit each other or the graph.
#[derive(Debug, Error)]
pub enum ExamplesError {
    /// More or fewer inputs than targets.
    #[error(
        "{inputs} numbers for {examples} examples; expected {example} numbers for each example"
    )]
    Inputs {
        /// Numbers given.
        inputs: usize,
        /// Examples by their targets.
        examples: usize,
        /// Numbers that the graph takes for an example.
        example: usize,
    },
    /// Labels for a graph that does not answer with a vector.
    #[error("labels for a graph whose output is {0}; expected values in the output's shape")]
    Labels(Shape),
    /// Values that do not make up whole targets.
    #[error("{got} target values; expected a multiple of {expected}, as the graph's output has")]
    Values {
        /// Values given.
        got: usize,
        /// Elements of the graph's output.
        expected: usize,
    },
}

impl<'a> Examples<'a> {
    /// Examples with class numbers.
    pub fn labelled(inputs: &'a [f32], labels: &'a [u32]) -> Self {
        Self {
            inputs,
            targets: Targets::Labels(labels),
        }
    }

    /// Examples with numbers in the shape of the graph's output.
    pub fn valued(inputs: &'a [f32], values: &'a [f32]) -> Self {
        Self {
            inputs,
            targets: Targets::Values(values),
        }
    }

    /// How many there are for a graph, where they fit it.
    ///
    /// # Errors
    /// Where inputs and targets do not fit each other or the graph.
    pub fn count(&self, graph: &Graph) -> Result<usize, ExamplesError> {
        let output = graph.output_shape();
        if matches!(self.targets, Targets::Labels(_)) && output.dims().len() != 1 {
            return Err(ExamplesError::Labels(output.clone()));
        }
        let examples = self.targets.examples(output.elements());
        let examples = examples.ok_or_else(|| ExamplesError::Values {
            got: self.targets.numbers(),
            expected: output.elements(),
        })?;
        let example = graph.input_shape().elements();
        if examples.checked_mul(example) == Some(self.inputs.len()) {
            return Ok(examples);
        }
        Err(ExamplesError::Inputs {
            inputs: self.inputs.len(),
            examples,
            example,
        })
    }

    /// Tile number `index` of `width` examples that fit the graph; the last may have fewer. `None` behind the last.
    pub(crate) fn tile(&self, graph: &Graph, index: usize, width: usize) -> Option<Examples<'a>> {
        let (example, output) = (
            graph.input_shape().elements(),
            graph.output_shape().elements(),
        );
        let examples = self.inputs.len() / example;
        let start = index.checked_mul(width).filter(|&start| start < examples)?;
        let end = examples.min(start + width);
        Some(Self {
            inputs: &self.inputs[start * example..end * example],
            targets: self.targets.slice(start..end, output),
        })
    }

    /// Each input with its target, for examples that fit the graph.
    pub(crate) fn each(
        &self,
        graph: &Graph,
    ) -> impl Iterator<Item = (&'a [f32], Target<'a>)> + use<'a> {
        self.inputs
            .chunks_exact(graph.input_shape().elements())
            .zip(self.targets.each(graph.output_shape().elements()))
    }
}

impl fmt::Debug for Examples<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Examples");
        if let Targets::Labels(labels) = self.targets {
            shown.field("len", &labels.len());
        }
        shown.finish_non_exhaustive()
    }
}
