//! The simple form: `POST /v1/classify` with one text or several.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::{any, post};
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};

use super::exchange::{Question, exchange};
use super::{ApiError, App, body};
use crate::config::Task;
use crate::model::Prediction;
use crate::work::{Answer, ClassifierDesk};

const EXAMPLE: &str = r#"{"text": "..."} or {"texts": ["...", "..."]}"#;

pub fn routes(task: Task) -> Router<Arc<App>> {
    if task != Task::TextClassification {
        return Router::new().route("/v1/classify", any(super::wrong_task));
    }
    Router::new().route(
        "/v1/classify",
        post(classify).fallback(async || ApiError::Method { allowed: "POST" }),
    )
}

async fn classify(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    exchange(&app, request, parse, render).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClassifyRequest {
    text: Option<String>,
    texts: Option<Vec<String>>,
}

/// Whether one text was asked for or a list, even a list of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    One,
    List,
}

pub fn parse(bytes: &[u8]) -> Result<Question<Form>, ApiError> {
    let request: ClassifyRequest = body::parse_json(bytes, EXAMPLE)?;
    match (request.text, request.texts) {
        (Some(text), None) => Ok(Question {
            texts: vec![text],
            rest: Form::One,
        }),
        (None, Some(texts)) => Ok(Question {
            texts,
            rest: Form::List,
        }),
        _ => Err(ApiError::Invalid(format!(
            "exactly one of text and texts is expected; send {EXAMPLE}"
        ))),
    }
}

#[derive(Serialize)]
struct Classification {
    label: String,
    score: f32,
    #[serde(serialize_with = "by_label")]
    scores: (Arc<[String]>, Vec<f32>),
}

#[derive(Serialize)]
#[serde(untagged)]
enum ClassifyResponse {
    One(Classification),
    List { results: Vec<Classification> },
}

/// An object of label and probability, in the order of the model's labels.
fn by_label<S: Serializer>(
    (labels, scores): &(Arc<[String]>, Vec<f32>),
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(labels.len()))?;
    for (label, score) in labels.iter().zip(scores) {
        map.serialize_entry(label, score)?;
    }
    map.end()
}

fn render(form: Form, answer: &Answer, desk: &ClassifierDesk) -> ClassifyResponse {
    let mut results = answer
        .predictions
        .iter()
        .map(|prediction| classification(prediction, &desk.labels));
    match form {
        Form::One => ClassifyResponse::One(
            results
                .next()
                .expect("an answer has a prediction for every text"),
        ),
        Form::List => ClassifyResponse::List {
            results: results.collect(),
        },
    }
}

fn classification(prediction: &Prediction, labels: &Arc<[String]>) -> Classification {
    Classification {
        label: labels[prediction.best].clone(),
        score: prediction.confidence(),
        scores: (Arc::clone(labels), prediction.probabilities.clone()),
    }
}
