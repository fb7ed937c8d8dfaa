//! From text to token ids.

use serde::de::IgnoredAny;
use tokenizers::{PostProcessor, Tokenizer, TruncationParams};

use super::ModelError;

/// Tokens of the tokenizers in use cover 3 to 5 bytes of plain text. A text longer than this many bytes a token is cut before
/// it is tokenised: what is cut off could not have reached the first `maxTokens` tokens (but for runs of white space longer
/// than any text has), and the cost of one request stays bounded.
const MAX_BYTES_A_TOKEN: usize = 64;

/// Token ids of one text, special tokens included, at most `maxTokens`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    pub ids: Vec<i64>,
    /// The text was longer; its end was left out.
    pub truncated: bool,
}

/// The library panics over a file that ends in its decoder, so the whole file's syntax is looked at first.
pub fn read(tokenizer_json: &[u8]) -> Result<Tokenizer, ModelError> {
    let syntax: Result<IgnoredAny, _> = serde_json::from_slice(tokenizer_json);
    syntax.map_err(wrong)?;
    Tokenizer::from_bytes(tokenizer_json).map_err(wrong)
}

pub fn wrong(error: impl std::fmt::Display) -> ModelError {
    ModelError::Tokenizer(error.to_string())
}

pub struct TextEncoder {
    tokenizer: Tokenizer,
    max_text_size_bytes: usize,
    /// Fills rows up to the batch's length; the attention mask hides it.
    pub padding_id: i64,
}

impl TextEncoder {
    pub fn new(tokenizer_json: &[u8], max_tokens: usize) -> Result<Self, ModelError> {
        let mut tokenizer = read(tokenizer_json)?;
        let special = tokenizer
            .get_post_processor()
            .map_or(0, |processor| processor.added_tokens(false));
        if special >= max_tokens {
            return Err(ModelError::Tokenizer(format!(
                "it adds {special} special tokens, which leaves no room in maxTokens ({max_tokens})"
            )));
        }
        let padding_id = padding_id(&tokenizer);
        // What the file says about truncation and padding is replaced: model.json decides.
        let truncation = TruncationParams {
            max_length: max_tokens,
            stride: 0,
            ..TruncationParams::default()
        };
        tokenizer.with_truncation(Some(truncation)).map_err(wrong)?;
        tokenizer.with_padding(None);
        Ok(Self {
            tokenizer,
            max_text_size_bytes: max_tokens.saturating_mul(MAX_BYTES_A_TOKEN),
            padding_id,
        })
    }

    pub fn encode(&self, text: &str) -> Result<Tokens, ModelError> {
        let kept = &text[..text.floor_char_boundary(self.max_text_size_bytes)];
        let encoding = self
            .tokenizer
            .encode_fast(kept, true)
            .map_err(|error| ModelError::Tokenizer(error.to_string()))?;
        Ok(Tokens {
            ids: encoding.get_ids().iter().map(|&id| i64::from(id)).collect(),
            truncated: kept.len() < text.len() || !encoding.get_overflowing().is_empty(),
        })
    }
}

fn padding_id(tokenizer: &Tokenizer) -> i64 {
    let named = ["[PAD]", "<pad>"]
        .iter()
        .find_map(|token| tokenizer.token_to_id(token));
    tokenizer
        .get_padding()
        .map(|padding| padding.pad_id)
        .or(named)
        .unwrap_or(0)
        .into()
}
