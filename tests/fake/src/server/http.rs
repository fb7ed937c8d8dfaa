//! Requests and answers: paths, verbs, queries.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{Method, Request, Response, header};
use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use http_body_util::StreamBody;
use hyper::body::Frame;
use kube::client::Body;
use serde_json::{Value, json};

use super::connection::{Connection, Passage};
use super::kinds::{KINDS, KindIndex};
use super::refusal::Refusal;
use super::selector::Selector;
use super::store::Key;
use super::write::{Deletion, Write};
use super::{FakeServer, Written, lock, watch};

type Frames =
    std::pin::Pin<Box<dyn Stream<Item = Result<Frame<Bytes>, std::convert::Infallible>> + Send>>;

/// Body of an answer.
pub type Answer = Response<StreamBody<Frames>>;

/// What a path names.
#[derive(Debug)]
struct Target {
    kind: KindIndex,
    namespace: Option<String>,
    name: Option<String>,
    status: bool,
}

/// What a write of an operator takes, as on a real server.
const WRITE: Duration = Duration::from_millis(20);

impl Target {
    fn key(&self, name: &str) -> Key {
        Key::new(
            self.kind,
            self.namespace.as_deref().unwrap_or_default(),
            name,
        )
    }
}

/// `/api/v1/...` or `/apis/<group>/<version>/...`.
fn target(path: &str) -> Option<Target> {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let (group, version, rest) = match parts.as_slice() {
        ["api", version, rest @ ..] => ("", *version, rest),
        ["apis", group, version, rest @ ..] => (*group, *version, rest),
        _ => return None,
    };
    let (namespace, rest) = match rest {
        ["namespaces", namespace, rest @ ..] if !rest.is_empty() && rest[0] != "status" => {
            (Some((*namespace).to_owned()), rest)
        }
        rest => (None, rest),
    };
    let plural = *rest.first()?;
    let kind = KINDS
        .iter()
        .position(|kind| kind.group == group && kind.version == version && kind.plural == plural)?;
    Some(Target {
        kind,
        namespace,
        name: rest.get(1).map(|name| (*name).to_owned()),
        status: rest.get(2) == Some(&"status"),
    })
}

