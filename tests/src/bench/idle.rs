//! What a link costs on which nothing happens: over each transport, and where it is metered.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use super::networks::path::{Paths, Transport};
use super::report::{Bound, Figure, Unit};
use super::stage::{Stage, add_link};
use super::{Settings, pace};
use crate::cut::Weather;
use crate::shops::Edge;

const RECORDS: usize = 1_000;
/// Eight pings, one where it is metered.
const SPAN: Duration = Duration::from_secs(120);
/// Forty, and five.
const FULL_SPAN: Duration = Duration::from_secs(600);
/// What the first exchanges of a session take.
const SETTLES: Duration = Duration::from_secs(5);
/// IPv4 and TCP with timestamps, without options an idle link has no other.
const TCP_HEADERS: f64 = 52.0;
/// IPv4 and UDP.
const UDP_HEADERS: f64 = 28.0;

pub(super) fn run(settings: Settings) -> Vec<Figure> {
    let stage = Stage::with(RECORDS);
    let span = if settings.full { FULL_SPAN } else { SPAN };
    let links = [
        Idle::new(&stage, "lyon", Transport::WebSocket, false),
        Idle::new(&stage, "paris", Transport::Quic, false),
        Idle::new(&stage, "brest", Transport::WebSocket, true),
    ];
    pace::pause(SETTLES);
    let before = links.each_ref().map(Idle::traffic);
    pace::pause(span);
    let figures = links.iter().zip(before).filter_map(|(link, before)| Some(link.figure(before?, link.traffic()?, span)));
    let figures: Vec<_> = figures.collect();
    if figures.len() < links.len() {
        println!("  what goes over TCP is not measured: it needs `ss` (on Debian: apt-get install iproute2)");
    }
    figures
}

/// A node that does nothing.
struct Idle {
    transport: Transport,
    metered: bool,
    paths: Paths,
    _edge: Edge,
}

/// Bytes inside TCP or UDP, and packets, both directions.
#[derive(Debug, Clone, Copy)]
struct Traffic {
    bytes: f64,
    packets: f64,
}

impl Idle {
    fn new(stage: &Stage, name: &str, transport: Transport, metered: bool) -> Self {
        let mut edge = stage.node(name);
        edge.transport = transport.name().into();
        let paths = Paths::to(stage, Weather::default());
        paths.lead(&edge);
        if metered {
            add_link(&edge, "metered = true");
        }
        edge.start();
        stage.settle(&edge);
        Self { transport, metered, paths, _edge: edge }
    }

    fn traffic(&self) -> Option<Traffic> {
        match self.transport {
            Transport::WebSocket => of_kernel(self.paths.tcp()),
            Transport::Quic => {
                let counts = self.paths.counts(Transport::Quic);
                let sum = |both: [u64; 2]| both.iter().sum::<u64>() as f64;
                Some(Traffic { bytes: sum(counts.bytes), packets: sum(counts.packets) })
            }
        }
    }

    fn figure(&self, before: Traffic, after: Traffic, span: Duration) -> Figure {
        let (bytes, packets) = (after.bytes - before.bytes, after.packets - before.packets);
        let (headers, inside) = match self.transport {
            Transport::WebSocket => (TCP_HEADERS, "IP and TCP"),
            Transport::Quic => (UDP_HEADERS, "IP and UDP"),
        };
        let whole = (bytes + packets * headers) / span.as_secs_f64();
        let metered = if self.metered { ", metered" } else { "" };
        Figure::new(format!("idle link over {}{metered}, both directions", self.transport.name()), whole, Unit::BytesPerSecond)
            .budget(Bound::AtMost(if self.metered { 4.0 } else { 20.0 }))
            .detail(format!("{} s: {bytes} bytes in {packets} packets, each with {headers} bytes of {inside}", span.as_secs()))
    }
}

/// What the kernel counted of the one connection to an address.
fn of_kernel(server: SocketAddr) -> Option<Traffic> {
    let output = Command::new("ss").args(["-tinHO", "state", "established", "dst"]).arg(server.to_string()).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let figure = |name: &str| text.split_whitespace().find_map(|word| word.strip_prefix(name)?.parse::<f64>().ok());
    Some(Traffic { bytes: figure("bytes_sent:")? + figure("bytes_received:")?, packets: figure("segs_out:")? + figure("segs_in:")? })
}
