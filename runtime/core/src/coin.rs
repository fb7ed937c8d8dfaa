//! The coin, version 1: which arm answers a unit.
//!
//! It sees the rollout's id (its salt) and the unit's key and nothing else, so it cannot know the outcome; the statistics
//! of a rollout rest on that alone.

use sha2::{Digest, Sha256};

use crate::Arm;

/// Version of this coin. Frozen in the rollout's status: units of two coins are never mixed.
pub const COIN_VERSION: u32 = 1;

/// Key of a unit: random bits of the router, never the client's.
pub type UnitKey = [u8; 16];

/// The arm of `key`: the candidate iff the first 8 bytes, big endian, of SHA-256(rollout id, key) modulo 1000 are below
/// `permille`. Raising the share within a rollout moves units from stable to the candidate only.
///
/// The modulus is biased by less than 2^-54, far below what any rollout could see.
#[must_use]
pub fn toss(rollout_id: &str, key: &UnitKey, permille: u16) -> Arm {
    let digest = Sha256::new()
        .chain_update(rollout_id.as_bytes())
        .chain_update(key)
        .finalize();
    let head = digest
        .first_chunk::<8>()
        .expect("a SHA-256 digest has 32 bytes");
    if u64::from_be_bytes(*head) % 1000 < u64::from(permille) {
        Arm::Candidate
    } else {
        Arm::Stable
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Computed with an independent implementation (Python's hashlib); a change here is a new coin version.
    #[test]
    fn version_one_never_changes() {
        let side = |key: [u8; 16]| {
            let share =
                (0..=1000).find(|share| toss("0123456789ab", &key, *share) == Arm::Candidate);
            share.map(|share| share - 1)
        };
        assert_eq!(side([0; 16]), Some(756));
        assert_eq!(side([255; 16]), Some(348));
    }

    #[test]
    fn the_share_is_kept() {
        for permille in [100_u16, 500, 900] {
            let heads = (0..20_000_u128)
                .filter(|key| toss("a rollout", &key.to_le_bytes(), permille) == Arm::Candidate)
                .count();
            // Five standard deviations of 20,000 tosses are at most 354.
            let expected = 20 * usize::from(permille);
            assert!(heads.abs_diff(expected) < 360, "{permille}: {heads}");
        }
    }

    proptest! {
        #[test]
        fn raising_the_share_moves_units_to_the_candidate_only(key: [u8; 16], low in 0_u16..=1000, high in 0_u16..=1000) {
            let (low, high) = (low.min(high), low.max(high));
            if toss("r", &key, low) == Arm::Candidate {
                prop_assert_eq!(toss("r", &key, high), Arm::Candidate);
            }
        }

        #[test]
        fn the_ends_are_certain(id: String, key: [u8; 16]) {
            prop_assert_eq!(toss(&id, &key, 0), Arm::Stable);
            prop_assert_eq!(toss(&id, &key, 1000), Arm::Candidate);
        }
    }
}
