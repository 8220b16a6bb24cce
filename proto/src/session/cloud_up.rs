//! The way up at the cloud: writes in their order, one commit at a time.

use alloc::collections::VecDeque;
use alloc::format;
use alloc::vec::Vec;

use super::Breach;
use crate::frame::NumberedWrite;
use crate::limits::{RETRY_MS, UNACKED_WRITES, UP_WINDOW_BYTES};

/// Writes between their arrival and their decision.
#[derive(Debug, Default)]
pub(super) struct Uptake {
    /// The next number that has not come.
    expected: u64,
    /// Sorted, disjoint.
    gaps: Vec<(u64, u64)>,
    taken: u64,
    waiting: VecDeque<NumberedWrite>,
    held: usize,
    committing: usize,
    committing_bytes: usize,
    /// The newest number whose outcome the edge holds.
    answered: u64,
    retry_ms: Option<u64>,
}

impl Uptake {
    /// Everything up to `taken` is decided; of that, everything up to `answered` is known to the edge.
    pub(super) fn new(taken: u64, answered: u64, mut gaps: Vec<(u64, u64)>) -> Self {
        gaps.retain(|(first, last)| first <= last && *last > taken);
        gaps.sort_unstable();
        gaps.dedup_by(|next, own| {
            let touches = next.0 <= own.1.saturating_add(1);
            if touches {
                own.1 = own.1.max(next.1);
            }
            touches
        });
        let mut uptake = Self { gaps, taken, answered: answered.min(taken), ..Self::default() };
        uptake.expected = uptake.after(taken);
        uptake
    }

    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    /// Writes arrived. Tells whether one of them was decided before: then `taken` is worth repeating.
    pub(super) fn writes(&mut self, writes: Vec<NumberedWrite>) -> Result<bool, Breach> {
        let mut repeated = false;
        for write in writes {
            if write.number < self.expected {
                repeated |= write.number <= self.taken;
                continue;
            }
            if write.number > self.expected {
                let detail = format!("write {} came where {} was next, and no gap was declared", write.number, self.expected);
                return Err(Breach::new("out_of_order", detail));
            }
            self.expected = self.after(write.number);
            self.held += write.wire_len();
            self.waiting.push_back(write);
            if self.held > UP_WINDOW_BYTES && self.waiting.len() + self.committing > 1 {
                return Err(Breach::new("window", "more writes ahead of taken than the window allows"));
            }
        }
        Ok(repeated)
    }

    /// Every number up to here is decided, or was declared and never comes.
    pub(super) fn decided(&self) -> u64 {
        if self.waiting.is_empty() && self.committing == 0 { self.expected.saturating_sub(1) } else { self.taken }
    }

    /// All that waits, as far as outcomes may stay unacknowledged.
    pub(super) fn next_commit(&mut self) -> Option<Vec<NumberedWrite>> {
        let room = UNACKED_WRITES.saturating_sub(self.taken - self.answered);
        let count = self.waiting.len().min(usize::try_from(room).unwrap_or(usize::MAX));
        if self.committing > 0 || self.retry_ms.is_some() || count == 0 {
            return None;
        }
        let writes: Vec<_> = self.waiting.drain(..count).collect();
        if self.waiting.is_empty() {
            // An idle node among 20,000 keeps no buffer.
            self.waiting = VecDeque::new();
        }
        self.committing = count;
        self.committing_bytes = writes.iter().map(NumberedWrite::wire_len).sum();
        Some(writes)
    }

    /// The commit that was out is durable.
    pub(super) fn committed(&mut self, taken: u64) {
        self.held -= self.committing_bytes;
        self.committing = 0;
        self.committing_bytes = 0;
        self.taken = taken.max(self.taken);
    }

    /// The commit that was out failed: nothing of it counts, and it is tried again.
    pub(super) fn failed(&mut self, now_ms: u64, writes: Vec<NumberedWrite>) {
        for write in writes.into_iter().rev() {
            self.waiting.push_front(write);
        }
        self.committing = 0;
        self.committing_bytes = 0;
        self.retry_ms = Some(now_ms + RETRY_MS);
    }

