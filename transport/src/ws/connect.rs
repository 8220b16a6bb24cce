//! The edge's side of a WebSocket link: name, TCP, TLS, WebSocket, five seconds for all of it.

use std::io;
use std::sync::Arc;

use rustls::ClientConfig;
use tokio::time::Instant;
use tokio_rustls::{TlsConnector, TlsStream};
use tokio_tungstenite::client_async_with_config;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::{Request, Response};
use tokio_tungstenite::tungstenite::http::HeaderValue;

use super::gather::Gather;
use super::{PATH, SUBPROTOCOL, SUBPROTOCOL_LANES, WsLink, config, prepare};
use crate::address::HostPort;
use crate::counters::{LinkCounters, Metered};
use crate::dial::{ConnectError, ConnectReason, by};
use crate::identity::{HubIdentity, PeerIdentity};
use crate::limits::{HANDSHAKE, REFUSAL_TEXT, TLS_BUFFER};
use crate::proxy::{self, Proxy};
use crate::tls::TlsProblem;

const PROTOCOL: &str = "Sec-WebSocket-Protocol";

/// Connects to a hub's link port. The peer of the link is the hub, under the name it was asked for.
///
/// # Errors
/// [`ConnectError`], in words for an operator.
pub async fn connect(server: &HostPort, tls: Arc<ClientConfig>) -> Result<WsLink, ConnectError> {
    connect_through(server, tls, None).await
}

/// The same through an HTTP proxy, where there is one.
///
/// # Errors
/// [`ConnectError`], in words for an operator.
pub async fn connect_through(server: &HostPort, tls: Arc<ClientConfig>, proxy: Option<&Proxy>) -> Result<WsLink, ConnectError> {
    let deadline = Instant::now() + HANDSHAKE;
    dial(server, tls, proxy, deadline).await.map_err(|reason| ConnectError { server: server.clone(), reason })
}

async fn dial(server: &HostPort, tls: Arc<ClientConfig>, proxy: Option<&Proxy>, deadline: Instant) -> Result<WsLink, ConnectReason> {
    let (tcp, remote) = proxy::open(server, proxy, deadline).await?;
    prepare(&tcp).map_err(ConnectReason::Tcp)?;
    let counters = LinkCounters::new();
    let name = server.server_name().ok_or_else(|| ConnectReason::WebSocket("its name is not valid".to_owned()))?;
    let metered = Metered::new(tcp, counters.clone());
    let hello = TlsConnector::from(tls).connect_with(name, metered, |session| session.set_buffer_limit(Some(TLS_BUFFER)));
    let stream = by(deadline, "TLS handshake", hello).await?.map_err(of_tls)?;
    let upgrade = client_async_with_config(request(server)?, Gather::new(TlsStream::from(stream)), Some(config()));
    let (socket, response) = by(deadline, "WebSocket handshake", upgrade).await?.map_err(of_websocket)?;
    let peer = PeerIdentity::Hub(HubIdentity { name: server.to_string() });
    let lanes = response.headers().get(PROTOCOL).is_some_and(|chosen| chosen == SUBPROTOCOL_LANES);
    Ok(WsLink::new(socket, lanes, peer, remote, counters))
}

fn request(server: &HostPort) -> Result<Request, ConnectReason> {
    let url = format!("wss://{server}{PATH}");
    let mut request = url.into_client_request().map_err(|error| ConnectReason::WebSocket(error.to_string()))?;
    // The best one first; a hub takes one that it knows.
    let offered = HeaderValue::try_from(format!("{SUBPROTOCOL_LANES}, {SUBPROTOCOL}"));
    request.headers_mut().insert(PROTOCOL, offered.map_err(|error| ConnectReason::WebSocket(error.to_string()))?);
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
