//! Bodies that are read whole: bounded before they are allocated, then parsed by the rules of both sides.

use std::pin::Pin;

use axum::body::{Body, BodyDataStream};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use http::HeaderMap;
use http::header::{CONTENT_LENGTH, EXPECT};
use proto::json::Value;
use serde::de::DeserializeOwned;

use crate::limits::{BODY_TIME, DRAIN_BYTES};
use crate::problem::{Code, Problem};

/// Reads a body of at most `bound` bytes.
pub(crate) async fn read(headers: &HeaderMap, body: Body, bound: usize) -> Result<Vec<u8>, Problem> {
    let announced = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    let mut stream = body.into_data_stream();
    let fits = announced.is_none_or(|length| length <= bound as u64);
    let read = tokio::time::timeout(BODY_TIME, async {
        if fits {
            let start = announced.unwrap_or(0).min(bound as u64) as usize;
            if let Some(whole) = collect(&mut stream, start, bound).await? {
                return Ok(whole);
            }
        }
        drain(headers, &mut stream).await;
        Err(Problem::new(Code::TooLarge, format!("the body is larger than the {bound} bytes that this path takes")))
    });
    read.await.unwrap_or_else(|_| Err(Problem::bad_request(format!("the body did not arrive within {} s", BODY_TIME.as_secs()))))
}

async fn collect(stream: &mut BodyDataStream, start: usize, bound: usize) -> Result<Option<Vec<u8>>, Problem> {
    // A client that announces much and sends little costs no more than one page.
    let mut whole = Vec::with_capacity(start.min(16 * 1024));
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|error| Problem::bad_request(format!("the body broke off: {error}")))?;
        if whole.len() + chunk.len() > bound {
            return Ok(None);
        }
        whole.extend_from_slice(&chunk);
    }
    Ok(Some(whole))
}

/// Reads on for a while, so that a client which sends before it listens sees the refusal. One that asked first
/// (`Expect: 100-continue`) has not begun.
pub(crate) async fn drain(headers: &HeaderMap, stream: &mut (impl Stream<Item = Result<Bytes, axum::Error>> + Unpin)) {
    if headers.contains_key(EXPECT) {
        return;
    }
    let mut left = DRAIN_BYTES;
    while let Some(Ok(chunk)) = stream.next().await {
        left = left.saturating_sub(chunk.len() as u64);
        if left == 0 {
            return;
        }
    }
}

/// The pieces of a body that is not read whole.
pub(crate) type Pieces = Pin<Box<dyn Stream<Item = Result<Bytes, axum::Error>> + Send>>;

/// The body as text.
pub(crate) fn text(body: &[u8]) -> Result<&str, Problem> {
    std::str::from_utf8(body).map_err(|error| Problem::bad_request(format!("the body is not UTF-8 from byte {} on", error.valid_up_to())))
}

/// Parses a record's value, or a merge patch.
pub(crate) fn value(text: &str) -> Result<Value, Problem> {
    Ok(Value::parse(text)?)
}

/// Parses what an administrator sends; the error names line, column and the unknown member.
pub(crate) fn request<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(body).map_err(|error| Problem::bad_request(format!("the body cannot be taken: {error}")))
}
