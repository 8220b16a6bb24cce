//! Batches that were sent and are not acknowledged, and how many more may be.

use alloc::collections::VecDeque;

use crate::frame::{Ack, Batch, Entry, Fill, Grant};
use crate::ids::Position;
use crate::limits::{BATCH_BYTES, SCAN_BYTES_MIN, WINDOW_BATCHES, WINDOW_BYTES_MAX, WINDOW_BYTES_MIN};

/// A second in parts, so that "ACKed in the last second" needs no list.
const PARTS: usize = 8;
const PART_MS: u64 = 1000 / PARTS as u64;

/// What must be remembered of a sent batch. Its content is not: a new scan reads it again.
#[derive(Debug)]
struct Sent {
    through: Position,
    bytes: usize,
    sent_ms: u64,
    part: Option<(Fill, bool)>,
    outcome: Option<u64>,
}

impl Sent {
    fn covered_by(&self, ack: &Ack) -> bool {
        let fill_is = |part: &Fill| match ack.fills.iter().find(|open| open.grant == part.grant) {
            Some(open) => open.at >= part.at,
            None => true,
        };
        let part = match &self.part {
            Some((part, true)) => ack.fills.iter().all(|open| open.grant != part.grant),
            Some((part, false)) => fill_is(part),
            None => true,
        };
        ack.cursor >= self.through && part
    }
}

/// What an ACK did.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Covered {
    /// How many batches it acknowledged.
    pub(super) batches: usize,
    /// The newest of this database's writes whose outcome is now held by the edge.
    pub(super) outcome: Option<u64>,
}

/// The bounded ring.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    ring: VecDeque<Sent>,
    bytes: usize,
    acked: [(u64, usize); PARTS],
    usual_ms: u64,
}

