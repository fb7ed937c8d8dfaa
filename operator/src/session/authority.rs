//! The session's own certificate authority, kept in a Secret of the operator's namespace.
//!
//! Whoever comes first makes it. It is renewed at two thirds of its life; the previous one stays in the bundle, and every replica
//! signs its serving certificate anew at each start. For a day after a renewal the previous one still signs: until then the bundle with
//! the new one has reached every pod.

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
/// Of a key that lives in memory only, in a process that may run for years; within what is left of a CA that is due.
const SERVING_LIFE: Duration = Duration::from_secs(3 * 365 * 86_400);
/// Time in which every pod has the renewed bundle.
const SPREAD: Duration = Duration::from_secs(86_400);
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
    /// Certificate and, where it still signs, key.
    previous: Option<(String, Option<String>)>,
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
                    let previous = Self::of(&old)?;
                    let version = old.metadata.resource_version;
                    let renewed = make(Some((previous.certificate, previous.key)), version)?;
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
            previous: text("previous.crt").map(|certificate| {
                let signs = age(secret).is_some_and(|age| age < SPREAD);
                (certificate, text("previous.key").filter(|_| signs))
            }),
        })
    }

    /// What routers trust: PEM of one or two CAs.
    #[must_use]
    pub fn bundle_pem(&self) -> String {
        let mut bundle = self.certificate.clone();
        if let Some((certificate, _)) = &self.previous {
            bundle += certificate;
        }
        bundle
    }

    /// A new key and a certificate for [`SERVER_NAME`].
    pub(super) fn serving_identity(&self) -> Result<Identity, AuthorityError> {
        let previous = self.previous.as_ref().and_then(|(_, key)| key.as_ref());
        let signer = KeyPair::from_pem(previous.unwrap_or(&self.key))?;
        let issuer = Issuer::new(ca_params(), signer);
        let mut params = CertificateParams::new(vec![SERVER_NAME.to_owned()])?;
        set_life(&mut params, SERVING_LIFE);
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &issuer)?;
        Ok(Identity::from_pem(certificate.pem(), key.serialize_pem()))
    }
}

/// Two thirds of its life are over.
fn is_due(secret: &Secret) -> bool {
    age(secret).is_some_and(|age| age > LIFE * 2 / 3)
}

/// Since the CA was made, by the clock of whoever made it.
fn age(secret: &Secret) -> Option<Duration> {
    let made = secret.data.as_ref().and_then(|data| data.get("made"))?;
    let made: u64 = String::from_utf8_lossy(&made.0).parse().ok()?;
    Some(Duration::from_secs(now().saturating_sub(made)))
}

/// Seconds since 1970.
fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default().as_secs()
}

fn make(
    previous: Option<(String, String)>,
    resource_version: Option<String>,
) -> Result<Secret, AuthorityError> {
    let key = KeyPair::generate()?;
    let certificate = ca_params().self_signed(&key)?;
    let mut data = BTreeMap::from([
        ("ca.crt".to_owned(), certificate.pem()),
        ("ca.key".to_owned(), key.serialize_pem()),
        ("made".to_owned(), now().to_string()),
    ]);
    if let Some((certificate, key)) = previous {
        data.insert("previous.crt".to_owned(), certificate);
        data.insert("previous.key".to_owned(), key);
    }
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

    fn text(secret: &Secret, key: &str) -> String {
        String::from_utf8(secret.data.as_ref().unwrap()[key].0.clone()).unwrap()
    }

    fn made(mut secret: Secret, ago: Duration) -> Secret {
        let made = (now() - ago.as_secs()).to_string();
        let data = secret.data.as_mut().unwrap();
        data.insert("made".to_owned(), ByteString(made.into_bytes()));
        secret
    }

    #[test]
    fn a_serving_certificate_can_be_made_from_what_the_secret_keeps() {
        let authority = Authority::of(&make(None, None).unwrap()).unwrap();
        authority.serving_identity().unwrap();
        let bundle = authority.bundle_pem();
        assert_eq!(bundle.matches("BEGIN CERTIFICATE").count(), 1);
    }

    #[test]
    fn the_bundle_has_both_and_the_previous_one_signs_for_a_day() {
        let old = make(None, None).unwrap();
        let previous = (text(&old, "ca.crt"), text(&old, "ca.key"));
        let new = make(Some(previous), None).unwrap();
        let authority = Authority::of(&new).unwrap();
        authority.serving_identity().unwrap();
        for one in [&old, &new] {
            assert!(authority.bundle_pem().contains(&text(one, "ca.crt")));
        }
        let signer = |secret: &Secret| Authority::of(secret).unwrap().previous.unwrap().1;
        assert_eq!(signer(&new), Some(text(&old, "ca.key")));
        assert_eq!(signer(&made(new, SPREAD)), None);
    }

    #[test]
    fn an_authority_is_due_after_two_thirds_of_its_life() {
        let secret = make(None, None).unwrap();
        assert!(!is_due(&secret));
        assert!(is_due(&made(secret, LIFE * 7 / 10)));
    }

    #[test]
    fn an_unusable_secret_says_what_to_do() {
        let text = Authority::of(&Secret::default()).unwrap_err().to_string();
        assert!(
            text.contains("ca.crt") && text.contains("delete it"),
            "{text}"
        );
    }
}
