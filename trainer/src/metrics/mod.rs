//! What is measured of a model on public examples.

mod classification;
mod ranking;
mod regression;
mod segmentation;
mod surface;

use serde::{Deserialize, Serialize};

pub(crate) use self::classification::ClassificationTally;
pub use self::classification::{ClassMetrics, Classification, TopK};
pub use self::regression::Regression;
pub(crate) use self::regression::RegressionTally;
pub use self::segmentation::Segmentation;
pub(crate) use self::segmentation::{Masks, SegmentationTally};

/// What evaluation found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metrics {
    /// Examples evaluated.
    pub examples: u64,
    /// The mean loss.
    pub loss: f64,
    /// For targets that are labels.
    pub classification: Option<Classification>,
    /// For targets that are values.
    pub regression: Option<Regression>,
    /// For targets that are masks: values of 0 and 1 alone, in a shape of channels and up to three dimensions.
    pub segmentation: Option<Segmentation>,
}

impl Metrics {
    /// Share of examples whose largest output is their label's, where targets are labels.
    pub fn accuracy(&self) -> Option<f64> {
        self.classification.as_ref().map(|found| found.accuracy)
    }

    /// Class by class, where targets are labels.
    pub fn classes(&self) -> &[ClassMetrics] {
        self.classification
            .as_ref()
            .map_or(&[], |found| found.classes.as_slice())
    }
}

/// The mean of what is there.
fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0u64), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / count as f64)
}
