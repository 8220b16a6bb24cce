//! The cloud's side: accepts connections, proves who they are, and hands out links.
//!
//! Handshakes run beside each other, bounded in number and in time, inside the listener: dropping it ends them.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::{Id, yield_now};
use tokio::time::{sleep, timeout};
use tokio_rustls::{TlsAcceptor, TlsStream};
use tokio_tungstenite::accept_hdr_async_with_config;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::handshake::server::{Callback, ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::{HeaderMap, HeaderValue, StatusCode};

use super::gather::Gather;
use super::{PATH, SUBPROTOCOL, SUBPROTOCOL_LANES, WsLink, config, prepare};
use crate::admission::{Admit, BindError, EXPIRED, NO_CERTIFICATE, OTHER_CA, Refusal, RefusalReason};
use crate::counters::{LinkCounters, Metered};
use crate::handshakes::{Handshakes, until};
use crate::identity::{NodeIdentity, PeerIdentity};
use crate::limits::{ACCEPT_PAUSE, BACKLOG, GOODBYE, GOODBYE_BYTES, TLS_BUFFER};
use crate::places::Room;
use crate::swap::Swap;
use crate::tls::TlsProblem;

/// Listens for nodes.
pub struct WsListener {
    tcp: TcpListener,
    address: SocketAddr,
    tls: Arc<Swap<ServerConfig>>,
    admit: Admit,
    handshakes: Handshakes<WsLink>,
    /// The next one, which waits for a place.
    next: Option<(TcpStream, SocketAddr)>,
}

impl WsListener {
    /// Listens on `address`; port 0 takes a free one. `tls` comes from
    /// [`crate::tls::link_server_config`]; what is swapped in serves the handshakes after it.
    ///
    /// # Errors
    /// [`BindError`], with a hint.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn bind(address: SocketAddr, tls: Arc<Swap<ServerConfig>>, admit: Admit) -> Result<Self, BindError> {
        let open = || -> io::Result<(TcpListener, SocketAddr)> {
            let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
            socket.set_reuseaddr(true)?;
            socket.bind(address)?;
            let tcp = socket.listen(BACKLOG)?;
            let bound = tcp.local_addr()?;
            Ok((tcp, bound))
        };
        let (tcp, bound) = open().map_err(|source| BindError { address, source })?;
        Ok(Self { tcp, address: bound, tls, admit, handshakes: Handshakes::new(), next: None })
    }

    /// The address that is really listened on.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// The next link, or the next connection that failed to become one; never ends. Handshakes make progress
    /// and new connections are taken only while this is polled again and again. Dropping it midway loses nothing.
    ///
    /// # Errors
    /// [`Refusal`] is for the log and the metrics: call again.
    pub async fn accept(&mut self) -> Result<WsLink, Refusal> {
        loop {
            let place = self.next.as_ref().map(|(_, remote)| self.handshakes.room(*remote));
            let due = match place {
                Some(Room::At(due)) => Some(due),
                Some(room) => {
                    if let Some((tcp, remote)) = self.next.take() {
                        self.begin(tcp, remote, room)?;
                    }
                    // One handshake for each turn of what else is to be done: a crowd's are no reason to wait for whoever is connected.
                    yield_now().await;
                    None
                }
                None => None,
            };
            tokio::select! {
                Some(done) = self.handshakes.next() => return done,
                () = until(due), if due.is_some() => {}
                accepted = self.tcp.accept(), if self.next.is_none() => match accepted {
                    Ok(next) => self.next = Some(next),
                    Err(error) => {
                        sleep(ACCEPT_PAUSE).await;
                        return Err(Refusal { remote: None, reason: RefusalReason::Accept(error) });
                    }
                },
            }
        }
    }

    fn begin(&mut self, tcp: TcpStream, remote: SocketAddr, room: Room<Id>) -> Result<(), Refusal> {
        self.handshakes.make(room, remote)?;
        let handshake = Handshake { remote, tls: self.tls.get(), admit: self.admit.clone() };
        self.handshakes.begin(remote, handshake.run(tcp));
        Ok(())
    }
}

impl fmt::Debug for WsListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WsListener").field("address", &self.address).finish_non_exhaustive()
    }
}

struct Handshake {
    remote: SocketAddr,
    tls: Arc<ServerConfig>,
    admit: Admit,
}

