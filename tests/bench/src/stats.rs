//! Medians and other quantiles.

/// The value that at least the share `q` (0 to 1) of the values does not exceed (nearest rank); 0 without any.
pub fn quantile(values: &[f64], q: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (q * as_f64(sorted.len())).ceil();
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let index = (rank as usize).clamp(1, sorted.len().max(1)) - 1;
    sorted.get(index).copied().unwrap_or(0.0)
}

pub fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

pub fn smallest(values: &[f64]) -> f64 {
    quantile(values, 0.0)
}

pub fn largest(values: &[f64]) -> f64 {
    quantile(values, 1.0)
}

/// A count as a number to calculate with; exact far beyond anything counted here.
#[allow(clippy::cast_precision_loss)]
pub fn as_f64(count: usize) -> f64 {
    count as f64
}

/// Like [`as_f64`].
#[allow(clippy::cast_precision_loss)]
pub fn from_u64(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_were_measured() {
        let values: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!((median(&values), quantile(&values, 0.99)), (50.0, 99.0));
        assert_eq!((smallest(&values), largest(&values)), (1.0, 100.0));
        assert_eq!((median(&[]), median(&[7.0])), (0.0, 7.0));
    }
}
