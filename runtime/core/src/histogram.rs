//! Sparse histogram of latencies, base 1.02: at most 1 % off in the middle of a bucket, merged by addition.

use std::collections::BTreeMap;

/// Ratio of the bounds of a bucket.
pub const BASE: f64 = 1.02;

/// Counts by bucket; bucket i holds `[1.02^i, 1.02^(i+1))` microseconds, bucket 0 also everything below.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Histogram {
    buckets: BTreeMap<u32, u64>,
}

impl Histogram {
    /// Adds one latency, in microseconds.
    pub fn add(&mut self, latency_us: u64) {
        let count = self.buckets.entry(bucket(latency_us)).or_default();
        *count = count.saturating_add(1);
    }

    /// The counts.
    #[must_use]
    pub fn buckets(&self) -> &BTreeMap<u32, u64> {
        &self.buckets
    }
}

/// Bucket of a latency in microseconds. At most 2,240 of them exist.
#[must_use]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a logarithm of a u64 to base 1.02 lies within 0 and 2,240"
)]
pub fn bucket(latency_us: u64) -> u32 {
    ((latency_us.max(1) as f64).ln() / BASE.ln()) as u32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn buckets_are_two_percent_wide() {
        assert_eq!(bucket(0), 0);
        assert_eq!(bucket(1), 0);
        assert_eq!(bucket(1_000), 348);
        assert_eq!(bucket(1_021), 349);
        assert!(bucket(u64::MAX) <= 2_240);
    }

    proptest! {
        #[test]
        fn a_latency_lies_within_its_bucket(latency in 1_u64..1 << 50) {
            let exponent = f64::from(bucket(latency));
            let latency = latency as f64;
            prop_assert!(BASE.powf(exponent) <= latency * (1.0 + 1e-9));
            prop_assert!(latency < BASE.powf(exponent + 1.0) * (1.0 + 1e-9));
        }
    }
}
