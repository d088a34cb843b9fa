//! How good weights are, on examples that are not private.

use std::num::NonZeroUsize;

use thiserror::Error;

use crate::engine::Engine;
use crate::examples::{Examples, ExamplesError};
use crate::graph::Graph;
use crate::lanes::Isa;
use crate::loss::{LossConfig, LossError};
use crate::metrics::{ClassificationTally, Masks, Metrics, RegressionTally, SegmentationTally};
use crate::parameters::{Parameters, ParametersError};
use crate::targets::{Target, Targets};

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
    /// A target is not finite.
    #[error("example {example} has a target value that is not a finite number")]
    Value {
        /// The example's number, from 0.
        example: usize,
    },
    /// The loss does not fit the graph.
    #[error(transparent)]
    Loss(#[from] LossError),
    /// The weights do not fit the graph.
    #[error(transparent)]
    Parameters(#[from] ParametersError),
}

/// Evaluates weights on examples that are taken to be public.
///
/// Labels give [`Metrics::classification`]; values give [`Metrics::regression`] and, where they are masks,
/// [`Metrics::segmentation`].
///
/// # Errors
/// Where examples, weights and loss do not fit the graph.
///
/// ```
/// use std::num::NonZeroUsize;
/// use tributary_trainer::{Examples, Graph, LossConfig, Parameters, evaluate, models};
/// let graph = Graph::from_onnx(&models::mnist_cnn(1))?;
/// let parameters = Parameters::initial(&graph)?;
/// let inputs = vec![0.0; 3 * 784];
/// let examples = Examples::labelled(&inputs, &[0, 1, 2]);
/// let metrics = evaluate(&graph, &parameters, LossConfig::CrossEntropy, &examples, NonZeroUsize::MIN)?;
/// assert_eq!((metrics.examples, metrics.classes().len()), (3, 10));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn evaluate(
    graph: &Graph,
    parameters: &Parameters,
    loss: LossConfig,
    examples: &Examples<'_>,
    threads: NonZeroUsize,
) -> Result<Metrics, EvaluateError> {
    evaluate_flat(graph, &parameters.to_flat(graph)?, &loss, examples, threads)
}

/// As [`evaluate`], for weights one after the other.
pub(crate) fn evaluate_flat(
    graph: &Graph,
    weights: &[f32],
    loss_config: &LossConfig,
    examples: &Examples<'_>,
    threads: NonZeroUsize,
) -> Result<Metrics, EvaluateError> {
    let shape = graph.output_shape();
    let size = shape.elements();
    let loss = loss_config.build(shape)?;
    let count = examples.count(graph)?;
    if count == 0 {
        return Err(EvaluateError::Empty);
    }
    let mut classification = None;
    let mut regression = None;
    let mut segmentation = None;
    match examples.targets {
        Targets::Labels(labels) => {
            let classes = size.max(2);
            let wrong = labels.iter().position(|&label| label as usize >= classes);
            if let Some(example) = wrong {
                return Err(EvaluateError::Label {
                    example,
                    label: labels[example],
                    classes,
                });
            }
            classification = Some(ClassificationTally::new(count, size));
        }
        Targets::Values(values) => {
            if let Some(wrong) = values.iter().position(|value| !value.is_finite()) {
                return Err(EvaluateError::Value {
                    example: wrong / size,
                });
            }
            regression = Some(RegressionTally::new(size));
            let masks = if loss_config.is_softmax() {
                Masks::Softmax
            } else {
                Masks::Sigmoid
            };
            segmentation = SegmentationTally::are_masks(values)
                .then(|| SegmentationTally::new(shape.dims(), masks))
                .flatten();
        }
    }
    let mut loss_sum = 0.0;
    let mut gradient = vec![0.0; size];
    let isa = Isa::best();
    let mut targets = examples.each(graph);
    // Outputs are computed by all threads and counted in order: no metric depends on timing.
    let at_once = (OUTPUTS_AT_ONCE / size).max(isa.width()) / isa.width() * threads.get();
    for first in (0..count.div_ceil(isa.width())).step_by(at_once) {
        let outputs = outputs(
            graph,
            weights,
            examples,
            isa,
            first..first + at_once,
            threads,
        );
        for (output, (_, target)) in outputs.chunks_exact(size).zip(&mut targets) {
            let value = loss.evaluate(output, target, &mut gradient);
            loss_sum += f64::from(value.unwrap_or(f32::NAN));
            match target {
                Target::Label(label) => {
                    if let Some(tally) = &mut classification {
                        tally.add(output, label);
                    }
                }
                Target::Values(values) => {
                    if let Some(tally) = &mut regression {
                        tally.add(output, values);
                    }
                    if let Some(tally) = &mut segmentation {
                        tally.add(output, values);
                    }
                }
            }
        }
    }
    Ok(Metrics {
        examples: count as u64,
        loss: loss_sum / count as f64,
        classification: classification.map(ClassificationTally::finish),
        regression: regression.map(RegressionTally::finish),
        segmentation: segmentation.map(SegmentationTally::finish),
    })
}

