//! How often a reported value goes up: the first after a quiet interval at once, then once an interval, each field for itself. A
//! write that waits for its outcome takes one of few places, so that reports never fill a slow link.

use std::collections::BTreeMap;

use proto::names::Key;

use crate::limits::WRITES_UNDER_WAY;

/// What was sent lately.
#[derive(Debug, Clone)]
pub struct Pace {
    interval_ms: u64,
    /// When a field went into a write, on the monotonic clock. What is older than an interval says nothing and goes.
    sent: BTreeMap<Key, BTreeMap<String, u64>>,
    /// Numbers of writes without an outcome.
    under_way: Vec<u64>,
}

impl Pace {
    /// Nothing was sent yet.
    pub fn new(interval_ms: u64) -> Self {
        Self { interval_ms, sent: BTreeMap::new(), under_way: Vec::new() }
    }

    /// Whether another write may be made.
    pub fn has_room(&self) -> bool {
        self.under_way.len() < WRITES_UNDER_WAY
    }

    /// Whether a field may go up now.
    pub fn is_due(&self, device: &Key, field: &str, mono_ms: u64) -> bool {
        let sent = self.sent.get(device).and_then(|fields| fields.get(field));
        sent.is_none_or(|sent| mono_ms.saturating_sub(*sent) >= self.interval_ms)
    }

    /// A write was made of these fields.
    pub fn sent(&mut self, number: u64, fields: &[(Key, String)], mono_ms: u64) {
        self.under_way.push(number);
        let recent = |sent: &u64| mono_ms.saturating_sub(*sent) < self.interval_ms;
        self.sent.retain(|_, fields| {
            fields.retain(|_, sent| recent(sent));
            !fields.is_empty()
        });
        for (device, field) in fields {
            self.sent.entry(device.clone()).or_default().insert(field.clone(), mono_ms);
        }
    }

    /// Writes get their outcomes in order: which is the first that waits for one; none: no write does.
    pub fn answered(&mut self, first_waiting: Option<u64>) {
        self.under_way.retain(|own| first_waiting.is_some_and(|first| *own >= first));
    }

    /// When the next field that waits for its interval is due; none: nothing was sent within one.
    pub fn next_ms(&self) -> Option<u64> {
        self.sent.values().flat_map(BTreeMap::values).min().map(|sent| sent.saturating_add(self.interval_ms))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn key(text: &str) -> Key {
        Key::parse(text).unwrap()
    }

    #[test]
    fn each_field_has_an_interval_of_its_own() {
        let mut pace = Pace::new(1_000);
        let boiler = key("boiler");
        assert!(pace.is_due(&boiler, "temp", 0), "the first at once");
        pace.sent(1, &[(boiler.clone(), "temp".to_owned())], 100);
        assert!(!pace.is_due(&boiler, "temp", 1_099) && pace.is_due(&boiler, "rpm", 100) && pace.is_due(&key("fan"), "temp", 100));
        assert_eq!(pace.next_ms(), Some(1_100));
        assert!(pace.is_due(&boiler, "temp", 1_100));
        pace.sent(2, &[(key("fan"), "rpm".to_owned())], 5_000);
        assert_eq!(pace.next_ms(), Some(6_000), "what is older than an interval is forgotten");
    }

    #[test]
    fn writes_under_way_are_few() {
        let mut pace = Pace::new(1_000);
        let mut number = 0;
        while pace.has_room() {
            number += 1;
            pace.sent(number, &[], 0);
        }
        assert_eq!(number as usize, WRITES_UNDER_WAY);
        pace.answered(Some(1));
        assert!(!pace.has_room());
        pace.answered(Some(2));
        assert!(pace.has_room());
        pace.answered(None);
        assert!(pace.under_way.is_empty());
    }
}
