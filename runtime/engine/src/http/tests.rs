//! Property tests of the protocols' parsers, and limits that need paused time.

use axum::body::Body;
use axum::extract::Request;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{ApiError, body, openai, simple, v2};

/// Any JSON, a few levels deep, with the protocols' own field names among the keys.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        prop::sample::select(vec!["text", "BYTES", "label"]).prop_map(Value::from),
    ];
    let key = prop_oneof![
        prop::sample::select(vec![
            "text",
            "texts",
            "inputs",
            "outputs",
            "name",
            "shape",
            "datatype",
            "data",
            "id",
            "messages",
            "role",
            "content",
            "prompt",
            "stop",
            "stream",
            "stream_options",
            "seed",
        ])
        .prop_map(String::from),
        ".{0,6}",
    ];
    leaf.prop_recursive(4, 32, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((key.clone(), inner), 0..6)
                .prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn no_bytes_make_a_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = simple::parse(&bytes);
        let _ = v2::parse(&bytes);
        let _ = openai::parse_both(&bytes);
    }

    #[test]
    fn any_json_is_answered_or_refused_as_invalid(value in any_json()) {
        let bytes = value.to_string().into_bytes();
        if let Err(error) = simple::parse(&bytes) {
            prop_assert!(matches!(error, ApiError::Invalid(_)));
        }
        if let Err(error) = v2::parse(&bytes) {
            prop_assert!(matches!(error, ApiError::Invalid(_)));
        }
        for error in openai::parse_both(&bytes).into_iter().filter_map(Result::err) {
            let refused = matches!(error, ApiError::Invalid(_) | ApiError::Parameter { .. });
            prop_assert!(refused);
        }
    }

    #[test]
    fn texts_arrive_as_they_were_sent(texts in prop::collection::vec(".{0,40}", 1..10)) {
        let simple = simple::parse(json!({"texts": texts}).to_string().as_bytes()).map(|question| question.texts);
        prop_assert_eq!(simple.as_ref(), Ok(&texts));
        let input = json!({"name": "text", "shape": [texts.len()], "datatype": "BYTES", "data": texts});
        let v2 = v2::parse(json!({"inputs": [input]}).to_string().as_bytes()).map(|question| question.texts);
        prop_assert_eq!(v2.as_ref(), Ok(&texts));
    }

    #[test]
    fn texts_that_pass_have_something_in_them(texts in prop::collection::vec("[ a\\x00\u{3000}]{0,3}", 0..70)) {
        let good = (1..=body::MAX_TEXTS).contains(&texts.len())
            && texts.iter().all(|text| text.contains('a') && !text.contains('\0'));
        prop_assert_eq!(body::check_texts(&texts).is_ok(), good);
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_never_ends_is_given_up() {
    let body = Body::new(Never);
    let request = Request::post("/v1/classify").body(body).unwrap();
    assert_eq!(body::read(request).await, Err(ApiError::SlowBody));
}

/// A body that is still to come.
struct Never;

impl hyper::body::Body for Never {
    type Data = bytes::Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Self::Data>, Self::Error>>> {
        std::task::Poll::Pending
    }
}
