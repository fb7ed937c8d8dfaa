//! Who is calling: the projected service account token of a pod, verified locally against the cluster's keys.
//!
//! The keys come from the API server's discovery endpoints. Where discovery is off, the token is reviewed by the API server.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use axum::http::Request;
use jsonwebtoken::jwk::{Jwk, JwkSet};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use kube::api::PostParams;
use kube::{Api, Client};
use serde::Deserialize;
use tokio::sync::Mutex;

/// Audience that the session's tokens are made for.
const AUDIENCE: &str = "smallfleet";
/// Keys are asked for again at most this often, whatever tokens come.
const REFRESH: Duration = Duration::from_secs(10);
/// Keys that are older are asked for again, so that one that was taken back is not trusted for ever.
const KEYS_AGE: Duration = Duration::from_secs(3600);
/// Longest wait for the API server.
const CALL: Duration = Duration::from_secs(5);

/// The pod that a token was made for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Caller {
    pub(super) namespace: String,
    pub(super) pod_name: String,
    pub(super) pod_uid: String,
}

/// Why a token is refused; the text is for whoever reads the router's log.
#[derive(Debug, thiserror::Error)]
pub(super) enum TokenError {
    #[error("no token: send `authorization: Bearer <projected token of audience smallfleet>`")]
    Missing,
    #[error(
        "the token is expired: it is read from its file at each call, so the kubelet does not renew it"
    )]
    Expired,
    #[error("the token is not valid here: {0}")]
    Invalid(String),
    #[error("the token is bound to no pod: use the projected volume of the pod")]
    NotBound,
    #[error("the cluster's keys cannot be had now: {0}")]
    Unavailable(String),
}

#[derive(Deserialize)]
struct Claims {
    #[serde(rename = "kubernetes.io")]
    kubernetes: Option<Bound>,
}

#[derive(Deserialize)]
struct Bound {
    namespace: String,
    pod: Option<BoundPod>,
}

#[derive(Deserialize)]
struct BoundPod {
    name: String,
    uid: String,
}

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
}

#[derive(Default)]
struct Keys {
    issuer: String,
    by_id: HashMap<String, (DecodingKey, Algorithm)>,
    /// The API server does not tell its keys.
    off: bool,
}

/// Verifies tokens.
pub(super) struct Verifier {
    client: Client,
    keys: RwLock<Arc<Keys>>,
    /// When the keys were last asked for, whatever came of it. Held while asking, so that one asks for all.
    asked: Mutex<Option<Instant>>,
}

impl Verifier {
    pub(super) fn new(client: Client) -> Self {
        Self {
            client,
            keys: RwLock::default(),
            asked: Mutex::default(),
        }
    }

    /// The pod that the token in an `authorization` header was made for.
    pub(super) async fn verify(&self, authorization: Option<&str>) -> Result<Caller, TokenError> {
        let token = authorization
            .and_then(|text| text.strip_prefix("Bearer "))
            .ok_or(TokenError::Missing)?
            .trim();
        let header =
            decode_header(token).map_err(|error| TokenError::Invalid(error.to_string()))?;
        let id = header.kid.unwrap_or_default();
        let keys = self.keys_with(&id).await?;
        if keys.off {
            return self.review(token).await;
        }
        let (key, algorithm) = keys.by_id.get(&id).ok_or_else(|| {
            TokenError::Invalid(
                "it is signed with a key that this cluster does not have".to_owned(),
            )
        })?;
        check(token, key, *algorithm, &keys.issuer)
    }

