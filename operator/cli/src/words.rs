//! Numbers, times and lists as people read them.

use jiff::Timestamp;

/// `1,203`.
#[must_use]
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 node`, `3 nodes`.
#[must_use]
pub fn counted(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", count(number))
}

/// `50%` of 500 permille, `12.5%` of 125.
#[must_use]
pub fn permille(permille: u32) -> String {
    match permille % 10 {
        0 => format!("{}%", permille / 10),
        tenth => format!("{}.{tenth}%", permille / 10),
    }
}

/// A length of time in its two largest units: `45 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`.
#[must_use]
pub fn duration(seconds: u64) -> String {
    const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")];
    let first = UNITS.iter().position(|(length, _)| seconds >= *length);
    let Some(first) = first else {
        return "0 s".to_owned();
    };
    let (length, name) = UNITS[first];
    let text = format!("{} {name}", seconds / length);
    match UNITS
        .get(first + 1)
        .map(|(next, name)| (seconds % length / next, name))
    {
        Some((rest, name)) if rest > 0 => format!("{text} {rest} {name}"),
        _ => text,
    }
}

/// Age in a column, as short as kubectl's: `45s`, `12m`, `5h`, `3d`.
#[must_use]
pub fn age(since: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(since).as_secs().max(0);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// `a`, `a and b`, `a, b and c`; at most `most` are named, the rest is counted.
#[must_use]
pub fn list<T: AsRef<str>>(items: &[T], most: usize) -> String {
    let mut named: Vec<String> = items
        .iter()
        .take(most)
        .map(|item| item.as_ref().to_owned())
        .collect();
    if items.len() > most {
        named.push(format!("{} more", items.len() - most));
    }
    match named.split_last() {
        None => String::new(),
        Some((only, [])) => only.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
    }
}

/// The first 12 digits of a digest: enough to tell images apart.
#[must_use]
pub fn short_digest(digest: &str) -> String {
    const LENGTH: usize = "sha256:".len() + 12;
    match digest.char_indices().nth(LENGTH) {
        Some((end, _)) => format!("{}...", &digest[..end]),
        None => digest.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(count(7), "7");
        assert_eq!(count(1_203), "1,203");
        assert_eq!(count(1_000_000), "1,000,000");
        assert_eq!(counted(1, "node"), "1 node");
        assert_eq!(counted(0, "node"), "0 nodes");
    }

    #[test]
    fn shares_have_a_decimal_only_where_needed() {
        assert_eq!(permille(500), "50%");
        assert_eq!(permille(125), "12.5%");
        assert_eq!(permille(5), "0.5%");
    }

    #[test]
    fn durations_have_two_units_at_most() {
        assert_eq!(duration(0), "0 s");
        assert_eq!(duration(45), "45 s");
        assert_eq!(duration(200), "3 min 20 s");
        assert_eq!(duration(7_200), "2 h");
        assert_eq!(duration(273_600), "3 d 4 h");
    }

    #[test]
    fn ages_are_short() {
        let since: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let later = |seconds: i64| since + jiff::SignedDuration::from_secs(seconds);
        assert_eq!(age(since, later(45)), "45s");
        assert_eq!(age(since, later(750)), "12m");
        assert_eq!(age(since, later(18_000)), "5h");
        assert_eq!(age(since, later(259_200)), "3d");
        assert_eq!(age(later(5), since), "0s", "clocks differ");
    }

    #[test]
    fn long_lists_are_cut() {
        assert_eq!(list(&["a"], 3), "a");
        assert_eq!(list(&["a", "b"], 3), "a and b");
        assert_eq!(list(&["a", "b", "c", "d", "e"], 3), "a, b, c and 2 more");
    }

    #[test]
    fn digests_are_short() {
        assert_eq!(
            short_digest(&format!("sha256:{}", "0".repeat(64))),
            "sha256:000000000000..."
        );
        assert_eq!(short_digest("sha256:abc"), "sha256:abc");
    }
}
