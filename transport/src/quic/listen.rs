//! The cloud's side: one UDP socket for all nodes; proves who they are, and hands out links.
//!
//! Handshakes run beside each other, bounded in number and in time, inside the listener: dropping it ends them.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use quinn::{Connection, Endpoint, EndpointConfig, Incoming, RecvStream, ServerConfig};
use quinn_proto::HashedConnectionIdGenerator;
use ring::hmac;
use rustls_pki_types::CertificateDer;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::task::{Id, yield_now};
use tokio::time::sleep;

use super::{BULK, CONTROL, QuicLink, Streams, config, reason};
use crate::admission::{Admit, BindError, NO_CERTIFICATE, Refusal, RefusalReason};
use crate::handshakes::{Handshakes, until};
use crate::identity::{NodeIdentity, PeerIdentity};
use crate::limits::{HANDSHAKE, QUIC_CONNECTIONS, QUIC_RETRY_ABOVE, UDP_BUFFER};
use crate::link::CloseCode;
use crate::places::Room;
use crate::swap::Swap;

/// The secret by which a hub can tell a node that its connection is gone, also one that a process before this one had: the same at
/// each start, or a node learns of a restart only by silence.
#[derive(Clone, Copy)]
pub struct ResetKey(pub [u8; 32]);

impl fmt::Debug for ResetKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ResetKey")
    }
}

/// Listens for nodes.
pub struct QuicListener {
    endpoint: Endpoint,
    address: SocketAddr,
    tls: Arc<Swap<rustls::ServerConfig>>,
    /// What the newest `tls` became.
    made: Option<(Arc<rustls::ServerConfig>, Arc<ServerConfig>)>,
    admit: Admit,
    handshakes: Handshakes<QuicLink>,
    /// The next one, which waits for a place.
    next: Option<Box<Incoming>>,
}

impl QuicListener {
    /// Listens on `address`; port 0 takes a free one. `tls` comes from [`crate::tls::link_server_config`]; what is
    /// swapped in serves the handshakes after it.
    ///
    /// # Errors
    /// [`BindError`], with a hint.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn bind(address: SocketAddr, tls: Arc<Swap<rustls::ServerConfig>>, admit: Admit, reset: ResetKey) -> Result<Self, BindError> {
        let open = || -> io::Result<(Endpoint, SocketAddr)> {
            let runtime = quinn::default_runtime().ok_or_else(|| io::Error::other("there is no runtime"))?;
            let server = config::server(&tls.get()).map_err(io::Error::other)?;
            let endpoint = Endpoint::new(endpoint_config(reset), Some(server), socket(address)?, runtime)?;
            let bound = endpoint.local_addr()?;
            Ok((endpoint, bound))
        };
        let (endpoint, bound) = open().map_err(|source| BindError { address, source })?;
        Ok(Self { endpoint, address: bound, tls, made: None, admit, handshakes: Handshakes::new(), next: None })
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
    pub async fn accept(&mut self) -> Result<QuicLink, Refusal> {
        loop {
            let place = self.next.as_ref().map(|incoming| self.handshakes.room(incoming.remote_address()));
            let due = match place {
                Some(Room::At(due)) => Some(due),
                Some(room) => {
                    if let Some(incoming) = self.next.take() {
                        self.begin(*incoming, room)?;
                    }
                    // As over WebSocket: one for each turn of what else is to be done.
                    yield_now().await;
                    None
                }
                None => None,
            };
            tokio::select! {
                Some(done) = self.handshakes.next() => return done,
                () = until(due), if due.is_some() => {}
                incoming = self.endpoint.accept(), if self.next.is_none() => match incoming {
                    Some(incoming) => self.next = Some(Box::new(incoming)),
                    // The socket failed, and with it every link.
                    None => {
                        sleep(HANDSHAKE).await;
                        return Err(system(io::Error::other("the UDP socket has failed; restart the hub")));
                    }
                },
            }
        }
    }

    fn begin(&mut self, incoming: Incoming, room: Room<Id>) -> Result<(), Refusal> {
        if self.endpoint.open_connections() >= QUIC_CONNECTIONS {
            incoming.refuse();
            return Ok(());
        }
        if self.handshakes.len() >= QUIC_RETRY_ABOVE && !incoming.remote_address_validated() {
            // Whoever is at that address comes again with a proof; whoever only claims it does not.
            return incoming.retry().map_err(|error| system(io::Error::other(error)));
        }
        let server = self.server().map_err(|error| system(io::Error::other(error)))?;
        let (remote, admit) = (incoming.remote_address(), self.admit.clone());
        if let Err(refusal) = self.handshakes.make(room, remote) {
            incoming.refuse();
            return Err(refusal);
        }
        self.handshakes.begin(remote, handshake(incoming, server, admit));
        Ok(())
    }

