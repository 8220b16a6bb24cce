//! One request and its answer over a stream that is open already: for a node's own calls to its hub.

use bytes::Bytes;
use http::response::Parts;
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;

use super::Outgoing;
use crate::stream::Stream;

/// Sends `request` and reads the answer: its head and, where `largest` says how many bytes at most, its body. What is wrong with
/// the body alone is told beside the head.
///
/// # Errors
/// The connection ended before there was a head.
pub async fn exchange(
    stream: Box<dyn Stream>,
    request: http::Request<Bytes>,
    largest: Option<usize>,
) -> Result<(Parts, Result<Bytes, String>), hyper::Error> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let asked = async {
        let (head, body) = sender.send_request(request.map(|body| Outgoing::Whole(Full::new(body)))).await?.into_parts();
        let body = match largest {
            Some(largest) => Limited::new(body, largest).collect().await.map(|body| body.to_bytes()),
            None => Ok(Bytes::new()),
        };
        Ok::<_, hyper::Error>((head, body.map_err(|error| error.to_string())))
    };
    let mut asked = std::pin::pin!(asked);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        biased;
        answered = &mut asked => answered,
        ended = &mut connection => match ended {
            Ok(()) => asked.await,
            Err(error) => Err(error),
        },
    }
}