    /// The edge holds the outcomes up to `number`.
    pub(super) fn answered(&mut self, number: u64) {
        self.answered = self.answered.max(number).min(self.taken);
    }

    pub(super) fn tick(&mut self, now_ms: u64) {
        self.retry_ms = self.retry_ms.filter(|due| now_ms < *due);
    }

    pub(super) fn next_tick(&self) -> Option<u64> {
        self.retry_ms
    }

    /// The number that follows, declared gaps left out.
    fn after(&self, number: u64) -> u64 {
        let next = number.saturating_add(1);
        let at = self.gaps.partition_point(|(_, last)| *last < next);
        match self.gaps.get(at) {
            Some((first, last)) if *first <= next => last.saturating_add(1),
            _ => next,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn write(number: u64) -> NumberedWrite {
        NumberedWrite { number, bytes: alloc::vec![1], rejected: false, hash: None, fork: None }
    }

    fn numbers(writes: Option<Vec<NumberedWrite>>) -> Vec<u64> {
        writes.unwrap_or_default().iter().map(|write| write.number).collect()
    }

    #[test]
    fn only_the_next_number_or_the_one_after_a_gap() {
        let mut uptake = Uptake::new(3, 3, alloc::vec![(9, 8), (6, 7), (1, 2)]);
        assert!(!uptake.writes([4, 5, 8].map(write).to_vec()).unwrap());
        assert_eq!(numbers(uptake.next_commit()), [4, 5, 8]);
        assert_eq!(uptake.writes([10].map(write).to_vec()).unwrap_err().code, "out_of_order");
        let mut gap = Uptake::new(3, 3, alloc::vec![(6, 7), (4, 6), (8, 9), (4, 5)]);
        gap.writes([10].map(write).to_vec()).unwrap();
    }

    #[test]
    fn repeats_are_left_out() {
        let mut uptake = Uptake::new(3, 3, Vec::new());
        assert!(uptake.writes([2, 3, 4].map(write).to_vec()).unwrap());
        assert!(!uptake.writes([4].map(write).to_vec()).unwrap(), "it is here, not decided");
        assert_eq!(numbers(uptake.next_commit()), [4]);
        uptake.committed(4);
        assert_eq!(uptake.taken(), 4);
        assert_eq!(uptake.held, 0);
    }

    #[test]
    fn a_failed_commit_is_tried_again_in_order() {
        let mut uptake = Uptake::new(0, 0, Vec::new());
        uptake.writes([1, 2].map(write).to_vec()).unwrap();
        let out = uptake.next_commit().unwrap();
        uptake.writes([3].map(write).to_vec()).unwrap();
        assert_eq!(uptake.next_commit(), None, "one at a time");
        uptake.failed(100, out);
        assert_eq!(uptake.next_commit(), None);
        uptake.tick(100 + RETRY_MS);
        assert_eq!(numbers(uptake.next_commit()), [1, 2, 3]);
    }

    #[test]
    fn outcomes_that_nobody_acknowledged_hold_back_the_next_writes() {
        let mut uptake = Uptake::new(0, 0, Vec::new());
        uptake.writes((1..=UNACKED_WRITES + 10).map(write).collect()).unwrap();
        assert_eq!(uptake.next_commit().unwrap().len() as u64, UNACKED_WRITES);
        uptake.committed(UNACKED_WRITES);
        assert_eq!(uptake.next_commit(), None);
        uptake.answered(4);
        assert_eq!(uptake.next_commit().unwrap().len(), 4);
    }

    #[test]
    fn more_than_the_window_is_a_breach() {
        let mut uptake = Uptake::new(0, 0, Vec::new());
        let large = |number| NumberedWrite { number, bytes: alloc::vec![0; UP_WINDOW_BYTES], rejected: false, hash: None, fork: None };
        uptake.writes(alloc::vec![large(1)]).unwrap();
        assert_eq!(uptake.writes(alloc::vec![large(2)]).unwrap_err().code, "window");
    }
}
