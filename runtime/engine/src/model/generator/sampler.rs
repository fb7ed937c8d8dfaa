//! From logits to the next token.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Tokens whose probability is below that of the best by more than this factor (e^-18 = 1.5e-8) are never drawn: together they
/// weigh less than a thousandth even in a vocabulary of 50,000, and sorting the rest is cheap.
const NEGLIGIBLE: f32 = 18.0;

/// How the next token is chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Choice {
    /// 0: the most probable token.
    pub temperature: f32,
    /// Share of the probability that is drawn from.
    pub top_p: f32,
}

pub struct Sampler {
    choice: Choice,
    random: StdRng,
    /// Candidates of a draw, kept between draws.
    weights: Vec<(f32, u32)>,
}

impl Sampler {
    /// The same seed gives the same tokens for the same logits.
    pub fn new(choice: Choice, seed: u64) -> Self {
        Self {
            choice,
            random: StdRng::seed_from_u64(seed),
            weights: Vec::new(),
        }
    }

    /// `None` where a logit is not a number, or infinite.
    pub fn next(&mut self, logits: &[f32]) -> Option<u32> {
        let best = best(logits)?;
        if self.choice.temperature <= 0.0 {
            return Some(best);
        }
        self.weigh(logits, logits[best as usize]);
        let kept = self.keep_top_p();
        let mut drawn = self.random.random::<f32>() * kept;
        for &(weight, token) in &self.weights {
            drawn -= weight;
            if drawn < 0.0 {
                return Some(token);
            }
        }
        // Rounding may leave a rest.
        Some(best)
    }

    /// Weights of the tokens that may be drawn, largest first.
    fn weigh(&mut self, logits: &[f32], largest: f32) {
        let temperature = self.choice.temperature;
        self.weights.clear();
        for (token, &logit) in (0_u32..).zip(logits) {
            let below = (logit - largest) / temperature;
            if below >= -NEGLIGIBLE {
                self.weights.push((below.exp(), token));
            }
        }
        self.weights
            .sort_unstable_by(|one, other| other.0.total_cmp(&one.0).then(one.1.cmp(&other.1)));
    }

    /// Leaves the fewest tokens that have the share `top_p`; their weight.
    fn keep_top_p(&mut self) -> f32 {
        let total: f32 = self.weights.iter().map(|(weight, _)| weight).sum();
        let mut kept = 0.0;
        let enough = self.weights.iter().position(|(weight, _)| {
            kept += weight;
            kept >= total * self.choice.top_p
        });
        if let Some(last) = enough {
            self.weights.truncate(last + 1);
        }
        kept
    }
}

/// Index of the largest logit, the first of equal ones; `None` where one is not finite.
fn best(logits: &[f32]) -> Option<u32> {
    let mut best: Option<(f32, u32)> = None;
    for (token, &logit) in (0_u32..).zip(logits) {
        if !logit.is_finite() {
            return None;
        }
        if best.is_none_or(|(largest, _)| logit > largest) {
            best = Some((logit, token));
        }
    }
    best.map(|(_, token)| token)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGITS: [f32; 4] = [0.0, 3.0, 2.0, -50.0];

    fn draws(temperature: f32, top_p: f32, seed: u64) -> Vec<u32> {
        let mut sampler = Sampler::new(Choice { temperature, top_p }, seed);
        (0..500).map(|_| sampler.next(&LOGITS).unwrap()).collect()
    }

    #[test]
    fn temperature_0_takes_the_most_probable_token() {
        assert!(draws(0.0, 1.0, 1).iter().all(|&token| token == 1));
    }

    #[test]
    fn a_seed_repeats_its_tokens_and_another_gives_others() {
        assert_eq!(draws(1.0, 1.0, 7), draws(1.0, 1.0, 7));
        assert_ne!(draws(1.0, 1.0, 7), draws(1.0, 1.0, 8));
    }

    #[test]
    fn tokens_are_drawn_as_often_as_they_are_probable() {
        let drawn = draws(1.0, 1.0, 3);
        let share = drawn.iter().filter(|&&token| token == 1).count() as f64 / 500.0;
        // softmax([0, 3, 2])[1] = 0.705; three standard deviations are 0.061.
        assert!((share - 0.705).abs() < 0.061, "{share}");
        assert!(drawn.contains(&0) && drawn.contains(&2) && !drawn.contains(&3));
    }

    #[test]
    fn top_p_leaves_the_tail_out() {
        assert!(
            draws(1.0, 0.9, 3)
                .iter()
                .all(|token| [1, 2].contains(token))
        );
        assert!(draws(1.0, 0.1, 3).iter().all(|&token| token == 1));
    }

    #[test]
    fn broken_numbers_are_no_token() {
        let mut sampler = Sampler::new(
            Choice {
                temperature: 1.0,
                top_p: 1.0,
            },
            1,
        );
        assert_eq!(sampler.next(&[1.0, f32::NAN]), None);
        assert_eq!(sampler.next(&[f32::INFINITY, 1.0]), None);
        assert_eq!(sampler.next(&[]), None);
    }
}
