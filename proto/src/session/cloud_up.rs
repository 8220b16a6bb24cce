//! The way up at the cloud: writes in their order, one commit at a time.

use alloc::collections::VecDeque;
use alloc::format;
use alloc::vec::Vec;

use super::Breach;
use crate::frame::{Held, NumberedWrite, Part};
use crate::limits::{RETRY_MS, UNACKED_WRITES, UP_WINDOW_BYTES};
use crate::op::Hash;

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
    /// Parts were agreed on.
    parts: bool,
    /// How much of the write `expected` has come, and which one it is.
    partial: Option<(Hash, usize)>,
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

    /// Writes may come in parts, and the next one goes on at what is held of it. Tells what is true of that.
    pub(super) fn in_parts(&mut self, held: Option<Held>) -> Option<Held> {
        let held = held.filter(|held| held.number == self.expected);
        self.parts = true;
        self.partial = held.map(|held| (held.hash, held.bytes));
        held
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
            if let Some(part) = &write.part {
                self.part(part, write.bytes.len())?;
            }
            if write.completes() {
                self.expected = self.after(write.number);
                self.partial = None;
            }
            self.held += write.wire_len();
            self.waiting.push_back(write);
            if self.held > UP_WINDOW_BYTES && self.waiting.len() + self.committing > 1 {
                return Err(Breach::new("window", "more writes ahead of taken than the window allows"));
            }
        }
        Ok(repeated)
    }

    /// A part of the next write goes on where the one before ended, or begins it anew.
    fn part(&mut self, part: &Part, len: usize) -> Result<(), Breach> {
        if !self.parts {
            return Err(Breach::new("unexpected", "a part of a write, and parts were not agreed on"));
        }
        let next = self.partial.filter(|(hash, _)| *hash == part.hash).map_or(0, |(_, at)| at);
        if part.at != next && part.at != 0 {
            let detail = format!("a part of write {} at byte {} where {next} was next", self.expected, part.at);
            return Err(Breach::new("out_of_order", detail));
        }
        self.partial = Some((part.hash, part.at + len));
        Ok(())
    }

    /// Every number up to here is decided, or was declared and never comes.
    pub(super) fn decided(&self) -> u64 {
        if self.waiting.is_empty() && self.committing == 0 { self.expected.saturating_sub(1) } else { self.taken }
    }

    /// All that waits, as far as outcomes may stay unacknowledged.
    pub(super) fn next_commit(&mut self) -> Option<Vec<NumberedWrite>> {
        let room = UNACKED_WRITES.saturating_sub(self.taken - self.answered);
        let mut whole = 0;
        let fits = |write: &&NumberedWrite| {
            whole += u64::from(write.completes());
            whole <= room
        };
        let count = self.waiting.iter().take_while(fits).count();
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
        NumberedWrite { number, bytes: alloc::vec![1], rejected: false, hash: None, fork: None, part: None }
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

    fn part(number: u64, at: usize, len: usize, total: usize) -> NumberedWrite {
        NumberedWrite { bytes: alloc::vec![0; len], part: Some(Part { at, total, hash: [7; 16] }), ..write(number) }
    }

    fn in_parts(held: Option<usize>) -> Uptake {
        let mut uptake = Uptake::new(3, 3, Vec::new());
        uptake.in_parts(held.map(|bytes| Held { number: 4, hash: [7; 16], bytes }));
        uptake
    }

    #[test]
    fn parts_follow_each_other_and_what_is_held() {
        let mut uptake = in_parts(Some(100));
        uptake.writes(alloc::vec![part(4, 100, 50, 200)]).unwrap();
        assert_eq!(numbers(uptake.next_commit()), [4]);
        uptake.committed(3);
        assert_eq!(uptake.decided(), 3, "a part decides nothing");
        uptake.writes(alloc::vec![part(4, 150, 50, 200), write(5)]).unwrap();
        assert_eq!(numbers(uptake.next_commit()), [4, 5]);
        uptake.committed(5);
        assert_eq!((uptake.held, uptake.partial), (0, None));
        assert!(uptake.writes(alloc::vec![part(4, 150, 50, 200)]).unwrap(), "it was decided");
    }

    #[test]
    fn a_part_that_overlaps_or_leaves_a_hole_is_a_breach() {
        for at in [50, 99, 101, 150] {
            let breach = in_parts(Some(100)).writes(alloc::vec![part(4, at, 10, 300)]).unwrap_err();
            assert_eq!(breach.code, "out_of_order", "{at}");
        }
        let other = NumberedWrite { part: Some(Part { at: 100, total: 300, hash: [8; 16] }), ..part(4, 100, 10, 300) };
        assert_eq!(in_parts(Some(100)).writes(alloc::vec![other]).unwrap_err().code, "out_of_order", "of another write");
        assert_eq!(in_parts(None).writes(alloc::vec![part(5, 0, 10, 300)]).unwrap_err().code, "out_of_order", "write 4 is the next");
        assert_eq!(Uptake::new(3, 3, Vec::new()).writes(alloc::vec![part(4, 0, 10, 300)]).unwrap_err().code, "unexpected");
        let mut again = in_parts(Some(100));
        again.writes(alloc::vec![part(4, 0, 20, 300), part(4, 20, 20, 300), part(4, 0, 20, 300)]).unwrap();
        again.writes(alloc::vec![part(4, 20, 280, 300), write(5)]).unwrap();
    }

    #[test]
    fn a_write_that_comes_whole_takes_the_place_of_its_parts() {
        let mut uptake = in_parts(Some(100));
        uptake.writes(alloc::vec![part(4, 100, 20, 300), write(4), write(5)]).unwrap();
        assert_eq!(numbers(uptake.next_commit()), [4, 4, 5]);
    }

    #[test]
    fn parts_go_on_where_outcomes_hold_back_what_they_are_of() {
        let mut uptake = Uptake::new(UNACKED_WRITES, 0, Vec::new());
        uptake.in_parts(None);
        let next = UNACKED_WRITES + 1;
        uptake.writes(alloc::vec![part(next, 0, 20, 50), part(next, 20, 20, 50), part(next, 40, 10, 50)]).unwrap();
        assert_eq!(uptake.next_commit().unwrap().len(), 2);
        uptake.committed(UNACKED_WRITES);
        assert_eq!(uptake.next_commit(), None);
        uptake.answered(1);
        assert_eq!(uptake.next_commit().unwrap().len(), 1);
    }

    #[test]
    fn more_than_the_window_is_a_breach() {
        let mut uptake = Uptake::new(0, 0, Vec::new());
        let large =
            |number| NumberedWrite { number, bytes: alloc::vec![0; UP_WINDOW_BYTES], rejected: false, hash: None, fork: None, part: None };
        uptake.writes(alloc::vec![large(1)]).unwrap();
        assert_eq!(uptake.writes(alloc::vec![large(2)]).unwrap_err().code, "window");
    }

    /// A gap of one number is a gap too, and nothing waits for what never comes.
    #[test]
    fn what_never_comes_is_decided() {
        let mut uptake = Uptake::new(3, 3, alloc::vec![(4, 4)]);
        assert_eq!(uptake.decided(), 4);
        assert!(!uptake.writes([5].map(write).to_vec()).unwrap());
        assert_eq!(uptake.decided(), 3, "it waits");
        assert_eq!(numbers(uptake.next_commit()), [5]);
        assert_eq!(uptake.decided(), 3, "it is not durable");
        uptake.committed(5);
        assert_eq!(uptake.decided(), 5);
    }

    /// However large, one write is always taken; what is being decided counts.
    #[test]
    fn so_many_bytes_wait_and_no_more() {
        let heavy = |number, bytes| NumberedWrite { bytes: alloc::vec![0; bytes], ..write(number) };
        let over = heavy(1, 0).wire_len();
        let mut uptake = Uptake::new(0, 0, Vec::new());
        uptake.writes(alloc::vec![heavy(1, 10), heavy(2, UP_WINDOW_BYTES - 10 - 2 * over)]).unwrap();
        assert_eq!(uptake.writes([3].map(write).to_vec()).unwrap_err().code, "window");
        let mut uptake = Uptake::new(0, 0, Vec::new());
        uptake.writes(alloc::vec![heavy(1, 2 * UP_WINDOW_BYTES)]).unwrap();
        assert_eq!(numbers(uptake.next_commit()), [1]);
        assert_eq!(uptake.writes([2].map(write).to_vec()).unwrap_err().code, "window");
    }
}
