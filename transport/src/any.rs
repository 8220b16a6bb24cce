//! A link over whatever there is, so that the code above it exists once. What QUIC needs is apart, so that it costs a node over
//! WebSocket nothing.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;

use crate::admission::Refusal;
use crate::counters::LinkCounters;
use crate::identity::PeerIdentity;
use crate::link::{CloseReason, Lane, Link, LinkError, LinkRx, LinkTx, Received, TransportKind};
use crate::quic::{QuicLink, QuicListener, QuicRx, QuicTx};
use crate::ws::{WsLink, WsListener, WsRx, WsTx};

/// Calls the same on whichever it is.
macro_rules! each {
    ($kind:ident, $what:expr, $inner:ident => $do:expr) => {
        match $what {
            $kind::Ws($inner) => $do,
            $kind::Quic($inner) => $do,
        }
    };
}

/// An established link.
#[derive(Debug)]
#[allow(missing_docs)]
pub enum AnyLink {
    Ws(WsLink),
    Quic(Box<QuicLink>),
}

impl From<WsLink> for AnyLink {
    fn from(link: WsLink) -> Self {
        Self::Ws(link)
    }
}

impl From<QuicLink> for AnyLink {
    fn from(link: QuicLink) -> Self {
        Self::Quic(Box::new(link))
    }
}

impl Link for AnyLink {
    type Tx = AnyTx;
    type Rx = AnyRx;

    fn peer(&self) -> &PeerIdentity {
        each!(AnyLink, self, link => link.peer())
    }

    fn transport(&self) -> TransportKind {
        each!(AnyLink, self, link => link.transport())
    }

    fn remote(&self) -> String {
        each!(AnyLink, self, link => link.remote())
    }

    fn counters(&self) -> Arc<LinkCounters> {
        each!(AnyLink, self, link => link.counters())
    }

    fn split(self) -> (AnyTx, AnyRx) {
        match self {
            Self::Ws(link) => {
                let (tx, rx) = link.split();
                (AnyTx::Ws(tx), AnyRx::Ws(rx))
            }
            Self::Quic(link) => {
                let (tx, rx) = link.split();
                (AnyTx::Quic(Box::new(tx)), AnyRx::Quic(Box::new(rx)))
            }
        }
    }
}

/// The sending half.
#[allow(missing_docs)]
pub enum AnyTx {
    Ws(WsTx),
    Quic(Box<QuicTx>),
}

impl LinkTx for AnyTx {
    fn is_free(&self, lane: Lane) -> bool {
        each!(AnyTx, self, tx => tx.is_free(lane))
    }

    fn begin(&mut self, lane: Lane, frame: Bytes) -> Result<(), LinkError> {
        each!(AnyTx, self, tx => tx.begin(lane, frame))
    }

    async fn progress(&mut self) -> Result<(), LinkError> {
        each!(AnyTx, self, tx => tx.progress().await)
    }

    async fn close(&mut self, reason: CloseReason) {
        each!(AnyTx, self, tx => tx.close(reason).await);
    }
}

/// The receiving half.
#[allow(missing_docs)]
pub enum AnyRx {
    Ws(WsRx),
    Quic(Box<QuicRx>),
}

impl LinkRx for AnyRx {
    async fn recv(&mut self) -> Result<Received, LinkError> {
        each!(AnyRx, self, rx => rx.recv().await)
    }
}

/// Listens for nodes.
#[derive(Debug)]
#[allow(missing_docs)]
pub enum AnyListener {
    Ws(WsListener),
    Quic(QuicListener),
}

impl AnyListener {
    /// The address that is really listened on.
    pub fn local_addr(&self) -> SocketAddr {
        each!(AnyListener, self, listener => listener.local_addr())
    }

    /// See [`WsListener::accept`].
    ///
    /// # Errors
    /// [`Refusal`] is for the log and the metrics: call again.
    pub async fn accept(&mut self) -> Result<AnyLink, Refusal> {
        each!(AnyListener, self, listener => listener.accept().await.map(AnyLink::from))
    }
}
