//! Batches at the edge, from their arrival until the store has made them durable.

use alloc::collections::VecDeque;
use alloc::format;
use alloc::vec::Vec;

use super::Breach;
use crate::frame::{Batch, Grants, Held, Piece};
use crate::ids::Position;
use crate::limits::{QUEUE_BATCHES, QUEUE_BYTES};
use crate::op::Hash;

/// The batches that wait, and what may follow them.
///
/// A batch continues where the one before ended. Anything else is lawful in one case: the cloud scans again, from the
/// last ACK that it received, which is at or below the last one that this edge said. Then what waits of the old scan
/// is dropped (the new one holds it), except for a change of grants, which the cloud says once: it goes with the
/// first batch that is kept.
#[derive(Debug, Default)]
pub(super) struct Intake {
    tail: Position,
    acked: Position,
    queue: VecDeque<Batch>,
    bytes: usize,
    applying: bool,
    /// What is being applied came ahead of the stream: it ends no pause.
    applying_ahead: bool,
    /// Outcomes, or a stretch of the stream, are in what is being applied.
    applying_outcomes: bool,
    /// Outcomes that came ahead of the stream could not be stored. What the hub had sent behind them, before it heard of that, are
    /// records that hold the effect of writes whose ops still lie over base: it would show twice.
    outcomes_lost: bool,
    /// Records were asked for and have not come.
    asking: bool,
    applying_grants: Option<Grants>,
    carried: Option<Grants>,
    paused: bool,
    /// As much has passed today as may: what comes still is taken, because it is paid for.
    limited: bool,
    /// Something was dropped: only a new scan from the last ACK can go on.
    broken: bool,
    /// Pieces of a value that wait for the store. The batch that they belong to comes behind them, and pieces of the next value only
    /// when that one is acknowledged: so they are stored before any batch.
    pieces: Vec<Piece>,
    /// The value that comes in pieces, and how much of it has come.
    value: Option<(Hash, usize)>,
}

impl Intake {
    /// The store stands at `cursor`.
    pub(super) fn start(&mut self, cursor: Position) {
        self.tail = cursor.clone();
        self.acked = cursor;
    }

    /// So much of a value is here already.
    pub(super) fn holds(&mut self, held: Option<&Held>) {
        self.value = held.map(|held| (held.hash, held.bytes));
    }

    /// A piece arrived: it goes on where the one before ended, or begins its value.
    pub(super) fn piece(&mut self, piece: Piece) -> Result<(), Breach> {
        let part = &piece.part;
        let next = self.value.filter(|(hash, _)| *hash == part.hash).map_or(0, |(_, at)| at);
        if self.paused || (self.broken && part.at != next && part.at != 0) {
            return Ok(());
        }
        if part.at != next && part.at != 0 {
            return Err(Breach::new("out_of_order", format!("a piece of a value at byte {} where {next} was next", part.at)));
        }
        if part.at == 0 {
            self.pieces.clear();
        }
        self.value = Some((part.hash, part.at + piece.bytes.len()));
        self.pieces.push(piece);
        Ok(())
    }

    /// The pieces that wait, when the store is free.
    pub(super) fn next_keep(&mut self) -> Option<Vec<Piece>> {
        if self.applying || self.pieces.is_empty() {
            return None;
        }
        self.applying = true;
        self.applying_ahead = false;
        Some(core::mem::take(&mut self.pieces))
    }

    /// The store has made them durable.
    pub(super) fn kept(&mut self) {
        self.applying = false;
    }

    pub(super) fn is_applying(&self) -> bool {
        self.applying
    }

    pub(super) fn is_paused(&self) -> bool {
        self.paused
    }

    /// A batch arrived.
    pub(super) fn batch(&mut self, mut batch: Batch) -> Result<(), Breach> {
        if batch.through < batch.from {
            return Err(Breach::new("out_of_order", "a batch that ends before it begins"));
        }
        if self.limited && !self.paused && asks(&batch) {
            // An older hub wants to know whether there is room. There is, and that is not what this edge waits for.
            return Ok(());
        }
        if self.paused && !asks(&batch) && !batch.is_ahead() {
            self.carry(batch.grants);
            return Ok(());
        }
        if self.outcomes_lost && batch.is_ahead() && !brings_outcomes(&batch) {
            return Ok(());
        }
        if batch.is_ahead() && batch.from <= self.acked {
            // It is no stretch: where it stands does not matter, but that nothing before it is missing.
            self.bytes += batch.wire_len();
            self.queue.push_back(batch);
            return self.bounded();
        }
        if self.broken || batch.from != self.tail {
            if batch.from <= self.acked {
                self.drop_queue();
                self.broken = self.paused;
            } else if self.broken {
                self.carry(batch.grants);
                return Ok(());
            } else {
                let (from, tail) = (batch.from.revision, self.tail.revision);
                return Err(Breach::new("out_of_order", format!("a batch from revision {from} where {tail} was next")));
            }
        }
        if !self.paused
            && let Some(grants) = self.carried.take()
        {
            batch.grants.get_or_insert(grants);
        }
        self.tail = batch.through.clone();
        self.bytes += batch.wire_len();
        self.queue.push_back(batch);
        self.bounded()
    }

