//! Which nodes may read back-fills now (design §5). Many nodes at once have much to read after they joined, were given a new
//! collection, or a restored hub knows nothing of what they hold; each holds batches in memory and reading threads busy. So
//! only so many fill at a time. The others' streams go on meanwhile: what changes, and the outcomes of their writes.
//!
//! Where somebody waits, a turn lasts [`FILL_SLICE_MS`]; a node on a slow link goes on where it was when its turn comes again.
//!
//! Pure: the time is an argument. Connections are named by their numbers.

use std::collections::BTreeMap;

use crate::limits::FILL_SLICE_MS;

/// Who fills and who waits.
#[derive(Debug)]
pub(super) struct Snapshots {
    at_once: usize,
    /// Since when, milliseconds.
    filling: BTreeMap<u64, u64>,
    /// In the order in which they came, and where each of them is in it.
    waiting: BTreeMap<u64, u64>,
    places: BTreeMap<u64, u64>,
    newest: u64,
}

impl Snapshots {
    pub(super) fn new(at_once: u32) -> Self {
        let at_once = usize::try_from(at_once.max(1)).unwrap_or(usize::MAX);
        Self { at_once, filling: BTreeMap::new(), waiting: BTreeMap::new(), places: BTreeMap::new(), newest: 0 }
    }

    /// Whether a connection that has something to fill may read of it now; else it waits. Whoever is named in `wake` may from now on.
    pub(super) fn may(&mut self, id: u64, now_ms: u64, wake: &mut Vec<u64>) -> bool {
        if self.filling.get(&id).is_some_and(|since| !self.waiting.is_empty() && now_ms >= since + FILL_SLICE_MS) {
            self.filling.remove(&id);
        }
        if !self.filling.contains_key(&id) && !self.places.contains_key(&id) {
            self.newest += 1;
            self.waiting.insert(self.newest, id);
            self.places.insert(id, self.newest);
        }
        self.go_on(now_ms, wake);
        wake.retain(|woken| *woken != id);
        self.filling.contains_key(&id)
    }

    /// A connection has nothing to fill any more, or is over.
    pub(super) fn done(&mut self, id: u64, now_ms: u64, wake: &mut Vec<u64>) {
        if let Some(place) = self.places.remove(&id) {
            self.waiting.remove(&place);
        }
        if self.filling.remove(&id).is_some() {
            self.go_on(now_ms, wake);
        }
    }

    /// How many fill, and how many wait for it.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.filling.len(), self.waiting.len())
    }

    /// Fills the free places in order. One that took its time and asks for nothing has lost its place to who waits.
    fn go_on(&mut self, now_ms: u64, wake: &mut Vec<u64>) {
        while !self.waiting.is_empty() {
            if self.filling.len() >= self.at_once {
                let slow = self.filling.iter().filter(|(_, since)| now_ms >= **since + FILL_SLICE_MS);
                let Some(slowest) = slow.min_by_key(|(_, since)| **since).map(|(id, _)| *id) else { return };
                self.filling.remove(&slowest);
            }
            let Some((_, next)) = self.waiting.pop_first() else { return };
            self.places.remove(&next);
            self.filling.insert(next, now_ms);
            wake.push(next);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    fn ask(snapshots: &mut Snapshots, id: u64, now_ms: u64) -> (bool, Vec<u64>) {
        let mut wake = Vec::new();
        (snapshots.may(id, now_ms, &mut wake), wake)
    }

    fn done(snapshots: &mut Snapshots, id: u64, now_ms: u64) -> Vec<u64> {
        let mut wake = Vec::new();
        snapshots.done(id, now_ms, &mut wake);
        wake
    }

    #[test]
    fn never_more_than_so_many_and_the_first_who_waits_is_next() {
        let mut snapshots = Snapshots::new(2);
        assert_eq!(ask(&mut snapshots, 1, 0), (true, vec![]));
        assert_eq!(ask(&mut snapshots, 2, 0), (true, vec![]));
        assert_eq!(ask(&mut snapshots, 3, 0), (false, vec![]));
        assert_eq!(ask(&mut snapshots, 4, 0), (false, vec![]));
        assert_eq!(ask(&mut snapshots, 4, 1), (false, vec![]), "asking again changes nothing");
        assert_eq!(snapshots.counts(), (2, 2));
        assert_eq!(done(&mut snapshots, 1, 5), [3]);
        assert_eq!(ask(&mut snapshots, 3, 5), (true, vec![]));
        assert!(done(&mut snapshots, 4, 6).is_empty(), "who waits may go");
        assert!(done(&mut snapshots, 9, 6).is_empty(), "who never asked, too");
        assert_eq!(snapshots.counts(), (2, 0));
    }

    /// KubeEdge #7278: one node's burst starves the others.
    #[test]
    fn a_long_snapshot_takes_turns_with_the_others() {
        let mut snapshots = Snapshots::new(1);
        assert!(ask(&mut snapshots, 1, 0).0);
        assert!(ask(&mut snapshots, 1, 10 * FILL_SLICE_MS).0, "for as long as nobody waits");
        let now = 20 * FILL_SLICE_MS;
        assert_eq!(ask(&mut snapshots, 2, now), (true, vec![]), "the one before had its time");
        assert_eq!(ask(&mut snapshots, 1, now), (false, vec![]));
        assert!(ask(&mut snapshots, 2, now + FILL_SLICE_MS - 1).0);
        assert_eq!(ask(&mut snapshots, 2, now + FILL_SLICE_MS), (false, vec![1]), "round and round");
        assert_eq!(done(&mut snapshots, 1, now + FILL_SLICE_MS + 1), [2]);
    }

    /// All of them get there, and each as often as the others.
    #[test]
    fn a_thousand_get_there_in_order() {
        let mut snapshots = Snapshots::new(8);
        let mut turns: BTreeMap<u64, u32> = BTreeMap::new();
        let mut may: VecDeque<u64> = (0..1_000).filter(|id| ask(&mut snapshots, *id, 0).0).collect();
        assert_eq!(may.len(), 8);
        let mut now_ms = 0;
        while let Some(id) = may.pop_front() {
            let taken = turns.entry(id).or_default();
            *taken += 1;
            now_ms += FILL_SLICE_MS / 8;
            let woken = if *taken == 3 {
                done(&mut snapshots, id, now_ms)
            } else {
                let (goes_on, woken) = ask(&mut snapshots, id, now_ms);
                if goes_on {
                    may.push_back(id);
                    *turns.get_mut(&id).unwrap() -= 1;
                }
                woken
            };
            may.extend(woken);
            assert!(snapshots.counts().0 <= 8);
        }
        assert_eq!(snapshots.counts(), (0, 0));
        assert!(turns.len() == 1_000 && turns.values().all(|taken| *taken == 3));
    }
}
