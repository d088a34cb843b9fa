//! How good weights are, on examples that are not private.

use std::num::NonZeroUsize;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::engine::Engine;
use crate::examples::{Examples, ExamplesError};
use crate::graph::Graph;
use crate::lanes::Isa;
use crate::loss::{Loss, LossConfig, LossError};
use crate::parameters::{Parameters, ParametersError};

/// What evaluation found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metrics {
    /// Examples evaluated.
    pub examples: u64,
    /// The mean loss.
    pub loss: f64,
    /// Share of examples whose largest output is their label's.
    pub accuracy: f64,
    /// The same class by class.
    pub classes: Vec<ClassMetrics>,
}

/// What evaluation found for one class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassMetrics {
    /// Examples of this class.
    pub examples: u64,
    /// Examples taken for this class.
    pub predicted: u64,
    /// Examples of this class taken for it.
    pub correct: u64,
}

impl ClassMetrics {
    /// Share of this class's examples that were recognised; `None` where there are none.
    pub fn recall(&self) -> Option<f64> {
        (self.examples > 0).then(|| self.correct as f64 / self.examples as f64)
    }

    /// Share of the examples taken for this class that are of it; `None` where there are none.
    pub fn precision(&self) -> Option<f64> {
        (self.predicted > 0).then(|| self.correct as f64 / self.predicted as f64)
    }
}

