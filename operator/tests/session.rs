//! Sessions over a real socket: TLS by the session's own CA, tokens by a cluster's keys, tonic on both sides.
//!
//! The API server is a function that answers what the operator asks it: its keys, and the Secret of the CA.

#![allow(clippy::unwrap_used, reason = "what cannot go on ends the test")]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::http::{Method, Request, Response, StatusCode};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use kube::Client;
use kube::client::Body;
use rcgen::KeyPair;
use serde_json::{Value, json};
use smallfleet_core::action::{Endpoint, Route, Routes};
use smallfleet_core::world::{Role, RouteKind};
use smallfleet_operator::session::{Authority, Hub, ModelKey, PodIdentity, PodLookup, serve_on};
use smallfleet_protocol::v1::session_client::SessionClient;
use smallfleet_protocol::v1::{self, check_in_reply, operator_message, router_message};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint as Dialed};
use tonic::{Code, Streaming};

const ISSUER: &str = "https://kubernetes.default.svc";
const ROLLOUT: &str = "abcdef123456";

/// The cluster's signing key.
struct Cluster {
    key: KeyPair,
}

impl Cluster {
    fn new() -> Self {
        Self {
            key: KeyPair::generate().unwrap(),
        }
    }

    fn keys(&self) -> Value {
        // An uncompressed point: 4, x, y.
        let point = self.key.public_key_raw();
        let part = |bytes: &[u8]| base64_url(bytes);
        json!({"keys": [{"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": "k1",
            "x": part(&point[1..33]), "y": part(&point[33..65])}]})
    }

    fn token(&self, changes: &Value) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let mut claims = json!({
            "iss": ISSUER, "aud": ["smallfleet"], "exp": now.as_secs() + 600,
            "kubernetes.io": {"namespace": "shop", "pod": {"name": "intent-x", "uid": "uid-1"}},
        });
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        let header = Header {
            kid: Some("k1".to_owned()),
            ..Header::new(Algorithm::ES256)
        };
        let key = EncodingKey::from_ec_der(&self.key.serialize_der());
        encode(&header, &claims, &key).unwrap()
    }

    /// A client of an API server that knows this cluster's keys and keeps one Secret.
    fn client(&self) -> Client {
        let keys = self.keys();
        let secret: Arc<Mutex<Option<Value>>> = Arc::default();
        let answer = move |request: Request<Body>| {
            let (keys, secret) = (keys.clone(), secret.clone());
            async move { Ok::<_, std::convert::Infallible>(answer(request, keys, &secret).await) }
        };
        Client::new(tower::service_fn(answer), "smallfleet")
    }
}

async fn answer(
    request: Request<Body>,
    keys: Value,
    secret: &Mutex<Option<Value>>,
) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let body = body.collect_bytes().await.unwrap();
    let not_found =
        json!({"kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404});
    let (status, answer) = match (parts.method, parts.uri.path()) {
        (_, "/.well-known/openid-configuration") => (StatusCode::OK, json!({"issuer": ISSUER})),
        (_, "/openid/v1/jwks") => (StatusCode::OK, keys),
        (Method::POST, path) if path.ends_with("/secrets") => {
            let made: Value = serde_json::from_slice(&body).unwrap();
            *secret.lock().unwrap() = Some(made.clone());
            (StatusCode::CREATED, made)
        }
        (Method::GET, path) if path.ends_with("/secrets/smallfleet-ca") => {
            match secret.lock().unwrap().clone() {
                Some(kept) => (StatusCode::OK, kept),
                None => (StatusCode::NOT_FOUND, not_found),
            }
        }
        _ => (StatusCode::NOT_FOUND, not_found),
    };
    let bytes = serde_json::to_vec(&answer).unwrap();
    Response::builder()
        .status(status)
        .body(Body::from(bytes))
        .unwrap()
}

fn base64_url(bytes: &[u8]) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let mut group = [0; 3];
        group[..chunk.len()].copy_from_slice(chunk);
        let bits = u32::from_be_bytes([0, group[0], group[1], group[2]]);
        for index in 0..=chunk.len() {
            let letter = (bits >> (18 - 6 * index)) & 63;
            text.push(char::from(LETTERS[letter as usize]));
        }
    }
    text
}

/// The pods that the operator knows.
struct Pods(Mutex<Option<PodIdentity>>);

