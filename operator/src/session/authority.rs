//! The session's own certificate authority, kept in a Secret of the operator's namespace.
//!
//! Whoever comes first makes it. It is renewed at two thirds of its life; the previous one stays in the bundle, and every replica
//! signs its serving certificate anew at each start.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::{Api, ObjectMeta, PostParams};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use tonic::transport::Identity;

use crate::error::is_conflict;

/// Name that every serving certificate is for.
pub const SERVER_NAME: &str = "smallfleet-operator";

const SECRET: &str = "smallfleet-ca";
const LIFE: Duration = Duration::from_secs(10 * 365 * 86_400);
const SERVING_LIFE: Duration = Duration::from_secs(365 * 86_400);
/// Certificates are valid from a little before now: clocks of nodes differ.
const SKEW: Duration = Duration::from_secs(3600);

/// Why there is no authority.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    #[error("the Secret {SECRET}: {0}")]
    Api(#[from] kube::Error),
    #[error("a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    #[error(
        "the Secret {SECRET} has no usable `{0}`: delete it, and the operator makes a new one at its next start"
    )]
    Unusable(&'static str),
}

/// The CA in use, and the one before it.
#[derive(Clone, Debug)]
pub struct Authority {
    certificate: String,
    key: String,
    previous: Option<String>,
}

impl Authority {
    /// Reads the Secret, making or renewing it where that is due.
    ///
    /// # Errors
    /// When the API server does not answer, a right is missing, or the Secret is unusable.
    pub async fn load(client: Client, namespace: &str) -> Result<Self, AuthorityError> {
        let secrets: Api<Secret> = Api::namespaced(client, namespace);
        loop {
            let written = match secrets.get_opt(SECRET).await? {
                Some(secret) if !is_due(&secret) => return Self::of(&secret),
                Some(old) => {
                    let previous = Some(Self::of(&old)?.certificate);
                    let version = old.metadata.resource_version;
                    let renewed = make(previous, version)?;
                    secrets
                        .replace(SECRET, &PostParams::default(), &renewed)
                        .await
                }
                None => {
                    secrets
                        .create(&PostParams::default(), &make(None, None)?)
                        .await
                }
            };
            match written {
                Ok(secret) => return Self::of(&secret),
                // Another replica was faster: take what it made.
                Err(error) if is_conflict(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn of(secret: &Secret) -> Result<Self, AuthorityError> {
        let text = |key: &'static str| {
            let bytes = secret.data.as_ref().and_then(|data| data.get(key));
            bytes.and_then(|bytes| String::from_utf8(bytes.0.clone()).ok())
        };
        Ok(Self {
            certificate: text("ca.crt").ok_or(AuthorityError::Unusable("ca.crt"))?,
            key: text("ca.key").ok_or(AuthorityError::Unusable("ca.key"))?,
            previous: text("previous.crt"),
        })
    }

    /// What routers trust: PEM of one or two CAs.
    #[must_use]
    pub fn bundle_pem(&self) -> String {
        let mut bundle = self.certificate.clone();
        bundle += self.previous.as_deref().unwrap_or_default();
        bundle
    }

    /// A new key and a certificate for [`SERVER_NAME`].
    pub(super) fn serving_identity(&self) -> Result<Identity, AuthorityError> {
        let issuer = Issuer::new(ca_params(), KeyPair::from_pem(&self.key)?);
        let mut params = CertificateParams::new(vec![SERVER_NAME.to_owned()])?;
        set_life(&mut params, SERVING_LIFE);
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &issuer)?;
        Ok(Identity::from_pem(certificate.pem(), key.serialize_pem()))
    }
}

/// Two thirds of its life are over, by the creation time that the API server keeps.
fn is_due(secret: &Secret) -> bool {
    let made = secret.data.as_ref().and_then(|data| data.get("made"));
    let made = made.and_then(|bytes| String::from_utf8_lossy(&bytes.0).parse::<u64>().ok());
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    made.is_some_and(|made| now.saturating_sub(made) > LIFE.as_secs() * 2 / 3)
}

fn make(
    previous: Option<String>,
    resource_version: Option<String>,
) -> Result<Secret, AuthorityError> {
    let key = KeyPair::generate()?;
    let certificate = ca_params().self_signed(&key)?;
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let mut data = BTreeMap::from([
        ("ca.crt".to_owned(), certificate.pem()),
        ("ca.key".to_owned(), key.serialize_pem()),
        ("made".to_owned(), now.to_string()),
    ]);
    data.extend(previous.map(|pem| ("previous.crt".to_owned(), pem)));
    Ok(Secret {
        metadata: ObjectMeta {
            name: Some(SECRET.to_owned()),
            resource_version,
            ..ObjectMeta::default()
        },
        data: Some(
            data.into_iter()
                .map(|(key, text)| (key, ByteString(text.into_bytes())))
                .collect(),
        ),
        ..Secret::default()
    })
}

fn ca_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params
        .distinguished_name
        .push(DnType::CommonName, "smallfleet session CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::DigitalSignature,
    ];
    set_life(&mut params, LIFE);
    params
}

fn set_life(params: &mut CertificateParams, life: Duration) {
    let now = SystemTime::now();
    params.not_before = (now - SKEW).into();
    params.not_after = (now + life).into();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_serving_certificate_can_be_made_from_what_the_secret_keeps() {
        let authority = Authority::of(&make(Some("old".to_owned()), None).unwrap()).unwrap();
        authority.serving_identity().unwrap();
        assert!(
            authority
                .bundle_pem()
                .starts_with("-----BEGIN CERTIFICATE-----")
        );
        assert!(authority.bundle_pem().ends_with("old"));
    }

    #[test]
    fn a_new_authority_is_not_due() {
        assert!(!is_due(&make(None, None).unwrap()));
    }
}
