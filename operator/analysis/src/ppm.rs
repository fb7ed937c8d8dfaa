//! Fractions as integers, so that what is stored in status reads back bit for bit (JSON floats need not).

use serde::{Deserialize, Serialize};

/// A fraction or ratio in parts per million: 10 % is 100 000, x1.25 is 1 250 000, one point is 10 000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ppm(pub u32);

impl Ppm {
    /// The whole, or a ratio of exactly one.
    pub const ONE: Self = Self(1_000_000);

    /// `percent` / 100. Saturates above 429 496 %.
    #[must_use]
    pub const fn from_percent(percent: u32) -> Self {
        Self(percent.saturating_mul(10_000))
    }

    /// `permille` / 1000. Saturates above 4 294 967 permille.
    #[must_use]
    pub const fn from_permille(permille: u32) -> Self {
        Self(permille.saturating_mul(1_000))
    }

    /// The fraction as a float: 1.0 for [`Ppm::ONE`].
    #[must_use]
    pub fn as_f64(self) -> f64 {
        f64::from(self.0) / 1e6
    }

    /// One plus this increase: 10 % becomes x1.10.
    #[must_use]
    pub const fn increased(self) -> Self {
        Self(self.0.saturating_add(Self::ONE.0))
    }

    /// This fraction times `numerator / denominator`, rounded down. `denominator` must not be zero.
    #[must_use]
    pub(crate) fn times(self, numerator: u32, denominator: u32) -> Self {
        let scaled = u64::from(self.0) * u64::from(numerator) / u64::from(denominator);
        Self(u32::try_from(scaled).unwrap_or(u32::MAX))
    }

    /// `value * self`, rounded down, saturating: exact on every machine, unlike a float product.
    #[must_use]
    pub fn scale(self, value: u64) -> u64 {
        let scaled = u128::from(value) * u128::from(self.0) / 1_000_000;
        u64::try_from(scaled).unwrap_or(u64::MAX)
    }
}
