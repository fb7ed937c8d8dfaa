//! What decides a rollout: rates of false verdicts, and the objectives.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::percent::Percent;
use crate::schema::rules;

/// The promise of a rollout and what it is judged by.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Analysis {
    /// A harmless revision is rolled back by evidence with at most this probability, over its whole rollout.
    #[schemars(schema_with = "rules::rate")]
    pub false_rollback_rate: Percent,
    /// A revision at or beyond the margins is promoted with at most this probability.
    #[schemars(schema_with = "rules::rate")]
    pub false_promotion_rate: Percent,
    /// What the candidate is judged by, at most one objective of each type; all have to pass.
    #[schemars(length(min = 1, max = 3))]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    #[schemars(extend("x-kubernetes-validations" = [
        {"rule": "self.all(a, self.exists_one(b, b.type == a.type))",
         "message": "write at most one objective of each type"}
    ]))]
    pub objectives: Vec<Objective>,
}

impl Default for Analysis {
    fn default() -> Self {
        Self {
            false_rollback_rate: Percent::whole(1),
            false_promotion_rate: Percent::whole(5),
            objectives: default_objectives(),
        }
    }
}

fn default_objectives() -> Vec<Objective> {
    let latency = Objective {
        name: "latency".to_owned(),
        r#type: ObjectiveType::Latency,
        latency: Some(LatencyObjective::default()),
        errors: None,
        accuracy: None,
    };
    let errors = Objective {
        name: "errors".to_owned(),
        r#type: ObjectiveType::Errors,
        latency: None,
        errors: Some(ErrorsObjective::default()),
        accuracy: None,
    };
    vec![latency, errors]
}

/// One objective; the block of its type may be left out where it has defaults.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "(!has(self.latency) || self.type == 'Latency') && (!has(self.errors) || self.type == 'Errors') && (!has(self.accuracy) || self.type == 'Accuracy')",
     "message": "write only the block that has the name of the objective's type (latency, errors or accuracy), and remove the others"},
    {"rule": "self.type != 'Accuracy' || has(self.accuracy)",
     "message": "an objective of type Accuracy needs accuracy.dataset.image"}
]))]
pub struct Objective {
    /// Name of the objective, unique in the list: it appears in status, events and metrics.
    #[schemars(schema_with = "rules::name")]
    pub name: String,
    /// What is judged: Latency and Errors by live traffic, Accuracy on a labelled set before any traffic.
    pub r#type: ObjectiveType,
    /// Settings of an objective of type Latency. Left out: its defaults.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<LatencyObjective>,
    /// Settings of an objective of type Errors. Left out: its defaults.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errors: Option<ErrorsObjective>,
    /// Settings of an objective of type Accuracy; it has to name a dataset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<AccuracyObjective>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ObjectiveType {
    Latency,
    Errors,
    /// A gate on a labelled set, before any traffic.
    Accuracy,
}

/// Time from the coin to what `signal` names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct LatencyObjective {
    /// A revision this much slower is not promoted; half of it is tolerated before a rollback.
    #[schemars(schema_with = "rules::increase")]
    pub max_increase: Percent,
    /// What is timed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<LatencySignal>,
    /// One percentile to judge by. Left out: the whole distribution.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub percentile: Option<LatencyPercentile>,
}

impl Default for LatencyObjective {
    fn default() -> Self {
        Self {
            max_increase: Percent::whole(10),
            signal: None,
            percentile: None,
        }
    }
}

/// What is timed, from the coin on. Left out: FirstToken for TextGeneration, else Total.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum LatencySignal {
    /// A good complete answer.
    Total,
    /// The first byte of a good answer's content; what follows is judged by the errors.
    FirstToken,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum LatencyPercentile {
    P50,
    P75,
    P90,
    P95,
    P99,
}

/// Requests without a good answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ErrorsObjective {
    /// A revision with this much more errors, relative to stable, is not promoted.
    #[schemars(schema_with = "rules::increase")]
    pub max_increase: Percent,
    /// Or with this many percentage points more: enough where errors are rare.
    #[schemars(schema_with = "rules::points")]
    pub or_max_increase_points: Percent,
}

impl Default for ErrorsObjective {
    fn default() -> Self {
        Self {
            max_increase: Percent::whole(20),
            or_max_increase_points: Percent::whole(1),
        }
    }
}

/// Accuracy on a labelled set, paired with the stable revision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AccuracyObjective {
    /// The labelled set; stable and candidate answer the same examples.
    pub dataset: Dataset,
    /// Least share of right answers, whatever stable does.
    #[serde(default = "zero_percent")]
    #[schemars(schema_with = "rules::share")]
    pub minimum: Percent,
    /// Percentage points that the candidate may be below stable.
    #[serde(default = "default_max_drop_points")]
    #[schemars(schema_with = "rules::points")]
    pub max_drop_points: Percent,
}

/// A labelled set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Dataset {
    /// OCI image whose root holds `dataset.json` and the examples, by digest.
    #[schemars(schema_with = "rules::image_digest")]
    pub image: String,
}

fn zero_percent() -> Percent {
    Percent::whole(0)
}

/// 2 points.
fn default_max_drop_points() -> Percent {
    Percent::whole(2)
}