    fn bounded(&self) -> Result<(), Breach> {
        let many = self.queue.len() > QUEUE_BATCHES;
        let much = self.queue.len() > 1 && self.bytes > QUEUE_BYTES;
        if many || much { Err(Breach::new("window", "more unacknowledged batches than the window allows")) } else { Ok(()) }
    }

    /// All that waits, when the store is free.
    pub(super) fn next_apply(&mut self) -> Option<Vec<Batch>> {
        if self.applying || self.queue.is_empty() {
            return None;
        }
        self.applying = true;
        self.applying_ahead = self.queue.front().is_some_and(Batch::is_ahead);
        // While paused, what came ahead of the stream is stored apart: it ends no pause.
        let same = self.queue.iter().take_while(|batch| !self.paused || batch.is_ahead() == self.applying_ahead).count();
        // Digests are compared in exactly the state at their batch: nothing is applied behind it in the same transaction.
        let compared = self.queue.iter().position(|batch| !batch.digests.is_empty()).map_or(same, |place| same.min(place + 1));
        let batches: Vec<_> = self.queue.drain(..compared).collect();
        self.bytes = self.queue.iter().map(Batch::wire_len).sum();
        self.asking &= batches.iter().all(|batch| batch.asked.is_empty());
        self.applying_outcomes = batches.iter().any(|batch| brings_outcomes(batch) || batch.from != batch.through);
        self.applying_grants = batches.iter().rev().find_map(|batch| batch.grants.clone());
        Some(batches)
    }

    /// The store has made everything up to `cursor` durable. Tells whether a pause is over with it.
    pub(super) fn applied(&mut self, cursor: Position) -> bool {
        self.applying = false;
        self.applying_grants = None;
        self.outcomes_lost &= !core::mem::take(&mut self.applying_outcomes);
        self.acked = cursor;
        !core::mem::take(&mut self.applying_ahead) && core::mem::take(&mut self.paused)
    }

    /// Whether to ask for records now: not while an answer is on its way. True counts as asked.
    pub(super) fn may_ask(&mut self) -> bool {
        !core::mem::replace(&mut self.asking, true)
    }

    /// The store could not; what it was given and what came after is dropped.
    pub(super) fn pause(&mut self) {
        self.applying = false;
        let grants = self.applying_grants.take();
        self.carry(grants);
        self.outcomes_lost |= core::mem::take(&mut self.applying_outcomes);
        self.drop_queue();
        self.pieces.clear();
        self.value = None;
        self.paused = true;
        self.broken = true;
    }

    /// The store can again. Tells whether it could not before.
    pub(super) fn resume(&mut self) -> bool {
        core::mem::take(&mut self.paused)
    }

    /// As much has passed today as may, or no longer.
    pub(super) fn limit(&mut self, limited: bool) {
        self.limited = limited;
    }

    fn drop_queue(&mut self) {
        self.bytes = 0;
        self.asking = false;
        for batch in core::mem::take(&mut self.queue) {
            self.outcomes_lost |= brings_outcomes(&batch);
            self.carry(batch.grants);
        }
    }

    fn carry(&mut self, grants: Option<Grants>) {
        if grants.is_some() {
            self.carried = grants;
        }
    }
}

/// Whether outcomes are in what comes ahead of the stream.
fn brings_outcomes(batch: &Batch) -> bool {
    batch.is_ahead() && !batch.entries.is_empty()
}

