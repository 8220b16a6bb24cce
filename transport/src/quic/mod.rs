//! The link over QUIC: ALPN `tombolo/1`, a stream for each lane.
//!
//! | stream | opened by | its first byte | then |
//! |---|---|---|---|
//! | bidirectional | edge | 1, control | frames both ways, each behind its length (4 bytes, big-endian) |
//! | unidirectional | edge | 2, bulk | frames, each behind its length and 8 bytes: how many control frames came before it |
//! | unidirectional | hub | 2, bulk | the same; it opens when the hub lets the node in |
//!
//! A bulk frame is delivered once as many control frames as it names were: nothing overtakes control. Why:
//! `docs/decisions/0009-quic-streams.md`. A hub will open further bidirectional streams, one for each request.
//!
//! - `config`: bounds and timers, ALPN; `connect` and `listen`: either end's handshake;
//! - `halves`: the link's halves; `reader`: frames out of a stream, bounded; `reason`: why QUIC says that it is over.

mod config;
mod connect;
mod halves;
mod listen;
mod reader;
mod reason;

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use quinn::{Connection, RecvStream, SendStream};

pub use connect::connect;
pub use halves::{QuicRx, QuicTx};
pub use listen::{QuicListener, ResetKey};

use crate::counters::LinkCounters;
use crate::identity::PeerIdentity;
use crate::link::{CloseCode, CloseReason, Link, LinkError, TransportKind};

/// What both sides must name in the TLS handshake.
pub const ALPN: &[u8] = b"tombolo/1";

/// The first byte of a stream of control frames.
pub const CONTROL: u8 = 1;

/// The first byte of a stream of bulk frames.
pub const BULK: u8 = 2;

/// Control goes first into every packet.
const CONTROL_PRIORITY: i32 = 1;

/// What both halves use.
struct Shared {
    connection: Connection,
    counters: Arc<LinkCounters>,
    /// Why this side has ended the link, if it has.
    said: OnceLock<CloseReason>,
}

impl Shared {
    fn end(&self, reason: &CloseReason) {
        if self.said.set(reason.clone()).is_ok() {
            self.connection.close(u32::from(reason.code.number()).into(), reason.text.as_bytes());
        }
    }

    /// Ends the link because the peer broke a rule, and tells it which.
    fn break_off(&self, broken: &str) -> LinkError {
        self.end(&CloseReason::new(CloseCode::Protocol, broken));
        LinkError::Protocol(broken.to_owned())
    }

    fn count(&self) {
        let stats = self.connection.stats();
        self.counters.wire(stats.udp_rx.bytes, stats.udp_tx.bytes);
    }
}

/// The streams of a link.
struct Streams {
    control: (SendStream, RecvStream),
    bulk: (SendStream, RecvStream),
}

/// An established link.
pub struct QuicLink {
    shared: Shared,
    streams: Streams,
    peer: PeerIdentity,
    remote: SocketAddr,
}

impl QuicLink {
    fn new(connection: Connection, streams: Streams, peer: PeerIdentity) -> Self {
        // It exists as long as its connection does; what cannot be ordered any more is about to end.
        let _ = streams.control.0.set_priority(CONTROL_PRIORITY);
        let remote = connection.remote_address();
        let shared = Shared { connection, counters: LinkCounters::new(), said: OnceLock::new() };
        shared.count();
        Self { shared, streams, peer, remote }
    }
}

impl std::fmt::Debug for QuicLink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QuicLink").field("peer", &self.peer).field("remote", &self.remote).finish_non_exhaustive()
    }
}

impl Link for QuicLink {
    type Tx = QuicTx;
    type Rx = QuicRx;

    fn peer(&self) -> &PeerIdentity {
        &self.peer
    }

    fn transport(&self) -> TransportKind {
        TransportKind::Quic
    }

    fn remote(&self) -> String {
        // An IPv4 peer of a socket that takes both shows as the address that it has.
        SocketAddr::new(self.remote.ip().to_canonical(), self.remote.port()).to_string()
    }

    fn counters(&self) -> Arc<LinkCounters> {
        self.shared.counters.clone()
    }

    fn split(self) -> (QuicTx, QuicRx) {
        let shared = Arc::new(self.shared);
        let Streams { control: (control_tx, control_rx), bulk: (bulk_tx, bulk_rx) } = self.streams;
        (QuicTx::new(Arc::clone(&shared), control_tx, bulk_tx), QuicRx::new(shared, control_rx, bulk_rx))
    }
}
