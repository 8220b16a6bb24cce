//! The outbox on its way up: a window over a durable list. Nothing here needs to survive the link.

use alloc::collections::VecDeque;
use alloc::format;
use alloc::vec::Vec;

use super::Breach;
use crate::frame::{Frame, NumberedWrite};
use crate::limits::{UP_FRAME_BYTES, UP_WINDOW_BYTES};

/// How far the outbox was read, sent and taken in this session.
#[derive(Debug, Default)]
pub(super) struct Upload {
    read: u64,
    reading: bool,
    more: bool,
    unsent: VecDeque<NumberedWrite>,
    sent: VecDeque<(u64, usize)>,
    in_flight: usize,
    newest_sent: u64,
}

impl Upload {
    /// The cloud has taken everything up to `taken`: the rest goes up.
    pub(super) fn start(&mut self, taken: u64) {
        self.read = taken;
        self.newest_sent = taken;
        self.more = true;
    }

    /// There may be more to read.
    pub(super) fn changed(&mut self) {
        self.more = true;
    }

    /// What to read next: after which number, and about how many bytes.
    pub(super) fn next_read(&mut self) -> Option<(u64, usize)> {
        let room = UP_WINDOW_BYTES.saturating_sub(self.in_flight);
        if self.reading || !self.more || !self.unsent.is_empty() || room < UP_FRAME_BYTES {
            return None;
        }
        self.reading = true;
        self.more = false;
        Some((self.read, room))
    }

    /// What the outbox holds there; a number that was read before is left out.
    pub(super) fn outbox(&mut self, writes: Vec<NumberedWrite>, more: bool) {
        self.reading = false;
        self.more |= more;
        for write in writes {
            if write.number > self.read {
                self.read = write.number;
                self.unsent.push_back(write);
            }
        }
    }

    /// The next frame, as far as the window allows; one write is always allowed.
    pub(super) fn next_frame(&mut self) -> Option<Frame> {
        let mut writes = Vec::new();
        let mut bytes = 0;
        while let Some(write) = self.unsent.front() {
            let len = write.wire_len();
            let fits = self.sent.is_empty() || self.in_flight + len <= UP_WINDOW_BYTES;
            if !fits || (!writes.is_empty() && bytes + len > UP_FRAME_BYTES) {
                break;
            }
            bytes += len;
            self.in_flight += len;
            self.newest_sent = write.number;
            self.sent.push_back((write.number, len));
            writes.extend(self.unsent.pop_front());
        }
        if writes.is_empty() { None } else { Some(Frame::Writes(writes)) }
    }

    /// The cloud has decided everything up to `number`: the window moves.
    pub(super) fn taken(&mut self, number: u64) -> Result<(), Breach> {
        if number > self.newest_sent {
            return Err(Breach::new("taken_above_sent", format!("write {number} was taken and {} is the newest sent", self.newest_sent)));
        }
        while let Some((sent, len)) = self.sent.front() {
            if *sent > number {
                break;
            }
            self.in_flight -= len;
            self.sent.pop_front();
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn write(number: u64, len: usize) -> NumberedWrite {
        NumberedWrite { number, bytes: alloc::vec![0; len], rejected: false, hash: None, fork: None }
    }

    fn numbers(frame: Option<Frame>) -> Vec<u64> {
        match frame {
            Some(Frame::Writes(writes)) => writes.iter().map(|write| write.number).collect(),
            _ => Vec::new(),
        }
    }

    #[test]
    fn the_window_moves_with_taken() {
        let mut upload = Upload::default();
        upload.start(4);
        assert_eq!(upload.next_read(), Some((4, UP_WINDOW_BYTES)));
        assert_eq!(upload.next_read(), None, "one at a time");
        upload.outbox((5..25).map(|number| write(number, 60_000)).collect(), true);
        let mut sent = Vec::new();
        while let Some(frame) = upload.next_frame() {
            sent.extend(numbers(Some(frame)));
        }
        assert_eq!(sent.last(), Some(&21), "17 of 60 KB fit into 1 MiB");
        upload.taken(6).unwrap();
        upload.taken(6).unwrap();
        assert_eq!(numbers(upload.next_frame()), [22]);
        assert_eq!(upload.taken(24).unwrap_err().code, "taken_above_sent");
    }

    #[test]
    fn a_write_larger_than_the_window_goes_alone() {
        let mut upload = Upload::default();
        upload.start(0);
        upload.next_read();
        upload.outbox(alloc::vec![write(1, 2 * UP_WINDOW_BYTES), write(2, 10)], false);
        assert_eq!(numbers(upload.next_frame()), [1]);
        assert_eq!(upload.next_frame(), None);
        upload.taken(1).unwrap();
        assert_eq!(numbers(upload.next_frame()), [2]);
    }

    #[test]
    fn a_write_committed_during_a_read_is_not_forgotten() {
        let mut upload = Upload::default();
        upload.start(0);
        upload.next_read();
        upload.changed();
        upload.outbox(Vec::new(), false);
        assert_eq!(upload.next_read(), Some((0, UP_WINDOW_BYTES)));
    }
}