    fn known(&self) -> Arc<Keys> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        keys.clone()
    }

    /// The keys, asked for anew when they lack this one or are old. Who needs a known key never waits for the API server.
    async fn keys_with(&self, id: &str) -> Result<Arc<Keys>, TokenError> {
        let has = |keys: &Keys| keys.by_id.contains_key(id);
        let mut asked = match self.asked.try_lock() {
            Ok(asked) => asked,
            Err(_) if has(&self.known()) => return Ok(self.known()),
            Err(_) => self.asked.lock().await,
        };
        let limit = if has(&self.known()) {
            KEYS_AGE
        } else {
            REFRESH
        };
        if asked.is_none_or(|asked| asked.elapsed() >= limit) {
            *asked = Some(Instant::now());
            match timely(fetch(&self.client)).await {
                Ok(keys) => {
                    let mut known = self.keys.write().unwrap_or_else(PoisonError::into_inner);
                    *known = Arc::new(keys);
                }
                // What was known stays good while the API server is away.
                Err(error) if has(&self.known()) => {
                    tracing::warn!(%error, "the cluster's keys were not renewed");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(self.known())
    }

    async fn review(&self, token: &str) -> Result<Caller, TokenError> {
        let review = TokenReview {
            spec: TokenReviewSpec {
                token: Some(token.to_owned()),
                audiences: Some(vec![AUDIENCE.to_owned()]),
            },
            ..TokenReview::default()
        };
        let reviews: Api<TokenReview> = Api::all(self.client.clone());
        let parameters = PostParams::default();
        let answer = async {
            let answer = reviews.create(&parameters, &review).await;
            answer.map_err(|error| TokenError::Unavailable(error.to_string()))
        };
        let status = timely(answer).await?.status.unwrap_or_default();
        // An API server that checked no audience names none: then the token may be for somebody else.
        let audiences = status.audiences.unwrap_or_default();
        let for_us = audiences.iter().any(|audience| audience == AUDIENCE);
        if status.authenticated != Some(true) || !for_us {
            return Err(TokenError::Invalid(
                status
                    .error
                    .unwrap_or_else(|| "the API server refuses it".to_owned()),
            ));
        }
        let user = status.user.unwrap_or_default();
        let extra = user.extra.unwrap_or_default();
        let first = |key: &str| {
            extra
                .get(key)
                .and_then(|values| values.first())
                .cloned()
                .ok_or(TokenError::NotBound)
        };
        let account = user.username.unwrap_or_default();
        let namespace = account
            .strip_prefix("system:serviceaccount:")
            .and_then(|rest| rest.split(':').next());
        Ok(Caller {
            namespace: namespace.ok_or(TokenError::NotBound)?.to_owned(),
            pod_name: first("authentication.kubernetes.io/pod-name")?,
            pod_uid: first("authentication.kubernetes.io/pod-uid")?,
        })
    }
}

/// Signature, issuer, audience and expiry; then the bound pod.
fn check(
    token: &str,
    key: &DecodingKey,
    algorithm: Algorithm,
    issuer: &str,
) -> Result<Caller, TokenError> {
    let mut validation = Validation::new(algorithm);
    validation.set_audience(&[AUDIENCE]);
    validation.set_issuer(&[issuer]);
    validation.set_required_spec_claims(&["exp", "aud", "iss"]);
    validation.leeway = 0;
    let claims = decode::<Claims>(token, key, &validation).map_err(|error| match error.kind() {
        jsonwebtoken::errors::ErrorKind::ExpiredSignature => TokenError::Expired,
        _ => TokenError::Invalid(error.to_string()),
    })?;
    let bound = claims.claims.kubernetes.ok_or(TokenError::NotBound)?;
    let pod = bound.pod.ok_or(TokenError::NotBound)?;
    Ok(Caller {
        namespace: bound.namespace,
        pod_name: pod.name,
        pod_uid: pod.uid,
    })
}

async fn timely<T>(call: impl Future<Output = Result<T, TokenError>>) -> Result<T, TokenError> {
    let outcome = tokio::time::timeout(CALL, call).await;
    outcome.unwrap_or_else(|_| {
        let text = format!("the API server does not answer within {CALL:?}");
        Err(TokenError::Unavailable(text))
    })
}

async fn fetch(client: &Client) -> Result<Keys, TokenError> {
    let unavailable = |error: kube::Error| TokenError::Unavailable(error.to_string());
    let discovery: Discovery = match get(client, "/.well-known/openid-configuration").await {
        Ok(discovery) => discovery,
        Err(kube::Error::Api(status)) if [401, 403, 404].contains(&status.code) => {
            tracing::info!("the API server does not tell its keys: tokens are reviewed by it");
            return Ok(Keys {
                off: true,
                ..Keys::default()
            });
        }
        Err(error) => return Err(unavailable(error)),
    };
    let set: JwkSet = get(client, "/openid/v1/jwks").await.map_err(unavailable)?;
    Ok(Keys {
        issuer: discovery.issuer,
        by_id: set.keys.iter().filter_map(usable).collect(),
        off: false,
    })
}

/// A key that may sign service account tokens. Never a shared secret: whoever verifies with one could sign with it.
fn usable(jwk: &Jwk) -> Option<(String, (DecodingKey, Algorithm))> {
    let named = jwk.common.key_algorithm.map(|name| name.to_string());
    let algorithm = named.map_or(Some(Algorithm::RS256), |name| name.parse().ok())?;
    let signs = matches!(
        algorithm,
        Algorithm::RS256
            | Algorithm::RS384
            | Algorithm::RS512
            | Algorithm::ES256
            | Algorithm::ES384
    );
    let key = DecodingKey::from_jwk(jwk).ok().filter(|_| signs)?;
    let id = jwk.common.key_id.clone().unwrap_or_default();
    Some((id, (key, algorithm)))
}

async fn get<T: serde::de::DeserializeOwned>(
    client: &Client,
    path: &str,
) -> Result<T, kube::Error> {
    let request = Request::get(path)
        .body(Vec::new())
        .expect("a fixed path makes a request");
    client.request(request).await
}

#[cfg(test)]
mod tests;