impl PodLookup for Pods {
    fn find(&self, namespace: &str, pod_uid: &str) -> Option<PodIdentity> {
        let known = (namespace, pod_uid) == ("shop", "uid-1");
        self.0.lock().unwrap().clone().filter(|_| known)
    }
}

fn identity() -> PodIdentity {
    PodIdentity {
        name: "intent-x".to_owned(),
        model: "intent".to_owned(),
        role: Role::Stable,
        node: "node-1".to_owned(),
        ip: "198.18.11.4".to_owned(),
        deleting: false,
    }
}

fn key() -> ModelKey {
    ("shop".to_owned(), "intent".to_owned())
}

/// An operator that serves sessions on loopback until dropped.
struct Operator {
    cluster: Cluster,
    address: SocketAddr,
    ca: String,
    hub: Hub,
    pods: Arc<Pods>,
    _wakes: mpsc::Receiver<ModelKey>,
    _running: DropGuard,
}

impl Operator {
    async fn start() -> Self {
        // The first test that comes installs it for all.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let cluster = Cluster::new();
        let client = cluster.client();
        let authority = Authority::load(client.clone(), "smallfleet").await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (wake, wakes) = mpsc::channel(64);
        let hub = Hub::new(wake);
        let pods = Arc::new(Pods(Mutex::new(Some(identity()))));
        let stop = CancellationToken::new();
        let ca = authority.bundle_pem();
        let serving = {
            let (hub, pods, stop) = (hub.clone(), pods.clone(), stop.clone());
            async move { serve_on(listener, &authority, client, hub, pods, stop).await }
        };
        tokio::spawn(serving);
        Self {
            cluster,
            address,
            ca,
            hub,
            pods,
            _wakes: wakes,
            _running: stop.drop_guard(),
        }
    }

    async fn leading() -> Self {
        let operator = Self::start().await;
        operator.hub.lead(7);
        let _ = operator.hub.view(&key(), ROLLOUT);
        operator.hub.publish(&key(), routes(RouteKind::Grant, 1));
        operator
    }

    async fn dial(&self) -> Result<SessionClient<Channel>, tonic::transport::Error> {
        self.dial_trusting(&self.ca).await
    }

    async fn dial_trusting(
        &self,
        ca: &str,
    ) -> Result<SessionClient<Channel>, tonic::transport::Error> {
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(ca))
            .domain_name("smallfleet-operator");
        let endpoint = Dialed::from_shared(format!("https://{}", self.address))?;
        let channel = endpoint.tls_config(tls)?.connect().await?;
        Ok(SessionClient::new(channel))
    }

    async fn check_in(
        &self,
        token: &str,
        hello: v1::Hello,
    ) -> Result<check_in_reply::Reply, tonic::Status> {
        let mut client = self.dial().await.unwrap();
        let reply = client.check_in(bearing(token, hello)).await?;
        Ok(reply.into_inner().reply.unwrap())
    }

    fn token(&self) -> String {
        self.cluster.token(&json!({}))
    }
}

fn bearing<T>(token: &str, message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    let value = format!("Bearer {token}").parse().unwrap();
    request.metadata_mut().insert("authorization", value);
    request
}

fn hello() -> v1::Hello {
    let mut hello = v1::Hello {
        instance: "a".to_owned(),
        namespace: "shop".to_owned(),
        model: "intent".to_owned(),
        pod_name: "intent-x".to_owned(),
        pod_uid: "uid-1".to_owned(),
        node: "node-1".to_owned(),
        engine: Some(v1::Engine {
            address: "198.18.11.4:8443".to_owned(),
            ..v1::Engine::default()
        }),
        ..v1::Hello::default()
    };
    hello.set_role(v1::Role::Stable);
    hello
}

fn routes(kind: RouteKind, sequence: u64) -> Routes {
    let route = Route {
        kind,
        candidate_traffic_permille: 500,
        candidate: Some(Endpoint {
            revision: "r2".to_owned(),
            address: "198.18.11.5:8443".to_owned(),
            fingerprint: "ab".to_owned(),
        }),
        overrides: Vec::new(),
        latency: None,
        burn_in_units: 50,
        errors_maturity_seconds: 10,
    };
    Routes {
        rollout: ROLLOUT.to_owned(),
        sequence,
        granting: true,
        by_router: [("uid-1".to_owned(), route)].into(),
    }
}