fn query(text: &str) -> HashMap<String, String> {
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    let plain = |text: &str| percent_decoded(&text.replace('+', " "));
    pairs
        .map(|(key, value)| (plain(key), plain(value)))
        .collect()
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let mut digit = || char::from(rest.next()?).to_digit(16);
        let decoded = (byte == b'%')
            .then(|| Some(digit()? * 16 + digit()?))
            .flatten();
        bytes.push(decoded.map_or(byte, |decoded| u8::try_from(decoded).unwrap_or(byte)));
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Shedding load, the real server answers with a line of text and no `Status`.
fn throttled() -> Answer {
    let mut answer = text(
        429,
        "Too many requests, please try again later.\n".to_owned(),
    );
    let after = header::HeaderValue::from_static("1");
    answer.headers_mut().insert(header::RETRY_AFTER, after);
    answer
}

/// An injected error.
fn faulty(code: u16) -> Answer {
    match code {
        429 => throttled(),
        code => whole(Err(Refusal::of_fault(code))),
    }
}

fn respond(code: u16, frames: Frames) -> Answer {
    let mut answer = Response::new(StreamBody::new(frames));
    *answer.status_mut() = axum::http::StatusCode::from_u16(code).unwrap_or_default();
    answer
}

fn whole(outcome: Result<Arc<Value>, Refusal>) -> Answer {
    match outcome {
        Ok(body) => text(200, body.to_string()),
        Err(refusal) => text(refusal.code, refusal.body().to_string()),
    }
}

fn text(code: u16, text: String) -> Answer {
    let frame = Frame::data(Bytes::from(text));
    respond(code, Box::pin(stream::iter([Ok(frame)])))
}

impl FakeServer {
    /// Answers one request, or lets it hang where there is no client any more.
    pub(super) async fn answer(&self, connection: &Connection, request: Request<Body>) -> Answer {
        let (parts, body) = request.into_parts();
        let is_write = parts.method != Method::GET;
        let what = format!("{} {}", parts.method, parts.uri.path());
        let passage = connection.pass(&what, is_write);
        match passage {
            Passage::Dead => std::future::pending().await,
            Passage::Refused(code) => return faulty(code),
            Passage::Served
            | Passage::Late(_)
            | Passage::AnswerLost(_)
            | Passage::LastBeforeCrash => {}
        }
        let Some(target) = target(parts.uri.path()) else {
            return whole(Err(Refusal::not_found(parts.uri.path())));
        };
        let query = query(parts.uri.query().unwrap_or_default());
        let bytes = body.collect_bytes().await.unwrap_or_default();
        let answer = match parts.method {
            Method::GET => self.read(connection, &target, &query),
            method => {
                let content = parts.headers.get(header::CONTENT_TYPE);
                let content = content
                    .and_then(|text| text.to_str().ok())
                    .unwrap_or_default();
                let call = Call {
                    target,
                    query,
                    content,
                    method: &method,
                };
                whole(self.write(connection, &call, &bytes))
            }
        };
        match passage {
            Passage::LastBeforeCrash => {
                connection.cut();
                std::future::pending().await
            }
            Passage::Late(seconds) => {
                tokio::time::sleep(Duration::from_secs(seconds)).await;
                answer
            }
            Passage::AnswerLost(code) => faulty(code),
            _ => {
                if is_write && connection.name().starts_with("operator") {
                    // Else two leaders that see things differently answer each other's status for ever, in no time at all.
                    tokio::time::sleep(WRITE).await;
                }
                answer
            }
        }
    }

    fn read(
        &self,
        connection: &Connection,
        target: &Target,
        query: &HashMap<String, String>,
    ) -> Answer {
        if let Some(name) = &target.name {
            let key = target.key(name);
            let found = self.look(|store| store.get(&key).cloned());
            return whole(found.ok_or_else(|| Refusal::not_found(&key.text())));
        }
        let selector = query.get("labelSelector").map_or("", String::as_str);
        let selector = match Selector::parse(selector) {
            Ok(selector) => selector,
            Err(refusal) => return whole(Err(refusal)),
        };
        if query.get("watch").is_some_and(|watch| watch == "true") {
            return self.watch(connection, target, query, selector);
        }
        text(200, self.list(target, &selector))
    }

    /// In one page, whatever limit was asked for, as the real one may.
    fn list(&self, target: &Target, selector: &Selector) -> String {
        let kind = &KINDS[target.kind];
        self.look(|store| {
            let all = store.list(target.kind, target.namespace.as_deref());
            let items = all.filter(|(_, object)| selector.matches(object));
            let items: Vec<String> = items.map(|(_, object)| object.to_string()).collect();
            let head = json!({
                "apiVersion": kind.api_version(),
                "kind": format!("{}List", kind.kind),
                "metadata": {"resourceVersion": store.version().to_string()},
            });
            let head = head.to_string();
            let open = head.trim_end_matches('}');
            // Only the outermost brace and that of metadata were taken off.
            format!("{open}}},\"items\":[{}]}}", items.join(","))
        })
    }

    fn watch(
        &self,
        connection: &Connection,
        target: &Target,
        query: &HashMap<String, String>,
        selector: Selector,
    ) -> Answer {
        let after = query.get("resourceVersion").map_or("0", String::as_str);
        let seconds = query
            .get("timeoutSeconds")
            .and_then(|text| text.parse().ok());
        let wish = watch::Wish {
            kind: target.kind,
            namespace: target.namespace.clone(),
            selector,
            after: after.parse().unwrap_or(0),
            bookmarks: query
                .get("allowWatchBookmarks")
                .is_some_and(|word| word == "true"),
            timeout: Duration::from_secs(seconds.unwrap_or(300)),
        };
        let lines = watch::lines(self.store.clone(), self.changes.clone(), wish);
        let connection = connection.clone();
        let ended = lock(&self.watches).clone();
        let frames = lines
            .map(|line| Ok(Frame::data(line)))
            .take_until(async move {
                tokio::select! {
                    biased;
                    () = connection.died() => {}
                    () = ended.cancelled() => {}
                }
            });
        respond(200, Box::pin(frames))
    }

    fn write(
        &self,
        connection: &Connection,
        call: &Call<'_>,
        bytes: &Bytes,
    ) -> Result<Arc<Value>, Refusal> {
        let body: Value = if bytes.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(bytes)
                .map_err(|error| Refusal::bad_request(error.to_string()))?
        };
        let write = Write {
            key: call.key(&body)?,
            manager: call
                .query
                .get("fieldManager")
                .cloned()
                .unwrap_or_else(|| "unknown".to_owned()),
            status: call.target.status,
            now: self.now(),
        };
        if call.method == Method::POST
            && let Some(admission) = lock(&self.admission).as_ref()
        {
            admission(&write.key, &body)?;
        }
        let outcome = {
            let mut store = lock(&self.store);
            let (before, version) = (store.get(&write.key).cloned(), store.version());
            let outcome = call.carry_out(&write, &mut store, body);
            if store.version() > version {
                let written = Written {
                    by: connection.name(),
                    key: &write.key,
                    before: before.as_deref(),
                    after: store.get(&write.key).map(std::convert::AsRef::as_ref),
                    status: write.status,
                    store: &store,
                };
                if let Some(witness) = lock(&self.witness).as_mut() {
                    witness(&written);
                }
            }
            outcome
        };
        self.announce();
        outcome
    }
}

struct Call<'c> {
    target: Target,
    query: HashMap<String, String>,
    content: &'c str,
    method: &'c Method,
}

impl Call<'_> {
    fn key(&self, body: &Value) -> Result<Key, Refusal> {
        let name = match &self.target.name {
            Some(name) => Some(name.as_str()),
            None => body["metadata"]["name"].as_str(),
        };
        let name = name.ok_or_else(|| {
            Refusal::invalid("metadata.name: Required value: name or generateName is required")
        })?;
        Ok(self.target.key(name))
    }

    fn carry_out(
        &self,
        write: &Write,
        store: &mut super::Store,
        body: Value,
    ) -> Result<Arc<Value>, Refusal> {
        match (self.method.as_str(), self.content) {
            ("POST", _) => write.create(store, body),
            ("PUT", _) => write.replace(store, body),
            ("DELETE", _) => write.delete(store, &deletion(&body)),
            ("PATCH", "application/merge-patch+json") => write.merge(store, &body),
            ("PATCH", "application/apply-patch+yaml") => {
                if !self.query.contains_key("fieldManager") {
                    return Err(Refusal::bad_request(
                        "fieldManager is required for apply patch",
                    ));
                }
                let force = self.query.get("force").is_some_and(|word| word == "true");
                write.apply(store, &body, force)
            }
            (_, content) => Err(Refusal::unsupported(content)),
        }
    }
}

fn deletion(body: &Value) -> Deletion {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    Deletion {
        uid: text(&body["preconditions"]["uid"]),
        resource_version: text(&body["preconditions"]["resourceVersion"]),
        grace_seconds: body["gracePeriodSeconds"].as_u64(),
    }
}
