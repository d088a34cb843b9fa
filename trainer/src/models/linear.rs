//! The smallest network there is, for audits and tests.

use super::builder::{Builder, int};

/// A linear model as an ONNX file (opset 17): `features` numbers in, `classes` scores out, weights `linear.weight` and
/// `linear.bias`. They are zero: training a linear model is convex, so any beginning is as good.
///
/// ```
/// use tributary_trainer::{Graph, models};
/// let graph = Graph::from_onnx(&models::linear(5, 2))?;
/// assert_eq!(graph.initial_weights(), [0.0; 12]);
/// # Ok::<(), tributary_trainer::GraphError>(())
/// ```
pub fn linear(features: u32, classes: u32) -> Vec<u8> {
    let (features, classes) = (i64::from(features), i64::from(classes));
    // No weight is drawn, so the seed does not matter.
    let mut model = Builder::new("linear", 0, &[features]);
    model.weight("linear.weight", &[classes, features], 0.0);
    model.weight("linear.bias", &[classes], 0.0);
    model.then(
        "Gemm",
        "/linear/Gemm",
        &["linear.weight", "linear.bias"],
        vec![int("transB", 1)],
    );
    model.finish(&[classes])
}
