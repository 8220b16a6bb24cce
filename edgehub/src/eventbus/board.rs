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

/// How the event bus stands.
#[derive(Debug, Clone, Default)]
pub struct BusView {
    /// Connected to the broker.
    pub up: bool,
    /// Since when that holds, milliseconds since 1970.
    pub since_ms: u64,
    /// Why it is not, or was not.
    pub last_error: Option<String>,
    /// Messages that came from devices.
    pub received: u64,
    /// Messages that were refused, or of which a part was.
    pub refused: u64,
    /// Messages for devices.
    pub published: u64,
    /// Messages for devices that the broker was not there for; what they said is said again when it is.
    pub dropped: u64,
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
        (view.since_ms > 0).then(|| Devices {
            broker: view.up,
            broker_since_ms: view.since_ms,
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
