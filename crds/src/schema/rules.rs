//! Schemas of single fields. A rule in CEL rather than a `pattern`, so that a refusal says what to write instead.
//!
//! Every rule runs over a bounded string or list: the API server refuses a CRD whose rules may cost too much.

use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

/// Longest text of a percentage: `999.99%` and one to spare.
const PERCENT_MAX_LENGTH: u32 = 8;
/// Kubernetes: longest DNS subdomain, and longest label key (prefix, slash, name).
const SUBDOMAIN_MAX_LENGTH: u32 = 253;
const LABEL_KEY_MAX_LENGTH: u32 = 317;
const LABEL_VALUE_MAX_LENGTH: u32 = 63;
/// Labels or annotations, node selectors: more is no manifest that a person wrote.
const MAX_ENTRIES: u32 = 32;

fn rule(rule: &str, message: &str) -> Value {
    json!({"rule": rule, "message": message})
}

fn text(max_length: u32, rules: &[Value]) -> Schema {
    json_schema!({"type": "string", "maxLength": max_length, "x-kubernetes-validations": rules})
}

// ---- percentages

pub(crate) fn percent(_: &mut SchemaGenerator) -> Schema {
    text(
        PERCENT_MAX_LENGTH,
        &[rule(
            "self.matches('^[0-9]{1,3}([.][0-9]{1,2})?%$')",
            "write a percentage with at most two decimals, such as \"10%\"",
        )],
    )
}

/// Of false verdicts: more than one in two promises nothing.
pub(crate) fn rate(_: &mut SchemaGenerator) -> Schema {
    text(
        PERCENT_MAX_LENGTH,
        &[rule(
            "self.matches('[1-9]') && self.matches('^([0-4]?[0-9]([.][0-9]{1,2})?|50([.]0{1,2})?)%$')",
            "write a percentage from \"0.01%\" to \"50%\" with at most two decimals: a rate of 0% can never be decided",
        )],
    )
}

/// How much more is tolerated.
pub(crate) fn increase(_: &mut SchemaGenerator) -> Schema {
    text(
        PERCENT_MAX_LENGTH,
        &[rule(
            "self.matches('[1-9]') && self.matches('^[0-9]{1,3}([.][0-9]{1,2})?%$')",
            "write a percentage above 0% with at most two decimals, such as \"10%\": an increase of 0% can never be excluded",
        )],
    )
}

/// A difference in percentage points.
pub(crate) fn points(_: &mut SchemaGenerator) -> Schema {
    text(
        PERCENT_MAX_LENGTH,
        &[rule(
            "self.matches('[1-9]') && self.matches('^[0-9]{1,2}([.][0-9]{1,2})?%$')",
            "write percentage points above 0% and below 100%, such as \"2%\": a difference of 0 points can never be excluded",
        )],
    )
}

/// A share of all.
pub(crate) fn share(_: &mut SchemaGenerator) -> Schema {
    text(
        PERCENT_MAX_LENGTH,
        &[rule(
            "self.matches('^([0-9]{1,2}([.][0-9]{1,2})?|100([.]0{1,2})?)%$')",
            "write a percentage from \"0%\" to \"100%\" with at most two decimals",
        )],
    )
}

/// The coin's share: routers toss in permille.
pub(crate) fn traffic(_: &mut SchemaGenerator) -> Schema {
    text(
        PERCENT_MAX_LENGTH,
        &[rule(
            "self.matches('^[1-9][0-9]?([.][0-9])?%$')",
            "write a share from \"1%\" to \"99.9%\" with at most one decimal: at 0% or 100% there is nothing to compare with; \"50%\" finds a difference fastest",
        )],
    )
}

/// A count of nodes, or a share of them. `string(self) == self` tells a string: `type(self)` is not known to kube's CEL.
pub(crate) fn nodes(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "x-kubernetes-int-or-string": true,
        "maxLength": PERCENT_MAX_LENGTH,
        "x-kubernetes-validations": [rule(
            "string(self) == self ? self.matches('^([1-9][0-9]?|100)%$') : self >= 1 && self <= 100000",
            "write a count from 1 to 100000, or a share from \"1%\" to \"100%\"",
        )]
    })
}

// ---- names

/// Name of a step, an objective or an override: it appears in conditions, metrics and commands.
pub(crate) fn name(_: &mut SchemaGenerator) -> Schema {
    text(
        LABEL_VALUE_MAX_LENGTH,
        &[rule(
            "self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",
            "write a short name of a-z, 0-9 and '-' that begins and ends with a letter or digit",
        )],
    )
}

