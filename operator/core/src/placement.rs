//! Which nodes a placement chooses, decided as the scheduler and the DaemonSet controller do.

use k8s_openapi::api::core::v1::{NodeSelectorRequirement, NodeSelectorTerm, Taint, Toleration};
use smallfleet_crds::Placement;

use crate::world::NodeView;

/// Taints that the DaemonSet controller makes its pods tolerate.
const TOLERATED_BY_DAEMON_SETS: [&str; 6] = [
    "node.kubernetes.io/not-ready",
    "node.kubernetes.io/unreachable",
    "node.kubernetes.io/disk-pressure",
    "node.kubernetes.io/memory-pressure",
    "node.kubernetes.io/pid-pressure",
    "node.kubernetes.io/unschedulable",
];

/// Whether the stable DaemonSet has a pod on this node.
pub(crate) fn serves_on(placement: &Placement, node: &NodeView) -> bool {
    chosen(placement, node)
        && node.taints.iter().all(|taint| {
            TOLERATED_BY_DAEMON_SETS.contains(&taint.key.as_str())
                || tolerated(&placement.tolerations, taint)
        })
}

/// Whether a candidate may run on this node: it tolerates no pressure and no cordon.
pub(crate) fn takes_candidate(placement: &Placement, node: &NodeView) -> bool {
    chosen(placement, node)
        && node
            .taints
            .iter()
            .all(|taint| tolerated(&placement.tolerations, taint))
}

fn chosen(placement: &Placement, node: &NodeView) -> bool {
    let selected = placement
        .node_selector
        .iter()
        .all(|(key, value)| node.labels.get(key) == Some(value));
    let terms = &placement.required_node_affinity;
    selected && (terms.is_empty() || terms.iter().any(|term| fulfils(term, node)))
}

/// A term without requirements chooses nothing, as in Kubernetes.
fn fulfils(term: &NodeSelectorTerm, node: &NodeView) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    if expressions.is_empty() && fields.is_empty() {
        return false;
    }
    let by_label = |requirement: &NodeSelectorRequirement| {
        let value = node.labels.get(&requirement.key).map(String::as_str);
        holds(requirement, value)
    };
    let by_field = |requirement: &NodeSelectorRequirement| {
        requirement.key == "metadata.name" && holds(requirement, Some(&node.name))
    };
    expressions.iter().all(by_label) && fields.iter().all(by_field)
}

fn holds(requirement: &NodeSelectorRequirement, actual: Option<&str>) -> bool {
    let values = requirement.values.as_deref().unwrap_or_default();
    let listed = |actual: &str| values.iter().any(|value| value == actual);
    let compared = || -> Option<std::cmp::Ordering> {
        let number = |text: &str| text.parse::<i64>().ok();
        Some(number(actual?)?.cmp(&number(values.first()?)?))
    };
    match requirement.operator.as_str() {
        "In" => actual.is_some_and(listed),
        "NotIn" => !actual.is_some_and(listed),
        "Exists" => actual.is_some(),
        "DoesNotExist" => actual.is_none(),
        "Gt" => compared() == Some(std::cmp::Ordering::Greater),
        "Lt" => compared() == Some(std::cmp::Ordering::Less),
        _ => false,
    }
}

fn tolerated(tolerations: &[Toleration], taint: &Taint) -> bool {
    let tolerates = |toleration: &Toleration| {
        let key = toleration.key.as_deref().unwrap_or_default();
        let effect = toleration.effect.as_deref().unwrap_or_default();
        let value = toleration.value.as_deref().unwrap_or_default();
        let any_value = toleration.operator.as_deref() == Some("Exists");
        (effect.is_empty() || effect == taint.effect)
            && (key == taint.key || (key.is_empty() && any_value))
            && (any_value || value == taint.value.as_deref().unwrap_or_default())
    };
    taint.effect == "PreferNoSchedule" || tolerations.iter().any(tolerates)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(labels: &[(&str, &str)], taints: &[(&str, &str)]) -> NodeView {
        NodeView {
            name: "n1".to_owned(),
            labels: labels
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
            taints: taints
                .iter()
                .map(|(key, effect)| Taint {
                    key: (*key).to_owned(),
                    effect: (*effect).to_owned(),
                    ..Taint::default()
                })
                .collect(),
            ..NodeView::default()
        }
    }

    fn placement(json: serde_json::Value) -> Placement {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn requirements_read_as_in_kubernetes() {
        for (operator, values, expected) in [
            ("In", vec!["5"], true),
            ("In", vec!["6"], false),
            ("NotIn", vec!["6"], true),
            ("NotIn", vec!["5"], false),
            ("Exists", vec![], true),
            ("DoesNotExist", vec![], false),
            ("Gt", vec!["4"], true),
            ("Gt", vec!["5"], false),
            ("Lt", vec!["6"], true),
            ("Lt", vec!["x"], false),
        ] {
            let term = serde_json::json!({"requiredNodeAffinity": [
                {"matchExpressions": [{"key": "size", "operator": operator, "values": values}]}]});
            let chosen = serves_on(&placement(term), &node(&[("size", "5")], &[]));
            assert_eq!(chosen, expected, "{operator} {values:?}");
        }
    }

    #[test]
    fn terms_are_alternatives_and_an_empty_one_chooses_nothing() {
        let by_name = serde_json::json!({"requiredNodeAffinity": [
            {"matchExpressions": [{"key": "gone", "operator": "Exists"}]},
            {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]}]});
        assert!(serves_on(&placement(by_name), &node(&[], &[])));
        let empty = serde_json::json!({"requiredNodeAffinity": [{}]});
        assert!(!serves_on(&placement(empty), &node(&[], &[])));
        let selector = serde_json::json!({"nodeSelector": {"zone": "a"}});
        assert!(!serves_on(&placement(selector), &node(&[], &[])));
    }

    #[test]
    fn a_cordoned_node_serves_and_takes_no_candidate() {
        let cordoned = node(&[], &[("node.kubernetes.io/unschedulable", "NoSchedule")]);
        let anywhere = Placement::default();
        assert!(serves_on(&anywhere, &cordoned));
        assert!(!takes_candidate(&anywhere, &cordoned));
    }

    #[test]
    fn taints_need_a_toleration_that_fits() {
        let tainted = node(&[], &[("gpu", "NoSchedule")]);
        assert!(!serves_on(&Placement::default(), &tainted));
        for (toleration, expected) in [
            (serde_json::json!({"operator": "Exists"}), true),
            (
                serde_json::json!({"key": "gpu", "operator": "Exists"}),
                true,
            ),
            (serde_json::json!({"key": "gpu", "value": "a"}), false),
            (
                serde_json::json!({"key": "gpu", "operator": "Exists", "effect": "NoExecute"}),
                false,
            ),
        ] {
            let tolerating = placement(serde_json::json!({"tolerations": [toleration]}));
            assert_eq!(serves_on(&tolerating, &tainted), expected, "{toleration}");
        }
        let preferred = node(&[], &[("slow", "PreferNoSchedule")]);
        assert!(takes_candidate(&Placement::default(), &preferred));
    }
}
