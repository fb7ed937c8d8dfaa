//! The chart: its values are described and checked, and what it renders has the least rights and the restricted pod profile.
//!
//! Rendering needs helm: the one of the local cluster's cache (`make cluster-build`).

#![allow(clippy::unwrap_used)] // a helper of a test fails the test

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde::Deserialize;
use serde_json::Value;
use smallfleet_crds::names::port;

const IMAGE: &str = "registry.example.com/smallfleet/operator@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn chart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/smallfleet")
}

fn read(file: &str) -> String {
    fs::read_to_string(chart().join(file)).unwrap()
}

/// Dotted names of the values that the chart documents: blocks with fixed fields are entered, free ones are not.
fn value_names() -> Vec<String> {
    let values: Value = serde_yaml_ng::from_str(&read("values.yaml")).unwrap();
    let mut names = Vec::new();
    for (name, value) in values.as_object().unwrap() {
        match value
            .as_object()
            .filter(|block| !block.is_empty() && name != "resources")
        {
            Some(block) => names.extend(block.keys().map(|inner| format!("{name}.{inner}"))),
            None => names.push(name.clone()),
        }
    }
    names
}

#[test]
fn every_value_is_described_and_has_a_schema() {
    let schema: Value = serde_json::from_str(&read("values.schema.json")).unwrap();
    let readme = read("README.md");
    for name in value_names() {
        assert!(
            readme.contains(&format!("`{name}`")),
            "README.md describes {name}"
        );
        let mut node = &schema;
        for part in name.split('.') {
            node = &node["properties"][part];
        }
        assert!(node.is_object(), "values.schema.json knows {name}");
    }
}

/// The helm of the local cluster's cache.
fn helm() -> PathBuf {
    let cache = env::var_os("SMALLFLEET_CACHE").map(PathBuf::from);
    let home = || PathBuf::from(env::var_os("HOME").unwrap_or_default());
    let cache = cache.unwrap_or_else(|| home().join(".cache/smallfleet"));
    let folders = fs::read_dir(cache).into_iter().flatten().flatten();
    let mut helms = folders.map(|entry| entry.path().join("helm"));
    let found = helms.find(|helm| helm.is_file());
    found.expect("no helm is built: run `make cluster-build`")
}

fn run(helm: &Path, verb: &[&str], values: &[&str]) -> Output {
    let mut command = Command::new(helm);
    command
        .args(verb)
        .arg(chart())
        .args(["--namespace", "fleet"]);
    for value in values {
        command.args(["--set", value]);
    }
    command.output().unwrap()
}

/// Every object that the chart renders with these values besides the operator's image.
fn rendered(helm: &Path, values: &[&str]) -> Vec<Value> {
    let image = format!("image={IMAGE}");
    let mut all = vec![image.as_str()];
    all.extend(values);
    let output = run(helm, &["template", "smallfleet"], &all);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_yaml_ng::Deserializer::from_slice(&output.stdout)
        .map(|document| Value::deserialize(document).unwrap())
        .filter(Value::is_object)
        .collect()
}

fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects
        .iter()
        .filter(|object| object["kind"] == kind)
        .collect()
}

#[test]
fn the_chart_lints_and_says_what_is_missing() {
    let helm = helm();
    let lint = run(&helm, &["lint", "--strict"], &[&format!("image={IMAGE}")]);
    assert!(
        lint.status.success(),
        "{}",
        String::from_utf8_lossy(&lint.stdout)
    );
    let without_image = run(&helm, &["template", "smallfleet"], &[]);
    assert!(!without_image.status.success());
    let message = String::from_utf8_lossy(&without_image.stderr).into_owned();
    assert!(
        message.contains("name the operator's image by digest"),
        "{message}"
    );
}

#[test]
fn the_operator_has_the_restricted_profile() {
    let helm = helm();
    let objects = rendered(&helm, &[]);
    let pod = &of_kind(&objects, "Deployment")[0]["spec"]["template"]["spec"];
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["securityContext"]["runAsUser"], 65532);
    let container = &pod["containers"][0];
    let context = &container["securityContext"];
    assert_eq!(context["allowPrivilegeEscalation"], false);
    assert_eq!(context["readOnlyRootFilesystem"], true);
    assert_eq!(
        context["capabilities"],
        serde_json::json!({"drop": ["ALL"]})
    );
    assert_eq!(context["seccompProfile"]["type"], "RuntimeDefault");
    for field in ["hostNetwork", "hostPID", "hostIPC", "volumes"] {
        assert!(pod.get(field).is_none(), "{field} is not used");
    }
    assert!(container["resources"]["limits"]["memory"].is_string());
}

