//! The decoder's graph: tokens in, logits of the last one out, keys and values kept between runs.
//!
//! Inputs: `input_ids` int64 `[1,S]`, `seqlens_k` int32 `[1]` (valid length with the new tokens, less 1),
//! `total_sequence_length` int32 `[1]`, `num_logits` int64 `[1]` (logits of the last so many tokens), and for every layer
//! `past_key_values.N.key` and `.value` float32 `[1,heads,capacity,size]`. Outputs: `logits` float32 `[1,num_logits,vocabulary]`
//! and `present.N.key` and `.value`. Past and present are the same memory: `GroupQueryAttention` then writes the new tokens in
//! place, so a step copies nothing and a sequence's memory is known when it begins.

use std::path::Path;

use ort::memory::Allocator;
use ort::session::{IoBinding, Session};
use ort::value::{Outlet, Tensor, TensorElementType};

use crate::model::ModelError;
use crate::model::onnx::{self, Shapes};

const SEQUENCE_LENGTH: &str = "seqlens_k";
const TOTAL_LENGTH: &str = "total_sequence_length";
const LOGITS_WANTED: &str = "num_logits";

/// Sizes that the graph's signature gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dimensions {
    pub layers: usize,
    pub heads: usize,
    pub head_size: usize,
    pub vocabulary: usize,
}

impl Dimensions {
    /// Keys and values of one token in all layers.
    pub fn token_size_bytes(self) -> usize {
        2 * self.layers * self.heads * self.head_size * size_of::<f32>()
    }
}

pub struct Decoder {
    session: Session,
    dimensions: Dimensions,
    /// Output of every run, `[1,1,vocabulary]`.
    logits: Tensor<f32>,
}

/// Keys and values of one sequence. The memory is claimed at once and given back when dropped.
pub struct Sequence {
    binding: IoBinding,
    capacity: usize,
    length: usize,
}

impl Decoder {
    pub fn load(library: &Path, graph: &Path, threads: usize) -> Result<Self, ModelError> {
        let session = onnx::open(library, graph, threads, Shapes::Many)?;
        let dimensions = dimensions(&session).map_err(ModelError::Decoder)?;
        let logits = Tensor::new(&Allocator::default(), [1, 1, dimensions.vocabulary])
            .map_err(|error| ModelError::Load(error.to_string()))?;
        Ok(Self {
            session,
            dimensions,
            logits,
        })
    }

    pub fn dimensions(&self) -> Dimensions {
        self.dimensions
    }

    /// A sequence of at most `capacity` tokens.
    pub fn begin(&mut self, capacity: usize) -> Result<Sequence, ModelError> {
        self.bind(capacity)
            .map_err(|error| broken(0, &error.to_string()))
    }

    fn bind(&mut self, capacity: usize) -> ort::Result<Sequence> {
        let Dimensions {
            layers,
            heads,
            head_size,
            ..
        } = self.dimensions;
        let allocator = Allocator::default();
        let mut binding = self.session.create_binding()?;
        binding.bind_input(LOGITS_WANTED, &Tensor::from_array(([1], vec![1_i64]))?)?;
        binding.bind_output(onnx::LOGITS, &mut self.logits)?;
        // Nobody reads a position before it is written: the memory need not be cleared, and is touched as the answer grows.
        for name in (0..layers).flat_map(cache_names) {
            let mut cache = Tensor::<f32>::new(&allocator, [1, heads, capacity, head_size])?;
            binding.bind_input(name.past, &cache)?;
            binding.bind_output(name.present, &mut cache)?;
        }
        Ok(Sequence {
            binding,
            capacity,
            length: 0,
        })
    }

    /// Runs the next tokens of a sequence, at least one and no more than it has room for; logits of the last.
    pub fn run(&mut self, sequence: &mut Sequence, tokens: &[u32]) -> Result<&[f32], ModelError> {
        let total = sequence.length + tokens.len();
        if tokens.is_empty() || total > sequence.capacity {
            return Err(broken(
                tokens.len(),
                &format!("{total} tokens in a sequence of {}", sequence.capacity),
            ));
        }
        self.run_bound(sequence, tokens, total)
            .map_err(|error| broken(tokens.len(), &error.to_string()))?;
        sequence.length = total;
        Ok(self.logits.extract_tensor().1)
    }

