//! The link over WebSocket: `wss://HUB:PORT/link`, subprotocol `tombolo.1-lanes`, or `tombolo.1` where either side knows no other.
//!
//! `tombolo.1`: one binary message a frame, in one order. `tombolo.1-lanes`: every message begins with a byte that names its lane,
//! and a bulk frame travels in messages of at most [`PIECE`](crate::limits::PIECE), between which control goes first. Why:
//! `docs/decisions/0012-websocket-lanes.md`.
//!
//! Own frames go out in fragments of [`FRAGMENT`](crate::limits::FRAGMENT), so that a connection which once
//! carried much holds little afterwards; whole messages up to [`MAX_FRAME`] are taken from anybody. Pings are
//! answered; text is refused.

mod connect;
mod gather;
mod halves;
mod listen;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use socket2::SockRef;
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

pub use connect::{connect, connect_through};
pub use halves::{WsRx, WsTx};
pub use listen::WsListener;

use crate::counters::{LinkCounters, Metered};
use crate::identity::PeerIdentity;
use crate::limits::{MAX_FRAME, NOT_SENT, READ_BUFFER, WRITE_BUFFER};
use crate::link::{Link, TransportKind};
use gather::Gather;

/// Where the link is on its port.
pub const PATH: &str = "/link";

/// The WebSocket subprotocol that both sides name at least.
pub const SUBPROTOCOL: &str = "tombolo.1";

/// The one that they use where both know it.
pub const SUBPROTOCOL_LANES: &str = "tombolo.1-lanes";

/// The first byte of a message: what the rest of it is.
mod lane {
    /// A whole control frame.
    pub(super) const CONTROL: u8 = 0;
    /// A piece of a bulk frame that goes on.
    pub(super) const BULK: u8 = 1;
    /// The last piece of a bulk frame, or all of it.
    pub(super) const BULK_END: u8 = 2;
}

type Socket = WebSocketStream<Gather<TlsStream<Metered<TcpStream>>>>;

/// One socket, used by both halves; locked only while one of them polls it.
#[derive(Clone)]
struct Shared(Arc<Mutex<Socket>>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Socket> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An established link.
pub struct WsLink {
    socket: Shared,
    peer: PeerIdentity,
    remote: SocketAddr,
    counters: Arc<LinkCounters>,
    /// Messages name their lane.
    lanes: bool,
}

impl WsLink {
    fn new(socket: Socket, lanes: bool, peer: PeerIdentity, remote: SocketAddr, counters: Arc<LinkCounters>) -> Self {
        Self { socket: Shared(Arc::new(Mutex::new(socket))), peer, remote, counters, lanes }
    }
}

impl std::fmt::Debug for WsLink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WsLink").field("peer", &self.peer).field("remote", &self.remote).finish_non_exhaustive()
    }
}

impl Link for WsLink {
    type Tx = WsTx;
    type Rx = WsRx;

    fn peer(&self) -> &PeerIdentity {
        &self.peer
    }

    fn transport(&self) -> TransportKind {
        TransportKind::WebSocket
    }

    fn remote(&self) -> String {
        self.remote.to_string()
    }

    fn counters(&self) -> Arc<LinkCounters> {
        self.counters.clone()
    }

    fn split(self) -> (WsTx, WsRx) {
        (WsTx::new(self.socket.clone(), self.lanes), WsRx::new(self.socket, self.counters, self.lanes))
    }
}

fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        // Every fragment goes straight down, where they are gathered.
        .write_buffer_size(0)
        .max_write_buffer_size(WRITE_BUFFER)
        // A frame, and the byte that names its lane.
        .max_message_size(Some(MAX_FRAME + 1))
        .max_frame_size(Some(MAX_FRAME + 1))
}

/// Small frames leave at once, and little waits unsent in the kernel.
fn prepare(tcp: &TcpStream) -> std::io::Result<()> {
    tcp.set_nodelay(true)?;
    #[cfg(target_os = "linux")]
    SockRef::from(tcp).set_tcp_notsent_lowat(NOT_SENT)?;
    Ok(())
}
