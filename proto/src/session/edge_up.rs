//! The outbox on its way up: a window over a durable list. Nothing here needs to survive the link.

use alloc::collections::VecDeque;
use alloc::format;
use alloc::vec::Vec;

use super::Breach;
use crate::frame::{Frame, Held, NumberedWrite, Part};
use crate::limits::{PART_ABOVE, PART_BYTES, UP_FRAME_BYTES, UP_WINDOW_BYTES};
use crate::op::{self, Hash};

/// A place in the outbox: a number, and so many bytes of that write.
type Place = (u64, usize);

/// All of a write.
const WHOLE: usize = usize::MAX;

/// How far the outbox was read, sent and taken in this session.
#[derive(Debug, Default)]
pub(super) struct Upload {
    read: u64,
    reading: bool,
    more: bool,
    unsent: VecDeque<NumberedWrite>,
    /// What went, up to which place, and its bytes.
    sent: VecDeque<(Place, usize)>,
    in_flight: usize,
    newest_sent: Place,
    /// Large writes may go in parts.
    parts: bool,
    /// What the cloud held of the next write when the session began.
    held: Option<Held>,
    /// The hash of the first unsent write, and how much of it has gone or was there.
    cut: Option<(Hash, usize)>,
}

impl Upload {
    /// The cloud has taken everything up to `taken`: the rest goes up.
    pub(super) fn start(&mut self, taken: u64) {
        self.read = taken;
        self.newest_sent = (taken, WHOLE);
        self.more = true;
    }

    /// Large writes go in parts, the next one from what the cloud holds of it.
    pub(super) fn in_parts(&mut self, held: Option<Held>) {
        self.parts = true;
        self.held = held;
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
        if self.unsent.front().is_some_and(|write| self.is_cut(write)) {
            return self.next_part().map(|part| Frame::Writes(alloc::vec![part]));
        }
        let mut writes = Vec::new();
        let mut bytes = 0;
        while let Some(write) = self.unsent.front() {
            let len = write.wire_len();
            let large = !writes.is_empty() && (bytes + len > UP_FRAME_BYTES || self.is_cut(write));
            if !self.fits(len) || large {
                break;
            }
            bytes += len;
            self.went((write.number, WHOLE), len);
            writes.extend(self.unsent.pop_front());
        }
        if writes.is_empty() { None } else { Some(Frame::Writes(writes)) }
    }

    fn is_cut(&self, write: &NumberedWrite) -> bool {
        self.parts && write.bytes.len() > PART_ABOVE
    }

    fn fits(&self, len: usize) -> bool {
        self.sent.is_empty() || self.in_flight + len <= UP_WINDOW_BYTES
    }

    fn went(&mut self, to: Place, len: usize) {
        self.in_flight += len;
        self.newest_sent = to;
        self.sent.push_back((to, len));
    }

    /// The next part of the first unsent write, from what the cloud has of exactly these bytes.
    fn next_part(&mut self) -> Option<NumberedWrite> {
        let write = self.unsent.front()?;
        let (number, total) = (write.number, write.bytes.len());
        let (hash, at) = self.cut.unwrap_or_else(|| {
            let hash = op::hash(&write.bytes);
            let held = self.held.filter(|held| held.number == number && held.hash == hash && held.bytes < total);
            (hash, held.map_or(0, |held| held.bytes))
        });
        self.cut = Some((hash, at));
        let end = total.min(at + PART_BYTES);
        let part = NumberedWrite { bytes: write.bytes[at..end].to_vec(), part: Some(Part { at, total, hash }), ..write.without_bytes() };
        let len = part.wire_len();
        if !self.fits(len) {
            return None;
        }
        self.cut = (end < total).then_some((hash, end));
        self.went((number, if end < total { end } else { WHOLE }), len);
        if end == total {
            self.unsent.pop_front();
        }
        Some(part)
    }

    /// The cloud has decided everything up to `number`: the window moves.
    pub(super) fn taken(&mut self, number: u64) -> Result<(), Breach> {
        if (number, WHOLE) > self.newest_sent {
            let detail = format!("write {number} was taken and {} is the newest sent", self.newest_sent.0);
            return Err(Breach::new("taken_above_sent", detail));
        }
        self.arrived((number, WHOLE));
        Ok(())
    }

    /// The cloud holds so much of a write: the window moves, and nothing else. The next session begins with what it says then.
    pub(super) fn held(&mut self, held: &Held) -> Result<(), Breach> {
        let place = (held.number, held.bytes);
        if place > self.newest_sent {
            let detail = format!("{} bytes of write {} are held and more than was sent", held.bytes, held.number);
            return Err(Breach::new("taken_above_sent", detail));
        }
        self.arrived(place);
        Ok(())
    }