pub(crate) fn image_digest(_: &mut SchemaGenerator) -> Schema {
    text(
        512,
        &[rule(
            r"self.matches('^[^@\\s]+@sha256:[a-f0-9]{64}$')",
            "name the image by digest, registry/name@sha256:<64 hex digits>, so that every node runs the same bytes: \"crane digest registry/name:tag\" prints the digest of a tag",
        )],
    )
}

pub(crate) fn image_digest_or_empty(_: &mut SchemaGenerator) -> Schema {
    text(
        512,
        &[rule(
            r"self == '' || self.matches('^[^@\\s]+@sha256:[a-f0-9]{64}$')",
            "name the image by digest, registry/name@sha256:<64 hex digits>, or leave it out for the operator's default",
        )],
    )
}

pub(crate) fn service_account(_: &mut SchemaGenerator) -> Schema {
    text(
        SUBDOMAIN_MAX_LENGTH,
        &[rule(
            "self == '' || !format.dns1123Subdomain().validate(self).hasValue()",
            "write the name of a ServiceAccount of this namespace, or leave it out for \"default\"",
        )],
    )
}

pub(crate) fn secret_names(_: &mut SchemaGenerator) -> Schema {
    let name = rule(
        "!format.dns1123Subdomain().validate(self).hasValue()",
        "write the name of a Secret of this namespace",
    );
    json_schema!({
        "type": "array",
        "maxItems": 10,
        "x-kubernetes-list-type": "set",
        "items": text(SUBDOMAIN_MAX_LENGTH, &[name])
    })
}

pub(crate) fn env_name(_: &mut SchemaGenerator) -> Schema {
    text(
        128,
        &[
            rule(
                "self.matches('^[A-Za-z_][A-Za-z0-9_]*$')",
                "write a name of letters, digits and '_' that does not begin with a digit",
            ),
            rule(
                "!self.startsWith('SMALLFLEET_')",
                "names that begin with SMALLFLEET_ are the operator's own: choose another",
            ),
        ],
    )
}

pub(crate) fn header_name(_: &mut SchemaGenerator) -> Schema {
    text(
        128,
        &[
            rule(
                "self.matches('^[a-z0-9][a-z0-9-]*$')",
                "write the header's name in lower case: a-z, 0-9 and '-'",
            ),
            rule(
                "!self.startsWith('x-smallfleet-')",
                "headers that begin with x-smallfleet- are ours: choose a header that your clients send",
            ),
            rule(
                "!(self in ['connection', 'content-length', 'host', 'keep-alive', 'proxy-connection', 'te', 'trailer', 'transfer-encoding', 'upgrade'])",
                "this header belongs to the connection, not to the request: choose a header that your clients send",
            ),
        ],
    )
}

// ---- quantities

pub(crate) fn quantity(_: &mut SchemaGenerator) -> Schema {
    text(
        32,
        &[rule(
            "isQuantity(self) && quantity(self).isGreaterThan(quantity('0'))",
            "write a Kubernetes quantity above 0, such as \"250m\" of CPU or \"1Gi\" of memory",
        )],
    )
}

pub(crate) fn quantity_or_empty(_: &mut SchemaGenerator) -> Schema {
    text(
        32,
        &[rule(
            "self == '' || isQuantity(self) && quantity(self).isGreaterThan(quantity('0'))",
            "write a Kubernetes quantity above 0, such as \"500m\" of CPU or \"1Gi\" of memory, or leave it out",
        )],
    )
}

// ---- labels

fn key_rule() -> Value {
    rule(
        "self.all(key, key.size() <= 317 && !format.qualifiedName().validate(key).hasValue())",
        "every key must be a label key: [prefix/]name, the name of at most 63 letters, digits, '-', '_' and '.'",
    )
}

fn not_ours_rule() -> Value {
    rule(
        "self.all(key, !key.startsWith('smallfleet.dev/'))",
        "keys that begin with smallfleet.dev/ are the operator's own: choose another prefix",
    )
}

fn label_value() -> Schema {
    text(
        LABEL_VALUE_MAX_LENGTH,
        &[rule(
            "!format.labelValue().validate(self).hasValue()",
            "write a label value: at most 63 letters, digits, '-', '_' and '.', beginning and ending with a letter or digit",
        )],
    )
}

fn described(what: &str, mut schema: Schema) -> Schema {
    schema.insert("description".to_owned(), what.into());
    schema
}

fn map_of(value: &Schema, rules: &[Value]) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": MAX_ENTRIES,
        "additionalProperties": value,
        "x-kubernetes-validations": rules
    })
}

pub(crate) fn pod_labels(_: &mut SchemaGenerator) -> Schema {
    map_of(&label_value(), &[key_rule(), not_ours_rule()])
}

pub(crate) fn pod_annotations(_: &mut SchemaGenerator) -> Schema {
    map_of(&text(8192, &[]), &[key_rule(), not_ours_rule()])
}

