//! How often classes are told apart.

use serde::{Deserialize, Serialize};

use super::mean;
use super::ranking::{average_precision, roc_auc};

/// What evaluation found for labels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Classification {
    /// Share of examples whose largest output is their label's; of equal outputs the first counts. It is the micro
    /// average of precision, recall and F1 as well, since each example has one label and is taken for one class.
    pub accuracy: f64,
    /// Shares of examples whose label's output is among the largest.
    pub top_k: Vec<TopK>,
    /// The mean of the classes' precision; like the next two over classes that occur among labels or predictions, one
    /// without a value counting as 0 (scikit-learn's `average="macro"`).
    pub macro_precision: f64,
    /// The mean of the classes' recall.
    pub macro_recall: f64,
    /// The mean of the classes' F1.
    pub macro_f1: f64,
    /// The mean of the classes' areas under the ROC curve, where there are any.
    pub macro_roc_auc: Option<f64>,
    /// The mean of the classes' areas under the precision-recall curve, where there are any.
    pub macro_pr_auc: Option<f64>,
    /// Each class.
    pub classes: Vec<ClassMetrics>,
    /// How many examples of each class (row) were taken for each (column); empty beyond
    /// [`Classification::CONFUSION_LIMIT`] classes.
    pub confusion: Vec<Vec<u64>>,
}

/// The share of examples whose label's output is among the `k` largest.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TopK {
    /// How many.
    pub k: u64,
    /// The share.
    pub accuracy: f64,
}

/// What evaluation found for one class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassMetrics {
    /// Examples of this class.
    pub examples: u64,
    /// Examples taken for this class.
    pub predicted: u64,
    /// Examples of this class taken for it.
    pub correct: u64,
    /// The area under the ROC curve of this class against the rest, by softmax probabilities; `None` where all or no
    /// examples are of it, or examples times classes exceed [`Classification::SCORES_LIMIT`].
    pub roc_auc: Option<f64>,
    /// The area under its precision-recall curve, as average precision (scikit-learn's `average_precision_score`).
    pub pr_auc: Option<f64>,
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

    /// The harmonic mean of precision and recall; `None` where the class occurs neither among labels nor predictions.
    pub fn f1(&self) -> Option<f64> {
        let both = self.examples + self.predicted;
        (both > 0).then(|| 2.0 * self.correct as f64 / both as f64)
    }
}

impl Classification {
    /// Most classes of a confusion matrix.
    pub const CONFUSION_LIMIT: usize = 256;
    /// Most probabilities that are kept for the areas under curves.
    pub const SCORES_LIMIT: usize = 1 << 24;
    /// The `k` of [`Classification::top_k`], those below the number of classes.
    pub const TOP_K: [u64; 4] = [1, 2, 3, 5];
}

/// Counts examples as they come.
pub(crate) struct ClassificationTally {
    counts: Vec<ClassMetrics>,
    /// How often so many classes had a larger output than the label's.
    ranks: [u64; 5],
    confusion: Vec<Vec<u64>>,
    labels: Vec<u32>,
    /// A row an example; empty where there would be too many.
    probabilities: Vec<f32>,
    keeps_probabilities: bool,
}

impl ClassificationTally {
    /// For so many examples, each with so many outputs. A single output is the log-odds of class 1.
    pub(crate) fn new(examples: usize, outputs: usize) -> Self {
        let classes = outputs.max(2);
        let square = if classes <= Classification::CONFUSION_LIMIT {
            classes
        } else {
            0
        };
        Self {
            counts: vec![ClassMetrics::default(); classes],
            ranks: [0; 5],
            confusion: vec![vec![0; square]; square],
            labels: Vec::with_capacity(examples),
            probabilities: Vec::new(),
            keeps_probabilities: examples
                .checked_mul(classes)
                .is_some_and(|scores| scores <= Classification::SCORES_LIMIT),
        }
    }

    /// Counts an example, whose label is one of the classes.
    pub(crate) fn add(&mut self, outputs: &[f32], label: u32) {
        if let &[odds] = outputs {
            return self.add(&[0.0, odds], label);
        }
        let own = label as usize;
        // Of equal outputs the first counts, as torch.argmax has it; what is not a number comes last.
        let before = |left: usize, right: usize| {
            let (l, r) = (outputs[left], outputs[right]);
            l > r
                || (r.is_nan() && !l.is_nan())
                || ((l == r || (l.is_nan() && r.is_nan())) && left < right)
        };
        let rank = (0..outputs.len())
            .filter(|&other| other != own && before(other, own))
            .count();
        if let Some(count) = self.ranks.get_mut(rank) {
            *count += 1;
        }
        let predicted = (1..outputs.len()).fold(
            0,
            |best, class| {
                if before(class, best) { class } else { best }
            },
        );
        self.counts[own].examples += 1;
        self.counts[own].correct += u64::from(predicted == own);
        self.counts[predicted].predicted += 1;
        if let Some(cell) = self
            .confusion
            .get_mut(own)
            .and_then(|row| row.get_mut(predicted))
        {
            *cell += 1;
        }
        self.labels.push(label);
        if self.keeps_probabilities {
            let largest = outputs.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let power = |output: &f32| f64::from(output - largest).exp();
            let sum: f64 = outputs.iter().map(power).sum();
            self.probabilities
                .extend(outputs.iter().map(|output| (power(output) / sum) as f32));
        }
    }

