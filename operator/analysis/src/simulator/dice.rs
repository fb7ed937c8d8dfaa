/// A seeded generator (SplitMix64; Steele, Lea and Flood 2014), so that a simulation is the same every time.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// Dice whose throws follow from `seed` alone.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut dice = Self(seed);
        // Seeds count 0, 1, 2, ... : after one throw their states have nothing in common.
        Self(dice.bits())
    }

    pub(super) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// In (0, 1).
    pub fn uniform(&mut self) -> f64 {
        ((self.bits() >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }

    /// True with this probability.
    pub fn happens(&mut self, probability: f64) -> bool {
        self.uniform() < probability
    }

    /// Standard normal (Box and Muller 1958).
    pub fn normal(&mut self) -> f64 {
        (-2.0 * self.uniform().ln()).sqrt() * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// Exponential with this mean.
    pub fn exponential(&mut self, mean: f64) -> f64 {
        -mean * self.uniform().ln()
    }

    /// Random bits of a router, the key of a unit.
    pub(super) fn key(&mut self) -> [u8; 16] {
        (u128::from(self.bits()) << 64 | u128::from(self.bits())).to_be_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn throws_have_their_distributions() {
        let mut dice = Dice::new(1);
        let mean =
            |throw: &mut dyn FnMut() -> f64| (0..20_000).map(|_| throw()).sum::<f64>() / 20_000.0;
        // Five standard errors of 20,000 throws are below .04 of the standard deviation.
        assert!((mean(&mut || dice.uniform()) - 0.5).abs() < 0.02);
        assert!(mean(&mut || dice.normal()).abs() < 0.04);
        assert!((mean(&mut || dice.normal().powi(2)) - 1.0).abs() < 0.06);
        assert!((mean(&mut || dice.exponential(3.0)) - 3.0).abs() < 0.12);
        assert!((mean(&mut || f64::from(u8::from(dice.happens(0.1)))) - 0.1).abs() < 0.02);
    }
}