/// Why there are no metrics.
#[derive(Debug, Error)]
pub enum EvaluateError {
    /// Inputs and labels do not fit.
    #[error(transparent)]
    Examples(#[from] ExamplesError),
    /// There is nothing to evaluate.
    #[error("there are no examples to evaluate; expected at least one")]
    Empty,
    /// A label is out of range.
    #[error("example {example} has label {label}; expected a class from 0 to {}", classes - 1)]
    Label {
        /// The example's number, from 0.
        example: usize,
        /// Its label.
        label: u32,
        /// Classes of the graph.
        classes: usize,
    },
    /// The loss does not fit the graph.
    #[error(transparent)]
    Loss(#[from] LossError),
    /// The weights do not fit the graph.
    #[error(transparent)]
    Parameters(#[from] ParametersError),
}

/// Evaluates weights on labelled examples, which are taken to be public.
///
/// # Errors
/// Where examples, weights and loss do not fit the graph.
///
/// ```
/// use std::num::NonZeroUsize;
/// use tributary_trainer::{Examples, Graph, LossConfig, Parameters, evaluate, models};
/// let graph = Graph::from_onnx(&models::mnist_cnn(1))?;
/// let parameters = Parameters::initial(&graph)?;
/// let examples = Examples { inputs: &vec![0.0; 3 * 784], labels: &[0, 1, 2] };
/// let metrics = evaluate(&graph, &parameters, LossConfig::CrossEntropy, &examples, NonZeroUsize::MIN)?;
/// assert_eq!(metrics.examples, 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn evaluate(
    graph: &Graph,
    parameters: &Parameters,
    loss: LossConfig,
    examples: &Examples<'_>,
    threads: NonZeroUsize,
) -> Result<Metrics, EvaluateError> {
    evaluate_flat(graph, &parameters.to_flat(graph)?, loss, examples, threads)
}

/// As [`evaluate`], for weights one after the other.
pub(crate) fn evaluate_flat(
    graph: &Graph,
    weights: &[f32],
    loss: LossConfig,
    examples: &Examples<'_>,
    threads: NonZeroUsize,
) -> Result<Metrics, EvaluateError> {
    let loss = loss.build(graph.output_shape())?;
    let classes = graph.output_shape().elements();
    examples.check(graph)?;
    if examples.is_empty() {
        return Err(EvaluateError::Empty);
    }
    let wrong = examples
        .labels
        .iter()
        .position(|&label| label as usize >= classes);
    if let Some(example) = wrong {
        return Err(EvaluateError::Label {
            example,
            label: examples.labels[example],
            classes,
        });
    }
    let isa = Isa::best();
    let tiles = examples.len().div_ceil(isa.width());
    let each = tiles.div_ceil(threads.get());
    // Each thread takes a run of tiles, and runs are added up in order: the mean does not depend on timing.
    let runs: Vec<Tally> = std::thread::scope(|scope| {
        let run = |first: usize| {
            let loss = &*loss;
            scope.spawn(move || {
                tally(
                    graph,
                    weights,
                    loss,
                    isa,
                    examples,
                    first..(first + each).min(tiles),
                )
            })
        };
        let handles: Vec<_> = (0..tiles).step_by(each).map(run).collect();
        handles
            .into_iter()
            .map(|handle| {
                handle
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
            .collect()
    });
    let mut all = Tally {
        loss: 0.0,
        classes: vec![ClassMetrics::default(); classes],
    };
    for run in runs {
        all.loss += run.loss;
        for (sum, class) in all.classes.iter_mut().zip(run.classes) {
            sum.examples += class.examples;
            sum.predicted += class.predicted;
            sum.correct += class.correct;
        }
    }
    let count = examples.len() as f64;
    let correct: u64 = all.classes.iter().map(|class| class.correct).sum();
    Ok(Metrics {
        examples: examples.len() as u64,
        loss: all.loss / count,
        accuracy: correct as f64 / count,
        classes: all.classes,
    })
}

struct Tally {
    loss: f64,
    classes: Vec<ClassMetrics>,
}

fn tally(
    graph: &Graph,
    weights: &[f32],
    loss: &dyn Loss,
    isa: Isa,
    examples: &Examples<'_>,
    tiles: std::ops::Range<usize>,
) -> Tally {
    let mut engine = Engine::for_evaluation(graph, isa);
    let classes = graph.output_shape().elements();
    let mut tally = Tally {
        loss: 0.0,
        classes: vec![ClassMetrics::default(); classes],
    };
    let (mut outputs, mut gradient) = (vec![0.0; classes], vec![0.0; classes]);
    for index in tiles {
        let Some(tile) = examples.tile(index, engine.width()) else {
            break;
        };
        engine.forward(graph, weights, tile.inputs);
        for (lane, &label) in tile.labels.iter().enumerate() {
            engine.output(graph, lane, &mut outputs);
            tally.loss += f64::from(
                loss.evaluate(&outputs, label, &mut gradient)
                    .unwrap_or(f32::NAN),
            );
            let own = &mut tally.classes[label as usize];
            own.examples += 1;
            // Of equal outputs the first counts, as torch.argmax has it.
            let largest = (0..classes).reduce(|best, class| {
                if outputs[class] > outputs[best] {
                    class
                } else {
                    best
                }
            });
            if let Some(predicted) = largest {
                own.correct += u64::from(predicted == label as usize);
                tally.classes[predicted].predicted += 1;
            }
        }
    }
    tally
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::builder::{Builder, int};
    use crate::parameters::Parameters;

    /// Passes three inputs on as the scores of three classes.
    fn graph() -> Graph {
        let mut model = Builder::new("test", 1, &[3]);
        model.layer("fc", &[3, 3]);
        model.then(
            "Gemm",
            "fc",
            &["fc.weight", "fc.bias"],
            vec![int("transB", 1)],
        );
        Graph::from_onnx(&model.finish(&[3])).unwrap()
    }

    fn run(inputs: &[f32], labels: &[u32], threads: usize) -> Result<Metrics, EvaluateError> {
        let weights = [1., 0., 0., 0., 1., 0., 0., 0., 1., 0., 0., 0.];
        let graph = graph();
        let parameters = Parameters::from_flat(&graph, &weights).unwrap();
        let threads = NonZeroUsize::new(threads).unwrap();
        evaluate(
            &graph,
            &parameters,
            LossConfig::CrossEntropy,
            &Examples { inputs, labels },
            threads,
        )
    }

    #[test]
    fn metrics_count_by_class() {
        // Taken for 0, 1, 1, 0 (the first of equals).
        let inputs = [5., 0., 0., 0., 5., 0., 0., 5., 0., 1., 1., 1.];
        let metrics = run(&inputs, &[0, 1, 2, 2], 3).unwrap();
        assert_eq!((metrics.examples, metrics.accuracy), (4, 0.5));
        let class = |examples, predicted, correct| ClassMetrics {
            examples,
            predicted,
            correct,
        };
        assert_eq!(
            metrics.classes,
            [class(1, 2, 1), class(1, 2, 1), class(2, 0, 0)]
        );
        assert_eq!(
            (metrics.classes[2].recall(), metrics.classes[2].precision()),
            (Some(0.0), None)
        );
        let sure = (1.0 + 2.0 * (-5f64).exp()).ln();
        let expected = (2.0 * sure + (sure + 5.0) + 3f64.ln()) / 4.0;
        assert!(
            (metrics.loss - expected).abs() < 1e-6,
            "{} and {expected}",
            metrics.loss
        );
    }

    #[test]
    fn metrics_do_not_depend_on_threads() {
        let inputs: Vec<f32> = (0..300).map(|index| (index * 37 % 11) as f32).collect();
        let labels: Vec<u32> = (0..100).map(|index| index % 3).collect();
        let one = run(&inputs, &labels, 1).unwrap();
        for threads in [2, 3, 50] {
            let several = run(&inputs, &labels, threads).unwrap();
            assert_eq!(
                (several.accuracy, &several.classes),
                (one.accuracy, &one.classes)
            );
            assert!((several.loss - one.loss).abs() < 1e-12);
        }
    }

    #[test]
    fn examples_that_cannot_be_evaluated_are_refused() {
        assert!(matches!(run(&[], &[], 1), Err(EvaluateError::Empty)));
        assert!(matches!(
            run(&[0.0; 5], &[0, 1], 1),
            Err(EvaluateError::Examples(_))
        ));
        let wrong = run(&[0.0; 6], &[0, 3], 1);
        assert!(matches!(
            wrong,
            Err(EvaluateError::Label {
                example: 1,
                label: 3,
                classes: 3
            })
        ));
    }

    #[test]
    fn weights_of_another_model_are_refused() {
        let graph = graph();
        let check = |name: &str, rows: i64| {
            let mut model = Builder::new("test", 1, &[3]);
            model.layer(name, &[rows, 3]);
            let (weight, bias) = (format!("{name}.weight"), format!("{name}.bias"));
            model.then("Gemm", "fc", &[&weight, &bias], vec![int("transB", 1)]);
            let other = Graph::from_onnx(&model.finish(&[rows])).unwrap();
            Parameters::initial(&other)
                .unwrap()
                .to_flat(&graph)
                .unwrap_err()
                .to_string()
        };
        assert!(check("fc", 2).contains("fc.weight"));
        assert!(check("other", 3).contains("other.weight"));
    }
}