/// Whether the batch asks a paused edge if it can store again: nothing is in it and it leads nowhere.
fn asks(batch: &Batch) -> bool {
    batch.from == batch.through && batch.is_empty()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::frame::{Content, Entry, Record};
    use crate::ids::Revision;
    use crate::names::{CollectionName, Key};
    use crate::op::{Outcome, Verdict};

    fn batch(from: u64, through: u64) -> Batch {
        let at = |revision| Position::at(Revision(revision));
        Batch::empty(at(from), at(through))
    }

    fn granting(from: u64, through: u64, revision: u64) -> Batch {
        let grants = Grants { revision: Revision(revision), ..Grants::default() };
        Batch { grants: Some(grants), ..batch(from, through) }
    }

    fn ends(batches: Option<Vec<Batch>>) -> Vec<u64> {
        batches.unwrap_or_default().iter().map(|batch| batch.through.revision.0).collect()
    }

    #[test]
    fn all_that_waits_goes_in_one() {
        let mut intake = Intake::default();
        intake.batch(batch(0, 2)).unwrap();
        assert_eq!(ends(intake.next_apply()), [2]);
        intake.batch(batch(2, 3)).unwrap();
        intake.batch(batch(3, 5)).unwrap();
        assert_eq!(intake.next_apply(), None, "one at a time");
        intake.applied(Position::at(Revision(2)));
        assert_eq!(ends(intake.next_apply()), [3, 5]);
    }

    #[test]
    fn digests_end_an_apply() {
        let share = crate::frame::Share { collection: crate::names::CollectionName::parse("stock").unwrap(), partition: None };
        let digest = crate::frame::GrantDigest { share, since: Revision(1), digest: crate::digest::Digest::default() };
        let mut intake = Intake::default();
        intake.batch(batch(0, 2)).unwrap();
        intake.batch(Batch { digests: alloc::vec![digest], ..batch(2, 3) }).unwrap();
        intake.batch(batch(3, 5)).unwrap();
        assert_eq!(ends(intake.next_apply()), [2, 3]);
        intake.applied(Position::at(Revision(3)));
        assert_eq!(ends(intake.next_apply()), [5]);
    }

    #[test]
    fn a_new_scan_replaces_what_waits_of_the_old_one() {
        let mut intake = Intake::default();
        intake.batch(batch(0, 2)).unwrap();
        assert_eq!(ends(intake.next_apply()), [2]);
        intake.batch(granting(2, 3, 9)).unwrap();
        intake.batch(batch(0, 4)).unwrap();
        intake.batch(batch(4, 6)).unwrap();
        intake.applied(Position::at(Revision(2)));
        let batches = intake.next_apply().unwrap();
        assert_eq!(batches[0].grants.as_ref().unwrap().revision, Revision(9), "grants are said once and survive");
        assert_eq!(ends(Some(batches)), [4, 6]);
    }

    #[test]
    fn a_gap_is_a_breach() {
        let mut intake = Intake::default();
        intake.start(Position::at(Revision(5)));
        assert_eq!(intake.batch(batch(6, 7)).unwrap_err().code, "out_of_order");
        assert_eq!(intake.batch(batch(5, 4)).unwrap_err().code, "out_of_order");
    }

    #[test]
    fn a_paused_edge_drops_all_but_the_question() {
        let mut intake = Intake::default();
        intake.batch(granting(0, 2, 1)).unwrap();
        assert_eq!(ends(intake.next_apply()), [2]);
        intake.pause();
        intake.batch(batch(2, 3)).unwrap();
        assert_eq!(intake.next_apply(), None);
        intake.batch(batch(0, 0)).unwrap();
        assert_eq!(ends(intake.next_apply()), [0]);
        assert!(intake.applied(Position::default()), "the pause is over");
        intake.batch(batch(3, 4)).unwrap();
        assert_eq!(intake.next_apply(), None, "the rest of the old scan");
        intake.batch(batch(0, 4)).unwrap();
        let batches = intake.next_apply().unwrap();
        assert_eq!(batches[0].grants.as_ref().unwrap().revision, Revision(1), "what the failed commit held");
    }

    fn piece(hash: u8, at: usize, bytes: usize) -> Piece {
        Piece { part: crate::frame::Part { at, total: 300_000, hash: [hash; 16] }, bytes: alloc::vec![7; bytes] }
    }

    fn places(pieces: Option<Vec<Piece>>) -> Vec<usize> {
        pieces.unwrap_or_default().iter().map(|piece| piece.part.at).collect()
    }

    #[test]
    fn pieces_of_a_value_follow_each_other() {
        let mut intake = Intake::default();
        intake.piece(piece(1, 0, 10)).unwrap();
        intake.piece(piece(1, 10, 20)).unwrap();
        assert_eq!(places(intake.next_keep()), [0, 10]);
        assert!(intake.is_applying());
        intake.piece(piece(1, 30, 5)).unwrap();
        assert_eq!(intake.next_keep(), None, "one at a time");
        intake.kept();
        assert_eq!(places(intake.next_keep()), [30]);
        intake.kept();
        assert_eq!(intake.next_keep(), None);
        assert_eq!(intake.piece(piece(1, 36, 5)).unwrap_err().code, "out_of_order");
        assert_eq!(intake.piece(piece(2, 35, 5)).unwrap_err().code, "out_of_order", "the next value begins at its beginning");
        intake.piece(piece(1, 35, 5)).unwrap();
        intake.piece(piece(2, 0, 5)).unwrap();
        assert_eq!(places(intake.next_keep()), [0], "what waits of the value before is of no use");
    }

    #[test]
    fn a_value_goes_on_where_the_store_has_it() {
        let mut intake = Intake::default();
        let held = |bytes| Held { number: 0, hash: [1; 16], bytes };
        intake.holds(Some(&held(40)));
        assert!(intake.piece(piece(1, 39, 5)).is_err());
        intake.piece(piece(1, 40, 5)).unwrap();
        intake.holds(None);
        assert!(intake.piece(piece(1, 45, 5)).is_err());
    }

    #[test]
    fn pieces_of_an_old_scan_are_passed_over() {
        let mut intake = Intake::default();
        intake.piece(piece(1, 0, 10)).unwrap();
        intake.pause();
        assert!(intake.is_paused());
        intake.piece(piece(1, 10, 10)).unwrap();
        intake.piece(piece(1, 0, 10)).unwrap();
        assert_eq!(intake.next_keep(), None, "there is no room");
        assert!(intake.resume() && !intake.is_paused());
        intake.piece(piece(1, 20, 10)).unwrap();
        assert_eq!(intake.next_keep(), None, "until the new scan comes");
        intake.piece(piece(1, 0, 10)).unwrap();
        intake.piece(piece(1, 10, 10)).unwrap();
        assert_eq!(places(intake.next_keep()), [0, 10]);
    }

    fn record() -> Record {
        let collection = CollectionName::parse("stock").unwrap();
        let content = Content::Deleted;
        let (key, revision, born) = (Key::parse("a").unwrap(), Revision(9), Revision(9));
        Record { collection, key, revision, born, partition: None, updated_ms: 0, writer: "cloud".into(), actor: None, content }
    }

    fn ahead(number: Option<u64>) -> Batch {
        let outcome = Outcome { verdict: Verdict::Applied, revision: Revision(9), code: None, detail: None, conflicts: Vec::new() };
        let entries = number.map(|number| Entry::Outcome { database: None, number, outcome }).into_iter().collect();
        let asked = if number.is_none() { alloc::vec![record()] } else { Vec::new() };
        Batch { entries, asked, ..batch(0, 0) }
    }

    /// An ACK of something else let the hub believe that outcomes had been stored, and the records were on their way behind them.
    #[test]
    fn records_ahead_of_the_stream_wait_for_outcomes_that_were_lost() {
        let mut intake = Intake::default();
        intake.batch(batch(0, 2)).unwrap();
        assert!(intake.next_apply().is_some());
        intake.pause();
        for lost in 0..2 {
            intake.batch(ahead(Some(1))).unwrap();
            assert!(intake.next_apply().is_some(), "outcomes come again as often as they are lost: {lost}");
            intake.pause();
            intake.batch(ahead(None)).unwrap();
            assert_eq!(intake.next_apply(), None, "records without the outcomes before them");
        }
        intake.batch(batch(0, 0)).unwrap();
        intake.batch(ahead(None)).unwrap();
        assert_eq!(ends(intake.next_apply()), [0], "the question alone");
        intake.applied(Position::default());
        intake.pause();
        intake.batch(ahead(Some(1))).unwrap();
        assert!(intake.next_apply().is_some());
        intake.applied(Position::default());
        intake.batch(ahead(None)).unwrap();
        assert_eq!(intake.next_apply().map(|batches| batches[0].asked.len()), Some(1));
    }

    /// One question waits for one answer; what was dropped is asked for again.
    #[test]
    fn records_are_asked_for_once() {
        let mut intake = Intake::default();
        assert!(intake.may_ask());
        assert!(!intake.may_ask());
        intake.pause();
        assert!(intake.may_ask());
    }

    #[test]
    fn the_question_of_an_older_hub_is_no_end_of_a_limited_day() {
        let mut intake = Intake::default();
        intake.limit(true);
        intake.batch(batch(0, 0)).unwrap();
        assert_eq!(intake.next_apply(), None);
        intake.batch(batch(0, 1)).unwrap();
        assert_eq!(ends(intake.next_apply()), [1], "what is on its way is paid for");
        intake.applied(Position::at(Revision(1)));
        intake.limit(false);
        intake.batch(batch(1, 1)).unwrap();
        assert_eq!(ends(intake.next_apply()), [1]);
    }

    #[test]
    fn so_many_batches_wait_and_no_more() {
        let mut intake = Intake::default();
        let most = QUEUE_BATCHES as u64;
        (0..most).for_each(|at| intake.batch(batch(at, at + 1)).unwrap());
        assert!(intake.batch(batch(most, most + 1)).is_err());
    }

    /// However large, one is always taken; the window does not hold more.
    #[test]
    fn so_many_bytes_wait_and_no_more() {
        let heavy = |at: u64, bytes: usize| {
            let grants = Grants { definitions: alloc::vec![definition(bytes)], ..Grants::default() };
            let own = Batch { grants: Some(grants), ..batch(at, at + 1) };
            let over = own.wire_len();
            (own, over)
        };
        let mut intake = Intake::default();
        let (first, weight) = heavy(0, QUEUE_BYTES * 2);
        assert!(weight > QUEUE_BYTES);
        intake.batch(first).unwrap();
        assert!(intake.batch(batch(1, 2)).is_err(), "beside it there is no room");
        let mut intake = Intake::default();
        let empty = batch(0, 1).wire_len();
        let around = heavy(0, 0).1;
        intake.batch(heavy(0, QUEUE_BYTES - around - empty).0).unwrap();
        intake.batch(batch(1, 2)).unwrap();
        assert_eq!(intake.bytes, QUEUE_BYTES);
        assert_eq!(intake.batch(batch(2, 3)).unwrap_err().code, "window");
    }

    fn definition(bytes: usize) -> crate::frame::DefinitionText {
        let name = crate::names::CollectionName::parse("stock").unwrap();
        crate::frame::DefinitionText { name, revision: Revision(1), json: "x".repeat(bytes) }
    }

    #[test]
    fn more_than_the_window_is_a_breach() {
        let mut intake = Intake::default();
        let error = (0..1000).find_map(|at| intake.batch(batch(at, at + 1)).err()).unwrap();
        assert_eq!(error.code, "window");
        assert!(intake.queue.len() <= QUEUE_BATCHES + 1);
    }

    /// What comes ahead of the stream leaves the stretches around it alone, and goes into the same transaction.
    #[test]
    fn outcomes_ahead_of_the_stream_drop_nothing_that_waits() {
        let mut intake = Intake::default();
        intake.batch(batch(0, 1)).unwrap();
        assert_eq!(ends(intake.next_apply()), [1]);
        intake.batch(batch(1, 2)).unwrap();
        intake.batch(ahead(Some(1))).unwrap();
        intake.batch(batch(2, 3)).unwrap();
        assert_eq!(intake.bytes, 2 * batch(1, 2).wire_len() + ahead(Some(1)).wire_len());
        intake.applied(Position::at(Revision(1)));
        assert_eq!(ends(intake.next_apply()), [2, 0, 3]);
    }

    /// What waits when there is no room is lost too; a question that is stored brings nothing back, the stream does.
    #[test]
    fn outcomes_that_waited_are_lost_with_the_rest() {
        let mut intake = Intake::default();
        intake.batch(batch(0, 2)).unwrap();
        assert!(intake.next_apply().is_some());
        intake.batch(ahead(Some(1))).unwrap();
        intake.batch(ahead(None)).unwrap();
        intake.pause();
        intake.batch(ahead(None)).unwrap();
        assert_eq!(intake.next_apply(), None);
        intake.batch(batch(0, 0)).unwrap();
        assert_eq!(ends(intake.next_apply()), [0]);
        assert!(intake.applied(Position::default()));
        intake.batch(ahead(None)).unwrap();
        assert_eq!(intake.next_apply(), None, "there is room, and the outcomes are missing still");
        intake.batch(batch(0, 2)).unwrap();
        assert_eq!(ends(intake.next_apply()), [2]);
        intake.applied(Position::at(Revision(2)));
        intake.batch(ahead(None)).unwrap();
        assert_eq!(intake.next_apply().map(|batches| batches[0].asked.len()), Some(1));
    }
}