#[test]
fn the_operator_is_told_all_that_it_needs() {
    let helm = helm();
    let objects = rendered(
        &helm,
        &[
            "runtime.image=registry.example.com/r@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        ],
    );
    let container =
        &of_kind(&objects, "Deployment")[0]["spec"]["template"]["spec"]["containers"][0];
    let env = |name: &str| {
        let all = container["env"].as_array().unwrap();
        all.iter()
            .find(|variable| variable["name"] == name)
            .unwrap_or_else(|| panic!("{name} is set"))
    };
    let session = format!("smallfleet-operator.fleet.svc:{}", port::SESSION);
    assert_eq!(env("SMALLFLEET_SESSION_ADDRESS")["value"], session);
    assert!(
        env("SMALLFLEET_RUNTIME_IMAGE")["value"]
            .as_str()
            .unwrap()
            .contains("@sha256:")
    );
    for name in ["SMALLFLEET_NAMESPACE", "POD_NAME", "POD_UID", "POD_IP"] {
        assert!(
            env(name)["valueFrom"]["fieldRef"].is_object(),
            "{name} comes from the pod"
        );
    }
    let classes: Vec<_> = of_kind(&objects, "PriorityClass")
        .iter()
        .map(|class| &class["metadata"]["name"])
        .collect();
    assert!(classes.contains(&&env("SMALLFLEET_STABLE_PRIORITY_CLASS")["value"]));
    assert!(classes.contains(&&env("SMALLFLEET_CANDIDATE_PRIORITY_CLASS")["value"]));
    let ports = |object: &Value, field: &str| -> Vec<u64> {
        object["ports"]
            .as_array()
            .unwrap()
            .iter()
            .map(|port| port[field].as_u64().unwrap())
            .collect()
    };
    let expected = [u64::from(port::OPERATOR_ADMIN), u64::from(port::SESSION)];
    assert_eq!(ports(container, "containerPort"), expected);
    let mut service = ports(&of_kind(&objects, "Service")[0]["spec"], "port");
    service.sort_unstable();
    assert_eq!(service, expected);
}

/// Verbs that the rules of a role give on a resource.
fn verbs(role: &Value, resource: &str) -> Vec<String> {
    let lists = |value: &Value, text: &str| {
        value
            .as_array()
            .is_some_and(|all| all.iter().any(|one| one == text))
    };
    let rules = role["rules"].as_array().unwrap();
    rules
        .iter()
        .filter(|rule| lists(&rule["resources"], resource))
        .flat_map(|rule| rule["verbs"].as_array().unwrap())
        .map(|verb| verb.as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn the_operator_has_the_least_rights() {
    let helm = helm();
    let objects = rendered(&helm, &[]);
    let roles = of_kind(&objects, "ClusterRole");
    let operator = roles
        .iter()
        .find(|role| role["metadata"]["name"] == "smallfleet-operator")
        .unwrap();
    assert_eq!(verbs(operator, "smallmodels"), ["get", "list", "watch"]);
    assert_eq!(verbs(operator, "secrets"), [""; 0]);
    assert_eq!(
        verbs(operator, "pods"),
        ["get", "list", "watch", "create", "delete"]
    );
    for role in roles.iter().chain(&of_kind(&objects, "Role")) {
        let text = role["rules"].to_string();
        for forbidden in [
            "\"*\"",
            "escalate",
            "impersonate",
            "\"bind\"",
            "pods/exec",
            "clusterroles",
        ] {
            assert!(
                !text.contains(forbidden),
                "{} has no {forbidden}",
                role["metadata"]["name"]
            );
        }
    }
    let own = of_kind(&objects, "Role")[0];
    for rule in own["rules"].as_array().unwrap() {
        let reads_secrets =
            rule["resources"][0] == "secrets" && rule["verbs"] != serde_json::json!(["create"]);
        assert!(!reads_secrets || rule["resourceNames"] == serde_json::json!(["smallfleet-ca"]));
    }
}

#[test]
fn what_serves_outlives_the_release() {
    let helm = helm();
    let objects = rendered(&helm, &[]);
    let kept: Vec<_> = objects
        .iter()
        .filter(|object| object["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep")
        .map(|object| object["kind"].as_str().unwrap())
        .collect();
    assert_eq!(
        kept,
        ["PriorityClass", "PriorityClass", "CustomResourceDefinition"]
    );
    let without = rendered(
        &helm,
        &["crds.install=false", "priorityClasses.create=false"],
    );
    assert!(of_kind(&without, "CustomResourceDefinition").is_empty());
    assert!(of_kind(&without, "PriorityClass").is_empty());
}

#[test]
fn the_rendered_crd_is_that_of_the_types() {
    let helm = helm();
    let objects = rendered(&helm, &[]);
    let rendered = of_kind(&objects, "CustomResourceDefinition")[0];
    let types = serde_json::to_value(smallfleet_crds::crd()).unwrap();
    let schema = |crd: &Value| {
        crd["spec"]["versions"][0]["schema"]
            .to_string()
            .replace(".0,", ",")
            .replace(".0}", "}")
    };
    assert_eq!(schema(rendered), schema(&types));
    assert_eq!(rendered["spec"]["names"], types["spec"]["names"]);
}

#[test]
fn several_replicas_are_spread_and_not_drained_together() {
    let helm = helm();
    assert!(of_kind(&rendered(&helm, &[]), "PodDisruptionBudget").is_empty());
    let objects = rendered(&helm, &["replicas=2"]);
    assert_eq!(of_kind(&objects, "PodDisruptionBudget").len(), 1);
    let affinity = &of_kind(&objects, "Deployment")[0]["spec"]["template"]["spec"]["affinity"];
    assert!(affinity["podAntiAffinity"].is_object());
}
