//! Engines to test, and a client that pins their key as routers do.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::http::request::Builder;
use hyper::{HeaderMap, Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use serde_json::Value;
use sha2::{Digest, Sha256};
use smallfleet_engine::{Config, Engine, EngineError, EngineState, Task};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

pub const MODEL_NAME: &str = "intent";
pub const REVISION: &str = "b7f2c9d1e0";

pub fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixture")
}

/// A copy of the fixture's classifier that a test may spoil.
pub fn copied_model() -> TempDir {
    copied("model")
}

/// A copy of a folder of the fixture.
pub fn copied(folder: &str) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(fixture().join(folder)).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    copy
}

/// Writes one field of a JSON file anew.
pub fn set_field(file: &Path, field: &str, value: Value) {
    let mut json: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    json[field] = value;
    std::fs::write(file, json.to_string()).unwrap();
}

pub fn config(model_dir: &Path, run_dir: &Path) -> Config {
    let onnxruntime = std::env::var_os("ORT_DYLIB_PATH").map(PathBuf::from);
    assert!(
        onnxruntime.is_some(),
        "ORT_DYLIB_PATH is not set: run the tests with `make test`, or set it to libonnxruntime.so 1.31"
    );
    Config {
        model_dir: model_dir.into(),
        run_dir: run_dir.into(),
        model_name: MODEL_NAME.into(),
        revision: REVISION.into(),
        task: Task::TextClassification,
        threads: NonZeroUsize::MIN,
        max_concurrent_requests: NonZeroUsize::new(8).unwrap(),
        max_queued_requests: 32,
        max_request_seconds: 60,
        kv_memory_mib: 64,
        listen: ([127, 0, 0, 1], 0).into(),
        onnxruntime,
        termination_log: run_dir.join("termination-log"),
    }
}

/// A ready engine on the fixture's model.
pub struct TestEngine {
    pub address: SocketAddr,
    pub state: EngineState,
    pub stop: oneshot::Sender<()>,
    pub ended: JoinHandle<Result<(), EngineError>>,
    _run_dir: TempDir,
}

impl TestEngine {
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub async fn start_with(adjust: impl FnOnce(&mut Config)) -> Self {
        let run_dir = tempfile::tempdir().unwrap();
        let mut config = config(&fixture().join("model"), run_dir.path());
        adjust(&mut config);
        let engine = Engine::bind(config).await.unwrap();
        let address = engine.address().unwrap();
        let (stop, stopped) = oneshot::channel();
        // Stopped by the message, or when the test drops its end.
        let ended = tokio::spawn(engine.run(async { drop(stopped.await) }));
        let mut state = EngineState::read(run_dir.path()).unwrap().unwrap();
        let mut client = Client::connect(address, &state.fingerprint).await;
        while client.get("/readyz").await.status != StatusCode::OK {
            assert!(!ended.is_finished(), "the engine ended: {:?}", ended.await);
        }
        while state.state != smallfleet_engine::Phase::Ready {
            tokio::task::yield_now().await;
            state = EngineState::read(run_dir.path()).unwrap().unwrap();
        }
        Self {
            address,
            state,
            stop,
            ended,
            _run_dir: run_dir,
        }
    }

    pub async fn client(&self) -> Client {
        Client::connect(self.address, &self.state.fingerprint).await
    }

    /// Starts a request on its own connection.
    pub fn post_in_background(&self, path: &'static str, body: Value) -> JoinHandle<Answer> {
        let (address, fingerprint) = (self.address, self.state.fingerprint.clone());
        tokio::spawn(async move {
            Client::connect(address, &fingerprint)
                .await
                .post(path, &body.to_string())
                .await
        })
    }

    /// Asks `/metrics` until the line is there.
    pub async fn wait_for_metric(&self, line: &str) {
        let mut client = self.client().await;
        while !client
            .get("/metrics")
            .await
            .text()
            .lines()
            .any(|it| it == line)
        {}
    }
}

#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {}", self.text()))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// `type` and message of an error in the common form.
    pub fn error(&self) -> (String, String) {
        let error = self.json()["error"].clone();
        (
            error["type"].as_str().unwrap().into(),
            error["message"].as_str().unwrap().into(),
        )
    }
}

/// One keep-alive connection.
pub struct Client {
    sender: SendRequest<Full<Bytes>>,
}

impl Client {
    pub async fn connect(address: SocketAddr, fingerprint: &str) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let name = ServerName::try_from("any.name").unwrap();
        let stream = TlsConnector::from(pinned(fingerprint))
            .connect(name, stream)
            .await
            .unwrap();
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Self { sender }
    }

    pub async fn send(&mut self, request: Builder, body: impl Into<Bytes>) -> Answer {
        let request = request
            .header("host", "engine")
            .body(Full::new(body.into()))
            .unwrap();
        self.sender.ready().await.unwrap();
        let response = self.sender.send_request(request).await.unwrap();
        let (parts, body) = response.into_parts();
        Answer {
            status: parts.status,
            headers: parts.headers,
            body: body.collect().await.unwrap().to_bytes(),
        }
    }

    pub async fn get(&mut self, path: &str) -> Answer {
        self.send(Request::get(path), "").await
    }

    pub async fn post(&mut self, path: &str, body: &str) -> Answer {
        self.send(Request::post(path), body.to_owned()).await
    }
}

fn pinned(fingerprint: &str) -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Pin {
        fingerprint: fingerprint.to_owned(),
        provider: Arc::clone(&provider),
    };
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    Arc::new(config)
}

#[derive(Debug)]
struct Pin {
    fingerprint: String,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pin {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let key = ParsedCertificate::try_from(certificate)?.subject_public_key_info();
        let digest: String = Sha256::digest(&key)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(
            digest, self.fingerprint,
            "the key is not the one in engine.json"
        );
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.2 is not offered".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
