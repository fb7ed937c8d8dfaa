//! The way of a request for a generated answer: place in the queue, body, turn, first event - then the answer as it comes, or
//! whole.

use std::time::Instant;

use axum::Json;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use tokio::sync::mpsc;

use super::answer::{Form, Head};
use super::parameters::{Parameters, invalid};
use super::stream;
use crate::http::{ApiError, App, Arrival, body};
use crate::model::{Prompt, PromptError, Settings};
use crate::work::{Event, Full, GenerationJob, Refusal, Turn, events_of};

const MAX_STOPS: usize = 4;
const MAX_STOP_SIZE_BYTES: usize = 256;

/// A parsed request.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    pub form: Form,
    pub prompt: Prompt,
    pub options: Options,
}

/// What both forms have in common.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Options {
    pub model: Option<String>,
    pub max_tokens: Option<usize>,
    pub settings: Settings,
    pub stop: Vec<String>,
    pub stream: bool,
    pub include_usage: bool,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Stops {
    One(String),
    Several(Vec<String>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StreamOptions {
    #[serde(default)]
    include_usage: bool,
    /// Padding of OpenAI's own; off here.
    #[serde(default)]
    include_obfuscation: bool,
}

impl Options {
    /// Takes the common parameters out.
    pub fn take(from: &mut Parameters) -> Result<Self, ApiError> {
        let stream: bool = from.take("stream")?.unwrap_or(false);
        let options: Option<StreamOptions> = from.take("stream_options")?;
        if options.is_some() && !stream {
            return Err(invalid(
                "stream_options",
                "stream_options needs stream: true",
            ));
        }
        if options.as_ref().is_some_and(|it| it.include_obfuscation) {
            return Err(invalid(
                "stream_options",
                "include_obfuscation is not supported; leave it out",
            ));
        }
        let seed: Option<i64> = from.take("seed")?;
        Ok(Self {
            model: from.take("model")?,
            max_tokens: max_tokens(from)?,
            settings: Settings {
                temperature: from.take_number("temperature", 0.0, 2.0)?,
                top_p: from.take_number("top_p", 0.0, 1.0)?,
                seed: seed.map(i64::cast_unsigned),
            },
            stop: stops(from)?,
            stream,
            include_usage: options.is_some_and(|options| options.include_usage),
        })
    }
}

/// `max_tokens` is the old name of `max_completion_tokens`.
fn max_tokens(from: &mut Parameters) -> Result<Option<usize>, ApiError> {
    let old: Option<usize> = from.take("max_tokens")?;
    let new: Option<usize> = from.take("max_completion_tokens")?;
    if old.is_some() && new.is_some() && old != new {
        return Err(invalid(
            "max_tokens",
            "max_tokens and max_completion_tokens differ; send one of them",
        ));
    }
    match new.or(old) {
        Some(0) => Err(invalid("max_tokens", "max_tokens is 0; ask for at least 1")),
        wanted => Ok(wanted),
    }
}

fn stops(from: &mut Parameters) -> Result<Vec<String>, ApiError> {
    let stops = match from.take("stop")? {
        None => Vec::new(),
        Some(Stops::One(stop)) => vec![stop],
        Some(Stops::Several(stops)) => stops,
    };
    let fits = |stop: &String| !stop.is_empty() && stop.len() <= MAX_STOP_SIZE_BYTES;
    if stops.len() > MAX_STOPS || !stops.iter().all(fits) {
        return Err(invalid(
            "stop",
            &format!("stop takes at most {MAX_STOPS} texts of 1 to {MAX_STOP_SIZE_BYTES} bytes"),
        ));
    }
    Ok(stops)
}

/// An answer whose first event has come.
pub struct Begun {
    pub head: Head,
    pub first: Event,
    pub rest: mpsc::Receiver<Event>,
    /// Held until the last byte.
    pub turn: Turn,
}

/// Answers a request that `parse` reads.
pub async fn generate(
    app: &App,
    request: Request,
    parse: impl FnOnce(&[u8]) -> Result<Asked, ApiError>,
) -> Result<Response, ApiError> {
    let arrival = Arrival::of(&request);
    let deadline = arrival + app.max_request;
    let late = |_| late(app);
    let begun = begin(app, request, arrival, deadline, parse);
    let (begun, streamed) = tokio::time::timeout_at(deadline.into(), begun)
        .await
        .map_err(late)??;
    if streamed {
        return Ok(stream::response(begun, app.max_request));
    }
    tokio::time::timeout_at(deadline.into(), whole(app, begun))
        .await
        .map_err(late)?
}

fn late(app: &App) -> ApiError {
    ApiError::Deadline {
        seconds: app.max_request.as_secs(),
    }
}

/// Waits for the first event: until then nothing is sent, so a request that fails has an error's status, and a router can
/// still ask elsewhere.
async fn begin(
    app: &App,
    request: Request,
    arrival: Instant,
    deadline: Instant,
    parse: impl FnOnce(&[u8]) -> Result<Asked, ApiError>,
) -> Result<(Begun, bool), ApiError> {
    let desk = app.generator()?;
    let place = app.admission.enter().map_err(|Full| ApiError::Overloaded)?;
    let body = body::read(request).await?;
    let Asked {
        form,
        prompt,
        options,
    } = parse(&body)?;
    check_model(app, options.model.as_deref())?;
    let turn = place.turn().await;
    let (events, mut rest) = events_of(desk.context_tokens);
    let job = GenerationJob {
        prompt,
        max_tokens: options.max_tokens,
        settings: options.settings,
        stop: options.stop,
        queued_at: arrival,
        deadline,
        events,
    };
    desk.jobs.send(job).await.map_err(|_| gone())?;
    let first = match rest.recv().await.ok_or_else(gone)? {
        Event::Refused(refusal) => return Err(refused(form, &refusal)),
        event => good(app.max_request.as_secs(), event)?,
    };
    let begun = Begun {
        head: Head::new(form, &app.model_name, options.include_usage),
        first,
        rest,
        turn,
    };
    Ok((begun, options.stream))
}

fn check_model(app: &App, model: Option<&str>) -> Result<(), ApiError> {
    match model {
        Some(model) if model != app.model_name => Err(ApiError::UnknownModel(format!(
            "there is no model {model:?} here; this engine serves {:?}",
            app.model_name
        ))),
        _ => Ok(()),
    }
}

/// The engine thread ended: it is being stopped, or it failed.
pub fn gone() -> ApiError {
    ApiError::Model("the engine is stopping; try again".into())
}

/// The event, or the error that it tells.
pub fn good(max_request_seconds: u64, event: Event) -> Result<Event, ApiError> {
    match event {
        Event::Text(_) | Event::Done(..) => Ok(event),
        Event::Refused(refusal) => Err(ApiError::Invalid(refusal.to_string())),
        Event::Failed(error) => Err(error.into()),
        Event::Late => Err(ApiError::Deadline {
            seconds: max_request_seconds,
        }),
    }
}

fn refused(form: Form, refusal: &Refusal) -> ApiError {
    let code = match refusal {
        Refusal::Prompt(PromptError::Model(message)) => return ApiError::Model(message.clone()),
        Refusal::Prompt(PromptError::Template(_) | PromptError::Empty) => "invalid_value",
        Refusal::Prompt(PromptError::TooLong { .. }) | Refusal::TooLong { .. } => {
            "context_length_exceeded"
        }
    };
    let name = match form {
        Form::Chat => "messages",
        Form::Completion => "prompt",
    };
    ApiError::Parameter {
        name: name.into(),
        code,
        message: refusal.to_string(),
    }
}

async fn whole(app: &App, begun: Begun) -> Result<Response, ApiError> {
    let Begun {
        head,
        first,
        mut rest,
        turn,
    } = begun;
    let mut text = String::new();
    let mut event = first;
    let (finish, usage) = loop {
        match good(app.max_request.as_secs(), event)? {
            Event::Text(piece) => text.push_str(&piece),
            Event::Done(finish, usage) => break (finish, usage),
            Event::Refused(_) | Event::Failed(_) | Event::Late => return Err(gone()),
        }
        event = rest.recv().await.ok_or_else(gone)?;
    };
    drop(turn);
    Ok(Json(head.whole(&text, finish, usage)).into_response())
}
