//! What the project needs of its cluster, seen on the real thing. Needs root; takes about two minutes: `make cluster-test`.
#![allow(clippy::unwrap_used, clippy::type_complexity)]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use smallfleet_cluster::{Cluster, Component, Layout, Node, Progress, PushedImage, Signal};

const NAMESPACE: &str = "shop";
const MODEL: &str = r#"{"name":"a model"}"#;

/// One test, in the order of a story: a cluster is up once and the steps build on each other.
#[test]
fn the_cluster_does_what_the_project_needs_of_it() {
    let layout = Layout::from_environment().unwrap();
    let progress = Progress::shown();
    Cluster::down(&layout).unwrap();
    let start = Instant::now();
    let cluster = Cluster::up(&layout, 3, &progress).unwrap();
    assert!(
        start.elapsed() < Duration::from_secs(30),
        "up took {:?}",
        start.elapsed()
    );
    let steps: [(&str, fn(&Cluster)); 12] = [
        (
            "pods of a restricted namespace serve with a model as an image volume",
            serve,
        ),
        (
            "every node's pods are answered by their own node",
            own_node_answers,
        ),
        (
            "names of services and of the registry resolve, others do not exist",
            names_resolve,
        ),
        ("exec, logs and port-forward", exec_logs_and_port_forward),
        (
            "a pod that is not restricted is refused",
            privileged_pods_are_refused,
        ),
        (
            "tokens are signed by the published keys",
            tokens_have_published_keys,
        ),
        (
            "a container that takes too much memory is killed for it",
            too_much_memory_is_killed,
        ),
        ("a partitioned node goes on answering itself", partition),
        ("containers outlive kubelet and containerd", daemons_restart),
        (
            "etcd, API server, registry and DNS come back",
            control_plane_restarts,
        ),
        ("a node is powered off and on", power_cut),
        (
            "a crash leaves nothing that the next start minds",
            crash_and_start,
        ),
    ];
    for (name, step) in steps {
        progress.say(name);
        step(&cluster);
    }
    Cluster::down(&layout).unwrap();
    assert_eq!(Cluster::leftovers(&layout).unwrap(), Vec::<String>::new());
}

fn serve(cluster: &Cluster) {
    let model = tempfile::tempdir().unwrap();
    fs::write(model.path().join("model.json"), MODEL).unwrap();
    let model = cluster.push_folder(model.path(), "models/test:v1").unwrap();
    let toolbox = cluster.push_toolbox().unwrap();
    cluster.apply(&manifests(&toolbox, &model)).unwrap();
    rolled_out(cluster);
    let read = in_pod(
        cluster,
        "node-1",
        "cat /model/model.json; touch /model/x 2>&1; id -u",
    );
    assert!(
        read.starts_with(MODEL) && read.contains("Read-only") && read.ends_with("65532"),
        "{read}"
    );
}

/// A node's kube-proxy learns of its pod a moment after the API server does; then no other node answers any more.
fn own_node_answers(cluster: &Cluster) {
    for node in cluster.nodes() {
        let own = vec![node.name(); 6].join("\n");
        let line = "for i in 1 2 3 4 5 6; do wget -qO- http://web; done";
        let limit = Instant::now() + Duration::from_secs(30);
        while in_pod(cluster, &node.name(), line) != own {
            assert!(Instant::now() < limit, "other nodes answer {}", node.name());
            std::thread::sleep(Duration::from_millis(200));
        }
        assert_eq!(in_pod(cluster, &node.name(), line), own);
        // From the node itself too, as a kubelet or a host-network pod would ask.
        assert_eq!(ask_service(cluster, &node), node.name());
    }
}

fn names_resolve(cluster: &Cluster) {
    let ask = |name: &str| in_pod(cluster, "node-2", &format!("nslookup {name} 2>&1 || true"));
    assert!(ask("kubernetes.default.svc.cluster.local").contains("Address: 198.19.0.1"));
    assert!(ask("registry.smallfleet.test").contains("Address: 198.18.0.1"));
    assert!(ask("example.com").contains("NXDOMAIN"));
}

