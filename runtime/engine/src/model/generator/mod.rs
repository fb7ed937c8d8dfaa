//! A text generator: prompt in, one token after the other out. Owned by one thread.

mod decoder;
mod sampler;
mod stop;
mod template;
mod vocabulary;

use std::path::Path;

use super::ModelError;
use crate::artifact::{Checked, GeneratorManifest, GeneratorProbe, Sampling};

use decoder::{Decoder, Sequence};
use sampler::{Choice, Sampler};
use template::ChatTemplate;
use vocabulary::{SpecialTokens, Vocabulary};

pub use stop::StopText;
pub use template::{Message, Role};
pub use vocabulary::TextStream;

/// Tokens of a prompt that run together. Chunks of a prompt give the same logits as the whole; between two of them the other
/// answers go on.
const CHUNK_TOKENS: usize = 64;
/// Shapes a warm-up runs: a few chunks and a few single tokens.
const WARM_UP_TOKENS: usize = 3 * CHUNK_TOKENS;
const WARM_UP_STEPS: usize = 8;
/// Longest answer to a golden probe.
const PROBE_TOKENS: usize = 64;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prompt {
    /// Goes through the chat template.
    Chat(Vec<Message>),
    /// Goes to the model as it is.
    Text(String),
}

/// How an answer is sampled; what is left out follows the model's maker.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Settings {
    pub temperature: Option<f32>,
    pub top_p: Option<f32>,
    pub seed: Option<u64>,
}

/// Why a prompt cannot be answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PromptError {
    #[error("the model's chat template does not take these messages: {0}")]
    Template(String),
    #[error("the prompt has no token; send a text")]
    Empty,
    #[error("the prompt is longer than the model's context of {context} tokens; shorten it")]
    TooLong { context: usize },
    #[error("{0}")]
    Model(String),
}

pub struct Generator {
    decoder: Decoder,
    vocabulary: Vocabulary,
    template: ChatTemplate,
    end_tokens: Vec<u32>,
    sampling: Sampling,
    context_tokens: usize,
}

/// An answer that is being generated; its keys and values are freed when it is dropped.
pub struct Generation {
    sequence: Sequence,
    /// Not run yet: the rest of the prompt, then the last sampled token.
    ahead: Vec<u32>,
    sampler: Sampler,
}

/// What one step brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A part of the prompt was read.
    Read,
    /// The next token of the answer.
    Token(u32),
    /// The model ended its answer.
    End,
}

impl Generator {
    /// Loads the artifact, warms it up and holds it to its golden probes.
    pub fn load(
        artifact: Checked<GeneratorManifest, GeneratorProbe>,
        chat_template: String,
        library: &Path,
        threads: usize,
    ) -> Result<Self, ModelError> {
        let manifest = artifact.manifest;
        let context_tokens = manifest.context_tokens.get();
        let vocabulary = Vocabulary::new(&artifact.tokenizer, context_tokens)?;
        let end_tokens = end_tokens(&vocabulary, &manifest.end_tokens)?;
        let end_token = manifest.end_tokens.into_iter().next().unwrap_or_default();
        let mut generator = Self {
            decoder: Decoder::load(library, &artifact.graph, threads)?,
            vocabulary,
            template: ChatTemplate::new(chat_template, manifest.begin_token, end_token)?,
            end_tokens,
            sampling: manifest.sampling,
            context_tokens,
        };
        generator.check_vocabulary()?;
        generator.warm_up(&artifact.probes[0].input)?;
        generator.check_probes(&artifact.probes)?;
        Ok(generator)
    }

    fn check_vocabulary(&self) -> Result<(), ModelError> {
        let (tokens, logits) = (self.vocabulary.size(), self.decoder.dimensions().vocabulary);
        if tokens <= logits {
            return Ok(());
        }
        Err(ModelError::Decoder(format!(
            "it has {logits} logits for the tokenizer's {tokens} tokens; pack both from the same model"
        )))
    }

    /// Most tokens of prompt and answer together.
    pub fn context_tokens(&self) -> usize {
        self.context_tokens
    }

    /// Memory of keys and values.
    pub fn token_size_bytes(&self) -> usize {
        self.decoder.dimensions().token_size_bytes()
    }

    /// The tokens of a prompt; at least one, and room for an answer is left in the context.
    pub fn read(&self, prompt: &Prompt) -> Result<Vec<u32>, PromptError> {
        let tokens = match prompt {
            Prompt::Chat(messages) => {
                let text = self.template.render(messages);
                let text = text.map_err(PromptError::Template)?;
                self.vocabulary.encode(&text, SpecialTokens::Written)
            }
            Prompt::Text(text) => self.vocabulary.encode(text, SpecialTokens::Add),
        };
        let context = self.context_tokens;
        match tokens.map_err(|error| PromptError::Model(error.to_string()))? {
            None => Err(PromptError::TooLong { context }),
            Some(tokens) if tokens.is_empty() => Err(PromptError::Empty),
            Some(tokens) if tokens.len() >= context => Err(PromptError::TooLong { context }),
            Some(tokens) => Ok(tokens),
        }
    }