    fn run_bound(
        &mut self,
        sequence: &mut Sequence,
        tokens: &[u32],
        total: usize,
    ) -> ort::Result<()> {
        let ids: Vec<i64> = tokens.iter().map(|&id| i64::from(id)).collect();
        let total = i32::try_from(total).map_err(ort::Error::wrap)?;
        let scalar = |value: i32| Tensor::from_array(([1], vec![value]));
        let binding = &mut sequence.binding;
        binding.bind_input(onnx::INPUT_IDS, &Tensor::from_array(([1, ids.len()], ids))?)?;
        binding.bind_input(SEQUENCE_LENGTH, &scalar(total - 1)?)?;
        binding.bind_input(TOTAL_LENGTH, &scalar(total)?)?;
        self.session.run_binding(binding)?;
        Ok(())
    }
}

fn broken(tokens: usize, message: &str) -> ModelError {
    ModelError::Run {
        texts: 1,
        tokens,
        message: message.to_owned(),
    }
}

/// Names of one cache tensor.
struct CacheName {
    past: String,
    present: String,
}

fn cache_names(layer: usize) -> impl Iterator<Item = CacheName> {
    ["key", "value"].into_iter().map(move |kind| CacheName {
        past: format!("past_key_values.{layer}.{kind}"),
        present: format!("present.{layer}.{kind}"),
    })
}

/// Reads the sizes and checks that nothing else is asked for or missing.
fn dimensions(session: &Session) -> Result<Dimensions, String> {
    let (inputs, outputs) = (session.inputs(), session.outputs());
    let layers = layers(inputs)?;
    let [_, _, vocabulary] = fixed(expect(outputs, onnx::LOGITS, TensorElementType::Float32)?)?;
    let [_, heads, _, head_size] = cache_shape(inputs, outputs, layers)?;
    if heads == 0 || head_size == 0 || vocabulary == 0 {
        return Err("heads, their size and the vocabulary must be fixed numbers".into());
    }
    Ok(Dimensions {
        layers,
        heads,
        head_size,
        vocabulary,
    })
}

/// Layers whose caches the graph takes, beside the four inputs that every decoder has.
fn layers(inputs: &[Outlet]) -> Result<usize, String> {
    for name in [onnx::INPUT_IDS, LOGITS_WANTED] {
        expect(inputs, name, TensorElementType::Int64)?;
    }
    for name in [SEQUENCE_LENGTH, TOTAL_LENGTH] {
        expect(inputs, name, TensorElementType::Int32)?;
    }
    let layers = inputs.len().saturating_sub(4) / 2;
    if layers > 0 && inputs.len() == 4 + 2 * layers {
        return Ok(layers);
    }
    Err(format!(
        "it has {} inputs; it must have {}, {LOGITS_WANTED}, {SEQUENCE_LENGTH}, {TOTAL_LENGTH} and two past_key_values a layer",
        inputs.len(),
        onnx::INPUT_IDS
    ))
}

/// The shape that past and present of all layers have.
fn cache_shape(inputs: &[Outlet], outputs: &[Outlet], layers: usize) -> Result<[usize; 4], String> {
    let mut shape = None;
    for name in (0..layers).flat_map(cache_names) {
        let past: [usize; 4] = fixed(expect(inputs, &name.past, TensorElementType::Float32)?)?;
        let present = fixed(expect(outputs, &name.present, TensorElementType::Float32)?)?;
        if past != present || *shape.get_or_insert(past) != past {
            return Err(format!("{} has another shape than the others", name.past));
        }
    }
    Ok(shape.unwrap_or_default())
}

fn expect<'a>(
    outlets: &'a [Outlet],
    name: &str,
    element: TensorElementType,
) -> Result<&'a Outlet, String> {
    let outlet = outlets.iter().find(|outlet| outlet.name() == name);
    let outlet = outlet.ok_or_else(|| format!("it has no {name}"))?;
    if outlet.dtype().tensor_type() == Some(element) {
        return Ok(outlet);
    }
    Err(format!(
        "{name} is {}; it must be a tensor of {element}",
        outlet.dtype()
    ))
}

/// The shape of a tensor of `N` dimensions; 0 for one that is not fixed.
fn fixed<const N: usize>(outlet: &Outlet) -> Result<[usize; N], String> {
    let dtype = outlet.dtype();
    let shape: &[i64] = dtype.tensor_shape().map_or(&[], |shape| shape);
    let sizes: Vec<usize> = shape
        .iter()
        .map(|&size| usize::try_from(size).unwrap_or(0))
        .collect();
    sizes
        .try_into()
        .map_err(|_| format!("{} is {dtype}; it must have {N} dimensions", outlet.name()))
}
