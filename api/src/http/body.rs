//! Bodies that are read whole: bounded before they are allocated, then parsed by the rules of both sides. And what is left of
//! those that are not: [`Rest`].

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use axum::body::{Body, BodyDataStream, HttpBody};
use axum::extract::Request;
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use http::HeaderMap;
use http::header::{CONTENT_LENGTH, EXPECT};
use proto::json::Value;
use serde::de::DeserializeOwned;

use crate::limits::{BODY_TIME, DRAIN_BYTES, DRAIN_PAUSE};
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

/// The body of a request that may be answered before it was read. A server that answers and closes while its client still sends
/// resets the connection, and the client never sees why it was refused.
pub(crate) struct Rest(Arc<Mutex<Body>>);

impl Rest {
    /// Lends the body to whoever answers. None where nothing is left afterwards: there is none, or its client asks before it sends.
    pub(crate) fn of(request: Request) -> (Request, Option<Self>) {
        if request.body().is_end_stream() || request.headers().contains_key(EXPECT) {
            return (request, None);
        }
        let (parts, body) = request.into_parts();
        let shared = Arc::new(Mutex::new(body));
        (Request::from_parts(parts, Body::new(Lent(Arc::clone(&shared)))), Some(Self(shared)))
    }

    /// Reads what was left, up to a bound; a client that stops sending is answered all the same.
    pub(crate) async fn drain(self) {
        let mut stream = Body::new(Lent(self.0)).into_data_stream();
        let mut left = DRAIN_BYTES;
        while left > 0 {
            let Ok(Some(Ok(chunk))) = tokio::time::timeout(DRAIN_PAUSE, stream.next()).await else { return };
            left = left.saturating_sub(chunk.len() as u64);
        }
    }
}

/// The handler's part of a [`Rest`].
struct Lent(Arc<Mutex<Body>>);

impl HttpBody for Lent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<hyper::body::Frame<Bytes>, axum::Error>>> {
        let mut body = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Pin::new(&mut *body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_end_stream()
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).size_hint()
    }
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