    fn server(&mut self) -> Result<Arc<ServerConfig>, String> {
        let tls = self.tls.get();
        if let Some((of, made)) = &self.made
            && Arc::ptr_eq(of, &tls)
        {
            return Ok(made.clone());
        }
        let made = Arc::new(config::server(&tls)?);
        self.made = Some((tls, made.clone()));
        Ok(made)
    }
}

impl Drop for QuicListener {
    fn drop(&mut self) {
        // Links that live on keep the socket; newcomers get no answer from it.
        self.endpoint.set_server_config(None);
    }
}

impl fmt::Debug for QuicListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QuicListener").field("address", &self.address).finish_non_exhaustive()
    }
}

fn system(error: io::Error) -> Refusal {
    Refusal { remote: None, reason: RefusalReason::Accept(error) }
}

/// A connection's id bears a hash that tells a foreign one; it has to be the same hash after a restart, too.
fn endpoint_config(reset: ResetKey) -> EndpointConfig {
    let key = hmac::Key::new(hmac::HMAC_SHA256, &reset.0);
    let ids = hmac::sign(&key, b"connection ids");
    let ids = ids.as_ref().iter().take(8).fold(0, |value, byte| value << 8 | u64::from(*byte));
    let mut config = EndpointConfig::new(Arc::new(key));
    config.cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(ids)));
    config
}

fn socket(address: SocketAddr) -> io::Result<std::net::UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        // As TCP does it: [::] takes IPv4 too.
        socket.set_only_v6(false)?;
    }
    // The system may allow less; a burst then costs resent packets.
    let _ = socket.set_recv_buffer_size(UDP_BUFFER);
    let _ = socket.set_send_buffer_size(UDP_BUFFER);
    socket.bind(&address.into())?;
    Ok(socket.into())
}

async fn handshake(incoming: Incoming, server: Arc<ServerConfig>, admit: Admit) -> Result<QuicLink, RefusalReason> {
    let connection = incoming.accept_with(server).map_err(reason::of_accept)?.await.map_err(reason::of_accept)?;
    let node = identity(&connection).inspect_err(|refusal| close(&connection, CloseCode::Refused, &refusal.to_string()))?;
    if let Err(text) = admit(&node) {
        close(&connection, CloseCode::Refused, &text);
        return Err(RefusalReason::NotAdmitted { node: node.name.to_string(), text });
    }
    let streams = open(&connection).await.inspect_err(|refusal| close(&connection, CloseCode::Protocol, &refusal.to_string()))?;
    Ok(QuicLink::new(connection, streams, PeerIdentity::Node(node)))
}

fn close(connection: &Connection, code: CloseCode, text: &str) {
    connection.close(u32::from(code.number()).into(), text.as_bytes());
}

fn identity(connection: &Connection) -> Result<NodeIdentity, RefusalReason> {
    let shown = connection.peer_identity().and_then(|shown| shown.downcast::<Vec<CertificateDer<'static>>>().ok());
    let shown = shown.as_deref().and_then(|chain| chain.first());
    let shown = shown.ok_or_else(|| RefusalReason::Tls(NO_CERTIFICATE.to_owned()))?;
    NodeIdentity::read(shown).map_err(RefusalReason::NoNode)
}

/// Takes the edge's streams and opens this side's, by which the edge sees that it is let in.
async fn open(connection: &Connection) -> Result<Streams, RefusalReason> {
    let mut control = connection.accept_bi().await.map_err(reason::of_accept)?;
    expect(&mut control.1, CONTROL).await?;
    let mut up = connection.accept_uni().await.map_err(reason::of_accept)?;
    expect(&mut up, BULK).await?;
    let mut down = connection.open_uni().await.map_err(reason::of_accept)?;
    down.write_all(&[BULK]).await.map_err(|error| RefusalReason::Lost(error.into()))?;
    Ok(Streams { control, bulk: (down, up) })
}

async fn expect(stream: &mut RecvStream, kind: u8) -> Result<(), RefusalReason> {
    let mut first = [0];
    match stream.read_exact(&mut first).await {
        Ok(()) if first[0] == kind => Ok(()),
        Ok(()) => Err(RefusalReason::Quic(format!("a stream begins with {}, where {kind} was due", first[0]))),
        Err(quinn::ReadExactError::FinishedEarly(_)) => Err(RefusalReason::Quic("a stream is empty".to_owned())),
        Err(quinn::ReadExactError::ReadError(error)) => Err(RefusalReason::Lost(error.into())),
    }
}