pub(crate) fn node_selector(_: &mut SchemaGenerator) -> Schema {
    map_of(&label_value(), &[key_rule()])
}

// ---- placement: the shapes of Kubernetes, with bounds

pub(crate) fn node_affinity(_: &mut SchemaGenerator) -> Schema {
    let requirements = |what: &str, one: Value| json!({"type": "array", "description": what, "maxItems": 16, "items": one});
    json_schema!({
        "type": "array",
        "maxItems": 8,
        "items": {
            "type": "object",
            "description": "One term; a node must fulfil all of its requirements.",
            "properties": {
                "matchExpressions": requirements("Requirements on the node's labels.", label_requirement()),
                "matchFields": requirements("Requirements on the node's name.", name_requirement())
            },
            "x-kubernetes-validations": [rule(
                "has(self.matchExpressions) && self.matchExpressions.size() > 0 || has(self.matchFields) && self.matchFields.size() > 0",
                "a term without requirements chooses no node: write matchExpressions or matchFields, or leave the term out",
            )]
        }
    })
}

fn label_requirement() -> Value {
    json!({
        "type": "object",
        "description": "One requirement on a label.",
        "required": ["key", "operator"],
        "properties": {
            "key": label_key("Label key."),
            "operator": {
                "type": "string",
                "description": "How the label's value relates to values.",
                "enum": ["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"]
            },
            "values": {
                "type": "array",
                "description": "Values for In and NotIn, one integer for Gt and Lt, none for Exists and DoesNotExist.",
                "maxItems": 64,
                "items": label_value()
            }
        },
        "x-kubernetes-validations": [
            rule(
                "self.operator in ['Exists', 'DoesNotExist'] ? !has(self.values) || self.values.size() == 0 : has(self.values) && (self.operator in ['In', 'NotIn'] ? self.values.size() > 0 : self.values.size() == 1)",
                "In and NotIn need values, Gt and Lt exactly one, Exists and DoesNotExist none",
            ),
            rule(
                "!(self.operator in ['Gt', 'Lt']) || !has(self.values) || self.values.all(value, value.matches('^[0-9]+$'))",
                "Gt and Lt compare integers: write a value such as \"4\"",
            )
        ]
    })
}

fn name_requirement() -> Value {
    json!({
        "type": "object",
        "description": "One requirement on the name.",
        "required": ["key", "operator", "values"],
        "properties": {
            "key": {"type": "string", "description": "The only field that there is.", "enum": ["metadata.name"]},
            "operator": {
                "type": "string",
                "description": "Whether the node has this name, or any other.",
                "enum": ["In", "NotIn"]
            },
            "values": {
                "type": "array",
                "description": "The node's name; Kubernetes takes exactly one here.",
                "minItems": 1,
                "maxItems": 1,
                "items": text(SUBDOMAIN_MAX_LENGTH, &[rule(
                    "!format.dns1123Subdomain().validate(self).hasValue()",
                    "write the name of a node",
                )])
            }
        }
    })
}

fn label_key(what: &str) -> Value {
    json!({
        "type": "string",
        "description": what,
        "maxLength": LABEL_KEY_MAX_LENGTH,
        "x-kubernetes-validations": [rule(
            "!format.qualifiedName().validate(self).hasValue()",
            "write a label key: [prefix/]name, the name of at most 63 letters, digits, '-', '_' and '.'",
        )]
    })
}

pub(crate) fn tolerations(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 32,
        "items": {
            "type": "object",
            "description": "A taint that the pods tolerate.",
            "properties": {
                "key": label_key("Key of the taint. Left out: every taint, with operator Exists."),
                "operator": {
                    "type": "string",
                    "description": "Equal (also when left out): the taint has this value. Exists: whatever its value.",
                    "enum": ["Equal", "Exists"]
                },
                "value": described("Value of the taint.", label_value()),
                "effect": {
                    "type": "string",
                    "description": "Effect of the taint. Left out: all effects.",
                    "enum": ["NoSchedule", "PreferNoSchedule", "NoExecute"]
                },
                "tolerationSeconds": {
                    "type": "integer",
                    "format": "int64",
                    "description": "Only with effect NoExecute: seconds until eviction. Left out: for ever."
                }
            },
            "x-kubernetes-validations": [
                rule(
                    "has(self.key) || has(self.operator) && self.operator == 'Exists'",
                    "a toleration without key needs operator: Exists (it tolerates every taint)",
                ),
                rule(
                    "!has(self.operator) || self.operator != 'Exists' || !has(self.value) || self.value == ''",
                    "with operator Exists leave value out",
                ),
                rule(
                    "!has(self.tolerationSeconds) || has(self.effect) && self.effect == 'NoExecute'",
                    "tolerationSeconds needs effect: NoExecute",
                )
            ]
        }
    })
}