fn exec_logs_and_port_forward(cluster: &Cluster) {
    let pod = pod_on(cluster, "node-3");
    let logs = cluster
        .kubectl(&["logs", "--namespace", NAMESPACE, &pod])
        .unwrap();
    assert_eq!(logs.trim(), "started");
    let mut forward = cluster.program("kubectl");
    forward.args([
        "port-forward",
        "--namespace",
        NAMESPACE,
        &format!("pod/{pod}"),
        ":8080",
    ]);
    let mut forward = forward.stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    // Open to the end: kubectl says of each connection that it handles it, and a closed pipe would end it.
    let mut said = BufReader::new(forward.stdout.take().unwrap());
    said.read_line(&mut line).unwrap();
    let address = line.split_whitespace().nth(2).unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    forward.kill().unwrap();
    forward.wait().unwrap();
    assert!(answer.trim().ends_with("node-3"), "{answer}");
}

fn privileged_pods_are_refused(cluster: &Cluster) {
    let run = ["run", "rude", "--namespace", NAMESPACE, "--image=x/y:z"];
    let refused = cluster.kubectl(&run).unwrap_err().to_string();
    assert!(refused.contains("violates PodSecurity"), "{refused}");
}

fn tokens_have_published_keys(cluster: &Cluster) {
    let issuer = cluster
        .kubectl(&["get", "--raw=/.well-known/openid-configuration"])
        .unwrap();
    assert!(
        issuer.contains("https://kubernetes.default.svc.cluster.local"),
        "{issuer}"
    );
    let keys = cluster.kubectl(&["get", "--raw=/openid/v1/jwks"]).unwrap();
    assert!(keys.contains("RS256"), "{keys}");
    let token = cluster
        .kubectl(&["create", "token", "default", "--audience=smallfleet"])
        .unwrap();
    assert_eq!(token.trim().split('.').count(), 3);
}

fn too_much_memory_is_killed(cluster: &Cluster) {
    let toolbox = cluster.push_toolbox().unwrap();
    let pod = include_str!("greedy.yaml").replace("@TOOLBOX@", &toolbox.reference());
    cluster.apply(&pod).unwrap();
    let reason = "jsonpath={.status.containerStatuses[0].state.terminated.reason}";
    let wait = [
        "wait",
        "pod/greedy",
        "--namespace",
        NAMESPACE,
        "--timeout=60s",
    ];
    cluster
        .kubectl(&[&wait[..], &[&format!("--for={reason}=OOMKilled")]].concat())
        .unwrap();
    cluster
        .kubectl(&["delete", "pod", "greedy", "--namespace", NAMESPACE])
        .unwrap();
}

fn partition(cluster: &Cluster) {
    let node = cluster.node("node-2").unwrap();
    let own_pod = node
        .exec("true", &[])
        .map(|_| pod_address(cluster, "node-2"))
        .unwrap();
    node.partition().unwrap();
    wait_for_ready(cluster, "node-2", "Unknown");
    let answer = node
        .exec(
            "busybox",
            &["wget", "-qO-", &format!("http://{own_pod}:8080")],
        )
        .unwrap();
    assert_eq!(answer.trim(), "node-2");
    assert_eq!(ask_service(cluster, &node), "node-2");
    node.heal().unwrap();
    wait_for_ready(cluster, "node-2", "True");
    rolled_out(cluster);
}

fn daemons_restart(cluster: &Cluster) {
    let node = cluster.node("node-3").unwrap();
    let pod = pod_on(cluster, "node-3");
    let before = node.container_pids(NAMESPACE, &pod, "web").unwrap();
    node.stop_kubelet().unwrap();
    cluster.stop(Component::Containerd(node.id())).unwrap();
    assert_eq!(ask_service(cluster, &node), "node-3");
    cluster.start(Component::Containerd(node.id())).unwrap();
    node.start_kubelet().unwrap();
    assert_eq!(node.container_pids(NAMESPACE, &pod, "web").unwrap(), before);
    cluster.signal(Component::Kubelet(node.id()), Signal::SIGSTOP);
    wait_for_ready(cluster, "node-3", "Unknown");
    cluster.signal(Component::Kubelet(node.id()), Signal::SIGCONT);
    wait_for_ready(cluster, "node-3", "True");
}