/// A router with an open stream.
struct Router {
    up: mpsc::Sender<v1::RouterMessage>,
    down: Streaming<v1::OperatorMessage>,
}

impl Router {
    async fn open(operator: &Operator) -> Self {
        let (up, messages) = mpsc::channel(16);
        send(&up, router_message::Message::Hello(hello())).await;
        let mut client = operator.dial().await.unwrap();
        let request = bearing(&operator.token(), ReceiverStream::new(messages));
        let down = client.stream(request).await.unwrap().into_inner();
        Self { up, down }
    }

    async fn next(&mut self) -> Option<operator_message::Message> {
        let next = tokio::time::timeout(Duration::from_secs(10), self.down.message());
        let message = next.await.expect("the operator says something or ends");
        message.ok().flatten().and_then(|message| message.message)
    }

    async fn next_route(&mut self) -> v1::Route {
        loop {
            match self.next().await {
                Some(operator_message::Message::Route(route)) => return route,
                Some(_) => {}
                None => panic!("the stream ended"),
            }
        }
    }
}

async fn send(up: &mpsc::Sender<v1::RouterMessage>, message: router_message::Message) {
    let message = v1::RouterMessage {
        message: Some(message),
    };
    up.send(message).await.unwrap();
}

#[tokio::test]
async fn a_router_of_the_wave_checks_in_and_is_asked_for_a_stream() {
    let operator = Operator::leading().await;
    let reply = operator.check_in(&operator.token(), hello()).await.unwrap();
    let check_in_reply::Reply::Welcome(welcome) = reply else {
        panic!("{reply:?}")
    };
    assert!(welcome.stream);
    assert_eq!(welcome.leader_epoch, 7);
    assert_eq!(welcome.next_check_in_seconds, 5);
}

#[tokio::test]
async fn a_standby_names_the_leader_on_both_calls() {
    let operator = Operator::start().await;
    let leader = "198.18.0.9:9443";
    operator.hub.stand_by(Some(leader.to_owned()));
    let reply = operator.check_in(&operator.token(), hello()).await.unwrap();
    assert!(
        matches!(&reply, check_in_reply::Reply::NotLeader(other) if other.address == leader),
        "{reply:?}"
    );
    let mut router = Router::open(&operator).await;
    let first = router.next().await;
    assert!(
        matches!(&first, Some(operator_message::Message::NotLeader(other)) if other.address == leader),
        "{first:?}"
    );
    assert_eq!(router.next().await, None);
}

#[tokio::test]
async fn a_stream_brings_routes_echoes_and_a_cut() {
    let operator = Operator::leading().await;
    let mut router = Router::open(&operator).await;
    let grant = router.next_route().await;
    assert_eq!((grant.kind(), grant.sequence), (v1::route::Kind::Grant, 1));
    let keep_alive = v1::KeepAlive { nonce: 42 };
    send(&router.up, router_message::Message::KeepAlive(keep_alive)).await;
    let lease = router.next().await;
    assert!(
        matches!(&lease, Some(operator_message::Message::Lease(lease)) if lease.nonce == 42 && lease.rollout_id == ROLLOUT),
        "{lease:?}"
    );
    operator.hub.cut(&key(), ROLLOUT);
    assert_eq!(router.next_route().await.kind(), v1::route::Kind::Cut);
}

#[tokio::test]
async fn what_a_router_reports_is_seen_by_the_next_plan() {
    let mut operator = Operator::leading().await;
    let mut router = Router::open(&operator).await;
    router.next_route().await;
    while operator._wakes.try_recv().is_ok() {}
    let report = v1::Report {
        epochs: vec![v1::Epoch {
            id: 7,
            rollout_id: ROLLOUT.to_owned(),
            sequence: 1,
            candidate_traffic_permille: 500,
            errors: Some(v1::ErrorCounts {
                stable_units: 10,
                candidate_units: 12,
                stable: 0,
                candidate: 1,
            }),
            ..v1::Epoch::default()
        }],
        ..v1::Report::default()
    };
    send(&router.up, router_message::Message::Report(report)).await;
    // A first report wakes the model.
    assert_eq!(operator._wakes.recv().await, Some(key()));
    let view = operator.hub.view(&key(), ROLLOUT);
    assert_eq!(view.open.units().candidate, 12);
    assert!(
        operator
            .hub
            .heard_enough(&key(), &["uid-1".to_owned()], &[])
    );
}

