//! Placement: what the API server would refuse in the pods that we make of it.

use k8s_openapi::api::core::v1::{NodeSelectorRequirement, Toleration};
use smallfleet_crds::Placement;

use super::names::{is_key, is_label_value};
use super::{Checked, require};

pub(super) fn check(placement: &Placement) -> Checked {
    for (key, value) in &placement.node_selector {
        require(is_key(key) && is_label_value(value), || {
            format!(
                "spec.placement.nodeSelector: {key}={value} is no label: write [prefix/]name: value"
            )
        })?;
    }
    for term in &placement.required_node_affinity {
        let expressions = term.match_expressions.as_deref().unwrap_or_default();
        let fields = term.match_fields.as_deref().unwrap_or_default();
        require(!expressions.is_empty() || !fields.is_empty(), || {
            "spec.placement.requiredNodeAffinity: a term without requirements chooses no node: write matchExpressions or leave it out".to_owned()
        })?;
        expressions.iter().try_for_each(expression)?;
        fields.iter().try_for_each(field)?;
    }
    placement.tolerations.iter().try_for_each(toleration)
}

fn expression(requirement: &NodeSelectorRequirement) -> Checked {
    let values = requirement.values.as_deref().unwrap_or_default();
    let fits = match requirement.operator.as_str() {
        "In" | "NotIn" => !values.is_empty() && values.iter().all(|value| is_label_value(value)),
        "Exists" | "DoesNotExist" => values.is_empty(),
        "Gt" | "Lt" => values.len() == 1 && values[0].parse::<i64>().is_ok(),
        _ => false,
    };
    require(is_key(&requirement.key) && fits, || {
        format!(
            "spec.placement.requiredNodeAffinity: {} {} {values:?}: In and NotIn need values, Gt and Lt one integer, Exists and DoesNotExist none",
            requirement.key, requirement.operator
        )
    })
}

fn field(requirement: &NodeSelectorRequirement) -> Checked {
    let values = requirement.values.as_deref().unwrap_or_default();
    let fits = requirement.key == "metadata.name"
        && matches!(requirement.operator.as_str(), "In" | "NotIn")
        && values.len() == 1;
    require(fits, || {
        format!(
            "spec.placement.requiredNodeAffinity.matchFields: {} {} {values:?}: only metadata.name with In or NotIn and one value is possible",
            requirement.key, requirement.operator
        )
    })
}

fn toleration(toleration: &Toleration) -> Checked {
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    let exists = match text(&toleration.operator).as_str() {
        "" | "Equal" => Some(false),
        "Exists" => Some(true),
        _ => None,
    };
    let (key, value) = (text(&toleration.key), text(&toleration.value));
    let effect = text(&toleration.effect);
    let fits = exists.is_some_and(|exists| {
        let named = if key.is_empty() { exists } else { is_key(&key) };
        let valued = if exists {
            value.is_empty()
        } else {
            is_label_value(&value)
        };
        named && valued
    }) && matches!(
        effect.as_str(),
        "" | "NoSchedule" | "PreferNoSchedule" | "NoExecute"
    ) && (toleration.toleration_seconds.is_none() || effect == "NoExecute");
    require(fits, || {
        format!(
            "spec.placement.tolerations: {key:?}: write key and value, or operator Exists without value; tolerationSeconds needs effect NoExecute"
        )
    })
}
