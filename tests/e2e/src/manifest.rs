//! SmallModel manifests of the demo and the suite, as text that a user could have written.

/// What differs between the manifests of one story. The default is a classifier, on every node, without a gate.
#[derive(Clone, Debug)]
pub struct Manifest<'a> {
    pub name: &'a str,
    pub namespace: &'a str,
    /// Model image with digest.
    pub image: &'a str,
    /// Dataset image with digest; empty: no accuracy gate.
    pub dataset: &'a str,
    /// `(nodes, least seconds)` of each step.
    pub steps: &'a [(&'a str, u32)],
    /// Lines of `env`: `(name, value)`.
    pub env: &'a [(&'a str, &'a str)],
    pub memory: &'a str,
    /// A text generator, which may take a minute for an answer, instead of a classifier.
    pub chat: bool,
    /// The only node that serves.
    pub node: Option<&'a str>,
}

impl Default for Manifest<'_> {
    fn default() -> Self {
        Self {
            name: "intent",
            namespace: "default",
            image: "",
            dataset: "",
            steps: &[],
            env: &[],
            memory: "384Mi",
            chat: false,
            node: None,
        }
    }
}

impl Manifest<'_> {
    /// YAML text.
    #[must_use]
    pub fn yaml(&self) -> String {
        let Self {
            name,
            namespace,
            image,
            memory,
            ..
        } = self;
        let (task, seconds) = match self.chat {
            true => ("TextGeneration", 60),
            false => ("TextClassification", 10),
        };
        let mut yaml = format!(
            "apiVersion: smallfleet.dev/v1alpha1\n\
             kind: SmallModel\n\
             metadata: {{name: {name}, namespace: {namespace}}}\n\
             spec:\n\
             \x20 task: {task}\n\
             \x20 model:\n\
             \x20   image: {image}\n\
             \x20 runtime:\n\
             \x20   maxRequestSeconds: {seconds}\n\
             \x20   resources: {{requests: {{cpu: 100m, memory: {memory}}}}}\n"
        );
        if !self.env.is_empty() {
            yaml += "    env:\n";
            for (key, value) in self.env {
                yaml += &format!("    - {{name: {key}, value: \"{value}\"}}\n");
            }
        }
        if let Some(node) = self.node {
            yaml += &format!("  placement: {{nodeSelector: {{kubernetes.io/hostname: {node}}}}}\n");
        }
        yaml += "  rollout:\n    steps:\n";
        for (index, (nodes, seconds)) in self.steps.iter().enumerate() {
            yaml += &format!(
                "    - {{name: step-{}, nodes: {nodes}, minExposureSeconds: {seconds}}}\n",
                index + 1
            );
        }
        yaml += "    analysis:\n      objectives:\n      - {name: latency, type: Latency}\n      - {name: errors, type: Errors}\n";
        if !self.dataset.is_empty() {
            yaml += &format!(
                "      - {{name: gate, type: Accuracy, accuracy: {{dataset: {{image: {}}}}}}}\n",
                self.dataset
            );
        }
        yaml
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_a_small_model_that_the_types_accept() {
        let manifest = Manifest {
            name: "intent",
            namespace: "shop",
            image: "registry/intent@sha256:0",
            dataset: "registry/gate@sha256:1",
            steps: &[("1", 20), ("100%", 30)],
            env: &[("LANG", "C")],
            ..Manifest::default()
        };
        let lines = manifest.yaml();
        assert!(
            lines.contains("    - {name: step-2, nodes: 100%, minExposureSeconds: 30}\n"),
            "{lines}"
        );
        assert!(
            lines.contains("dataset: {image: registry/gate@sha256:1}"),
            "{lines}"
        );
    }

    #[test]
    fn of_a_chat_names_its_task_its_time_and_its_node() {
        let manifest = Manifest {
            name: "chat",
            chat: true,
            memory: "1Gi",
            node: Some("node-1"),
            ..Manifest::default()
        };
        let lines = manifest.yaml();
        for line in [
            "  task: TextGeneration\n",
            "    maxRequestSeconds: 60\n",
            "memory: 1Gi",
            "kubernetes.io/hostname: node-1",
        ] {
            assert!(lines.contains(line), "no {line:?} in {lines}");
        }
    }
}
