//! The engine's key and certificate: made at start, held in memory, known to routers by the fingerprint alone.

use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair, PublicKeyData};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::NoServerSessionStorage;
use sha2::{Digest, Sha256};

/// Name in the certificate; clients pin the key and do not look at it.
const SERVER_NAME: &str = "smallfleet-engine";

#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error("cannot make a key: {0}")]
    Key(#[from] rcgen::Error),
    #[error("cannot set up TLS: {0}")]
    Tls(#[from] rustls::Error),
}

pub struct Identity {
    pub tls: Arc<ServerConfig>,
    /// SHA-256 of the SubjectPublicKeyInfo (DER), lower-case hex.
    pub fingerprint: String,
}

impl Identity {
    /// ECDSA P-256, TLS 1.3 only: the clients are our own routers.
    pub fn generate() -> Result<Self, IdentityError> {
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new([SERVER_NAME.to_owned()])?.self_signed(&key)?;
        let fingerprint = hex(&Sha256::digest(key.subject_public_key_info()));
        let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], private)?;
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        // No resumption: every connection shows the key, and both arms pay the same handshake.
        tls.session_storage = Arc::new(NoServerSessionStorage {});
        tls.send_tls13_tickets = 0;
        Ok(Self {
            tls: Arc::new(tls),
            fingerprint,
        })
    }
}

/// Random hex that tells this process from every other.
pub fn instance() -> String {
    hex(&rand::random::<[u8; 8]>())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_process_has_another_key() {
        let (one, other) = (Identity::generate().unwrap(), Identity::generate().unwrap());
        assert_eq!(one.fingerprint.len(), 64);
        assert!(
            one.fingerprint
                .bytes()
                .all(|byte| byte.is_ascii_hexdigit() && !byte.is_ascii_uppercase())
        );
        assert_ne!(one.fingerprint, other.fingerprint);
        assert_ne!(instance(), instance());
    }
}
