use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::{Duration, timeout};
use tokio_rustls::TlsConnector;

use super::pin::{self, Fingerprint};
use super::pool::{Connection, Pool};

/// Time for a TCP connection and its TLS handshake. The engine is a pod on the same node.
const CONNECT: Duration = Duration::from_secs(2);

/// Why an engine gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// No TCP connection.
    #[error("no connection to {address}: {source}")]
    Connect {
        /// The engine's.
        address: SocketAddr,
        /// What the kernel says.
        source: std::io::Error,
    },
    /// No TCP connection, or no handshake, in time.
    #[error("no connection to {address} within {CONNECT:?}")]
    ConnectTimeout {
        /// The engine's.
        address: SocketAddr,
    },
    /// Whoever answers there is not this engine.
    #[error("{address} has another key than {expected}")]
    OtherKey {
        /// The engine's.
        address: SocketAddr,
        /// The engine's.
        expected: Fingerprint,
    },
    /// The handshake failed.
    #[error("TLS with {address}: {source}")]
    Tls {
        /// The engine's.
        address: SocketAddr,
        /// What rustls says.
        source: std::io::Error,
    },
    /// The connection ended before an answer began.
    #[error("{address} broke the connection: {source}")]
    Broken {
        /// The engine's.
        address: SocketAddr,
        /// What hyper says.
        source: hyper::Error,
    },
}

impl EngineError {
    /// The error's name in metrics.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Connect { .. } => "connect",
            Self::ConnectTimeout { .. } => "connect_timeout",
            Self::OtherKey { .. } => "other_key",
            Self::Tls { .. } => "tls",
            Self::Broken { .. } => "broken",
        }
    }
}

/// HTTPS client of one engine process, known by its address and key.
#[derive(Debug)]
pub struct EngineClient {
    address: SocketAddr,
    fingerprint: Fingerprint,
    tls: Arc<ClientConfig>,
    pool: Pool,
}

/// A connection whose answer is being read. Dropping it closes the connection, which tells the engine to stop.
#[derive(Debug)]
pub struct Lent {
    client: Arc<EngineClient>,
    connection: Connection,
}

impl Lent {
    /// The answer was read to its end: the connection can take another request.
    pub fn give_back(self) {
        self.client.pool.put(self.connection);
    }
}

impl EngineClient {
    /// At most `idle_max` connections are kept idle.
    #[must_use]
    pub fn new(address: SocketAddr, fingerprint: Fingerprint, idle_max: usize) -> Self {
        Self {
            address,
            fingerprint,
            tls: pin::client_config(fingerprint),
            pool: Pool::new(idle_max),
        }
    }

    /// Where the engine is.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The engine's key.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Closes idle connections; those in use end with their answers.
    pub fn close_idle(&self) {
        self.pool.clear();
    }

    /// Sends a request and returns the head of the answer. It has no time limit but that of connecting: drop the future.
    ///
    /// A request that a reused connection did not take is sent again on another; one that may have been read is not.
    pub async fn send(
        self: &Arc<Self>,
        mut request: Request<Full<Bytes>>,
    ) -> Result<(Response<Incoming>, Lent), EngineError> {
        loop {
            let (mut connection, reused) = match self.pool.take().await {
                Some(connection) => (connection, true),
                None => (self.connect().await?, false),
            };
            match connection.sender.try_send_request(request).await {
                Ok(response) => {
                    let client = self.clone();
                    return Ok((response, Lent { client, connection }));
                }
                Err(mut error) => match error.take_message() {
                    Some(unsent) if reused => request = unsent,
                    _ => return Err(self.broken(error.into_error())),
                },
            }
        }
    }

    async fn connect(&self) -> Result<Connection, EngineError> {
        let address = self.address;
        timeout(CONNECT, self.handshake())
            .await
            .unwrap_or(Err(EngineError::ConnectTimeout { address }))
    }

    async fn handshake(&self) -> Result<Connection, EngineError> {
        let address = self.address;
        let connect = |source| EngineError::Connect { address, source };
        let tcp = TcpStream::connect(address).await.map_err(connect)?;
        tcp.set_nodelay(true).map_err(connect)?;
        let name = ServerName::IpAddress(address.ip().into());
        let tls = TlsConnector::from(self.tls.clone())
            .connect(name, tcp)
            .await;
        let tls = tls.map_err(|error| self.tls_error(error))?;
        let (sender, connection) = http1::handshake(TokioIo::new(tls))
            .await
            .map_err(|error| self.broken(error))?;
        // It ends when the sender is dropped or the engine closes; its errors reach whoever waits for an answer.
        tokio::spawn(async move {
            let _ = connection.await;
        });
        Ok(Connection::new(sender))
    }

    fn tls_error(&self, source: std::io::Error) -> EngineError {
        let address = self.address;
        if pin::is_other_key(&source) {
            let expected = self.fingerprint;
            EngineError::OtherKey { address, expected }
        } else {
            EngineError::Tls { address, source }
        }
    }

    fn broken(&self, source: hyper::Error) -> EngineError {
        let address = self.address;
        EngineError::Broken { address, source }
    }
}
