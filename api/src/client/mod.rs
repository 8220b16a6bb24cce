//! A small HTTP/1.1 client for the hubs' APIs: over an edge's Unix socket, or over HTTPS with the cloud's own CA.
//!
//! One request is one connection: the command line sends few of them, and none can then be left in a half-used state.
//! Every wait has a deadline. Answers other than 2xx are errors that carry the hub's problem document.

mod answer;
mod dial;
mod error;
mod events;
mod exchange;
mod limits;
mod request;
mod secret;
#[cfg(test)]
mod tests;
mod tls;
mod upload;

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderValue;
use http::header::{AUTHORIZATION, HOST};
use http_body_util::Full;
use hyper::body::{Body, Frame};
use hyper_util::rt::TokioIo;

pub use answer::Answer;
pub use dial::API_PORT;
pub use error::{ClientError, Refusal};
pub use events::{Event, EventReader, TooLong};
pub use exchange::exchange;
pub use request::Request;
pub use secret::Secret;
pub use tls::trusting;
pub use upload::Upload;

use crate::config::HostPort;
pub use crate::stream::Stream;
use answer::{Connection, in_time};
use dial::Place;
use request::RequestBody;

/// Knows one hub and how to speak to it.
#[derive(Debug, Clone)]
pub struct Client {
    place: Place,
    token: Option<Secret>,
}

impl Client {
    /// The edgehub that runs on the data folder `data`.
    pub fn socket(data: &Path) -> Self {
        let place = Place::Socket { data: data.to_owned(), socket: data.join("edgehub.sock") };
        Self { place, token: None }
    }

    /// The cloudhub at `server` (port 10002 where none is named). `ca` names the file that `tls` trusts, `advice` what
    /// to do when nobody answers; both only for messages.
    pub fn https(server: HostPort, tls: Arc<rustls::ClientConfig>, ca: String, token: Secret, advice: String) -> Self {
        Self { place: Place::Https { server, tls, ca, advice }, token: Some(token) }
    }

    /// The hub as messages name it.
    pub fn hub(&self) -> String {
        self.place.name()
    }

    /// Sends `request` and waits for the head of a 2xx answer.
    pub async fn send(&self, request: Request) -> Result<Answer, ClientError> {
        let stream = self.place.dial().await?;
        let hub = self.place.name();
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(|error| broken(&hub, &error))?;
        // A broken connection is reported by the request that needed it.
        let connection = Connection(tokio::spawn(async move {
            let _ = connection.await;
        }));
        let deadline = request.deadline;
        let (progress, failure) = match &request.body {
            RequestBody::Stream(upload) => (upload.progress(), Some(upload.failure())),
            RequestBody::Whole(_) => (Arc::default(), None),
        };
        let exchange = sender.send_request(self.head(request));
        let response = while_it_moves(deadline, &hub, &progress, exchange).await?;
        let answer = match response {
            Ok(response) => Answer::new(hub, response, connection),
            Err(error) => {
                let failed = failure.and_then(|failure| failure.lock().ok()?.take());
                return Err(match failed {
                    Some(reason) => ClientError::Input { what: "the input".into(), reason },
                    None => broken(&hub, &error),
                });
            }
        };
        if answer.status().is_success() { Ok(answer) } else { Err(answer.refusal().await) }
    }

    fn head(&self, request: Request) -> http::Request<Outgoing> {
        let body = match request.body {
            RequestBody::Whole(bytes) => Outgoing::Whole(Full::new(bytes)),
            RequestBody::Stream(upload) => Outgoing::Stream(upload),
        };
        let mut head = http::Request::new(body);
        *head.method_mut() = request.method;
        *head.uri_mut() = request.path.parse().expect("an escaped path is a URI");
        let headers = head.headers_mut();
        headers.extend(request.headers);
        if let Ok(host) = HeaderValue::from_str(&self.place.host()) {
            headers.insert(HOST, host);
        }
        if let Some(token) = &self.token {
            headers.insert(AUTHORIZATION, token.bearer());
        }
        head
    }
}

fn broken(hub: &str, error: &hyper::Error) -> ClientError {
    ClientError::Broken { hub: hub.to_owned(), reason: error.to_string() }
}

/// `exchange`, or an error when for `deadline` neither it ends nor the upload counter moves.
async fn while_it_moves<F: Future>(
    deadline: std::time::Duration,
    hub: &str,
    sent: &AtomicU64,
    exchange: F,
) -> Result<F::Output, ClientError> {
    let mut exchange = std::pin::pin!(exchange);
    loop {
        let before = sent.load(Ordering::Relaxed);
        match in_time(deadline, hub, exchange.as_mut()).await {
            Err(_) if sent.load(Ordering::Relaxed) > before => {}
            ended => return ended,
        }
    }
}

/// A request body on its way.
#[derive(Debug)]
enum Outgoing {
    Whole(Full<Bytes>),
    Stream(Upload),
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match self.get_mut() {
            Outgoing::Whole(whole) => Pin::new(whole).poll_frame(cx).map_err(|never| match never {}),
            Outgoing::Stream(upload) => Pin::new(upload).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Outgoing::Whole(whole) => whole.is_end_stream(),
            Outgoing::Stream(_) => false,
        }
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        match self {
            Outgoing::Whole(whole) => whole.size_hint(),
            Outgoing::Stream(_) => hyper::body::SizeHint::default(),
        }
    }
}
