//! Who follows what changes at one hub, through all its deaths: no record goes back, and outcomes come once and in order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;

use super::gate::Gate;
use super::report::{Counts, Findings};
use super::twins;
use crate::events::Event;
use crate::http::Client;

/// One watcher.
pub(super) struct Watcher<'a> {
    /// Where it watches.
    pub place: String,
    /// What it watches.
    pub path: &'static str,
    /// What it has seen.
    pub seen: Mutex<Seen>,
    /// When it goes home.
    pub gate: &'a Gate,
    /// What is wrong.
    pub findings: &'a Findings,
    /// What happened.
    pub counts: &'a Counts,
}

/// What was told so far.
#[derive(Default)]
pub(super) struct Seen {
    revisions: BTreeMap<String, u64>,
    newest: BTreeMap<String, u64>,
    twins: twins::Seen,
    /// Writes whose outcome was told since the last look.
    pub outcomes: BTreeSet<String>,
    /// It was told to begin anew: what was between was not told.
    pub reset: bool,
}

impl Watcher<'_> {
    /// What it has seen.
    pub(super) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Watches until all is over.
    pub(super) fn watch(&self, client: &Client) {
        let mut last = "0".to_owned();
        while !self.gate.is_over() {
            let Ok(mut events) = client.events(self.path, &[("last-event-id", last.as_str())]) else {
                self.gate.pause(Duration::from_millis(50));
                continue;
            };
            self.counts.add("watches: begun or gone on", 1);
            while let Some(event) = events.next_event() {
                self.take(&event);
            }
            if !events.last.is_empty() {
                last = events.last;
            }
        }
    }

    fn take(&self, event: &Event) {
        self.counts.add("watches: events", 1);
        let wrong = match event.name.as_str() {
            "record" => self.seen().record(&event.data),
            "outcome" => self.seen().outcome(&event.data),
            "reset" => {
                self.seen().reset = true;
                None
            }
            _ => None,
        };
        if let Some(wrong) = wrong {
            self.findings.add(&format!("other: watched at {}: {wrong}: {}", self.place, event.data));
        }
    }
}

impl Seen {
    /// What was told so far has been looked at.
    pub(super) fn looked_at(&mut self) {
        self.outcomes.clear();
        self.reset = false;
    }

    fn record(&mut self, record: &Value) -> Option<String> {
        let revision = record["revision"].as_u64().filter(|revision| *revision > 0)?;
        let name = format!("{}/{}", record["collection"].as_str()?, record["key"].as_str()?);
        let before = self.revisions.insert(name.clone(), revision).unwrap_or(0);
        if revision < before {
            return Some(format!("{name} went from revision {before} back"));
        }
        if record["collection"] == "_twins" { self.twins.twin(record) } else { None }
    }

    fn outcome(&mut self, write: &Value) -> Option<String> {
        let id = write["id"].as_str()?;
        let (database, number) = id.rsplit_once(':')?;
        let number = number.parse().ok()?;
        let before = self.newest.insert(database.to_owned(), number).unwrap_or(0);
        if !self.outcomes.insert(id.to_owned()) || number <= before {
            return Some(format!("the outcome of {id} after that of number {before}"));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_goes_back_or_comes_twice_is_seen() {
        let mut seen = Seen::default();
        let record = |revision: u64| json!({"collection": "c", "key": "k", "revision": revision});
        assert_eq!((seen.record(&record(3)), seen.record(&record(0)), seen.record(&record(3))), (None, None, None));
        assert!(seen.record(&record(2)).is_some_and(|wrong| wrong.contains("revision 3 back")));
        let outcome = |id: &str| json!({"id": id});
        assert_eq!((seen.outcome(&outcome("lyon:ab:9")), seen.outcome(&outcome("lyon:ab:10"))), (None, None));
        assert!(seen.outcome(&outcome("lyon:ab:10")).is_some(), "twice");
        assert!(seen.outcome(&outcome("lyon:ab:8")).is_some(), "out of order");
    }
}
