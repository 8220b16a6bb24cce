//! Both ways to one hub, through paths that behave alike.

use std::net::SocketAddr;
use std::time::Duration;

use crate::bench::stage::{ON_THE_WAY, Stage, route_both};
use crate::cut::{Carried, Counts, Cut, Weather};
use crate::shops::Edge;

/// Bytes of a stream that are on the way at most: what a receiver's kernel takes by default.
const RECEIVE_WINDOW: usize = 6 << 20;
/// The fate of every packet.
const SEED: u64 = 7;
/// Ethernet does not count, IPv4 and TCP with timestamps do; of every segment.
const TCP_HEADERS: usize = 52;
/// IPv4 and UDP.
const UDP_HEADERS: usize = 28;

/// What carries a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    WebSocket,
    Quic,
}

/// Both.
pub(crate) const TRANSPORTS: [Transport; 2] = [Transport::WebSocket, Transport::Quic];

impl Transport {
    /// As in the configuration.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::WebSocket => "websocket",
            Self::Quic => "quic",
        }
    }

    /// What `counts` were on the wire, headers included, both directions.
    pub(crate) fn wire(self, counts: &Counts) -> f64 {
        let bytes: u64 = counts.bytes.iter().sum();
        let headers = match self {
            // A stream comes in pieces of any size: its segments are full ones, nearly.
            Self::WebSocket => bytes.div_ceil(1_448) * TCP_HEADERS as u64,
            Self::Quic => counts.packets.iter().sum::<u64>() * UDP_HEADERS as u64,
        };
        (bytes + headers) as f64
    }
}

/// A path of this length that loses so many packets in a million each way, with senders of streams that mind it.
pub(super) fn weather(round_trip: Duration, loss: u64) -> Weather {
    let latency = round_trip / 2;
    Weather { latency, loss, congestion: true, buffer: if latency.is_zero() { ON_THE_WAY } else { RECEIVE_WINDOW }, ..Weather::default() }
}

/// A path for each transport.
pub(crate) struct Paths {
    tcp: Cut,
    udp: Cut,
}

impl Paths {
    /// To the hub of a stage.
    pub(crate) fn to(stage: &Stage, weather: Weather) -> Self {
        let path = |carried, target| Cut::to(carried, target, weather, SEED).expect("a free port");
        let quic = stage.world.cloud.quic.expect("a hub that listens for QUIC");
        Self { tcp: path(Carried::Tcp, stage.world.cloud.ws), udp: path(Carried::Udp, quic) }
    }

    /// Makes a node that does not run reach its hub here.
    pub(crate) fn lead(&self, edge: &Edge) {
        route_both(edge, self.tcp.address(), self.udp.address());
    }

    /// Where the way over TCP begins.
    pub(crate) fn tcp(&self) -> SocketAddr {
        self.tcp.address()
    }

    /// What was carried so far.
    pub(crate) fn counts(&self, transport: Transport) -> Counts {
        match transport {
            Transport::WebSocket => self.tcp.counts(),
            Transport::Quic => self.udp.counts(),
        }
    }
}
