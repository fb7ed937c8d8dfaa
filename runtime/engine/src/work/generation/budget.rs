//! Memory for keys and values: bounded by what the engine has, never by what requests ask for.

use crate::model::{Generator, ModelError};

const MIB: usize = 1 << 20;
/// Fewer tokens are no context.
const LEAST_TOKENS: usize = 32;
/// The kernel's limit of this container: cgroup 2, then 1.
const MEMORY_LIMIT_FILES: [&str; 2] = [
    "/sys/fs/cgroup/memory.max",
    "/sys/fs/cgroup/memory/memory.limit_in_bytes",
];

/// Tokens of all answers at work together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Most tokens at a time.
    pub tokens: usize,
    taken: usize,
}

impl Budget {
    pub fn of(tokens: usize) -> Self {
        Self { tokens, taken: 0 }
    }

    /// `wanted_mib`, or half of what the container's limit leaves beside the loaded model where that is less.
    pub fn measure(wanted_mib: usize, generator: &Generator) -> Result<Self, ModelError> {
        let left = memory_limit().map(|limit| limit.saturating_sub(resident()) / 2);
        let bytes = left
            .unwrap_or(usize::MAX)
            .min(wanted_mib.saturating_mul(MIB));
        let tokens = bytes / generator.token_size_bytes().max(1);
        if tokens < LEAST_TOKENS.min(generator.context_tokens()) {
            return Err(ModelError::NoMemory {
                available_mib: bytes / MIB,
                tokens: LEAST_TOKENS,
            });
        }
        tracing::info!(tokens, mib = bytes / MIB, "memory for keys and values");
        Ok(Self::of(tokens))
    }

    /// Takes room for an answer, or says that there is none now.
    pub fn take(&mut self, tokens: usize) -> bool {
        let fits = self.taken + tokens <= self.tokens;
        if fits {
            self.taken += tokens;
        }
        fits
    }

    pub fn give_back(&mut self, tokens: usize) {
        self.taken = self.taken.saturating_sub(tokens);
    }
}

/// Bytes; `None` where there is no limit.
fn memory_limit() -> Option<usize> {
    MEMORY_LIMIT_FILES.iter().find_map(|file| {
        let text = std::fs::read_to_string(file).ok()?;
        text.trim().parse().ok()
    })
}

fn resident() -> usize {
    usize::try_from(crate::metrics::resident_memory_bytes()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_have_no_more_memory_than_there_is() {
        let mut budget = Budget::of(100);
        assert!(budget.take(60));
        assert!(!budget.take(41));
        assert!(budget.take(40));
        budget.give_back(60);
        assert!(budget.take(60));
    }
}
