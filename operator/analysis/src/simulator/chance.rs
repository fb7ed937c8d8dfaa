//! Bounds on a probability from how often something happened in independent runs (exact binomial tails).

/// Most times that something of probability `p` happens in `runs` independent runs, but for a chance of `tail`.
#[must_use]
pub fn most_by_chance(runs: u64, p: f64, tail: f64) -> u64 {
    (0..runs)
        .find(|most| at_most(*most, runs, p) >= 1.0 - tail)
        .unwrap_or(runs)
}

/// Largest probability that is not excluded, at this confidence, by `happened` of `runs` (Clopper and Pearson 1934).
#[must_use]
pub fn at_most_with_confidence(happened: u64, runs: u64, confidence: f64) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    // 40 halvings are exact to a millionth of a millionth.
    for _ in 0..40 {
        let middle = f64::midpoint(low, high);
        if at_most(happened, runs, middle) > 1.0 - confidence {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

/// `P(X <= most)` of a binomial X.
fn at_most(most: u64, runs: u64, p: f64) -> f64 {
    if p <= 0.0 || most >= runs {
        return 1.0;
    }
    if p >= 1.0 {
        return 0.0;
    }
    let mut ln_term = runs as f64 * (-p).ln_1p();
    let mut sum = ln_term.exp();
    for k in 1..=most {
        ln_term += ((runs - k + 1) as f64 / k as f64).ln() + p.ln() - (-p).ln_1p();
        sum += ln_term.exp();
    }
    sum.min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed with an independent implementation (sums of Python's `math.comb`).
    #[test]
    fn tails_are_those_of_the_binomial() {
        assert_eq!(most_by_chance(40, 0.01, 1e-3), 3);
        assert_eq!(most_by_chance(200, 0.01, 1e-3), 8);
        assert_eq!(most_by_chance(300, 0.01, 1e-3), 10);
        assert!((at_most_with_confidence(0, 300, 0.99) - 0.015_233).abs() < 1e-5);
        assert!((at_most_with_confidence(7, 2000, 0.99) - 0.007_982).abs() < 1e-5);
        assert_eq!(at_most_with_confidence(5, 5, 0.99), 1.0);
    }
}
