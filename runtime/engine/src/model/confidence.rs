//! From logits to probabilities.

/// Softmax of `logits / temperature`; `None` where a logit is not finite. Shifted by the largest logit, so that no
/// exponential overflows.
pub fn probabilities(logits: &[f32], temperature: f32) -> Option<Vec<f32>> {
    if !logits.iter().all(|logit| logit.is_finite()) {
        return None;
    }
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weights: Vec<f64> = logits
        .iter()
        .map(|&logit| f64::from((logit - largest) / temperature).exp())
        .collect();
    let total: f64 = weights.iter().sum();
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a probability needs no more digits than a logit has"
    )]
    Some(
        weights
            .into_iter()
            .map(|weight| (weight / total) as f32)
            .collect(),
    )
}

/// Index of the largest value, the first of equal ones.
pub fn best(values: &[f32]) -> usize {
    values.iter().enumerate().fold(
        0,
        |best, (index, &value)| if value > values[best] { index } else { best },
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn temperature_flattens() {
        let sharp = probabilities(&[2.0, 0.0], 1.0).unwrap();
        let flat = probabilities(&[2.0, 0.0], 2.0).unwrap();
        assert!((sharp[0] - 0.880_797).abs() < 1e-5);
        assert!((flat[0] - 0.731_059).abs() < 1e-5);
    }

    #[test]
    fn broken_numbers_are_no_answer() {
        assert_eq!(probabilities(&[1.0, f32::NAN], 1.0), None);
        assert_eq!(probabilities(&[1.0, f32::INFINITY], 1.0), None);
    }

    proptest! {
        #[test]
        fn probabilities_add_up_and_keep_the_order(
            logits in prop::collection::vec(-1e6_f32..1e6, 2..20),
            temperature in 0.01_f32..100.0,
        ) {
            let probabilities = probabilities(&logits, temperature).unwrap();
            prop_assert!((probabilities.iter().sum::<f32>() - 1.0).abs() < 1e-4);
            prop_assert!(probabilities.iter().all(|p| (0.0..=1.0).contains(p)));
            prop_assert!(probabilities[best(&logits)] >= probabilities[best(&probabilities)]);
        }
    }
}
