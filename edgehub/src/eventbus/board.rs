//! What the event bus is doing, for everyone who shows it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use proto::frame::Devices;

use super::meter::Meter;

/// Devices that speak and are not declared which are remembered: the newest.
const STRANGERS: usize = 256;
/// Topics of each that are remembered.
const TOPICS: usize = 8;

/// A device that speaks and is not declared here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stranger {
    /// What it calls itself, cut.
    pub id: String,
    /// When it spoke last, milliseconds since 1970.
    pub last_seen_ms: u64,
    /// Where it spoke.
    pub topics: BTreeSet<String>,
    /// How often.
    pub messages: u64,
}

/// Which broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One beside edgehub.
    External,
    /// The one inside it.
    Internal,
}

impl Kind {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::External => "external",
            Self::Internal => "internal",
        }
    }
}

/// How a broker stands.
#[derive(Debug, Clone, Default)]
pub struct BrokerView {
    /// It is there.
    pub up: bool,
    /// Since when that holds, milliseconds since 1970.
    pub since_ms: u64,
    /// Why it is not, or was not, and what to do.
    pub last_error: Option<String>,
    /// Whether it still knew edgehub when it came the last time; none: it never came, or cannot.
    pub session_kept: Option<bool>,
    /// Connections since the start.
    pub connections: u64,
}

/// What else the broker inside edgehub shows.
#[derive(Debug, Clone, Default)]
pub struct InternalView {
    /// How it stands.
    pub broker: BrokerView,
    /// Clients that are there.
    pub clients: u64,
    /// Sessions that are kept for others.
    pub sessions: u64,
    /// Messages that no room was left for.
    pub dropped: u64,
    /// Connections that failed by a fault of ours.
    pub failed: u64,
    /// Connections that were not taken, because there were too many.
    pub turned_away: u64,
}

/// How the event bus stands.
#[derive(Debug, Clone, Default)]
pub struct BusView {
    /// The broker beside edgehub.
    pub external: BrokerView,
    /// The one inside it.
    pub internal: InternalView,
    /// Messages that came from devices.
    pub received: u64,
    /// Messages that were refused, or of which a part was.
    pub refused: u64,
    /// Messages that were beyond their device's bound: only the newest values of them count.
    pub folded: u64,
    /// Messages for devices.
    pub published: u64,
    /// Messages for devices that the broker was not there for; what they said is said again when it is.
    pub dropped: u64,
}

impl BusView {
    fn broker(&mut self, kind: Kind) -> &mut BrokerView {
        match kind {
            Kind::External => &mut self.external,
            Kind::Internal => &mut self.internal.broker,
        }
    }
}

/// Shared by the event bus and the API.
#[derive(Debug, Default)]
pub struct BusBoard {
    view: Mutex<BusView>,
    /// What is reported.
    pub meter: Meter,
    strangers: Mutex<BTreeMap<String, Stranger>>,
}

impl BusBoard {
    /// How it stands.
    pub fn view(&self) -> BusView {
        lock(&self.view).clone()
    }

    /// What the cloud is told of all this, where so many values wait; none: no broker was ever tried.
    pub fn report(&self, waiting: u64, now_ms: u64) -> Option<Devices> {
        let view = self.view();
        let figures = self.meter.figures(waiting, now_ms);
        let tried = [&view.external, &view.internal.broker].into_iter().filter(|broker| broker.since_ms > 0);
        let since_ms = tried.clone().map(|broker| broker.since_ms).max()?;
        Some(Devices {
            broker: tried.clone().all(|broker| broker.up),
            broker_since_ms: since_ms,
            updates: figures.last_minute,
            kept: figures.kept,
            coalesced: figures.coalesced,
            waiting,
            refused: view.refused,
            unknown: self.strangers().len() as u64,
        })
    }

    /// Changes something.
    pub(super) fn update(&self, change: impl FnOnce(&mut BusView)) {
        change(&mut lock(&self.view));
    }

    /// Changes something of the broker inside edgehub.
    pub(super) fn internal(&self, change: impl FnOnce(&mut InternalView)) {
        change(&mut lock(&self.view).internal);
    }

    /// A broker is there; and whether it has kept what it knew of edgehub. True: it knew edgehub once, and has forgotten it.
    pub(super) fn up(&self, kind: Kind, kept: Option<bool>, now_ms: u64) -> bool {
        let mut view = lock(&self.view);
        let broker = view.broker(kind);
        if !broker.up {
            broker.since_ms = now_ms;
        }
        broker.up = true;
        let forgotten = kept == Some(false) && broker.connections > 0;
        broker.connections += 1;
        broker.session_kept = kept;
        forgotten
    }

    /// A broker is not there. True: it never was.
    pub(super) fn down(&self, kind: Kind, error: String, now_ms: u64) -> bool {
        let mut view = lock(&self.view);
        let broker = view.broker(kind);
        let first = broker.since_ms == 0;
        if broker.up || first {
            (broker.up, broker.since_ms) = (false, now_ms);
        }
        broker.last_error = Some(error);
        first
    }

    /// Devices that are not declared, in the order of their ids.
    pub fn strangers(&self) -> Vec<Stranger> {
        lock(&self.strangers).values().cloned().collect()
    }

    /// Somebody spoke who is not declared.
    pub(super) fn stranger(&self, id: &str, topic: &str, now_ms: u64) {
        let cut = |text: &str| text.chars().take(260).collect::<String>();
        let mut all = lock(&self.strangers);
        let id = cut(id);
        if !all.contains_key(&id) && all.len() >= STRANGERS {
            let oldest = all.values().min_by_key(|stranger| stranger.last_seen_ms).map(|stranger| stranger.id.clone());
            oldest.and_then(|oldest| all.remove(&oldest));
        }
        let new = || Stranger { id: id.clone(), last_seen_ms: 0, topics: BTreeSet::new(), messages: 0 };
        let stranger = all.entry(id.clone()).or_insert_with(new);
        stranger.last_seen_ms = now_ms;
        stranger.messages += 1;
        if stranger.topics.len() < TOPICS {
            stranger.topics.insert(cut(topic));
        }
    }

    /// It is declared now.
    pub(super) fn known(&self, id: &str) {
        lock(&self.strangers).remove(id);
    }
}

fn lock<T>(part: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic while it was held leaves a view that is still worth showing.
    part.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_are_few_and_the_newest() {
        let board = BusBoard::default();
        for n in 0..(STRANGERS as u64 + 10) {
            board.stranger(&format!("d{n}"), "$hw/events/device/d/twin/update", n);
        }
        board.stranger("d20", "t2", 1_000);
        let all = board.strangers();
        assert_eq!(all.len(), STRANGERS);
        assert!(all.iter().all(|stranger| stranger.last_seen_ms >= 10));
        let again = all.iter().find(|stranger| stranger.id == "d20").map(|stranger| (stranger.messages, stranger.topics.len()));
        assert_eq!(again, Some((2, 2)));
        board.known("d20");
        assert!(board.strangers().iter().all(|stranger| stranger.id != "d20"));
    }
}
