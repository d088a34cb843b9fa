//! Areas under curves, of scores sorted from the largest.

/// The area under the ROC curve: the probability that a positive example scores above a negative one, equal scores
/// counting half (Mann and Whitney 1947). `None` without either, or where a score is not a number.
pub(super) fn roc_auc(scores: &[(f32, bool)]) -> Option<f64> {
    let (positives, negatives) = counts(scores)?;
    if positives == 0 || negatives == 0 {
        return None;
    }
    // Pairs won, in halves.
    let (mut halves, mut above) = (0u128, 0u128);
    for (here_positive, here_negative) in levels(scores) {
        halves += u128::from(here_negative) * (2 * above + u128::from(here_positive));
        above += u128::from(here_positive);
    }
    Some(halves as f64 / 2.0 / (positives as f64 * negatives as f64))
}

/// Average precision, `Σ (R_n - R_{n-1}) P_n` over the thresholds between scores. `None` without positive examples, or
/// where a score is not a number.
pub(super) fn average_precision(scores: &[(f32, bool)]) -> Option<f64> {
    let (positives, _) = counts(scores)?;
    if positives == 0 {
        return None;
    }
    let (mut found, mut taken, mut sum) = (0, 0, 0.0);
    for (here_positive, here_negative) in levels(scores) {
        found += here_positive;
        taken += here_positive + here_negative;
        sum += here_positive as f64 * found as f64 / taken as f64;
    }
    Some(sum / positives as f64)
}

/// How many are positive and negative.
fn counts(scores: &[(f32, bool)]) -> Option<(u64, u64)> {
    if scores.iter().any(|(score, _)| score.is_nan()) {
        return None;
    }
    let positives = scores.iter().filter(|(_, positive)| *positive).count() as u64;
    Some((positives, scores.len() as u64 - positives))
}

/// How many positive and negative examples have each score.
fn levels(scores: &[(f32, bool)]) -> impl Iterator<Item = (u64, u64)> {
    scores
        .chunk_by(|left, right| left.0 == right.0)
        .map(|level| {
            let positives = level.iter().filter(|(_, positive)| *positive).count() as u64;
            (positives, level.len() as u64 - positives)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_scores_count_half_and_make_one_threshold() {
        // By hand: pairs (0.9 > 0.5, 0.9 > 0.1, 0.5 = 0.5, 0.5 > 0.1) won 3.5 of 4.
        let scores = [(0.9, true), (0.5, true), (0.5, false), (0.1, false)];
        assert_eq!(roc_auc(&scores), Some(0.875));
        // Half the recall at precision 1, half at 2/3.
        let expected = 0.5 + 0.5 * 2.0 / 3.0;
        assert!((average_precision(&scores).unwrap() - expected).abs() < 1e-15);
    }

    #[test]
    fn areas_without_both_kinds_of_examples_are_none() {
        assert_eq!(roc_auc(&[]), None);
        assert_eq!(average_precision(&[]), None);
        assert_eq!(roc_auc(&[(0.5, true)]), None);
        assert_eq!(roc_auc(&[(0.5, false)]), None);
        assert_eq!(average_precision(&[(0.5, false)]), None);
        assert_eq!(average_precision(&[(0.5, true)]), Some(1.0));
        assert_eq!(roc_auc(&[(f32::NAN, true), (0.5, false)]), None);
    }
}
