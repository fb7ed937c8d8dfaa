//! Between text and tokens.

use tokenizers::Tokenizer;

use crate::model::ModelError;
use crate::model::text::{self, wrong};

/// Longest special token or word of a vocabulary in use is shorter: a text with more bytes a token of context cannot fit, and
/// is refused before it is tokenised.
const MAX_BYTES_A_TOKEN: usize = 64;

pub struct Vocabulary {
    tokenizer: Tokenizer,
    max_text_size_bytes: usize,
}

/// Whether a tokenizer adds its own special tokens, such as a first one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpecialTokens {
    Add,
    /// The chat template has written them.
    Written,
}

impl Vocabulary {
    /// `context_tokens` bounds the texts that are looked at.
    pub fn new(tokenizer_json: &[u8], context_tokens: usize) -> Result<Self, ModelError> {
        let mut tokenizer = text::read(tokenizer_json)?;
        // What the file says about truncation and padding is replaced: a prompt is refused, never cut.
        tokenizer.with_truncation(None).map_err(wrong)?;
        tokenizer.with_padding(None);
        Ok(Self {
            tokenizer,
            max_text_size_bytes: context_tokens.saturating_mul(MAX_BYTES_A_TOKEN),
        })
    }

    /// Tokens of the tokenizer.
    pub fn size(&self) -> usize {
        self.tokenizer.get_vocab_size(true)
    }

    pub fn token(&self, text: &str) -> Option<u32> {
        self.tokenizer.token_to_id(text)
    }

    /// `None` where the text cannot fit into the context, whatever its tokens are.
    pub fn encode(
        &self,
        text: &str,
        special: SpecialTokens,
    ) -> Result<Option<Vec<u32>>, ModelError> {
        if text.len() > self.max_text_size_bytes {
            return Ok(None);
        }
        let encoding = self
            .tokenizer
            .encode_fast(text, special == SpecialTokens::Add)
            .map_err(wrong)?;
        Ok(Some(encoding.get_ids().to_vec()))
    }
}

/// The text of an answer that grows: a token may be a part of a character only, which is held back until it is whole.
#[derive(Debug, Default)]
pub struct TextStream {
    ids: Vec<u32>,
    prefix: String,
    prefix_index: usize,
}

impl TextStream {
    /// Text that the next token completes; empty where it completes none.
    pub fn push(&mut self, vocabulary: &Vocabulary, token: u32) -> Result<String, ModelError> {
        let text = tokenizers::tokenizer::step_decode_stream(
            &vocabulary.tokenizer,
            vec![token],
            true,
            &mut self.ids,
            &mut self.prefix,
            &mut self.prefix_index,
        );
        Ok(text.map_err(wrong)?.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// One token a byte, as the byte-level tokenizers of small models end up with for rare characters.
    fn bytes() -> Vocabulary {
        let alphabet = tokenizers::pre_tokenizers::byte_level::ByteLevel::alphabet();
        let mut alphabet: Vec<char> = alphabet.into_iter().collect();
        alphabet.sort_unstable();
        let vocab: serde_json::Map<_, _> = alphabet
            .iter()
            .enumerate()
            .map(|(id, character)| (character.to_string(), id.into()))
            .collect();
        let byte_level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
        let tokenizer = json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
            "pre_tokenizer": byte_level, "post_processor": null, "decoder": byte_level,
            "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                      "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "vocab": vocab, "merges": []},
        });
        Vocabulary::new(tokenizer.to_string().as_bytes(), 16).unwrap()
    }

    #[test]
    fn a_character_of_several_tokens_is_shown_whole() {
        let vocabulary = bytes();
        let tokens = vocabulary
            .encode("aé 🦀b", SpecialTokens::Written)
            .unwrap()
            .unwrap();
        let mut stream = TextStream::default();
        let pieces: Vec<String> = tokens
            .iter()
            .map(|&token| stream.push(&vocabulary, token).unwrap())
            .collect();
        assert_eq!(pieces, ["a", "", "é", " ", "", "", "", "🦀", "b"]);
    }

    #[test]
    fn a_text_that_cannot_fit_is_not_tokenised() {
        let text = "a".repeat(16 * MAX_BYTES_A_TOKEN + 1);
        assert_eq!(bytes().encode(&text, SpecialTokens::Written).unwrap(), None);
    }
}
