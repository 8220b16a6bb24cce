//! Large values on their way down: in pieces that the edge keeps, ahead of the batch that they belong to. What it has of a value it
//! says in Hello, by the hash of the whole; then only the rest goes.

use alloc::string::String;

use crate::frame::{Batch, Held, Part, Piece};
use crate::limits::{PART_BYTES, PIECES_ABOVE};
use crate::op::{self, Hash};

/// The large value of the batch that waits.
#[derive(Debug)]
pub(super) struct Pieces {
    /// What the edge had of a value when the session began.
    there: Option<Held>,
    /// The value, and how much of it has gone or was there.
    cut: Option<(Hash, usize)>,
}

impl Pieces {
    pub(super) fn new(there: Option<Held>) -> Self {
        Self { there, cut: None }
    }

    /// The next piece for this batch; none: it has no large value, or all of it has gone.
    pub(super) fn next(&mut self, batch: &mut Batch) -> Option<Piece> {
        let value = batch.large_value(PIECES_ABOVE)?.as_bytes();
        let total = value.len();
        let (hash, at) = self.cut.unwrap_or_else(|| {
            let hash = op::hash(value);
            let there = self.there.filter(|held| held.hash == hash && held.bytes <= total);
            (hash, there.map_or(0, |held| held.bytes))
        });
        // Whatever goes, what was there does not stay.
        self.there = None;
        let end = total.min(at + PART_BYTES);
        self.cut = Some((hash, end));
        (at < total).then(|| Piece { part: Part { at, total, hash }, bytes: value[at..end].to_vec() })
    }

    /// Whether all of the large value has gone, if the batch has one.
    pub(super) fn went(&self, batch: &mut Batch) -> bool {
        batch.large_value(PIECES_ABOVE).is_none_or(|value| self.cut.is_some_and(|(_, at)| at == value.len()))
    }

    /// The batch goes, without the value that went before it.
    pub(super) fn leave_out(&mut self, batch: &mut Batch) {
        if let Some((hash, _)) = self.cut.take()
            && let Some(value) = batch.large_value(PIECES_ABOVE)
        {
            *value = String::new();
            batch.pieces = Some(hash);
        }
    }

    /// What went may be lost: the next value begins at its beginning.
    pub(super) fn again(&mut self) {
        self.cut = None;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use alloc::vec::Vec;

    use super::*;
    use crate::frame::{Content, Entry, Record};
    use crate::ids::{Position, Revision};
    use crate::names::{CollectionName, Key};

    /// Two pieces and a byte.
    const LARGE: usize = PIECES_ABOVE + 1;

    fn batch(sizes: &[usize]) -> Batch {
        let record = |size: &usize| {
            Entry::Record(Record {
                collection: CollectionName::parse("stock").unwrap(),
                key: Key::parse("1").unwrap(),
                revision: Revision(1),
                born: Revision(1),
                partition: None,
                updated_ms: 0,
                writer: String::new(),
                actor: None,
                content: Content::Value("x".repeat(*size)),
            })
        };
        Batch { entries: sizes.iter().map(record).collect(), ..Batch::empty(Position::default(), Position::at(Revision(1))) }
    }

    fn places(pieces: &mut Pieces, batch: &mut Batch) -> Vec<(usize, usize)> {
        core::iter::from_fn(|| pieces.next(batch)).map(|piece| (piece.part.at, piece.bytes.len())).collect()
    }

    fn sizes(batch: &mut Batch) -> Vec<usize> {
        batch
            .entries
            .iter()
            .map(|entry| if let Entry::Record(Record { content: Content::Value(text), .. }) = entry { text.len() } else { 0 })
            .collect()
    }

    #[test]
    fn a_large_value_goes_before_its_batch() {
        let mut own = batch(&[7, LARGE, PIECES_ABOVE]);
        let mut pieces = Pieces::new(None);
        assert!(!pieces.went(&mut own));
        let all: Vec<_> = (0..4).map(|at| (at * PART_BYTES, PART_BYTES)).chain([(4 * PART_BYTES, 1)]).collect();
        assert_eq!(places(&mut pieces, &mut own), all);
        assert!(pieces.went(&mut own));
        pieces.leave_out(&mut own);
        assert_eq!(sizes(&mut own), [7, 0, PIECES_ABOVE], "the others stay");
        assert_eq!(own.pieces, Some(op::hash("x".repeat(LARGE).as_bytes())));
        assert_eq!(own.missing_value().unwrap().len(), 0);
    }

    #[test]
    fn a_batch_without_a_large_value_goes_as_it_is() {
        let mut own = batch(&[PIECES_ABOVE, 1]);
        let mut pieces = Pieces::new(None);
        assert_eq!(pieces.next(&mut own), None);
        assert!(pieces.went(&mut own));
        pieces.leave_out(&mut own);
        assert_eq!((sizes(&mut own), own.pieces), ([PIECES_ABOVE, 1].into(), None));
    }

    /// What the edge has goes no second time; of another value it has nothing, and more than there is it cannot have.
    #[test]
    fn what_is_there_does_not_go_again() {
        let hash = op::hash("x".repeat(LARGE).as_bytes());
        let first = |hash, bytes| places(&mut Pieces::new(Some(Held { number: 0, hash, bytes })), &mut batch(&[LARGE])).first().copied();
        assert_eq!(first(hash, 3 * PART_BYTES), Some((3 * PART_BYTES, PART_BYTES)));
        assert_eq!(first(hash, LARGE), None, "all of it is there");
        assert_eq!(first(hash, LARGE + 1), Some((0, PART_BYTES)));
        assert_eq!(first([0; 16], 3 * PART_BYTES), Some((0, PART_BYTES)));
        let mut pieces = Pieces::new(Some(Held { number: 0, hash, bytes: PART_BYTES }));
        assert_eq!(pieces.next(&mut batch(&[LARGE])).unwrap().part.at, PART_BYTES);
        pieces.again();
        assert_eq!(pieces.next(&mut batch(&[LARGE])).unwrap().part.at, 0, "what went may be lost");
    }
}