fn control_plane_restarts(cluster: &Cluster) {
    let shared = [
        Component::Dns,
        Component::Registry,
        Component::ApiServer,
        Component::Etcd,
    ];
    let folder = tempfile::tempdir().unwrap();
    let pushed = cluster
        .push_folder(folder.path(), "models/kept:v1")
        .unwrap();
    for component in shared {
        cluster.stop(component).unwrap();
        assert!(!cluster.is_running(component));
    }
    assert!(cluster.kubectl(&["get", "nodes"]).is_err());
    for component in shared.into_iter().rev() {
        cluster.start(component).unwrap();
    }
    rolled_out(cluster);
    names_resolve(cluster);
    let manifest = format!(
        "http://198.18.0.1:5000/v2/models/kept/manifests/{}",
        pushed.digest
    );
    let asked = Command::new("curl").args(["-sf", &manifest]).status();
    assert!(asked.unwrap().success(), "the registry forgot {pushed:?}");
}

fn power_cut(cluster: &Cluster) {
    let node = cluster.node("node-1").unwrap();
    node.power_off().unwrap();
    wait_for_ready(cluster, "node-1", "Unknown");
    node.power_on().unwrap();
    wait_for_ready(cluster, "node-1", "True");
    rolled_out(cluster);
    own_node_answers(cluster);
}

fn crash_and_start(cluster: &Cluster) {
    for component in cluster.components() {
        cluster.signal(component, Signal::SIGKILL);
    }
    let again = Cluster::up(cluster.layout(), 3, &Progress::silent()).unwrap();
    assert_eq!(again.nodes().len(), 3);
    assert!(
        again.kubectl(&["get", "namespace", NAMESPACE]).is_err(),
        "a new cluster is empty"
    );
}

fn rolled_out(cluster: &Cluster) {
    let wait = [
        "rollout",
        "status",
        "daemonset/web",
        "--namespace",
        NAMESPACE,
        "--timeout=90s",
    ];
    cluster.kubectl(&wait).unwrap();
}

fn wait_for_ready(cluster: &Cluster, node: &str, status: &str) {
    let condition = format!("--for=condition=Ready={status}");
    cluster
        .kubectl(&["wait", &format!("node/{node}"), &condition, "--timeout=60s"])
        .unwrap();
}

fn pod_on(cluster: &Cluster, node: &str) -> String {
    pod_field(cluster, node, "{.items[0].metadata.name}")
}

fn pod_address(cluster: &Cluster, node: &str) -> String {
    pod_field(cluster, node, "{.items[0].status.podIP}")
}

fn pod_field(cluster: &Cluster, node: &str, path: &str) -> String {
    let on_node = format!("--field-selector=spec.nodeName={node}");
    let output = format!("--output=jsonpath={path}");
    cluster
        .kubectl(&["get", "pods", "--namespace", NAMESPACE, &on_node, &output])
        .unwrap()
}

/// Standard output of a shell command in the pod of a node.
fn in_pod(cluster: &Cluster, node: &str, command: &str) -> String {
    let pod = pod_on(cluster, node);
    let exec = [
        "exec",
        "--namespace",
        NAMESPACE,
        &pod,
        "--",
        "sh",
        "-c",
        command,
    ];
    cluster.kubectl(&exec).unwrap().trim().to_owned()
}

/// The service's answer to the node itself. The address is fixed, so that no API server is needed.
fn ask_service(cluster: &Cluster, node: &Node<'_>) -> String {
    assert!(cluster.node(&node.name()).is_some());
    let url = "http://198.19.0.80";
    node.exec("busybox", &["wget", "-qO-", url])
        .unwrap()
        .trim()
        .to_owned()
}

fn manifests(toolbox: &PushedImage, model: &PushedImage) -> String {
    include_str!("manifests.yaml")
        .replace("@TOOLBOX@", &toolbox.reference())
        .replace("@MODEL@", &model.reference())
}