    pub(crate) fn finish(mut self) -> Classification {
        let (examples, classes) = (self.labels.len(), self.counts.len());
        if self.keeps_probabilities {
            for (class, counts) in self.counts.iter_mut().enumerate() {
                let mut scores: Vec<(f32, bool)> = self
                    .probabilities
                    .chunks_exact(classes)
                    .zip(&self.labels)
                    .map(|(row, &label)| (row[class], label as usize == class))
                    .collect();
                scores.sort_unstable_by(|left, right| right.0.total_cmp(&left.0));
                counts.roc_auc = roc_auc(&scores);
                counts.pr_auc = average_precision(&scores);
            }
        }
        let share = |count: u64| count as f64 / examples.max(1) as f64;
        let top = |k: u64| TopK {
            k,
            accuracy: share(self.ranks.iter().take(k as usize).sum()),
        };
        let occurring = || {
            self.counts
                .iter()
                .filter(|class| class.examples + class.predicted > 0)
        };
        let macro_mean = |value: fn(&ClassMetrics) -> Option<f64>| {
            mean(occurring().map(|class| value(class).unwrap_or(0.0))).unwrap_or(0.0)
        };
        Classification {
            accuracy: share(self.counts.iter().map(|class| class.correct).sum()),
            top_k: Classification::TOP_K
                .into_iter()
                .filter(|&k| k < classes as u64)
                .map(top)
                .collect(),
            macro_precision: macro_mean(ClassMetrics::precision),
            macro_recall: macro_mean(ClassMetrics::recall),
            macro_f1: macro_mean(ClassMetrics::f1),
            macro_roc_auc: mean(self.counts.iter().filter_map(|class| class.roc_auc)),
            macro_pr_auc: mean(self.counts.iter().filter_map(|class| class.pr_auc)),
            confusion: self.confusion,
            classes: self.counts,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUTS: [[f32; 4]; 10] = [
        [-0.35, -2.65, -0.5, 0.84],
        [2.27, 1.47, -1.11, -1.57],
        [1.5, 3.27, 1.8, -2.47],
        [1.0, 1.0, 0.5, 0.0],
        [-0.17, -1.08, -1.26, -0.98],
        [-1.43, 1.11, 1.12, -1.18],
        [2.07, 1.66, -3.29, -0.51],
        [-1.96, 0.9, -2.58, 0.04],
        [-0.08, -0.61, -0.85, -0.79],
        [-2.18, -1.46, 0.45, -2.22],
    ];
    const LABELS: [u32; 10] = [0, 1, 2, 0, 1, 2, 0, 1, 2, 1];
    const AREAS: [(f64, f64); 3] = [
        (0.6666666666666666, 0.4666666666666667),
        (0.375, 0.4131944444444444),
        (0.7142857142857142, 0.5),
    ];

    fn close(got: f64, expected: f64) {
        assert!((got - expected).abs() < 1e-6, "{got}, expected {expected}");
    }

    /// Ten examples of four classes, of which one never occurs; values by scikit-learn 1.9.
    #[test]
    fn classification_is_scikit_learns() {
        let mut tally = ClassificationTally::new(10, 4);
        for (outputs, label) in OUTPUTS.iter().zip(LABELS) {
            tally.add(outputs, label);
        }
        let found = tally.finish();
        close(found.accuracy, 0.4);
        let top: Vec<(u64, f64)> = found
            .top_k
            .iter()
            .map(|top| (top.k, top.accuracy))
            .collect();
        assert_eq!(top, [(1, 0.4), (2, 0.8), (3, 0.9)]);
        close(found.macro_precision, 0.35);
        close(found.macro_recall, 0.3125);
        close(found.macro_f1, 0.308_333_333_333);
        assert_eq!(
            found.confusion,
            [[2, 0, 0, 1], [2, 1, 1, 0], [1, 1, 1, 0], [0, 0, 0, 0]]
        );
        for (class, (roc, pr)) in found.classes.iter().zip(AREAS) {
            close(class.roc_auc.unwrap(), roc);
            close(class.pr_auc.unwrap(), pr);
        }
        assert_eq!(
            (found.classes[3].roc_auc, found.classes[3].pr_auc),
            (None, None)
        );
        close(
            found.macro_roc_auc.unwrap(),
            AREAS.iter().map(|areas| areas.0).sum::<f64>() / 3.0,
        );
        for (class, f1) in found.classes.iter().zip([0.5, 1.0 / 3.0, 0.4, 0.0]) {
            close(class.f1().unwrap_or(0.0), f1);
        }
    }

    #[test]
    fn a_single_output_is_the_odds_of_class_1() {
        let mut tally = ClassificationTally::new(3, 1);
        for (odds, label) in [(0.5, 1), (-2.0, 1), (-0.1, 0)] {
            tally.add(&[odds], label);
        }
        let found = tally.finish();
        assert_eq!(found.confusion, [[1, 0], [1, 1]]);
        assert_eq!(found.classes[1].roc_auc, Some(0.5));
    }

    #[test]
    fn outputs_that_are_no_numbers_are_never_the_largest() {
        let mut tally = ClassificationTally::new(2, 3);
        tally.add(&[f32::NAN, 1.0, 0.0], 0);
        tally.add(&[f32::NAN, 0.0, 1.0], 2);
        let found = tally.finish();
        assert_eq!(found.accuracy, 0.5);
        assert_eq!(found.classes[0].predicted, 0);
    }
}
