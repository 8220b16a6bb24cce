//! One answer: its head at once, its body when it is wanted.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::de::DeserializeOwned;
use tokio::task::JoinHandle;

use super::error::{ClientError, Refusal};
use super::limits;

/// An answer whose head has arrived. Its connection closes when it is dropped.
#[derive(Debug)]
pub struct Answer {
    hub: String,
    status: StatusCode,
    headers: HeaderMap,
    body: Incoming,
    _connection: Connection,
}

/// The task that moves the bytes of one connection.
#[derive(Debug)]
pub(super) struct Connection(pub(super) JoinHandle<()>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Answer {
    pub(super) fn new(hub: String, response: http::Response<Incoming>, connection: Connection) -> Self {
        let (head, body) = response.into_parts();
        Self { hub, status: head.status, headers: head.headers, body, _connection: connection }
    }

    /// The status; 2xx, since anything else is an error of [`super::Client::send`].
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The headers.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The next piece of the body, as it arrives; `None` at its end. A body that is cut off is an error, never an end.
    pub async fn piece(&mut self) -> Result<Option<Bytes>, ClientError> {
        loop {
            let frame = in_time(limits::QUIET, &self.hub, self.body.frame()).await?;
            match frame {
                None => return Ok(None),
                Some(Err(error)) => return Err(ClientError::Broken { hub: self.hub.clone(), reason: error.to_string() }),
                Some(Ok(frame)) => {
                    if let Ok(piece) = frame.into_data() {
                        return Ok(Some(piece));
                    }
                }
            }
        }
    }

    /// The whole body, up to 64 MiB.
    pub async fn bytes(mut self) -> Result<Bytes, ClientError> {
        let mut body = Vec::new();
        while let Some(piece) = self.piece().await? {
            if body.len() + piece.len() > limits::MAX_ANSWER {
                let what = format!("more than {} MiB; ask for less with --limit", limits::MAX_ANSWER >> 20);
                return Err(ClientError::Unexpected { hub: self.hub, what });
            }
            body.extend_from_slice(&piece);
        }
        Ok(body.into())
    }

    /// The whole body as JSON.
    pub async fn json<T: DeserializeOwned>(self) -> Result<T, ClientError> {
        let hub = self.hub.clone();
        let body = self.bytes().await?;
        serde_json::from_slice(&body)
            .map_err(|error| ClientError::Unexpected { hub, what: format!("something that this version cannot read: {error}") })
    }

    /// The refusal that an answer with another status than 2xx is.
    pub(super) async fn refusal(mut self) -> ClientError {
        let mut body = Vec::new();
        while let Ok(Some(piece)) = self.piece().await {
            let room = limits::MAX_PROBLEM - body.len();
            body.extend_from_slice(&piece[..piece.len().min(room)]);
            if body.len() == limits::MAX_PROBLEM {
                break;
            }
        }
        let read = serde_json::from_slice::<Refusal>(&body).ok().filter(|refusal| refusal.status != 0);
        ClientError::Refused(Box::new(read.unwrap_or_else(|| Refusal::plain(self.status))))
    }
}

/// `future`, or [`ClientError::Deadline`] after `deadline`.
pub(super) async fn in_time<F: Future>(deadline: Duration, hub: &str, future: F) -> Result<F::Output, ClientError> {
    tokio::time::timeout(deadline, future).await.map_err(|_| ClientError::Deadline { hub: hub.to_owned(), deadline })
}
