//! Which rollout a command speaks of, and what is refused before anything is written.

#![allow(clippy::unwrap_used)] // a helper of a test fails the test

use std::fs;
use std::path::Path;

use kubectl_smallfleet::CliError;
use kubectl_smallfleet::command::rollout_of;
use smallfleet_crds::CommandVerb::{Abort, Promote, PromoteFull, Retry};
use smallfleet_crds::SmallModel;

const ROLLOUT: &str = "5f0c3a9e1b2d";

fn model(name: &str) -> SmallModel {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/{name}.yaml"));
    serde_yaml_ng::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn a_rollout_in_progress_is_promoted_or_aborted() {
    for verb in [Promote, PromoteFull, Abort] {
        for state in [
            "gating",
            "blocked",
            "analyzing",
            "approval",
            "inconclusive",
            "promoting",
        ] {
            assert_eq!(
                rollout_of(&model(state), verb).unwrap(),
                ROLLOUT,
                "{verb} while {state}"
            );
        }
    }
}

#[test]
fn a_refused_revision_is_retried_by_the_rollout_that_refused_it() {
    assert_eq!(rollout_of(&model("rolled-back"), Retry).unwrap(), ROLLOUT);
    for verb in [Promote, PromoteFull, Abort] {
        let error = rollout_of(&model("rolled-back"), verb).unwrap_err();
        assert!(
            error.to_string().contains("\"retry\" lets it begin anew"),
            "{error}"
        );
    }
}

#[test]
fn without_a_rollout_there_is_nothing_to_do() {
    for verb in [Promote, PromoteFull, Abort, Retry] {
        for state in ["unseen", "serving", "installing"] {
            let error = rollout_of(&model(state), verb).unwrap_err();
            assert!(
                matches!(error, CliError::NoRollout { .. }),
                "{verb} while {state}: {error}"
            );
            assert!(
                error
                    .to_string()
                    .contains("kubectl smallfleet explain intent -n shop"),
                "{error}"
            );
        }
    }
    let error = rollout_of(&model("analyzing"), Retry).unwrap_err();
    assert!(
        error.to_string().contains("has not been refused"),
        "{error}"
    );
}
