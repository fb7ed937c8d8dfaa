//! Everything that `/metrics` shows: names, help and labels of the engine's metrics live here only.
//!
//! Label values come from enums and from a list of status codes, so that no client can grow them.

use std::time::Duration;

use axum::http::StatusCode;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, Opts, Registry, TextEncoder,
};

use crate::proc::kibibytes;

/// What a client asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    Chat,
    Classify,
    Completions,
    Infer,
    Models,
    V2,
    Health,
    Ready,
    Metrics,
    Other,
}

impl Endpoint {
    pub fn of(path: &str) -> Self {
        match path {
            "/v1/chat/completions" => Self::Chat,
            "/v1/classify" => Self::Classify,
            "/v1/completions" => Self::Completions,
            "/healthz" => Self::Health,
            "/readyz" => Self::Ready,
            "/metrics" => Self::Metrics,
            _ if path == "/v1/models" || path.starts_with("/v1/models/") => Self::Models,
            _ if path.starts_with("/v2/models/") && path.ends_with("/infer") => Self::Infer,
            _ if path == "/v2" || path.starts_with("/v2/") => Self::V2,
            _ => Self::Other,
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Classify => "classify",
            Self::Completions => "completions",
            Self::Infer => "infer",
            Self::Models => "models",
            Self::V2 => "v2",
            Self::Health => "health",
            Self::Ready => "ready",
            Self::Metrics => "metrics",
            Self::Other => "other",
        }
    }
}

/// Where a request's time in the engine goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// From the complete request to the engine thread.
    Queue,
    /// All texts of one request.
    Tokenize,
    /// One run of the model: a batch of texts, a chunk of a prompt or a token.
    Run,
    /// From the complete request to the first text of a generated answer.
    FirstToken,
}

impl Stage {
    const ALL: [Self; 4] = [Self::Queue, Self::Tokenize, Self::Run, Self::FirstToken];

    fn label(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Tokenize => "tokenize",
            Self::Run => "run",
            Self::FirstToken => "first_token",
        }
    }
}

#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    stages: [Histogram; Stage::ALL.len()],
    batch_texts: Histogram,
    tokens: IntCounterVec,
    queue_length: IntGauge,
    ready: IntGauge,
    resident_memory: IntGauge,
}

/// 50 us to 13 s, in steps of two.
const STAGE_BUCKETS: (f64, f64, usize) = (0.000_05, 2.0, 19);

impl Metrics {
    /// Fails only if two metrics had one name.
    pub fn new() -> Result<Self, prometheus::Error> {
        let (start, factor, count) = STAGE_BUCKETS;
        let seconds = HistogramOpts::new(
            "smallfleet_engine_stage_seconds",
            "Seconds of engine time by stage",
        )
        .buckets(prometheus::exponential_buckets(start, factor, count)?);
        let stages = HistogramVec::new(seconds, &["stage"])?;
        let texts = HistogramOpts::new(
            "smallfleet_engine_batch_texts",
            "Texts in a run of the model",
        )
        .buckets(vec![1.0, 2.0, 3.0, 4.0]);
        let metrics = Self {
            registry: Registry::new(),
            requests: IntCounterVec::new(
                Opts::new(
                    "smallfleet_engine_requests_total",
                    "Answered requests by endpoint and status code",
                ),
                &["endpoint", "code"],
            )?,
            stages: Stage::ALL.map(|stage| stages.with_label_values(&[stage.label()])),
            batch_texts: Histogram::with_opts(texts)?,
            tokens: IntCounterVec::new(
                Opts::new(
                    "smallfleet_engine_tokens_total",
                    "Tokens of prompts that were read and of answers that were generated",
                ),
                &["kind"],
            )?,
            queue_length: IntGauge::new(
                "smallfleet_engine_queue_length",
                "Requests that wait for their turn",
            )?,
            ready: IntGauge::new("smallfleet_engine_ready", "1 when the model serves, else 0")?,
            resident_memory: IntGauge::new(
                "process_resident_memory_bytes",
                "Resident memory of the engine's process",
            )?,
        };
        metrics
            .registry
            .register(Box::new(metrics.requests.clone()))?;
        metrics.registry.register(Box::new(stages))?;
        metrics
            .registry
            .register(Box::new(metrics.batch_texts.clone()))?;
        metrics
            .registry
            .register(Box::new(metrics.tokens.clone()))?;
        for gauge in [
            &metrics.queue_length,
            &metrics.ready,
            &metrics.resident_memory,
        ] {
            metrics.registry.register(Box::new(gauge.clone()))?;
        }
        Ok(metrics)
    }

    pub fn count(&self, endpoint: Endpoint, code: StatusCode) {
        self.requests
            .with_label_values(&[endpoint.label(), code.as_str()])
            .inc();
    }

    pub fn observe(&self, stage: Stage, time: Duration) {
        self.stages[stage as usize].observe(time.as_secs_f64());
    }

    pub fn observe_batch(&self, texts: usize) {
        #[expect(clippy::cast_precision_loss, reason = "a batch has a few texts")]
        self.batch_texts.observe(texts as f64);
    }

    /// Tokens of one request of a text generator.
    pub fn count_tokens(&self, prompt: usize, answer: usize) {
        for (kind, tokens) in [("prompt", prompt), ("answer", answer)] {
            self.tokens.with_label_values(&[kind]).inc_by(tokens as u64);
        }
    }

    /// The text format of Prometheus, with the gauges as they are now.
    pub fn render(&self, queue_length: usize, ready: bool) -> Result<String, prometheus::Error> {
        self.queue_length
            .set(i64::try_from(queue_length).unwrap_or(i64::MAX));
        self.ready.set(i64::from(ready));
        self.resident_memory.set(resident_memory_bytes());
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

/// `VmRSS` of this process; 0 where there is no /proc.
pub fn resident_memory_bytes() -> i64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let resident = status.lines().find_map(|line| kibibytes(line, "VmRSS"));
    resident.map_or(0, |kibibytes: i64| kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scrape_shows_what_was_counted() {
        let metrics = Metrics::new().unwrap();
        metrics.count(Endpoint::of("/v2/models/intent/infer"), StatusCode::OK);
        metrics.observe(Stage::Run, Duration::from_millis(4));
        metrics.observe_batch(3);
        let text = metrics.render(5, true).unwrap();
        for line in [
            r#"smallfleet_engine_requests_total{code="200",endpoint="infer"} 1"#,
            r#"smallfleet_engine_stage_seconds_count{stage="run"} 1"#,
            r#"smallfleet_engine_stage_seconds_count{stage="queue"} 0"#,
            r#"smallfleet_engine_batch_texts_bucket{le="4"} 1"#,
            "smallfleet_engine_queue_length 5",
            "smallfleet_engine_ready 1",
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
        assert!(!text.contains("process_resident_memory_bytes 0"));
    }

    #[test]
    fn unknown_paths_share_one_label() {
        assert_eq!(
            Endpoint::of("/a/path/that/a/client/made/up"),
            Endpoint::Other
        );
        assert_eq!(
            Endpoint::of("/v2/models/x/versions/y/infer"),
            Endpoint::Infer
        );
    }
}
