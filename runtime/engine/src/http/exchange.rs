//! The way of a request that needs the model: place in the queue, body, texts, turn, answer - all within its deadline.

use axum::Json;
use axum::extract::Request;
use axum::http::HeaderValue;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use std::time::Instant;
use tokio::sync::oneshot;

use super::{ApiError, App, Arrival, CONFIDENCE_HEADER, TRUNCATED_HEADER, body};
use crate::work::{Answer, ClassifierDesk, Full, Job};

/// A parsed request: the texts, and what else the answer depends on.
pub struct Question<Q> {
    pub texts: Vec<String>,
    pub rest: Q,
}

/// Answers a request. `parse` reads the protocol's body, `render` writes its answer.
pub async fn exchange<Q, A: Serialize>(
    app: &App,
    request: Request,
    parse: impl FnOnce(&[u8]) -> Result<Question<Q>, ApiError>,
    render: impl FnOnce(Q, &Answer, &ClassifierDesk) -> A,
) -> Result<Response, ApiError> {
    let arrival = Arrival::of(&request);
    let deadline = arrival + app.max_request;
    let answered = async {
        let desk = app.classifier()?;
        let place = app.admission.enter().map_err(|Full| ApiError::Overloaded)?;
        let body = body::read(request).await?;
        let question = parse(&body)?;
        body::check_texts(&question.texts)?;
        let _turn = place.turn().await;
        let answer = ask(desk, question.texts, arrival, deadline).await?;
        Ok(with_facts(
            &answer,
            Json(render(question.rest, &answer, desk)).into_response(),
        ))
    };
    let late = |_| ApiError::Deadline {
        seconds: app.max_request.as_secs(),
    };
    tokio::time::timeout_at(deadline.into(), answered)
        .await
        .map_err(late)?
}

async fn ask(
    desk: &ClassifierDesk,
    texts: Vec<String>,
    queued_at: Instant,
    deadline: Instant,
) -> Result<Answer, ApiError> {
    let gone = || ApiError::Model("the engine is stopping; try again".into());
    let (answer, answered) = oneshot::channel();
    desk.jobs
        .send(Job {
            texts,
            queued_at,
            deadline,
            answer,
        })
        .await
        .map_err(|_| gone())?;
    // The worker drops a job only when its deadline has passed, which the caller notices itself, or when it ends.
    Ok(answered.await.map_err(|_| gone())??)
}

/// Facts about an answer are told in headers, never in the protocols' fixed bodies.
fn with_facts(answer: &Answer, mut response: Response) -> Response {
    let confidence = answer
        .predictions
        .iter()
        .map(crate::model::Prediction::confidence)
        .fold(1.0, f32::min);
    let value = HeaderValue::from_str(&format!("{confidence:.4}"))
        .expect("digits and a point make a header's value");
    response.headers_mut().insert(CONFIDENCE_HEADER, value);
    if answer.truncated {
        response
            .headers_mut()
            .insert(TRUNCATED_HEADER, HeaderValue::from_static("true"));
    }
    response
}
