//! A path that fails as networks do, in user space: between a client and a server, for TCP and for UDP.
//!
//! Latency, jitter, loss, duplicates, reordering, a narrow path, silent black holes one way or both, connections that are
//! reset in the middle of a frame, clients whose address changes. What happens to the n-th packet of the n-th connection
//! follows from the seed; `lane` decides it, `tcp` and `udp` carry it out. By hand: `cargo run -p tests --bin cut -- --help`.
//!
//! What it is not: both ends of a TCP connection see a near peer, so a lost segment costs the time until it is sent again, and
//! slow start and congestion control are part of it only where they are asked for, as `sender` models them. Datagrams meet the
//! real thing: whoever sends them sees the path as it is. A black hole holds what a stream carries until it is mended, as
//! retransmission would, and swallows datagrams.

mod lane;
mod road;
mod sender;
mod tcp;
mod udp;
mod weather;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use road::{Road, Rules};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};

pub use road::{Counts, Way};
pub use weather::{Weather, duration};

/// What is carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carried {
    /// Connections.
    Tcp,
    /// Datagrams.
    Udp,
}

/// A path to one server. It ends, with everything on it, when this is dropped.
pub struct Cut {
    address: SocketAddr,
    road: Arc<Road>,
    runtime: Option<Runtime>,
}

impl Cut {
    /// A path from a free port of this machine.
    pub fn to(carried: Carried, target: SocketAddr, weather: Weather, seed: u64) -> io::Result<Self> {
        Self::between(carried, (Ipv4Addr::LOCALHOST, 0).into(), target, weather, seed)
    }

    /// A path from `listen` to `target`. Errors: the address is taken.
    pub fn between(carried: Carried, listen: SocketAddr, target: SocketAddr, weather: Weather, seed: u64) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let road = Arc::new(Road::new(weather, seed));
        let address = runtime.block_on(async {
            match carried {
                Carried::Tcp => tcp::serve(Arc::clone(&road), listen, target).await,
                Carried::Udp => udp::serve(Arc::clone(&road), listen, target).await,
            }
        })?;
        Ok(Self { address, road, runtime: Some(runtime) })
    }

    /// Where to connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What the path does from now on, one way.
    pub fn set(&self, way: Way, weather: Weather) {
        self.road.change(|rules| rules.weather[way.index()] = weather);
    }

    /// What the path does, one way.
    pub fn weather(&self, way: Way) -> Weather {
        self.road.rules().weather[way.index()]
    }

    /// Nothing arrives any more that way, and nobody is told; or it does again.
    pub fn hole(&self, way: Way, silent: bool) {
        self.road.change(|rules| rules.hole[way.index()] = silent);
    }

    /// Resets every connection, and every new one, until [`Cut::mend`]; datagrams are dropped.
    pub fn cut(&self) {
        self.road.change(|rules| rules.cut = true);
    }

    /// Takes back a cut and black holes.
    pub fn mend(&self) {
        self.road.unreached();
        self.road.change(Rules::mend);
    }

    /// Interrupts the path for so long, or as long as `inside` takes, and mends it. Returns when it is mended.
    pub fn outage(&self, kind: Outage, lasts: Duration, inside: impl FnOnce()) {
        let over = Instant::now() + lasts;
        self.road.change(|rules| rules.interrupt(kind));
        inside();
        if let Some(runtime) = &self.runtime {
            runtime.block_on(async { sleep_until(over).await });
        }
        self.mend();
    }

    /// From now on it is open for `up` in every `every`, beginning now, and interrupted for the rest, until [`Timetable`] is
    /// dropped; then it is open.
    pub fn timetable(&self, kind: Outage, up: Duration, every: Duration) -> Timetable {
        let road = Arc::clone(&self.road);
        let periods = async move {
            loop {
                road.change(Rules::mend);
                sleep(up).await;
                road.change(|rules| {
                    rules.interrupt(kind);
                    rules.periods += 1;
                });
                sleep(every.saturating_sub(up)).await;
            }
        };
        let keeper = self.runtime.as_ref().map(|runtime| runtime.spawn(periods));
        Timetable { road: Arc::clone(&self.road), keeper }
    }

    /// Resets the connection that carries the `bytes`-th byte from now on that way, just after it. Datagrams have no
    /// connections that a path could reset: the one with that byte is lost, and so are all that come to its client's address
    /// from then on; the client has another one, as when a router between them has forgotten it.
    pub fn reset_after(&self, way: Way, bytes: u64) {
        self.road.change(|rules| rules.reset_after[way.index()] = Some(bytes));
    }

    /// Clients come from other addresses from now on, as after a new lease or a forgotten mapping. For datagrams only.
    pub fn move_clients(&self) {
        self.road.change(|rules| rules.moved += 1);
    }

    /// When the first connection since the last [`Cut::mend`] came.
    pub fn reached(&self) -> Option<std::time::Instant> {
        self.road.reached().map(Instant::into_std)
    }

    /// What was carried so far.
    pub fn counts(&self) -> Counts {
        self.road.counts()
    }
}

/// How a path is interrupted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outage {
    /// As by [`Cut::cut`]: connections are told.
    Cut,
    /// As by [`Cut::hole`], both ways: nobody is told.
    Hole,
}

/// A path that is open now and then, while this lives.
pub struct Timetable {
    road: Arc<Road>,
    keeper: Option<JoinHandle<()>>,
}

impl Timetable {
    /// How often it closed so far.
    pub fn periods(&self) -> u64 {
        self.road.rules().periods
    }
}

impl Drop for Timetable {
    fn drop(&mut self) {
        self.keeper.iter().for_each(JoinHandle::abort);
        self.road.change(Rules::mend);
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests;