    /// Claims the memory of an answer with at most `max_tokens`; `random` is the seed of a request that names none.
    pub fn begin(
        &mut self,
        prompt: Vec<u32>,
        max_tokens: usize,
        settings: &Settings,
        random: u64,
    ) -> Result<Generation, ModelError> {
        let choice = Choice {
            temperature: settings.temperature.unwrap_or(self.sampling.temperature),
            top_p: settings.top_p.unwrap_or(self.sampling.top_p),
        };
        Ok(Generation {
            sequence: self.decoder.begin(prompt.len() + max_tokens)?,
            ahead: prompt,
            sampler: Sampler::new(choice, settings.seed.unwrap_or(random)),
        })
    }

    /// Reads the next chunk of the prompt, or finds the next token.
    pub fn step(&mut self, generation: &mut Generation) -> Result<Step, ModelError> {
        let Generation {
            sequence,
            ahead,
            sampler,
        } = generation;
        let chunk = ahead.len().min(CHUNK_TOKENS);
        let logits = self.decoder.run(sequence, &ahead[..chunk])?;
        ahead.drain(..chunk);
        if !ahead.is_empty() {
            return Ok(Step::Read);
        }
        let token = sampler.next(logits).ok_or(ModelError::NotFinite)?;
        if self.end_tokens.contains(&token) {
            return Ok(Step::End);
        }
        ahead.push(token);
        Ok(Step::Token(token))
    }

    /// Text that a token completes.
    pub fn text(&self, stream: &mut TextStream, token: u32) -> Result<String, ModelError> {
        stream.push(&self.vocabulary, token)
    }

    /// Runs long and short shapes, so that memory is claimed, weights are packed and the first request is as fast as the
    /// thousandth.
    fn warm_up(&mut self, text: &str) -> Result<(), ModelError> {
        let tokens = self.vocabulary.encode(text, SpecialTokens::Written)?;
        let tokens = tokens.unwrap_or_default().into_iter().cycle();
        let room = self.context_tokens.saturating_sub(WARM_UP_STEPS).max(1);
        let prompt: Vec<u32> = tokens.take(WARM_UP_TOKENS.min(room)).collect();
        if prompt.is_empty() {
            return Err(ModelError::Tokenizer(format!("{text:?} has no tokens")));
        }
        let (first, steps) = (prompt[0], self.context_tokens - prompt.len());
        let mut sequence = self.decoder.begin(self.context_tokens)?;
        for chunk in prompt.chunks(CHUNK_TOKENS) {
            self.decoder.run(&mut sequence, chunk)?;
        }
        for _ in 0..steps.min(WARM_UP_STEPS) {
            self.decoder.run(&mut sequence, &[first])?;
        }
        Ok(())
    }

    fn check_probes(&mut self, probes: &[GeneratorProbe]) -> Result<(), ModelError> {
        for (index, probe) in probes.iter().enumerate() {
            let answer = self.answer_probe(probe)?;
            if !answer.starts_with(&probe.answer_prefix) {
                return Err(ModelError::Probe {
                    number: index + 1,
                    input: probe.input.chars().take(80).collect(),
                    expected: format!("{:?}", probe.answer_prefix),
                    got: format!(
                        "{answer:?}; pack graph, tokenizer, template and probes again from the same model"
                    ),
                });
            }
        }
        Ok(())
    }

    /// The most probable answer, as far as the probe looks at it.
    fn answer_probe(&mut self, probe: &GeneratorProbe) -> Result<String, ModelError> {
        let message = Message {
            role: Role::User,
            content: probe.input.clone(),
        };
        let prompt = self
            .read(&Prompt::Chat(vec![message]))
            .map_err(|error| ModelError::Template(error.to_string()))?;
        let room = PROBE_TOKENS.min(self.context_tokens - prompt.len());
        let greedy = Settings {
            temperature: Some(0.0),
            ..Settings::default()
        };
        let mut generation = self.begin(prompt, room, &greedy, 0)?;
        let (mut stream, mut answer) = (TextStream::default(), String::new());
        let mut tokens = 0;
        while tokens < room && answer.len() < probe.answer_prefix.len() {
            match self.step(&mut generation)? {
                Step::Read => {}
                Step::End => break,
                Step::Token(token) => {
                    tokens += 1;
                    answer += &self.text(&mut stream, token)?;
                }
            }
        }
        Ok(answer)
    }
}

/// Ids of the tokens that end an answer.
fn end_tokens(vocabulary: &Vocabulary, texts: &[String]) -> Result<Vec<u32>, ModelError> {
    let id = |text: &String| {
        vocabulary.token(text).ok_or_else(|| {
            ModelError::Tokenizer(format!("it has no token {text:?}, which endTokens names"))
        })
    };
    texts.iter().map(id).collect()
}