#[tokio::test]
async fn tokens_that_are_not_this_pods_are_refused_with_the_reason() {
    let operator = Operator::leading().await;
    let foreign = Cluster::new();
    let cases = [
        (
            operator.cluster.token(&json!({"exp": 1_000_000})),
            "expired",
        ),
        (
            operator.cluster.token(&json!({"aud": ["vault"]})),
            "Audience",
        ),
        (
            operator.cluster.token(&json!({"iss": "https://elsewhere"})),
            "Issuer",
        ),
        (
            operator
                .cluster
                .token(&json!({"kubernetes.io": {"namespace": "shop"}})),
            "bound to no pod",
        ),
        (foreign.token(&json!({})), "Signature"),
        ("no.token.atall".to_owned(), "not valid"),
    ];
    for (token, reason) in cases {
        let status = operator.check_in(&token, hello()).await.unwrap_err();
        assert_eq!(status.code(), Code::Unauthenticated, "{status}");
        assert!(status.message().contains(reason), "{reason}: {status}");
    }
    let mut client = operator.dial().await.unwrap();
    let status = client.check_in(hello()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    assert!(status.message().contains("no token"), "{status}");
}

#[tokio::test]
async fn a_pod_speaks_for_itself_only() {
    let operator = Operator::leading().await;
    let change = |change: fn(&mut v1::Hello)| {
        let mut hello = hello();
        change(&mut hello);
        hello
    };
    let cases = [
        (
            change(|hello| hello.namespace = "bank".to_owned()),
            "namespace",
        ),
        (change(|hello| hello.model = "fraud".to_owned()), "model"),
        (
            change(|hello| hello.pod_uid = "uid-2".to_owned()),
            "pod_uid",
        ),
        (change(|hello| hello.node = "node-2".to_owned()), "node"),
        (change(|hello| hello.set_role(v1::Role::Candidate)), "role"),
        (
            change(|hello| {
                let engine = hello.engine.get_or_insert_default();
                engine.address = "198.18.11.66:8443".to_owned();
            }),
            "engine",
        ),
    ];
    for (hello, field) in cases {
        let status = operator
            .check_in(&operator.token(), hello)
            .await
            .unwrap_err();
        assert_eq!(status.code(), Code::PermissionDenied, "{status}");
        assert!(status.message().contains(field), "{field}: {status}");
    }
}

#[tokio::test]
async fn a_pod_that_is_not_known_yet_is_asked_to_come_again() {
    let operator = Operator::leading().await;
    let known = operator.pods.0.lock().unwrap().take();
    let status = operator
        .check_in(&operator.token(), hello())
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    *operator.pods.0.lock().unwrap() = known.map(|pod| PodIdentity {
        deleting: true,
        ..pod
    });
    let status = operator
        .check_in(&operator.token(), hello())
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition, "{status}");
}

#[tokio::test]
async fn a_stream_that_begins_to_speak_for_another_pod_is_ended() {
    let operator = Operator::leading().await;
    let mut router = Router::open(&operator).await;
    router.next_route().await;
    let mut other = hello();
    other.model = "fraud".to_owned();
    send(&router.up, router_message::Message::Hello(other)).await;
    assert_eq!(router.next().await, None);
}

#[tokio::test]
async fn a_stream_has_to_begin_with_a_hello() {
    let operator = Operator::leading().await;
    let (up, messages) = mpsc::channel(1);
    send(
        &up,
        router_message::Message::KeepAlive(v1::KeepAlive { nonce: 1 }),
    )
    .await;
    let mut client = operator.dial().await.unwrap();
    let request = bearing(&operator.token(), ReceiverStream::new(messages));
    let status = client.stream(request).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
}

#[tokio::test]
async fn routers_trust_only_the_operators_own_authority() {
    let operator = Operator::leading().await;
    let other = Operator::leading().await;
    assert!(operator.dial_trusting(&other.ca).await.is_err());
    assert!(operator.dial_trusting(&operator.ca).await.is_ok());
}

#[tokio::test]
async fn a_second_replica_has_the_same_authority() {
    let cluster = Cluster::new();
    let client = cluster.client();
    let first = Authority::load(client.clone(), "smallfleet").await.unwrap();
    let second = Authority::load(client, "smallfleet").await.unwrap();
    assert_eq!(first.bundle_pem(), second.bundle_pem());
}
