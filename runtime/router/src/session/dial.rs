//! Where the operator is, and how to reach it safely.

use std::path::PathBuf;

use tokio::time::Duration;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint};

use super::link::Link;

/// Name in the certificate of every operator replica.
const SERVER_NAME: &str = "smallfleet-operator";
/// Time for a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// Largest file that is read here: CA bundle, address, token.
const FILE_MAX: u64 = 1024 * 1024;

/// Why the operator was not reached.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The pod's own files.
    #[error("cannot read {}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the kernel says.
        source: std::io::Error,
    },
    /// The pod's own files.
    #[error("{} holds no {what}", path.display())]
    Content {
        /// Which.
        path: PathBuf,
        /// What is missing.
        what: &'static str,
    },
    /// No connection.
    #[error("no connection to {address}: {}", causes(.source))]
    Connect {
        /// The operator's.
        address: String,
        /// What tonic says.
        source: tonic::transport::Error,
    },
    /// The operator refused, or the connection broke.
    #[error("{address} answers {:?}: {}", .status.code(), .status.message())]
    Refused {
        /// The operator's.
        address: String,
        /// Its status.
        status: Box<tonic::Status>,
    },
    /// Nothing came.
    #[error("{address} gives no answer within {limit:?}")]
    Timeout {
        /// The operator's.
        address: String,
        /// How long was waited.
        limit: Duration,
    },
    /// An answer without content.
    #[error("{address} answers a check-in with nothing")]
    Empty {
        /// The operator's.
        address: String,
    },
}

/// tonic's errors say little themselves.
fn causes(error: &tonic::transport::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// Reads the session's files anew for each connection: they change under a running pod.
#[derive(Debug)]
pub struct Dialer {
    /// Folder with `ca.crt` and `address`.
    pub session_dir: PathBuf,
    /// This pod's token.
    pub token_file: PathBuf,
}

impl Dialer {
    /// Prepares a connection to the leader at `leader`, or to whatever replica the Service gives.
    pub(super) fn dial(&self, leader: Option<&str>) -> Result<Link, SessionError> {
        let address = match leader {
            Some(leader) => leader.to_owned(),
            None => self.text("address", "host:port")?,
        };
        let ca = self.text("ca.crt", "certificate")?;
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(ca))
            .domain_name(SERVER_NAME);
        let connect = |source| SessionError::Connect {
            address: address.clone(),
            source,
        };
        let endpoint = Endpoint::from_shared(format!("https://{address}"))
            .and_then(|endpoint| endpoint.tls_config(tls))
            .map_err(connect)?
            .connect_timeout(CONNECT)
            .tcp_nodelay(true)
            .tcp_keepalive(Some(CONNECT));
        Ok(Link::new(
            address.clone(),
            endpoint.connect_lazy(),
            self.token()?,
        ))
    }

    fn text(&self, name: &str, what: &'static str) -> Result<String, SessionError> {
        let path = self.session_dir.join(name);
        read(path, what)
    }

    fn token(&self) -> Result<MetadataValue<Ascii>, SessionError> {
        let path = self.token_file.clone();
        let token = read(path.clone(), "token")?;
        let what = "token that can be sent";
        format!("Bearer {token}")
            .parse()
            .map_err(|_| SessionError::Content { path, what })
    }
}

/// The trimmed text of a small file. A projected volume lies in memory: reading it does not block.
fn read(path: PathBuf, what: &'static str) -> Result<String, SessionError> {
    let read = || {
        let length = std::fs::metadata(&path)?.len();
        if length > FILE_MAX {
            return Err(std::io::ErrorKind::FileTooLarge.into());
        }
        std::fs::read_to_string(&path)
    };
    match read() {
        Ok(text) if text.trim().is_empty() => Err(SessionError::Content { path, what }),
        Ok(text) => Ok(text.trim().to_owned()),
        Err(source) => Err(SessionError::File { path, source }),
    }
}
