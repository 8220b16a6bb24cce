//! What a link costs on which nothing happens.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use super::report::{Bound, Figure, Unit};
use super::stage::Stage;
use super::{Settings, pace};

const RECORDS: usize = 1_000;
/// Four pings.
const SPAN: Duration = Duration::from_secs(60);
/// Twenty.
const FULL_SPAN: Duration = Duration::from_secs(300);
/// IPv4 and TCP with timestamps, without options an idle link has no other.
const HEADERS: f64 = 52.0;

pub(super) fn run(settings: Settings) -> Vec<Figure> {
    let stage = Stage::with(RECORDS);
    let _edge = stage.settled("lyon");
    pace::pause(Duration::from_secs(5));
    let span = if settings.full { FULL_SPAN } else { SPAN };
    let Some(before) = Traffic::of(stage.world.cloud.ws) else {
        println!("  not measured: it needs `ss` (on Debian: apt-get install iproute2)");
        return Vec::new();
    };
    pace::pause(span);
    let after = Traffic::of(stage.world.cloud.ws).expect("the same connection");
    let (bytes, segments) = (after.bytes - before.bytes, after.segments - before.segments);
    let whole = (bytes + segments * HEADERS) / span.as_secs_f64();
    let how = format!("{} s: {bytes} bytes of TLS in {segments} segments, each with {HEADERS} bytes of IP and TCP", span.as_secs());
    vec![
        Figure::new("idle link on the wire, both directions", whole, Unit::BytesPerSecond).budget(Bound::AtMost(20.0)).detail(how),
        Figure::new("of it inside TCP", bytes / span.as_secs_f64(), Unit::BytesPerSecond),
    ]
}

/// What the kernel counted of the one connection to an address, both directions.
struct Traffic {
    bytes: f64,
    segments: f64,
}

impl Traffic {
    fn of(server: SocketAddr) -> Option<Self> {
        let output = Command::new("ss").args(["-tinHO", "state", "established", "dst"]).arg(server.to_string()).output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let figure = |name: &str| text.split_whitespace().find_map(|word| word.strip_prefix(name)?.parse::<f64>().ok());
        Some(Self { bytes: figure("bytes_sent:")? + figure("bytes_received:")?, segments: figure("segs_out:")? + figure("segs_in:")? })
    }
}
