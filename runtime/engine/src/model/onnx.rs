//! ONNX Runtime: its library, a session for a graph, and what a classifier's graph must look like.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use ort::environment::Environment;
use ort::logging::LogLevel;
use ort::session::Session;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::value::{Outlet, TensorElementType};

use super::ModelError;

pub const INPUT_IDS: &str = "input_ids";
pub const ATTENTION_MASK: &str = "attention_mask";
pub const LOGITS: &str = "logits";

/// ONNX Runtime allows one environment a process, and its library cannot be unloaded.
static ENVIRONMENT: Mutex<Option<(PathBuf, Environment)>> = Mutex::new(None);

/// The process's environment, made at the first call.
fn environment(library: &Path) -> Result<Environment, ModelError> {
    let mut held = ENVIRONMENT
        .lock()
        .expect("nothing panics while it holds the environment");
    if let Some((path, environment)) = held.as_ref() {
        if path != library {
            return Err(ModelError::Runtime(format!(
                "this process already uses {}",
                path.display()
            )));
        }
        return Ok(environment.clone());
    }
    // `init_from` returns an error where `ort::init` would panic.
    let environment = ort::init_from(library)
        .map_err(|error| ModelError::Runtime(error.to_string()))?
        .with_name("smallfleet")
        .with_telemetry(false)
        .build()
        .map_err(|error| ModelError::Runtime(error.to_string()))?;
    environment.set_log_level(LogLevel::Warning);
    *held = Some((library.to_owned(), environment.clone()));
    Ok(environment)
}

/// How many different shapes a session's inputs will have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shapes {
    /// ONNX Runtime plans the memory of each once and keeps the plan.
    Few,
    /// A plan a shape would be kept for ever and never be used again.
    Many,
}

/// Fusions that cost more than they save: in ONNX Runtime 1.31 the fused kernel works without vector instructions. MiniLM int8 of
/// one thread answers 1.4 times as many texts of 28 tokens a second without it (`make bench BENCH=classify`).
const SLOW_FUSIONS: &str = "SkipLayerNormFusion";

/// Loads a graph. The file must have been checked for external data.
pub fn open(
    library: &Path,
    graph: &Path,
    threads: usize,
    shapes: Shapes,
) -> Result<Session, ModelError> {
    let environment = environment(library)?;
    options(&environment, threads, shapes)
        .and_then(|mut builder| builder.commit_from_file(graph))
        .map_err(|error| ModelError::Load(error.to_string()))
}

fn options(
    environment: &Environment,
    threads: usize,
    shapes: Shapes,
) -> ort::Result<SessionBuilder> {
    let builder = Session::builder(environment)?
        .with_optimization_level(GraphOptimizationLevel::All)?
        .with_intra_threads(threads)?
        .with_inter_threads(1)?
        // Stable and candidate share the node's cores: a thread that spins takes them from the other arm.
        .with_intra_op_spinning(false)?
        .with_inter_op_spinning(false)?
        .with_memory_pattern(shapes == Shapes::Few)?
        .with_log_level(LogLevel::Warning)?
        // Never ORT's own format, whatever the file is called: the check before read it as ONNX.
        .with_config_entry("session.load_model_format", "ONNX")?
        .with_config_entry("optimization.disable_specified_optimizers", SLOW_FUSIONS)?;
    Ok(builder)
}

/// Checks names, types and shapes: `input_ids`, `attention_mask` int64 `[B,S]`, `logits` float32 `[B,L]`.
/// `fixed_tokens` is the only sequence length that a graph may be fixed to.
pub fn check_signature(
    session: &Session,
    labels: usize,
    fixed_tokens: Option<usize>,
) -> Result<(), ModelError> {
    let mut names: Vec<&str> = session.inputs().iter().map(Outlet::name).collect();
    names.sort_unstable();
    if names != [ATTENTION_MASK, INPUT_IDS] {
        return Err(ModelError::Signature(format!(
            "its inputs are {}; they must be {INPUT_IDS} and {ATTENTION_MASK}",
            names.join(", ")
        )));
    }
    for input in session.inputs() {
        check_tensor(input, TensorElementType::Int64, fixed_tokens)?;
    }
    let logits = session
        .outputs()
        .iter()
        .find(|output| output.name() == LOGITS);
    let logits =
        logits.ok_or_else(|| ModelError::Signature(format!("it has no output {LOGITS}")))?;
    check_tensor(logits, TensorElementType::Float32, Some(labels))
}

fn check_tensor(
    outlet: &Outlet,
    element: TensorElementType,
    second: Option<usize>,
) -> Result<(), ModelError> {
    let dtype = outlet.dtype();
    let shape: &[i64] = dtype.tensor_shape().map_or(&[], |shape| shape);
    let second_fits =
        |&size: &i64| size == -1 || usize::try_from(size).is_ok_and(|size| Some(size) == second);
    let fits = dtype.tensor_type() == Some(element)
        && shape.len() == 2
        && shape.first() == Some(&-1)
        && shape.get(1).is_some_and(second_fits);
    if fits {
        return Ok(());
    }
    let wanted = second.map_or_else(|| "any".to_owned(), |size| size.to_string());
    Err(ModelError::Signature(format!(
        "{} is {dtype}; it must be Tensor<{element}>(any, {wanted})",
        outlet.name()
    )))
}