/// Numbers of outputs that a thread computes before they are counted: 1 MiB.
const OUTPUTS_AT_ONCE: usize = 1 << 18;

/// The outputs of some tiles' examples, one after the other.
fn outputs(
    graph: &Graph,
    weights: &[f32],
    examples: &Examples<'_>,
    isa: Isa,
    tiles: std::ops::Range<usize>,
    threads: NonZeroUsize,
) -> Vec<f32> {
    let each = tiles.len().div_ceil(threads.get());
    let run = |first: usize| {
        let last = tiles.end.min(first + each);
        move || {
            let mut engine = Engine::for_evaluation(graph, isa);
            let size = graph.output_shape().elements();
            let mut outputs = Vec::new();
            for tile in (first..last).map_while(|index| examples.tile(graph, index, isa.width())) {
                engine.forward(graph, weights, tile.inputs);
                for lane in 0..tile.each(graph).count() {
                    let start = outputs.len();
                    outputs.resize(start + size, 0.0);
                    engine.output(graph, lane, &mut outputs[start..]);
                }
            }
            outputs
        }
    };
    std::thread::scope(|scope| {
        let handles: Vec<_> = tiles
            .clone()
            .step_by(each)
            .map(|first| scope.spawn(run(first)))
            .collect();
        handles
            .into_iter()
            .flat_map(|handle| {
                handle
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
            .collect()
    })
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
            &Examples::labelled(inputs, labels),
            threads,
        )
    }

    #[test]
    fn metrics_count_by_class() {
        // Taken for 0, 1, 1, 0 (the first of equals).
        let inputs = [5., 0., 0., 0., 5., 0., 0., 5., 0., 1., 1., 1.];
        let metrics = run(&inputs, &[0, 1, 2, 2], 3).unwrap();
        assert_eq!((metrics.examples, metrics.accuracy()), (4, Some(0.5)));
        let classes = metrics.classes();
        let counts: Vec<_> = classes
            .iter()
            .map(|class| (class.examples, class.predicted, class.correct))
            .collect();
        assert_eq!(counts, [(1, 2, 1), (1, 2, 1), (2, 0, 0)]);
        assert_eq!(
            (classes[2].recall(), classes[2].precision()),
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
            assert_eq!(several, one);
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
    fn values_are_measured_as_such() {
        let weights = [1., 0., 0., 0., 1., 0., 0., 0., 1., 0., 0., 0.];
        let graph = graph();
        let evaluate = |values: &[f32]| {
            let parameters = Parameters::from_flat(&graph, &weights).unwrap();
            let examples = Examples::valued(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], values);
            super::evaluate(
                &graph,
                &parameters,
                LossConfig::L1,
                &examples,
                NonZeroUsize::MIN,
            )
        };
        let metrics = evaluate(&[1.0, 2.0, 4.0, 4.0, 5.0, 8.0]).unwrap();
        assert_eq!(metrics.examples, 2);
        assert!((metrics.loss - 0.5).abs() < 1e-6);
        let regression = metrics.regression.unwrap();
        assert!((regression.mae - 0.5).abs() < 1e-12);
        assert!((regression.mse - 5.0 / 6.0).abs() < 1e-12);
        assert_eq!((metrics.classification, metrics.segmentation), (None, None));
        assert!(matches!(
            evaluate(&[0.0; 5]),
            Err(EvaluateError::Examples(_))
        ));
        let wrong = evaluate(&[0.0, 0.0, 0.0, f32::NAN, 0.0, 0.0]);
        assert!(matches!(wrong, Err(EvaluateError::Value { example: 1 })));
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
