//! Ahead of the stream: outcomes, and the records that those writes touched, for an edge that cannot take the stream.
//!
//! There are two such edges. One whose disk is full: its outbox must drain all the same, so outcomes go on, and where none is
//! left the records that those writes touched. And one whose database took another one's place: what that one's writes
//! did must not arrive before their outcomes. The cursor moves in neither.

use super::cloud_words::Ahead;
use crate::ids::{Position, Revision};
use crate::limits::{BATCH_RECORDS, WINDOW_BYTES_MIN};

/// How far the edge has been told.
#[derive(Debug)]
pub(super) struct Lead {
    outcomes: Revision,
    records: Option<Revision>,
    /// There may be something to read.
    wanted: bool,
    /// Something came since the newest read began.
    fresh: bool,
    /// The edge could not even store that: nothing until it is asked again.
    refused: bool,
}

impl Lead {
    /// For an edge whose disk is full.
    pub(super) fn paused(acked: Revision) -> Self {
        Self { outcomes: acked, records: Some(acked), wanted: true, fresh: false, refused: false }
    }

    /// For a database whose outcomes go first, all of them.
    pub(super) fn answers() -> Self {
        Self { outcomes: Revision::ZERO, records: None, wanted: false, fresh: false, refused: false }
    }

    /// There may be more.
    pub(super) fn changed(&mut self) {
        self.wanted = !self.refused;
        self.fresh = self.wanted;
    }

    /// The edge said no; what was on its way is lost.
    pub(super) fn refused(&mut self, acked: Revision) {
        let anew = if self.records.is_some() { Self::paused(acked) } else { Self::answers() };
        *self = Self { wanted: false, refused: true, ..anew };
    }

    /// The edge is asked again.
    pub(super) fn ask(&mut self) {
        self.refused = false;
        self.wanted = true;
    }

    /// What to read now.
    pub(super) fn next(&mut self, at: &Position) -> Option<Ahead> {
        self.fresh = false;
        self.wanted.then(|| Ahead {
            at: at.clone(),
            outcomes: self.outcomes,
            records: self.records,
            max_records: BATCH_RECORDS,
            max_bytes: WINDOW_BYTES_MIN,
        })
    }

    /// What was read reaches there; `none`: nothing was left.
    pub(super) fn read(&mut self, outcomes: Revision, records: Revision, none: bool) {
        self.outcomes = self.outcomes.max(outcomes);
        self.records = self.records.map(|own| own.max(records));
        self.wanted = !none || self.fresh;
    }

    /// Nothing is left to read.
    pub(super) fn is_done(&self) -> bool {
        !self.wanted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An edge without room for an outcome is asked for room before the next one.
    #[test]
    fn refused_is_refused_until_it_is_asked() {
        for mut lead in [Lead::paused(Revision(5)), Lead::answers()] {
            lead.changed();
            assert!(lead.next(&Position::default()).is_some());
            lead.read(Revision(9), Revision(9), false);
            lead.refused(Revision(5));
            assert_eq!(lead.next(&Position::default()), None);
            lead.changed();
            assert_eq!(lead.next(&Position::default()), None);
            lead.ask();
            let again = lead.next(&Position::default());
            assert!(again.is_some_and(|ahead| ahead.outcomes < Revision(9)), "what was lost is read again");
        }
    }
}
