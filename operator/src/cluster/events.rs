//! Events of SmallModels in `events.k8s.io`. The same event within minutes is counted, not written anew.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::{Event as KubeEvent, EventSeries};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource};
use smallfleet_core::action::Event;
use smallfleet_crds::SmallModel;

/// Name of the reporting controller.
const CONTROLLER: &str = "smallfleet.dev/operator";
/// The same event within this time is one series.
const SERIES_AGE: Duration = Duration::from_secs(6 * 60);
/// Series that are remembered; beyond it the oldest is forgotten.
const SERIES_MAX: usize = 1024;
/// Longest note that the API server takes, bytes.
const NOTE_MAX: usize = 1024;

/// Writes events.
#[derive(Debug)]
pub struct Events {
    client: Client,
    instance: String,
    series: Mutex<Series>,
}

impl Events {
    #[must_use]
    pub fn new(client: Client, instance: &str) -> Self {
        Self {
            client,
            instance: instance.to_owned(),
            series: Mutex::default(),
        }
    }

    /// Writes an event of a model, or counts it.
    ///
    /// # Errors
    /// What the API server says. Events are for people: nothing waits for them.
    pub async fn emit(&self, model: &SmallModel, event: &Event) -> Result<(), kube::Error> {
        let regarding = model.object_ref(&());
        let namespace = regarding.namespace.clone().unwrap_or_default();
        let api: Api<KubeEvent> = Api::namespaced(self.client.clone(), &namespace);
        let key = (
            regarding.uid.clone().unwrap_or_default(),
            event.reason,
            event.message.clone(),
        );
        let known = self.series().again(&key, Instant::now());
        match known {
            Some((name, count)) => {
                let series = serde_json::json!({"series": EventSeries {
                    count,
                    last_observed_time: MicroTime(Timestamp::now()),
                }});
                api.patch(&name, &PatchParams::default(), &Patch::Merge(&series))
                    .await?;
            }
            None => {
                let new = self.render(regarding, event, Timestamp::now());
                let name = new.metadata.name.clone().unwrap_or_default();
                api.create(&PostParams::default(), &new).await?;
                self.series().begin(key, name, Instant::now());
            }
        }
        Ok(())
    }

    fn series(&self) -> std::sync::MutexGuard<'_, Series> {
        self.series.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn render(&self, regarding: ObjectReference, event: &Event, now: Timestamp) -> KubeEvent {
        let name = regarding.name.clone().unwrap_or_default();
        KubeEvent {
            metadata: ObjectMeta {
                name: Some(format!("{name}.{:x}", now.as_nanosecond())),
                namespace: regarding.namespace.clone(),
                ..ObjectMeta::default()
            },
            action: Some("Reconcile".to_owned()),
            reason: Some(event.reason.to_owned()),
            note: Some(cut(&event.message, NOTE_MAX).to_owned()),
            type_: Some(if event.warning { "Warning" } else { "Normal" }.to_owned()),
            event_time: Some(MicroTime(now)),
            regarding: Some(regarding),
            reporting_controller: Some(CONTROLLER.to_owned()),
            reporting_instance: Some(cut(&self.instance, 128).to_owned()),
            ..KubeEvent::default()
        }
    }
}

/// At most `bytes` of a text, at a character's end.
fn cut(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

type SeriesKey = (String, &'static str, String);

/// Events of the last minutes.
#[derive(Debug, Default)]
struct Series {
    known: HashMap<SeriesKey, Known>,
}

#[derive(Debug)]
struct Known {
    name: String,
    count: i32,
    last: Instant,
}

impl Series {
    /// Name and count of the series that this event continues.
    fn again(&mut self, key: &SeriesKey, now: Instant) -> Option<(String, i32)> {
        let fresh = |known: &Known| now.duration_since(known.last) < SERIES_AGE;
        self.known.retain(|_, known| fresh(known));
        let known = self.known.get_mut(key)?;
        known.count = known.count.saturating_add(1);
        known.last = now;
        Some((known.name.clone(), known.count))
    }

    fn begin(&mut self, key: SeriesKey, name: String, now: Instant) {
        if self.known.len() >= SERIES_MAX {
            let oldest = self.known.iter().min_by_key(|(_, known)| known.last);
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                self.known.remove(&oldest);
            }
        }
        let known = Known {
            name,
            count: 1,
            last: now,
        };
        self.known.insert(key, known);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(message: &str) -> SeriesKey {
        ("uid".to_owned(), "StepStarted", message.to_owned())
    }

    #[test]
    fn the_same_event_is_counted_and_another_message_is_another_event() {
        let mut series = Series::default();
        let start = Instant::now();
        assert_eq!(series.again(&key("one"), start), None);
        series.begin(key("one"), "e1".to_owned(), start);
        assert_eq!(
            series.again(&key("one"), start),
            Some(("e1".to_owned(), 2))
        );
        assert_eq!(series.again(&key("two"), start), None);
        assert_eq!(series.again(&key("one"), start + SERIES_AGE), None);
    }

    #[test]
    fn memory_of_series_is_bounded() {
        let mut series = Series::default();
        let start = Instant::now();
        for index in 0..=SERIES_MAX {
            series.begin(key(&index.to_string()), String::new(), start);
        }
        assert_eq!(series.known.len(), SERIES_MAX);
    }

    #[test]
    fn a_long_note_is_cut_at_a_character() {
        assert_eq!(cut("aé", 2), "a");
        assert_eq!(cut("aé", 3), "aé");
    }
}
