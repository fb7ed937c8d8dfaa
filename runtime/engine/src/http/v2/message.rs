//! Bodies of the Open Inference Protocol. What a request says is honoured or refused, never ignored.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::super::exchange::Question;
use super::super::{ApiError, body};
use crate::work::Answer;

const EXAMPLE: &str =
    r#"{"inputs": [{"name": "text", "shape": [2], "datatype": "BYTES", "data": ["...", "..."]}]}"#;
const MAX_ID_SIZE_BYTES: usize = 256;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InferRequest {
    id: Option<String>,
    #[serde(default)]
    parameters: Map<String, Value>,
    inputs: Vec<Input>,
    #[serde(default)]
    outputs: Vec<RequestedOutput>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    name: String,
    shape: Vec<u64>,
    datatype: String,
    #[serde(default)]
    parameters: Map<String, Value>,
    data: Data,
}

/// The protocol allows a tensor's data flat or nested by rows.
#[derive(Deserialize)]
#[serde(untagged, expecting = "data must be an array of strings")]
enum Data {
    Flat(Vec<String>),
    Rows(Vec<[String; 1]>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RequestedOutput {
    name: Output,
    #[serde(default)]
    parameters: Map<String, Value>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Output {
    Label,
    Score,
    Scores,
}

impl Output {
    const ALL: [Self; 3] = [Self::Label, Self::Score, Self::Scores];
}

/// What an answer repeats of its request.
#[derive(Debug)]
pub struct Asked {
    id: Option<String>,
    outputs: Vec<Output>,
}

pub fn parse(bytes: &[u8]) -> Result<Question<Asked>, ApiError> {
    let request: InferRequest = body::parse_json(bytes, EXAMPLE)?;
    let invalid = |problem: &str| Err(ApiError::Invalid(format!("{problem}; send {EXAMPLE}")));
    if request
        .id
        .as_ref()
        .is_some_and(|id| id.len() > MAX_ID_SIZE_BYTES)
    {
        return invalid("the id is longer than 256 bytes");
    }
    let Ok([input]) = <[Input; 1]>::try_from(request.inputs) else {
        return invalid("exactly one input is expected");
    };
    let parameters = request.outputs.iter().map(|output| &output.parameters);
    if parameters
        .chain([&request.parameters, &input.parameters])
        .any(|it| !it.is_empty())
    {
        return invalid("parameters (such as binary data) are not supported");
    }
    if input.name != "text" || input.datatype != "BYTES" {
        return invalid("the input must be called text and have the datatype BYTES");
    }
    let texts = match input.data {
        Data::Flat(texts) => texts,
        Data::Rows(rows) => rows.into_iter().map(|[text]| text).collect(),
    };
    if !matches!(input.shape[..], [count] | [count, 1] if count == texts.len() as u64) {
        return invalid("the shape must be [n] or [n, 1] for n texts in data");
    }
    Ok(Question {
        texts,
        rest: Asked {
            id: request.id,
            outputs: outputs(&request.outputs)?,
        },
    })
}

fn outputs(requested: &[RequestedOutput]) -> Result<Vec<Output>, ApiError> {
    if requested.is_empty() {
        return Ok(Output::ALL.into());
    }
    let mut outputs = Vec::with_capacity(Output::ALL.len());
    for RequestedOutput { name, .. } in requested {
        if outputs.contains(name) {
            return Err(ApiError::Invalid(
                "an output is asked for twice; name each once".into(),
            ));
        }
        outputs.push(*name);
    }
    Ok(outputs)
}

#[derive(Serialize)]
pub struct InferResponse {
    model_name: String,
    model_version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    outputs: Vec<Tensor>,
}

#[derive(Serialize)]
struct Tensor {
    name: &'static str,
    shape: Vec<usize>,
    datatype: &'static str,
    data: Values,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Values {
    Strings(Vec<String>),
    Numbers(Vec<f32>),
}

pub fn render(
    model_name: &str,
    revision: &str,
    asked: Asked,
    answer: &Answer,
    labels: &[String],
) -> InferResponse {
    InferResponse {
        model_name: model_name.to_owned(),
        model_version: revision.to_owned(),
        id: asked.id,
        outputs: asked
            .outputs
            .into_iter()
            .map(|output| tensor(output, answer, labels))
            .collect(),
    }
}

fn tensor(output: Output, answer: &Answer, labels: &[String]) -> Tensor {
    let predictions = || answer.predictions.iter();
    let texts = answer.predictions.len();
    match output {
        Output::Label => Tensor {
            name: "label",
            shape: vec![texts],
            datatype: "BYTES",
            data: Values::Strings(predictions().map(|it| labels[it.best].clone()).collect()),
        },
        Output::Score => Tensor {
            name: "score",
            shape: vec![texts],
            datatype: "FP32",
            data: Values::Numbers(
                predictions()
                    .map(crate::model::Prediction::confidence)
                    .collect(),
            ),
        },
        Output::Scores => Tensor {
            name: "scores",
            shape: vec![texts, labels.len()],
            datatype: "FP32",
            data: Values::Numbers(
                predictions()
                    .flat_map(|it| it.probabilities.iter().copied())
                    .collect(),
            ),
        },
    }
}

/// Answer of `GET /v2/models/{name}`.
pub fn metadata(model_name: &str, revision: &str, labels: usize) -> Value {
    json!({
        "name": model_name,
        "versions": [revision],
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": "text", "datatype": "BYTES", "shape": [-1]}],
        "outputs": [
            {"name": "label", "datatype": "BYTES", "shape": [-1]},
            {"name": "score", "datatype": "FP32", "shape": [-1]},
            {"name": "scores", "datatype": "FP32", "shape": [-1, labels]},
        ],
    })
}
