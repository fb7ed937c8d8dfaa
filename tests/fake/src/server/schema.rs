//! How lists and maps of the known kinds merge: what `x-kubernetes-list-type` and `x-kubernetes-map-type` say in the real schemas.

use super::fields::Step;
use super::kinds::Kind;

/// How the value of a field is owned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// As a whole.
    Atomic,
    /// Field by field.
    Fields,
    /// A list whose items are told apart by these fields.
    Keyed(&'static [&'static str]),
    /// A list of plain values that are owned one by one.
    Set,
}

/// Shape of an object at this path.
pub fn object(kind: &Kind, path: &[Step]) -> Shape {
    let whole = [
        "selector",
        "nodeSelector",
        "requiredDuringSchedulingIgnoredDuringExecution",
        "fieldRef",
        "secretKeyRef",
        "configMapKeyRef",
        "resourceFieldRef",
    ];
    // An own definition says nothing of its maps, and those that say nothing are owned field by field.
    let atomic = !kind.custom && last(path).is_some_and(|name| whole.contains(&name));
    if atomic { Shape::Atomic } else { Shape::Fields }
}

/// Shape of a list at this path.
pub fn list(kind: &Kind, path: &[Step]) -> Shape {
    let names: Vec<&str> = path.iter().map_while(Step::field).collect();
    match names.as_slice() {
        ["metadata", "ownerReferences"] => return Shape::Keyed(&["uid"]),
        ["metadata", "finalizers"] => return Shape::Set,
        ["status", "conditions"] => return Shape::Keyed(&["type"]),
        _ if kind.custom => return Shape::Atomic,
        _ => {}
    }
    match last(path) {
        Some("containers" | "initContainers" | "volumes" | "env" | "imagePullSecrets") => {
            Shape::Keyed(&["name"])
        }
        Some("ports") if kind.kind == "Service" => Shape::Keyed(&["port", "protocol"]),
        Some("ports") => Shape::Keyed(&["containerPort", "protocol"]),
        Some("volumeMounts") => Shape::Keyed(&["mountPath"]),
        _ => Shape::Atomic,
    }
}

fn last(path: &[Step]) -> Option<&str> {
    path.last().and_then(Step::field)
}

/// What a key field is where it is not written.
pub fn default_of(key: &str) -> Option<&'static str> {
    (key == "protocol").then_some("TCP")
}