impl Handshake {
    async fn run(self, tcp: TcpStream) -> Result<WsLink, RefusalReason> {
        prepare(&tcp).map_err(RefusalReason::Lost)?;
        let counters = LinkCounters::new();
        let metered = Metered::new(tcp, counters.clone());
        let hello = TlsAcceptor::from(self.tls).accept_with(metered, |session| session.set_buffer_limit(Some(TLS_BUFFER))).into_fallible();
        let stream = match hello.await {
            Ok(stream) => stream,
            Err((error, tcp)) => {
                hear_out(tcp).await;
                return Err(of_tls(error));
            }
        };
        let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let shown = shown.ok_or_else(|| RefusalReason::Tls(NO_CERTIFICATE.to_owned()))?;
        let node = NodeIdentity::read(shown).map_err(RefusalReason::NoNode);
        let verdict = match &node {
            Ok(node) => (self.admit)(node),
            Err(error) => Err(error.to_string()),
        };
        let mut lanes = false;
        let gate = Gate(verdict.clone(), &mut lanes);
        let stream = Gather::new(TlsStream::from(stream));
        let upgrade = accept_hdr_async_with_config(stream, gate, Some(config())).await;
        let node = node?;
        if let Err(text) = verdict {
            return Err(RefusalReason::NotAdmitted { node: node.name.to_string(), text });
        }
        let socket = upgrade.map_err(of_websocket)?;
        Ok(WsLink::new(socket, lanes, PeerIdentity::Node(node), self.remote, counters))
    }
}

/// Answers the WebSocket request: refuses with the reason as text, so that a person with a wrong address or a
/// revoked certificate reads it. Notes whether messages name their lane.
struct Gate<'a>(Result<(), String>, &'a mut bool);

impl Callback for Gate<'_> {
    #[allow(clippy::result_large_err, reason = "the trait's signature")]
    fn on_request(self, request: &Request, mut response: Response) -> Result<Response, ErrorResponse> {
        if let Err(text) = self.0 {
            return Err(answer(StatusCode::FORBIDDEN, text));
        }
        if request.uri().path() != PATH {
            return Err(answer(StatusCode::NOT_FOUND, format!("the link is at {PATH}; the API is on another port")));
        }
        let Some(chosen) = choose(request.headers()) else {
            let text = format!("the subprotocol {SUBPROTOCOL} must be offered (Sec-WebSocket-Protocol)");
            return Err(answer(StatusCode::BAD_REQUEST, text));
        };
        *self.1 = chosen == SUBPROTOCOL_LANES;
        response.headers_mut().insert("Sec-WebSocket-Protocol", HeaderValue::from_static(chosen));
        Ok(response)
    }
}

/// The best that both know.
fn choose(headers: &HeaderMap) -> Option<&'static str> {
    let offered = headers.get_all("Sec-WebSocket-Protocol").iter().filter_map(|value| value.to_str().ok());
    let names: Vec<_> = offered.flat_map(|value| value.split(',')).map(str::trim).collect();
    [SUBPROTOCOL_LANES, SUBPROTOCOL].into_iter().find(|ours| names.contains(ours))
}

fn answer(status: StatusCode, text: String) -> ErrorResponse {
    let mut response = ErrorResponse::new(None);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert("Content-Type", HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert("Content-Length", HeaderValue::from(text.len()));
    headers.insert("Connection", HeaderValue::from_static("close"));
    *response.body_mut() = Some(text);
    response
}

/// Lets a refused peer read the alert: a socket closed with unread input would take it along.
async fn hear_out(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let throw_away = async {
        stream.shutdown().await?;
        let mut rest = stream.take(GOODBYE_BYTES as u64);
        tokio::io::copy(&mut rest, &mut tokio::io::sink()).await
    };
    // However it goes, this peer is done.
    let _ = timeout(GOODBYE, throw_away).await;
}

fn of_tls(error: io::Error) -> RefusalReason {
    use rustls::{CertificateError as Bad, Error as Tls};
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Tls>()) {
        None => RefusalReason::Lost(error),
        Some(Tls::NoCertificatesPresented) => RefusalReason::Tls(NO_CERTIFICATE.to_owned()),
        Some(Tls::InvalidMessage(_)) => RefusalReason::Tls("it does not speak TLS 1.3".to_owned()),
        Some(Tls::InvalidCertificate(Bad::UnknownIssuer | Bad::BadSignature)) => RefusalReason::Tls(OTHER_CA.to_owned()),
        Some(Tls::InvalidCertificate(Bad::Expired | Bad::ExpiredContext { .. })) => RefusalReason::Tls(EXPIRED.to_owned()),
        Some(other) => RefusalReason::Tls(format!("TLS failed: {other}")),
    }
}

fn of_websocket(error: Error) -> RefusalReason {
    match error {
        Error::Io(error) => match TlsProblem::of(&error) {
            Some(problem) => RefusalReason::Tls(problem.to_string()),
            None => RefusalReason::Lost(error),
        },
        Error::Http(response) => {
            let text = response.body().as_deref().map(String::from_utf8_lossy).unwrap_or_default();
            RefusalReason::WebSocket(text.into_owned())
        }
        other => RefusalReason::WebSocket(other.to_string()),
    }
}
