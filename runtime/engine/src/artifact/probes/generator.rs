use serde::Deserialize;

/// Longest answer that is waited for at start.
const MAX_ANSWER_SIZE_BYTES: usize = 1024;

/// What a user says, and how the most probable answer begins. A short beginning that the model is sure of holds on every kind
/// of CPU; later tokens may differ by the rounding of quantised kernels.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GeneratorProbe {
    pub input: String,
    pub answer_prefix: String,
}

impl GeneratorProbe {
    pub fn check(&self) -> Result<(), String> {
        if self.input.trim().is_empty() {
            return Err("input is empty".into());
        }
        if self.answer_prefix.is_empty() || self.answer_prefix.len() > MAX_ANSWER_SIZE_BYTES {
            return Err(format!(
                "answerPrefix is empty or longer than {MAX_ANSWER_SIZE_BYTES} bytes"
            ));
        }
        Ok(())
    }
}
