//! What all connections of one path share: the rules as they are now, and the counts.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::Outage;
use super::weather::Weather;

/// A direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From the client to the server.
    Up,
    /// From the server to the client.
    Down,
}

impl Way {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::Up, Self::Down];

    pub(super) fn index(self) -> usize {
        usize::from(self == Self::Down)
    }
}

/// What was carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Connections, or addresses that datagrams came from.
    pub connections: u64,
    /// Bytes that arrived, up and down.
    pub bytes: [u64; 2],
    /// Packets that arrived, up and down.
    pub packets: [u64; 2],
    /// Datagrams that did not arrive, up and down.
    pub dropped: [u64; 2],
    /// Connections that were reset.
    pub resets: u64,
}

#[derive(Debug, Clone)]
pub(super) struct Rules {
    pub(super) weather: [Weather; 2],
    pub(super) hole: [bool; 2],
    pub(super) cut: bool,
    pub(super) reset_after: [Option<u64>; 2],
    pub(super) moved: u64,
    /// How often a timetable closed the path.
    pub(super) periods: u64,
}

impl Rules {
    pub(super) fn interrupt(&mut self, kind: Outage) {
        match kind {
            Outage::Cut => self.cut = true,
            Outage::Hole => self.hole = [true; 2],
        }
    }

    pub(super) fn mend(&mut self) {
        (self.cut, self.hole) = (false, [false; 2]);
    }
}

pub(super) struct Road {
    rules: Mutex<Rules>,
    counts: Mutex<Counts>,
    changed: watch::Sender<()>,
    begun: Instant,
    seed: u64,
    connections: AtomicU64,
    reached: Mutex<Option<Instant>>,
}

impl Road {
    pub(super) fn new(weather: Weather, seed: u64) -> Self {
        let rules = Rules { weather: [weather; 2], hole: [false; 2], cut: false, reset_after: [None; 2], moved: 0, periods: 0 };
        Self {
            rules: Mutex::new(rules),
            counts: Mutex::default(),
            changed: watch::Sender::new(()),
            begun: Instant::now(),
            seed,
            connections: AtomicU64::new(0),
            reached: Mutex::default(),
        }
    }

    pub(super) fn rules(&self) -> MutexGuard<'_, Rules> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut Rules)) {
        change(&mut self.rules());
        self.changed.send_replace(());
    }

    /// The next connection is the first one again.
    pub(super) fn unreached(&self) {
        *self.first() = None;
    }

    /// When the first connection came.
    pub(super) fn reached(&self) -> Option<Instant> {
        *self.first()
    }

    fn first(&self) -> MutexGuard<'_, Option<Instant>> {
        self.reached.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn counts(&self) -> Counts {
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn count(&self, count: impl FnOnce(&mut Counts)) {
        count(&mut self.counts.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// A new connection: its number and what its lanes are made from.
    pub(super) fn connection(&self) -> (u64, u64) {
        self.count(|counts| counts.connections += 1);
        self.first().get_or_insert_with(Instant::now);
        (self.seed, self.connections.fetch_add(1, Ordering::Relaxed))
    }

    /// Microseconds since the path was made.
    pub(super) fn now(&self) -> u64 {
        self.begun.elapsed().as_micros() as u64
    }

    fn instant(&self, at: u64) -> Instant {
        self.begun + Duration::from_micros(at)
    }

    /// Waits until then; not at all where that is over: a timer alone costs a millisecond.
    pub(super) async fn due(&self, at: u64) {
        if at > self.now() {
            sleep_until(self.instant(at)).await;
        }
    }

    /// Waits until the rules are as wanted.
    pub(super) async fn until(&self, wanted: impl Fn(&Rules) -> bool) {
        let mut changes = self.changed.subscribe();
        while !wanted(&self.rules()) {
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// How many of `bytes` are carried until the connection has to be reset.
    pub(super) fn until_reset(&self, way: Way, bytes: usize) -> Option<usize> {
        let mut rules = self.rules();
        let left = rules.reset_after[way.index()].as_mut()?;
        if *left > bytes as u64 {
            *left -= bytes as u64;
            return None;
        }
        let carried = *left as usize;
        rules.reset_after[way.index()] = None;
        Some(carried)
    }

    pub(super) fn arrived(&self, way: Way, bytes: usize) {
        self.count(|counts| {
            counts.bytes[way.index()] += bytes as u64;
            counts.packets[way.index()] += 1;
        });
    }
}
