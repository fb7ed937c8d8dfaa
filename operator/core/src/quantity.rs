//! Kubernetes quantities in one canonical form, so that `1Gi` and `1024Mi` are the same revision.

/// Why a text is no quantity that we can use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    #[error(
        "{0:?} is not a Kubernetes quantity: write a number with an optional suffix, such as 250m, 2, 512Mi or 1Gi"
    )]
    Syntax(String),
    #[error("{0:?} is out of range")]
    Range(String),
}

const SUFFIXES: [(&str, i128); 13] = [
    ("Ki", 1 << 10),
    ("Mi", 1 << 20),
    ("Gi", 1 << 30),
    ("Ti", 1 << 40),
    ("Pi", 1 << 50),
    ("Ei", 1 << 60),
    ("k", 1_000),
    ("M", 1_000_000),
    ("G", 1_000_000_000),
    ("T", 1_000_000_000_000),
    ("P", 1_000_000_000_000_000),
    ("E", 1_000_000_000_000_000_000),
    ("", 1),
];

/// Thousandths, rounded up as Kubernetes does.
fn milli(text: &str) -> Result<u64, QuantityError> {
    let syntax = || QuantityError::Syntax(text.to_owned());
    let (number, numerator, denominator) = match text.strip_suffix('m') {
        Some(number) => (number, 1, 1),
        None => SUFFIXES
            .iter()
            .find_map(|(suffix, factor)| {
                text.strip_suffix(suffix)
                    .map(|number| (number, factor * 1000, 1))
            })
            .ok_or_else(syntax)?,
    };
    let (whole, decimals) = number.split_once('.').unwrap_or((number, ""));
    let digits = |part: &str| part.len() <= 15 && part.bytes().all(|byte| byte.is_ascii_digit());
    if (whole.is_empty() && decimals.is_empty()) || !digits(whole) || !digits(decimals) {
        return Err(syntax());
    }
    let scale = 10_i128.pow(u32::try_from(decimals.len()).map_err(|_| syntax())?);
    let value: i128 = format!("{whole}{decimals}").parse().map_err(|_| syntax())?;
    let value = value
        .checked_mul(numerator)
        .ok_or_else(|| QuantityError::Range(text.to_owned()))?;
    let divisor = scale * denominator;
    let rounded_up = (value + divisor - 1) / divisor;
    u64::try_from(rounded_up).map_err(|_| QuantityError::Range(text.to_owned()))
}

/// CPU in thousandths of a core.
///
/// # Errors
/// When the text is no quantity or does not fit.
pub fn cpu_milli(text: &str) -> Result<u64, QuantityError> {
    milli(text)
}

/// Memory in bytes.
///
/// # Errors
/// When the text is no quantity or does not fit.
pub fn memory_bytes(text: &str) -> Result<u64, QuantityError> {
    Ok(milli(text)?.div_ceil(1000))
}

/// The one way in which we write this much CPU.
#[must_use]
pub fn canonical_cpu(milli: u64) -> String {
    if milli.is_multiple_of(1000) {
        (milli / 1000).to_string()
    } else {
        format!("{milli}m")
    }
}

/// The one way in which we write this much memory: the largest binary unit that divides it.
#[must_use]
pub fn canonical_memory(bytes: u64) -> String {
    [("Gi", 1_u64 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10)]
        .iter()
        .find(|(_, unit)| bytes > 0 && bytes.is_multiple_of(*unit))
        .map_or_else(
            || bytes.to_string(),
            |(suffix, unit)| format!("{}{suffix}", bytes / unit),
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_amounts_have_one_canonical_text() {
        for (left, right) in [
            ("1Gi", "1024Mi"),
            ("1.5Gi", "1536Mi"),
            ("1073741824", "1Gi"),
            ("0.5Ki", "512"),
        ] {
            let canonical = |text| canonical_memory(memory_bytes(text).unwrap());
            assert_eq!(canonical(left), canonical(right));
        }
        for (left, right) in [
            ("0.25", "250m"),
            ("2000m", "2"),
            ("1.5", "1500m"),
            ("1k", "1000"),
        ] {
            assert_eq!(
                canonical_cpu(cpu_milli(left).unwrap()),
                canonical_cpu(cpu_milli(right).unwrap())
            );
        }
    }

    #[test]
    fn refuses_what_is_no_quantity() {
        for text in [
            "",
            "m",
            "Gi",
            "1GB",
            "-1",
            "1e3x",
            " 1",
            "1,5",
            "99999999999999999999",
            "9000000E",
        ] {
            assert!(memory_bytes(text).is_err(), "{text:?}");
        }
    }
}
