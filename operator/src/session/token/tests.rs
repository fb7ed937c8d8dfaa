use jsonwebtoken::{EncodingKey, Header, encode};
use rcgen::KeyPair;
use serde_json::{Value, json};

use super::*;

const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

fn claims() -> Value {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    json!({
        "iss": ISSUER,
        "aud": [AUDIENCE],
        "exp": now + 600,
        "kubernetes.io": {"namespace": "shop", "pod": {"name": "intent-x", "uid": "uid-1"}},
    })
}

fn signed(key: &KeyPair, claims: &Value) -> String {
    let key = EncodingKey::from_ec_der(&key.serialize_der());
    encode(&Header::new(Algorithm::ES256), claims, &key).unwrap()
}

fn verified(signer: &KeyPair, trusted: &KeyPair, claims: &Value) -> Result<Caller, TokenError> {
    let trusted = DecodingKey::from_ec_der(trusted.public_key_raw());
    check(&signed(signer, claims), &trusted, Algorithm::ES256, ISSUER)
}

fn with(path: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[path] = value;
    claims
}

#[test]
fn a_token_names_its_pod() {
    let key = KeyPair::generate().unwrap();
    let caller = verified(&key, &key, &claims()).unwrap();
    let expected = Caller {
        namespace: "shop".to_owned(),
        pod_name: "intent-x".to_owned(),
        pod_uid: "uid-1".to_owned(),
    };
    assert_eq!(caller, expected);
}

#[test]
fn an_expired_token_is_refused_as_expired() {
    let key = KeyPair::generate().unwrap();
    assert!(matches!(
        verified(&key, &key, &with("exp", json!(1_000_000))),
        Err(TokenError::Expired)
    ));
}

#[test]
fn a_token_for_somebody_else_is_refused() {
    let key = KeyPair::generate().unwrap();
    for claims in [
        with("aud", json!(["vault"])),
        with("iss", json!("https://elsewhere")),
    ] {
        assert!(matches!(
            verified(&key, &key, &claims),
            Err(TokenError::Invalid(_))
        ));
    }
}

#[test]
fn a_token_signed_by_another_key_is_refused() {
    let (own, foreign) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    assert!(matches!(
        verified(&foreign, &own, &claims()),
        Err(TokenError::Invalid(_))
    ));
}

#[test]
fn a_token_that_is_bound_to_no_pod_is_refused() {
    let key = KeyPair::generate().unwrap();
    let unbound = with("kubernetes.io", json!({"namespace": "shop"}));
    assert!(matches!(
        verified(&key, &key, &unbound),
        Err(TokenError::NotBound)
    ));
}
