//! One session with its tokenizer and labels. Owned by one thread, since a session runs one batch at a time.

use std::path::Path;

use ort::session::Session;
use ort::value::TensorRef;

use super::onnx::{self, Shapes};
use super::{ModelError, TextEncoder, Tokens, confidence};
use crate::artifact::{Checked, ClassifierManifest, ClassifierProbe, Padding};

/// Texts in one run. Measured on MiniLM, 32 tokens, one AVX2 core: a batch of 4 costs 7 % less per text than single runs
/// with int8 weights and 20 % less with fp32, a batch of 8 no less than one of 4 - and every text waits for the whole batch.
pub const MAX_BATCH_TEXTS: usize = 4;
const WARM_UP_ROUNDS: usize = 3;
const WARM_UP_TOKENS: [usize; 5] = [8, 16, 32, 64, 128];

/// The answer to one text.
#[derive(Debug, Clone, PartialEq)]
pub struct Prediction {
    /// In the order of the labels; adds up to 1.
    pub probabilities: Vec<f32>,
    /// Index of the most probable label.
    pub best: usize,
}

impl Prediction {
    /// Probability of the best label.
    pub fn confidence(&self) -> f32 {
        self.probabilities[self.best]
    }
}

pub struct Classifier {
    session: Session,
    encoder: TextEncoder,
    labels: Vec<String>,
    temperature: f32,
    padding: Padding,
    max_tokens: usize,
    /// Input tensors, kept between runs.
    ids: Vec<i64>,
    mask: Vec<i64>,
}

impl Classifier {
    /// Loads the artifact, warms it up and holds it to its golden probes.
    pub fn load(
        artifact: Checked<ClassifierManifest, ClassifierProbe>,
        library: &Path,
        threads: usize,
    ) -> Result<Self, ModelError> {
        let manifest = artifact.manifest;
        let max_tokens = manifest.max_tokens.get();
        let encoder = TextEncoder::new(&artifact.tokenizer, max_tokens)?;
        let session = onnx::open(library, &artifact.graph, threads, Shapes::Few)?;
        let fixed_tokens = (manifest.padding == Padding::MaxLength).then_some(max_tokens);
        onnx::check_signature(&session, manifest.labels.len(), fixed_tokens)?;
        let mut classifier = Self {
            session,
            encoder,
            labels: manifest.labels,
            temperature: manifest.temperature,
            padding: manifest.padding,
            max_tokens,
            ids: Vec::new(),
            mask: Vec::new(),
        };
        classifier.warm_up(&artifact.probes[0].input)?;
        classifier.check_probes(&artifact.probes)?;
        Ok(classifier)
    }

    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    pub fn encode(&self, text: &str) -> Result<Tokens, ModelError> {
        self.encoder.encode(text)
    }

    /// Runs up to [`MAX_BATCH_TEXTS`] texts at once; one prediction a text, in order.
    pub fn run(&mut self, batch: &[&Tokens]) -> Result<Vec<Prediction>, ModelError> {
        let (texts, tokens) = (batch.len(), self.batch_tokens(batch));
        self.fill(batch, tokens);
        let broken = |message: String| ModelError::Run {
            texts,
            tokens,
            message,
        };
        let failed = |error: ort::Error| broken(error.to_string());
        let shape = [texts, tokens];
        let outputs = self
            .session
            .run(ort::inputs! {
                onnx::INPUT_IDS => TensorRef::from_array_view((shape, self.ids.as_slice())).map_err(failed)?,
                onnx::ATTENTION_MASK => TensorRef::from_array_view((shape, self.mask.as_slice())).map_err(failed)?,
            })
            .map_err(failed)?;
        let (_, logits) = outputs[onnx::LOGITS]
            .try_extract_tensor::<f32>()
            .map_err(failed)?;
        let labels = self.labels.len();
        if logits.len() != texts * labels {
            return Err(broken(format!(
                "it answers {} logits instead of {}",
                logits.len(),
                texts * labels
            )));
        }
        logits
            .chunks_exact(labels)
            .map(|logits| predict(logits, self.temperature))
            .collect()
    }

    /// Sequence length of a run; at least 1, since an empty dimension is not a text.
    fn batch_tokens(&self, batch: &[&Tokens]) -> usize {
        match self.padding {
            Padding::MaxLength => self.max_tokens,
            Padding::Longest => batch
                .iter()
                .map(|tokens| tokens.ids.len())
                .max()
                .unwrap_or(0)
                .max(1),
        }
    }

    fn fill(&mut self, batch: &[&Tokens], tokens: usize) {
        self.ids.clear();
        self.mask.clear();
        for text in batch {
            let row_end = self.ids.len() + tokens;
            self.ids.extend_from_slice(&text.ids);
            self.mask.resize(self.ids.len(), 1);
            self.ids.resize(row_end, self.encoder.padding_id);
            self.mask.resize(row_end, 0);
        }
    }

    /// Runs every shape class a few times, so that memory is claimed, weights are packed and the first request is as fast as
    /// the thousandth. The largest batch shows at once whether the memory limit is enough.
    fn warm_up(&mut self, text: &str) -> Result<(), ModelError> {
        let longest = self
            .encode(&format!("{text} ").repeat(self.max_tokens))?
            .ids;
        let lengths = WARM_UP_TOKENS
            .iter()
            .copied()
            .filter(|&it| it < longest.len())
            .chain([longest.len()]);
        for length in lengths {
            let tokens = Tokens {
                ids: longest[..length].to_vec(),
                truncated: false,
            };
            for texts in [1, MAX_BATCH_TEXTS] {
                for _ in 0..WARM_UP_ROUNDS {
                    self.run(&vec![&tokens; texts])?;
                }
            }
        }
        Ok(())
    }

    fn check_probes(&mut self, probes: &[ClassifierProbe]) -> Result<(), ModelError> {
        for (index, probe) in probes.iter().enumerate() {
            let tokens = self.encode(&probe.input)?;
            let predictions = self.run(&[&tokens])?;
            let prediction = &predictions[0];
            let (label, probability) = (&self.labels[prediction.best], prediction.confidence());
            if *label != probe.label || (probability - probe.probability).abs() > probe.tolerance {
                return Err(ModelError::Probe {
                    number: index + 1,
                    input: probe.input.chars().take(80).collect(),
                    expected: format!(
                        "{} at {:.3} +- {:.3}",
                        probe.label, probe.probability, probe.tolerance
                    ),
                    got: format!(
                        "{label} at {probability:.3}; pack model and probes again from the same training run"
                    ),
                });
            }
        }
        Ok(())
    }
}

fn predict(logits: &[f32], temperature: f32) -> Result<Prediction, ModelError> {
    let probabilities =
        confidence::probabilities(logits, temperature).ok_or(ModelError::NotFinite)?;
    Ok(Prediction {
        best: confidence::best(&probabilities),
        probabilities,
    })
}