impl InFlight {
    pub(super) fn len(&self) -> usize {
        self.ring.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// How long an ACK usually takes, milliseconds; 0: not known yet.
    pub(super) fn usual_ms(&self) -> u64 {
        self.usual_ms
    }

    /// When the oldest was sent.
    pub(super) fn oldest_ms(&self) -> Option<u64> {
        self.ring.front().map(|sent| sent.sent_ms)
    }

    /// What was ACKed in the last second, inside its bounds.
    fn window(&self, now_ms: u64) -> usize {
        let part = now_ms / PART_MS;
        let fresh = |(at, _): &&(u64, usize)| part < at + PARTS as u64;
        let acked = self.acked.iter().filter(fresh).map(|(_, bytes)| bytes).sum::<usize>();
        acked.clamp(WINDOW_BYTES_MIN, WINDOW_BYTES_MAX)
    }

    /// Whether a batch of so many bytes may be sent; one is always allowed.
    pub(super) fn admits(&self, bytes: usize, now_ms: u64) -> bool {
        let fits = self.ring.len() < WINDOW_BATCHES && self.bytes + bytes <= self.window(now_ms);
        self.ring.is_empty() || fits
    }

    /// How many bytes the next scan should read; none while an ACK is the better thing to wait for. A quarter of the
    /// window keeps several batches on the way.
    pub(super) fn room(&self, now_ms: u64) -> Option<usize> {
        let window = self.window(now_ms);
        let wanted = (window / 4).clamp(WINDOW_BYTES_MIN, BATCH_BYTES);
        let room = window.saturating_sub(self.bytes);
        let enough = self.ring.len() < WINDOW_BATCHES && room >= SCAN_BYTES_MIN;
        (self.ring.is_empty() || enough).then(|| wanted.min(room.max(SCAN_BYTES_MIN)))
    }

    pub(super) fn push(&mut self, batch: &Batch, bytes: usize, now_ms: u64) {
        let outcome = |entry: &Entry| match entry {
            Entry::Outcome { database: None, number, .. } => Some(*number),
            _ => None,
        };
        self.bytes += bytes;
        self.ring.push_back(Sent {
            through: batch.through.clone(),
            bytes,
            sent_ms: now_ms,
            part: batch.fill.as_ref().map(|part| (part.fill.clone(), part.done)),
            // What goes ahead of the stream is covered by an ACK that was said before it, too: only the stream counts here.
            outcome: batch.entries.iter().filter_map(outcome).max().filter(|_| batch.from != batch.through),
        });
    }

    /// Removes, in order, what the ACK covers.
    pub(super) fn ack(&mut self, ack: &Ack, now_ms: u64) -> Covered {
        let mut covered = Covered::default();
        while self.ring.front().is_some_and(|sent| sent.covered_by(ack)) {
            let Some(sent) = self.ring.pop_front() else { break };
            self.bytes -= sent.bytes;
            self.count(sent.bytes, now_ms);
            let took_ms = now_ms.saturating_sub(sent.sent_ms);
            self.usual_ms = if self.usual_ms == 0 { took_ms } else { (7 * self.usual_ms + took_ms) / 8 };
            covered.batches += 1;
            covered.outcome = covered.outcome.max(sent.outcome);
        }
        if self.ring.is_empty() {
            // An idle node among 20,000 keeps no buffer.
            self.ring = VecDeque::new();
        }
        covered
    }

    /// The newest part of this grant's back-fill that is on its way, and whether it is the last.
    pub(super) fn part_of(&self, grant: &Grant) -> Option<&(Fill, bool)> {
        self.ring.iter().rev().filter_map(|sent| sent.part.as_ref()).find(|(fill, _)| fill.grant == *grant)
    }

    /// Forgets what is on its way: a new scan reads it again.
    pub(super) fn clear(&mut self) {
        self.ring = VecDeque::new();
        self.bytes = 0;
    }

    fn count(&mut self, bytes: usize, now_ms: u64) {
        let part = now_ms / PART_MS;
        let (at, sum) = &mut self.acked[(part % PARTS as u64) as usize];
        *sum = if *at == part { *sum + bytes } else { bytes };
        *at = part;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Revision;
    use alloc::vec::Vec;

    fn at(revision: u64) -> Position {
        Position::at(Revision(revision))
    }

    fn batch(from: u64, through: u64) -> Batch {
        Batch::empty(at(from), at(through))
    }

    fn ack(revision: u64) -> Ack {
        Ack { cursor: at(revision), fills: Vec::new(), answered: 0 }
    }

    #[test]
    fn one_batch_is_always_allowed_and_never_a_second_large_one() {
        let mut inflight = InFlight::default();
        assert!(inflight.admits(4 * WINDOW_BYTES_MAX, 0));
        inflight.push(&batch(0, 1), 4 * WINDOW_BYTES_MAX, 0);
        assert!(!inflight.admits(1, 0));
        assert_eq!(inflight.room(0), None);
    }

    #[test]
    fn the_window_is_what_was_acked_in_the_last_second() {
        let mut inflight = InFlight::default();
        for revision in 1..=10 {
            inflight.push(&batch(revision - 1, revision), 50_000, 10_000);
        }
        assert_eq!(inflight.window(10_000), WINDOW_BYTES_MIN);
        assert_eq!(inflight.ack(&ack(6), 10_100).batches, 6);
        assert_eq!(inflight.window(10_100), 300_000);
        assert_eq!(inflight.ack(&ack(6), 10_100), Covered::default(), "the same ACK again does nothing");
        assert_eq!(inflight.ack(&ack(10), 10_600).batches, 4);
        assert_eq!(inflight.window(10_900), 500_000);
        assert_eq!(inflight.window(11_200), 200_000);
        assert_eq!(inflight.window(12_000), WINDOW_BYTES_MIN);
        assert_eq!((inflight.len(), inflight.bytes()), (0, 0));
    }

    #[test]
    fn never_more_than_the_count() {
        let mut inflight = InFlight::default();
        for revision in 1..=WINDOW_BATCHES as u64 {
            assert!(inflight.admits(10, 0));
            inflight.push(&batch(revision - 1, revision), 10, 0);
        }
        assert!(!inflight.admits(10, 0));
        inflight.ack(&ack(1), 5);
        assert!(inflight.admits(10, 5));
        assert_eq!(inflight.usual_ms(), 5);
    }

    /// To the eighth of a second.
    #[test]
    fn what_was_acked_a_second_ago_counts_no_more() {
        let mut inflight = InFlight::default();
        inflight.push(&batch(0, 1), 2 * WINDOW_BYTES_MIN, 10_000);
        inflight.ack(&ack(1), 10_000);
        assert_eq!(inflight.window(10_999), 2 * WINDOW_BYTES_MIN);
        assert_eq!(inflight.window(11_000), WINDOW_BYTES_MIN);
    }

    #[test]
    fn nothing_is_read_that_may_not_be_sent() {
        let mut inflight = InFlight::default();
        (1..WINDOW_BATCHES as u64).for_each(|revision| inflight.push(&batch(revision - 1, revision), 10, 0));
        assert!(inflight.room(0).is_some());
        inflight.push(&batch(31, 32), 10, 0);
        assert_eq!(inflight.room(0), None);
    }

    #[test]
    fn what_is_usual_follows_slowly() {
        let mut inflight = InFlight::default();
        for (revision, took_ms, usual_ms) in [(1, 100, 100), (2, 900, 200), (3, 204, 200)] {
            inflight.push(&batch(revision - 1, revision), 10, 0);
            inflight.ack(&ack(revision), took_ms);
            assert_eq!(inflight.usual_ms(), usual_ms);
        }
    }

    /// An ACK of the stream tells what outcomes the edge holds; one that was said before them tells nothing.
    #[test]
    fn only_the_stream_tells_of_outcomes() {
        let outcome = crate::op::Outcome {
            verdict: crate::op::Verdict::Applied,
            revision: Revision(1),
            code: None,
            detail: None,
            conflicts: Vec::new(),
        };
        let said = |database, number| Entry::Outcome { database, number, outcome: outcome.clone() };
        let entries = alloc::vec![said(None, 7), said(None, 6), said(Some(crate::ids::DatabaseId([2; 16])), 90)];
        let mut inflight = InFlight::default();
        inflight.push(&Batch { entries: entries.clone(), ..batch(0, 1) }, 10, 0);
        assert_eq!(inflight.ack(&ack(1), 0), Covered { batches: 1, outcome: Some(7) });
        inflight.push(&Batch { entries, ..batch(1, 1) }, 10, 0);
        assert_eq!(inflight.ack(&ack(1), 0), Covered { batches: 1, outcome: None });
    }
}
