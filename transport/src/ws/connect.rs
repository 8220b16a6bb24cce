//! The edge's side of a WebSocket link: name, TCP, TLS, WebSocket, five seconds for all of it.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ClientConfig;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::{TlsConnector, TlsStream};
use tokio_tungstenite::client_async_with_config;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::{Request, Response};
use tokio_tungstenite::tungstenite::http::HeaderValue;

use super::gather::Gather;
use super::{PATH, SUBPROTOCOL, WsLink, config, prepare};
use crate::address::HostPort;
use crate::counters::{LinkCounters, Metered};
use crate::identity::{HubIdentity, PeerIdentity};
use crate::limits::{HANDSHAKE, REFUSAL_TEXT, TLS_BUFFER};
use crate::tls::TlsProblem;

/// Why no link came up. Try again later, except where the reason says what to change.
#[derive(Debug, thiserror::Error)]
#[error("no link to {server}: {reason}")]
pub struct ConnectError {
    /// The address that was tried.
    pub server: HostPort,
    /// What went wrong.
    pub reason: ConnectReason,
}

/// The step that failed.
#[derive(Debug, thiserror::Error)]
pub enum ConnectReason {
    /// The five seconds were over.
    #[error("no answer within {} s ({step})", HANDSHAKE.as_secs())]
    Deadline {
        /// What was under way.
        step: &'static str,
    },
    /// The name is unknown, or there is no name server.
    #[error("its name cannot be resolved: {0}")]
    Resolve(io::Error),
    /// Nothing listens there, or no way leads there.
    #[error("{0}")]
    Tcp(io::Error),
    /// The certificates do not fit.
    #[error("{0}")]
    Tls(TlsProblem),
    /// The hub said no, in words.
    #[error("it refused with HTTP {status}: {text}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// What it said.
        text: String,
    },
    /// What answers does not speak our WebSocket.
    #[error("what answers is no link port: {0}")]
    WebSocket(String),
}

/// Connects to a hub's link port. The peer of the link is the hub, under the name it was asked for.
///
/// # Errors
/// [`ConnectError`], in words for an operator.
pub async fn connect(server: &HostPort, tls: Arc<ClientConfig>) -> Result<WsLink, ConnectError> {
    let deadline = Instant::now() + HANDSHAKE;
    dial(server, tls, deadline).await.map_err(|reason| ConnectError { server: server.clone(), reason })
}

async fn dial(server: &HostPort, tls: Arc<ClientConfig>, deadline: Instant) -> Result<WsLink, ConnectReason> {
    let addresses = by(deadline, "resolving its name", lookup_host((server.host.as_str(), server.port))).await?;
    let addresses = addresses.map_err(ConnectReason::Resolve)?.collect();
    let (tcp, remote) = reach(addresses, deadline).await?;
    let counters = LinkCounters::new();
    let name = server.server_name().ok_or_else(|| ConnectReason::WebSocket("its name is not valid".to_owned()))?;
    let metered = Metered::new(tcp, counters.clone());
    let hello = TlsConnector::from(tls).connect_with(name, metered, |session| session.set_buffer_limit(Some(TLS_BUFFER)));
    let stream = by(deadline, "TLS handshake", hello).await?.map_err(of_tls)?;
    let upgrade = client_async_with_config(request(server)?, Gather::new(TlsStream::from(stream)), Some(config()));
    let (socket, _) = by(deadline, "WebSocket handshake", upgrade).await?.map_err(of_websocket)?;
    let peer = PeerIdentity::Hub(HubIdentity { name: server.to_string() });
    Ok(WsLink::new(socket, peer, remote, counters))
}

async fn by<T>(deadline: Instant, step: &'static str, future: impl Future<Output = T>) -> Result<T, ConnectReason> {
    timeout_at(deadline, future).await.map_err(|_| ConnectReason::Deadline { step })
}

/// Tries the addresses in turn, each for its share of the time that is left, so that a dead first one (often
/// IPv6) does not use up the whole.
async fn reach(addresses: Vec<SocketAddr>, deadline: Instant) -> Result<(TcpStream, SocketAddr), ConnectReason> {
    let mut failed = ConnectReason::Resolve(io::Error::other("the name has no address"));
    let count = addresses.len();
    for (tried, address) in addresses.into_iter().enumerate() {
        let now = Instant::now();
        let share = deadline.saturating_duration_since(now) / u32::try_from(count - tried).unwrap_or(u32::MAX);
        match by(now + share, "connecting", TcpStream::connect(address)).await {
            Ok(Ok(tcp)) => {
                prepare(&tcp).map_err(ConnectReason::Tcp)?;
                return Ok((tcp, address));
            }
            Ok(Err(error)) => failed = ConnectReason::Tcp(error),
            Err(late) => failed = late,
        }
    }
    Err(failed)
}

fn request(server: &HostPort) -> Result<Request, ConnectReason> {
    let url = format!("wss://{server}{PATH}");
    let mut request = url.into_client_request().map_err(|error| ConnectReason::WebSocket(error.to_string()))?;
    request.headers_mut().insert("Sec-WebSocket-Protocol", HeaderValue::from_static(SUBPROTOCOL));
    Ok(request)
}

fn of_tls(error: io::Error) -> ConnectReason {
    TlsProblem::of(&error).map_or(ConnectReason::Tcp(error), ConnectReason::Tls)
}

fn of_websocket(error: Error) -> ConnectReason {
    match error {
        // In TLS 1.3 a server judges the client's certificate after the client is done: its alert comes here.
        Error::Io(error) => of_tls(error),
        Error::Http(response) => refused(&response),
        other => ConnectReason::WebSocket(other.to_string()),
    }
}

fn refused(response: &Response) -> ConnectReason {
    let body = response.body().as_deref().unwrap_or_default();
    let text = String::from_utf8_lossy(&body[..body.len().min(REFUSAL_TEXT)]).trim().to_owned();
    let text = if text.is_empty() { "it gives no reason; is this the link port (10000)?".to_owned() } else { text };
    ConnectReason::Refused { status: response.status().as_u16(), text }
}
