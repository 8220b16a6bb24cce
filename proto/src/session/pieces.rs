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
