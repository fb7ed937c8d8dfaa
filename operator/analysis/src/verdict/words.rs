//! Effects in the words of status and events.

use crate::interval::Interval;

/// Slow-down of the candidate.
pub(super) fn slowdown(interval: Interval) -> String {
    match (interval.lower, interval.upper) {
        (Some(lower), Some(upper)) => {
            format!("between {} and {} slower", times(lower), times(upper))
        }
        (Some(lower), None) if lower <= 1.0 => "slower".to_owned(),
        (Some(lower), None) => format!("at least {} slower", times(lower)),
        (None, Some(upper)) if upper <= 1.0 => "not slower".to_owned(),
        (None, Some(upper)) => format!("at most {} slower", times(upper)),
        (None, None) => "slow-down not bounded yet".to_owned(),
    }
}

/// Ratio of a bad event and what it adds at most, rounded outward so that the words promise no more than the numbers.
pub(super) fn events(what: &str, interval: Interval, excess_at_most: Option<f64>) -> String {
    let (lower, upper) = (
        interval.lower.map(hundredths_down),
        interval.upper.map(hundredths_up),
    );
    let ratio = match (lower, upper) {
        (Some(lower), Some(upper)) => Some(format!(
            "{} to {} of stable's {what}",
            times(lower),
            times(upper)
        )),
        (Some(lower), None) => Some(format!("at least {} of stable's {what}", times(lower))),
        (None, Some(upper)) => Some(format!("at most {} of stable's {what}", times(upper))),
        (None, None) => None,
    };
    let points = excess_at_most
        .map(|excess| format!("at most +{:.2} points", hundredths_up(excess * 100.0)));
    match (ratio, points) {
        (Some(ratio), Some(points)) => format!("{ratio}, {points}"),
        (Some(ratio), None) => ratio,
        (None, Some(points)) => format!("{points} of {what}"),
        (None, None) => format!("{what} not bounded yet"),
    }
}

fn hundredths_down(value: f64) -> f64 {
    (value * 100.0).floor() / 100.0
}

fn hundredths_up(value: f64) -> f64 {
    (value * 100.0).ceil() / 100.0
}

/// `x1.25`; a third decimal only where it is needed, as in `x1.025`.
fn times(ratio: f64) -> String {
    let exact = format!("x{ratio:.3}");
    exact.strip_suffix('0').map_or(exact.clone(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_downs_in_words() {
        let words = |lower, upper| slowdown(Interval { lower, upper });
        assert_eq!(words(None, None), "slow-down not bounded yet");
        assert_eq!(words(None, Some(1.25)), "at most x1.25 slower");
        assert_eq!(words(None, Some(1.0)), "not slower");
        assert_eq!(words(Some(1.025), None), "at least x1.025 slower");
        assert_eq!(words(Some(1.0), None), "slower");
        assert_eq!(
            words(Some(1.1), Some(1.5)),
            "between x1.10 and x1.50 slower"
        );
    }

    #[test]
    fn events_in_words() {
        let words = |lower, upper, excess| events("errors", Interval { lower, upper }, excess);
        assert_eq!(words(None, None, None), "errors not bounded yet");
        assert_eq!(
            words(None, None, Some(0.00741)),
            "at most +0.75 points of errors"
        );
        assert_eq!(
            words(Some(1.509), None, None),
            "at least x1.50 of stable's errors"
        );
        assert_eq!(
            words(Some(2.0), Some(9.291), Some(0.031_05)),
            "x2.00 to x9.30 of stable's errors, at most +3.11 points"
        );
    }
}
