//! An engine that answers by script: readiness checks well, everything else as told.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair, PublicKeyData};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

#[derive(Debug, Clone)]
enum Act {
    Send(String),
    Wait(Duration),
}

/// What is written for a request; then the connection is closed.
#[derive(Debug, Clone)]
pub struct Script(Vec<Act>);

impl Script {
    pub fn nothing() -> Self {
        Self(Vec::new())
    }

    /// Begins a stream of events.
    pub fn stream() -> Self {
        Self::nothing().send_raw(
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n",
        )
    }

    /// Begins an answer of known length.
    pub fn whole(kind: &str, length: usize) -> Self {
        Self::nothing().send_raw(&format!(
            "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n"
        ))
    }

    /// A chunk of a stream.
    pub fn send(self, data: &str) -> Self {
        self.send_raw(&format!("{:x}\r\n{data}\r\n", data.len()))
    }

    pub fn send_raw(mut self, data: &str) -> Self {
        self.0.push(Act::Send(data.to_owned()));
        self
    }

    pub fn wait(mut self, time: Duration) -> Self {
        self.0.push(Act::Wait(time));
        self
    }

    /// Ends a stream as HTTP wants it.
    pub fn end(self) -> Self {
        self.send_raw("0\r\n\r\n")
    }

    /// The connection breaks here.
    pub fn die(self) -> Self {
        self
    }
}

pub struct Engine {
    pub address: SocketAddr,
    pub fingerprint: [u8; 32],
}

impl Engine {
    pub async fn start(script: Script) -> Self {
        let (tls, fingerprint) = identity();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (tls, script) = (tls.clone(), script.clone());
                tokio::spawn(async move {
                    if let Ok(stream) = tls.accept(stream).await {
                        // The router may hang up first.
                        let _ = serve(stream, script).await;
                    }
                });
            }
        });
        Self {
            address,
            fingerprint,
        }
    }
}

fn identity() -> (TlsAcceptor, [u8; 32]) {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(["engine".to_owned()]).unwrap();
    let certificate = certificate.self_signed(&key).unwrap();
    let fingerprint = Sha256::digest(key.subject_public_key_info()).into();
    let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], private)
        .unwrap();
    (TlsAcceptor::from(Arc::new(config)), fingerprint)
}

async fn serve(mut stream: TlsStream<TcpStream>, script: Script) -> std::io::Result<()> {
    loop {
        let head = read_request(&mut stream).await?;
        if head.starts_with("GET /readyz") {
            let ready = "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok\n";
            stream.write_all(ready.as_bytes()).await?;
            continue;
        }
        for act in script.0 {
            match act {
                Act::Send(data) => stream.write_all(data.as_bytes()).await?,
                Act::Wait(time) => tokio::time::sleep(time).await,
            }
            stream.flush().await?;
        }
        return stream.shutdown().await;
    }
}

/// The head of a request; its body is read and forgotten.
async fn read_request(stream: &mut TlsStream<TcpStream>) -> std::io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head)
        .to_lowercase()
        .replace("get /", "GET /");
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let length = length.map_or(0, |length| length.trim().parse().unwrap());
    stream.read_exact(&mut vec![0; length]).await?;
    Ok(head)
}