    fn arrived(&mut self, place: Place) {
        while let Some((_, len)) = self.sent.pop_front_if(|(to, _)| *to <= place) {
            self.in_flight -= len;
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn write(number: u64, len: usize) -> NumberedWrite {
        NumberedWrite { number, bytes: alloc::vec![0; len], rejected: false, hash: None, fork: None, part: None }
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

    fn part(frame: Option<Frame>) -> Option<(u64, usize, usize)> {
        match frame {
            Some(Frame::Writes(writes)) if writes.len() == 1 => {
                writes[0].part.map(|part| (writes[0].number, part.at, part.at + writes[0].bytes.len()))
            }
            _ => None,
        }
    }

    fn held(number: u64, len: usize, bytes: usize) -> Held {
        Held { number, hash: op::hash(&write(number, len).bytes), bytes }
    }

    #[test]
    fn a_large_write_goes_on_where_the_cloud_has_it() {
        const LEN: usize = PART_ABOVE + 1_000;
        let mut upload = Upload::default();
        upload.start(0);
        upload.in_parts(Some(held(2, LEN, PART_BYTES)));
        upload.outbox(alloc::vec![write(1, 10), write(2, LEN), write(3, 20), write(4, 30)], false);
        assert_eq!(numbers(upload.next_frame()), [1]);
        assert_eq!(part(upload.next_frame()), Some((2, PART_BYTES, 2 * PART_BYTES)));
        assert_eq!(upload.held(&held(2, LEN, LEN)).unwrap_err().code, "taken_above_sent");
        assert_eq!(upload.taken(2).unwrap_err().code, "taken_above_sent", "it has not gone whole");
        upload.held(&held(2, LEN, 2 * PART_BYTES)).unwrap();
        assert_eq!(upload.in_flight, 0, "what it holds was taken from before");
        assert_eq!(part(upload.next_frame()), Some((2, 2 * PART_BYTES, LEN)));
        assert_eq!(numbers(upload.next_frame()), [3, 4]);
        upload.taken(4).unwrap();
        assert_eq!(upload.in_flight, 0);
    }

    #[test]
    fn what_is_held_of_other_bytes_counts_for_nothing() {
        const LEN: usize = PART_ABOVE + 1;
        for held in [held(2, LEN, 20_000), Held { hash: [9; 16], ..held(1, LEN, 20_000) }, held(1, LEN, LEN)] {
            let mut upload = Upload::default();
            upload.start(0);
            upload.in_parts(Some(held));
            upload.outbox(alloc::vec![write(1, LEN)], false);
            assert_eq!(part(upload.next_frame()), Some((1, 0, PART_BYTES)));
        }
    }

    #[test]
    fn parts_stay_inside_the_window() {
        let mut upload = Upload::default();
        upload.start(0);
        upload.in_parts(None);
        upload.outbox(alloc::vec![write(1, 2 * UP_WINDOW_BYTES)], false);
        let mut sent = 0;
        while let Some((_, at, end)) = part(upload.next_frame()) {
            assert_eq!(at, sent);
            sent = end;
        }
        assert_eq!(sent, UP_WINDOW_BYTES / PART_BYTES * PART_BYTES - PART_BYTES, "with 16 bytes for each, one less fits");
        upload.held(&held(1, 2 * UP_WINDOW_BYTES, PART_BYTES)).unwrap();
        assert_eq!(part(upload.next_frame()), Some((1, sent, sent + PART_BYTES)));
        assert_eq!(upload.next_frame(), None);
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

    /// The window moves: the next read begins as soon as a frame has room, with all the room there is.
    #[test]
    fn the_outbox_is_read_while_a_frame_has_room() {
        let over = write(1, 0).wire_len();
        for (missing, room) in [(0, Some(UP_FRAME_BYTES)), (1, None)] {
            let mut upload = Upload::default();
            upload.start(0);
            upload.outbox(alloc::vec![write(1, UP_WINDOW_BYTES - UP_FRAME_BYTES - over + missing)], true);
            assert_eq!(numbers(upload.next_frame()), [1]);
            assert_eq!(upload.next_read(), room.map(|room| (1, room)), "{missing} bytes too few");
        }
    }

    #[test]
    fn what_was_read_before_goes_once() {
        let mut upload = Upload::default();
        upload.start(4);
        upload.outbox([4, 5].map(|number| write(number, 10)).to_vec(), true);
        upload.outbox([5, 6].map(|number| write(number, 10)).to_vec(), false);
        assert_eq!(numbers(upload.next_frame()), [5, 6]);
        assert_eq!(upload.next_frame(), None);
    }

    #[test]
    fn a_frame_is_filled_and_no_more() {
        let half = UP_FRAME_BYTES / 2 - write(1, 0).wire_len();
        let mut upload = Upload::default();
        upload.start(0);
        upload.outbox(alloc::vec![write(1, half), write(2, half), write(3, half), write(4, half + 1)], false);
        assert_eq!(numbers(upload.next_frame()), [1, 2], "to the byte");
        assert_eq!(numbers(upload.next_frame()), [3], "one byte too many");
        assert_eq!(numbers(upload.next_frame()), [4]);
    }

    #[test]
    fn each_large_write_begins_at_its_beginning() {
        const LEN: usize = PART_ABOVE + 1_000;
        let mut upload = Upload::default();
        upload.start(0);
        upload.in_parts(None);
        upload.outbox(alloc::vec![write(1, LEN), write(2, LEN), write(3, PART_ABOVE)], false);
        for number in [1, 2] {
            for (at, end) in [(0, PART_BYTES), (PART_BYTES, 2 * PART_BYTES), (2 * PART_BYTES, LEN)] {
                assert_eq!(part(upload.next_frame()), Some((number, at, end)));
            }
            upload.taken(number).unwrap();
        }
        assert_eq!(numbers(upload.next_frame()), [3]);
        assert_eq!(upload.newest_sent, (3, WHOLE), "no larger than what goes whole");
    }
}
