use std::fmt;

use serde::Serialize;
use smallfleet_engine::EngineState;

/// What an evaluation found.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Verdict {
    dataset_digest: String,
    node_class: String,
    examples: usize,
    /// One bit per example in order, most significant bit first, base64.
    right: String,
}

/// Why there is no verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Failure {
    reason: String,
    message: String,
}

/// Reasons besides the engine's own.
#[derive(Debug, Clone, Copy)]
pub(super) enum Reason {
    NoDataset,
    LabelsDoNotMatch,
    EvaluationFailed,
}

/// Longest message: the kubelet keeps 4,096 bytes of both together.
const MESSAGE_MAX: usize = 1_024;

impl Failure {
    pub(super) fn new(reason: Reason, message: &str) -> Self {
        let message = message.chars().take(MESSAGE_MAX).collect();
        Self {
            reason: format!("{reason:?}"),
            message,
        }
    }

    pub(super) fn of_engine(state: &EngineState) -> Self {
        match &state.failure {
            Some(failure) => Self {
                reason: failure.reason.to_string(),
                message: failure.message.chars().take(MESSAGE_MAX).collect(),
            },
            None => Self::new(
                Reason::EvaluationFailed,
                "the engine was started again in the middle of the evaluation; see its container's exit code",
            ),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.reason, self.message)
    }
}

impl Verdict {
    pub(super) fn new(dataset_digest: &str, node_class: String, right: &[bool]) -> Self {
        Self {
            dataset_digest: dataset_digest.to_owned(),
            node_class,
            examples: right.len(),
            right: base64(&pack(right)),
        }
    }
}

fn pack(bits: &[bool]) -> Vec<u8> {
    let byte = |bits: &[bool]| {
        let set = bits.iter().enumerate().filter(|(_, bit)| **bit);
        set.fold(0, |byte, (index, _)| byte | (0x80 >> index))
    };
    bits.chunks(8).map(byte).collect()
}

/// RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let value = (0..3).fold(0_u32, |value, index| {
            value << 8 | u32::from(group.get(index).copied().unwrap_or(0))
        });
        for digit in 0..4 {
            let padding = digit > group.len();
            let index = value >> (18 - 6 * digit) & 63;
            text.push(if padding {
                '='
            } else {
                DIGITS[index as usize].into()
            });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_the_standards() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }

    #[test]
    fn the_first_example_is_the_highest_bit() {
        let right = [true, false, false, false, false, false, false, true, true];
        assert_eq!(pack(&right), [0x81, 0x80]);
    }

    #[test]
    fn the_most_examples_fit_into_a_termination_message() {
        let verdict = Verdict::new(&"d".repeat(71), "amd64-avx512vnni".into(), &[true; 20_000]);
        assert!(serde_json::to_vec(&verdict).unwrap().len() <= 4_096);
    }

    #[test]
    fn a_long_failure_fits_too() {
        let failure = Failure::new(Reason::EvaluationFailed, &"\u{1F980}\"".repeat(5_000));
        assert!(serde_json::to_vec(&failure).unwrap().len() <= 4_096);
    }
}
