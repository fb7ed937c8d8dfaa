//! Bytes that no client should send: each gets a typed refusal, an engine's answer or a closed connection, and the next client is
//! served.

use std::net::SocketAddr;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use smallfleet_runtime_core::route::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::lab::Lab;
use crate::{CHAT, DONE, stable};

/// A connection that neither answers nor closes within this time hangs.
const PATIENCE: Duration = Duration::from_secs(5);

fn method() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => Just("POST".to_owned()),
        1 => "GET|HEAD|PUT|DELETE|OPTIONS|CONNECT|TRACE",
        1 => "[A-Z]{1,20}",
        1 => "\\PC{0,10}",
    ]
}

fn path() -> impl Strategy<Value = String> {
    prop_oneof![
        2 => "/v1/classify|/v1/chat/completions|/v2/models/intent/infer|/metrics|\\*",
        1 => "/[a-z/.%?#]{0,60}",
        1 => "http://[a-z]{1,9}/v1/classify",
        1 => "\\PC{0,80}",
        1 => Just(format!("/{}", "long".repeat(20_000))),
    ]
}

fn header() -> impl Strategy<Value = String> {
    prop_oneof![
        "content-length: (-1|0|5|9999999999999999999999|1048577)",
        "transfer-encoding: (chunked|gzip|identity|chunked, chunked)",
        "connection: (close|keep-alive|upgrade|x-smallfleet-arm)",
        "expect: 100-continue",
        "x-smallfleet-(arm|revision|node|fallback): [a-z]{0,9}",
        "content-type: \\PC{0,30}",
        "[a-z-]{1,20}: \\PC{0,60}",
        "\\PC{0,60}",
        Just(format!("x-long: {}", "x".repeat(70_000))),
    ]
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..200),
        Just(b"5\r\nhello\r\n0\r\n\r\n".to_vec()),
        Just(b"ffffffffffffffffffff\r\n".to_vec()),
        Just(vec![b' '; 1_500_000]),
    ]
}

fn request() -> impl Strategy<Value = Vec<u8>> {
    let headers = prop::collection::vec(header(), 0..6);
    let ordered = (method(), path(), headers, body()).prop_map(|(method, path, headers, body)| {
        let head = format!("{method} {path} HTTP/1.1\r\nhost: x\r\n");
        let headers: String = headers
            .iter()
            .map(|header| format!("{header}\r\n"))
            .collect();
        [head.as_bytes(), headers.as_bytes(), b"\r\n", &body].concat()
    });
    prop_oneof![4 => ordered, 1 => prop::collection::vec(any::<u8>(), 0..400)]
}

/// What comes back until the connection closes; the sending side closes first.
async fn exchange(front: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(front).await.unwrap();
    // The router may close in the middle of it.
    let _ = stream.write_all(bytes).await;
    let _ = stream.shutdown().await;
    let mut answer = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer));
    let _ = read
        .await
        .expect("the connection neither answers nor closes");
    answer
}

/// The router's own refusals have a type and a message; what hyper refuses itself has no body.
fn is_fit(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer);
    let Some(status) = text.strip_prefix("HTTP/1.1 ") else {
        return answer.is_empty();
    };
    let (_, body) = text.split_once("\r\n\r\n").unwrap_or_default();
    match status.as_bytes()[0] {
        b'2' => true,
        b'1' | b'4' => body.is_empty() || body.contains("\"error\"") || body.contains("HTTP/1.1 "),
        _ => false,
    }
}

#[test]
fn no_bytes_break_the_front() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let lab = runtime.block_on(Lab::start(stable(), stable(), Signal::FirstToken));
    let mut runner = TestRunner::default();
    let outcome = runner.run(&request(), |bytes| {
        let answer = runtime.block_on(exchange(lab.address(), &bytes));
        let shown = String::from_utf8_lossy(&answer);
        prop_assert!(is_fit(&answer), "{shown}");
        Ok(())
    });
    outcome.unwrap();
    let good = runtime.block_on(lab.post(CHAT));
    assert!(good.status == 200 && good.body.ends_with(DONE));
}
